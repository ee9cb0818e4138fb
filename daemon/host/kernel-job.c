/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Jobs: what the caller asked for, followed from the request to its end. A job has one worker at a
 * time. A job that reads survives its worker: the device at hand is reported as it is, the rest
 * goes to another worker, so that one device whose attribute blocks costs no other its facts. A
 * plan does not: past the deadline its outcome is unknown, and its groups stay taken until the
 * worker has ended.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/file.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/kernel-private.h"

/* Attributes that take a driver's lock come last; a driver that holds it longer than this is not
 * waited for. */
#define LOCKED_READ_TIMEOUT_MSEC 5000U
/* What a worker needs beyond a step's own time limit to say that it passed. */
#define STEP_GRACE_MSEC 2000U
/* Each leaves a worker behind that hangs in the kernel. */
#define SNAPSHOT_RESTARTS_MAX 16U

static void facts_done(HostDeviceFacts *f) {
        free(f->config);
        if (f->live)
                pci_live_done(f->live);
        free(f->live);
        if (f->use)
                pci_use_done(f->use);
        free(f->use);
        *f = (HostDeviceFacts) {};
}

HostJob *kernel_job_free(HostJob *job) {
        if (!job)
                return NULL;
        if (list_is_linked(&job->link))
                list_unlink(&job->link);
        encoder_done(&job->request);
        for (size_t i = 0; i < job->n_request_fds; i++)
                (void) safe_close(job->request_fds[i]);
        plan_free(job->plan);
        free(job->groups);
        free(job->devices);
        free(job->read_groups);
        facts_done(&job->pending);
        free(job);
        return NULL;
}

/* ---- the end of a job ---- */

static void stop_counting(HostJob *job) {
        KernelHost *k = kernel_host(job->host);

        if (!job->detached && !job->unknown)
                k->n_jobs--;
}

static void job_finish(HostJob *job, const HostResult *result) {
        bool detached = job->detached;

        stop_counting(job);
        list_unlink(&job->link);
        job->session = NULL;
        if (!detached)
                job->callbacks.finished(job, result, job->userdata);
        kernel_job_free(job);
}

static void job_unknown(HostJob *job, int error) {
        HostResult result = {
                .outcome = HOST_OUTCOME_UNKNOWN,
                .error = error,
                .code = ERROR_STUCK,
                .failed_step = SIZE_MAX,
        };

        (void) snprintf(
                result.message, sizeof(result.message),
                error == -ETIMEDOUT
                        ? "the kernel has not come back in time; wait until the operation ends"
                        : "the worker ended before it said how the operation went");
        stop_counting(job);
        job->unknown = true;
        if (!job->detached)
                job->callbacks.finished(job, &result, job->userdata);
}

void kernel_job_ended(HostJob *job) {
        if (job->unknown && !job->detached && job->callbacks.ended) {
                list_unlink(&job->link);
                job->callbacks.ended(job, job->userdata);
        }
        kernel_job_free(job);
}

static void job_failed(HostJob *job, int error, const char *what) {
        HostResult result = {
                .outcome = job->type == HOST_REQUEST_PLAN ? HOST_OUTCOME_ROLLED_BACK
                                                          : HOST_OUTCOME_FAILED,
                .error = error,
                .code = error == -ETIMEDOUT ? ERROR_STUCK : ERROR_FAILED,
                .failed_step = SIZE_MAX,
        };

        if (error == -EPROTONOSUPPORT)
                (void) snprintf(
                        result.message, sizeof(result.message),
                        "%s: it is of another version; restart pciassignd.service after an upgrade",
                        what);
        else
                (void) snprintf(result.message, sizeof(result.message), "%s: %s", what,
                                errno_text(-error));
        job_finish(job, &result);
}

/* ---- reading: the parts of a device ---- */

static void deliver_pending(HostJob *job, int error) {
        if (!job->has_pending)
                return;
        if (error < 0)
                job->pending.error = error;
        job->has_pending = false;
        job->next_device++;
        if (!job->detached && job->callbacks.device)
                job->callbacks.device(job, &job->pending, job->userdata);
        facts_done(&job->pending);
}

static void encode_remaining(HostJob *job) {
        PciAddress stuck[PROTOCOL_STUCK_MAX];
        const HostRequest rest = {
                .type = job->type,
                .redact = job->redact,
                .devices = job->devices ? job->devices + job->next_device : NULL,
                .n_devices = job->n_devices - job->next_device,
                .groups = job->read_groups,
                .n_groups = job->n_read_groups,
                .what = job->what,
                .stuck = stuck,
                .n_stuck = kernel_sessions_stuck(kernel_host(job->host), stuck, ELEMENTSOF(stuck)),
                .container_fd = -EBADF,
                .iommufd = -EBADF,
                .pidfd = -EBADF,
        };

        encoder_reset(&job->request);
        encode_request(&job->request, &rest);
}

/* The worker that read for us is lost at one device: report that one and go on with another
 * worker. */
static void read_on(HostJob *job, int error) {
        KernelHost *k = kernel_host(job->host);
        int r;

        if (job->next_device >= job->n_devices) {
                job_failed(job, error, "read groups and slots");
                return;
        }
        if (!job->has_pending) {
                job->pending = (HostDeviceFacts) { .address = job->devices[job->next_device] };
                job->has_pending = true;
        }
        deliver_pending(job, error);
        if (job->detached) {
                kernel_job_free(job);
                return;
        }
        encode_remaining(job);
        r = job->request.error;
        if (r >= 0)
                r = kernel_session_take(k, job);
        if (r < 0)
                job_failed(job, r, "start a worker");
}

/* A snapshot begins anew, and leaves alone what its former workers hang in. */
static void restart_snapshot(HostJob *job) {
        int r;

        job->has_at = false;
        job->n_restarts++;
        encode_remaining(job);
        r = job->request.error;
        if (r >= 0)
                r = kernel_session_take(kernel_host(job->host), job);
        if (r < 0)
                job_failed(job, r, "start a worker");
}

/* Takes the job from its session, which goes on alone to its end. */
static void leave_session(HostJob *job) {
        if (job->session)
                job->session->job = NULL;
        job->session = NULL;
}

void kernel_job_lost(HostJob *job, int error) {
        Session *s = job->session;
        bool sent = s->request_sent;

        if (job->detached) {
                if (s->pidfd >= 0)
                        return; /* kernel_job_ended() frees it */
                leave_session(job);
                kernel_job_free(job);
                return;
        }
        if (sent && job->type == HOST_REQUEST_PLAN) {
                job_unknown(job, error == -ETIMEDOUT ? error : -EIO);
                return;
        }
        if (sent && error == -ETIMEDOUT && (job->has_at || job->next_device < job->n_devices)) {
                s->has_stuck = true;
                s->stuck = job->has_at ? job->at : job->devices[job->next_device];
        }
        leave_session(job);
        if (!sent)
                job_failed(job, error == -EPIPE ? -ECONNREFUSED : error, "start a worker");
        else if (job->type == HOST_REQUEST_READ)
                read_on(job, error == -ETIMEDOUT ? error : -EIO);
        else if (s->has_stuck && job->n_restarts < SNAPSHOT_RESTARTS_MAX)
                restart_snapshot(job);
        else
                job_failed(job, error == -ETIMEDOUT ? error : -EIO, "a worker's request");
}

void kernel_job_timeout(HostJob *job) {
        Session *s = job->session;

        kernel_session_close(s);
        kernel_job_lost(job, -ETIMEDOUT);
}

/* ---- messages ---- */

/* In the midst of a plan: what it leaves in one of its devices. */
static int on_planned_device(HostJob *job, Decoder *d) {
        HostDeviceFacts f = {};
        bool last;
        int r;

        r = decode_device(d, &f, &last);
        if (r >= 0 && (!job->plan || !plan_find_device(job->plan, f.address)))
                r = -EBADMSG;
        if (r >= 0 && !job->detached && job->callbacks.device)
                job->callbacks.device(job, &f, job->userdata);
        facts_done(&f);
        return r;
}

static int on_device(HostJob *job, Decoder *d) {
        bool last;
        int r;

        if (job->type == HOST_REQUEST_PLAN)
                return on_planned_device(job, d);
        if (job->type != HOST_REQUEST_READ || job->next_device >= job->n_devices)
                return -EBADMSG;
        if (!job->has_pending)
                job->pending = (HostDeviceFacts) {};
        job->has_pending = true;
        r = decode_device(d, &job->pending, &last);
        if (r < 0)
                return r;
        if (!pci_address_equal(job->pending.address, job->devices[job->next_device]))
                return -EBADMSG;
        if (last)
                deliver_pending(job, 0);
        else if (job->session)
                kernel_session_deadline(job->session, LOCKED_READ_TIMEOUT_MSEC);
        return 0;
}

static int on_group(HostJob *job, Decoder *d) {
        IommuGroupFacts g;
        int r = decode_group(d, &g);

        if (r < 0)
                return r;
        if (!job->detached && job->callbacks.group)
                job->callbacks.group(job, &g, job->userdata);
        iommu_group_facts_done(&g);
        return 0;
}

static int on_slot(HostJob *job, Decoder *d) {
        PciSlotFacts s;
        int r = decode_slot(d, &s);

        if (r < 0)
                return r;
        if (!job->detached && job->callbacks.slot)
                job->callbacks.slot(job, &s, job->userdata);
        pci_slot_facts_done(&s);
        return 0;
}

static int on_platform(HostJob *job, Decoder *d) {
        HostPlatform p;
        int r = decode_platform(d, &p);

        if (r < 0)
                return r;
        if (!job->detached && job->callbacks.platform)
                job->callbacks.platform(job, &p, job->userdata);
        host_platform_done(&p);
        return 0;
}

static int on_progress(HostJob *job, Decoder *d) {
        PciAddress at;
        bool has_at;

        has_at = decode_u8(d) != 0;
        at = decode_address(d);
        if (decoder_finish(d) < 0 || job->type != HOST_REQUEST_SNAPSHOT)
                return -EBADMSG;
        job->has_at = has_at;
        job->at = at;
        if (has_at)
                kernel_session_deadline(job->session, LOCKED_READ_TIMEOUT_MSEC);
        return 0;
}

static int on_fd(HostJob *job, Decoder *d, ProtocolMessage *m) {
        HostFd f;
        int r = decode_fd(d, &f);

        if (r < 0)
                return r;
        if (m->n_fds != 1)
                return -EBADMSG;
        f.fd = TAKE_FD(m->fds[0]);
        if (!job->detached && job->callbacks.fd)
                job->callbacks.fd(job, &f, job->userdata);
        (void) safe_close(f.fd);
        return 0;
}

static void on_step(HostJob *job, const ProtocolStep *s) {
        if (!s->done) {
                uint32_t msec = job->plan->steps[s->step].timeout_msec;

                kernel_session_deadline(
                        job->session,
                        (uint64_t) MAX(msec, kernel_host(job->host)->step_timeout_msec) +
                                STEP_GRACE_MSEC);
        }
        if (job->detached)
                return;
        if (!s->done && !s->undo && job->callbacks.step_started)
                job->callbacks.step_started(job, s->step, job->userdata);
        if (s->done && job->callbacks.step_done)
                job->callbacks.step_done(job, s->step, s->undo, s->error, job->userdata);
}

static int on_steps(HostJob *job, Decoder *d) {
        ProtocolStep steps[PROTOCOL_STEPS_MAX];
        size_t n;
        int r;

        r = decode_steps(d, steps, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                if (!job->plan || steps[i].step >= job->plan->n_steps)
                        return -EBADMSG;
        for (size_t i = 0; i < n; i++)
                on_step(job, steps + i);
        return 0;
}

static int on_evidence(HostJob *job, Decoder *d) {
        _cleanup_free_ char *text = NULL;
        uint32_t step;
        int r = decode_evidence(d, &step, &text);

        if (r < 0)
                return r;
        if (!job->plan || step >= job->plan->n_steps)
                return -EBADMSG;
        if (!job->detached && job->callbacks.evidence)
                job->callbacks.evidence(job, step, text, job->userdata);
        return 0;
}

static int on_finished(HostJob *job, Decoder *d) {
        _cleanup_free_ PciHolder *holders = NULL;
        Session *s = job->session;
        HostResult result;
        int r;

        r = on_steps(job, d);
        if (r >= 0)
                r = decode_result(d, &result, &holders);
        if (r < 0)
                return r;
        if (result.outcome == HOST_OUTCOME_UNKNOWN)
                return -EBADMSG; /* only we say that */
        if (!job->detached)
                kernel_session_put(s);
        job_finish(job, &result);
        return 0;
}

static int on_steps_alone(HostJob *job, Decoder *d) {
        int r = on_steps(job, d);

        return r < 0 ? r : decoder_finish(d);
}

static int dispatch(HostJob *job, ProtocolMessage *m) {
        Decoder d = DECODER(m->payload, m->size);

        switch (m->type) {
        case PROTOCOL_STEPS:
                return on_steps_alone(job, &d);
        case PROTOCOL_EVIDENCE:
                return on_evidence(job, &d);
        case PROTOCOL_DEVICE:
                return on_device(job, &d);
        case PROTOCOL_GROUP:
                return on_group(job, &d);
        case PROTOCOL_SLOT:
                return on_slot(job, &d);
        case PROTOCOL_PLATFORM:
                return on_platform(job, &d);
        case PROTOCOL_FD:
                return on_fd(job, &d, m);
        case PROTOCOL_PROGRESS:
                return on_progress(job, &d);
        case PROTOCOL_FINISHED:
                return on_finished(job, &d);
        case PROTOCOL_HELLO:
        case PROTOCOL_REQUEST:
        case PROTOCOL_CANCEL:
        case _PROTOCOL_TYPE_MAX:
                break;
        }
        return -EBADMSG;
}

void kernel_job_message(HostJob *job, ProtocolMessage *m) {
        Session *s = job->session;

        /* Any word of the worker is progress; a step sets its own deadline. */
        kernel_session_deadline(s, (uint64_t) s->host->step_timeout_msec + STEP_GRACE_MSEC);
        if (dispatch(job, m) < 0 && s->job == job) {
                kernel_session_close(s);
                kernel_job_lost(job, -EBADMSG);
        }
}

/* ---- submitting ---- */

static bool overlaps(const HostJob *a, const HostJob *b) {
        for (size_t i = 0; i < a->n_groups; i++)
                for (size_t j = 0; j < b->n_groups; j++)
                        if (a->groups[i] == b->groups[j])
                                return true;
        return false;
}

static bool lock_is_held(KernelHost *k, const char *name) {
        _cleanup_free_ char *path = strjoinf("%s/lock/%s", k->worker_dir, name);
        _cleanup_close_ int fd = -EBADF;

        if (!path)
                return false;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

bool kernel_group_locked(Host *h, uint32_t group) {
        char name[16];

        (void) snprintf(name, sizeof(name), "%u", group);
        return lock_is_held(kernel_host(h), name);
}

static int check_exclusive(KernelHost *k, const HostJob *job) {
        if (!job->plan)
                return 0;
        LIST_FOREACH(&k->jobs, link) {
                const HostJob *other = LIST_ENTRY(link, HostJob, link);

                if (other->plan && (overlaps(job, other) || (job->removal && other->removal)))
                        return -EAGAIN;
        }
        for (size_t i = 0; i < job->n_groups; i++)
                if (kernel_group_locked(&k->host, job->groups[i]))
                        return -EAGAIN;
        return job->removal && lock_is_held(k, "removal") ? -EAGAIN : 0;
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

static int job_take_request(HostJob *job, const HostRequest *r) {
        int fds[PROTOCOL_FDS_MAX], k = 0;
        size_t n;

        job->type = r->type;
        job->redact = r->redact;
        if (r->type == HOST_REQUEST_SNAPSHOT)
                encode_remaining(job);
        else if (r->type != HOST_REQUEST_READ)
                encode_request(&job->request, r);
        if (job->request.error < 0)
                return job->request.error;
        n = protocol_request_fds(r, fds);
        for (; job->n_request_fds < n; job->n_request_fds++) {
                job->request_fds[job->n_request_fds] =
                        fcntl(fds[job->n_request_fds], F_DUPFD_CLOEXEC, 3);
                if (job->request_fds[job->n_request_fds] < 0)
                        return -errno;
        }
        if (r->type == HOST_REQUEST_PLAN) {
                job->removal = plan_has_removal(r->plan);
                k = plan_copy(r->plan, &job->plan);
                return k < 0 ? k : plan_groups(r->plan, &job->groups, &job->n_groups);
        }
        if (r->type == HOST_REQUEST_READ) {
                job->what = r->what;
                job->n_devices = r->n_devices;
                job->n_read_groups = r->n_groups;
                k = copy_array(r->devices, r->n_devices, sizeof(PciAddress), &job->devices);
                if (k >= 0)
                        k = copy_array(r->groups, r->n_groups, sizeof(uint32_t), &job->read_groups);
                if (k < 0)
                        return k;
                encode_remaining(job);
                return job->request.error;
        }
        return 0;
}

int kernel_submit(Host *h, const HostRequest *r, const HostJobCallbacks *callbacks, void *userdata,
                  HostJob **ret) {
        KernelHost *k = kernel_host(h);
        HostJob *job;
        int n;

        if (k->n_jobs >= k->max_workers)
                return -EBUSY;
        job = calloc(1, sizeof(HostJob));
        if (!job)
                return -ENOMEM;
        job->host = h;
        job->callbacks = *callbacks;
        job->userdata = userdata;
        n = job_take_request(job, r);
        if (n >= 0)
                n = check_exclusive(k, job);
        if (n >= 0)
                n = kernel_session_take(k, job);
        if (n < 0) {
                kernel_job_free(job);
                return n;
        }
        k->n_jobs++;
        list_append(&k->jobs, &job->link);
        *ret = job;
        return 0;
}

void kernel_cancel(HostJob *job) {
        if (job->cancelled || job->unknown || !job->session)
                return;
        job->cancelled = true;
        /* A worker that is not up yet finds the cancellation behind the request. If the connection
         * is broken, its end is about to be told anyway. */
        if (job->session->request_sent)
                (void) kernel_session_send(job->session, PROTOCOL_CANCEL, NULL);
}

void kernel_detach(HostJob *job) {
        Session *s = job->session;

        stop_counting(job);
        job->detached = true;
        /* The job keeps its groups until the worker has ended. */
        if (s && s->state != SESSION_LOST)
                kernel_session_abandon(s);
}
