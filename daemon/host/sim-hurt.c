/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What hurts: faults put in the way of steps, and hands other than the daemon's on the same kernel
 * (driverctl, a hot-plug controller, somebody who pulls a card). Their operations take the same way
 * through the simulated kernel as the worker's, with the same events, and wait in it just as long
 * when somebody holds the device.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/sim-private.h"

static const char *const fault_kinds[_SIM_FAULT_KIND_MAX] = {
        [SIM_FAULT_ERROR] = "error",
        [SIM_FAULT_DELAY] = "delay",
        [SIM_FAULT_HANG] = "hang",
        [SIM_FAULT_NO_EFFECT] = "no-effect",
        [SIM_FAULT_WRONG_DRIVER] = "wrong-driver",
        [SIM_FAULT_ALL_ONES] = "all-ones",
        [SIM_FAULT_RRS] = "rrs",
        [SIM_FAULT_ALTERED] = "altered",
};

SimFaultKind sim_fault_kind_from_string(const char *s) {
        for (unsigned i = 0; s && i < ELEMENTSOF(fault_kinds); i++)
                if (streq(fault_kinds[i], s))
                        return (SimFaultKind) i;
        return -EINVAL;
}

int host_sim_inject(Host *host, const SimFault *fault) {
        SimHost *h = sim_of(host);

        assert(host_is_sim(host));
        assert(fault);
        if ((unsigned) fault->kind >= _SIM_FAULT_KIND_MAX ||
            (unsigned) fault->step >= _STEP_TYPE_MAX ||
            (fault->kind == SIM_FAULT_ERROR && (fault->error <= 0 || fault->error >= 4096)))
                return -EINVAL;
        if (!sim_device(h, fault->device))
                return -ENODEV;
        if (h->n_faults >= SIM_FAULTS_MAX)
                return -E2BIG;
        if (ARRAY_RESERVE_ONE(h->faults, h->n_faults, h->faults_allocated) < 0)
                return -ENOMEM;
        h->faults[h->n_faults++] = *fault;
        return 0;
}

/* ---- other tools ---- */

typedef enum OperationKind { OPERATION_REBIND, OPERATION_REMOVE, OPERATION_PROBE } OperationKind;

typedef struct SimOperation {
        ListLink link;
        SimHost *host;
        SimTask task;
        OperationKind kind;
        PciAddress device;
        char driver[PCI_DRIVER_NAME_MAX]; /* to bind, "" none */
        bool blocked;
        bool button;  /* to come, by the slot's attention button */
} SimOperation;

static void operation_free(SimOperation *o) {
        sim_task_disarm(o->host, &o->task);
        list_unlink(&o->link);
        free(o);
}

static int rebind(SimOperation *o, SimDevice *d) {
        int r;

        if (d->driver[0]) {
                r = sim_unbind(d, NULL);
                if (r == SIM_BLOCKED)
                        return r;
        }
        if (o->driver[0])
                (void) sim_bind(
                        d, o->driver); /* the other tool's write may fail: then nothing is bound */
        return 0;
}

static void operation_run(void *userdata) {
        SimOperation *o = userdata;
        SimDevice *d = sim_device(o->host, o->device);
        int r = 0;

        if (!d) {
                operation_free(o);
                return;
        }
        o->button = false;
        if (o->blocked)
                d->busy -= d->busy > 0;
        if (o->kind == OPERATION_REBIND)
                r = rebind(o, d);
        else if (o->kind == OPERATION_REMOVE)
                r = sim_unplug(d);
        else
                (void) sim_drivers_probe(d);
        o->blocked = r == SIM_BLOCKED;
        if (o->blocked)
                d->busy++;
        else
                operation_free(o);
}

static SimOperation *operation_new(SimHost *h, OperationKind kind, PciAddress a,
                                   const char *driver) {
        SimOperation *o;

        o = calloc(1, sizeof(*o));
        if (!o)
                return NULL;
        *o = (SimOperation) { .host = h, .kind = kind, .device = a };
        (void) string_copy(o->driver, sizeof(o->driver), strempty(driver));
        o->task.run = operation_run;
        o->task.userdata = o;
        list_append(&h->operations, &o->link);
        return o;
}

static int operate(SimHost *h, OperationKind kind, PciAddress a, const char *driver, usec_t at) {
        SimOperation *o = operation_new(h, kind, a, driver);

        if (!o)
                return -ENOMEM;
        sim_task_arm(h, &o->task, at);
        return 0;
}

int sim_remove_later(SimDevice *d, usec_t at, bool *cancelled) {
        SimHost *h = d->host;
        SimOperation *o;

        LIST_FOREACH(&h->operations, link) {
                o = LIST_ENTRY(link, SimOperation, link);
                if (!o->button || !pci_address_equal(o->device, d->source.address))
                        continue;
                operation_free(o);
                *cancelled = true;
                return 0;
        }
        if (*cancelled)
                return 0;
        o = operation_new(h, OPERATION_REMOVE, d->source.address, NULL);
        if (!o)
                return -ENOMEM;
        o->button = true;
        sim_task_arm(h, &o->task, at);
        return 0;
}

void sim_operations_wake(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->operations, link) {
                SimOperation *o = LIST_ENTRY(link, SimOperation, link);

                if (o->blocked)
                        sim_task_arm_now(h, &o->task);
        }
}

void sim_operations_free(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->operations, link)
                operation_free(LIST_ENTRY(link, SimOperation, link));
}

int host_sim_rebind(Host *host, PciAddress a, const char *driver) {
        SimHost *h = sim_of(host);
        SimDevice *d;

        assert(host_is_sim(host));
        d = sim_device(h, a);
        if (!d)
                return -ENODEV;
        if (!isempty(driver) && !pci_driver_name_is_valid(driver))
                return -EINVAL;
        return operate(h, OPERATION_REBIND, a, driver,
                       sim_now(h) + (d->driver[0] ? sim_unbind_time(h, d->driver) : 0));
}

int host_sim_set_override(Host *host, PciAddress a, const char *driver) {
        SimDevice *d;

        assert(host_is_sim(host));
        assert(driver);
        d = sim_device(sim_of(host), a);
        if (!d)
                return -ENODEV;
        if (driver[0] && !pci_driver_name_is_valid(driver))
                return -EINVAL;
        return sim_set_override(d, driver);
}

int host_sim_remove(Host *host, PciAddress a) {
        SimHost *h = sim_of(host);

        assert(host_is_sim(host));
        if (!sim_device(h, a))
                return -ENODEV;
        return operate(h, OPERATION_REMOVE, a, NULL, sim_now(h));
}

/* The card is gone at once; the kernel's objects go when nobody holds them any more. */
int host_sim_surprise_remove(Host *host, PciAddress a) {
        SimHost *h = sim_of(host);
        SimDevice *d;

        assert(host_is_sim(host));
        d = sim_device(h, a);
        if (!d)
                return -ENODEV;
        d->dead = true;
        for (size_t i = 0; i < h->n_devices; i++) {
                const char *path = d->source.path, *other = h->sorted[i]->source.path;

                if ((h->sorted[i]->is_vf && pci_address_equal(h->sorted[i]->physfn, a)) ||
                    (path && other && strncmp(path, other, strlen(path)) == 0 &&
                     other[strlen(path)] == '/'))
                        h->sorted[i]->dead = true;
        }
        return operate(h, OPERATION_REMOVE, a, NULL, sim_now(h));
}

int host_sim_add(Host *host, const char *device_json, size_t n, Error *err) {
        SimHost *h = sim_of(host);
        unsigned line = 0, column = 0;
        _cleanup_json_ Json *j = NULL;
        SnapshotDevice source = {};
        SimDevice *d = NULL;
        int r;

        assert(host_is_sim(host));
        assert(device_json || n == 0);
        r = json_parse(device_json, n, JSON_LIMITS_DEFAULT, &j, &line, &column);
        if (r < 0)
                return error_set(err, ERROR_INVALID, "line %u, column %u: not valid JSON", line,
                                 column);
        r = snapshot_parse_device(j, err, &source);
        if (r < 0)
                return r;
        r = sim_device_add(h, &source, &d);
        if (r == -EEXIST)
                r = error_set(err, ERROR_INVALID, "%s is there already",
                              PCI_ADDRESS_TEXT(source.address));
        else if (r < 0)
                r = error_set(err, ERROR_FAILED, "out of memory");
        snapshot_device_done(&source);
        if (r < 0)
                return r;
        /* A function comes without a driver; the recorded one is the one that takes it. */
        d->driver[0] = 0;
        if (sim_link_set(d, PCI_LINK_DRIVER, NULL) < 0 ||
            sim_link_set(d, PCI_LINK_MODULE, NULL) < 0)
                return error_set(err, ERROR_FAILED, "out of memory");
        sim_emit(h, HOST_EVENT_ADD, d);
        r = operate(h, OPERATION_PROBE, d->source.address, NULL,
                    sim_now(h) + sim_bind_time(h, strempty(d->native)));
        return r < 0 ? error_set(err, ERROR_FAILED, "out of memory") : 0;
}
