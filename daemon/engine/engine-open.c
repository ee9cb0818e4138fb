/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Handing over: a worker opens, the descriptors pass through the task to the caller and are closed
 * here at once. No copy is kept: one would make the device look held for ever.
 */

#include <assert.h>

#include "engine/engine-kept.h"
#include "pci/driver.h"

static void fds_finished(Task *t, const HostResult *result) {
        _cleanup_error_ Error err = ERROR_INIT;
        const Assignment *a = NULL;

        if (t->assignment[0])
                a = inventory_assignment(t->engine->inventory, t->assignment);
        if (result->outcome != HOST_OUTCOME_DONE)
                (void) engine_result_error(
                        result, t->assignment[0] ? "Opening" : "Taking the snapshot", &err);
        else if (t->assignment[0] && (!a || a->state != ASSIGNMENT_ACTIVE))
                (void) error_set(&err, ERROR_BUSY, "The assignment ended meanwhile");
        if (err.code != ERROR_NONE)
                task_refuse(t, &err);
        else
                task_answer(t, &(EngineAnswer) {
                                       .assignment = a,
                                       .fds = t->fds,
                                       .n_fds = t->n_fds,
                                       .api = t->opened_api,
                                       .opened = t->open_devices,
                                       .n_opened = t->request.n_open_devices,
                               });
        if (result->outcome != HOST_OUTCOME_UNKNOWN)
                task_free(t);
}

static HostApi answered_api(const Task *t) {
        for (size_t i = 0; i < t->n_fds; i++)
                if (t->fds[i].kind == HOST_FD_CDEV || t->fds[i].kind == HOST_FD_IOMMUFD)
                        return HOST_API_CDEV;
        return HOST_API_GROUP;
}

static void open_finished(Task *t, const HostResult *result) {
        t->opened_api = answered_api(t);
        fds_finished(t, result);
}

/* ---- VF tokens ---- */

/* The assignment's own, made when it is first needed and kept before it is used: the kernel forgets
 * it only when the last user of the family closes. RFC 9562 UUID, version 4. */
static int get_token(Engine *e, Assignment *a, Error *err) {
        char id[ASSIGNMENT_ID_MAX];
        int r;

        if (a->vf_token[0])
                return 0;
        r = engine_random_id(id);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "No randomness: %s", strerrordesc_np(-r));
        (void) snprintf(a->vf_token, sizeof(a->vf_token), "%.8s-%.4s-4%.3s-a%.3s-%.12s", id, id + 8,
                        id + 13, id + 17, id + 20);
        r = store_assignment(e->store, a);
        if (r < 0) {
                a->vf_token[0] = 0;
                return error_set(err, ERROR_FAILED, "The VF token could not be recorded: %s",
                                 strerrordesc_np(-r));
        }
        return 0;
}

/* A physical function on a VFIO driver has a token, and its virtual functions open with it alone
 * (drivers/vfio/pci/vfio_pci_core.c, vfio_pci_validate_vf_token()). */
static int fill_token(Engine *e, Assignment *a, const Device *d, Error *err, HostOpenDevice *o) {
        const Device *pf = d->facts.is_vf ? inventory_device(e->inventory, d->facts.physfn) : d;
        Assignment *owner = pf ? pf->assignment : NULL;
        int r;

        if (!pf || pf->facts.sriov_totalvfs == 0 || !pci_driver_is_vfio(pf->facts.driver))
                return 0;
        if (!owner || owner->creator_uid != a->creator_uid || !streq_ptr(owner->owner, a->owner))
                return 0; /* somebody else's: the kernel refuses, and says why */
        r = get_token(e, owner, err);
        if (r < 0)
                return r;
        (void) string_copy(o->vf_token, sizeof(o->vf_token), owner->vf_token);
        return 0;
}

static int open_one(Engine *e, Assignment *a, const PlanDevice *p, bool device_fd, Error *err,
                    HostOpenDevice *ret) {
        const Device *d = inventory_device(e->inventory, p->address);

        if (!d || d->gone)
                return error_set(err, ERROR_GONE, "%s is gone", PCI_ADDRESS_TEXT(p->address));
        if (d->stuck)
                return error_set(err, ERROR_STUCK,
                                 "%s is stuck: a kernel operation on it has not come back",
                                 PCI_ADDRESS_TEXT(p->address));
        if (!streq(d->facts.driver, strempty(p->driver)))
                return error_set(err, ERROR_BUSY,
                                 "%s is on %s, not on %s any more: somebody rebound it; release it",
                                 PCI_ADDRESS_TEXT(p->address),
                                 d->facts.driver[0] ? d->facts.driver : "no driver", p->driver);
        *ret = (HostOpenDevice) { .address = p->address,
                                 .group = p->group,
                                 .want_device = device_fd };
        return fill_token(e, a, d, err, ret);
}

static int find_planned(Engine *e, const Assignment *a, const char *name, Error *err,
                        const PlanDevice **ret) {
        Device *d;
        int r = inventory_resolve(e->inventory, name, err, &d);

        if (r < 0)
                return r;
        *ret = plan_find_device(a->plan, d->facts.address);
        if (!*ret || !(*ret)->requested)
                return error_set(err, ERROR_NOT_FOUND, "%s was not asked for by assignment %s",
                                 PCI_ADDRESS_TEXT(d->facts.address), a->id);
        return 0;
}

static int open_devices(Engine *e, Assignment *a, char *const *devices, const OpenOptions *o,
                        Error *err, Task *t) {
        bool named = devices && devices[0];
        size_t n = named ? strv_length(devices) : a->plan->n_devices, k = 0;
        int r = 0;

        if (n > PLAN_DEVICES_MAX)
                return error_set(err, ERROR_INVALID,
                                 "%zu devices are named, more than there can be", n);
        t->open_devices = calloc(MAX(n, (size_t) 1), sizeof(HostOpenDevice));
        if (!t->open_devices)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        for (size_t i = 0; i < n && r >= 0; i++) {
                const PlanDevice *p = named ? NULL : a->plan->devices + i;

                if (named)
                        r = find_planned(e, a, devices[i], err, &p);
                else if (!p->requested)
                        continue;
                if (r >= 0)
                        r = open_one(e, a, p, o->device_fd, err, t->open_devices + k);
                k += r >= 0;
        }
        t->request.n_open_devices = k;
        return r;
}

/* What rests wakes up when its owner comes for it. */
static int wake_reserved(Engine *e, Assignment *a, Error *err) {
        int r;

        if (a->state != ASSIGNMENT_RESERVED || a->job)
                return 0;
        r = engine_reservation_check_rest(e, a, err);
        if (r < 0)
                return r;
        if (!engine_step(e, a, ASSIGNMENT_EVENT_ATTACH) ||
            !engine_step(e, a, ASSIGNMENT_EVENT_PREPARED))
                return error_set(err, ERROR_FAILED, "Assignment %s cannot be woken", a->id);
        r = store_assignment(e->store, a);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to record that assignment %s is active: %m",
                                         a->id);
        return 0;
}

int engine_open(Engine *e, const Caller *c, const char *assignment, char *const *devices,
                const OpenOptions *o, EngineReply reply, void *userdata, Error *err) {
        Assignment *a;
        bool cdev;
        Task *t;
        int r;

        assert(e);
        assert(c);
        assert(o);
        r = engine_find_owned(e, c, assignment, err, &a);
        if (r < 0)
                return r;
        r = wake_reserved(e, a, err);
        if (r < 0)
                return r;
        if (a->state != ASSIGNMENT_ACTIVE)
                return error_set(err, a->state == ASSIGNMENT_LOST ? ERROR_GONE : ERROR_BUSY,
                                 "Assignment %s is %s, not active", a->id,
                                 assignment_state_to_string(a->state));
        if (task_new(e, c, reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        (void) string_copy(t->assignment, sizeof(t->assignment), a->id);
        t->urgent = true;
        r = open_devices(e, a, devices, o, err, t);
        if (r < 0) {
                task_free(t);
                return r;
        }
        t->request.type = HOST_REQUEST_OPEN;
        t->request.api = o->api;
        t->request.open_devices = t->open_devices;
        t->request.container_fd = o->container_fd;
        t->request.iommufd = o->iommufd;
        cdev = o->api == HOST_API_CDEV ||
               (o->api == HOST_API_AUTO && e->platform_read && e->platform.vfio_group == 0);
        t->request.want_container = !cdev && o->container_fd < 0 && o->iommufd < 0;
        t->request.want_iommufd = cdev && o->iommufd < 0;
        t->request.want_groups = true;
        /* The caller's descriptors are borrowed for this call only: a queued request could not hold
         * them. */
        r = o->container_fd >= 0 || o->iommufd >= 0 ? task_run_now(t, open_finished)
                                                    : task_run(t, open_finished);
        if (r < 0) {
                task_free(t);
                return error_set(err, ERROR_BUSY, "No worker is free; try again");
        }
        return 0;
}

int engine_snapshot(Engine *e, const Caller *c, bool redact, EngineReply reply, void *userdata,
                    Error *err) {
        Task *t;

        assert(e);
        assert(c);
        if (task_new(e, c, reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        t->request.type = HOST_REQUEST_SNAPSHOT;
        t->request.redact = redact;
        if (task_run(t, fds_finished) < 0) {
                task_free(t);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        return 0;
}
