/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A job: one plan on its way, with a state for each step. Finished ones stay readable for a while.
 * The engine writes all of it; the bus shows it.
 */

#include <assert.h>

#include "model/model-private.h"

static const char *const job_state_table[_JOB_STATE_MAX] = {
        [JOB_QUEUED] = "queued",
        [JOB_RUNNING] = "running",
        [JOB_WAITING] = "waiting",
        [JOB_DONE] = "done",
        [JOB_FAILED] = "failed",
        [JOB_CANCELLED] = "cancelled",
        [JOB_STUCK] = "stuck",
};
DEFINE_STRING_TABLE(JobState, job_state, job_state_table);

static const char *const step_state_table[_STEP_STATE_MAX] = {
        [STEP_PENDING] = "pending",
        [STEP_RUNNING] = "running",
        [STEP_DONE] = "done",
        [STEP_FAILED] = "failed",
        [STEP_UNDONE] = "undone",
};
DEFINE_STRING_TABLE(StepState, step_state, step_state_table);

int job_new(PlanKind kind, uid_t creator_uid, Job **ret) {
        assert(ret);

        Job *j = calloc(1, sizeof(Job));
        if (!j)
                return -ENOMEM;
        j->kind = kind;
        j->creator_uid = creator_uid;
        j->current = SIZE_MAX;
        *ret = j;
        return 0;
}

Job *job_free(Job *j) {
        if (!j)
                return NULL;
        plan_free(j->plan);
        free(j->step_states);
        error_done(&j->result);
        free(j);
        return NULL;
}

int job_set_plan(Job *j, const Plan *plan) {
        assert(j);
        assert(plan);

        _cleanup_(plan_freep) Plan *copy = NULL;
        int r = plan_copy(plan, &copy);
        if (r < 0)
                return r;
        uint8_t *states =
                calloc(MAX(plan->n_steps, (size_t) 1), sizeof(uint8_t)); /* STEP_PENDING is 0 */
        if (!states)
                return -ENOMEM;
        plan_free(j->plan);
        free(j->step_states);
        j->plan = TAKE_PTR(copy);
        j->step_states = states;
        j->current = SIZE_MAX;
        return 0;
}
