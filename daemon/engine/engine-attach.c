/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Attach: an assignment goes over to a process, atomically. Its memory limit and the owner of the
 * nodes come first, as a small plan in the journal; then the new owner is recorded, and only then
 * shown. Until that moment the old one holds it.
 */

#include <assert.h>
#include <fcntl.h>

#include "engine/engine-kept.h"

typedef struct Attach {
        int pidfd;
        uint32_t pid;
        uint64_t pid_start, memlock;
        uid_t uid; /* UID_UNSET: as before */
} Attach;

static void attach_free(void *data) {
        Attach *at = data;

        if (at)
                (void) safe_close(at->pidfd);
        free(at);
}

static void attach_fail(Task *t, Error *err) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        Job *j = task_job(t);

        if (a && a->job == j)
                a->job = NULL;
        if (j)
                engine_job_finish(e, j, t->cancelled ? JOB_CANCELLED : JOB_FAILED, err);
        if (a && a->release_wanted)
                (void) engine_begin_release(e, a, NULL, false, "asked for meanwhile");
        task_free(t);
}

static void move_owner(Engine *e, Assignment *a, Attach *at) {
        owner_unwatch(e, a);
        a->pidfd = TAKE_FD(at->pidfd);
        a->pid = at->pid;
        a->pid_start = at->pid_start;
        a->attach_deadline = 0;
        if (at->memlock > 0)
                a->memlock = at->memlock;
        if (at->uid != UID_UNSET)
                a->user_uid = at->uid;
        if (a->lifetime == LIFETIME_CONNECTION) {
                a->lifetime = LIFETIME_PROCESS; /* the process's now, not the client's */
                (void) free_and_strdup(&a->bus_name, NULL);
                owner_watch_clients(e);
        }
}

static int record_owner(Task *t, const Assignment *a) {
        return t->plan ? store_end(t->engine->store, t->plan->id, HOST_OUTCOME_DONE, a)
                       : store_assignment(t->engine->store, a);
}

static void attach_done(Task *t) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        Job *j = task_job(t);
        int r;

        a->job = NULL;
        move_owner(e, a, t->data);
        if (a->state == ASSIGNMENT_RESERVED && engine_step(e, a, ASSIGNMENT_EVENT_ATTACH))
                (void) engine_step(e, a, ASSIGNMENT_EVENT_PREPARED);
        else
                (void) engine_step(e, a, ASSIGNMENT_EVENT_ATTACH);
        r = record_owner(t, a);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to record who owns assignment %s now: %m",
                                         a->id);
        r = owner_watch(e, a);
        if (r < 0)
                (void) log_error_errno(r, "Failed to watch process %u: %m", a->pid);
        engine_audit(a, MESSAGE_ASSIGNED, LOG_NOTICE, "Process %u took over the assignment of %s",
                     a->pid, a->owner);
        engine_job_finish(e, j, JOB_DONE, NULL);
        task_free(t);
        if (a->release_wanted)
                (void) engine_begin_release(e, a, NULL, false, "asked for meanwhile");
}

static void attach_undo(Task *t) {
        if (engine_undo_plan(t->engine, t->plan, t->assignment, t->job) < 0)
                log_error("Not enough memory to undo plan %s; a restart will", t->plan->id);
        task_free(t);
}

static void node_owner_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome == HOST_OUTCOME_DONE) {
                attach_done(t);
                return;
        }
        (void) engine_result_error(result, "Attaching", &err);
        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                engine_job_set_state(e, task_job(t), JOB_STUCK);
                task_refuse(t, &err);
                t->ended = attach_undo;
                return;
        }
        if (result->outcome == HOST_OUTCOME_FAILED) {
                task_refuse(t, &err);
                attach_undo(t);
                return;
        }
        if (store_end(e->store, t->plan->id, result->outcome, NULL) < 0)
                log_warning("Failed to record the end of plan %s; a restart looks at it again",
                            t->plan->id);
        attach_fail(t, &err);
}

static int node_owner_plan(Task *t, const Assignment *a, Error *err) {
        Engine *e = t->engine;
        Attach *at = t->data;
        char from[32] = "0:0", to[32];
        int r;

        (void) assignment_node_owner(a, from, sizeof(from));
        (void) snprintf(to, sizeof(to), "%u:%u", (unsigned) at->uid,
                        a->user_gid == GID_UNSET ? 0U : (unsigned) a->user_gid);
        r = engine_plan_node_owner(e, a->plan, a->state == ASSIGNMENT_RESERVED ? "0:0" : from, to,
                                   &t->plan);
        if (r >= 0)
                r = job_set_plan(task_job(t), t->plan);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        r = store_begin(e->store, t->plan, a);
        if (r < 0)
                return error_set(err, ERROR_FAILED,
                                 "The plan could not be recorded, so nothing was done: %s",
                                 strerrordesc_np(-r));
        r = task_run_plan(t, node_owner_finished);
        if (r < 0) {
                (void) store_end(e->store, t->plan->id, HOST_OUTCOME_ROLLED_BACK, NULL);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        return 0;
}

static void attach_node(Task *t) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        _cleanup_error_ Error err = ERROR_INIT;
        Attach *at = t->data;

        if (!a || t->cancelled || a->state == ASSIGNMENT_LOST) {
                (void) error_set(&err, a && !t->cancelled ? ERROR_GONE : ERROR_FAILED,
                                 "The job was stopped");
                attach_fail(t, &err);
                return;
        }
        /* A node that rests is root's; one that is used changes hands only when the user does. */
        if (at->uid == UID_UNSET && a->state == ASSIGNMENT_RESERVED &&
            (a->by_node || a->user_uid != UID_UNSET))
                at->uid = a->user_uid != UID_UNSET ? a->user_uid : a->creator_uid;
        if (at->uid == UID_UNSET || (at->uid == a->user_uid && a->state != ASSIGNMENT_RESERVED))
                attach_done(t);
        else if (node_owner_plan(t, a, &err) < 0)
                attach_fail(t, &err);
}

static void memlock_finished(Task *t, const HostResult *result) {
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome != HOST_OUTCOME_DONE) {
                (void) error_from_result(&err, result, "Raising the locked-memory limit");
                attach_fail(t, &err);
                return;
        }
        attach_node(t);
}

static int parse_user(const Caller *c, const char *uid, Error *err, uid_t *ret) {
        uint32_t v;

        *ret = UID_UNSET;
        if (isempty(uid))
                return 0;
        if (parse_u32(uid, 10, UINT32_MAX - 1, &v) < 0)
                return error_set(err, ERROR_INVALID, "uid must be a number or empty");
        if (v != c->uid && !c->may_manage_others)
                return error_set(err, ERROR_NOT_AUTHORIZED, "uid %u is not the caller's own uid %u",
                                 v, (unsigned) c->uid);
        *ret = v;
        return 0;
}

static int check_attach(Engine *e, const Assignment *a, Error *err) {
        if (a->job)
                return error_set(err, ERROR_BUSY, "Job %llu works on assignment %s; wait for it",
                                 (unsigned long long) a->job->id, a->id);
        if (a->state == ASSIGNMENT_RESERVED)
                return engine_reservation_check_rest(e, a, err);
        if (a->state != ASSIGNMENT_ACTIVE)
                return error_set(
                        err, ERROR_INVALID,
                        "Assignment %s is %s; only an active or reserved one takes a process",
                        a->id, assignment_state_to_string(a->state));
        return 0;
}

static int attach_start(Engine *e, const Caller *c, Assignment *a, Attach *at, EngineReply reply,
                        void *userdata, Error *err) {
        Task *t;
        Job *j;
        int r;

        if (task_new(e, c, reply, userdata, &t) < 0) {
                attach_free(at);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        t->data = at;
        t->data_free = attach_free;
        t->urgent = true;
        (void) string_copy(t->assignment, sizeof(t->assignment), a->id);
        r = engine_job_new(e, PLAN_ASSIGN, c->uid, a->id, &j);
        if (r >= 0) {
                t->job = j->id;
                t->request = (HostRequest) {
                        .type = HOST_REQUEST_PROCESS,
                        .pidfd = at->pidfd,
                        .memlock = at->memlock,
                        .container_fd = -EBADF,
                        .iommufd = -EBADF,
                };
                r = at->memlock > 0 ? task_run(t, memlock_finished)
                                    : task_fire_at(t, host_now(e->host), attach_node);
                if (r < 0) {
                        t->reply = NULL; /* told by the return value */
                        engine_job_finish(e, j, JOB_FAILED, NULL);
                }
        }
        if (r < 0) {
                task_free(t);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        a->job = j;
        return 0;
}

int engine_attach(Engine *e, const Caller *c, const char *assignment, int pidfd, const char *uid,
                  uint64_t memlock, EngineReply reply, void *userdata, Error *err) {
        Assignment *a;
        Attach *at;
        uid_t user;
        int r;

        assert(e);
        assert(c);
        r = engine_find_owned(e, c, assignment, err, &a);
        if (r >= 0)
                r = check_attach(e, a, err);
        if (r >= 0)
                r = parse_user(c, uid, err, &user);
        if (r < 0)
                return r;
        at = calloc(1, sizeof(Attach));
        if (!at)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        *at = (Attach) { .pidfd = -EBADF, .memlock = memlock, .uid = user };
        r = owner_prove(c, pidfd, user != UID_UNSET ? user : a->user_uid, err, &at->pid,
                        &at->pid_start);
        if (r >= 0) {
                at->pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
                if (at->pidfd < 0)
                        r = error_set(err, ERROR_FAILED, "The pidfd cannot be kept: %s",
                                      strerrordesc_np(errno));
        }
        if (r < 0) {
                attach_free(at);
                return r;
        }
        return attach_start(e, c, a, at, reply, userdata, err);
}
