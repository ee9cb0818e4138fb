/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tasks: host requests on their way, their callbacks, and the queue of those for which no worker is
 * free. A task belongs to its engine and dies with it: then the host is told that nobody listens
 * any more. What a worker reports goes into the inventory and the job first; then the task's own
 * next stage runs. A request whose outcome is unknown keeps its task: its devices are stuck until
 * the worker is gone for good.
 */

#include <assert.h>

#include "engine/engine-private.h"

#define QUEUE_RETRY_USEC (250 * USEC_PER_MSEC)
#define QUEUE_PATIENCE_USEC (120 * USEC_PER_SEC)

int task_new(Engine *e, const Caller *c, EngineReply reply, void *userdata, Task **ret) {
        Task *t;

        assert(e);
        assert(ret);
        t = calloc(1, sizeof(Task));
        if (!t)
                return -ENOMEM;
        t->engine = e;
        t->request.container_fd = t->request.iommufd = t->request.pidfd = -EBADF;
        if (c)
                t->caller = *c;
        t->caller.bus_name = NULL;
        t->reply = reply;
        t->reply_userdata = userdata;
        list_append(&e->tasks, &t->link);
        *ret = t;
        return 0;
}

static void task_close_fds(Task *t) {
        for (size_t i = 0; i < t->n_fds; i++)
                t->fds[i].fd = safe_close(t->fds[i].fd);
        t->n_fds = 0;
}

static void task_unqueue(Task *t) {
        if (list_is_linked(&t->queued)) {
                list_unlink(&t->queued);
                t->engine->n_queued--;
        }
}

static void notes_free(Task *t) {
        for (size_t i = 0; i < t->n_notes; i++)
                free(t->notes[i].evidence);
        free(t->notes);
        t->notes = NULL;
        t->n_notes = 0;
}

Task *task_free(Task *t) {
        if (!t)
                return NULL;
        if (t->host_job)
                host_detach(t->host_job);
        task_unqueue(t);
        list_unlink(&t->link);
        host_timer_free(t->timer);
        task_close_fds(t);
        if (t->data_free)
                t->data_free(t->data);
        notes_free(t);
        plan_free(t->plan);
        free(t->devices);
        free(t->answered);
        free(t->open_devices);
        strv_free(t->not_restored);
        free(t);
        return NULL;
}

/* ---- answers ---- */

void task_answer(Task *t, const EngineAnswer *answer) {
        EngineReply reply;

        assert(t);
        reply = t->reply;
        t->reply = NULL;
        if (reply)
                reply(answer, NULL, t->reply_userdata);
        task_close_fds(t);
}

void task_refuse(Task *t, Error *error) {
        EngineReply reply;

        assert(t);
        assert(error && error->code != ERROR_NONE);
        reply = t->reply;
        t->reply = NULL;
        if (reply)
                reply(NULL, error, t->reply_userdata);
        task_close_fds(t);
}

static void timer_fired(void *userdata) {
        Task *t = userdata;

        t->fire(t);
}

int task_fire_at(Task *t, usec_t at, void (*fire)(Task *t)) {
        int r;

        assert(t);
        assert(fire);
        t->fire = fire;
        if (!t->timer) {
                r = host_timer_new(t->engine->host, timer_fired, t, &t->timer);
                if (r < 0)
                        return r;
        }
        return host_timer_set(t->timer, at);
}

void engine_look(Engine *e) {
        Task *next;

        assert(e);
        e->n_looks++;
        /* From the start each time: who has seen enough may end, and others with it. */
        do {
                next = NULL;
                LIST_FOREACH(&e->tasks, link) {
                        Task *t = LIST_ENTRY(link, Task, link);

                        if (t->look && t->looked < e->n_looks && !next)
                                next = t;
                }
                if (next) {
                        next->looked = e->n_looks;
                        next->look(next);
                }
        } while (next);
}

int task_fire_when_settled(Task *t, void (*fire)(Task *t)) {
        assert(t);
        assert(fire);
        if (t->engine->settled)
                return task_fire_at(t, host_now(t->engine->host), fire);
        t->fire = fire;
        t->awaits_settled = true;
        return 0;
}

void engine_fire_settled(Engine *e) {
        assert(e);
        LIST_FOREACH(&e->tasks, link) {
                Task *t = LIST_ENTRY(link, Task, link);

                if (!t->awaits_settled)
                        continue;
                t->awaits_settled = false;
                if (task_fire_at(t, host_now(e->host), t->fire) < 0)
                        log_warning("Not enough memory to go on with a request");
        }
}

int task_answer_later(Task *t, void (*fire)(Task *t)) {
        int r = task_fire_at(t, host_now(t->engine->host), fire);

        if (r < 0)
                task_free(t);
        return r;
}

int error_from_result(Error *err, const HostResult *r, const char *context) {
        ErrorCode code = r->code;

        assert(r);
        if (code == ERROR_NONE)
                code = r->outcome == HOST_OUTCOME_UNKNOWN ? ERROR_STUCK
                       : r->error == -ENODEV              ? ERROR_GONE
                       : r->error == -EBUSY               ? ERROR_BUSY
                                                          : ERROR_FAILED;
        if (r->message[0])
                return error_set(err, code, "%s: %s", context, r->message);
        if (r->outcome == HOST_OUTCOME_UNKNOWN)
                return error_set(err, code,
                                 "%s: a kernel operation has not come back; see the job, and end "
                                 "the process "
                                 "that holds the device",
                                 context);
        return error_set(err, code, "%s: %s", context,
                         r->error < 0 ? strerrordesc_np(-r->error) : "the worker gave no reason");
}

/* ---- what a worker reports ---- */

static void notes_begin(Task *t) {
        notes_free(t);
        t->notes = calloc(MAX(t->plan->n_steps, (size_t) 1), sizeof(StepNote));
        t->n_notes = t->notes ? t->plan->n_steps : 0;
}

static void note_step(Task *t, size_t step, bool done, int error) {
        usec_t now = host_now(t->engine->host);

        if (step >= t->n_notes)
                return;
        if (!done)
                t->notes[step] = (StepNote) { .started = now, .evidence = t->notes[step].evidence };
        else {
                t->notes[step].ended = now;
                t->notes[step].error = error;
        }
}

static void on_step_started(HostJob *job, size_t step, void *userdata) {
        Task *t = userdata;
        Job *j = task_job(t);

        note_step(t, step, false, 0);
        if (t->started)
                t->started(t, step);

        if (!j || !j->plan || step >= j->plan->n_steps)
                return;
        j->current = step;
        j->state = JOB_RUNNING;
        j->step_states[step] = STEP_RUNNING;
        engine_job_changed(t->engine, j);
}

static void on_step_done(HostJob *job, size_t step, bool undo, int error, void *userdata) {
        Task *t = userdata;
        Job *j = task_job(t);

        if (!undo)
                note_step(t, step, true, error);
        if (!j || !j->plan || step >= j->plan->n_steps)
                return;
        if (error < 0)
                j->step_states[step] = STEP_FAILED;
        else
                j->step_states[step] = undo ? STEP_UNDONE : STEP_DONE;
        engine_job_changed(t->engine, j);
}

static void on_device(HostJob *job, HostDeviceFacts *facts, void *userdata) {
        Task *t = userdata;

        for (size_t i = 0; i < t->n_devices; i++)
                if (pci_address_equal(t->devices[i], facts->address))
                        t->answered[i] = 1;
        engine_take_device(t->engine, facts);
}

static void on_group(HostJob *job, IommuGroupFacts *group, void *userdata) {
        engine_take_group(((Task *) userdata)->engine, group);
}

static void on_slot(HostJob *job, PciSlotFacts *slot, void *userdata) {
        engine_take_slot(((Task *) userdata)->engine, slot);
}

static void on_platform(HostJob *job, HostPlatform *platform, void *userdata) {
        Engine *e = ((Task *) userdata)->engine;

        host_platform_done(&e->platform);
        e->platform = *platform;
        *platform = (HostPlatform) {};
        e->platform_read = true;
}

static void on_fd(HostJob *job, HostFd *fd, void *userdata) {
        Task *t = userdata;

        if (t->n_fds >= OPEN_FDS_MAX)
                return; /* the host closes what is not taken */
        t->fds[t->n_fds] = *fd;
        t->fds[t->n_fds++].fd = TAKE_FD(fd->fd);
}

static void device_set_stuck(Engine *e, PciAddress a, bool stuck) {
        Device *d = inventory_device(e->inventory, a);

        if (!d || d->stuck == stuck)
                return;
        d->stuck = stuck;
        engine_update_verdicts(e, d, d);
        engine_device_changed(e, d);
        if (stuck)
                (void) log_context(
                        &(LogContext){ .message_id = MESSAGE_STUCK, .device = PCI_ADDRESS_TEXT(a) },
                        LOG_WARNING, 0, "%s is stuck: a kernel operation on it has not come back",
                        PCI_ADDRESS_TEXT(a));
}

void task_set_stuck(Task *t, bool stuck) {
        assert(t);
        t->stuck = stuck;
        if (t->request.type == HOST_REQUEST_PLAN)
                for (size_t i = 0; t->plan && i < t->plan->n_devices; i++)
                        device_set_stuck(t->engine, t->plan->devices[i].address, stuck);
        else
                for (size_t i = 0; i < t->n_devices; i++)
                        if (!t->answered[i])
                                device_set_stuck(t->engine, t->devices[i], stuck);
}

static void on_finished(HostJob *job, const HostResult *result, void *userdata) {
        Task *t = userdata;
        Engine *e = t->engine;

        if (result->outcome == HOST_OUTCOME_UNKNOWN)
                task_set_stuck(t, true);
        else
                t->host_job = NULL;
        if (t->request.type == HOST_REQUEST_READ)
                engine_took_devices(e, t->devices, t->n_devices);
        t->finished(t, result);
        engine_kick_queue(e);
}

static void on_ended(HostJob *job, void *userdata) {
        Task *t = userdata;
        Engine *e = t->engine;

        t->host_job = NULL;
        task_set_stuck(t, false);
        if (t->request.type == HOST_REQUEST_PLAN && t->plan)
                engine_refresh_plan(e, t->plan);
        else
                for (size_t i = 0; i < t->n_devices; i++)
                        if (!t->answered[i])
                                (void) engine_want_read(e, t->devices[i]);
        if (t->ended)
                t->ended(t);
        else
                task_free(t);
        engine_kick_queue(e);
}

/* Of a release: what the kernel did not take back. */
static void on_evidence(HostJob *job _unused_, size_t step, const char *text, void *userdata) {
        Task *t = userdata;
        _cleanup_free_ char *line = NULL;
        const Step *s;

        if (step < t->n_notes && free_and_strdup(&t->notes[step].evidence, text) < 0)
                log_warning("Not enough memory for what a step found");
        if (!t->plan || t->plan->kind != PLAN_RELEASE || step >= t->plan->n_steps)
                return;
        s = t->plan->steps + step;
        if (!step_type_is_setting(s->type))
                return;
        line = strjoinf("%s: %s %s, %s", PCI_ADDRESS_TEXT(s->device), step_type_to_string(s->type),
                        strempty(s->value), text);
        if (!line || strv_extend(&t->not_restored, line) < 0)
                log_warning("Not enough memory for what the release left different");
}

static const HostJobCallbacks callbacks = {
        .evidence = on_evidence,
        .step_started = on_step_started,
        .step_done = on_step_done,
        .device = on_device,
        .group = on_group,
        .slot = on_slot,
        .platform = on_platform,
        .fd = on_fd,
        .finished = on_finished,
        .ended = on_ended,
};

/* ---- submitting ---- */

static void deliver_submit_error(Task *t) {
        HostResult result = {
                .outcome = HOST_OUTCOME_ROLLED_BACK,
                .error = t->submit_error,
                .code = ERROR_FAILED,
                .failed_step = SIZE_MAX,
        };

        (void) snprintf(result.message, sizeof(result.message), "No worker could be started: %s",
                        strerrordesc_np(-t->submit_error));
        t->submit_error = 0;
        t->finished(t, &result);
}

static int task_submit(Task *t) {
        if (t->cancelled)
                return -ECANCELED;
        return host_submit(t->engine->host, &t->request, &callbacks, t, &t->host_job);
}

static void queue_retry(void *userdata) {
        engine_kick_queue(userdata);
}

static int queue_arm(Engine *e) {
        int r;

        if (!e->queue_timer) {
                r = host_timer_new(e->host, queue_retry, e, &e->queue_timer);
                if (r < 0)
                        return r;
        }
        return host_timer_set(e->queue_timer, e->n_queued > 0 ? host_now(e->host) + QUEUE_RETRY_USEC
                                                              : USEC_INFINITY);
}

static int task_enqueue(Task *t) {
        Engine *e = t->engine;
        ListLink *before = &e->queue;

        if (e->n_queued >= QUEUE_MAX)
                return -EBUSY;
        if (t->urgent)
                LIST_FOREACH(&e->queue, link)
                        if (!LIST_ENTRY(link, Task, queued)->urgent) {
                                before = link;
                                break;
                        }
        t->give_up_at = t->patient ? USEC_INFINITY : host_now(e->host) + QUEUE_PATIENCE_USEC;
        list_append(before, &t->queued); /* in front of `before`: the list is circular */
        e->n_queued++;
        return queue_arm(e);
}

int task_run(Task *t, TaskFinished finished) {
        int r;

        assert(t);
        assert(finished);
        assert(!t->host_job);
        t->finished = finished;
        r = task_submit(t);
        if (r == -EBUSY || r == -EAGAIN)
                return task_enqueue(t);
        if (r < 0) {
                t->submit_error = r;
                return task_fire_at(t, host_now(t->engine->host), deliver_submit_error);
        }
        return 0;
}

int task_run_now(Task *t, TaskFinished finished) {
        assert(t);
        assert(finished);
        t->finished = finished;
        return task_submit(t);
}

static void submit_failed(Task *t, int error) {
        int r;

        t->submit_error = error;
        r = task_fire_at(t, host_now(t->engine->host), deliver_submit_error);
        if (r < 0)
                (void) log_error_errno(r, "Failed to arm a timer: %m");
}

void engine_kick_queue(Engine *e) {
        bool full = false;
        usec_t now;

        assert(e);
        if (e->n_queued == 0)
                return;
        now = host_now(e->host);
        LIST_FOREACH(&e->queue, link) {
                Task *t = LIST_ENTRY(link, Task, queued);
                int r = full ? -EBUSY : task_submit(t);

                if (r == -EBUSY)
                        full = true; /* look on only for those that give up */
                if (r == -EBUSY || r == -EAGAIN) {
                        if (now < t->give_up_at)
                                continue;
                        r = -ETIMEDOUT;
                }
                task_unqueue(t);
                if (r < 0)
                        submit_failed(t, r);
        }
        (void) queue_arm(e);
}

int task_read(Task *t, const PciAddress *devices, size_t n, unsigned what, TaskFinished finished) {
        PciAddress *copy;
        uint8_t *answered;

        assert(t);
        assert(devices || n == 0);
        copy = calloc(MAX(n, (size_t) 1), sizeof(PciAddress));
        answered = calloc(MAX(n, (size_t) 1), 1);
        if (!copy || !answered) {
                free(copy);
                free(answered);
                return -ENOMEM;
        }
        for (size_t i = 0; i < n; i++)
                copy[i] = devices[i];
        free(t->devices);
        free(t->answered);
        t->devices = copy;
        t->answered = answered;
        t->n_devices = n;
        t->request = (HostRequest) {
                .type = HOST_REQUEST_READ,
                .devices = t->devices,
                .n_devices = n,
                .what = what,
                .container_fd = -EBADF,
                .iommufd = -EBADF,
                .pidfd = -EBADF,
        };
        return task_run(t, finished);
}

int task_run_plan(Task *t, TaskFinished finished) {
        assert(t);
        assert(t->plan);
        strv_free(t->not_restored);
        t->not_restored = NULL;
        notes_begin(t);
        t->request = (HostRequest) {
                .type = HOST_REQUEST_PLAN,
                .plan = t->plan,
                .plan_recovery = t->request.plan_recovery,
                .container_fd = -EBADF,
                .iommufd = -EBADF,
                .pidfd = -EBADF,
        };
        return task_run(t, finished);
}

bool engine_removal_is_blocked(const Engine *e) {
        assert(e);
        LIST_FOREACH(&e->tasks, link) {
                const Task *t = LIST_ENTRY(link, Task, link);

                if (t->stuck && t->plan && plan_has_removal(t->plan))
                        return true;
        }
        return false;
}
