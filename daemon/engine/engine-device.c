/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Work on a device that belongs to no assignment's life: a reset, and (engine-vfs.c)
 * the number of virtual functions. Facts are read first; a plan goes the same way through the
 * journal as an assign. The kernel has one lock for what adds and removes functions, so while that
 * is blocked a further change is refused at once.
 */

#include <assert.h>

#include "engine/engine-clean.h"
#include "engine/engine-device.h"
#include "pci/driver.h"

#define REASON_MAX 256U

static void work_free(void *data) {
        DeviceWork *w = data;

        if (w)
                error_done(&w->error);
        free(w);
}

void engine_work_fail(Task *t, Error *err) {
        Job *j = task_job(t);

        engine_job_finish(t->engine, j, t->cancelled ? JOB_CANCELLED : JOB_FAILED, err);
        task_free(t);
}

static void work_undo(Task *t) {
        if (engine_undo_plan(t->engine, t->plan, NULL, t->job) < 0)
                log_error("Not enough memory to undo plan %s; a restart will", t->plan->id);
        task_free(t);
}

static const char *doing(PlanKind kind) {
        return kind == PLAN_RESET   ? "Resetting"
               : kind == PLAN_CLEAN ? "Cleaning"
                                    : "Setting the number of VFs";
}

/* What was found is kept, whichever way it ended. */
static void settle_cleaning(Task *t, const HostResult *result) {
        const DeviceWork *w = t->data;
        Engine *e = t->engine;
        Device *d = inventory_device(e->inventory, w->address);
        const CleanSubject s = {
                .owner = "", .uid = UID_UNSET, .assignment = "", .event = "clean"
        };
        bool done = result->outcome == HOST_OUTCOME_DONE;

        if (w->kind != PLAN_CLEAN || !d || result->outcome == HOST_OUTCOME_UNKNOWN)
                return;
        if (!done || !d->dirty_owner) /* else settling writes it */
                engine_clean_record(t, w->address, &s, done ? "verified" : "failed",
                                    done ? NULL : result->message);
        if (done && d->quarantine)
                engine_unquarantine(e, d);
        engine_clean_settle(t, result, &s, false);
}

static void work_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        DeviceWork *w = t->data;
        Job *j = task_job(t);
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome != HOST_OUTCOME_DONE)
                (void) engine_result_error(result, doing(w->kind), &err);
        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                engine_job_set_state(e, j, JOB_STUCK);
                task_refuse(t, &err);
                t->ended = work_undo;
                return;
        }
        engine_refresh_plan(e, t->plan);
        settle_cleaning(t, result);
        (void) engine_want_read(e, w->address);
        if (result->outcome == HOST_OUTCOME_FAILED) {
                task_refuse(t, &err);
                work_undo(t);
                return;
        }
        if (store_end(e->store, t->plan->id, result->outcome, NULL) < 0)
                log_warning("Failed to record the end of plan %s; a restart looks at it again",
                            t->plan->id);
        if (w->kind == PLAN_SET_NUMVFS) {
                engine_vfs_finished(t, result->outcome == HOST_OUTCOME_DONE ? NULL : &err);
                return;
        }
        if (result->outcome != HOST_OUTCOME_DONE) {
                engine_work_fail(t, &err);
                return;
        }
        if (w->kind == PLAN_RESET)
                (void) log_context(&(LogContext) { .message_id = MESSAGE_RESET,
                                                  .device = PCI_ADDRESS_TEXT(w->address) },
                                   LOG_NOTICE, 0, "%s was reset", PCI_ADDRESS_TEXT(w->address));
        engine_job_finish(e, j, JOB_DONE, NULL);
        task_free(t);
}

/* ---- verdicts ---- */

static int check_present(const Device *d, Error *err) {
        const char *name = PCI_ADDRESS_TEXT(d->facts.address);

        if (d->gone || d->read_error == -ENODEV)
                return error_set(err, ERROR_GONE, "%s is gone", name);
        if (d->stuck)
                return error_set(err, ERROR_STUCK,
                                 "%s is stuck: a kernel operation on it has not come back", name);
        return 0;
}

static int check_reset(Engine *e, const Device *d, Error *err) {
        const char *name = PCI_ADDRESS_TEXT(d->facts.address);
        int r = check_present(d, err);

        if (r >= 0) /* a reset of the physical function takes its virtual ones along */
                r = engine_vfs_check_owners(e, d, NULL, err);

        if (r < 0)
                return r;
        if (d->use.n_criticals > 0)
                return error_set(err, ERROR_HOST_CRITICAL, "%s is needed by the host (%s)", name,
                                 d->use.criticals[0].proof);
        if (d->facts.driver[0] && !pci_driver_is_vfio(d->facts.driver))
                return error_set(err, ERROR_BUSY,
                                 "%s is bound to %s; assign it first, or unbind it", name,
                                 d->facts.driver);
        if (isempty(d->facts.reset_method))
                return error_set(err, ERROR_NOT_SUPPORTED, "%s has no reset method", name);
        return 0;
}

static int check_clean(Engine *e, const Device *d, Error *err) {
        const char *name = PCI_ADDRESS_TEXT(d->facts.address);
        int r = check_present(d, err);

        if (r < 0)
                return r;
        if (d->assignment)
                return error_set(err, ERROR_OWNED, "%s is assigned to %s; release it first", name,
                                 d->assignment->owner);
        if (d->group && d->group->assignment)
                return error_set(
                        err, ERROR_OWNED,
                        "%s shares its group with what is assigned to %s; release that first", name,
                        d->group->assignment->owner);
        if (d->use.n_criticals > 0)
                return error_set(err, ERROR_HOST_CRITICAL, "%s is needed by the host (%s)", name,
                                 d->use.criticals[0].proof);
        if (isempty(d->facts.reset_method))
                return error_set(err, ERROR_NOT_SUPPORTED,
                                 "%s has no reset method, so nothing proves that it is clean; "
                                 "power it off and on",
                                 name);
        if (!engine_clean_can(e, d))
                return error_set(err, ERROR_POLICY_DENIED, "The rule for %s says not to reset it",
                                 name);
        return 0;
}

/* ---- plans ---- */

static int add_step(Plan *plan, StepType type, uint32_t timeout, const char *value,
                    const char *undo, const char *expect) {
        Step *s = plan_add_device_step(plan, type, plan->devices);

        if (!s)
                return -ENOMEM;
        s->timeout_msec = timeout;
        return step_set(s, value, undo, expect);
}

static int plan_reset(Engine *e, Plan *plan) {
        uint32_t timeout = e->options.step_timeout_msec;
        int r = add_step(plan, STEP_PROVE_UNHELD, 1000, NULL, NULL, NULL);

        if (r >= 0)
                r = add_step(plan, STEP_RESET, timeout, "", NULL, NULL);
        if (r >= 0)
                r = add_step(plan, STEP_AWAIT_READY, timeout, NULL, NULL, NULL);
        if (r >= 0)
                r = add_step(plan, STEP_VERIFY, timeout, NULL, NULL,
                             plan->devices[0].driver_before);
        return r;
}

static int plan_clean(Engine *e, const Device *d, Plan *plan, Error *err) {
        const CleanSubject s = { strempty(d->dirty_owner), d->dirty_uid, "", "clean" };
        int r = engine_plan_clean(e, d, &s, plan);

        return r < 0 ? error_set(err, ERROR_NOT_SUPPORTED, "%s cannot be cleaned: %s",
                                 PCI_ADDRESS_TEXT(d->facts.address),
                                 r == -ENOMEM ? "not enough memory"
                                              : "it has no VFIO driver on this host")
                     : 0;
}

static int work_plan(Engine *e, DeviceWork *w, Device *d, Error *err, Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = plan_new(w->kind);
        AskedFor asked = { .devices = &d, .n_devices = 1 };
        int r;

        if (!plan || engine_plan_devices(&asked, &d, 1, plan) < 0 || engine_random_id(plan->id) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        if (w->kind == PLAN_RESET) {
                r = check_reset(e, d, err);
                if (r >= 0 && plan_reset(e, plan) < 0)
                        r = error_set(err, ERROR_FAILED, "Not enough memory");
        } else if (w->kind == PLAN_CLEAN) {
                r = check_clean(e, d, err);
                if (r >= 0)
                        r = plan_clean(e, d, plan, err);
        } else {
                r = check_present(d, err);
                if (r >= 0)
                        r = engine_vfs_plan(e, w, d, plan, err);
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

int engine_work_run(Task *t, Error *err) {
        Engine *e = t->engine;
        int r;

        if (job_set_plan(task_job(t), t->plan) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        r = store_begin(e->store, t->plan, NULL);
        if (r < 0)
                return error_set(err, ERROR_FAILED,
                                 "The plan could not be recorded, so nothing was done: %s",
                                 strerrordesc_np(-r));
        if (plan_has_removal(t->plan) && engine_removal_is_blocked(e))
                r = error_set(
                        err, ERROR_STUCK,
                        "Another removal has not come back, and the kernel has one lock for all");
        else if (task_run_plan(t, work_finished) < 0)
                r = error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        if (r < 0)
                (void) store_end(e->store, t->plan->id, HOST_OUTCOME_ROLLED_BACK, NULL);
        return r;
}

static void facts_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        DeviceWork *w = t->data;
        Device *d = inventory_device(e->inventory, w->address);
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome != HOST_OUTCOME_DONE || !d || t->cancelled) {
                if (!d)
                        (void) error_set(&err, ERROR_GONE, "%s went away",
                                         PCI_ADDRESS_TEXT(w->address));
                else
                        (void) error_from_result(&err, result, "Reading the facts");
                if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                        if (d)
                                d->job = NULL;
                        engine_job_finish(e, task_job(t), JOB_FAILED, &err);
                        t->job = 0; /* stays for the stuck device alone */
                        return;
                }
                engine_work_fail(t, &err);
                return;
        }
        d->job = NULL;
        if (work_plan(e, w, d, &err, &t->plan) < 0) {
                engine_work_fail(t, &err);
                return;
        }
        d->job = task_job(t);
        if (t->plan->n_steps == 0) { /* as it shall be already */
                d->job = NULL;
                engine_job_finish(e, task_job(t), JOB_DONE, NULL);
                task_free(t);
        } else if (engine_work_run(t, &err) < 0) {
                d->job = NULL;
                engine_work_fail(t, &err);
        }
}

/* ---- requests ---- */

static void answer_job(Task *t) {
        task_answer(t, &(EngineAnswer) { .job = task_job(t) });
        task_free(t);
}

int engine_begin_work(Engine *e, const Caller *c, Device *d, const DeviceWork *work, bool no_wait,
                      EngineReply reply, void *userdata, Error *err) {
        _cleanup_free_ PciAddress *members = NULL;
        Task *t, *now;
        DeviceWork *w;
        ssize_t n;
        Job *j;
        int r;

        r = engine_check_job_quota(e, c, err);
        if (r >= 0)
                r = check_present(d, err);
        if (r < 0)
                return r;
        if (d->job)
                return error_set(err, ERROR_BUSY, "%s is being worked on by job %llu",
                                 PCI_ADDRESS_TEXT(d->facts.address),
                                 (unsigned long long) d->job->id);
        if (task_new(e, c, no_wait ? NULL : reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        w = calloc(1, sizeof(DeviceWork));
        t->data = w;
        t->data_free = work_free;
        t->urgent = true;
        if (!w || engine_job_new(e, work->kind, c->uid, NULL, &j) < 0) {
                task_free(t);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        *w = *work;
        t->job = j->id;
        n = engine_vfs_members(e, d, w->kind == PLAN_SET_NUMVFS, &members);
        r = n < 0 ? -ENOMEM
                  : task_read(t, members, (size_t) n,
                              HOST_READ_CONFIG | HOST_READ_LIVE | HOST_READ_USE, facts_finished);
        if (r < 0) {
                t->reply = NULL;
                engine_job_finish(e, j, JOB_FAILED, NULL);
                task_free(t);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        d->job = j;
        if (no_wait && task_new(e, c, reply, userdata, &now) >= 0) {
                now->job = j->id;
                (void) task_answer_later(now, answer_job);
        }
        return 0;
}

int engine_reset_device(Engine *e, const Caller *c, const char *device, EngineReply reply,
                        void *userdata, Error *err) {
        Device *d;
        int r;

        assert(e);
        assert(c);
        assert(device);
        r = inventory_resolve(e->inventory, device, err, &d);
        if (r < 0)
                return r;
        if (d->assignment && !c->may_manage_others && !engine_caller_owns(d->assignment, c->uid))
                return error_set(err, ERROR_OWNED,
                                 "%s is assigned to %s; only its owner may reset it",
                                 PCI_ADDRESS_TEXT(d->facts.address), d->assignment->owner);
        d->no_reset = false; /* whoever asks may know that it works again */
        /* A reset is only half of what makes a dirty one clean. */
        return engine_begin_work(
                e, c, d,
                &(DeviceWork){ .kind = !d->assignment && d->dirty_owner ? PLAN_CLEAN : PLAN_RESET,
                               .address = d->facts.address },
                false, reply, userdata, err);
}

/* ---- quarantine ---- */

int engine_quarantine_device(Engine *e, const Caller *c, const char *device, const char *reason,
                             EngineReply reply, void *userdata, Error *err) {
        Device *d;
        Task *t;
        int r;

        assert(e);
        assert(c);
        assert(device);
        assert(reason);
        if (!string_is_safe(reason, REASON_MAX))
                return error_set(
                        err, ERROR_INVALID,
                        "The reason must be 1 to %u bytes of UTF-8 without control characters",
                        REASON_MAX);
        r = inventory_resolve(e->inventory, device, err, &d);
        if (r < 0)
                return r;
        if (task_new(e, c, reply, userdata, &t) < 0 || task_answer_later(t, answer_job) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        engine_quarantine(e, d, reason);
        return 0;
}

int engine_unquarantine_device(Engine *e, const Caller *c, const char *device, EngineReply reply,
                               void *userdata, Error *err) {
        Device *d;
        int r;

        assert(e);
        assert(c);
        assert(device);
        r = inventory_resolve(e->inventory, device, err, &d);
        if (r < 0)
                return r;
        d->no_reset = false;
        if (!d->quarantine)
                return error_set(err, ERROR_INVALID, "%s is not quarantined",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        return engine_begin_work(e, c, d,
                                 &(DeviceWork){ .kind = PLAN_CLEAN, .address = d->facts.address },
                                 false, reply, userdata, err);
}
