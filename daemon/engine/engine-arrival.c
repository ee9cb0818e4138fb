/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What rules say of devices that nobody asked for: `present` of those that are there when the
 * daemon has read everything after its start, `inserted` of those that come later. Hold: bound to a
 * VFIO driver without an owner. Claim: taken from its host driver and kept from the next one by the
 * override, bound to nothing until it is assigned. Each is a job with a plan in the journal like
 * any other, which a crash or a hang finds done to its end; nothing is held that safety finds a
 * reason against. A device is looked at once; a reload does not do it again. Virtual functions that
 * a rule wants are made when their device is there and has none.
 */

#include <assert.h>

#include "engine/engine-device.h"
#include "engine/engine-policy.h"
#include "pci/driver.h"

#define ARRIVALS_AT_ONCE 2U
#define UNHELD_TIMEOUT_MSEC 1000U
#define ARRIVAL_WHAT (HOST_READ_CONFIG | HOST_READ_LIVE | HOST_READ_USE | HOST_READ_GROUP)

typedef struct Arrival {
        PciAddress address;
        PolicyArrival what;
} Arrival;

static PolicyArrival arrival_of(Engine *e, const Device *d) {
        const PolicySettings *s = &engine_rule(e, d)->settings;

        return d->inserted ? s->inserted : s->present;
}

/* The first thing that safety says against it, by itself: mates may stay with the host. */
static char *reason_against(Engine *e, Device *d) {
        AskedFor asked = { .devices = &d, .n_devices = 1, .take_all = true, .choose_driver = true };
        _cleanup_question_ GroupQuestion q = {};

        if (group_question(e, d, &asked, &q) < 0)
                return strdup("not enough memory");
        for (size_t i = 0; i < q.question.n_members; i++) {
                const Blocker *b;
                Verdict v;

                if (q.devices[i] != d)
                        continue;
                q.members[i].job = NULL; /* it is ours */
                verdict_evaluate(&q.question, i, &v);
                b = verdict_first(&v);
                return b ? blocker_describe(&q.question, b) : NULL;
        }
        return NULL;
}

static bool is_settled_so(const Device *d, PolicyArrival what) {
        if (what == POLICY_HOLD)
                return pci_driver_is_vfio(d->facts.driver);
        return !d->facts.driver[0] && d->live && pci_live_override(d->live) &&
               pci_driver_is_vfio(pci_live_override(d->live));
}

/* ---- the plan ---- */

static int add_step(Engine *e, Plan *plan, StepType type, const char *value, const char *expect) {
        Step *s = plan_add_device_step(plan, type, plan->devices);
        const char *undo = type == STEP_SET_OVERRIDE ? plan->devices->override_before
                           : type == STEP_UNBIND || type == STEP_PROBE ? value
                                                                       : NULL;

        if (!s)
                return -ENOMEM;
        s->timeout_msec =
                type == STEP_PROVE_UNHELD ? UNHELD_TIMEOUT_MSEC : e->options.step_timeout_msec;
        return step_set(s, type == STEP_PROBE ? NULL : value, undo, expect);
}

static int add_steps(Engine *e, PolicyArrival what, Plan *plan) {
        const PlanDevice *p = plan->devices;
        int r = add_step(e, plan, STEP_PROVE_UNHELD, NULL, NULL);

        if (r >= 0 && p->driver_before[0])
                r = add_step(e, plan, STEP_UNBIND, p->driver_before, NULL);
        if (r >= 0)
                r = add_step(e, plan, STEP_SET_OVERRIDE, p->driver, p->driver);
        if (r >= 0 && what == POLICY_HOLD)
                r = add_step(e, plan, STEP_PROBE, p->driver, p->driver);
        if (r >= 0)
                r = add_step(e, plan, STEP_VERIFY, NULL, what == POLICY_HOLD ? p->driver : "");
        return r;
}

static int make_plan(Engine *e, Device *d, PolicyArrival what, Error *err, Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_HOLD);
        const char *wanted = engine_rule(e, d)->settings.driver;
        AskedFor asked = { .devices = &d, .n_devices = 1 };
        char driver[PCI_DRIVER_NAME_MAX];

        if (!plan || engine_plan_devices(&asked, &d, 1, plan) < 0 || engine_random_id(plan->id) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory for a plan");
        if (wanted)
                (void) string_copy(driver, sizeof(driver), wanted);
        else if (host_choose_driver(e->host, &d->facts, driver, sizeof(driver)) < 0)
                return error_set(err, ERROR_NOT_SUPPORTED, "%s has no VFIO driver on this host",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        if (free_and_strdup(&plan->devices->driver, driver) < 0 || add_steps(e, what, plan) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory for a plan");
        *ret = TAKE_PTR(plan);
        return 0;
}

/* ---- the work ---- */

static void arrival_end(Task *t, JobState state, Error *err) {
        Engine *e = t->engine;
        const Arrival *a = t->data;
        Job *j = task_job(t);

        if (err)
                log_warning("%s is not taken from the host: %s", PCI_ADDRESS_TEXT(a->address),
                            err->message);
        engine_job_finish(e, j, state, err);
        task_free(t);
        e->n_arriving--;
        engine_arrivals(e);
}

bool engine_take_held(Engine *e, const Plan *plan) {
        const PlanDevice *p = plan->devices;
        Device *d = inventory_device(e->inventory, p->address);
        bool held, free_of_host;

        assert(plan->n_devices == 1);
        held = d && streq(d->facts.driver, p->driver);
        free_of_host = d && !d->facts.driver[0];
        if (!held && !free_of_host)
                return false;
        if (free_and_strdup(&d->held_from, p->driver_before) < 0)
                log_warning("Not enough memory to remember what had %s",
                            PCI_ADDRESS_TEXT(p->address));
        (void) log_context(&(LogContext) { .message_id = MESSAGE_HELD,
                                           .device = PCI_ADDRESS_TEXT(p->address) },
                           LOG_NOTICE, 0, "%s is %s by rule%s%s%s", PCI_ADDRESS_TEXT(p->address),
                           held ? "held" : "claimed",
                           p->driver_before[0] ? "; " : ": no host driver touched it",
                           p->driver_before, p->driver_before[0] ? " had it first" : "");
        engine_update_verdicts(e, d, d); /* rules may go by that driver */
        engine_device_changed(e, d);
        return true;
}

static void arrival_undo(Task *t) {
        Engine *e = t->engine;

        if (engine_undo_plan(e, t->plan, NULL, t->job) < 0)
                log_error("Not enough memory to undo plan %s; a restart will", t->plan->id);
        task_free(t);
        e->n_arriving--;
        engine_arrivals(e);
}

static void plan_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome != HOST_OUTCOME_DONE)
                (void) engine_result_error(result, "Holding", &err);
        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                engine_job_set_state(e, task_job(t), JOB_STUCK);
                t->ended = arrival_undo;
                return;
        }
        engine_refresh_plan(e, t->plan);
        if (result->outcome == HOST_OUTCOME_FAILED) {
                arrival_undo(t);
                return;
        }
        if (store_end(e->store, t->plan->id, result->outcome, NULL) < 0)
                log_warning("Failed to record the end of plan %s; a restart looks at it again",
                            t->plan->id);
        if (result->outcome == HOST_OUTCOME_DONE) {
                (void) engine_take_held(e, t->plan); /* a foreign hand may have been faster */
                arrival_end(t, JOB_DONE, NULL);
        } else
                arrival_end(t, JOB_FAILED, &err);
}

static int run_plan(Task *t, Device *d, Error *err) {
        Engine *e = t->engine;
        const Arrival *a = t->data;
        _cleanup_free_ char *against = reason_against(e, d);
        int r;

        if (against)
                return error_set(err, ERROR_FAILED, "%s", against);
        r = make_plan(e, d, a->what, err, &t->plan);
        if (r < 0)
                return r;
        if (job_set_plan(task_job(t), t->plan) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory for the plan");
        r = store_begin(e->store, t->plan, NULL);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "The plan could not be recorded: %s",
                                 errno_text(r));
        if (task_run_plan(t, plan_finished) >= 0)
                return 0;
        (void) store_end(e->store, t->plan->id, HOST_OUTCOME_ROLLED_BACK, NULL);
        return error_set(err, ERROR_BUSY, "Too much is waiting for a worker");
}

static void facts_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        const Arrival *a = t->data;
        Device *d = inventory_device(e->inventory, a->address);
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome == HOST_OUTCOME_UNKNOWN) { /* the task stays for its stuck device */
                (void) error_from_result(&err, result, "Reading the facts");
                engine_job_finish(e, task_job(t), JOB_FAILED, &err);
                t->job = 0;
                e->n_arriving--;
                engine_arrivals(e);
                return;
        }
        if (!d || d->gone)
                (void) error_set(&err, ERROR_GONE, "it went away");
        else if (t->cancelled)
                (void) error_set(&err, ERROR_FAILED, "The job was cancelled");
        else if (result->outcome != HOST_OUTCOME_DONE)
                (void) error_from_result(&err, result, "Reading the facts");
        else if (is_settled_so(d, a->what)) {
                arrival_end(t, JOB_DONE, NULL);
                return;
        } else if (run_plan(t, d, &err) >= 0)
                return;
        arrival_end(t, t->cancelled ? JOB_CANCELLED : JOB_FAILED, &err);
}

static int arrival_begin(Engine *e, Device *d, PolicyArrival what) {
        Arrival *a;
        Task *t;
        Job *j;
        int r = task_new(e, NULL, NULL, NULL, &t);

        if (r < 0)
                return r;
        t->data = a = calloc(1, sizeof(Arrival));
        t->data_free = free;
        r = a ? engine_job_new(e, PLAN_HOLD, 0, NULL, &j) : -ENOMEM;
        if (r < 0) {
                task_free(t);
                return r;
        }
        *a = (Arrival) { .address = d->facts.address, .what = what };
        t->job = j->id;
        r = task_read(t, &a->address, 1, ARRIVAL_WHAT, facts_finished);
        if (r < 0) {
                engine_job_finish(e, j, JOB_FAILED, NULL);
                task_free(t);
                return r;
        }
        d->job = j;
        e->n_arriving++;
        return 0;
}

/* ---- virtual functions ---- */

static bool wants_vfs(Engine *e, const Device *d, uint32_t *ret) {
        uint32_t n = engine_rule(e, d)->settings.vfs;

        if (n == UINT32_MAX || n == 0 || d->facts.sriov_totalvfs == 0 || d->facts.is_vf ||
            d->assignment || d->gone || d->stuck)
                return false;
        for (size_t i = 0; i < e->inventory->n_devices; i++) {
                const PciFacts *f = &e->inventory->sorted[i]->facts;

                if (f->is_vf && pci_address_equal(f->physfn, d->facts.address))
                        return false; /* it has some */
        }
        *ret = n;
        return true;
}

static void vfs_answered(const EngineAnswer *answer, const Error *error, void *userdata) {
        if (error)
                log_warning("The virtual functions that a rule wants are not made: %s",
                            error->message);
}

static void make_vfs(Engine *e, Device *d, uint32_t n) {
        DeviceWork w = { .kind = PLAN_SET_NUMVFS, .address = d->facts.address, .n_vfs = n };
        _cleanup_error_ Error err = ERROR_INIT;

        (void) string_copy(w.driver, sizeof(w.driver), "none");
        if (n > d->facts.sriov_totalvfs)
                (void) error_set(&err, ERROR_INVALID,
                                 "%s has at most %u virtual functions, the rule wants %u",
                                 PCI_ADDRESS_TEXT(d->facts.address), d->facts.sriov_totalvfs, n);
        else
                (void) engine_begin_work(e, &(Caller) { .may_manage_others = true }, d, &w, false,
                                         vfs_answered, NULL, &err);
        if (err.code != ERROR_NONE)
                vfs_answered(NULL, &err, NULL);
}

/* 1: its work has begun; 0: nothing is to be done. */
static int arrive(Engine *e, Device *d) {
        _cleanup_free_ char *against = NULL;
        PolicyArrival what = arrival_of(e, d);
        uint32_t n_vfs;
        int r;

        if (wants_vfs(e, d, &n_vfs)) { /* it stays with its host driver, which makes them */
                make_vfs(e, d, n_vfs);
                return 0;
        }
        if (what == POLICY_LEAVE || d->assignment || d->gone || d->stuck ||
            is_settled_so(d, what))
                return 0;
        against = reason_against(e, d);
        if (against) {
                log_info("%s is left to the host though a rule would take it: %s",
                         PCI_ADDRESS_TEXT(d->facts.address), against);
                return 0;
        }
        r = arrival_begin(e, d, what);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to take %s from the host: %m",
                                         PCI_ADDRESS_TEXT(d->facts.address));
        return r < 0 ? 0 : 1;
}

void engine_arrivals(Engine *e) {
        bool later = false;

        assert(e);
        if (!e->settled || !e->arrivals_due || e->looking_at_arrivals)
                return;
        e->looking_at_arrivals = true; /* a job that fails at once comes here again */
        for (size_t i = 0; i < e->inventory->n_devices; i++) {
                Device *d = e->inventory->sorted[i];

                if (d->arrived)
                        continue;
                if ((!d->config && d->read_error == 0) || d->job ||
                    e->n_arriving >= ARRIVALS_AT_ONCE) {
                        later = true; /* when it is read, or a job has ended */
                        continue;
                }
                d->arrived = true;
                (void) arrive(e, d); /* either way this one was looked at */
        }
        e->arrivals_due = later;
        e->looking_at_arrivals = false;
}

void engine_device_inserted(Engine *e, Device *d) {
        assert(e);
        assert(d);
        d->inserted = true;
        d->arrived = false;
        d->held_from = (free(d->held_from), NULL);
        e->arrivals_due = true;
}
