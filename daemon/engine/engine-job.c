/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs: what a caller can watch of a task. A finished job stays readable until JOBS_KEPT_MAX newer
 * ones have finished. Whoever waits for a job is answered here, at its end, and nowhere else.
 */

#include <assert.h>

#include "engine/engine-private.h"

int engine_job_new(Engine *e, PlanKind kind, uid_t creator, const char *assignment, Job **ret) {
        _cleanup_(job_freep) Job *j = NULL;
        int r;

        assert(e);
        assert(ret);
        r = job_new(kind, creator, &j);
        if (r < 0)
                return r;
        (void) string_copy(j->assignment, sizeof(j->assignment), strempty(assignment));
        j->created_at = host_now(e->host);
        r = inventory_add_job(e->inventory, j);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(j);
        if (e->observer.job_added)
                e->observer.job_added(*ret, e->observer_userdata);
        return 0;
}

Job *task_job(const Task *t) {
        assert(t);
        return t->job == 0 ? NULL : inventory_job(t->engine->inventory, t->job);
}

void engine_job_changed(Engine *e, Job *j) {
        assert(e);
        assert(j);
        if (e->observer.job_changed)
                e->observer.job_changed(j, e->observer_userdata);
}

void engine_job_set_state(Engine *e, Job *j, JobState s) {
        assert(j);
        if (j->finished || j->state == s)
                return;
        j->state = s;
        engine_job_changed(e, j);
}

static void answer_waiting(Engine *e, Job *j) {
        Assignment *a = inventory_assignment(e->inventory, j->assignment);

        LIST_FOREACH(&e->tasks, link) {
                Task *t = LIST_ENTRY(link, Task, link);

                if (t->job != j->id)
                        continue;
                if (t->releases && j->kind != PLAN_RELEASE && a && j->result.code == ERROR_NONE) {
                        t->job = 0; /* its release begins now */
                        continue;
                }
                if (j->result.code != ERROR_NONE && !(t->releases && j->kind == PLAN_ASSIGN))
                        task_refuse(t, &j->result);
                else
                        task_answer(t, &(EngineAnswer) { .assignment = a, .job = j });
                if (t->waits)
                        task_free(t);
        }
}

static void forget_oldest(Engine *e) {
        Job *old;

        if (e->n_finished < JOBS_KEPT_MAX)
                return;
        old = inventory_job(e->inventory, e->finished_jobs[e->finished_first]);
        e->finished_first = (e->finished_first + 1) % JOBS_KEPT_MAX;
        e->n_finished--;
        if (!old)
                return;
        if (e->observer.job_removed)
                e->observer.job_removed(old, e->observer_userdata);
        inventory_remove_job(e->inventory, old);
}

static void unmark_plan(Engine *e, const Plan *plan, const Job *j) {
        for (size_t i = 0; plan && i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (d && d->job == j)
                        d->job = NULL;
        }
}

static void unmark_job(Engine *e, const Job *j) {
        const Assignment *a = inventory_assignment(e->inventory, j->assignment);

        unmark_plan(e, j->plan, j);
        unmark_plan(e, a ? a->plan : NULL,
                    j); /* it may have ended before it had a plan of its own */
}

void engine_job_finish(Engine *e, Job *j, JobState s, Error *result) {
        assert(e);
        assert(j);
        if (j->finished)
                return;
        forget_oldest(e);
        e->finished_jobs[(e->finished_first + e->n_finished++) % JOBS_KEPT_MAX] = j->id;
        j->finished = true;
        j->finished_at = host_now(e->host);
        j->state = s;
        error_done(&j->result);
        if (result)
                error_move(&j->result, result);
        unmark_job(e, j);
        /* Who waits is answered first: signals are for those who watch. */
        answer_waiting(e, j);
        engine_job_changed(e, j);
        engine_arrivals(e); /* some may have waited for the device */
}

unsigned engine_jobs_running(const Engine *e, uid_t uid, bool all) {
        unsigned n = 0;
        Job *j;

        assert(e);
        HASHMAP_FOREACH(j, e->inventory->jobs)
                n += !j->finished && (all || j->creator_uid == uid);
        return n;
}

int engine_check_job_quota(Engine *e, const Caller *c, Error *err) {
        assert(e);
        assert(c);
        if (e->options.max_jobs > 0 && engine_jobs_running(e, 0, true) >= e->options.max_jobs)
                return error_set(
                        err, ERROR_BUSY,
                        "%u jobs are running, as many as max-jobs allows; try again when one "
                        "has finished",
                        e->options.max_jobs);
        if (e->options.max_jobs_per_uid > 0 &&
            engine_jobs_running(e, c->uid, false) >= e->options.max_jobs_per_uid)
                return error_set(
                        err, ERROR_BUSY,
                        "%u jobs of uid %u are running, as many as max-jobs-per-uid allows; "
                        "try again when one has finished",
                        e->options.max_jobs_per_uid, (unsigned) c->uid);
        return 0;
}

void engine_mark_job(Engine *e, const Plan *plan, Job *j) {
        assert(e);
        assert(plan);
        for (size_t i = 0; i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (d)
                        d->job = j;
        }
}
