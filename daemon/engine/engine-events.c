/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Events are edges, the kernel's state is the level: each event has read again exactly what it may
 * have changed of one device, and leads to one report. Nothing is enumerated. What differs from
 * what an assignment left is reported as drift and left alone.
 */

#include <assert.h>

#include "engine/engine-kept.h"

/* ---- devices come and go ---- */

static void group_appeared(Engine *e, const Device *d, size_t n_groups) {
        if (d->group && hashmap_size(e->inventory->groups) > n_groups && e->observer.group_added)
                e->observer.group_added(d->group, e->observer_userdata);
}

static void group_left(Engine *e, Group *g) {
        if (!g)
                return;
        if (g->n_devices > 0) {
                engine_update_verdicts(e, LIST_ENTRY(g->devices.next, Device, in_group), NULL);
                if (e->observer.group_changed)
                        e->observer.group_changed(g, e->observer_userdata);
                return;
        }
        if (e->observer.group_removed)
                e->observer.group_removed(g, e->observer_userdata);
        inventory_drop_group(e->inventory, g);
}

static int put_new(Engine *e, PciFacts *facts, PciUse *use) {
        size_t n_groups = hashmap_size(e->inventory->groups);
        Device *d;
        int r;

        r = inventory_put_device(e->inventory, facts, use, host_now(e->host), &d);
        if (r < 0)
                return r;
        engine_device_inserted(e, d);
        group_appeared(e, d, n_groups);
        (void) engine_kept_match(e, d); /* what it shows is reported below */
        engine_update_verdicts(e, d, d);
        if (e->observer.device_added)
                e->observer.device_added(d, e->observer_userdata);
        if (d->group && d->group->n_devices > 1 && e->observer.group_changed)
                e->observer.group_changed(d->group, e->observer_userdata);
        return engine_want_read(e, d->facts.address);
}

static bool children_equal(const PciUse *a, const PciUse *b) {
        if (a->n_children != b->n_children)
                return false;
        for (size_t i = 0; i < a->n_children; i++)
                if (!streq(a->children[i].name, b->children[i].name) ||
                    !streq(a->children[i].subsystem, b->children[i].subsystem))
                        return false;
        return true;
}

/* Takes the children; what a worker found besides stays until it looks again. */
static bool take_children(Device *d, PciUse *use) {
        PciChild *children = d->use.children;
        size_t n = d->use.n_children;

        if (children_equal(&d->use, use))
                return false;
        d->use.children = use->children;
        d->use.n_children = use->n_children;
        use->children = children;
        use->n_children = n;
        return true;
}

int engine_put_device(Engine *e, PciFacts *facts, PciUse *use) {
        Device *d = inventory_device(e->inventory, facts->address);
        Group *before;
        bool changed, same;
        int r;

        if (!d)
                return put_new(e, facts, use);
        changed = take_children(d, use);
        if (changed)
                (void) engine_want_use(e, d->facts.address);
        if (pci_facts_equal(&d->facts, facts) && !d->gone) {
                d->facts_at = host_now(e->host);
                if (changed)
                        engine_device_changed(e, d);
                return 0;
        }
        before = d->group;
        same = d->facts.vendor == facts->vendor && d->facts.device == facts->device;
        r = inventory_put_device(e->inventory, facts, NULL, host_now(e->host), &d);
        if (r < 0)
                return r;
        if (before != d->group)
                group_left(e, before);
        if (!same)
                engine_device_inserted(e, d);
        engine_update_verdicts(e, d, d);
        engine_device_changed(e, d);
        (void) engine_check_drift(e,
                                  d); /* reported above, with all that is shown when it goes out */
        return same && d->config ? 0 : engine_want_read(e, d->facts.address);
}

int engine_add_device(Engine *e, PciAddress a) {
        PciFacts facts;
        PciUse use = {};
        int r;

        pci_facts_init(&facts, a);
        r = host_refresh(e->host, &facts, HOST_REFRESH_COLD);
        if (r >= 0)
                r = host_read_children(e->host, a, &use);
        if (r >= 0)
                r = pci_use_add_builtin_criticals(&use, &facts);
        if (r >= 0)
                r = engine_put_device(e, &facts, &use);
        pci_facts_done(&facts);
        pci_use_done(&use);
        return r == -ENODEV ? 0 : r; /* it has gone again: its own event follows */
}

void engine_lose_assigned(Engine *e, Assignment *a, Device *d) {
        if (a->state == ASSIGNMENT_RELEASED || a->state == ASSIGNMENT_FAILED)
                return;
        (void) engine_step(e, a, ASSIGNMENT_EVENT_DEVICE_LOST);
        engine_audit(a, MESSAGE_DEVICE_ERROR, LOG_WARNING, "%s, assigned to %s, is gone",
                     PCI_ADDRESS_TEXT(d->facts.address), a->owner);
        engine_notice(e, a, "Lost", d->facts.address, NULL);
        if (!a->job && store_assignment(e->store, a) < 0)
                log_warning("Failed to record that assignment %s lost a device", a->id);
}

void engine_remove_device(Engine *e, Device *d) {
        Group *g;

        assert(e);
        assert(d);
        if (d->assignment && engine_reservation_waits(d->assignment) && !d->assignment->job)
                engine_reservation_failed(e, d->assignment, NULL); /* it waits for its return */
        if (d->assignment) { /* stays, gone, until its owner has given it back */
                if (d->gone)
                        return;
                d->gone = true;
                engine_update_verdicts(e, d, d);
                engine_device_changed(e, d);
                engine_lose_assigned(e, d->assignment, d);
                return;
        }
        g = d->group;
        if (e->observer.device_removed)
                e->observer.device_removed(d, e->observer_userdata);
        inventory_remove_device(e->inventory, d);
        group_left(e, g);
}

/* ---- events ---- */

static DeviceHealth health_after(const char *error_event, DeviceHealth before) {
        if (streq(error_event, "BEGIN_RECOVERY"))
                return HEALTH_RECOVERING;
        if (streq(error_event, "FAILED_RECOVERY"))
                return HEALTH_FAILED;
        if (streq(error_event, "SUCCESSFUL_RECOVERY"))
                return HEALTH_DEGRADED; /* the link is back; that it is usable is not said */
        return before;
}

static void links_changed(Engine *e, Device *d, const HostEvent *event) {
        DeviceHealth health =
                event->error_event ? health_after(event->error_event, d->health) : d->health;
        bool healthy = health == d->health;
        Group *before = d->group;
        char driver[PCI_DRIVER_NAME_MAX];
        bool links;
        int r;

        (void) string_copy(driver, sizeof(driver), d->facts.driver);
        d->health = health;
        r = engine_refresh_device(e, d);
        if (r == -ENODEV)
                return;
        if (r < 0)
                (void) log_warning_errno(r, "Failed to read %s again: %m",
                                         PCI_ADDRESS_TEXT(event->address));
        links = !streq(driver, d->facts.driver) || before != d->group;
        if (before != d->group)
                group_left(e, before);
        if (!healthy && !links) /* what the links changed was reported with it */
                engine_device_changed(e, d);
        /* As for the report above: it goes out later, with all that is shown then. */
        if (links && engine_check_drift(e, d) && d->drift)
                engine_drift_look(e, d);
        if (links && d->read_error < 0)
                (void) engine_want_read(
                        e, d->facts.address); /* what blocked the last reading may be over */
}

static void children_changed(Engine *e, Device *d) {
        PciUse use = {};
        int r;

        r = host_read_children(e->host, d->facts.address, &use);
        if (r < 0)
                return; /* going: its own event follows */
        if (take_children(d, &use)) {
                engine_device_changed(e, d);
                (void) engine_want_use(e, d->facts.address); /* what the host does with them */
        }
        pci_use_done(&use);
}

/* Somebody unbinds or removes an open device (>= 6.6): the kernel waits for the owner, and many
 * wait for the kernel. */
static void removal_wanted(Engine *e, Device *d) {
        Assignment *a = d->assignment;

        if (!a || a->job || (a->state != ASSIGNMENT_ACTIVE && a->state != ASSIGNMENT_LOST))
                return;
        engine_audit(a, MESSAGE_DRIFT, LOG_WARNING,
                     "%s is being taken away by somebody else while %s has it",
                     PCI_ADDRESS_TEXT(d->facts.address), a->owner);
        engine_notice(e, a, "RemovalRequested", d->facts.address,
                      "{\"reason\":\"foreign-unbind\",\"deadline\":0}");
        if (store_assignment(e->store, a) < 0)
                log_warning("Failed to record that assignment %s was asked for a device", a->id);
}

static void iommu_changed(Engine *e) {
        _cleanup_free_ IommuFacts *iommus = NULL;
        size_t n = 0;
        int r;

        r = host_iommus(e->host, &iommus, &n);
        if (r < 0) {
                (void) log_warning_errno(r, "Failed to read the IOMMU instances: %m");
                return;
        }
        free(e->inventory->iommus);
        e->inventory->iommus = TAKE_PTR(iommus);
        e->inventory->n_iommus = n;
        r = engine_begin_resync(e); /* groups appear without an event of their own */
        if (r < 0)
                (void) log_error_errno(r, "Failed to read all devices again: %m");
}

static void lost_events(Engine *e) {
        int r;

        if (PLANTED(IGNORE_OVERFLOW))
                return;
        (void) log_context(&(LogContext) { .message_id = MESSAGE_RESYNC }, LOG_WARNING, 0,
                           "Events of the kernel were lost; reading everything again");
        r = engine_begin_resync(e);
        if (r < 0)
                (void) log_error_errno(r, "Failed to read all devices again: %m");
}

void engine_handle_event(const HostEvent *event, void *userdata) {
        Engine *e = userdata;
        Device *d = event->has_address ? inventory_device(e->inventory, event->address) : NULL;
        int r;

        if (event->synthetic || !e->started)
                return;
        switch (event->type) {
        case HOST_EVENT_ADD:
                r = engine_add_device(e, event->address);
                if (r < 0)
                        (void) log_warning_errno(r, "Failed to read %s, which was added: %m",
                                                 PCI_ADDRESS_TEXT(event->address));
                return;
        case HOST_EVENT_REMOVE:
                if (d)
                        engine_remove_device(e, d);
                return;
        case HOST_EVENT_BIND:
        case HOST_EVENT_UNBIND:
        case HOST_EVENT_CHANGE:
                if (d && !PLANTED(IGNORE_FOREIGN_REBIND))
                        links_changed(e, d, event);
                return;
        case HOST_EVENT_VFIO_REMOVE:
                if (d)
                        removal_wanted(e, d);
                return;
        case HOST_EVENT_CHILDREN:
                if (d)
                        children_changed(e, d);
                return;
        case HOST_EVENT_IOMMU:
                iommu_changed(e);
                return;
        case HOST_EVENT_OVERFLOW:
                lost_events(e);
                return;
        case _HOST_EVENT_TYPE_MAX:
                return;
        }
}
