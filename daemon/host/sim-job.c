/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs of the simulated host: what a worker process does, as a chain of tasks on the clock. A plan
 * runs step by step; a step that fails starts the undoing of it and those before it, in reverse,
 * each by what the facts show. A step that the kernel does not come back from ends in UNKNOWN at
 * its deadline, but the job (and its locks) stays until the kernel does, then says `ended`. Work
 * whose caller left goes on to the end of its step and no further, as a worker does whose daemon
 * died.
 */

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/syscall.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/sim-private.h"

/* What a worker needs beyond a step's own time limit to say that it passed. */
#define STEP_GRACE_MSEC 2000U

static const Step *current_step(const SimJob *job) {
        return job->copy.plan->steps + job->step;
}

static SimJob *job_free(SimJob *job) {
        SimHost *h;

        if (!job)
                return NULL;
        h = sim_of(job->host);
        sim_task_disarm(h, &job->task);
        sim_task_disarm(h, &job->deadline);
        if (list_is_linked(&job->link)) {
                list_unlink(&job->link);
                h->n_jobs--;
        }
        free(job->copy.devices);
        free(job->copy.groups);
        free(job->copy.open_devices);
        plan_free(job->copy.plan);
        (void) safe_close(job->copy.pidfd);
        free(job->groups);
        pci_use_done(&job->holders);
        free(job);
        return NULL;
}

static void job_freep(SimJob **job) {
        job_free(*job);
}

/* ---- the end ---- */

static void job_finish(SimJob *job, HostOutcome outcome) {
        SimHost *h = sim_of(job->host);

        job->result.outcome = outcome;
        sim_task_disarm(h, &job->task);
        sim_task_disarm(h, &job->deadline);
        /* The locks are free before the caller hears: it may go on with the same group at once. */
        list_unlink(&job->link);
        h->n_jobs--;
        job->finishing = true;
        if (!job->detached) {
                if (!job->unknown)
                        job->callbacks.finished((HostJob *) job, &job->result, job->userdata);
                else if (job->callbacks.ended)
                        job->callbacks.ended((HostJob *) job, job->userdata);
        }
        job_free(job);
}

void sim_job_fail(SimJob *job, int error, ErrorCode code, const char *format, ...) {
        va_list ap;

        assert(job);
        job->result.error = error;
        job->result.code = code;
        va_start(ap, format);
        (void) vsnprintf(job->result.message, sizeof(job->result.message), format, ap);
        va_end(ap);
}

/* ---- a plan ---- */

static void plan_next(SimJob *job);

static void begin_undo(SimJob *job, size_t n_steps) {
        job->undoing = true;
        job->step = n_steps;
        job->why = job->result;
}

static void on_deadline(void *userdata) {
        SimJob *job = userdata;
        const Step *s = current_step(job);

        if (job->blocked && !job->hung && sim_step_waits_in_worker(s, job->undoing)) {
                /* Its own time is up: an answer, not a silence. */
                job->blocked = job->in_step = false;
                sim_task_disarm(sim_of(job->host), &job->task);
                sim_step_explain(job, s->type == STEP_PROVE_UNHELD ? -EBUSY : -ETIMEDOUT);
                job->result.failed_step = job->step;
                if (!job->detached && job->callbacks.step_done)
                        job->callbacks.step_done((HostJob *) job, job->step, false,
                                                 job->result.error, job->userdata);
                begin_undo(job, job->step + 1);
                plan_next(job);
                return;
        }
        sim_step_explain(job, -ETIMEDOUT);
        job->result.outcome = HOST_OUTCOME_UNKNOWN;
        job->result.failed_step = job->step;
        job->unknown = true;
        if (!job->detached)
                job->callbacks.finished((HostJob *) job, &job->result, job->userdata);
}

static void step_end(SimJob *job, int error) {
        bool undo = job->undoing;

        sim_task_disarm(sim_of(job->host), &job->deadline);
        job->blocked = job->in_step = false;
        if (job->unknown) { /* the step at hand came back at last: the worker stops there */
                job_finish(job, HOST_OUTCOME_UNKNOWN);
                return;
        }
        if (error < 0) {
                sim_step_explain(job, error);
                job->result.failed_step = job->step;
        }
        if (!job->detached && job->evidence[0] && job->callbacks.evidence)
                job->callbacks.evidence((HostJob *) job, job->step, job->evidence, job->userdata);
        if (!job->detached && job->callbacks.step_done)
                job->callbacks.step_done((HostJob *) job, job->step, undo, error, job->userdata);
        if (error < 0 && !undo) {
                if (current_step(job)->type == STEP_PROBE)
                        job->failed_probe = job->step;
                begin_undo(job, job->step + 1); /* a step that failed half-way is undone as well */
        } else if (error < 0)
                job->undo_failed = true;
        else if (!undo)
                job->step++;
        plan_next(job);
}

static void set_busy(SimJob *job, int by) {
        SimDevice *d = current_step(job)->has_device
                               ? sim_device(sim_of(job->host), current_step(job)->device)
                               : NULL;

        if (d && !sim_step_waits_in_worker(current_step(job), job->undoing))
                d->busy = by > 0 ? d->busy + 1 : d->busy > 0 ? d->busy - 1 : 0;
}

static void observe(SimJob *job, bool after, int result) {
        SimHost *h = sim_of(job->host);

        if (!h->observer)
                return;
        if (after)
                h->observer->after(job->copy.plan, job->step, job->undoing, result,
                                   h->observer_userdata);
        else
                h->observer->before(job->copy.plan, job->step, job->undoing, h->observer_userdata);
}

static void step_complete(void *userdata) {
        SimJob *job = userdata;
        bool was_blocked = job->blocked;
        int r;

        if (job->hung)
                return;
        if (was_blocked && (job->cancelled || job->detached) &&
            sim_step_waits_in_worker(current_step(job), job->undoing))
                r = -ECANCELED;
        else {
                observe(job, false, 0);
                r = sim_step_run(job);
                observe(job, true, r);
        }
        if (r == SIM_BLOCKED) {
                if (!was_blocked)
                        set_busy(job, 1);
                job->blocked = true;
                return;
        }
        if (was_blocked)
                set_busy(job, -1);
        step_end(job, r);
}

static void step_start(SimJob *job) {
        SimHost *h = sim_of(job->host);
        const Step *s = current_step(job);
        usec_t limit = (usec_t) s->timeout_msec * USEC_PER_MSEC;
        SimFault f;

        job->in_step = true;
        if (!job->undoing && job->callbacks.step_started)
                job->callbacks.step_started((HostJob *) job, job->step, job->userdata);
        job->hung = sim_step_fault(job, SIM_FAULT_HANG, &f);
        job->task.run = step_complete;
        if (job->hung)
                set_busy(job, 1);
        else
                sim_task_arm(h, &job->task, sim_now(h) + sim_step_time(job));
        if (job->hung || !sim_step_waits_in_worker(s, job->undoing))
                limit += STEP_GRACE_MSEC * USEC_PER_MSEC;
        sim_task_arm(h, &job->deadline, sim_now(h) + limit);
}

/* The step before this one that is to be undone; false: none is left. */
static bool find_undo(SimJob *job) {
        while (job->step > 0) {
                const Step *s;

                job->step--;
                s = current_step(job);
                if (step_undo_value(s))
                        return true;
        }
        return false;
}

static void plan_next_now(void *userdata) {
        SimJob *job = userdata;

        if (job->detached) { /* the daemon is gone: no further step */
                job_finish(job, HOST_OUTCOME_FAILED);
                return;
        }
        if (!job->undoing && job->step == job->copy.plan->n_steps) {
                job_finish(job, HOST_OUTCOME_DONE);
                return;
        }
        if (!job->undoing && job->cancelled) {
                sim_job_fail(job, -ECANCELED, ERROR_FAILED, "the job was cancelled");
                begin_undo(job, job->step);
        }
        if (job->undoing && !find_undo(job)) {
                if (!job->undo_failed) /* of an undoing that failed, that is the news */
                        job->result = job->why;
                job_finish(job, job->undo_failed ? HOST_OUTCOME_FAILED : HOST_OUTCOME_ROLLED_BACK);
                return;
        }
        step_start(job);
}

/* Steps follow each other through the queue, so that the uevents of one come before the next. */
static void plan_next(SimJob *job) {
        job->task.run = plan_next_now;
        sim_task_arm_now(sim_of(job->host), &job->task);
}

void sim_jobs_wake(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->jobs, link) {
                SimJob *job = LIST_ENTRY(link, SimJob, link);

                if (job->in_step && job->blocked && !job->hung)
                        sim_task_arm_now(h, &job->task);
        }
}

/* ---- other work ---- */

static int run_process(SimJob *job) {
        const HostRequest *q = &job->request;

        /* The VMM is a real process even here. Its memory limit is the real kernel's business and
         * left alone. */
        if (q->signal != 0 &&
            syscall(SYS_pidfd_send_signal, job->copy.pidfd, q->signal, NULL, 0) < 0 &&
            errno != ESRCH) {
                sim_job_fail(job, -errno, ERROR_FAILED, "cannot end the process: %m");
                return -EIO;
        }
        return 0;
}

static void run_other(void *userdata) {
        SimJob *job = userdata;
        int r = 0;

        switch (job->request.type) {
        case HOST_REQUEST_READ:
                sim_read(job);
                break;
        case HOST_REQUEST_OPEN:
                r = job->detached ? 0 : sim_open(job);
                break;
        case HOST_REQUEST_SNAPSHOT:
                r = sim_snapshot(job);
                break;
        case HOST_REQUEST_PLATFORM:
                sim_platform(job);
                break;
        case HOST_REQUEST_PREPARE:
                sim_of(job->host)->modules_loaded =
                        sim_of(job->host)->snapshot->platform.vfio_pci_available != 0;
                break;
        case HOST_REQUEST_PROCESS:
                r = run_process(job);
                break;
        case HOST_REQUEST_PLAN:
        case _HOST_REQUEST_TYPE_MAX:
                break;
        }
        errno = -r;
        if (r < 0 && job->result.error == 0)
                sim_job_fail(job, r, ERROR_FAILED, "the request failed: %m");
        job_finish(job, r < 0 ? HOST_OUTCOME_FAILED : HOST_OUTCOME_DONE);
}

/* ---- submitting ---- */

static bool overlaps(const SimJob *a, const SimJob *b) {
        for (size_t i = 0; i < a->n_groups; i++)
                for (size_t k = 0; k < b->n_groups; k++)
                        if (a->groups[i] == b->groups[k])
                                return true;
        return false;
}

static int check_locks(SimHost *h, const SimJob *job) {
        LIST_FOREACH(&h->jobs, link) {
                const SimJob *other = LIST_ENTRY(link, SimJob, link);

                if (overlaps(job, other) || (job->removal && other->removal))
                        return -EAGAIN;
        }
        return 0;
}

static int copy_array(const void *from, size_t n, size_t size, void *ret) {
        void *copy = calloc(n + 1, size);

        if (!copy)
                return -ENOMEM;
        if (n > 0)
                memcpy(copy, from, n * size);
        *(void **) ret = copy;
        return 0;
}

static int copy_request(SimJob *job, const HostRequest *r) {
        int k;

        k = copy_array(r->devices, r->n_devices, sizeof(PciAddress), &job->copy.devices);
        if (k >= 0)
                k = copy_array(r->groups, r->n_groups, sizeof(uint32_t), &job->copy.groups);
        if (k >= 0)
                k = copy_array(r->open_devices, r->n_open_devices, sizeof(HostOpenDevice),
                               &job->copy.open_devices);
        if (k < 0)
                return k;
        if (r->type == HOST_REQUEST_PROCESS) {
                job->copy.pidfd = fcntl(r->pidfd, F_DUPFD_CLOEXEC, 3);
                if (job->copy.pidfd < 0)
                        return -errno;
        }
        job->request = *r;
        job->request.devices = job->copy.devices;
        job->request.groups = job->copy.groups;
        job->request.open_devices = job->copy.open_devices;
        job->request.plan = NULL;
        job->request.modules = NULL;
        if (r->type != HOST_REQUEST_PLAN)
                return 0;
        k = plan_copy(r->plan, &job->copy.plan);
        if (k < 0)
                return k;
        job->removal = plan_has_removal(r->plan);
        return plan_groups(r->plan, &job->groups, &job->n_groups);
}

int sim_submit(Host *host, const HostRequest *r, const HostJobCallbacks *callbacks, void *userdata,
               HostJob **ret) {
        _cleanup_(job_freep) SimJob *job = NULL;
        SimHost *h = sim_of(host);
        int k;

        if (h->n_jobs >= SIM_JOBS_MAX)
                return -EBUSY;
        job = calloc(1, sizeof(*job));
        if (!job)
                return -ENOMEM;
        job->host = host;
        job->callbacks = *callbacks;
        job->userdata = userdata;
        job->copy.pidfd = -EBADF;
        job->result.failed_step = job->failed_probe = SIZE_MAX;
        k = copy_request(job, r);
        if (k >= 0)
                k = check_locks(h, job);
        if (k < 0)
                return k;
        if (r->type == HOST_REQUEST_PLAN && r->plan_recovery && r->plan->kind == PLAN_ASSIGN)
                begin_undo(job, r->plan->n_steps); /* other plans are done to their end */
        job->task.run = r->type == HOST_REQUEST_PLAN ? plan_next_now : run_other;
        job->deadline.run = on_deadline;
        job->task.userdata = job->deadline.userdata = job;
        list_append(&h->jobs, &job->link);
        h->n_jobs++;
        sim_task_arm_now(h, &job->task);
        *ret = (HostJob *) TAKE_PTR(job);
        return 0;
}

void sim_cancel(HostJob *j) {
        SimJob *job = (SimJob *) j;

        if (job->finishing)
                return;
        job->cancelled = true;
        if (job->in_step && job->blocked && !job->hung)
                sim_task_arm_now(sim_of(job->host), &job->task);
}

void sim_detach(HostJob *j) {
        SimJob *job = (SimJob *) j;

        job->detached = true;
        if (!job->finishing && job->in_step && job->blocked && !job->hung)
                sim_task_arm_now(sim_of(job->host), &job->task);
}

bool sim_group_locked(Host *host, uint32_t group) {
        LIST_FOREACH(&sim_of(host)->jobs, link) {
                const SimJob *job = LIST_ENTRY(link, SimJob, link);

                for (size_t i = 0; i < job->n_groups; i++)
                        if (job->groups[i] == group)
                                return true;
        }
        return false;
}

void sim_jobs_free(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->jobs, link)
                job_free(LIST_ENTRY(link, SimJob, link));
}

void host_sim_orphan(Host *host) {
        SimHost *h = sim_of(host);

        assert(host_is_sim(host));
        sim_timers_drop(h);
        h->handler = NULL;
        LIST_FOREACH(&h->jobs, link)
                sim_detach((HostJob *) LIST_ENTRY(link, SimJob, link));
}

void host_sim_observe(Host *host, const SimObserver *observer, void *userdata) {
        assert(host_is_sim(host));
        sim_of(host)->observer = observer;
        sim_of(host)->observer_userdata = userdata;
}

/* Lifts the hanging of what hangs. */
void host_sim_clear_faults(Host *host) {
        SimHost *h = sim_of(host);

        assert(host_is_sim(host));
        h->n_faults = 0;
        LIST_FOREACH(&h->jobs, link) {
                SimJob *job = LIST_ENTRY(link, SimJob, link);

                if (!job->in_step || !job->hung)
                        continue;
                job->hung = false;
                set_busy(job, -1);
                sim_task_arm_now(h, &job->task);
        }
}
