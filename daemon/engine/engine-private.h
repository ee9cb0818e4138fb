/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the files of the engine share. A Task is one piece of work on its way: a request that a
 * caller waits for, or something that the engine itself set in motion. It runs host requests one
 * after the other; between them everything it works on is looked up again by id or address, since
 * it can vanish meanwhile.
 */

#include "base/jsonx.h"
#include "base/list.h"
#include "base/log.h"
#include "base/names.h"
#include "base/strutil.h"
#include "engine/engine.h"
#include "engine/planted.h"
#include "policy/policy.h"
#include "store/state.h"
#include "store/store.h"

typedef struct Task Task;
typedef struct Resync Resync;
typedef struct OwnerWatch OwnerWatch;

typedef struct PlannedDriver {
        char name[PCI_DRIVER_NAME_MAX];
} PlannedDriver;

#define OPEN_FDS_MAX 64U
#define READ_BATCH 16U /* functions a worker reads at a time: a blocked one costs only its batch
                        * \ */
#define READ_BATCHES_AT_ONCE 2U
#define REQUEST_DEVICES_MAX 64U   /* named by one request */
#define QUEUE_MAX 1024U           /* tasks that wait for a worker */

struct Engine {
        struct sd_event *event;
        Host *host;
        Store *store;
        EngineOptions options;
        EngineObserver observer;
        void *observer_userdata;
        Inventory *inventory;

        ListLink tasks;          /* Task.link */
        ListLink queue;          /* Task.queued: no worker was free */
        size_t n_queued;
        uint64_t n_looks;
        HostTimer *queue_timer;  /* for locks whose end nobody reports */

        uint64_t finished_jobs[JOBS_KEPT_MAX]; /* ring, oldest first from finished_first */
        size_t finished_first, n_finished;

        HostPlatform platform;
        bool platform_read;

        PciAddress *to_read; /* waiting to be read by workers: settling, and what events touched */
        size_t to_read_first, n_to_read, to_read_allocated;
        Hashmap *wanted;         /* keys of those, so that a burst about one device reads it once */
        unsigned n_reading;
        HostTimer *read_timer;   /* gathers what a burst of events touches */

        Resync *resync;
        ListLink owners;         /* OwnerWatch.link */
        struct RestoredFd {
                char *name;
                int fd;
        } *restored; /* from the service manager, until claimed */
        size_t n_restored, restored_allocated;
        KeptState kept;          /* engine-kept.h */
        int kept_unread;         /* negative errno: the state directory could not be read */
        char *kept_trouble;      /* why it could not be written last; NULL */
        char **kept_unsaved;     /* strv: files that are behind memory */
        bool kept_saving;        /* a task is at it */
        HostTimer *reserve_timer; /* reservations whose hardware was busy */
        bool watching_clients, listening, started, settling, settled;

        unsigned n_arriving;     /* engine-arrival.c */
        bool arrivals_due;       /* some device was not looked at */
        bool looking_at_arrivals;

        Policy *policy;          /* in force; what is built in where no file says more */
        char *policy_refusal;    /* none could be read since the start: why; nothing is assigned */
        uint64_t policy_generation;
        usec_t policy_at;        /* when it came into force */
        HostTimer *verdict_timer; /* verdicts by a new policy, a slice at a time */
        PciAddress verdict_next;
};

/* ---- tasks (engine-task.c) ---- */

/* What is known of one step of a task's plan. */
typedef struct StepNote {
        usec_t started, ended; /* host_now(); 0: not */
        int error;
        char *evidence;
} StepNote;

typedef void (*TaskFinished)(Task *t, const HostResult *result);

struct Task {
        Engine *engine;
        ListLink link, queued;
        HostRequest request;         /* of the host job at hand; what it points to is below */
        PciAddress *devices;
        uint8_t *answered;           /* one for each of devices: READ gave an answer */
        size_t n_devices;
        HostOpenDevice *open_devices;
        Plan *plan;
        HostJob *host_job;
        usec_t give_up_at;   /* in the queue; USEC_INFINITY for what has to be done at last */
        bool patient;        /* never gives up waiting for a worker */
        bool urgent;         /* before others in the queue */
        bool stuck;          /* UNKNOWN came, ended did not */
        bool awaits_settled; /* fires when everything is read */
        bool waits;          /* does nothing but wait for the end of job */
        bool releases;       /* waits for the end of its assignment, whichever job brings it */
        bool cancelled;      /* asked to stop: undo, and say so */
        bool known; /* decided by facts that were read before: what the plan finds otherwise is
                     * read */
        int submit_error;    /* why the host took no request, until it is delivered */
        char **not_restored; /* strv: settings that a release could not take back */

        StepNote *notes;             /* of each step of the plan that runs or ran; NULL on OOM */
        size_t n_notes;
        void (*started)(Task *t, size_t step); /* a step of the plan begins; NULL */
        TaskFinished finished;       /* of the host request at hand; the task is its to end */
        void (*ended)(Task *t); /* after UNKNOWN; NULL: the devices are unstuck, the task ends */
        void (*fire)(Task *t);       /* of the timer */
        void (*look)(Task *t);       /* when devices were read; NULL */
        uint64_t looked;             /* Engine.n_looks of the last one */
        HostTimer *timer;
        unsigned attempts;

        uint64_t job;                /* 0: none */
        char assignment[ASSIGNMENT_ID_MAX];

        Caller caller;               /* bus_name is NULL here */
        EngineReply reply;           /* NULL: nobody waits, or it was answered */
        void *reply_userdata;

        HostFd fds[OPEN_FDS_MAX];    /* owned until answered */
        size_t n_fds;
        HostApi opened_api;

        void *data;                  /* of the kind of task */
        void (*data_free)(void *data);
};

int task_new(Engine *e, const Caller *c, EngineReply reply, void *userdata, Task **ret);
Task *task_free(Task *t);
DEFINE_CLEANUP(Task *, task_free);
/* Starts t->request, or queues it until a worker is free. -EBUSY: the queue is full. Otherwise
 * finished() follows, never from inside. */
int task_run(Task *t, TaskFinished finished);
/* The same, but -EBUSY or -EAGAIN instead of waiting: the request borrows what lives no longer than
 * the call. */
int task_run_now(Task *t, TaskFinished finished);
/* A READ of these devices with what of HOST_READ_. Copies. */
int task_read(Task *t, const PciAddress *devices, size_t n, unsigned what, TaskFinished finished);
/* Runs t->plan, which the journal has. */
int task_run_plan(Task *t, TaskFinished finished);
/* Calls fire() at that time of host_now(), from the loop. */
int task_fire_at(Task *t, usec_t at, void (*fire)(Task *t));
/* Calls fire() from the loop as soon as everything is read. */
/* Devices are known better now: calls look() of those who wait for that. */
void engine_look(Engine *e);
int task_fire_when_settled(Task *t, void (*fire)(Task *t));
void engine_fire_settled(Engine *e);
/* The caller's answer; each may be called when nobody waits (any more). Neither ends the task. */
void task_answer(Task *t, const EngineAnswer *answer);
void task_refuse(Task *t, Error *error); /* error stays the caller's */
/* For a request whose answer is known at once, to be given from the loop. Takes the task. */
int task_answer_later(Task *t, void (*fire)(Task *t));
/* Devices of the host request at hand are stuck, or not any more. */
void task_set_stuck(Task *t, bool stuck);
void engine_kick_queue(Engine *e);
/* A stuck task of the removal class: the kernel's one lock for it is taken. */
bool engine_removal_is_blocked(const Engine *e);
/* Fills err from what the host said; context names what was tried. Returns the negative errno of
 * the code. */
int error_from_result(Error *err, const HostResult *r, const char *context);

/* ---- jobs (engine-job.c) ---- */

int engine_job_new(Engine *e, PlanKind kind, uid_t creator, const char *assignment, Job **ret);
Job *task_job(const Task *t);
void engine_job_changed(Engine *e, Job *j);
void engine_job_set_state(Engine *e, Job *j, JobState s);
/* Takes result's contents (NULL: success). Answers who waits for this job. */
void engine_job_finish(Engine *e, Job *j, JobState s, Error *result);
unsigned engine_jobs_running(const Engine *e, uid_t uid, bool all);
int engine_check_job_quota(Engine *e, const Caller *c, Error *err);
/* Puts or takes the job as what works on these devices of the plan. */
void engine_mark_job(Engine *e, const Plan *plan, Job *j);

/* ---- devices and groups as they are shown (engine.c) ---- */

void engine_device_changed(Engine *e, Device *d);
void engine_assignment_changed(Engine *e, Assignment *a);
/* The one caller of assignment_set_state(). false: impossible, logged. */
bool engine_step(Engine *e, Assignment *a, AssignmentEvent event);
void engine_audit(const Assignment *a, const char *message_id, int level, const char *format, ...)
        _printf_(4, 5);
int engine_random_id(char ret[ASSIGNMENT_ID_MAX]);
/* Re-reads driver and group of one device; reports what changed. -ENODEV: gone (handled). */
int engine_refresh_device(Engine *e, Device *d);
void engine_refresh_plan(Engine *e, const Plan *plan);
void engine_notice(Engine *e, Assignment *a, const char *kind, PciAddress device,
                   const char *details);

/* ---- reading (engine-read.c) ---- */

void engine_take_device(Engine *e, HostDeviceFacts *facts);
void engine_take_group(Engine *e, IommuGroupFacts *group);
void engine_take_slot(Engine *e, PciSlotFacts *slot);
/* Of a READ that ended: verdicts of the groups that it was about, each once, and one report per
 * device. */
void engine_took_devices(Engine *e, const PciAddress *devices, size_t n);
/* Read by a worker soon. */
int engine_want_read(Engine *e, PciAddress a);
/* The same, since its children changed and nothing else. */
int engine_want_use(Engine *e, PciAddress a);
/* A worker has read all that a plan needs, and no event came since. What changes without an event
 * is looked at by the plan itself: who uses the device, its override, whether it answers. */
bool engine_knows_device(const Engine *e, const Device *d);
/* Drops what a plan outdated. The override stays: the plan told it. */
void engine_forget_live(Device *d);

/* ---- verdict (engine-verdict.c) ---- */

typedef struct AskedFor {
        Device *const *devices;  /* requested */
        size_t n_devices;
        bool take_all, force;
        const char *driver;     /* NULL: by rule, or else by aliases */
        const Assignment *self; /* its own ownership and job do not count */
        bool choose_driver;     /* look for the VFIO driver too */
        const PolicyAsk *ask;   /* who asks; NULL: nobody in particular */
        bool claiming;          /* limits count all that is there, not only what came before self */
} AskedFor;

typedef struct GroupQuestion {
        VerdictQuestion question;
        VerdictMember *members;
        PlannedDriver *drivers;  /* of each member */
        char **texts;            /* strv: what members point to */
        Device **devices;        /* of each member */
        const PolicyRule **rules; /* of each member; borrowed from the policy in force */
        PolicyAsk *asks;         /* of each member */
        bool take_all;           /* the caller's own consent */
} GroupQuestion;

/* anchor: any member, or the one device without a group. */
int group_question(Engine *e, const Device *anchor, const AskedFor *asked, GroupQuestion *ret);
void group_question_done(GroupQuestion *q);
#define _cleanup_question_ _cleanup_(group_question_done)

/* Recomputes Device.blockers and Group.viable of the device's group; reports those that changed but
 * `reported`. */
void engine_update_verdicts(Engine *e, Device *anchor, const Device *reported);
void engine_update_all_verdicts(Engine *e);
/* Verdicts of all groups of these devices: 0, or the error's negative errno with blockers in its
 * details. ret (may be NULL): { "groups": [ { "group", "members": [ … ] } ], "blockers": [ … ],
 * "assignable": bool }, on refusal as well. */
int engine_check(Engine *e, const AskedFor *asked, Error *err, Json **ret);
/* The same by the rules alone and at once, for requested devices whose facts are known. */
int engine_check_rules(Engine *e, const AskedFor *asked, Error *err);
/* Safety and rules on member i, with the consent of the rules of whatever is requested. */
void group_question_evaluate(const Engine *e, GroupQuestion *q, size_t i, Verdict *ret);

/* ---- plans (engine-plan.c, engine-token.c) ---- */

/* Members that a plan touches: requested, and the group's others that are parked. Sorted;
 * malloc'd. */
int engine_plan_members(Engine *e, const AskedFor *asked, Device ***ret, size_t *ret_n);
/* Devices only, no steps: what is claimed. */
int engine_plan_devices(const AskedFor *asked, Device *const *members, size_t n, Plan *plan);
/* Fills in what was there before, and the steps. Facts must be fresh. */
int engine_plan_assign(Engine *e, const AskedFor *asked, const char *node_owner, Plan *plan,
                       Error *err);
/* Back to what was there before `made`. */
int engine_plan_release(Engine *e, const Assignment *a, Plan **ret);
/* Node to root and proof that nobody holds it; it stays on the VFIO driver. */
int engine_plan_rest(Engine *e, const Assignment *a, Plan **ret);
int engine_plan_node_owner(Engine *e, const Plan *made, const char *from, const char *to,
                           Plan **ret);
bool plan_device_is(const PlanDevice *p, const PciFacts *f);

#define TOKEN_MAX 256U
void engine_token(const Engine *e, const AskedFor *asked, const char *owner,
                  Device *const *members, size_t n, char ret[TOKEN_MAX]);
/* 0, or ERROR_PLAN_STALE that names the facts which changed; ERROR_INVALID for what is no token. */
int engine_token_check(const char *given, const char *now, Error *err);

/* ---- assignments (engine-assign.c, engine-claim.c, engine-release.c, engine-owner.c) ---- */

/* What a request asked for, resolved: owned copies, so that it lives as long as the task. */
typedef struct Request {
        PciAddress *devices;
        size_t n_devices;
        char *owner;
        bool take_all, force, no_wait, plan_only;
        char *token, *driver;
        char *node_owner;       /* "UID:GID", NULL: no node is owned */
        uint64_t memlock;
        int pidfd;              /* own duplicate; -EBADF */
        PolicyAsk ask;          /* who asks, for the rules; what it points to is the request's */
        gid_t *gids;
} Request;

int request_new(Engine *e, char *const *devices, const char *owner, const AssignOptions *o,
                Error *err, Request **ret);
/* Who asks, and for how long (_LIFETIME_INVALID: that is not the question). */
int request_set_caller(Request *r, const Caller *c, Lifetime lifetime, Error *err);
Request *request_free(Request *r);
DEFINE_CLEANUP(Request *, request_free);
/* Looks the devices up again. Borrowed in *ret_devices (malloc'd array). ERROR_GONE. */
int request_asked_for(Engine *e, const Request *r, const Assignment *self, Error *err,
                      Device ***ret_devices, AskedFor *ret);

int engine_check_options(const Caller *c, const AssignOptions *o, Error *err);
int engine_check_quota(Engine *e, const Caller *c, Error *err);
uint64_t engine_request_hash(char *const *devices, const char *owner, const AssignOptions *o);
/* engine_assign() for a request whose idempotence is judged by this hash, whatever the devices. */
int engine_assign_hashed(Engine *e, const Caller *c, char *const *devices, const char *owner,
                         const AssignOptions *o, uint64_t hash, EngineReply reply, void *userdata,
                         Error *err);
/* Answers for the earlier request with this id: 1; 0 there is none; ERROR_INVALID. */
int engine_answer_earlier(Engine *e, const Caller *c, const AssignOptions *o, uint64_t hash,
                          EngineReply reply, void *userdata, Error *err);
Assignment *engine_find_request(const Engine *e, uid_t uid, const char *request_id);
/* Takes the groups of these devices in memory: all or none. ERROR_OWNED or ERROR_BUSY. */
int engine_claim(Engine *e, Assignment *a, const Plan *plan, Error *err);
void engine_unclaim(Engine *e, Assignment *a);
/* Reports the devices and groups of a claim as changed. */
void engine_show_claim(Engine *e, const Assignment *a);
/* Takes it off its devices, tells everybody, frees it. */
void engine_drop_assignment(Engine *e, Assignment *a);
/* An answer that does not wait for the assignment's job or, with wait, one more that does. */
int engine_answer_for(Engine *e, const Caller *c, const Assignment *a, bool wait, EngineReply reply,
                      void *userdata);
/* error_from_result() with the holders as details. */
int engine_result_error(const HostResult *result, const char *context, Error *err);
int engine_find_owned(Engine *e, const Caller *c, const char *id, Error *err, Assignment **ret);
const char *assignment_node_owner(const Assignment *a, char *buffer, size_t size);

/* Starts the way back, or remembers it when a job runs. why goes to the log. rest: it stays
 * reserved. */
int engine_begin_release(Engine *e, Assignment *a, const Caller *c, bool rest, const char *why);
/* The same, of one that was releasing when the daemon ended. */
int engine_continue_release(Engine *e, Assignment *a, bool rest);
/* When a release that waits since then ends the declared process (engine-force.c): USEC_INFINITY
 * never. n_signals: that it got already. */
usec_t engine_force_at(Engine *e, const Assignment *a, usec_t held_since, unsigned n_signals);
/* Has a worker send it the next one. */
int engine_force_end(Task *t, const Assignment *a, unsigned n_signals, TaskFinished finished);
/* Who asked for the release of something that was still on its way waits for this job. NULL: for
 * one that is to come. */
void engine_adopt_waiting(Engine *e, const Assignment *a, const Job *j);
/* Takes back a waiting answer that was refused at once after all. */
void engine_drop_waiting(Engine *e, const Assignment *a, EngineReply reply, void *userdata);
/* A plan whose outcome is not known is undone by the facts. Copies it. An assign takes its
 * assignment along. */
int engine_undo_plan(Engine *e, Plan *plan, const char *assignment, uint64_t job);
void engine_quarantine(Engine *e, Device *d, const char *reason);
void engine_unquarantine(Engine *e, Device *d);
int engine_begin_undo(Engine *e, Assignment *a, Plan *plan, uint64_t job);

int owner_watch(Engine *e, Assignment *a);
/* Without an event loop: looks once whether a watched process has ended. */
void engine_poll_owners(Engine *e);
void owner_unwatch(Engine *e, Assignment *a);
int owner_set_deadline(Engine *e, Assignment *a);
void owner_watch_clients(Engine *e);
void owner_free_all(Engine *e);
/* The process behind a pidfd, proven to be the caller's. */
int owner_prove(const Caller *c, int pidfd, uid_t declared, Error *err, uint32_t *ret_pid,
                uint64_t *ret_start);
/* After a restart: the kept descriptor, or the pid if it is still the same process. */
int owner_restore(Engine *e, Assignment *a);

/* ---- events (engine-events.c, engine-resync.c), start (engine-start.c, engine-recover.c) ---- */

void engine_handle_event(const HostEvent *event, void *userdata);
int engine_add_device(Engine *e, PciAddress a);
void engine_remove_device(Engine *e, Device *d);
void engine_lose_assigned(Engine *e, Assignment *a, Device *d);

/* ---- drift (engine-drift.c) ---- */

/* Compares with what the assignment left, and signals what is new. True if what is shown changed:
 * the caller reports the device. */
bool engine_check_drift(Engine *e, Device *d);
/* Reads what no event tells: a foreign hand that rebound a device may have written its driver
 * override as well. */
void engine_drift_look(Engine *e, const Device *d);
void engine_drift_over(Engine *e, Device *d);
/* A plan of ours left these devices so. */
void engine_drift_planned(Engine *e, const Plan *plan);
/* Does what rules say of devices that nobody asked for, a few at a time (engine-arrival.c). */
void engine_arrivals(Engine *e);
/* What a hold's plan has left is known: remembers it. false: the host has it. */
bool engine_take_held(Engine *e, const Plan *plan);
/* It came after the start, or another card came in its place. */
void engine_device_inserted(Engine *e, Device *d);
/* Of a device with an assignment: the log and the signal. */
/* a: whose expectation it is. */
void engine_report_drift(Engine *e, Device *d, const Assignment *a, const char *what,
                         const char *found, const char *expected);
/* Takes over facts and use; reports what is new or changed. */
int engine_put_device(Engine *e, PciFacts *facts, PciUse *use);
int engine_begin_resync(Engine *e);
Resync *resync_free(Resync *r);
int engine_reconcile(Engine *e, StoredState *state);
/* A descriptor kept by the service manager for this assignment; -EBADF. */
int engine_take_restored_fd(Engine *e, const char *id);
