/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Owners that live and die: clients on the bus, processes behind pidfds, deadlines by which
 * somebody must have attached. A death is an event like a Release call. Processes are known by
 * pidfd; a pid is only ever kept to recognise the same process after a restart, by its start time,
 * within one boot (the journal does not outlive one).
 */

#include <assert.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <systemd/sd-event.h>

#include "base/fdio.h"
#include "engine/engine-private.h"

struct OwnerWatch {
        ListLink link;
        Engine *engine;
        char assignment[ASSIGNMENT_ID_MAX];
        sd_event_source *source; /* pidfd; NULL without a loop */
        HostTimer *deadline;     /* attach-within */
};

static OwnerWatch *watch_find(const Engine *e, const char *id) {
        LIST_FOREACH(&e->owners, link) {
                OwnerWatch *w = LIST_ENTRY(link, OwnerWatch, link);

                if (streq(w->assignment, id))
                        return w;
        }
        return NULL;
}

static int watch_get(Engine *e, const Assignment *a, OwnerWatch **ret) {
        OwnerWatch *w = watch_find(e, a->id);

        if (!w) {
                w = calloc(1, sizeof(OwnerWatch));
                if (!w)
                        return -ENOMEM;
                w->engine = e;
                (void) string_copy(w->assignment, sizeof(w->assignment), a->id);
                list_append(&e->owners, &w->link);
        }
        *ret = w;
        return 0;
}

static void watch_free(OwnerWatch *w) {
        list_unlink(&w->link);
        sd_event_source_disable_unref(w->source);
        host_timer_free(w->deadline);
        free(w);
}

void owner_free_all(Engine *e) {
        assert(e);
        LIST_FOREACH(&e->owners, link)
                watch_free(LIST_ENTRY(link, OwnerWatch, link));
}

/* ---- death ---- */

static void drop_pidfd(Engine *e, Assignment *a) {
        OwnerWatch *w = watch_find(e, a->id);

        if (w)
                w->source = sd_event_source_disable_unref(w->source);
        if (a->pidfd < 0)
                return;
        a->pidfd = safe_close(a->pidfd);
        if (e->observer.drop_fd)
                e->observer.drop_fd(a->id, e->observer_userdata);
}

static void process_ended(Engine *e, Assignment *a) {
        bool rest = a->lifetime == LIFETIME_PERSISTENT;
        uint32_t pid = a->pid;
        int r;

        drop_pidfd(e, a);
        a->pid = 0;
        a->pid_start = 0;
        engine_audit(a, MESSAGE_OWNER_DIED, LOG_NOTICE, "Process %u of %s ended", pid, a->owner);
        r = engine_begin_release(e, a, NULL, rest, "its process ended");
        if (r < 0)
                (void) log_error_errno(r, "Failed to take back assignment %s: %m", a->id);
}

static int on_pidfd(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        OwnerWatch *w = userdata;
        Assignment *a = inventory_assignment(w->engine->inventory, w->assignment);

        w->source = sd_event_source_disable_unref(w->source);
        if (a)
                process_ended(w->engine, a);
        return 0;
}

static bool process_has_ended(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return poll(&p, 1, 0) > 0;
}

void engine_poll_owners(Engine *e) {
        Assignment *a;

        assert(e);
        HASHMAP_FOREACH(a, e->inventory->assignments)
                if (a->pidfd >= 0 && process_has_ended(a->pidfd)) {
                        process_ended(e, a);
                        return; /* the map may have changed */
                }
}

static void deadline_passed(void *userdata) {
        OwnerWatch *w = userdata;
        Assignment *a = inventory_assignment(w->engine->inventory, w->assignment);
        int r;

        if (!a || a->attach_deadline == 0)
                return;
        a->attach_deadline = 0;
        r = engine_begin_release(w->engine, a, NULL, false, "nobody attached in time");
        if (r < 0)
                (void) log_error_errno(r, "Failed to take back assignment %s: %m", a->id);
}

void engine_client_gone(Engine *e, const char *bus_name) {
        Assignment *a;

        assert(e);
        assert(bus_name);
        HASHMAP_FOREACH(a, e->inventory->assignments) {
                int r;

                if (a->lifetime != LIFETIME_CONNECTION || !streq_ptr(a->bus_name, bus_name))
                        continue;
                if (a->state == ASSIGNMENT_RELEASING || a->state == ASSIGNMENT_CLEANING ||
                    a->release_wanted)
                        continue;
                engine_audit(a, MESSAGE_OWNER_DIED, LOG_NOTICE, "Client %s of %s left the bus",
                             bus_name, a->owner);
                r = engine_begin_release(e, a, NULL, false, "its client left the bus");
                if (r < 0)
                        (void) log_error_errno(r, "Failed to take back assignment %s: %m", a->id);
        }
}

/* ---- watching ---- */

int owner_watch(Engine *e, Assignment *a) {
        OwnerWatch *w;
        int r;

        assert(e);
        assert(a);
        if (a->pidfd < 0)
                return 0;
        if (e->event) {
                r = watch_get(e, a, &w);
                if (r < 0)
                        return r;
                w->source = sd_event_source_disable_unref(w->source);
                r = sd_event_add_io(e->event, &w->source, a->pidfd, EPOLLIN, on_pidfd, w);
                if (r < 0)
                        return r;
        }
        if (e->observer.store_fd)
                e->observer.store_fd(a->id, a->pidfd, e->observer_userdata);
        return 0;
}

void owner_unwatch(Engine *e, Assignment *a) {
        OwnerWatch *w;

        assert(e);
        assert(a);
        drop_pidfd(e, a);
        w = watch_find(e, a->id);
        if (w)
                watch_free(w);
}

int owner_set_deadline(Engine *e, Assignment *a) {
        OwnerWatch *w;
        int r;

        assert(e);
        assert(a);
        if (a->attach_deadline == 0 && !watch_find(e, a->id))
                return 0;
        r = watch_get(e, a, &w);
        if (r >= 0 && !w->deadline)
                r = host_timer_new(e->host, deadline_passed, w, &w->deadline);
        if (r < 0)
                return r;
        return host_timer_set(w->deadline,
                              a->attach_deadline > 0 ? a->attach_deadline : USEC_INFINITY);
}

void owner_watch_clients(Engine *e) {
        bool needed = false;
        Assignment *a;

        assert(e);
        HASHMAP_FOREACH(a, e->inventory->assignments)
                needed |= a->lifetime == LIFETIME_CONNECTION;
        if (needed == e->watching_clients)
                return;
        e->watching_clients = needed;
        if (e->observer.watch_clients)
                e->observer.watch_clients(needed, e->observer_userdata);
}

/* ---- processes ---- */

static int pidfd_pid(int pidfd, uint32_t *ret) {
        _cleanup_strv_ char **lines = NULL;
        _cleanup_free_ char *path = strjoinf("/proc/self/fdinfo/%d", pidfd);
        char text[1024];
        ssize_t n;
        int r;

        if (!path)
                return -ENOMEM;
        n = read_attr_at(AT_FDCWD, path, text, sizeof(text));
        if (n < 0)
                return (int) n;
        r = strv_split(text, "\n", &lines);
        if (r < 0)
                return r;
        for (size_t i = 0; lines && lines[i]; i++)
                if (strncmp(lines[i], "Pid:", 4) == 0)
                        return parse_u32(string_strip(lines[i] + 4), 10, INT32_MAX, ret);
        return -EINVAL; /* a descriptor of something else */
}

/* Field 22 of /proc/PID/stat, counted behind the command's last parenthesis (proc(5)). */
static int process_start(uint32_t pid, uint64_t *ret) {
        _cleanup_strv_ char **fields = NULL;
        _cleanup_free_ char *path = strjoinf("/proc/%u/stat", pid);
        char text[2048], *behind;
        ssize_t n;
        int r;

        if (!path)
                return -ENOMEM;
        n = read_attr_at(AT_FDCWD, path, text, sizeof(text));
        if (n < 0)
                return (int) n;
        behind = strrchr(text, ')');
        r = behind ? strv_split(behind + 1, " ", &fields) : -EBADMSG;
        if (r < 0)
                return r;
        return strv_length(fields) > 19 ? parse_u64(fields[19], 10, UINT64_MAX, ret) : -EBADMSG;
}

static int process_uid(uint32_t pid, uid_t *ret) {
        _cleanup_free_ char *path = strjoinf("/proc/%u", pid);
        struct stat st;

        if (!path)
                return -ENOMEM;
        if (stat(path, &st) < 0)
                return -errno;
        *ret = st.st_uid;
        return 0;
}

int owner_prove(const Caller *c, int pidfd, uid_t declared, Error *err, uint32_t *ret_pid,
                uint64_t *ret_start) {
        uint32_t pid;
        uint64_t start = 0;
        uid_t uid = UID_UNSET;
        int r;

        assert(c);
        assert(ret_pid);
        assert(ret_start);
        r = pidfd_pid(pidfd, &pid);
        if (r < 0)
                return error_set(err, ERROR_INVALID, "pidfd is no descriptor of a process");
        r = process_start(pid, &start);
        if (r >= 0)
                r = process_uid(pid, &uid);
        /* Read first, then seen alive: so it was this process that was read. */
        if (process_has_ended(pidfd))
                return error_set(err, ERROR_INVALID, "The process behind pidfd has ended");
        if (r < 0 && !c->may_manage_others)
                return error_set(err, ERROR_NOT_AUTHORIZED,
                                 "Process %u cannot be proven to be the caller's: %s", pid,
                                 strerrordesc_np(-r));
        if (r >= 0 && !c->may_manage_others && uid != c->uid &&
            (declared == UID_UNSET || uid != declared))
                return error_set(err, ERROR_NOT_AUTHORIZED,
                                 "Process %u belongs to uid %u, neither the caller nor the "
                                 "declared user",
                                 pid, (unsigned) uid);
        *ret_pid = pid;
        *ret_start = start;
        return 0;
}

int engine_restore_fd(Engine *e, const char *name, int fd) {
        _cleanup_free_ char *copy = NULL;

        assert(e);
        assert(name);
        assert(fd >= 0);
        copy = strdup(name);
        if (!copy || ARRAY_RESERVE_ONE(e->restored, e->n_restored, e->restored_allocated) < 0) {
                (void) safe_close(fd);
                return -ENOMEM;
        }
        e->restored[e->n_restored++] = (struct RestoredFd) { .name = TAKE_PTR(copy), .fd = fd };
        return 0;
}

int engine_take_restored_fd(Engine *e, const char *id) {
        for (size_t i = 0; i < e->n_restored; i++)
                if (streq(e->restored[i].name, id))
                        return TAKE_FD(e->restored[i].fd);
        return -EBADF;
}

int owner_restore(Engine *e, Assignment *a) {
        uint64_t start;
        uint32_t pid;

        assert(e);
        assert(a);
        a->pidfd = engine_take_restored_fd(e, a->id);
        if (a->pidfd >= 0 && pidfd_pid(a->pidfd, &pid) < 0)
                a->pidfd = safe_close(a->pidfd);
        if (a->pidfd < 0 && a->pid > 0) {
                a->pidfd = (int) syscall(SYS_pidfd_open, (pid_t) a->pid, 0);
                if (a->pidfd >= 0 && (process_start(a->pid, &start) < 0 || start != a->pid_start))
                        a->pidfd = safe_close(a->pidfd); /* another process has the number now */
                if (a->pidfd < 0)
                        a->pidfd = -EBADF;
        }
        if (a->pidfd < 0 && a->pid > 0) {
                process_ended(e, a);
                return 0;
        }
        return owner_watch(e, a);
}
