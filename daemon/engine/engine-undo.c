/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Undoing a plan by the facts, when it is not known how far it came: after a crash, after a step
 * that did not come back, after an undo that failed. The worker finds what each step left and takes
 * it back in reverse. Tried a few times; then an assign is released by the facts, which waits for
 * holders, and any other device is quarantined, never handed out.
 */

#include <assert.h>

#include "engine/engine-kept.h"

#define UNDO_RETRY_USEC (2 * USEC_PER_SEC)
#define UNDO_ATTEMPTS_MAX 3U

static void undo_finished(Task *t, const HostResult *result);

static void undo_attempt(Task *t) {
        int r = task_run_plan(t, undo_finished);

        if (r < 0 && task_fire_at(t, host_now(t->engine->host) + UNDO_RETRY_USEC, undo_attempt) < 0)
                log_error("Failed to arm a timer; plan %s is undone after a restart", t->plan->id);
}

/* IDENTITY: the IDs that the same hardware shows again. */
void engine_quarantine(Engine *e, Device *d, const char *reason) {
        _cleanup_free_ char *text = NULL;
        int r;

        assert(e);
        assert(d);
        text = strjoinf("%04x:%04x:%04x:%04x %s", d->facts.vendor, d->facts.device,
                        d->facts.subsystem_vendor, d->facts.subsystem_device, reason);
        r = text ? store_quarantine(e->store, PCI_ADDRESS_TEXT(d->facts.address), text) : -ENOMEM;
        if (r < 0)
                (void) log_warning_errno(r, "Failed to record that %s is quarantined: %m",
                                         PCI_ADDRESS_TEXT(d->facts.address));
        r = engine_kept_set_quarantine(e, d, reason);
        if (r < 0) {
                (void) log_error_errno(r, "Failed to quarantine %s: %m",
                                       PCI_ADDRESS_TEXT(d->facts.address));
                return;
        }
        (void) log_context(&(LogContext) { .message_id = MESSAGE_QUARANTINED,
                                          .device = PCI_ADDRESS_TEXT(d->facts.address) },
                           LOG_ERR, 0, "%s is quarantined: %s", PCI_ADDRESS_TEXT(d->facts.address),
                           reason);
}

void engine_unquarantine(Engine *e, Device *d) {
        int r;

        assert(e);
        assert(d);
        if (!d->quarantine)
                return;
        r = store_quarantine(e->store, PCI_ADDRESS_TEXT(d->facts.address), NULL);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to record that %s is quarantined no more: %m",
                                         PCI_ADDRESS_TEXT(d->facts.address));
        r = engine_kept_set_quarantine(e, d, NULL);
        if (r < 0) {
                (void) log_error_errno(r, "Failed to end the quarantine of %s: %m",
                                       PCI_ADDRESS_TEXT(d->facts.address));
                return;
        }
        (void) log_context(&(LogContext){ .message_id = MESSAGE_QUARANTINED,
                                          .device = PCI_ADDRESS_TEXT(d->facts.address) },
                           LOG_NOTICE, 0, "%s is quarantined no more",
                           PCI_ADDRESS_TEXT(d->facts.address));
}

/* An assign that cannot be undone step by step is released by the facts, which waits for whoever is
 * in the way. */
static void release_instead(Task *t, Assignment *a, Error *err) {
        Engine *e = t->engine;
        Job *j = task_job(t);
        int r;

        a->job = NULL;
        if (a->state == ASSIGNMENT_PREPARING || a->state == ASSIGNMENT_LOST)
                (void) engine_step(e, a, ASSIGNMENT_EVENT_PREPARE_FAILED);
        r = store_end(e->store, t->plan->id, HOST_OUTCOME_FAILED, a);
        if (r < 0)
                (void) log_warning_errno(
                        r, "Failed to record that a plan failed; a restart looks at it again: %m");
        if (j)
                engine_job_finish(e, j, JOB_FAILED, err);
        task_free(t);
        r = engine_begin_release(e, a, NULL, false, "its plan could not be undone");
        if (r < 0)
                (void) log_error_errno(r, "Failed to take back assignment %s: %m", a->id);
}

static void undo_gave_up(Task *t, Assignment *a, Error *err) {
        Engine *e = t->engine;
        Job *j = task_job(t);

        if (a && a->plan && streq(a->plan->id, t->plan->id) && a->state != ASSIGNMENT_RESERVED) {
                release_instead(t, a, err);
                return;
        }
        if (a && a->job == j)
                a->job = NULL;
        for (size_t i = 0; i < t->plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, t->plan->devices[i].address);

                if (d)
                        engine_quarantine(e, d, "a plan could be neither finished nor undone");
        }
        if (a && a->plan && streq(a->plan->id, t->plan->id))
                engine_reservation_failed(e, a, err);
        if (store_end(e->store, t->plan->id, HOST_OUTCOME_FAILED, NULL) < 0)
                log_warning("Failed to record the end of plan %s; a restart looks at it again",
                            t->plan->id);
        if (j)
                engine_job_finish(e, j, JOB_FAILED, err);
        task_free(t);
}

static void undo_done(Task *t, Assignment *a) {
        Engine *e = t->engine;
        Job *j = task_job(t);
        _cleanup_error_ Error err = ERROR_INIT;
        bool held;
        int r;

        /* An attach or a count of virtual functions leaves its assignment; an assign takes it
         * along. */
        bool drop = a && a->plan && streq(a->plan->id, t->plan->id);

        r = store_end_and_forget(e->store, t->plan->id, HOST_OUTCOME_ROLLED_BACK,
                                 drop ? a->id : NULL);
        if (r < 0)
                (void) log_warning_errno(
                        r,
                        "Failed to record that a plan was undone; a restart looks at it again: %m");
        (void) error_set(&err, ERROR_STUCK,
                         "The operation did not come back in time; it was undone when it did");
        if (a)
                engine_audit(a, MESSAGE_RECOVERED, LOG_NOTICE, "Undone after an unknown outcome");
        if (a && a->job == j)
                a->job = NULL;
        /* Only an assignment is undone: what a rule wanted is done to its end. */
        held = t->plan->kind == PLAN_HOLD && engine_take_held(e, t->plan);
        if (j)
                engine_job_finish(e, j, held ? JOB_DONE : JOB_FAILED, held ? NULL : &err);
        engine_refresh_plan(e, t->plan);
        if (drop && a->state == ASSIGNMENT_RESERVED)
                engine_reservation_failed(e, a, NULL); /* it is tried again */
        else if (drop) {
                if (engine_step(e, a, ASSIGNMENT_EVENT_PREPARE_FAILED))
                        engine_drop_assignment(e, a);
        } else if (a && a->release_wanted)
                (void) engine_begin_release(e, a, NULL, false, "asked for meanwhile");
        task_free(t);
}

static void undo_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                t->ended = undo_attempt;
                return;
        }
        engine_kept_take(e, t->plan, result);
        engine_refresh_plan(e, t->plan);
        if (result->outcome != HOST_OUTCOME_FAILED &&
            (result->outcome == HOST_OUTCOME_DONE || result->error == 0 ||
             result->failed_step != SIZE_MAX)) {
                undo_done(t, a);
                return;
        }
        (void) error_from_result(&err, result, "Undoing");
        (void) log_warning("Plan %s: %s", t->plan->id, err.message);
        if (++t->attempts >= UNDO_ATTEMPTS_MAX) {
                undo_gave_up(t, a, &err);
                return;
        }
        if (task_fire_at(t, host_now(e->host) + (UNDO_RETRY_USEC << t->attempts), undo_attempt) < 0)
                undo_gave_up(t, a, &err);
}

int engine_undo_plan(Engine *e, Plan *plan, const char *assignment, uint64_t job) {
        Task *t;
        int r;

        assert(e);
        assert(plan);
        r = task_new(e, NULL, NULL, NULL, &t);
        if (r < 0)
                return r;
        r = plan_copy(plan, &t->plan);
        if (r < 0) {
                task_free(t);
                return r;
        }
        (void) string_copy(t->assignment, sizeof(t->assignment), strempty(assignment));
        t->job = job;
        t->urgent = t->patient = true;
        t->request.plan_recovery = true;
        undo_attempt(t);
        return 0;
}

int engine_begin_undo(Engine *e, Assignment *a, Plan *plan, uint64_t job) {
        assert(a);
        return engine_undo_plan(e, plan, a->id, job);
}
