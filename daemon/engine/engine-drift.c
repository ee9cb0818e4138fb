/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Drift: what an assignment left, and what a foreign hand made of it. It is seen with the event
 * (or, where the kernel sends none, with the next reading), reported once, shown until it is over,
 * and never written over by itself. Two ways out: adopting takes what is there as what is meant, or
 * ends the claim on a device that is not ours any more; restoring brings back what the assignment
 * needs, by a plan that proves first that nobody holds the device.
 */

#include <assert.h>

#include "engine/engine-kept.h"
#include "pci/driver.h"

#define RESTORE_WHAT (HOST_READ_CONFIG | HOST_READ_LIVE | HOST_READ_USE)
#define UNHELD_TIMEOUT_MSEC 2000U

/* ---- seen ---- */

static char *drift_text(const char *what, const char *found, const char *expected) {
        return strjoinf("%s: %s, expected %s", what, isempty(found) ? "none" : found,
                        isempty(expected) ? "none" : expected);
}

static void tell(Engine *e, Device *d, const Assignment *a, const char *what, const char *found,
                 const char *expected) {
        (void) log_context(&(LogContext){ .message_id = MESSAGE_DRIFT,
                                          .device = PCI_ADDRESS_TEXT(d->facts.address),
                                          .assignment = a->id,
                                          .owner = a->owner },
                           LOG_WARNING, 0,
                           "%s: %s is \"%s\" and not \"%s\": somebody else changed it",
                           PCI_ADDRESS_TEXT(d->facts.address), what, found, expected);
        if (e->observer.drift)
                e->observer.drift(d, what, found, expected, e->observer_userdata);
}

void engine_report_drift(Engine *e, Device *d, const Assignment *a, const char *what,
                         const char *found, const char *expected) {
        _cleanup_free_ char *text = drift_text(what, found, expected);

        if (!text || strv_contains(d->drift, text))
                return; /* told before */
        if (strv_extend(&d->drift, text) < 0)
                log_warning("Not enough memory to show the drift of %s",
                            PCI_ADDRESS_TEXT(d->facts.address));
        tell(e, d, a, what, found, expected);
        engine_device_changed(e, d);
}

void engine_drift_over(Engine *e, Device *d) {
        assert(d);
        if (!d->drift)
                return;
        strv_free(d->drift);
        d->drift = NULL;
        engine_device_changed(e, d);
}

/* The override that the assignment left. */
static const char *planned_override(const PlanDevice *p) {
        return strempty(streq(strempty(p->driver), strempty(p->driver_before)) ? p->override_before
                                                                               : p->driver);
}

static bool override_differs(const Device *d, const PlanDevice *p) {
        const char *now;

        if (!d->live || d->live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].state != FACT_PRESENT)
                return false;
        now = strempty(pci_live_override(d->live));
        return !streq(now, planned_override(p));
}

typedef struct Found { /* what differs now */
        bool identity, driver, group, override;
} Found;

static Found look(const Device *d, const PlanDevice *p) {
        Found f = { .identity = !plan_device_is(p, &d->facts) };

        if (f.identity)
                return f;
        f.driver = !streq(d->facts.driver, strempty(p->driver));
        f.group = p->group != (d->group ? d->group->id : 0);
        f.override = override_differs(d, p);
        return f;
}

typedef struct Report {
        Engine *e;
        Device *d;
        const Assignment *a;
        char **before;   /* told already */
} Report;

static void report_one(Report *r, const char *what, const char *found, const char *expected) {
        _cleanup_free_ char *text = drift_text(what, found, expected);

        if (!text || strv_extend(&r->d->drift, text) < 0)
                log_warning("Not enough memory to show the drift of %s",
                            PCI_ADDRESS_TEXT(r->d->facts.address));
        if (!text || !strv_contains(r->before, text))
                tell(r->e, r->d, r->a, what, found, expected);
}

static void report(Report *r, const PlanDevice *p, const Found *f) {
        const Device *d = r->d;
        char found[16] = "", expected[16];

        if (f->identity) {
                (void) snprintf(found, sizeof(found), "%04x:%04x", d->facts.vendor,
                                d->facts.device);
                (void) snprintf(expected, sizeof(expected), "%04x:%04x", p->vendor, p->device);
                report_one(r, "identity", found, expected);
                return;
        }
        if (f->driver)
                report_one(r, "driver", d->facts.driver, strempty(p->driver));
        if (f->override)
                report_one(r, "driver_override", strempty(pci_live_override(d->live)),
                           planned_override(p));
        if (!f->group)
                return;
        if (d->group)
                (void) snprintf(found, sizeof(found), "%u", d->group->id);
        (void) snprintf(expected, sizeof(expected), "%u", p->group);
        report_one(r, "iommu-group", found, expected);
}

static bool strv_same(char *const *a, char *const *b) {
        size_t n = strv_length(a);

        if (n != strv_length(b))
                return false;
        for (size_t i = 0; i < n; i++)
                if (!b || !streq(a[i], b[i])) /* b: for the analyser */
                        return false;
        return true;
}

bool engine_check_drift(Engine *e, Device *d) {
        Assignment *a = d->assignment;
        const PlanDevice *p;
        bool changed;
        Report r;
        Found f;

        /* While a plan of ours runs, it is the plan that changes things, and that checks them. */
        if (!a || !a->plan || a->job || d->gone || engine_reservation_waits(a))
                return false;
        if (a->state != ASSIGNMENT_ACTIVE && a->state != ASSIGNMENT_RESERVED)
                return false;
        p = plan_find_device(a->plan, d->facts.address);
        if (!p)
                return false;
        f = look(d, p);
        r = (Report) { e, d, a, d->drift };
        d->drift = NULL;
        report(&r, p, &f);
        changed = !strv_same(r.before, d->drift);
        strv_free(r.before);
        if (f.identity)
                engine_lose_assigned(e, a, d);
        return changed;
}

static void looked(Task *t, const HostResult *result) {
        if (result->outcome != HOST_OUTCOME_UNKNOWN)
                task_free(t); /* what was read has been taken, and compared */
}

void engine_drift_look(Engine *e, const Device *d) {
        Task *t;

        if (task_new(e, NULL, NULL, NULL, &t) >= 0 &&
            task_read(t, &d->facts.address, 1, HOST_READ_LIVE, looked) < 0)
                task_free(t); /* seen by whoever reads it next */
}

void engine_drift_planned(Engine *e, const Plan *plan) {
        for (size_t i = 0; i < plan->n_devices; i++) {
                const PlanDevice *p = plan->devices + i;
                Device *d = inventory_device(e->inventory, p->address);

                if (!d)
                        continue;
                if (d->live && !streq(strempty(p->driver), strempty(p->driver_before)))
                        (void) pci_live_set(d->live, PCI_ATTRIBUTE_DRIVER_OVERRIDE, p->driver, 0);
                if (engine_check_drift(e, d))
                        engine_device_changed(e, d);
        }
}

/* ---- requests ---- */

static int find_drifted(Engine *e, const char *device, Error *err, Device **ret) {
        Device *d;
        int r = inventory_resolve(e->inventory, device, err, &d);

        if (r < 0)
                return r;
        if (!d->drift)
                return error_set(err, ERROR_INVALID, "%s is as it was left: there is no drift",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        if (d->job || (d->assignment && d->assignment->job))
                return error_set(err, ERROR_BUSY, "%s is being worked on; wait for the job",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        if (d->stuck)
                return error_set(err, ERROR_STUCK,
                                 "%s is stuck: a kernel operation on it has not come back",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        *ret = d;
        return 0;
}

/* ---- adopting ---- */

static PlanDevice *planned(Plan *plan, PciAddress a) {
        for (size_t i = 0; i < plan->n_devices; i++)
                if (pci_address_equal(plan->devices[i].address, a))
                        return plan->devices + i;
        return NULL;
}

/* What is there is what is meant; a device on a driver of the host is the host's. */
static int adopt_device(PlanDevice *p, const Device *d, const Found *f) {
        bool ours = pci_driver_is_vfio(d->facts.driver) && d->group;
        const char *override = d->live ? strempty(pci_live_override(d->live)) : "";
        int r = 0;

        if (f->override || !ours)
                r = free_and_strdup(&p->override_before, override);
        if (r >= 0 && !ours) {
                p->requested = false;
                r = free_and_strdup(&p->driver_before, d->facts.driver);
        }
        if (r >= 0 && (f->driver || !ours))
                r = free_and_strdup(&p->driver, d->facts.driver);
        p->group = d->group ? d->group->id : 0;
        return r;
}

static bool wants_anything(const Plan *plan) {
        for (size_t i = 0; i < plan->n_devices; i++)
                if (plan->devices[i].requested)
                        return true;
        return false;
}

static int check_group(const Device *d, const Assignment *a, Error *err) {
        const Assignment *by = d->group ? d->group->assignment : NULL;

        if (by && by != a)
                return error_set(err, ERROR_OWNED,
                                 "%s is in IOMMU group %u now, which belongs to %s",
                                 PCI_ADDRESS_TEXT(d->facts.address), d->group->id, by->owner);
        return 0;
}

static int adopt(Engine *e, Device *d, Assignment *a, Error *err) {
        _cleanup_(plan_freep) Plan *plan = NULL, *before = NULL;
        PlanDevice *p;
        Found f;
        int r;

        r = check_group(d, a, err);
        if (r < 0)
                return r;
        if (plan_copy(a->plan, &plan) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        p = planned(plan, d->facts.address);
        if (!p)
                return error_set(err, ERROR_INVALID, "%s is not in the plan of its assignment",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        f = look(d, p);
        if (!f.identity && adopt_device(p, d, &f) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        if (f.identity)
                p->requested = false;
        before = a->plan;
        a->plan = plan;
        r = store_assignment(e->store, a);
        if (r < 0) {
                a->plan = before;
                before = NULL;
                return error_set(err, ERROR_FAILED,
                                 "It could not be recorded, so nothing is changed: %s",
                                 strerrordesc_np(-r));
        }
        plan = NULL; /* the assignment's now */
        if (d->group)
                d->group->assignment = a;
        engine_audit(a, MESSAGE_DRIFT, LOG_NOTICE, "The drift of %s was adopted",
                     PCI_ADDRESS_TEXT(d->facts.address));
        return 0;
}

static void answer_adopted(Task *t) {
        task_answer(t, &(EngineAnswer) { .job = task_job(t) });
        task_free(t);
}

int engine_adopt(Engine *e, const Caller *c, const char *device, EngineReply reply, void *userdata,
                 Error *err) {
        Assignment *a;
        Device *d;
        Task *t;
        int r;

        assert(e);
        assert(c);
        assert(device);
        r = find_drifted(e, device, err, &d);
        if (r < 0)
                return r;
        a = d->assignment;
        if (task_new(e, c, reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        r = a ? adopt(e, d, a, err) : 0;
        if (r < 0) {
                task_free(t);
                return r;
        }
        engine_drift_over(e, d);
        engine_update_verdicts(e, d, d);
        engine_device_changed(e, d);
        if (a && !wants_anything(a->plan)) {
                (void) engine_begin_release(e, a, c, false, "its devices were taken away");
                t->job = a->job ? a->job->id : 0;
        }
        return task_answer_later(t, answer_adopted) < 0
                       ? error_set(err, ERROR_FAILED, "Not enough memory")
                       : 0;
}

/* ---- restoring ---- */

static void restore_end(Task *t, Error *err) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        Job *j = task_job(t);
        JobState state = err ? t->cancelled ? JOB_CANCELLED : JOB_FAILED : JOB_DONE;

        if (a && a->job == j)
                a->job = NULL;
        if (t->plan)
                engine_mark_job(e, t->plan, NULL);
        if (a && t->plan)
                engine_drift_planned(e, a->plan);
        if (j)
                engine_job_finish(e, j, state, err);
        task_free(t);
        if (a && a->release_wanted)
                (void) engine_begin_release(e, a, NULL, false, "asked for meanwhile");
}

static void restore_undo(Task *t) {
        if (engine_undo_plan(t->engine, t->plan, t->assignment, t->job) < 0)
                log_error("Not enough memory to undo plan %s; a restart will", t->plan->id);
        task_free(t);
}

static void restore_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome != HOST_OUTCOME_DONE)
                (void) engine_result_error(result, "Restoring", &err);
        if (result->outcome == HOST_OUTCOME_UNKNOWN) {
                engine_job_set_state(e, task_job(t), JOB_STUCK);
                task_refuse(t, &err);
                t->ended = restore_undo;
                return;
        }
        engine_refresh_plan(e, t->plan);
        if (result->outcome == HOST_OUTCOME_FAILED) {
                task_refuse(t, &err);
                restore_undo(t);
                return;
        }
        if (store_end(e->store, t->plan->id, result->outcome, NULL) < 0)
                log_warning("Failed to record the end of plan %s; a restart looks at it again",
                            t->plan->id);
        restore_end(t, result->outcome == HOST_OUTCOME_DONE ? NULL : &err);
}

static int add(Step *s, uint32_t timeout, const char *value, const char *undo, const char *expect) {
        if (!s)
                return -ENOMEM;
        s->timeout_msec = timeout;
        return step_set(s, value, undo, expect);
}

static int restore_steps(Engine *e, const Assignment *a, const Device *d, const PlanDevice *wanted,
                         Plan *plan) {
        const char *override = d->live ? strempty(pci_live_override(d->live)) : "",
                   *now = d->facts.driver;
        const char *last = planned_override(wanted);
        const PlanDevice *p = plan->devices;
        uint32_t timeout = e->options.step_timeout_msec;
        char owner[32];
        int r = add(plan_add_device_step(plan, STEP_PROVE_UNHELD, p), UNHELD_TIMEOUT_MSEC, NULL,
                    NULL, NULL);

        if (r >= 0 && now[0] && !streq(now, wanted->driver))
                r = add(plan_add_device_step(plan, STEP_UNBIND, p), timeout, now, now, NULL);
        if (r >= 0 && !streq(override, wanted->driver))
                r = add(plan_add_device_step(plan, STEP_SET_OVERRIDE, p), timeout, wanted->driver,
                        override, wanted->driver);
        if (r >= 0 && !streq(now, wanted->driver))
                r = add(plan_add_device_step(plan, STEP_PROBE, p), timeout, NULL, wanted->driver,
                        wanted->driver);
        if (r >= 0 && !streq(last, wanted->driver))
                r = add(plan_add_device_step(plan, STEP_SET_OVERRIDE, p), timeout, last,
                        wanted->driver, last);
        if (r >= 0)
                r = add(plan_add_device_step(plan, STEP_VERIFY, p), timeout, NULL, NULL,
                        wanted->driver);
        if (r >= 0 && a->state == ASSIGNMENT_ACTIVE &&
            assignment_node_owner(a, owner, sizeof(owner)))
                r = add(plan_add_step(plan, STEP_SET_NODE_OWNER, p->group), timeout, owner, "0:0",
                        owner);
        return r;
}

static int restore_plan(Engine *e, const Assignment *a, Device *d, const PlanDevice *wanted,
                        Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_ASSIGN);
        const AskedFor asked = { .devices = &d, .n_devices = 1 };
        int r = plan ? engine_plan_devices(&asked, &d, 1, plan) : -ENOMEM;

        if (r >= 0)
                r = engine_random_id(plan->id);
        if (r >= 0)
                r = free_and_strdup(&plan->devices[0].driver, wanted->driver);
        if (r >= 0)
                r = restore_steps(e, a, d, wanted, plan);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

static int restore_run(Task *t, Assignment *a, Device *d, Error *err) {
        Engine *e = t->engine;
        const PlanDevice *wanted = plan_find_device(a->plan, d->facts.address);
        int r;

        if (!wanted || !plan_device_is(wanted, &d->facts))
                return error_set(err, ERROR_GONE,
                                 "%s is another card now: adopt that, or release the assignment",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        if (wanted->group != (d->group ? d->group->id : 0))
                return error_set(err, ERROR_NOT_SUPPORTED,
                                 "The kernel put %s into another IOMMU group: adopt that, or "
                                 "release the assignment",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        if (restore_plan(e, a, d, wanted, &t->plan) < 0 || job_set_plan(task_job(t), t->plan) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory for the plan");
        engine_mark_job(e, t->plan, task_job(t));
        r = store_begin(e->store, t->plan, a);
        if (r < 0)
                return error_set(err, ERROR_FAILED,
                                 "The plan could not be recorded, so nothing was done: %s",
                                 strerrordesc_np(-r));
        if (task_run_plan(t, restore_finished) < 0) {
                (void) store_end(e->store, t->plan->id, HOST_OUTCOME_ROLLED_BACK, NULL);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        return 0;
}

static void facts_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        Assignment *a = inventory_assignment(e->inventory, t->assignment);
        Device *d = t->n_devices > 0 ? inventory_device(e->inventory, t->devices[0]) : NULL;
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome ==
            HOST_OUTCOME_UNKNOWN) { /* the task stays for the stuck device alone */
                (void) error_from_result(&err, result, "Reading the facts");
                if (a)
                        a->job = NULL;
                engine_job_finish(e, task_job(t), JOB_FAILED, &err);
                t->job = 0;
                return;
        }
        if (!a || !d || t->cancelled)
                (void) error_set(&err, d && !t->cancelled ? ERROR_GONE : ERROR_FAILED,
                                 "The job was stopped");
        else if (result->outcome != HOST_OUTCOME_DONE)
                (void) error_from_result(&err, result, "Reading the facts");
        else if (restore_run(t, a, d, &err) >= 0)
                return;
        restore_end(t, &err);
}

int engine_restore(Engine *e, const Caller *c, const char *device, EngineReply reply,
                   void *userdata, Error *err) {
        Device *d;
        Task *t;
        Job *j;
        int r;

        assert(e);
        assert(c);
        assert(device);
        r = find_drifted(e, device, err, &d);
        if (r >= 0)
                r = engine_check_job_quota(e, c, err);
        if (r < 0)
                return r;
        if (!d->assignment)
                return error_set(err, ERROR_INVALID,
                                 "%s belongs to nobody: there is nothing to restore, adopt it",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        if (task_new(e, c, reply, userdata, &t) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        if (engine_job_new(e, PLAN_ASSIGN, c->uid, d->assignment->id, &j) < 0) {
                task_free(t);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        (void) string_copy(t->assignment, sizeof(t->assignment), d->assignment->id);
        t->job = j->id;
        t->urgent = true;
        if (task_read(t, &d->facts.address, 1, RESTORE_WHAT, facts_finished) < 0) {
                t->reply = NULL; /* told by the return value */
                engine_job_finish(e, j, JOB_FAILED, NULL);
                task_free(t);
                return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
        }
        d->assignment->job = j;
        return 0;
}
