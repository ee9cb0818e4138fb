/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The ten invariants of the design, each checked by the function that is named after it, whenever
 * everything that was due has been done. What can be known without the engine is read from the
 * simulated kernel (invariants-kernel.c) or from what the test itself saw; the engine's word is
 * only taken for what it claims.
 */

#include "base/strutil.h"
#include "pci/driver.h"
#include "world.h"

/* 1. The inventory's groups name one owner at most, the same for each member; quotas and
 * request-ids hold; what was acknowledged and not given back is there, what was given back stays
 * away; a connection's or a process's assignment does not outlive it. Descriptors that a client
 * still has keep others out of the group. */
static void check_group(World *w, const Device *d) {
        const Assignment *owner = NULL;

        LIST_FOREACH(&d->group->devices, link) {
                const Device *mate = LIST_ENTRY(link, Device, in_group);

                if (!mate->assignment)
                        continue;
                if (owner && owner != mate->assignment)
                        world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP,
                                   "group %u has two owners: %s and %s", d->group->id, owner->owner,
                                   mate->assignment->owner);
                owner = mate->assignment;
        }
        if (owner && d->group->assignment != owner)
                world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP, "group %u does not know its owner %s",
                           d->group->id, owner->owner);
}

static void check_handles(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);

        for (size_t i = 0; i < w->n_handles; i++) {
                const WorldHandle *h = w->handles + i;
                const Group *g = h->is_shared ? NULL : inventory_group(inventory, h->group);
                const Assignment *owner = g ? g->assignment : NULL;

                if (owner && !streq(owner->id, h->assignment) && owner->state == ASSIGNMENT_ACTIVE)
                        world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP,
                                   "group %u went to %.8s while %.8s has descriptors of it",
                                   h->group, owner->id, h->assignment);
        }
}

static void check_known(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);

        for (size_t i = 0; i < w->n_known; i++) {
                const WorldKnown *k = w->known + i;
                const Assignment *a = inventory_assignment(inventory, k->id);

                if (!k->ending && !a)
                        world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP,
                                   "assignment %.8s of client %u was acknowledged and is not there",
                                   k->id, k->client);
                if (k->ended && !w->disk_was_faulty && a && a->state == ASSIGNMENT_ACTIVE)
                        world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP,
                                   "assignment %.8s was released and is back", k->id);
        }
}

static void check_assignment(World *w, const Assignment *a) {
        const Inventory *inventory = engine_inventory(w->engine);
        unsigned n_of_uid = 0;
        Assignment *other;

        HASHMAP_FOREACH(other, inventory->assignments) {
                n_of_uid += other->creator_uid == a->creator_uid;
                if (other != a && a->request_id && other->creator_uid == a->creator_uid &&
                    streq_ptr(a->request_id, other->request_id))
                        world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP,
                                   "request-id %s has two assignments", a->request_id);
        }
        if (n_of_uid > WORLD_MAX_ASSIGNMENTS_PER_UID)
                world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP, "uid %u has %u assignments",
                           (unsigned) a->creator_uid, n_of_uid);
        if (a->state == ASSIGNMENT_ACTIVE && !a->job && a->lifetime == LIFETIME_CONNECTION &&
            a->creator_uid >= 1000 && a->creator_uid < 1000 + WORLD_CLIENTS &&
            w->client_gone[a->creator_uid - 1000])
                world_fail(w, INVARIANT_ONE_OWNER_PER_GROUP,
                           "assignment %.8s outlives its client's connection", a->id);
}

static void check_one_owner_per_group(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);
        Assignment *a;

        for (size_t i = 0; i < inventory->n_devices; i++)
                if (inventory->sorted[i]->group)
                        check_group(w, inventory->sorted[i]);
        check_handles(w);
        check_known(w);
        HASHMAP_FOREACH(a, inventory->assignments)
                check_assignment(w, a);
}

/* 2 is invariants-kernel.c's: each step on the kernel is looked up in the journal. */

/* 3. The loop never waits: after everything that was due, each assignment is either worked on by a
 * job or settled; one that is neither would be one that the loop forgot. That the loop comes to an
 * end at each instant is checked by the clock (world.c), that no held device is unbound or reset by
 * invariants-kernel.c, and that each request is answered by world_finish(). */
static void check_loop_never_blocks(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);
        Assignment *a;

        HASHMAP_FOREACH(a, inventory->assignments) {
                bool transitional = a->state == ASSIGNMENT_PREPARING ||
                                    a->state == ASSIGNMENT_RELEASING ||
                                    a->state == ASSIGNMENT_CLEANING;
                bool waits_for_worker = false;

                for (size_t i = 0; a->plan && i < a->plan->n_devices; i++) {
                        const Device *d = inventory_device(inventory, a->plan->devices[i].address);

                        waits_for_worker |= !d || d->stuck; /* an earlier daemon's */
                }
                if (transitional && !a->job && !waits_for_worker && !w->just_started)
                        world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS,
                                   "assignment %.8s is %s and nothing works on it", a->id,
                                   assignment_state_to_string(a->state));
                if (a->job && a->job->finished)
                        world_fail(w, INVARIANT_LOOP_NEVER_BLOCKS,
                                   "assignment %.8s waits for job %llu, which is over", a->id,
                                   (unsigned long long) a->job->id);
        }
}

/* 4. A refusal has a code and a message. A verdict carries a document that names, for each device
 * of the group, the blocker's code; a step that failed ("Assigning: …") is named by the message and
 * by its job. */
static bool names_blockers(const Json *details) {
        const Json *blockers = json_get(details, "blockers");

        for (size_t i = 0; i < json_length(blockers); i++) {
                const Json *b = json_at(blockers, i);
                const char *code = NULL, *device = NULL;

                (void) json_get_string(b, "code", &code);
                (void) json_get_string(b, "device", &device);
                if (isempty(code) || isempty(device))
                        return false;
        }
        return json_length(blockers) > 0;
}

static bool needs_blockers(ErrorCode code) {
        return code == ERROR_NOT_VIABLE || code == ERROR_HOST_CRITICAL || code == ERROR_OWNED ||
               code == ERROR_QUARANTINED;
}

void world_check_refusal(World *w, const WorldRequest *q, const Error *error) {
        _cleanup_json_ Json *details = NULL;

        if (error->code == ERROR_NONE || !error->message[0])
                world_fail(w, INVARIANT_REFUSAL_IS_DATA, "a refusal without a reason");
        if (error->details && json_parse(error->details, strlen(error->details),
                                         JSON_LIMITS_DEFAULT, &details, NULL, NULL) < 0)
                world_fail(w, INVARIANT_REFUSAL_IS_DATA, "the details of a refusal are no JSON");
        if (q->kind == REQUEST_ASSIGN && needs_blockers(error->code) && !names_blockers(details) &&
            strncmp(error->message, "Assigning: ", 11) != 0)
                world_fail(w, INVARIANT_REFUSAL_IS_DATA,
                           "refused as %s without naming a blocker: %s",
                           error_code_to_string(error->code), strempty(error->details));
}

/* 10. Whoever loses a device under his hands has a notice "Lost" of it, and what was once sent
 * stays readable until it is acknowledged, also by the next daemon. */
static bool has_notice(const Assignment *a, const char *kind, PciAddress device) {
        for (size_t i = 0; i < EVENTS_MAX; i++)
                if (a->notices[i].number > 0 && streq(a->notices[i].kind, kind) &&
                    streq_ptr(a->notices[i].device, PCI_ADDRESS_TEXT(device)))
                        return true;
        return false;
}

static void check_owner_hears(World *w) {
        const Inventory *inventory = engine_inventory(w->engine);

        for (size_t i = 0; i < w->n_notices; i++) {
                const WorldNotice *n = w->notices + i;
                const Assignment *a = inventory_assignment(inventory, n->assignment);
                const AssignmentNotice *kept = a ? assignment_get_notice(a, n->number) : NULL;

                if (n->settled && a && !w->disk_was_faulty &&
                    (!kept || !streq(kept->kind, n->kind)))
                        world_fail(w, INVARIANT_OWNER_HEARS, "notice %llu (%s) of %.8s is not kept",
                                   (unsigned long long) n->number, n->kind, a->id);
        }
        for (size_t i = 0; i < w->n_devices; i++) {
                WorldDevice *d = w->devices + i;
                const Device *shown = inventory_device(inventory, d->address);

                if (!d->expect_lost || !shown || !shown->gone || !shown->assignment)
                        continue;
                d->expect_lost = false;
                /* On its way out already: the release says what became of it. */
                if (shown->assignment->state != ASSIGNMENT_LOST &&
                    shown->assignment->state != ASSIGNMENT_ACTIVE)
                        continue;
                if (!has_notice(shown->assignment, "Lost", d->address))
                        world_fail(w, INVARIANT_OWNER_HEARS,
                                   "%s was pulled out and %.8s was not told",
                                   PCI_ADDRESS_TEXT(d->address), shown->assignment->id);
        }
}

void world_check(World *w) {
        w->report->checks++;
        check_one_owner_per_group(w);
        check_loop_never_blocks(w);
        check_owner_hears(w);
        world_check_kernel(w);
        w->just_started = false;
}
