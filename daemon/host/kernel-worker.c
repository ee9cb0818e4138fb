/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Worker processes as the daemon sees them: a connection, a pidfd and a deadline each. A worker
 * comes from the socket-activated service, so that one stuck in the kernel is in no control group
 * of ours, or is executed directly. A spare stands ready, and a worker that is done becomes one. A
 * worker past its deadline is never killed and assumed gone: its connection is closed, which it
 * notices before its next step, and it counts until its pidfd says that it ended.
 */

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/kernel-private.h"

#define START_TIMEOUT_MSEC 15000U
#define MESSAGES_PER_ROUND 32U
/* Workers that stand ready: with two, one job after the other starts no process, and the next one
 * is never late. */
#define SPARES_MAX 2U
/* Lost workers that still sit in the kernel do not count against the workers, but are not without
 * bound either. */
#define LOST_MAX 64U
#define SPARE_DELAY_USEC (500 * USEC_PER_MSEC)
#define DEADLINE_ACCURACY_USEC (10 * USEC_PER_MSEC)

extern char **environ;

static void session_free(Session *s) {
        KernelHost *k = s->host;

        list_unlink(&s->link);
        k->n_sessions--;
        s->socket_source = sd_event_source_disable_unref(s->socket_source);
        s->pid_source = sd_event_source_disable_unref(s->pid_source);
        s->timer = sd_event_source_disable_unref(s->timer);
        (void) safe_close(s->socket);
        (void) safe_close(s->pidfd);
        free(s);
}

/* The process is gone (or there never was one that we knew). */
static void session_end(Session *s) {
        HostJob *job = TAKE_PTR(s->job);

        session_free(s);
        if (job)
                kernel_job_ended(job);
}

void kernel_session_close(Session *s) {
        s->state = SESSION_LOST;
        s->timer = sd_event_source_disable_unref(s->timer);
        s->socket_source = sd_event_source_disable_unref(s->socket_source);
        s->socket = safe_close(s->socket);
}

void kernel_session_abandon(Session *s) {
        kernel_session_close(s);
        if (!s->request_sent && s->pidfd < 0)
                session_end(s);
}

/* The connection ended, or the worker said what it must not: whoever waits for it is told. */
static void session_lose(Session *s, int error) {
        HostJob *job = s->job;

        kernel_session_close(s);
        if (job)
                kernel_job_lost(job, error);
        if (s->pidfd < 0)
                session_end(s);
}

void kernel_sessions_free(KernelHost *k) {
        LIST_FOREACH(&k->sessions, link)
                session_free(LIST_ENTRY(link, Session, link));
}

int kernel_session_send(Session *s, ProtocolType type, const Encoder *payload) {
        return s->socket < 0 ? -EPIPE : protocol_send(s->socket, type, payload, NULL, 0);
}

/* ---- deadlines ---- */

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata) {
        Session *s = userdata;
        HostJob *job = s->job;

        if (s->state == SESSION_STARTING)
                session_lose(s, -ETIMEDOUT);
        else if (job) {
                kernel_job_timeout(job);
                if (s->state == SESSION_LOST && s->pidfd < 0)
                        session_end(s);
        }
        return 0;
}

void kernel_session_deadline(Session *s, uint64_t msec) {
        uint64_t now;

        if (sd_event_now(s->host->event, CLOCK_MONOTONIC, &now) < 0)
                return;
        if (!s->timer) {
                /* Without memory for it the worker has no deadline; its end is noticed all the
                 * same. */
                (void) sd_event_add_time(s->host->event, &s->timer, CLOCK_MONOTONIC,
                                         now + msec * USEC_PER_MSEC, DEADLINE_ACCURACY_USEC,
                                         on_deadline, s);
                return;
        }
        (void) sd_event_source_set_time(s->timer, now + msec * USEC_PER_MSEC);
        (void) sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

/* ---- messages ---- */

static int send_request(Session *s) {
        HostJob *job = s->job;
        int r;

        r = protocol_send(s->socket, PROTOCOL_REQUEST, &job->request, job->request_fds,
                          job->n_request_fds);
        if (r < 0)
                return r;
        s->request_sent = true;
        s->state = SESSION_BUSY;
        for (size_t i = 0; i < job->n_request_fds; i++)
                job->request_fds[i] = safe_close(job->request_fds[i]);
        job->n_request_fds = 0;
        if (job->cancelled)
                (void) kernel_session_send(s, PROTOCOL_CANCEL, NULL);
        kernel_session_deadline(s, s->host->step_timeout_msec);
        return 0;
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Session *s = userdata;
        siginfo_t si = {};

        if (s->child > 0)
                (void) waitid(P_PIDFD, (id_t) s->pidfd, &si, WEXITED | WNOHANG);
        /* Its last words may still stand in the socket; they are read before it counts as gone. */
        if (s->state != SESSION_LOST) {
                s->pid_source = sd_event_source_disable_unref(s->pid_source);
                s->pidfd = safe_close(s->pidfd);
                return 0;
        }
        session_end(s);
        return 0;
}

static int watch_pid(Session *s, pid_t pid) {
        int r;

        s->pidfd = pidfd_open(pid, 0);
        if (s->pidfd < 0)
                return -errno;
        r = sd_event_add_io(s->host->event, &s->pid_source, s->pidfd, EPOLLIN, on_pidfd, s);
        return r;
}

static int session_hello(Session *s, const ProtocolMessage *m) {
        Decoder d = DECODER(m->payload, m->size);
        uint32_t version = decode_u32(&d);
        int r;

        if (m->type != PROTOCOL_HELLO || decoder_finish(&d) < 0)
                return -EBADMSG;
        if (version != PROTOCOL_VERSION)
                return -EPROTONOSUPPORT;
        if (s->pidfd < 0 && m->pid > 0) {
                r = watch_pid(s, (pid_t) m->pid);
                if (r < 0)
                        return r;
        }
        s->state = SESSION_IDLE;
        if (s->timer)
                (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
        return s->job ? send_request(s) : 0;
}

static int on_socket(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Session *s = userdata;

        for (unsigned i = 0; i < MESSAGES_PER_ROUND; i++) {
                _cleanup_(protocol_message_done) ProtocolMessage m = {};
                int r;

                r = protocol_receive(s->socket, &m);
                if (r == -EAGAIN)
                        return 0;
                if (r > 0 && s->state == SESSION_STARTING)
                        r = session_hello(s, &m) < 0 ? -EPROTONOSUPPORT : 1;
                else if (r > 0 && s->job)
                        kernel_job_message(s->job, &m);
                else if (r > 0)
                        r = -EPROTO; /* an idle worker has nothing to say */
                if (r <= 0) {
                        session_lose(s, r < 0 ? r : -EPIPE);
                        return 0;
                }
                /* A callback may have closed the connection. */
                if (s->state == SESSION_LOST) {
                        if (s->pidfd < 0)
                                session_end(s);
                        return 0;
                }
        }
        return 0;
}

/* ---- starting ---- */

static int connect_service(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = -EBADF;

        if (!string_copy(address.sun_path, sizeof(address.sun_path), path))
                return -ENAMETOOLONG;
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static int spawn_attributes(posix_spawnattr_t *attr, posix_spawn_file_actions_t *actions,
                            int peer) {
        sigset_t none, all;
        int r;

        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        r = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                   POSIX_SPAWN_SETSID);
        if (r == 0)
                r = posix_spawnattr_setsigmask(attr, &none);
        if (r == 0)
                r = posix_spawnattr_setsigdefault(attr, &all);
        if (r == 0)
                r = posix_spawn_file_actions_adddup2(actions, peer, 3);
        if (r == 0)
                r = posix_spawn_file_actions_addclosefrom_np(actions, 4);
        return -r;
}

static int spawn(KernelHost *k, int peer, pid_t *ret) {
        _cleanup_free_ char *root = strjoinf("--root=%s", k->root);
        _cleanup_free_ char *runtime = strjoinf("--runtime-dir=%s", k->runtime_dir);
        _cleanup_free_ char *own = strjoinf("--worker-dir=%s", k->worker_dir);
        _cleanup_free_ char *state = strjoinf("--state-dir=%s", k->state_dir);
        char *argv[] = { (char *) "pciassign-worker", root, runtime, own, state, NULL };
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        pid_t pid;
        int r;

        if (!root || !runtime || !own || !state)
                return -ENOMEM;
        if (posix_spawnattr_init(&attr) != 0)
                return -ENOMEM;
        if (posix_spawn_file_actions_init(&actions) != 0) {
                (void) posix_spawnattr_destroy(&attr);
                return -ENOMEM;
        }
        r = spawn_attributes(&attr, &actions, peer);
        if (r >= 0)
                r = -posix_spawn(&pid, k->worker_path, &actions, &attr, argv, environ);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) posix_spawnattr_destroy(&attr);
        if (r >= 0)
                *ret = pid;
        return r;
}

static int execute_worker(Session *s) {
        int pair[2], r;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        r = spawn(s->host, pair[1], &pid);
        (void) safe_close(pair[1]);
        s->socket = pair[0];
        if (r < 0)
                return r;
        s->child = pid;
        if (fcntl(s->socket, F_SETFL, O_NONBLOCK) < 0)
                return -errno;
        return watch_pid(s, pid);
}

static int session_connect(Session *s) {
        const int on = 1;
        Encoder hello = {};
        int r;

        if (s->host->worker_socket) {
                r = s->socket = connect_service(s->host->worker_socket);
                if (r < 0)
                        return r;
        } else {
                r = execute_worker(s);
                if (r < 0)
                        return r;
        }
        if (setsockopt(s->socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
                return -errno;
        r = sd_event_add_io(s->host->event, &s->socket_source, s->socket, EPOLLIN, on_socket, s);
        if (r < 0)
                return r;
        /* Somebody waits for what a worker says; the events that its work makes can wait for a
         * moment. */
        r = sd_event_source_set_priority(s->socket_source, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0)
                return r;
        encode_u32(&hello, PROTOCOL_VERSION);
        r = kernel_session_send(s, PROTOCOL_HELLO, &hello);
        encoder_done(&hello);
        return r == -EPIPE ? 0
                           : r; /* ended already: the end of the stream tells, like any other end */
}

static int session_new(KernelHost *k, Session **ret) {
        Session *s = calloc(1, sizeof(Session));
        int r;

        if (!s)
                return -ENOMEM;
        s->host = k;
        s->socket = s->pidfd = -EBADF;
        s->state = SESSION_STARTING;
        list_append(&k->sessions, &s->link);
        k->n_sessions++;
        r = session_connect(s);
        if (r < 0) {
                /* A child that started all the same ends by the closed connection, and is reaped by
                 * its pidfd. */
                kernel_session_close(s);
                if (s->pidfd < 0)
                        session_free(s);
                return r;
        }
        kernel_session_deadline(s, START_TIMEOUT_MSEC);
        *ret = s;
        return 0;
}

/* ---- the pool ---- */

static unsigned count_sessions(const KernelHost *k, bool lost) {
        unsigned n = 0;

        LIST_FOREACH(&k->sessions, link)
                n += (LIST_ENTRY(link, Session, link)->state == SESSION_LOST) == lost;
        return n;
}

size_t kernel_sessions_stuck(const KernelHost *k, PciAddress *ret, size_t max) {
        size_t n = 0;

        LIST_FOREACH(&k->sessions, link) {
                const Session *s = LIST_ENTRY(link, Session, link);

                if (s->state == SESSION_LOST && s->has_stuck && n < max)
                        ret[n++] = s->stuck;
        }
        return n;
}

/* Idle first; one that is still starting is the next best. */
static Session *find_spare(KernelHost *k) {
        Session *starting = NULL;

        LIST_FOREACH(&k->sessions, link) {
                Session *s = LIST_ENTRY(link, Session, link);

                if (s->job)
                        continue;
                if (s->state == SESSION_IDLE)
                        return s;
                if (s->state == SESSION_STARTING)
                        starting = s;
        }
        return starting;
}

static int on_spare(sd_event_source *source, uint64_t usec, void *userdata) {
        KernelHost *k = userdata;
        Session *s;

        if (find_spare(k) || count_sessions(k, false) > k->max_workers)
                return 0;
        /* Without a spare the next job starts its own worker, and hears why that fails. */
        (void) session_new(k, &s);
        return 0;
}

void kernel_spare_want(KernelHost *k, usec_t delay) {
        usec_t now;

        if (sd_event_now(k->event, CLOCK_MONOTONIC, &now) < 0)
                return;
        if (k->spare_source) {
                (void) sd_event_source_set_time(k->spare_source, now + delay);
                (void) sd_event_source_set_enabled(k->spare_source, SD_EVENT_ONESHOT);
                return;
        }
        (void) sd_event_add_time(k->event, &k->spare_source, CLOCK_MONOTONIC, now + delay,
                                 DEADLINE_ACCURACY_USEC, on_spare, k);
}

int kernel_session_take(KernelHost *k, HostJob *job) {
        Session *s;
        int r;

        if (k->n_jobs > k->max_workers || count_sessions(k, true) >= LOST_MAX)
                return -EBUSY;
        while ((s = find_spare(k))) {
                s->job = job;
                s->request_sent = false;
                job->session = s;
                if (s->state == SESSION_STARTING || send_request(s) >= 0)
                        goto done;
                /* The spare had died; take another. */
                s->job = NULL;
                job->session = NULL;
                kernel_session_close(s);
                if (s->pidfd < 0)
                        session_free(s);
        }
        r = session_new(k, &s);
        if (r < 0)
                return r;
        s->job = job;
        job->session = s;
done:
        /* Most jobs are done before that and give their worker back; none of them shares its time
         * with the start of another. */
        kernel_spare_want(k, SPARE_DELAY_USEC);
        return 0;
}

static unsigned count_spares(const KernelHost *k) {
        unsigned n = 0;

        LIST_FOREACH(&k->sessions, link) {
                const Session *s = LIST_ENTRY(link, Session, link);

                n += !s->job && (s->state == SESSION_IDLE || s->state == SESSION_STARTING);
        }
        return n;
}

void kernel_session_put(Session *s) {
        unsigned spares = count_spares(s->host);

        s->job = NULL;
        s->request_sent = false;
        if (spares >= SPARES_MAX) {
                kernel_session_close(s);
                return;
        }
        s->state = SESSION_IDLE;
        if (s->host->spare_source) /* this one is the spare: nothing is to wake up for */
                (void) sd_event_source_set_enabled(s->host->spare_source, SD_EVENT_OFF);
        if (s->timer)
                (void) sd_event_source_set_enabled(s->timer, SD_EVENT_OFF);
}
