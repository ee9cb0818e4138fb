/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Running a plan: locks of its groups first, then step after step, each told when it begins and
 * when it is done. When one fails, those before it are undone in reverse. When the daemon is gone,
 * the step at hand was the last: nothing is undone, since the journal and the facts tell the next
 * daemon where things stand. After a crash the same plan comes again with `recovery`: an assignment
 * is undone by what the facts show, a release (and the rest) is done to the end, where a step whose
 * fact shows already is no work.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/file.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/steps.h"

typedef struct Locks {
        int fds[PLAN_DEVICES_MAX + 1];
        size_t n;
} Locks;

static void locks_done(Locks *l) {
        for (size_t i = 0; i < l->n; i++)
                (void) safe_close(l->fds[i]);
}

/* The file stays when the lock is given up: removing it would let two workers hold "the" lock. */
static int lock_take(const Worker *w, Locks *l, int directory, const char *name) {
        _cleanup_close_ int fd = -EBADF;

        if (l->n >= ELEMENTSOF(l->fds))
                return -E2BIG;
        fd = openat(directory, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
        if (fd < 0)
                return -errno;
        worker_share(w, fd);
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;
        l->fds[l->n++] = TAKE_FD(fd);
        return 0;
}

static int locks_take(Worker *w, const Plan *p, Locks *l) {
        _cleanup_close_ int directory = worker_directory(w, "lock", true);
        _cleanup_free_ uint32_t *groups = NULL;
        size_t n;
        int r;

        if (directory < 0)
                return directory;
        r = plan_groups(p, &groups, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                char name[16];

                (void) snprintf(name, sizeof(name), "%u", groups[i]);
                r = lock_take(w, l, directory, name);
        }
        return r >= 0 && plan_has_removal(p) ? lock_take(w, l, directory, "removal") : r;
}

/* ---- running ---- */

typedef struct PlanRun {
        Worker *w;
        const Plan *plan;
        HostResult result;
        PciUse use; /* holders of the result */
} PlanRun;

static void explain(PlanRun *p, StepRun *s, size_t step, bool undo, int error) {
        const StepFailure failure = {
                .step = s->step,
                .undo = undo,
                .error = error,
                .found = s->has_found ? s->found : NULL,
                .detail = s->detail[0] ? s->detail : NULL,
                .holders = s->use.holders,
                .n_holders = s->use.n_holders,
        };

        step_failure_explain(&failure, &p->result);
        p->result.failed_step = step;
        /* The holders outlive the step. */
        pci_use_done(&p->use);
        p->use = s->use;
        s->use = (PciUse) {};
}

/* Follows links and opens what no driver's lock guards. */
static bool step_is_quick(const Step *s) {
        return s->type == STEP_VERIFY || s->type == STEP_SET_NODE_OWNER;
}

static int run_step(PlanRun *p, size_t i, bool redo) {
        _cleanup_step_run_ StepRun s = {
                .w = p->w, .plan = p->plan, .step = p->plan->steps + i, .redo = redo, .fd = -EBADF,
        };
        int r;

        worker_step_started(p->w, i, false, step_is_quick(s.step));
        if (p->w->gone)
                return -EPIPE;
        r = step_do(&s);
        if (s.evidence && s.evidence[0])
                worker_evidence(p->w, i, s.evidence);
        worker_step_done(p->w, i, false, r);
        if (r < 0)
                explain(p, &s, i, false, r);
        return r;
}

static int undo_step(PlanRun *p, size_t i, bool failed) {
        _cleanup_step_run_ StepRun s = {
                .w = p->w, .plan = p->plan, .step = p->plan->steps + i, .fd = -EBADF
        };
        int r;

        s.failed = failed;
        if (!step_undo_value(s.step))
                return 0;
        worker_step_started(p->w, i, true, false);
        if (p->w->gone)
                return -EPIPE;
        r = step_undo(&s);
        worker_step_done(p->w, i, true, r);
        if (r < 0)
                explain(p, &s, i, true, r);
        return r;
}

/* Undoes steps n-1 … 0. Goes on after a failure: the others are not better off undone by nobody. */
static int undo_before(PlanRun *p, size_t n, size_t failed) {
        int first = 0;

        while (n-- > 0 && !p->w->gone) {
                int r = undo_step(p, n, n == failed);
                if (r < 0 && first == 0)
                        first = r;
        }
        return first;
}

static void run_forward(PlanRun *p, bool redo) {
        bool ran = false; /* step i */
        HostResult why;
        size_t i;
        int r = 0;

        for (i = 0; i < p->plan->n_steps; i++) {
                ran = false;
                if (!worker_may_go_on(p->w)) {
                        r = -ECANCELED;
                        break;
                }
                ran = true;
                r = run_step(p, i, redo);
                if (r < 0)
                        break;
        }
        if (r >= 0) {
                p->result.outcome = HOST_OUTCOME_DONE;
                return;
        }
        if (p->w->gone)
                return;
        if (r == -ECANCELED && p->result.error == 0) {
                p->result.error = r;
                p->result.code = ERROR_FAILED;
                (void) string_copy(p->result.message, sizeof(p->result.message),
                                   "the job was cancelled");
        }
        why = p->result;
        /* A step that failed half-way is undone as well: undoing looks at the facts first. */
        r = undo_before(p, MIN(i + 1, p->plan->n_steps), ran ? i : SIZE_MAX);
        if (r >= 0)
                p->result = why;
        p->result.outcome = r < 0 ? HOST_OUTCOME_FAILED : HOST_OUTCOME_ROLLED_BACK;
}

static void run_recovery(PlanRun *p) {
        int r;

        if (p->plan->kind != PLAN_ASSIGN) {
                run_forward(p, true);
                return;
        }
        r = undo_before(p, p->plan->n_steps, SIZE_MAX);
        p->result.outcome = r < 0 ? HOST_OUTCOME_FAILED : HOST_OUTCOME_ROLLED_BACK;
}

static void run_locked(PlanRun *p, bool recovery) {
        _cleanup_(locks_done) Locks locks = {};
        int r;

        r = locks_take(p->w, p->plan, &locks);
        if (r >= 0 && recovery)
                run_recovery(p);
        else if (r >= 0)
                run_forward(p, false);
        if (r >= 0)
                return;
        p->result.outcome = HOST_OUTCOME_ROLLED_BACK;
        p->result.error = r;
        p->result.code = r == -EAGAIN ? ERROR_STUCK : ERROR_FAILED;
        if (r == -EAGAIN)
                (void) string_copy(p->result.message, sizeof(p->result.message),
                                   "another worker still works on the group; wait until it ends");
        else
                (void) snprintf(p->result.message, sizeof(p->result.message),
                                "cannot lock the group below %s: %s", p->w->worker_dir,
                                errno_text(-r));
}

void worker_plan(Worker *w, const Plan *plan, bool recovery) {
        PlanRun p = { .w = w, .plan = plan, .result = { .failed_step = SIZE_MAX } };

        assert(w);
        assert(plan);
        run_locked(&p, recovery);
        /* Only now, with the locks given up: the daemon may send the next plan of the group at
         * once. */
        worker_finish(w, &p.result);
        pci_use_done(&p.use);
}
