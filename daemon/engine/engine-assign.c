/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Assign, from the request to an active assignment: claim in memory, fresh facts, verdict, plan,
 * token, journal, worker, journal. Until the journal has the plan nothing is written to the kernel;
 * until it has the outcome nothing is acknowledged. A failure leaves what was before; an unknown
 * outcome keeps the claim until the facts are known again.
 */

#include <assert.h>
#include <fcntl.h>

#include "engine/engine-clean.h"
#include "engine/engine-kept.h"
#include "engine/engine-policy.h"
#include "engine/engine-settings.h"

#define ASSIGN_WHAT (HOST_READ_CONFIG | HOST_READ_LIVE | HOST_READ_USE | HOST_READ_GROUP)

static Request *task_request(const Task *t) {
        return t->data;
}

static void request_data_free(void *data) {
        (void) request_free(data);
}

const char *assignment_node_owner(const Assignment *a, char *buffer, size_t size) {
        assert(a);
        if (a->user_uid == UID_UNSET && !a->by_node)
                return NULL;
        (void) snprintf(buffer, size, "%u:%u",
                        (unsigned) (a->user_uid == UID_UNSET ? a->creator_uid : a->user_uid),
                        a->user_gid == GID_UNSET ? 0U : (unsigned) a->user_gid);
        return buffer;
}

/* ---- the end of it ---- */

/* Nothing was done to the kernel, or all of it was undone. */
static void assign_fail(Task *t, Error *err) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        Job *j = task_job(t);
        bool reserved = a && a->state == ASSIGNMENT_RESERVED;

        if (t->cancelled)
                (void) error_set(err, ERROR_FAILED, "The job was cancelled");
        if (a)
                engine_audit(a, MESSAGE_DENIED, LOG_NOTICE, "Refused to assign to %s: %s", a->owner,
                             err->message);
        if (a && a->job == j)
                a->job = NULL;
        if (a && a->plan) /* the job may have got no plan of its own yet */
                engine_mark_job(e, a->plan, NULL);
        if (reserved)
                engine_reservation_failed(e, a, err);
        if (j)
                engine_job_finish(e, j, t->cancelled ? JOB_CANCELLED : JOB_FAILED, err);
        if (!reserved && a && engine_step(e, a, ASSIGNMENT_EVENT_PREPARE_FAILED))
                engine_drop_assignment(e, a);
        task_free(t);
}

static void assign_fail_set(Task *t, ErrorCode code, const char *text) {
        _cleanup_error_ Error err = ERROR_INIT;

        (void) error_set(&err, code, "%s", text);
        assign_fail(t, &err);
}

static void assign_done(Task *t) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        _cleanup_error_ Error err = ERROR_INIT;
        Job *j = task_job(t);
        bool unrecorded;
        int r;

        a->job = NULL;
        if (a->state == ASSIGNMENT_RESERVED)
                engine_reservation_applied(e, a);
        else
                (void) engine_step(e, a, ASSIGNMENT_EVENT_PREPARED);
        if (PLANTED(ACK_BEFORE_APPEND))
                engine_job_finish(e, j, JOB_DONE, NULL);
        r = store_end(e->store, a->plan->id, HOST_OUTCOME_DONE, a);
        /* A reservation is recorded below the state directory, and that its plan is over is kept:
         * it stays. */
        unrecorded = r < 0 && a->state != ASSIGNMENT_RESERVED;
        engine_refresh_plan(e, a->plan);
        engine_settings_refresh(e, a->plan);
        if (unrecorded) {
                (void) error_set(&err, ERROR_FAILED,
                                 "The assignment could not be recorded: %s; it is taken back",
                                 strerrordesc_np(-r));
                engine_job_finish(e, j, JOB_FAILED, &err);
        } else {
                if (!PLANTED(ACK_BEFORE_APPEND))
                        engine_job_finish(e, j, JOB_DONE, NULL);
                engine_audit(a, MESSAGE_ASSIGNED, LOG_NOTICE, "Assigned to %s%s%s", a->owner,
                             a->force ? ", by force: " : "", a->force ? a->force_reason : "");
        }
        task_free(t);
        engine_drift_planned(e, a->plan);
        r = owner_set_deadline(e, a);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to watch the deadline of assignment %s: %m",
                                         a->id);
        if (unrecorded || a->release_wanted)
                (void) engine_begin_release(e, a, NULL, false,
                                            unrecorded ? "not recorded" : "asked for meanwhile");
}

/* ---- the plan runs ---- */

/* The kernel was touched and neither state before nor after is certain: undo by the facts. */
static void assign_undo(Task *t) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        int r;

        if (a) {
                r = engine_begin_undo(e, a, t->plan, t->job);
                if (r < 0)
                        (void) log_error_errno(
                                r, "Failed to undo the plan of assignment %s; a restart will: %m",
                                a->id);
        }
        task_free(t);
}

static void assign_unknown(Task *t, const HostResult *result) {
        _cleanup_error_ Error err = ERROR_INIT;
        Job *j = task_job(t);

        (void) engine_result_error(result, "Assigning", &err);
        if (j)
                engine_job_set_state(t->engine, j, JOB_STUCK);
        task_refuse(t, &err);
        t->ended = assign_undo;
}

static int read_facts(Task *t);

/* It was decided by what was known, and the plan found it otherwise: look, and decide again. */
static bool decide_again(Task *t, Assignment *a, const HostResult *result) {
        Engine *e = t->engine;
        int r;

        if (!t->known || result->outcome != HOST_OUTCOME_ROLLED_BACK || t->cancelled ||
            a->release_wanted ||
            (result->code != ERROR_PLAN_STALE && result->code != ERROR_HOST_CRITICAL &&
             result->code != ERROR_GONE))
                return false;
        r = store_end(e->store, a->plan->id, result->outcome, NULL);
        if (r >= 0)
                r = store_forget(e->store, a->id);
        if (r < 0)
                return false; /* the end of it says why */
        plan_clear_steps(a->plan);
        t->plan = plan_free(t->plan);
        return read_facts(t) >= 0;
}

/* Of the owner before: its traces are gone, or the device is to be trusted no more. */
static void settle_cleaning(Task *t, const Assignment *a, const HostResult *result) {
        CleanSubject s = { .owner = "", .uid = UID_UNSET, .assignment = a->id, .event = "clean" };
        PciAddress failed;

        engine_clean_settle(t, result, &s, false);
        if (result->outcome != HOST_OUTCOME_UNKNOWN &&
            engine_clean_failed(t->plan, result, &failed) &&
            !engine_clean_cannot_reset(t->engine, t->plan, result))
                engine_clean_quarantine(t, failed, &s, result->message);
}

static void plan_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        _cleanup_error_ Error err = ERROR_INIT;
        int r;

        assert(a); /* claimed: nobody else drops it */
        if (PLANTED(JOURNAL_AFTER_KERNEL))
                (void) store_begin(e->store, a->plan, a);
        settle_cleaning(t, a, result);
        if (result->outcome == HOST_OUTCOME_DONE) {
                assign_done(t);
                return;
        }
        if (result->outcome == HOST_OUTCOME_UNKNOWN && !PLANTED(UNLOCK_EARLY)) {
                assign_unknown(t, result);
                return;
        }
        engine_refresh_plan(e, a->plan);
        if (decide_again(t, a, result))
                return;
        (void) engine_result_error(result, "Assigning", &err);
        if (result->outcome == HOST_OUTCOME_FAILED) {
                task_refuse(t, &err);
                assign_undo(t);
                return;
        }
        engine_audit(a, MESSAGE_ROLLED_BACK, LOG_NOTICE, "The assignment to %s was rolled back: %s",
                     a->owner, err.message);
        r = store_end_and_forget(e->store, a->plan->id, result->outcome, a->id);
        if (r < 0)
                (void) log_warning_errno(
                        r, "Failed to record the end of a plan; a restart looks at it again: %m");
        assign_fail(t, &err);
}

static int journal_and_run(Task *t, Assignment *a, Error *err) {
        Engine *e = t->engine;
        Job *j = task_job(t);
        int r;

        r = plan_copy(a->plan, &t->plan);
        if (r >= 0)
                r = job_set_plan(j, a->plan);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory for the plan");
        engine_mark_job(e, a->plan, j);
        engine_job_changed(e, j);
        r = PLANTED(JOURNAL_AFTER_KERNEL) ? 0 : store_begin(e->store, a->plan, a);
        if (r < 0)
                return error_set(err, ERROR_FAILED,
                                 "The plan could not be recorded, so nothing was done: %s",
                                 strerrordesc_np(-r));
        r = task_run_plan(t, plan_finished);
        if (r < 0) {
                (void) store_end_and_forget(e->store, a->plan->id, HOST_OUTCOME_ROLLED_BACK, a->id);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        return 0;
}

/* ---- decision ---- */

static int decide(Task *t, Assignment *a, Error *err) {
        Engine *e = t->engine;
        Request *q = task_request(t);
        _cleanup_free_ Device **devices = NULL, **members = NULL;
        char owner[32], token[TOKEN_MAX];
        AskedFor asked;
        size_t n;
        int r;

        r = request_asked_for(e, q, a, err, &devices, &asked);
        if (r >= 0 && a->state == ASSIGNMENT_RESERVED)
                r = engine_reservation_check(e, a, err);
        if (r < 0)
                return r;
        r = engine_plan_members(e, &asked, &members, &n);
        if (r < 0)
                return error_set(err, ERROR_NOT_SUPPORTED,
                                 "The IOMMU groups have too many members");
        /* First of all: what a caller looked at and what is there now are compared as they are. */
        engine_token(e, &asked, q->owner, members, n, token);
        r = engine_token_check(q->token, token, err);
        if (r >= 0)
                r = engine_check(e, &asked, err, NULL);
        if (r < 0)
                return r;
        /* The claim was made before the facts were read: a member that came meanwhile is not in
         * it. */
        for (size_t i = 0; i < n; i++)
                if (!plan_find_device(a->plan, members[i]->facts.address))
                        return error_set(err, ERROR_PLAN_STALE,
                                         "%s joined the IOMMU group meanwhile; try again",
                                         PCI_ADDRESS_TEXT(members[i]->facts.address));
        r = engine_kept_check(e, err);
        if (r < 0)
                return r;
        if (engine_policy_keep(e, &asked, a) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        return engine_plan_assign(e, &asked, assignment_node_owner(a, owner, sizeof(owner)),
                                  a->plan, err);
}

static void facts_finished(Task *t, const HostResult *result) {
        Assignment *a = inventory_assignment(t->engine->inventory, t->assignment);
        _cleanup_error_ Error err = ERROR_INIT;
        bool reserved = a && a->state == ASSIGNMENT_RESERVED;

        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                /* Nothing was written. The task stays for its stuck devices; the assignment does
                 * not. */
                Task *rest = t;
                Job *j = task_job(t);

                (void) error_from_result(&err, result, "Reading the facts");
                task_refuse(t, &err);
                rest->job = 0;
                if (a)
                        a->job = NULL;
                if (reserved)
                        engine_reservation_failed(t->engine, a, &err);
                if (j)
                        engine_job_finish(t->engine, j, JOB_FAILED, &err);
                if (!reserved && a && engine_step(t->engine, a, ASSIGNMENT_EVENT_PREPARE_FAILED))
                        engine_drop_assignment(t->engine, a);
                return;
        }
        if (!a || t->cancelled || a->release_wanted) {
                t->cancelled = true;
                assign_fail_set(t, ERROR_FAILED, "The job was cancelled");
                return;
        }
        if (result->outcome != HOST_OUTCOME_DONE) {
                (void) error_from_result(&err, result, "Reading the facts");
                assign_fail(t, &err);
                return;
        }
        if (decide(t, a, &err) < 0) {
                /* Nobody is refused because of what is not so any more. */
                if (t->known) {
                        plan_clear_steps(a->plan);
                        if (read_facts(t) >= 0)
                                return;
                }
                assign_fail(t, &err);
        } else if (journal_and_run(t, a, &err) < 0)
                assign_fail(t, &err);
}

static void facts_known(Task *t) {
        facts_finished(t, &(HostResult) { .outcome = HOST_OUTCOME_DONE });
}

static int read_facts(Task *t) {
        Engine *e = t->engine;
        const Assignment *a = inventory_assignment(e->inventory, t->assignment);
        _cleanup_free_ PciAddress *members = calloc(PLAN_DEVICES_MAX, sizeof(PciAddress));
        size_t n = 0;

        if (!members)
                return -ENOMEM;
        for (size_t i = 0; i < a->plan->n_devices; i++)
                members[n++] = a->plan->devices[i].address;
        t->urgent = true;
        t->known = false;
        return task_read(t, members, n, ASSIGN_WHAT, facts_finished);
}

static bool facts_are_known(const Engine *e, const Assignment *a, const Request *q) {
        /* By force nothing is proven again, and a token is about the facts of the moment. */
        if (q->force || !isempty(q->token))
                return false;
        for (size_t i = 0; i < a->plan->n_devices; i++) {
                const Device *d = inventory_device(e->inventory, a->plan->devices[i].address);

                if (!d || !engine_knows_device(e, d))
                        return false;
        }
        return true;
}

static int get_facts(Task *t, const Request *q) {
        Engine *e = t->engine;
        const Assignment *a = inventory_assignment(e->inventory, t->assignment);

        t->known = facts_are_known(e, a, q);
        t->urgent = true;
        return t->known ? task_fire_at(t, host_now(e->host), facts_known) : read_facts(t);
}

static void memlock_finished(Task *t, const HostResult *result) {
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome != HOST_OUTCOME_DONE) {
                (void) error_from_result(&err, result, "Raising the locked-memory limit");
                assign_fail(t, &err);
                return;
        }
        if (get_facts(t, task_request(t)) < 0)
                assign_fail_set(t, ERROR_BUSY, "Too much is waiting for a worker; try again");
}

/* ---- the request ---- */

static int fill_assignment(Engine *e, const Caller *c, const Request *q, const AssignOptions *o,
                           Error *err, Assignment *a) {
        int r = engine_random_id(a->id);

        if (r < 0)
                return error_set(err, ERROR_FAILED, "No randomness: %s", strerrordesc_np(-r));
        a->creator_uid = c->uid;
        a->user_uid = o->uid;
        a->user_gid = o->gid;
        a->lifetime = o->lifetime < 0 ? LIFETIME_CONNECTION : o->lifetime;
        a->force = o->force;
        a->by_node = o->by_node;
        a->memlock = o->memlock;
        a->created_at = host_now(e->host);
        a->attach_deadline = o->attach_within > 0 ? a->created_at + o->attach_within : 0;
        if (free_and_strdup(&a->owner, q->owner) < 0 || strv_copy(o->labels, &a->labels) < 0 ||
            free_and_strdup(&a->request_id, o->request_id) < 0 ||
            free_and_strdup(&a->force_reason, o->force ? o->force_reason : NULL) < 0 ||
            free_and_strdup(&a->bus_name, a->lifetime == LIFETIME_CONNECTION ? c->bus_name : NULL) <
                    0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        if (o->pidfd < 0)
                return 0;
        r = owner_prove(c, o->pidfd, o->uid, err, &a->pid, &a->pid_start);
        if (r < 0)
                return r;
        a->pidfd = fcntl(o->pidfd, F_DUPFD_CLOEXEC, 3);
        return a->pidfd < 0 ? error_set(err, ERROR_FAILED, "The pidfd cannot be kept: %s",
                                        strerrordesc_np(errno))
                            : 0;
}

static int make_claim(Engine *e, const Request *q, Assignment *a, Error *err) {
        _cleanup_free_ Device **devices = NULL, **members = NULL;
        AskedFor asked;
        size_t n;
        int r;

        r = request_asked_for(e, q, a, err, &devices, &asked);
        if (r < 0)
                return r;
        r = engine_plan_members(e, &asked, &members, &n);
        if (r < 0)
                return error_set(err, ERROR_NOT_SUPPORTED,
                                 "The IOMMU groups have more than %u members", PLAN_DEVICES_MAX);
        /* A driver whose probe failed was bound for a moment, and no event says that it left. */
        for (size_t i = 0; i < n; i++) {
                PciAddress address = members[i]->facts.address;

                if (engine_refresh_device(e, members[i]) == -ENODEV)
                        return error_set(err, ERROR_GONE, "%s is gone", PCI_ADDRESS_TEXT(address));
        }
        /* Within this call, so that of two requests the second one counts the first. */
        asked.claiming = true;
        r = engine_check_rules(e, &asked, err);
        if (r < 0)
                return r;
        a->plan = plan_new(PLAN_ASSIGN);
        if (!a->plan || engine_plan_devices(&asked, members, n, a->plan) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        return engine_claim(e, a, a->plan, err);
}

static int start(Engine *e, const Caller *c, Assignment *a, Request *q, EngineReply reply,
                 void *userdata, Error *err) {
        Task *t;
        Job *j;

        if (task_new(e, c, q->no_wait ? NULL : reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        (void) string_copy(t->assignment, sizeof(t->assignment), a->id);
        if (engine_job_new(e, PLAN_ASSIGN, c->uid, a->id, &j) < 0) {
                task_free(t);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        t->job = j->id;
        a->job = j;
        engine_mark_job(e, a->plan, j);
        if (q->memlock > 0) {
                t->request = (HostRequest) {
                        .type = HOST_REQUEST_PROCESS,
                        .pidfd = a->pidfd,
                        .memlock = q->memlock,
                        .container_fd = -EBADF,
                        .iommufd = -EBADF,
                };
                t->urgent = true;
        }
        if ((q->memlock > 0 ? task_run(t, memlock_finished) : get_facts(t, q)) < 0) {
                (void) error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
                a->job = NULL;
                engine_mark_job(e, a->plan, NULL);
                task_free(t);
                engine_job_finish(e, j, JOB_FAILED, NULL);
                return -error_code_to_errno(ERROR_BUSY);
        }
        t->data = q; /* from here on the task's */
        t->data_free = request_data_free;
        return 0;
}

int engine_assign_again(Engine *e, Assignment *a, const KeptReservation *kept,
                        Device *const *devices) {
        const Caller creator = { .uid = kept->creator_uid, .manager = true };
        _cleanup_(request_freep) Request *q = calloc(1, sizeof(Request));
        _cleanup_error_ Error err = ERROR_INIT;
        int r;

        if (!q)
                return -ENOMEM;
        q->pidfd = -EBADF;
        q->devices = calloc(kept->n_requested, sizeof(PciAddress));
        if (!q->devices || free_and_strdup(&q->owner, kept->owner) < 0 ||
            free_and_strdup(&q->driver, kept->drivers[0]) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < kept->n_requested; i++)
                q->devices[q->n_devices++] = devices[i]->facts.address;
        q->take_all = kept->n_devices > kept->n_requested;
        q->force = kept->force;
        q->no_wait = true;
        r = request_set_caller(q, &creator, LIFETIME_PERSISTENT, &err);
        if (r >= 0)
                r = start(e, &creator, a, q, NULL, NULL, &err);
        if (r < 0) {
                engine_reservation_failed(e, a, &err);
                return 0;
        }
        (void) TAKE_PTR(q); /* the task's now */
        return 0;
}

static int check_request(Engine *e, const Caller *c, char *const *devices, const char *owner,
                         const AssignOptions *o, Error *err, Request **ret) {
        _cleanup_(request_freep) Request *q = NULL;
        int r = engine_check_options(c, o, err);

        if (r >= 0)
                r = engine_check_quota(e, c, err);
        if (r >= 0)
                r = request_new(e, devices, owner, o, err, &q);
        if (r >= 0)
                r = request_set_caller(q, c, MAX(o->lifetime, LIFETIME_CONNECTION), err);
        if (r >= 0)
                *ret = TAKE_PTR(q);
        return r;
}

/* The groups are taken: from here on a failure gives them back. */
static int assign_claimed(Engine *e, const Caller *c, Assignment *a, Request *q,
                          const AssignOptions *o, EngineReply reply, void *userdata, Error *err) {
        int r = inventory_add_assignment(e->inventory, a);

        if (r < 0) {
                engine_unclaim(e, a);
                (void) assignment_free(a);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        if (e->observer.assignment_added)
                e->observer.assignment_added(a, e->observer_userdata);
        engine_show_claim(e, a);
        owner_watch_clients(e);
        r = owner_watch(e, a);
        if (r < 0)
                r = error_set(err, ERROR_FAILED, "The process cannot be watched: %s",
                              strerrordesc_np(-r));
        else
                r = start(e, c, a, q, reply, userdata, err);
        if (r < 0) {
                engine_drop_assignment(e, a);
                return r;
        }
        /* Out of memory here costs only the early answer: the job is known all the same. */
        if (o->no_wait)
                (void) engine_answer_for(e, c, a, false, reply, userdata);
        return 0;
}

int engine_assign(Engine *e, const Caller *c, char *const *devices, const char *owner,
                  const AssignOptions *o, EngineReply reply, void *userdata, Error *err) {
        assert(e);
        assert(c);
        assert(o);
        return engine_assign_hashed(e, c, devices, owner, o, engine_request_hash(devices, owner, o),
                                    reply, userdata, err);
}

int engine_assign_hashed(Engine *e, const Caller *c, char *const *devices, const char *owner,
                         const AssignOptions *o, uint64_t hash, EngineReply reply, void *userdata,
                         Error *err) {
        _cleanup_(assignment_freep) Assignment *a = NULL;
        _cleanup_(request_freep) Request *q = NULL;
        int r;

        assert(e);
        assert(c);
        assert(o);
        r = engine_answer_earlier(e, c, o, hash, reply, userdata, err);
        if (r != 0)
                return MIN(r, 0);
        r = check_request(e, c, devices, owner, o, err, &q);
        if (r < 0)
                return r;
        if (assignment_new(&a) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        a->request_hash = hash;
        r = fill_assignment(e, c, q, o, err, a);
        if (r >= 0)
                r = make_claim(e, q, a, err);
        if (r < 0)
                return r;
        r = assign_claimed(e, c, TAKE_PTR(a), q, o, reply, userdata, err);
        if (r >= 0)
                (void) TAKE_PTR(q); /* the task's now */
        return r;
}
