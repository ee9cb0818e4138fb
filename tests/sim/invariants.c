/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What must hold in every world, whatever happened. The kernel's side is read from the host, not from the engine, which
 * could be wrong about it. At the end, with every fault lifted and everybody gone, the host must be as it was.
 */

#include "base/strutil.h"
#include "pci/driver.h"
#include "world.h"

#define PATIENCE (3600 * USEC_PER_SEC)

/* ---- one owner per group ---- */

static void check_groups(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);

        for (size_t i = 0; i < inventory->n_devices; i++) {
                const Device *d = inventory->sorted[i];
                const Assignment *owner = NULL;

                if (!d->group)
                        continue;
                LIST_FOREACH(&d->group->devices, link) {
                        const Device *mate = LIST_ENTRY(link, Device, in_group);

                        if (!mate->assignment)
                                continue;
                        if (owner && owner != mate->assignment)
                                world_fail(w, "group %u has two owners: %s and %s", d->group->id, owner->owner,
                                           mate->assignment->owner);
                        owner = mate->assignment;
                }
                if (owner && d->group->assignment != owner)
                        world_fail(w, "group %u does not know its owner %s", d->group->id, owner->owner);
        }
}

/* Whoever still has descriptors of a group keeps others out of it. */
static void check_handles(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);

        for (size_t i = 0; i < w->n_handles; i++) {
                const WorldHandle *h = w->handles + i;
                const Group *g = h->is_shared ? NULL : inventory_group(inventory, h->group);
                const Assignment *owner = g ? g->assignment : NULL;

                if (owner && !streq(owner->id, h->assignment) && owner->state == ASSIGNMENT_ACTIVE)
                        world_fail(w, "group %u went to %.8s while %.8s has descriptors of it", h->group, owner->id,
                                   h->assignment);
        }
}

/* ---- the host survives ---- */

static void check_critical(World *w) {
        for (size_t i = 0; i < w->n_devices; i++) {
                const WorldDevice *d = w->devices + i;
                PciFacts f;

                if (!d->critical)
                        continue;
                pci_facts_init(&f, d->address);
                if (host_refresh(w->host, &f, HOST_REFRESH_LINKS) < 0 ||
                    (!streq(f.driver, d->driver) && !d->tainted))
                        world_fail(w, "%s, which the host needs, is on \"%s\"", PCI_ADDRESS_TEXT(d->address), f.driver);
                pci_facts_done(&f);
        }
}

/* ---- nothing acknowledged is lost ---- */

static void check_known(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);

        for (size_t i = 0; i < w->n_known; i++) {
                const WorldKnown *k = w->known + i;

                if (!k->ending && !inventory_assignment(inventory, k->id))
                        world_fail(w, "assignment %.8s of client %u was acknowledged and is not there",
                                k->id, k->client);
        }
}

/* ---- no device in between while nothing works on it ---- */

static void check_idle_device(World *w, const WorldDevice *d) {
        const Device *shown = inventory_device(engine_inventory(w->engine), d->address);
        PciFacts f;

        pci_facts_init(&f, d->address);
        if (d->tainted || host_refresh(w->host, &f, HOST_REFRESH_LINKS) < 0) {
                pci_facts_done(&f);
                return;
        }
        if (!shown)
                world_fail(w, "%s is there and not in the inventory", PCI_ADDRESS_TEXT(d->address));
        if (!shown->job && !shown->assignment && !shown->stuck && !host_group_locked(w->host, f.iommu_group) &&
            !streq(f.driver, d->driver))
                world_fail(w, "%s is idle, nobody's, and on \"%s\" instead of \"%s\"", PCI_ADDRESS_TEXT(d->address),
                           f.driver, d->driver);
        if (shown->assignment && !shown->assignment->job && shown->assignment->state == ASSIGNMENT_ACTIVE &&
            !pci_driver_is_vfio(f.driver))
                world_fail(w, "%s is assigned and on \"%s\"", PCI_ADDRESS_TEXT(d->address), f.driver);
        pci_facts_done(&f);
}

void world_check(World *w) {
        check_groups(w);
        check_handles(w);
        check_critical(w);
        check_known(w);
        for (size_t i = 0; i < w->n_devices; i++)
                check_idle_device(w, w->devices + i);
}

/* ---- the end ---- */

static void on_end(const EngineAnswer *answer _unused_, const Error *error, void *userdata) {
        if (error)
                world_note(userdata, "  at the end: %s", error->message);
}

static void release_everything(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);
        const Caller root = { .may_manage_others = true, .bus_name = ":1.99" };

        w->ending = true;
        for (size_t i = 0; i < w->n_known; i++)
                w->known[i].ending = true;
        for (size_t i = 0; i < w->n_devices; i++) {
                const Device *d = inventory_device(inventory, w->devices[i].address);
                _cleanup_error_ Error err = ERROR_INIT;
                char id[ASSIGNMENT_ID_MAX];

                if (!d || !d->assignment)
                        continue;
                (void) string_copy(id, sizeof(id), d->assignment->id);
                if (engine_release(w->engine, &root, id, false, on_end, w, &err) < 0)
                        world_note(w, "  not released at the end: %s", err.message);
        }
}

static void check_answers(World *w) {
        for (size_t i = 0; i < w->n_requests; i++)
                if (!w->requests[i].answered && w->requests[i].life == w->life)
                        world_fail(w, "request %zu of client %u was never answered", i, w->requests[i].client);
}

static void check_restored(World *w, const WorldDevice *d) {
        const Device *shown = inventory_device(engine_inventory(w->engine), d->address);
        PciFacts f;

        if (shown && shown->assignment)
                world_fail(w, "%s still belongs to %s (%s)", PCI_ADDRESS_TEXT(d->address), shown->assignment->owner,
                           assignment_state_to_string(shown->assignment->state));
        if (shown && (shown->job || shown->stuck))
                world_fail(w, "%s is still worked on, or stuck", PCI_ADDRESS_TEXT(d->address));
        pci_facts_init(&f, d->address);
        if (host_refresh(w->host, &f, HOST_REFRESH_LINKS) >= 0) {
                if (host_group_locked(w->host, f.iommu_group))
                        world_fail(w, "the group of %s is still locked", PCI_ADDRESS_TEXT(d->address));
                if (!d->tainted && !streq(f.driver, d->driver))
                        world_fail(w, "%s ends on \"%s\" instead of \"%s\"", PCI_ADDRESS_TEXT(d->address), f.driver,
                                   d->driver);
                if (!shown)
                        world_fail(w, "%s is there and not in the inventory at the end", PCI_ADDRESS_TEXT(d->address));
        } else if (!d->tainted)
                world_fail(w, "%s is not there any more", PCI_ADDRESS_TEXT(d->address));
        pci_facts_done(&f);
}

void world_finish(World *w) {
        world_note(w, "the end: faults are lifted, everybody lets go");
        host_sim_clear_faults(w->host);
        for (size_t i = 0; i < w->n_devices; i++)
                (void) host_sim_unhold(w->host, w->devices[i].address);
        world_close_handles(w, NULL, -1);
        /* Twice: what was stuck comes back in the first round. */
        for (unsigned i = 0; i < 2; i++) {
                release_everything(w);
                world_advance(w, PATIENCE);
                /* Open requests that were on their way gave out more. */
                world_close_handles(w, NULL, -1);
        }
        world_check(w);
        check_answers(w);
        for (size_t i = 0; i < w->n_devices; i++)
                check_restored(w, w->devices + i);
}
