/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The way back. A release never fails for want of patience: while somebody holds the device it
 * waits and tries again, and nobody is killed. Its plan is made of the facts of the moment, so that
 * after a crash or a blocked step it goes on from wherever the kernel is. What the kernel does not
 * take back is listed, never passed over.
 */

#include <assert.h>

#include "engine/engine-clean.h"
#include "engine/engine-kept.h"
#include "engine/engine-device.h"
#include "engine/engine-settings.h"

#define RETRY_FIRST_USEC (250 * USEC_PER_MSEC)
#define RETRY_MAX_USEC (10 * USEC_PER_SEC)
#define FAILURES_MAX 4U

typedef struct Release {
        bool rest;         /* stays on the VFIO driver, reserved */
        bool await;        /* back to the host, and reserved until all of it is there */
        unsigned failures; /* of the plan, not of patience */
        bool recorded;     /* the plan is in the journal, without outcome */
        bool unsaved;      /* the state directory fails: it follows when it can */
        usec_t held_since; /* somebody holds on; 0: nobody did yet */
        unsigned n_signals; /* that the declared process got */
        const char *why;   /* static text */
} Release;

static void release_attempt(Task *t);

static Release *task_release(const Task *t) {
        return t->data;
}

static usec_t backoff(unsigned attempt) {
        usec_t d = RETRY_FIRST_USEC << MIN(attempt, 6U);

        return MIN(d, RETRY_MAX_USEC);
}

static void retry_later(Task *t) {
        const Assignment *a = inventory_assignment(t->engine->inventory, t->assignment);
        const Release *release = task_release(t);
        usec_t at = host_now(t->engine->host) + backoff(t->attempts++);
        int r;

        if (a && release->held_since > 0)
                at = MIN(at,
                         MAX(engine_force_at(t->engine, a, release->held_since, release->n_signals),
                             host_now(t->engine->host) + RETRY_FIRST_USEC));
        r = task_fire_at(t, at, release_attempt);

        if (r < 0)
                (void) log_error_errno(
                        r, "Failed to arm a timer; the release goes on after a restart: %m");
}

static void retry_now(Task *t) {
        if (task_fire_at(t, host_now(t->engine->host), release_attempt) < 0)
                log_error("Failed to arm a timer; the release goes on after a restart");
}

/* ---- its end ---- */

static const char *or_none(const char *s) {
        return isempty(s) ? "none" : s;
}

static void add_difference(Assignment *a, const PlanDevice *p, const char *what, const char *now,
                           const char *before) {
        _cleanup_free_ char *text =
                what ? strjoinf("%s: %s is %s, was %s", PCI_ADDRESS_TEXT(p->address), what,
                                or_none(now), or_none(before))
                     : strjoinf("%s: gone", PCI_ADDRESS_TEXT(p->address));

        if (!text || strv_extend(&a->differs, text) < 0)
                log_warning("Not enough memory for what the release left different");
}

/* As the release's last step told it. A foreign hand's is left where it is; nothing else tells of
 * it, since the kernel sends no event. */
static void compare_override(Engine *e, Assignment *a, const PlanDevice *p, Device *d) {
        const char *now;

        if (!d->live || d->live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].state != FACT_PRESENT)
                return;
        now = strempty(pci_live_override(d->live));
        if (streq(now, strempty(p->override_before)))
                return;
        add_difference(a, p, "driver_override", now, p->override_before);
        if (d->assignment)
                engine_report_drift(e, d, a, "driver_override", now, strempty(p->override_before));
}

static void find_differences(Engine *e, Assignment *a) {
        strv_free(a->differs);
        a->differs = NULL;
        for (size_t i = 0; i < a->plan->n_devices; i++) {
                const PlanDevice *p = a->plan->devices + i;
                Device *d = inventory_device(e->inventory, p->address);

                if (!d || d->gone)
                        add_difference(a, p, NULL, NULL, NULL);
                else if (!streq(d->facts.driver, strempty(p->driver_before)))
                        add_difference(a, p, "driver", d->facts.driver, p->driver_before);
                if (d && !d->gone && !d->quarantine)
                        compare_override(e, a, p, d);
                if (d)
                        engine_forget_live(d); /* was read before */
        }
}

static char *result_to_details(Engine *e, const Assignment *a, bool unsaved) {
        _cleanup_json_ Json *j = NULL, *list = engine_clean_quarantined_to_json(e, a);

        if (!a->differs && !list && !unsaved)
                return NULL;
        j = json_new_object();
        if (a->differs)
                (void) json_set_strv(j, "differs", a->differs);
        if (list)
                (void) json_set(j, "quarantined", TAKE_PTR(list));
        if (unsaved)
                (void) json_set_string(j, "unsaved", strempty(engine_kept_trouble(e)));
        return json_to_text(j, false);
}

static void record_end(Engine *e, Task *t, Assignment *a, HostOutcome outcome, bool forget) {
        int r = 0;

        if (task_release(t)->recorded && forget)
                r = store_end_and_forget(e->store, t->plan->id, outcome, a->id);
        else if (task_release(t)->recorded)
                r = store_end(e->store, t->plan->id, outcome, a);
        else if (forget)
                r = store_forget(e->store, a->id);
        task_release(t)->recorded = false;
        if (r < 0)
                (void) log_warning_errno(
                        r,
                        "Failed to record the end of a release; a restart looks at it again: %m");
}

/* Who asked for the release of something that was still on its way waits for this job. */
void engine_adopt_waiting(Engine *e, const Assignment *a, const Job *j) {
        LIST_FOREACH(&e->tasks, link) {
                Task *t = LIST_ENTRY(link, Task, link);

                if (t->releases && streq(t->assignment, a->id))
                        t->job = j ? j->id : 0;
        }
}

/* It stays its owner's. What was lost meanwhile is waited for: another card in its place is not. */
static void release_rested(Task *t, Assignment *a) {
        Engine *e = t->engine;
        Job *j = task_job(t);
        bool await = task_release(t)->await, end = a->release_wanted;

        if (!await && !engine_reservation_is_there(e, a)) {
                task_release(t)->await = true;
                task_release(t)->rest = false;
                retry_now(t);
                return;
        }
        a->job = NULL;
        (void) engine_step(e, a, ASSIGNMENT_EVENT_REST);
        if (await)
                engine_reservation_let_go(e, a);
        record_end(e, t, a, HOST_OUTCOME_DONE, false);
        engine_audit(a, MESSAGE_RELEASED, LOG_NOTICE, "Reserved for %s until %s", a->owner,
                     await ? "its hardware is there again" : "somebody attaches");
        if (end)
                engine_adopt_waiting(e, a, NULL);
        engine_job_finish(e, j, JOB_DONE, NULL);
        task_free(t);
        if (end)
                (void) engine_begin_release(e, a, NULL, false, "asked for meanwhile");
        else if (await)
                engine_reservations_try(e);
}

static void release_done(Task *t, Assignment *a) {
        Engine *e = t->engine;
        Job *j = task_job(t);
        _cleanup_error_ Error result = ERROR_INIT;

        engine_refresh_plan(e, a->plan);
        if (a->state == ASSIGNMENT_RELEASING)
                (void) engine_step(e, a, ASSIGNMENT_EVENT_UNHELD);
        if (task_release(t)->rest || task_release(t)->await) {
                release_rested(t, a);
                return;
        }
        a->job = NULL;
        engine_settings_refresh(e, a->plan);
        find_differences(e, a);
        for (size_t i = 0; t->not_restored && t->not_restored[i]; i++)
                if (strv_extend(&a->differs, t->not_restored[i]) < 0)
                        log_warning("Not enough memory for what the release left different");
        (void) engine_step(e, a, ASSIGNMENT_EVENT_CLEANED);
        /* While its file is there the journal has it as released: a restart goes on removing it. */
        record_end(e, t, a, HOST_OUTCOME_DONE,
                   !task_release(t)->unsaved || !engine_kept_set_unreserved(e, a->id));
        error_take_details(&result, result_to_details(e, a, task_release(t)->unsaved));
        engine_job_finish(e, j, JOB_DONE, &result);
        for (size_t i = 0; a->differs && a->differs[i]; i++)
                engine_audit(a, MESSAGE_DRIFT, LOG_WARNING, "Not restored: %s", a->differs[i]);
        engine_audit(a, MESSAGE_RELEASED, LOG_NOTICE, "Released by %s (%s)", a->owner,
                     task_release(t)->why);
        task_free(t);
        engine_drop_assignment(e, a);
}

static void release_failed(Task *t, Assignment *a, Error *err) {
        Engine *e = t->engine;

        a->job = NULL;
        (void) engine_step(e, a, ASSIGNMENT_EVENT_RESTORE_FAILED);
        record_end(e, t, a, HOST_OUTCOME_FAILED, false);
        engine_audit(a, MESSAGE_ROLLED_BACK, LOG_ERR, "The release by %s failed: %s", a->owner,
                     err->message);
        engine_job_finish(e, task_job(t), JOB_FAILED, err);
        task_free(t);
}

/* ---- attempts ---- */

static void release_resume(Task *t) {
        t->attempts = 0;
        release_attempt(t);
}

static bool is_held(const HostResult *result) {
        return result->outcome == HOST_OUTCOME_ROLLED_BACK &&
               (result->code == ERROR_BUSY || result->error == -EBUSY || result->n_holders > 0);
}

static CleanSubject subject_of(const Assignment *a) {
        return (CleanSubject) {
                .owner = strempty(a->owner),
                .uid = a->creator_uid,
                .assignment = a->id,
                .event = "clean",
        };
}

static void settle(Task *t, const Assignment *a, const HostResult *result) {
        const CleanSubject s = subject_of(a);

        engine_clean_settle(t, result, &s, task_release(t)->rest);
}

/* The group that could not be cleaned stays where it is, nobody's; the rest of the assignment goes
 * on its way. */
static bool quarantine_failed(Task *t, Assignment *a, const HostResult *result, const Error *err) {
        const CleanSubject s = subject_of(a);
        _cleanup_json_ Json *details = NULL;
        _cleanup_free_ char *text = NULL;
        PciAddress failed;

        if (result->outcome == HOST_OUTCOME_UNKNOWN ||
            !engine_clean_failed(t->plan, result, &failed))
                return false;
        if (engine_clean_cannot_reset(t->engine, t->plan, result))
                return true;
        engine_clean_quarantine(t, failed, &s, err->message);
        details = json_new_object();
        (void) json_set_string(details, "reason", err->message);
        text = json_to_text(details, false);
        engine_notice(t->engine, a, "Quarantined", failed, text);
        task_release(t)->rest = task_release(t)->await = false;
        t->attempts = 0;
        return true;
}

static void release_started(Task *t, size_t step) {
        Assignment *a = inventory_assignment(t->engine->inventory, t->assignment);

        if (a && a->state == ASSIGNMENT_RELEASING && step < t->plan->n_steps &&
            step_is_cleaning(t->plan->steps + step))
                (void) engine_step(t->engine, a, ASSIGNMENT_EVENT_UNHELD);
}

static void signal_sent(Task *t, const HostResult *result) {
        const Assignment *a = inventory_assignment(t->engine->inventory, t->assignment);

        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                t->ended = release_resume;
                return;
        }
        if (result->outcome != HOST_OUTCOME_DONE && result->error != -ESRCH && a)
                engine_audit(a, MESSAGE_OWNER_DIED, LOG_ERR,
                             "Process %u of %s could not be ended: %s", a->pid, a->owner,
                             result->message);
        t->attempts = 0;
        retry_later(t);
}

/* With patience, and by rule not for ever. */
static void wait_for_holder(Task *t, const Assignment *a) {
        Release *release = task_release(t);
        usec_t now = host_now(t->engine->host);

        if (release->held_since == 0)
                release->held_since = now;
        if (now < engine_force_at(t->engine, a, release->held_since, release->n_signals) ||
            engine_force_end(t, a, release->n_signals++, signal_sent) < 0)
                retry_later(t);
}

static void release_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        Job *j = task_job(t);
        _cleanup_error_ Error err = ERROR_INIT;

        assert(a); /* only its release drops it */
        settle(t, a, result);
        if (result->outcome == HOST_OUTCOME_DONE) {
                release_done(t, a);
                return;
        }
        (void) engine_result_error(result, "Releasing", &err);
        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                engine_job_set_state(e, j, JOB_STUCK);
                LIST_FOREACH(&e->tasks, link) {
                        Task *waiting = LIST_ENTRY(link, Task, link);

                        if (waiting->job == t->job)
                                task_refuse(waiting, &err);
                }
                t->ended = release_resume;
                return;
        }
        engine_refresh_plan(e, a->plan);
        if (quarantine_failed(t, a, result, &err)) {
                retry_now(t);
                return;
        }
        if (engine_kept_failed(t->plan, result) && !task_release(t)->unsaved) {
                task_release(t)->unsaved = true;
                t->attempts = 0;
        }
        if (!is_held(result) && ++task_release(t)->failures >= FAILURES_MAX) {
                release_failed(t, a, &err);
                return;
        }
        if (is_held(result) && j->state != JOB_WAITING)
                engine_audit(a, MESSAGE_RELEASED, LOG_INFO, "The release waits: %s", err.message);
        error_move(&j->result, &err);
        engine_job_set_state(e, j, JOB_WAITING);
        if (is_held(result))
                wait_for_holder(t, a);
        else
                retry_later(t);
}

/* What was kept for its sake is no longer: the last steps, after all that could still go wrong. */
static int add_kept(Engine *e, const Assignment *a, Plan *plan, bool end) {
        int r = 0;

        /* Nothing that was not cleaned: also of a reservation that was never prepared. */
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                if (engine_clean_plan_cleans(plan, plan->devices[i].address))
                        r = engine_kept_add_clean(
                                e, plan, inventory_device(e->inventory, plan->devices[i].address));
        return r < 0 || !end ? r : engine_kept_add_unreserve(e, plan, a->id);
}

static int make_plan(Task *t, Assignment *a) {
        Engine *e = t->engine;
        _cleanup_(plan_freep) Plan *plan = NULL;
        int r;

        if (task_release(t)->await)
                r = engine_reservation_plan_back(e, a, &plan);
        else
                r = task_release(t)->rest ? engine_plan_rest(e, a, &plan)
                                          : engine_plan_release(e, a, &plan);
        if (r >= 0 && !task_release(t)->rest && !task_release(t)->unsaved)
                r = add_kept(e, a, plan, !task_release(t)->await);
        if (r < 0)
                return r;
        r = job_set_plan(task_job(t), plan);
        if (r < 0)
                return r;
        if (task_release(t)->recorded)
                record_end(e, t, a, HOST_OUTCOME_ROLLED_BACK, false);
        plan_free(t->plan);
        t->plan = TAKE_PTR(plan);
        r = store_begin(e->store, t->plan, a);
        task_release(t)->recorded = r >= 0;
        return r;
}

static void attempt(Task *t, bool from_loop) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        int r;

        assert(a);
        r = make_plan(t, a);
        if (r >= 0 && t->plan->n_steps == 0) { /* nothing of it is left in this host */
                if (from_loop) {
                        release_done(t, a);
                        return;
                }
                /* Its end frees the assignment and answers: not from inside of the request. */
                r = task_fire_at(t, host_now(e->host), release_attempt);
                if (r >= 0)
                        return;
        } else if (r >= 0)
                r = task_run_plan(t, release_finished);
        if (r < 0) {
                (void) log_warning_errno(
                        r, "Failed to start the release of assignment %s, trying again: %m", a->id);
                (void) error_set(&task_job(t)->result, ERROR_FAILED,
                                 "The release could not be started yet: %s", strerrordesc_np(-r));
                engine_job_set_state(e, task_job(t), JOB_WAITING);
                retry_later(t);
                return;
        }
        engine_mark_job(e, t->plan, task_job(t));
        engine_job_changed(e, task_job(t));
}

static void release_attempt(Task *t) {
        attempt(t, true);
}

/* ---- its beginning ---- */

static void stop_preparing(Engine *e, const Assignment *a) {
        LIST_FOREACH(&e->tasks, link) {
                Task *t = LIST_ENTRY(link, Task, link);

                if (t->waits || !streq(t->assignment, a->id))
                        continue;
                t->cancelled = true;
                if (t->host_job && !t->stuck)
                        host_cancel(t->host_job);
        }
}

static int release_start(Engine *e, Assignment *a, const Caller *c, bool rest, bool await,
                         const char *why) {
        Release *release;
        Task *t;
        Job *j;
        int r;

        r = task_new(e, NULL, NULL, NULL, &t);
        if (r < 0)
                return r;
        release = calloc(1, sizeof(Release));
        t->data = release;
        t->data_free = free;
        if (release)
                *release = (Release) { .rest = rest && !await, .await = await, .why = why };
        r = release ? engine_job_new(e, PLAN_RELEASE, c ? c->uid : a->creator_uid, a->id, &j)
                    : -ENOMEM;
        if (r < 0) {
                task_free(t);
                return r;
        }
        (void) string_copy(t->assignment, sizeof(t->assignment), a->id);
        t->job = j->id;
        t->urgent = t->patient = true;
        t->started = release_started;
        a->job = j;
        a->release_wanted = false;
        engine_adopt_waiting(e, a, j);
        attempt(t, false);
        return 0;
}

int engine_begin_release(Engine *e, Assignment *a, const Caller *c, bool rest, const char *why) {
        bool await;

        assert(e);
        assert(a);
        switch (a->state) {
        case ASSIGNMENT_RELEASING:
        case ASSIGNMENT_CLEANING:
                a->release_wanted |=
                        !rest; /* what is on its way to its reservation goes on to the host */
                return 0;
        case ASSIGNMENT_RELEASED:
                return 0;
        case ASSIGNMENT_PREPARING:
                if (PLANTED(DROP_RELEASE))
                        return 0;
                a->release_wanted = true;
                stop_preparing(e, a);
                return 0;
        case ASSIGNMENT_RESERVED:
                if (rest && engine_reservation_is_there(e, a))
                        return 0;
                break;
        case ASSIGNMENT_ACTIVE:
        case ASSIGNMENT_RECOVERING:
        case ASSIGNMENT_REMOVING:
        case ASSIGNMENT_LOST:
        case ASSIGNMENT_FAILED:
        case _ASSIGNMENT_STATE_MAX:
        case _ASSIGNMENT_STATE_INVALID:
                break;
        }
        if (a->job) {
                a->release_wanted = true;
                return 0;
        }
        /* What was lost has no driver to rest on, even if it came back. */
        await = rest && (a->state == ASSIGNMENT_LOST || !engine_reservation_is_there(e, a));
        if (!engine_step(e, a, ASSIGNMENT_EVENT_RELEASE))
                return -EINVAL;
        return release_start(e, a, c, rest, await, why);
}

int engine_continue_release(Engine *e, Assignment *a, bool rest) {
        assert(e);
        assert(a);
        return release_start(e, a, NULL, rest, rest && !engine_reservation_is_there(e, a),
                             "went on after a restart");
}

void engine_drop_waiting(Engine *e, const Assignment *a, EngineReply reply, void *userdata) {
        LIST_FOREACH(&e->tasks, link) {
                Task *t = LIST_ENTRY(link, Task, link);

                if (t->releases && t->reply == reply && t->reply_userdata == userdata &&
                    streq(t->assignment, a->id))
                        task_free(t);
        }
}

static int wait_for_release(Engine *e, const Caller *c, const Assignment *a, EngineReply reply,
                            void *userdata, Error *err) {
        Task *t;

        if (task_new(e, c, reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        (void) string_copy(t->assignment, sizeof(t->assignment), a->id);
        t->job = a->job ? a->job->id : 0;
        t->waits = t->releases = true;
        return 0;
}

/* The driver takes the virtual functions along when it leaves their physical one. */
static int check_functions(Engine *e, const Assignment *a, Error *err) {
        int r = 0;

        for (size_t i = 0; a->plan && i < a->plan->n_devices && r >= 0; i++) {
                const Device *d = inventory_device(e->inventory, a->plan->devices[i].address);

                if (d && d->facts.sriov_totalvfs > 0)
                        r = engine_vfs_check_owners(e, d, a, err);
        }
        return r;
}

int engine_release(Engine *e, const Caller *c, const char *assignment, bool no_wait,
                   EngineReply reply, void *userdata, Error *err) {
        Assignment *a;
        int r;

        assert(e);
        assert(c);
        r = engine_find_owned(e, c, assignment, err, &a);
        if (r >= 0)
                r = check_functions(e, a, err);
        if (r < 0)
                return r;
        if (!no_wait) {
                r = wait_for_release(e, c, a, reply, userdata, err);
                if (r < 0)
                        return r;
        }
        /* Freed at the latest when the engine is; it is answered by the job that begins here, or
         * runs already. */
        r = engine_begin_release(e, a, c, false, "asked for");
        if (r < 0) {
                engine_drop_waiting(e, a, reply, userdata);
                return error_set(err, ERROR_FAILED, "The release cannot begin: %s",
                                 strerrordesc_np(-r));
        }
        if (!no_wait)
                return 0;
        return engine_answer_for(e, c, a, false, reply, userdata) < 0
                       ? error_set(err, ERROR_FAILED, "Not enough memory")
                       : 0;
}
