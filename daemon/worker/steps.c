/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Steps that bind and unbind drivers. The kernel's answer to a write is not trusted:
 * `drivers_probe` succeeds when nothing bound, and fails with EINVAL for what its log alone
 * explains. What counts is the driver link afterwards. A device on a VFIO driver is never unbound
 * while anybody holds it: that write would sleep until the holder is gone.
 */

#include "worker/steps.h"

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "pci/driver.h"

/* How long whoever plays the kernel of a made tree may take. */
#define MADE_TREE_USEC (2 * USEC_PER_SEC)

void step_run_done(StepRun *s) {
        assert(s);
        s->fd = safe_close(s->fd);
        pci_use_done(&s->use);
        free(s->evidence);
}

static int read_id(int fd, PciAttribute a, uint16_t *ret) {
        char text[32];
        uint32_t v;
        ssize_t n;

        n = read_attr_at(fd, pci_attribute_path(a), text, sizeof(text));
        if (n < 0)
                return n == -ENOENT ? -ENODEV : (int) n;
        if (parse_u32(text, 16, UINT16_MAX, &v) < 0)
                return -ESTALE;
        *ret = (uint16_t) v;
        return 0;
}

static int check_identity(const StepRun *s, const PlanDevice *d) {
        const struct {
                PciAttribute attribute;
                uint16_t expected;
        } ids[] = {
                { PCI_ATTRIBUTE_VENDOR, d->vendor },
                { PCI_ATTRIBUTE_DEVICE, d->device },
                { PCI_ATTRIBUTE_SUBSYSTEM_VENDOR, d->subsystem_vendor },
                { PCI_ATTRIBUTE_SUBSYSTEM_DEVICE, d->subsystem_device },
        };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                uint16_t v = 0;
                int r = read_id(s->fd, ids[i].attribute, &v);

                if (r < 0)
                        return r;
                if (v != ids[i].expected)
                        return -ESTALE;
        }
        return 0;
}

int step_run_open(StepRun *s) {
        const PlanDevice *d;

        assert(s);
        if (!s->step->has_device)
                return 0;
        d = plan_find_device(s->plan, s->step->device);
        if (!d)
                return -EBADMSG;
        if (s->fd < 0)
                s->fd = sys_open_function(&s->w->tree, s->step->device);
        return s->fd < 0 ? s->fd : check_identity(s, d);
}

int step_write(int dir_fd, const char *path, const char *value) {
        _cleanup_close_ int fd = -EBADF;
        size_t size = strlen(value);
        ssize_t n;

        fd = openat(dir_fd, path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        n = write(fd, value, size); /* once: a second store would do it twice */
        if (n < 0)
                return -errno;
        return (size_t) n == size ? 0 : -EIO;
}

int step_read_driver(const StepRun *s, char driver[PCI_DRIVER_NAME_MAX]) {
        int r = readlink_base_at(s->fd, "driver", driver, PCI_DRIVER_NAME_MAX);

        if (r == -ENOENT) {
                /* No driver, or no device any more? */
                if (faccessat(s->fd, "vendor", F_OK, 0) < 0)
                        return -ENODEV;
                driver[0] = 0;
                return 0;
        }
        return r;
}

bool step_await(StepRun *s, bool (*shows)(const StepRun *s, const char *value), const char *value) {
        usec_t until = now_boottime() + MADE_TREE_USEC;
        _cleanup_close_ int watch = -EBADF;
        char path[64], events[4096];

        if (shows(s, value))
                return true;
        if (!s->w->tree.made)
                return false;
        watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", s->fd);
        if (watch < 0 ||
            inotify_add_watch(watch, path, IN_CREATE | IN_DELETE | IN_MOVE | IN_CLOSE_WRITE) < 0)
                return shows(s, value);
        while (!shows(s, value)) {
                struct pollfd p = { .fd = watch, .events = POLLIN };
                usec_t now = now_boottime();

                if (now >= until || poll(&p, 1, (int) ((until - now) / USEC_PER_MSEC) + 1) < 0)
                        return shows(s, value);
                (void) read(watch, events,
                            sizeof(events)); /* what happened is seen by looking again */
        }
        return true;
}

static int note_found(StepRun *s) {
        s->has_found = step_read_driver(s, s->found) >= 0;
        return -STEP_ERROR_READ_BACK;
}

bool step_driver_is(const StepRun *s, const char *driver) {
        char now[PCI_DRIVER_NAME_MAX];

        return step_read_driver(s, now) >= 0 && streq(now, driver);
}

int step_do_unbind(StepRun *s, const char *driver) {
        char now[PCI_DRIVER_NAME_MAX], path[128];
        int r;

        r = step_read_driver(s, now);
        if (r < 0)
                return r;
        if (s->redo && !streq(now, driver))
                return 0; /* that part was done; what binds later is looked at by later steps */
        if (!streq(now, driver)) {
                (void) note_found(s);
                return -ENODEV;
        }
        if (!pci_driver_name_is_valid(driver))
                return -EINVAL;
        if (pci_driver_is_vfio(driver)) {
                r = step_do_prove_unheld(s, 0);
                if (r < 0)
                        return r;
        }
        (void) snprintf(path, sizeof(path), "bus/pci/drivers/%s/unbind", driver);
        r = step_write(s->w->tree.sys, path, PCI_ADDRESS_TEXT(s->step->device));
        if (r < 0)
                return r;
        return step_await(s, step_driver_is, "") ? 0 : note_found(s);
}

int step_do_probe(StepRun *s, const char *expect) {
        char now[PCI_DRIVER_NAME_MAX];
        int r, written;

        r = step_read_driver(s, now);
        if (r < 0)
                return r;
        if (s->redo && now[0] && (!expect[0] || streq(now, expect)))
                return 0;
        written = step_write(s->w->tree.sys, "bus/pci/drivers_probe",
                             PCI_ADDRESS_TEXT(s->step->device));
        if (!expect[0])
                return written; /* whatever binds, and be it nothing */
        if (written >= 0 ? step_await(s, step_driver_is, expect) : step_driver_is(s, expect))
                return 0;
        (void) note_found(s);
        return written < 0 ? written : -STEP_ERROR_READ_BACK;
}

/* "(null)" is how the kernel prints that there is none. */
static int read_override(const StepRun *s, char *value, size_t size) {
        ssize_t n = read_attr_at(s->fd, "driver_override", value, size);

        if (n < 0)
                return (int) n;
        if (streq(value, "(null)"))
                value[0] = 0;
        return 0;
}

/* before: what it must be by now, unless it is `value` already; NULL: whatever it is. */
static int write_override(StepRun *s, const char *value, const char *before, bool may_leave) {
        char now[PCI_ATTRIBUTE_TEXT_MAX];
        int r;

        if (value[0] && !pci_driver_name_is_valid(value))
                return -EINVAL;
        r = read_override(s, now, sizeof(now));
        if (r < 0)
                return r == -ENOENT ? -ENODEV : r;
        if (streq(now, value))
                return 0;
        if (before && !streq(now, before)) {
                if (may_leave)
                        return 0;
                (void) snprintf(s->detail, sizeof(s->detail), "it is %.64s", now[0] ? now : "none");
                return -ESTALE;
        }
        /* A write of no bytes never reaches the kernel's store function; a newline clears. */
        r = step_write(s->fd, "driver_override", value[0] ? value : "\n");
        if (r >= 0)
                r = read_override(s, now, sizeof(now));
        if (r < 0)
                return r;
        if (streq(now, value))
                return 0;
        s->has_found = string_copy(s->found, sizeof(s->found), now);
        return -STEP_ERROR_READ_BACK;
}

int step_prove_override(StepRun *s) {
        char now[PCI_ATTRIBUTE_TEXT_MAX];
        int r;

        for (size_t i = 0; i < s->plan->n_steps; i++) {
                const Step *o = s->plan->steps + i;

                if (o->type != STEP_SET_OVERRIDE || !o->has_device ||
                    !pci_address_equal(o->device, s->step->device))
                        continue;
                r = read_override(s, now, sizeof(now));
                if (r < 0)
                        return r == -ENOENT ? -ENODEV : r;
                if (streq(now, strempty(o->undo)) || streq(now, strempty(o->value)))
                        continue;
                (void) snprintf(s->detail, sizeof(s->detail), "its driver_override is %.*s",
                                PCI_DRIVER_NAME_MAX, now[0] ? now : "none");
                return -ESTALE;
        }
        return 0;
}

int step_do_override(StepRun *s) {
        return write_override(s, strempty(s->step->value), s->step->undo,
                              s->plan->kind == PLAN_RELEASE);
}

int step_do(StepRun *s) {
        const Step *step = s->step;
        int r;

        r = step_run_open(s);
        if (r < 0)
                return r;
        switch (step->type) {
        case STEP_PROVE_UNHELD:
                return step_do_prove_unheld(s, step->timeout_msec);
        case STEP_UNBIND:
                return step_do_unbind(s, strempty(step->value));
        case STEP_SET_OVERRIDE:
                return step_do_override(s);
        case STEP_PROBE:
                return step_do_probe(s, strempty(step->expect));
        case STEP_SET_NODE_OWNER:
                return step_do_node_owner(s, strempty(step->value));
        case STEP_TRIAL_ATTACH:
                return step_do_trial_attach(s);
        case STEP_RESET:
                return step_do_reset(s);
        case STEP_AWAIT_READY:
                return step_do_await_ready(s);
        case STEP_SET_NUMVFS:
                return step_do_numvfs(s, strempty(step->value));
        case STEP_VERIFY:
                return step_do_verify(s);
        case STEP_HOLD_POWER:
                return step_do_hold_power(s, strempty(step->value));
        case STEP_SET_RESET_METHOD:
                return step_do_reset_method(s, strempty(step->value));
        case STEP_TAKE_REFERENCE:
                return step_do_take_reference(s);
        case STEP_COMPARE_CONFIG:
                return step_do_compare_config(s);
        case STEP_HOOK:
                return step_do_hook(s);
        case STEP_COMMIT_STATE:
                return step_do_commit(s, strempty(step->expect));
        case STEP_AWAIT_VFS:
                return step_do_await_vfs(s);
        case STEP_SET_AUTOPROBE:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
                return step_do_setting(s, strempty(step->value));
        case _STEP_TYPE_MAX:
        case _STEP_TYPE_INVALID:
                break;
        }
        return -EBADMSG;
}

/* Unbinds from what the step had bound, if that is still what shows. */
static int undo_probe(StepRun *s, const char *undo) {
        char now[PCI_DRIVER_NAME_MAX];
        int r;

        r = step_read_driver(s, now);
        if (r < 0)
                return r;
        if (!now[0] || (undo[0] && !streq(now, undo) && !s->failed))
                return 0;
        return step_do_unbind(s, now);
}

static int undo_unbind(StepRun *s, const char *undo) {
        char now[PCI_DRIVER_NAME_MAX];
        int r;

        r = step_read_driver(s, now);
        if (r < 0)
                return r;
        return now[0] ? 0 : step_do_probe(s, undo);
}

int step_undo(StepRun *s) {
        const char *undo = step_undo_value(s->step);
        int r;

        if (!undo)
                return 0;
        r = step_run_open(s);
        if (r < 0)
                return r;
        switch (s->step->type) {
        case STEP_UNBIND:
                return undo_unbind(s, undo);
        case STEP_SET_OVERRIDE:
                return write_override(s, undo, strempty(s->step->value), true);
        case STEP_PROBE:
                return undo_probe(s, undo);
        case STEP_SET_NODE_OWNER:
                r = step_do_node_owner(s, undo);
                return r == -ENOENT ? 0 : r; /* the node went with the driver */
        case STEP_SET_NUMVFS:
                return step_do_numvfs(s, undo);
        case STEP_HOLD_POWER:
                return step_do_hold_power(s, undo);
        case STEP_SET_RESET_METHOD:
                return step_do_reset_method(s, undo);
        case STEP_COMMIT_STATE:
                return step_undo_commit(s, undo);
        case STEP_SET_AUTOPROBE:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
                return step_do_setting(s, undo);
        case STEP_PROVE_UNHELD:
        case STEP_TRIAL_ATTACH:
        case STEP_RESET:
        case STEP_AWAIT_READY:
        case STEP_VERIFY:
        case STEP_TAKE_REFERENCE:
        case STEP_COMPARE_CONFIG:
        case STEP_HOOK:
        case STEP_AWAIT_VFS:
        case _STEP_TYPE_MAX:
        case _STEP_TYPE_INVALID:
                break;
        }
        return 0;
}
