/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Steps of the clean-room: the device kept powered, the order of its reset methods, the reference
 * and the comparison with it. Each says what it found as evidence, also where all is well: that is
 * the record of the cycle. A device that answers nothing is never called equal.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "pci/compare.h"
#include "worker/hook.h"
#include "worker/vfio.h"
#include "worker/steps.h"

static bool word_is_plain(const char *s, bool blanks) {
        if (!*s || strlen(s) >= PCI_ATTRIBUTE_TEXT_MAX)
                return false;
        for (; *s; s++)
                if (!(*s >= 'a' && *s <= 'z') && *s != '_' && !(blanks && *s == ' '))
                        return false;
        return true;
}

/* Writes where something else shows, and reads back. */
int step_set_attribute(StepRun *s, const char *path, const char *value) {
        char now[PCI_ATTRIBUTE_TEXT_MAX];
        ssize_t n;
        int r;

        n = read_attr_at(s->fd, path, now, sizeof(now));
        if (n < 0)
                return (int) n;
        if (streq(now, value))
                return 0;
        r = step_write(s->fd, path, value[0] ? value : "\n");
        if (r < 0)
                return r;
        n = read_attr_at(s->fd, path, now, sizeof(now));
        if (n < 0)
                return (int) n;
        if (streq(now, value))
                return 0;
        (void) snprintf(s->detail, sizeof(s->detail), "it reads %.200s", now);
        return -STEP_ERROR_READ_BACK;
}

int step_do_hold_power(StepRun *s, const char *value) {
        int r;

        if (!word_is_plain(value, false))
                return -EINVAL;
        r = step_set_attribute(s, "power/control", value);
        return r == -ENOENT ? 0 : r; /* a kernel without runtime power management */
}

int step_do_reset_method(StepRun *s, const char *value) {
        if (value[0] && !word_is_plain(value, true))
                return -EINVAL;
        return step_set_attribute(s, "reset_method", value);
}

/* ---- configuration space ---- */

static int read_alive(StepRun *s, PciConfig *ret) {
        int r = worker_read_config(s->fd, ret);

        if (r < 0)
                return r == -ENOENT ? -ENODEV : r;
        if (pci_config_liveness(ret) == PCI_LIVENESS_ALIVE)
                return 0;
        (void) snprintf(s->detail, sizeof(s->detail), "it is %s",
                        pci_liveness_to_string(pci_config_liveness(ret)));
        return -EIO;
}

int step_do_take_reference(StepRun *s) {
        const PlanDevice *p = plan_find_device(s->plan, s->step->device);
        PciConfig c;
        int r;

        if (!p)
                return -EBADMSG;
        r = read_alive(s, &c);
        return r < 0 ? r : reference_write(s->w, p, &c);
}

static int compare_bars(StepRun *s, const PciConfig *found, PciComparison *c) {
        _cleanup_free_ char *text = NULL;
        int r;

        if (faccessat(s->fd, "physfn", F_OK, AT_SYMLINK_NOFOLLOW) >= 0)
                return 0; /* BARs of a virtual function are its physical function's */
        r = read_file_at(s->fd, "resource", 4096, &text, NULL);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        return pci_config_compare_bars(found, text, c);
}

int step_do_compare_config(StepRun *s) {
        const PlanDevice *p = plan_find_device(s->plan, s->step->device);
        PciConfig reference, found;
        PciComparison c = {};
        bool has_reference;
        int r;

        if (!p)
                return -EBADMSG;
        r = read_alive(s, &found);
        if (r < 0)
                return r;
        r = reference_read(s->w, p, &reference);
        has_reference = r >= 0;
        if (r < 0 && r != -ENOENT && r != -EBADMSG)
                return r;
        if (has_reference)
                pci_config_compare(&reference, &found, &c);
        r = compare_bars(s, &found, &c);
        if (r < 0)
                return r;
        free(s->evidence);
        s->evidence = has_reference ? pci_comparison_to_string(&c)
                                    : strjoinf("no reference of it is kept; %s",
                                               c.n > 0 ? "its BARs are not the kernel's"
                                                       : "its BARs are the kernel's");
        if (c.n == 0)
                return 0;
        (void) string_copy(s->detail, sizeof(s->detail),
                           strempty(s->evidence)); /* cut: it is for people */
        return -STEP_ERROR_READ_BACK;
}

/* ---- hooks ---- */

/* A hook has no privilege, but the device: while it runs, the node of the group is its own. Put
 * back by us, or by the next proof that nobody holds the group. */
static int lend_node(StepRun *s, bool lend) {
        VfioOwner owner = {};
        char driver[PCI_DRIVER_NAME_MAX], value[32];

        if (lend) {
                hook_user(s->w, &owner.uid, &owner.gid);
                if (owner.uid == HOOK_UID_UNCHANGED || step_read_driver(s, driver) < 0 ||
                    !pci_driver_is_vfio(driver))
                        return 0;
        }
        (void) snprintf(value, sizeof(value), "%u:%u", owner.uid, owner.gid);
        return step_do_node_owner(s, value);
}

static void tell(StepRun *s, const HookResult *h) {
        const char *output = strempty(h->output);

        free(s->evidence);
        if (h->masked)
                s->evidence = strdup("masked");
        else if (h->not_mine)
                s->evidence = strjoinf("not mine%s%s", output[0] ? ": " : "", output);
        else
                s->evidence = strdup(output);
}

static int run_hook(StepRun *s) {
        const HookCall call = {
                .name = strempty(s->step->expect),
                .input = strempty(s->step->value),
                .timeout_msec = s->step->timeout_msec,
        };
        _cleanup_(hook_result_done) HookResult h = {};
        /* Where there is no service manager, this process has every capability itself. */
        int r = s->w->tree.made ? hook_run(s->w, &call, &h) : hook_ask(s->w, &call, &h);

        tell(s, &h);
        if (r < 0 && h.output)
                (void) string_copy(s->detail, sizeof(s->detail),
                                   h.output); /* cut: it is for people */
        return r;
}

int step_do_hook(StepRun *s) {
        int r, back;

        r = lend_node(s, true);
        if (r < 0)
                return r;
        r = run_hook(s);
        back = lend_node(s, false);
        if (r >= 0 && back >= 0)
                back = step_do_prove_unheld(
                        s, 0); /* what it started is gone, and with it what it had open */
        return r < 0 ? r : back;
}
