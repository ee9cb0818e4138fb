/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The journal against the kernel, at start. The kernel is right about what is; the journal is right
 * about what was meant. An assign without outcome is undone, a release without outcome goes on, an
 * active assignment is looked at: its process, its hardware, its driver. A group that an earlier
 * daemon's worker still holds is stuck until that worker is gone.
 */

#include <assert.h>

#include "engine/engine-kept.h"

#define LOCK_POLL_USEC (500 * USEC_PER_MSEC)

static StoredPlan *open_plan_of(StoredState *state, const char *assignment) {
        for (size_t i = 0; i < state->n_open_plans; i++)
                if (state->open_plans[i].plan && streq(state->open_plans[i].assignment, assignment))
                        return state->open_plans + i;
        return NULL;
}

/* ---- groups that an old worker holds ---- */

typedef struct Held {
        bool undo;    /* the plan, or else go on with the release */
        bool rest;
} Held;

static int begin_recovery(Engine *e, Assignment *a, Plan *plan, bool undo, bool rest);

static bool any_locked(Engine *e, const Plan *plan) {
        for (size_t i = 0; i < plan->n_devices; i++)
                if (host_group_locked(e->host, plan->devices[i].group))
                        return true;
        return false;
}

static void set_stuck(Engine *e, const Plan *plan, bool stuck) {
        for (size_t i = 0; i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (!d || d->stuck == stuck)
                        continue;
                d->stuck = stuck;
                engine_update_verdicts(e, d, d);
                engine_device_changed(e, d);
        }
}

static void poll_lock(Task *t) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        Held *held = t->data;
        int r;

        if (any_locked(e, t->plan)) {
                if (task_fire_at(t, host_now(e->host) + LOCK_POLL_USEC, poll_lock) < 0)
                        log_error("Failed to arm a timer; plan %s is looked at after a restart",
                                  t->plan->id);
                return;
        }
        set_stuck(e, t->plan, false);
        engine_refresh_plan(e, t->plan);
        r = begin_recovery(e, a, t->plan, held->undo, held->rest);
        if (r < 0)
                (void) log_error_errno(r, "Failed to recover plan %s: %m", t->plan->id);
        task_free(t);
}

static int wait_for_lock(Engine *e, const Assignment *a, const Plan *plan, bool undo, bool rest) {
        Held *held;
        Task *t;
        int r;

        r = task_new(e, NULL, NULL, NULL, &t);
        if (r < 0)
                return r;
        held = calloc(1, sizeof(Held));
        t->data = held;
        t->data_free = free;
        r = held ? plan_copy(plan, &t->plan) : -ENOMEM;
        if (r >= 0) {
                *held = (Held) { .undo = undo, .rest = rest };
                if (a)
                        (void) string_copy(t->assignment, sizeof(t->assignment), a->id);
                set_stuck(e, plan, true);
                r = task_fire_at(t, host_now(e->host) + LOCK_POLL_USEC, poll_lock);
        }
        if (r < 0)
                task_free(t);
        return r;
}

static int recovery_job(Engine *e, const Assignment *a, Plan *plan, Job **ret) {
        int r;

        r = engine_job_new(e, plan->kind, a ? a->creator_uid : 0, a ? a->id : NULL, ret);
        if (r >= 0)
                r = job_set_plan(*ret, plan);
        if (r >= 0)
                engine_mark_job(e, plan, *ret);
        return r;
}

static int begin_recovery(Engine *e, Assignment *a, Plan *plan, bool undo, bool rest) {
        Job *j = a ? a->job : NULL;
        int r = 0;

        /* From here on, also while an old worker is waited for: nothing else begins with it. */
        if (undo && a && !j) {
                r = recovery_job(e, a, plan, &j);
                if (r < 0)
                        return r;
                a->job = j;
                engine_adopt_waiting(e, a, j);
        }
        if (any_locked(e, plan))
                return wait_for_lock(e, a, plan, undo, rest);
        if (!undo) {
                r = store_end(e->store, plan->id, HOST_OUTCOME_UNKNOWN, a);
                if (r < 0) /* kept; the release's own plan waits until it can be written */
                        (void) log_warning_errno(r, "Failed to record the end of plan %s: %m",
                                                 plan->id);
                return engine_continue_release(e, a, rest);
        }
        if (!j)
                r = recovery_job(e, a, plan, &j);
        return r < 0 ? r : engine_undo_plan(e, plan, a ? a->id : NULL, j->id);
}

/* ---- assignments ---- */

static void claim_again(Engine *e, Assignment *a) {
        for (size_t i = 0; i < a->plan->n_devices; i++) {
                const PlanDevice *p = a->plan->devices + i;
                Device *d = inventory_device(e->inventory, p->address);

                if (!d || !plan_device_is(p, &d->facts))
                        continue;
                d->assignment = a;
                if (d->group)
                        d->group->assignment = a;
        }
}

static bool plan_is_rest(const Plan *plan) {
        for (size_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].type == STEP_VERIFY)
                        return false;
        return true;
}

static int recover_settled(Engine *e, Assignment *a) {
        bool is_there = engine_reservation_is_there(e, a);

        if (!is_there && a->state == ASSIGNMENT_RESERVED && !a->job)
                return engine_begin_release(e, a, NULL, true, "its hardware is not there");
        if (!is_there && a->state != ASSIGNMENT_LOST) {
                engine_audit(a, MESSAGE_DEVICE_ERROR, LOG_WARNING,
                             "The hardware assigned to %s is not there any more", a->owner);
                (void) engine_step(e, a, ASSIGNMENT_EVENT_DEVICE_LOST);
                engine_notice(e, a, "Lost", a->plan->devices[0].address, NULL);
                (void) store_assignment(e->store, a);
        }
        for (size_t i = 0; i < a->plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, a->plan->devices[i].address);

                if (d && d->assignment == a)
                        (void) engine_check_drift(e, d); /* nobody looks yet */
        }
        if (a->attach_deadline > 0)
                (void) owner_set_deadline(e, a);
        return owner_restore(e, a);
}

/* On a full disk too a daemon starts: what it could not write is kept, and said before anything
 * begins. */
static void forget(Engine *e, const char *id) {
        int r = store_forget(e->store, id);

        if (r < 0)
                (void) log_warning_errno(r, "Failed to record the end of assignment %s: %m", id);
}

static int recover_assignment(Engine *e, Assignment *a, StoredState *state) {
        _cleanup_(plan_freep) Plan *plan = NULL;
        StoredPlan *open = open_plan_of(state, a->id);
        char id[ASSIGNMENT_ID_MAX];

        (void) string_copy(id, sizeof(id), a->id);
        if (open)
                plan = TAKE_PTR(open->plan);
        switch (a->state) {
        case ASSIGNMENT_RELEASED:
                return 0; /* not taken up */
        case ASSIGNMENT_RELEASING:
        case ASSIGNMENT_CLEANING:
                return plan ? begin_recovery(e, a, plan, false, plan_is_rest(plan))
                            : engine_continue_release(e, a, false);
        case ASSIGNMENT_PREPARING:
                if (plan && !PLANTED(SKIP_UNDO))
                        return begin_recovery(e, a, plan, true, false);
                engine_drop_assignment(e, a); /* undone; only its last record is missing */
                forget(e, id);
                return 0;
        case ASSIGNMENT_ACTIVE:
        case ASSIGNMENT_RESERVED:
        case ASSIGNMENT_RECOVERING:
        case ASSIGNMENT_REMOVING:
        case ASSIGNMENT_LOST:
        case ASSIGNMENT_FAILED:
        case _ASSIGNMENT_STATE_MAX:
        case _ASSIGNMENT_STATE_INVALID:
                break;
        }
        if (plan && streq(plan->id, a->plan->id) && a->state == ASSIGNMENT_RESERVED &&
            !engine_reservation_is_there(e, a)) {
                /* What was to be taken up is another card now: it cannot be undone step by step. */
                (void) engine_step(e, a, ASSIGNMENT_EVENT_RELEASE);
                return begin_recovery(e, a, plan, false, true);
        }
        if (plan) { /* an attach on its way: the owner before it keeps it */
                int r = begin_recovery(e, a, plan, true, false);

                if (r < 0)
                        return r;
        }
        return recover_settled(e, a);
}

static int take_assignments(Engine *e, StoredState *state) {
        for (size_t i = 0; i < state->n_assignments; i++) {
                Assignment *a = state->assignments[i];
                int r;

                /* Its devices may be somebody else's by now; its file may still be there. */
                if (a->state == ASSIGNMENT_RELEASED) {
                        if (e->kept_unread >= 0 && !engine_kept_set_unreserved(e, a->id))
                                forget(e, a->id); /* or else when the file is gone */
                        continue;
                }
                if (!a->plan || (a->plan->n_devices == 0 &&
                                 (a->state != ASSIGNMENT_RESERVED ||
                                  !engine_reservation_is_kept(e, a->id)))) {
                        log_warning("Assignment %s of the journal has no devices; it is forgotten",
                                    a->id);
                        (void) store_forget(e->store, a->id);
                        continue;
                }
                r = inventory_add_assignment(e->inventory, a);
                if (r < 0)
                        return r;
                state->assignments[i] = NULL;
                claim_again(e, a);
        }
        return 0;
}

/* "ADDRESS VVVV:DDDD:SSSS:SSSS reason": quarantine follows the hardware, not the place. */
static void take_quarantine(Engine *e, const char *line) {
        _cleanup_strv_ char **words = NULL;
        const char *reason = strchr(line, ' ');
        PciAddress address;
        char identity[24];
        Device *d;

        reason = reason ? strchr(reason + 1, ' ') : NULL;
        if (!reason || strv_split(line, " ", &words) < 0 ||
            pci_address_parse(words[0], &address) < 0)
                return;
        d = inventory_device(e->inventory, address);
        if (!d)
                return;
        (void) snprintf(identity, sizeof(identity), "%04x:%04x:%04x:%04x", d->facts.vendor,
                        d->facts.device, d->facts.subsystem_vendor, d->facts.subsystem_device);
        if (streq(words[1], identity) && engine_kept_set_quarantine(e, d, reason + 1) < 0)
                log_warning("Not enough memory to quarantine %s", words[0]);
}

int engine_reconcile(Engine *e, StoredState *state) {
        _cleanup_free_ Assignment **all = NULL;
        size_t n = 0;
        Assignment *a;
        int r;

        assert(e);
        assert(state);
        for (size_t i = 0; i < state->n_quarantined; i++)
                take_quarantine(e, state->quarantined[i]);
        r = take_assignments(e, state);
        if (r < 0)
                return r;
        all = calloc(hashmap_size(e->inventory->assignments) + 1, sizeof(Assignment *));
        if (!all)
                return -ENOMEM;
        HASHMAP_FOREACH(a, e->inventory->assignments)
                all[n++] = a;
        for (size_t i = 0; i < n; i++) { /* each may drop itself, none another */
                r = recover_assignment(e, all[i], state);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < state->n_open_plans; i++) {
                Plan *plan = state->open_plans[i].plan;

                r = plan ? begin_recovery(e, NULL, plan, true, false) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}
