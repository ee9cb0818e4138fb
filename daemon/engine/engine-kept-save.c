/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kept state that is true whether or not it can be written down now: memory changes at once, and
 * the file follows by a plan of its own, which touches no device and takes no lock. A full or
 * broken state directory makes that wait, with growing pauses, and stops nothing else: least of all
 * a release.
 */

#include <assert.h>

#include "engine/engine-kept.h"

#define RETRY_FIRST_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_USEC (60 * USEC_PER_SEC)

static int want(Engine *e, const char *name) {
        return strv_contains(e->kept_unsaved, name) ? 0 : strv_extend(&e->kept_unsaved, name);
}

static void saved(Engine *e, const Plan *plan) {
        char **left = NULL;

        for (char **name = e->kept_unsaved; name && *name; name++) {
                bool done = false;

                for (size_t i = 0; i < plan->n_steps && !done; i++)
                        done = streq(*name, strempty(plan->steps[i].value));
                if (!done && strv_extend(&left, *name) < 0) {
                        strv_free(left);
                        return; /* all are written once more */
                }
        }
        strv_free(e->kept_unsaved);
        e->kept_unsaved = left;
}

/* The file of a reservation is gone: nothing is left that the journal would have to remember. */
static void forget_unreserved(Engine *e, const Plan *plan) {
        for (size_t i = 0; i < plan->n_steps; i++) {
                const Step *s = plan->steps + i;
                char id[ASSIGNMENT_ID_MAX];
                int r;

                if (!isempty(s->expect) || !kept_reservation_id(strempty(s->value), id) ||
                    inventory_assignment(e->inventory, id))
                        continue;
                r = store_forget(e->store, id);
                if (r < 0)
                        (void) log_warning_errno(
                                r, "Failed to record the end of assignment %s: %m", id);
        }
}

static void attempt(Task *t);

static void retry(Task *t) {
        usec_t pause = RETRY_FIRST_USEC << MIN(t->attempts, 6U);

        t->attempts++;
        if (task_fire_at(t, host_now(t->engine->host) + MIN(pause, RETRY_MAX_USEC), attempt) < 0)
                log_error("Failed to arm a timer; kept state is written with the next change");
}

static void finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;

        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                t->ended = attempt;
                return;
        }
        if (store_end(e->store, t->plan->id, result->outcome, NULL) < 0)
                log_warning("Failed to record the end of plan %s; a restart looks at it again",
                            t->plan->id);
        /* Memory is ahead of the files here: only what went wrong is of interest. */
        engine_kept_note(e, t->plan, result);
        if (result->outcome != HOST_OUTCOME_DONE) {
                retry(t);
                return;
        }
        forget_unreserved(e, t->plan);
        saved(e, t->plan);
        if (e->kept_unsaved) {
                t->attempts = 0;
                attempt(t);
                return;
        }
        e->kept_saving = false;
        task_free(t);
}

static int make_plan(Engine *e, Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_RECORD);
        int r = plan ? engine_random_id(plan->id) : -ENOMEM;

        for (char **name = e->kept_unsaved;
             r >= 0 && name && *name && plan->n_steps < PLAN_STEPS_MAX; name++) {
                _cleanup_free_ char *text = NULL;
                Step *s = plan_add_step(plan, STEP_COMMIT_STATE, 0);

                r = s ? engine_kept_text(e, *name, &text) : -ENOMEM;
                if (r >= 0)
                        r = step_set(s, *name, NULL, strempty(text));
                if (r >= 0)
                        s->timeout_msec = e->options.step_timeout_msec;
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

static void attempt(Task *t) {
        Engine *e = t->engine;
        int r;

        t->plan = plan_free(t->plan);
        r = make_plan(e, &t->plan);
        if (r >= 0)
                r = store_begin(e->store, t->plan, NULL);
        if (r >= 0) {
                r = task_run_plan(t, finished);
                if (r < 0)
                        (void) store_end(e->store, t->plan->id, HOST_OUTCOME_ROLLED_BACK, NULL);
        }
        if (r < 0)
                retry(t);
}

/* From the loop: what changes together is written together. */
static int start(Engine *e) {
        Task *t;
        int r;

        if (e->kept_saving)
                return 0;
        r = task_new(e, NULL, NULL, NULL, &t);
        if (r < 0)
                return r;
        t->patient = true;
        r = task_fire_at(t, host_now(e->host), attempt);
        if (r < 0) {
                task_free(t);
                return r;
        }
        e->kept_saving = true;
        return 0;
}

/* Does in memory what the steps of the plan say, and has the files follow. */
static int take(Engine *e, Device *d, const Plan *plan) {
        int r = 0;

        /* So it is from now on, but nothing was written yet that could end the trouble. */
        engine_kept_apply(e, plan, HOST_OUTCOME_DONE);
        for (size_t i = 0; r >= 0 && i < plan->n_steps; i++)
                r = want(e, plan->steps[i].value);
        if (d && engine_kept_match(e, d)) {
                engine_update_verdicts(e, d, d);
                engine_device_changed(e, d);
        }
        return r < 0 || plan->n_steps == 0 ? r : start(e);
}

int engine_kept_set_clean(Engine *e, Device *d) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_RECORD);
        int r = plan ? engine_kept_add_clean(e, plan, d) : -ENOMEM;

        return r < 0 ? r : take(e, d, plan);
}

int engine_kept_set_quarantine(Engine *e, Device *d, const char *reason) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_RECORD);
        int r = plan ? engine_kept_add_quarantine(e, plan, d, reason) : -ENOMEM;

        return r < 0 ? r : take(e, d, plan);
}

bool engine_kept_set_unreserved(Engine *e, const char *id) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_RECORD);
        int r = plan ? engine_kept_add_unreserve(e, plan, id) : -ENOMEM;
        bool pending = r < 0 || plan->n_steps > 0;

        if (r >= 0)
                r = take(e, NULL, plan);
        if (r < 0)
                (void) log_error_errno(
                        r, "Failed to have the end of assignment %s written down: %m", id);
        return pending;
}
