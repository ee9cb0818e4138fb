/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Steps about who may use a group and who does. The proof that nobody holds a function on VFIO is a
 * trial open of the group's node, which succeeds only when no descriptor of the group or of a
 * device of it exists anywhere, queued in a socket included. Kernels with cdevs alone have no such
 * proof: there the holders seen in /proc are the best evidence. A function on a host driver is
 * refused when the host needs it or a process has one of its nodes open.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/strutil.h"
#include "pci/driver.h"
#include "worker/steps.h"
#include "worker/vfio.h"

#define HOLDERS_POLL_MSEC 250U

static int refuse_held(StepRun *s) {
        (void) worker_find_holders(s->w, s->step->device,
                                   &s->use); /* who it is, if it can be found */
        return -EBUSY;
}

/* Without a group node: look until nobody is seen. */
static int prove_by_holders(StepRun *s, uint32_t timeout_msec) {
        usec_t until = now_boottime() + timeout_msec * USEC_PER_MSEC;

        for (;;) {
                int r;

                pci_use_done(&s->use);
                s->use = (PciUse) {};
                r = worker_find_holders(s->w, s->step->device, &s->use);
                if (r < 0)
                        return r;
                if (s->use.n_holders == 0)
                        return 0;
                if (now_boottime() >= until)
                        return -EBUSY;
                if (!worker_pause(s->w, HOLDERS_POLL_MSEC))
                        return -ECANCELED;
        }
}

static int prove_vfio(StepRun *s, uint32_t timeout_msec) {
        int r;

        r = timeout_msec > 0
                    ? vfio_wait_unheld(&s->w->tree, s->step->group, timeout_msec, s->w->socket)
                    : vfio_group_is_unheld(&s->w->tree, s->step->group);
        if (r == -ENOENT)
                return prove_by_holders(s, timeout_msec);
        if (r == -EBUSY || r == -ETIMEDOUT)
                return refuse_held(s);
        if (r == -ECANCELED)
                (void) worker_may_go_on(s->w); /* takes the word that woke us */
        return r;
}

static int look_at_host_use(StepRun *s) {
        Critical *critical;
        int r;

        pci_use_done(&s->use);
        s->use = (PciUse) {};
        r = sys_children_walk(&s->w->tree, s->step->device, &s->use);
        if (r < 0)
                return r;
        r = worker_critical(s->w, &critical);
        if (r >= 0)
                r = critical_add_to_use(critical, s->step->device, &s->use);
        if (r < 0)
                return r;
        if (s->use.n_criticals > 0) {
                (void) string_copy(s->detail, sizeof(s->detail),
                                   strempty(s->use.criticals[0].proof));
                return -ENOTBLK;
        }
        if (!worker_use_has_nodes(&s->use))
                return 0; /* nothing that a process could have open: spares the walk over all
                             processes */
        r = worker_find_holders(s->w, s->step->device, &s->use);
        if (r < 0)
                return r;
        return s->use.n_holders > 0 ? -EBUSY : 0;
}

/* Many a holder is there for a moment only: udev probing a disk, a tool that lists what there
 * is. */
static int prove_host(StepRun *s, uint32_t timeout_msec) {
        usec_t until = now_boottime() + timeout_msec * USEC_PER_MSEC;

        for (;;) {
                int r = look_at_host_use(s);

                if (r != -EBUSY || now_boottime() >= until)
                        return r;
                if (!worker_pause(s->w, HOLDERS_POLL_MSEC))
                        return -ECANCELED;
                s->w->critical =
                        critical_free(s->w->critical); /* whoever let go may have mounted it */
        }
}

int step_do_prove_unheld(StepRun *s, uint32_t timeout_msec) {
        char driver[PCI_DRIVER_NAME_MAX];
        int r;

        r = step_read_driver(s, driver);
        if (r < 0)
                return r;
        /* What the plan is about may have been read a while ago. */
        if (s->plan->kind == PLAN_ASSIGN) {
                r = step_prove_override(s);
                if (r < 0)
                        return r;
        }
        if (pci_driver_is_vfio(driver))
                return prove_vfio(s, timeout_msec);
        if (s->plan->kind == PLAN_ASSIGN && step_look_alive(s) == PCI_LIVENESS_ABSENT)
                return -ENODEV;
        return driver[0] ? prove_host(s, timeout_msec) : 0;
}

/* "UID:GID" */
static int parse_owner(const char *value, uid_t *ret_uid, gid_t *ret_gid) {
        char uid[16], gid[16];
        size_t n = strcspn(value, ":");
        uint32_t u, g;

        if (!value[n] || n >= sizeof(uid) || !string_copy(gid, sizeof(gid), value + n + 1))
                return -EINVAL;
        memcpy(uid, value, n);
        uid[n] = 0;
        if (parse_u32(uid, 10, UINT32_MAX - 1, &u) < 0 ||
            parse_u32(gid, 10, UINT32_MAX - 1, &g) < 0)
                return -EINVAL;
        *ret_uid = u;
        *ret_gid = g;
        return 0;
}

int step_do_node_owner(StepRun *s, const char *value) {
        _cleanup_free_ PciAddress *devices = NULL;
        _cleanup_close_ int records = -EBADF;
        size_t n = 0;
        uid_t uid;
        gid_t gid;
        int r;

        r = parse_owner(value, &uid, &gid);
        if (r < 0)
                return r;
        devices = calloc(s->plan->n_devices + 1, sizeof(PciAddress));
        if (!devices)
                return -ENOMEM;
        for (size_t i = 0; i < s->plan->n_devices; i++)
                if (s->plan->devices[i].group == s->step->group)
                        devices[n++] = s->plan->devices[i].address;
        records = worker_directory(s->w, "nodes", false);
        if (records < 0)
                return records;
        r = vfio_set_node_owner(&s->w->tree, records, s->step->group, devices, n,
                                (VfioOwner){ uid, gid });
        /* A node that went with its driver is nobody's any more; the next one is root's. */
        return r == -ENOENT && uid == 0 && gid == 0 ? 0 : r;
}

/* Nothing stands behind the nodes of a made tree: that they are there is all that can be asked. */
static int look_for_nodes(const SysTree *t, const uint32_t *groups, size_t n) {
        for (size_t i = 0; i < n; i++) {
                char path[32];

                (void) snprintf(path, sizeof(path), "vfio/%u", groups[i]);
                if (faccessat(t->dev, path, F_OK, 0) < 0)
                        return -errno;
        }
        return 0;
}

int step_do_trial_attach(StepRun *s) {
        _cleanup_free_ uint32_t *groups = NULL;
        VfioDetail detail = {};
        size_t n;
        int r;

        r = plan_groups(s->plan, &groups, &n);
        if (r < 0)
                return r;
        if (s->w->tree.made)
                return look_for_nodes(&s->w->tree, groups, n);
        r = vfio_trial_attach(&s->w->tree, groups, n, &detail);
        if (r < 0)
                (void) string_copy(s->detail, sizeof(s->detail), detail.text);
        return r;
}
