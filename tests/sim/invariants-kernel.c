/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Those of the ten invariants that need the kernel's side, read from the host and never from the
 * engine, which could be wrong about it: the journal before each step, nobody's device disturbed,
 * the host's own devices left alone, what a release left, the inventory against the facts.
 */

#include "base/strutil.h"
#include "pci/driver.h"
#include "world.h"

/* 2. At each step that a job runs on the kernel, its plan stands in the journal, synced and without
 * an outcome.
 * 3. No step of a job waits in the kernel for a holder, but for what waits in the worker.
 * 6. No step touches a device that the host needs. */
static void before_step(const Plan *plan, size_t step, bool undo, void *userdata) {
        World *w = userdata;
        const Step *s = plan->steps + step;
        const WorldDevice *d = s->has_device ? world_device(w, s->device) : NULL;

        /* A plan that only writes below the state directory touches no kernel. */
        if (plan->kind != PLAN_RECORD && !disk_has_plan(plan->id))
                world_fail(w, INVARIANT_JOURNAL_BEFORE_KERNEL,
                           "%s of %s%s: the plan is not in the journal",
                           step_type_to_string(s->type), PCI_ADDRESS_TEXT(s->device),
                           undo ? ", undone" : "");
        if (d && d->critical)
                world_fail(w, INVARIANT_HOST_SURVIVES, "%s of %s, which the host needs",
                           step_type_to_string(s->type), PCI_ADDRESS_TEXT(s->device));
}

/* 5. A reset cleans the function, one of its bus every function on that. */
static void note_reset(World *w, const Step *s) {
        for (size_t i = 0; i < w->n_devices; i++)
                if (pci_address_equal(w->devices[i].address, s->device) ||
                    (streq(strempty(s->value), "bus") &&
                     w->devices[i].address.bus == s->device.bus))
                        w->devices[i].clean = true;
}

/* 5. Whoever is given a device is its last owner again, or it was reset since. */
void world_check_handed_over(World *w, const Assignment *a) {
        for (size_t i = 0; a->plan && i < a->plan->n_devices; i++) {
                WorldDevice *d = a->plan->devices[i].requested
                                         ? world_device(w, a->plan->devices[i].address)
                                         : NULL;
                char owner[64];

                if (!d)
                        continue;
                (void) snprintf(owner, sizeof(owner), "%u %s", (unsigned) a->creator_uid, a->owner);
                if (d->owner[0] && !streq(d->owner, owner) && !d->clean)
                        world_fail(w, INVARIANT_NO_DIRTY_HAND_OVER,
                                   "%s goes from %s to %s and was not reset",
                                   PCI_ADDRESS_TEXT(d->address), d->owner, owner);
                (void) string_copy(d->owner, sizeof(d->owner), owner);
                d->clean = false;
        }
}

static void after_step(const Plan *plan, size_t step, bool undo, int result, void *userdata) {
        const Step *s = plan->steps + step;
        World *w = userdata;

        if (w->verbose)
                world_note(w, "  kernel: %s%s of %s: %s", undo ? "undo " : "",
                           step_type_to_string(s->type), PCI_ADDRESS_TEXT(s->device),
                           result < 0 ? strempty(strerrorname_np(-result)) : "done");
        if (result == 0 && s->type == STEP_RESET)
                note_reset(w, s);
        if (result <= 0 || (!undo && (s->type == STEP_PROVE_UNHELD || s->type == STEP_AWAIT_READY)))
                return;
        world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS,
                   "%s of %s waits in the kernel for whoever holds it",
                   step_type_to_string(s->type), PCI_ADDRESS_TEXT(s->device));
}

static const SimObserver kernel_observer = { .before = before_step, .after = after_step };

void world_watch_kernel(World *w) {
        host_sim_observe(w->host, &kernel_observer, w);
}

/* 6. What the host needs stays on its driver, and is nobody's. */
static void check_host_survives(World *w, const WorldDevice *d, const Device *shown,
                                const SimLook *f) {
        if (!d->critical)
                return;
        if (!f || !streq(f->driver, d->driver))
                world_fail(w, INVARIANT_HOST_SURVIVES, "%s, which the host needs, is on \"%s\"",
                           PCI_ADDRESS_TEXT(d->address), f ? f->driver : "nothing");
        if (shown && shown->assignment && shown->assignment->state != ASSIGNMENT_PREPARING)
                world_fail(w, INVARIANT_HOST_SURVIVES, "%s, which the host needs, belongs to %s",
                           PCI_ADDRESS_TEXT(d->address), shown->assignment->owner);
}

/* 7 and 2. What nothing works on is as it was before anybody asked for it, driver and override:
 * never in between. */
static void check_release_restores(World *w, const WorldDevice *d, const Device *shown,
                                   const SimLook *f) {
        if (shown->quarantine) /* rests on vfio-pci */
                return;
        if (d->tainted || shown->job || shown->assignment || shown->stuck ||
            host_group_locked(w->host, f->group))
                return;
        if (!streq(f->driver, d->driver))
                world_fail(w, INVARIANT_RELEASE_RESTORES,
                           "%s is idle, nobody's, and on \"%s\" instead of \"%s\"",
                           PCI_ADDRESS_TEXT(d->address), f->driver, d->driver);
        if (!streq(f->override, d->override))
                world_fail(w, INVARIANT_RELEASE_RESTORES,
                           "%s is idle, nobody's, and its override is \"%s\"",
                           PCI_ADDRESS_TEXT(d->address), f->override);
}

/* 8. The inventory shows what the kernel has, unless events were lost and that was not noticed yet.
 * What is assigned is on a VFIO driver; what is assigned is the hardware that was asked for, not
 * what stands in its place. */
static void check_kernel_facts_win(World *w, const WorldDevice *d, const Device *shown,
                                   const SimLook *f) {
        if (!shown)
                world_fail(w, INVARIANT_KERNEL_FACTS_WIN, "%s is there and not in the inventory",
                           PCI_ADDRESS_TEXT(d->address));
        if (shown->gone)
                return; /* kept for its assignment's sake: another one may be in its place */
        if (!streq(shown->facts.driver, f->driver) && !shown->job)
                world_fail(w, INVARIANT_KERNEL_FACTS_WIN, "%s is on \"%s\" and shown on \"%s\"",
                           PCI_ADDRESS_TEXT(d->address), f->driver, shown->facts.driver);
        if (shown->facts.device != f->device)
                world_fail(w, INVARIANT_KERNEL_FACTS_WIN, "%s is another card than is shown",
                           PCI_ADDRESS_TEXT(d->address));
        if (shown->assignment && !shown->assignment->job &&
            shown->assignment->state == ASSIGNMENT_ACTIVE && !d->tainted &&
            !pci_driver_is_vfio(f->driver))
                world_fail(w, INVARIANT_KERNEL_FACTS_WIN, "%s is assigned and on \"%s\"",
                           PCI_ADDRESS_TEXT(d->address), f->driver);
}

static void check_hardware(World *w, const WorldKnown *k) {
        const Assignment *a = inventory_assignment(engine_inventory(w->engine), k->id);

        if (!a || a->state != ASSIGNMENT_ACTIVE || a->job)
                return;
        for (size_t i = 0; i < k->n_devices; i++) {
                const WorldKnownDevice *d = k->devices + i;
                SimLook f;

                if (host_sim_look(w->host, d->address, &f) &&
                    (f.vendor != d->vendor || f.device != d->device))
                        world_fail(w, INVARIANT_KERNEL_FACTS_WIN,
                                   "%s was leased to %.8s as %04x:%04x; what is there now is "
                                   "%04x:%04x",
                                   PCI_ADDRESS_TEXT(d->address), k->id, d->vendor, d->device,
                                   f.vendor, f.device);
        }
}

/* 5 and 2. Quarantine ends only when somebody asks for it. */
static void check_quarantine(World *w, WorldDevice *d, const Device *shown) {
        if (d->quarantined && !shown->quarantine && !w->disk_was_faulty)
                world_fail(w, INVARIANT_NO_DIRTY_HAND_OVER,
                           "%s was quarantined, and is not any more", PCI_ADDRESS_TEXT(d->address));
        d->quarantined = shown->quarantine != NULL;
        if (d->quarantined && !w->disk_was_faulty && shown->assignment &&
            shown->assignment->state == ASSIGNMENT_ACTIVE)
                world_fail(w, INVARIANT_NO_DIRTY_HAND_OVER, "%s is quarantined and belongs to %s",
                           PCI_ADDRESS_TEXT(d->address), shown->assignment->owner);
}

static void check_device(World *w, WorldDevice *d) {
        const Device *shown = inventory_device(engine_inventory(w->engine), d->address);
        SimLook f;
        bool there = host_sim_look(w->host, d->address, &f);

        check_host_survives(w, d, shown, there ? &f : NULL);
        if (!there)
                return;
        if (!host_sim_loses_events(w->host))
                check_kernel_facts_win(w, d, shown, &f);
        if (shown) {
                check_release_restores(w, d, shown, &f);
                check_quarantine(w, d, shown);
        }
}

void world_check_kernel(World *w) {
        for (size_t i = 0; i < w->n_devices; i++)
                check_device(w, w->devices + i);
        for (size_t i = 0; i < w->n_known && !host_sim_loses_events(w->host); i++)
                check_hardware(w, w->known + i);
}

/* 7. What is not as it was before the assignment is listed. */
void world_check_removed(World *w, const Assignment *a) {
        for (size_t i = 0; a->plan && a->state == ASSIGNMENT_RELEASED && i < a->plan->n_devices;
             i++) {
                const PlanDevice *p = a->plan->devices + i;
                const Device *shown = inventory_device(engine_inventory(w->engine), p->address);
                bool listed = shown && shown->quarantine;
                SimLook f;

                for (size_t k = 0; a->differs && a->differs[k]; k++)
                        listed |= strncmp(a->differs[k], PCI_ADDRESS_TEXT(p->address),
                                          strlen(PCI_ADDRESS_TEXT(p->address))) == 0;
                if (listed || host_sim_loses_events(w->host) ||
                    !host_sim_look(w->host, p->address, &f))
                        continue;
                if (!streq(f.driver, strempty(p->driver_before)) && f.vendor == p->vendor &&
                    f.device == p->device)
                        world_fail(w, INVARIANT_RELEASE_RESTORES,
                                   "%s was given back on \"%s\", was on \"%s\", and nobody says so",
                                   PCI_ADDRESS_TEXT(p->address), f.driver,
                                   strempty(p->driver_before));
        }
}

/* ---- the end ---- */

#define PATIENCE (3600 * USEC_PER_SEC)

static void on_end(const EngineAnswer *answer _unused_, const Error *error, void *userdata) {
        if (error)
                world_note(userdata, "  at the end: %s", error->message);
}

static void release_everything(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);
        const Caller root = { .may_manage_others = true, .bus_name = ":1.99" };

        char ids[64][ASSIGNMENT_ID_MAX];
        Assignment *a;
        size_t n = 0;

        HASHMAP_FOREACH(a, inventory->assignments)
                if (n < ELEMENTSOF(ids))
                        (void) string_copy(ids[n++], sizeof(ids[0]), a->id);
        for (size_t i = 0; i < n; i++) {
                _cleanup_error_ Error err = ERROR_INIT;

                if (inventory_assignment(inventory, ids[i]) &&
                    engine_release(w->engine, &root, ids[i], false, on_end, w, &err) < 0)
                        world_note(w, "  not released at the end: %s", err.message);
        }
}

static void check_answers(World *w) {
        for (size_t i = 0; i < w->n_requests; i++)
                if (!w->requests[i].answered && w->requests[i].life == w->life)
                        world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS,
                                   "request %zu of client %u was never answered", i,
                                   w->requests[i].client);
}

static void check_restored(World *w, const WorldDevice *d) {
        const Device *shown = inventory_device(engine_inventory(w->engine), d->address);
        SimLook f;

        if (shown && shown->assignment)
                world_fail(w, INVARIANT_RELEASE_RESTORES, "%s still belongs to %s (%s)",
                           PCI_ADDRESS_TEXT(d->address), shown->assignment->owner,
                           assignment_state_to_string(shown->assignment->state));
        if (shown && (shown->job || shown->stuck))
                world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS, "%s is still worked on, or stuck",
                           PCI_ADDRESS_TEXT(d->address));
        if (host_sim_look(w->host, d->address, &f)) {
                if (host_group_locked(w->host, f.group))
                        world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS,
                                   "the group of %s is still locked", PCI_ADDRESS_TEXT(d->address));
        } else if (!d->tainted)
                world_fail(w, INVARIANT_RELEASE_RESTORES, "%s is not there any more",
                           PCI_ADDRESS_TEXT(d->address));
}

/* Losses that nobody was told of yet are found out by the next events. */
static void flush_events(World *w) {
        for (unsigned i = 0; i < 16 && host_sim_loses_events(w->host); i++)
                (void) host_sim_trigger(w->host, w->devices[w->n_devices - 1].address);
        world_settle(w);
}

void world_finish(World *w) {
        world_note(w, "the end: faults are lifted, everybody lets go");
        w->ending = true;
        w->crash_in = 0;
        for (size_t i = 0; i < w->n_known; i++)
                w->known[i].ending = true;
        disk_clear();
        host_sim_set_state_error(w->host, 0);
        host_sim_clear_faults(w->host);
        for (size_t i = 0; i < w->n_devices; i++)
                (void) host_sim_unhold(w->host, w->devices[i].address);
        world_close_handles(w, NULL, -1);
        flush_events(w);
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
