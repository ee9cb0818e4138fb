/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Running a hook. What is looked at before: the directory and the file are root's and nobody else
 * can write them, the file is a regular one and no link (but a link to /dev/null masks the hook of
 * a later directory). What the child gets: a user of its own without any privilege and no way to
 * gain one, limits on time, memory, processes and files, an empty environment, and three
 * descriptors. What it prints is read to the end but kept only in part, so that it can neither
 * block nor fill anything. Its whole process group ends with it, and so does what left the group:
 * this process is the reaper of orphans meanwhile.
 */

#include "worker/hook.h"

#include <assert.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strutil.h"

#define NOBODY 65534U
#define EXIT_NOT_MINE 2
#define EXIT_NO_EXEC 126
#define MEMORY_MAX (UINT64_C(16) << 30)
#define MEMLOCK_MAX (UINT64_C(64) << 20)
#define FILE_SIZE_MAX (UINT64_C(16) << 20)
#define FILES_MAX 64U
#define PROCESSES_MAX 256U
#define DRAIN_READS_MAX 32U /* more than a pipe holds */

void hook_result_done(HookResult *h) {
        assert(h);
        free(h->output);
        *h = (HookResult) {};
}

bool hook_name_is_valid(const char *name) {
        size_t n = name ? strlen(name) : 0;

        if (n == 0 || n > 64 || name[0] == '.')
                return false;
        for (size_t i = 0; i < n; i++)
                if (!(name[i] >= 'a' && name[i] <= 'z') && !(name[i] >= 'A' && name[i] <= 'Z') &&
                    !(name[i] >= '0' && name[i] <= '9') && !strchr("-_.", name[i]))
                        return false;
        return true;
}

void hook_user(const Worker *w, uid_t *ret_uid, gid_t *ret_gid) {
        const struct passwd *p;

        assert(w);
        *ret_uid = HOOK_UID_UNCHANGED;
        *ret_gid = (gid_t) HOOK_UID_UNCHANGED;
        if (geteuid() != 0)
                return;
        p = getpwnam(HOOK_USER);
        *ret_uid = p && p->pw_uid != 0 ? p->pw_uid : NOBODY;
        *ret_gid = p && p->pw_uid != 0 ? p->pw_gid : NOBODY;
}

/* ---- its file ---- */

static bool is_roots_alone(const Worker *w, const struct stat *st) {
        bool owner = st->st_uid == 0 || (w->tree.made && st->st_uid == geteuid());

        return owner && !(st->st_mode & (S_IWGRP | S_IWOTH));
}

static int check_link(int directory, const char *name, HookResult *h) {
        char target[64];

        if (readlink_at(directory, name, target, sizeof(target)) < 0 || !streq(target, "/dev/null"))
                return -EPERM;
        h->masked = true;
        return 0;
}

static int check_file(const Worker *w, int directory, const char *name, HookResult *h) {
        struct stat st;

        if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        if (S_ISLNK(st.st_mode))
                return check_link(directory, name, h);
        if (!S_ISREG(st.st_mode) || !is_roots_alone(w, &st))
                return -EPERM;
        return st.st_mode & 0111 ? 0 : -ENOEXEC;
}

static int find_file(const Worker *w, const char *name, HookResult *h, char *path, size_t size) {
        static const char *const directories[] = { "etc/pciassignd/hooks.d",
                                                   "run/pciassignd/hooks.d",
                                                   "usr/lib/pciassignd/hooks.d" };

        for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
                _cleanup_close_ int fd = openat(w->tree.root, directories[i],
                                                O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                char link[64], where[512];
                struct stat st;
                int r;

                if (fd < 0 && errno == ENOENT)
                        continue;
                if (fd < 0 || fstat(fd, &st) < 0)
                        return -errno;
                r = check_file(w, fd, name, h);
                if (r == -ENOENT)
                        continue;
                if (r < 0 || h->masked)
                        return r;
                if (!is_roots_alone(w, &st))
                        return -EPERM;
                (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
                r = readlink_at(AT_FDCWD, link, where, sizeof(where));
                if (r < 0)
                        return r;
                return (size_t) snprintf(path, size, "%s/%s", where, name) < size ? 0
                                                                                  : -ENAMETOOLONG;
        }
        return -ENOENT;
}

/* ---- the child ---- */

static void limit(int resource, uint64_t n) {
        const struct rlimit l = { .rlim_cur = (rlim_t) n, .rlim_max = (rlim_t) n };

        (void) prlimit(0, (__rlimit_resource_t) resource, &l, NULL);
}

static void set_limits(uint32_t timeout_msec) {
        limit(RLIMIT_CORE, 0);
        limit(RLIMIT_CPU, timeout_msec / 1000 + 1);
        limit(RLIMIT_AS, MEMORY_MAX);
        limit(RLIMIT_MEMLOCK, MEMLOCK_MAX);
        limit(RLIMIT_NOFILE, FILES_MAX);
        limit(RLIMIT_FSIZE, FILE_SIZE_MAX);
        limit(RLIMIT_NPROC, PROCESSES_MAX);
}

static int drop_privileges(uid_t uid, gid_t gid) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                return -errno;
        if (uid == HOOK_UID_UNCHANGED)
                return 0;
        if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
                return -errno;
        return setuid(0) == 0 ? -EPERM : 0; /* the way back must be shut */
}

/* Only what may be called between fork and exec of a program with one thread. */
static _Noreturn void child(const char *path, const HookCall *call, int input, int output,
                            uid_t uid, gid_t gid) {
        char *const argv[] = { (char *) path, NULL };
        char *const environment[] = { (char *) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                                      (char *) "LANG=C.UTF-8", NULL };
        const struct sigaction standard = { .sa_handler = SIG_DFL };

        if (setsid() < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0 ||
            close_all_except(NULL, 0) < 0 || chdir("/") < 0)
                _exit(EXIT_NO_EXEC);
        (void) sigaction(SIGPIPE, &standard, NULL);
        (void) umask(0077);
        set_limits(call->timeout_msec);
        if (drop_privileges(uid, gid) < 0)
                _exit(EXIT_NO_EXEC);
        (void) execve(path, argv, environment);
        _exit(EXIT_NO_EXEC);
}

/* ---- its life ---- */

typedef struct Running {
        Worker *w;
        pid_t pid;
        int pidfd, input, output;
        const char *text; /* what is still to be written */
        size_t n_text;
        char kept[HOOK_OUTPUT_MAX];
        size_t n_kept;
        uint64_t n_dropped;
} Running;

static void running_done(Running *r) {
        (void) safe_close(r->pidfd);
        (void) safe_close(r->input);
        (void) safe_close(r->output);
}

static void feed(Running *r) {
        ssize_t n = write(r->input, r->text, r->n_text);

        if (n > 0) {
                r->text += n;
                r->n_text -= (size_t) n;
        }
        /* A hook need not read what it is told. */
        if (r->n_text == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
                r->input = safe_close(r->input);
}

static void listen_to(Running *r) {
        char bytes[4096];
        ssize_t n = read(r->output, bytes, sizeof(bytes));
        size_t keep;

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0) {
                r->output = safe_close(r->output);
                return;
        }
        keep = MIN((size_t) n, sizeof(r->kept) - r->n_kept);
        memcpy(r->kept + r->n_kept, bytes, keep);
        r->n_kept += keep;
        r->n_dropped += (size_t) n - keep;
}

/* 0: it ended by itself. */
static int attend(Running *r, usec_t until) {
        for (;;) {
                struct pollfd p[] = {
                        { .fd = r->pidfd, .events = POLLIN },
                        { .fd = r->output, .events = POLLIN },
                        { .fd = r->input, .events = POLLOUT },
                        { .fd = r->w->socket, .events = POLLIN },
                };
                usec_t now = now_boottime();

                if (now >= until)
                        return -ETIMEDOUT;
                if (poll(p, ELEMENTSOF(p), (int) ((until - now) / USEC_PER_MSEC) + 1) < 0 &&
                    errno != EINTR)
                        return -errno;
                if (p[1].revents)
                        listen_to(r);
                if (p[2].revents)
                        feed(r);
                if (p[3].revents && !worker_may_go_on(r->w))
                        return -ECANCELED;
                if (p[0].revents)
                        return 0;
        }
}

/* Those that left its process group are ours by now, since it was our child. */
static bool kill_orphans(void) {
        char path[64], text[1024], *save = NULL;
        bool any = false;

        (void) snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int) getpid());
        if (read_attr_at(AT_FDCWD, path, text, sizeof(text)) <= 0)
                return false;
        for (char *word = strtok_r(text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
                uint32_t pid;

                if (parse_u32(word, 10, INT32_MAX, &pid) < 0 || pid < 2)
                        continue;
                (void) kill((pid_t) pid, SIGKILL);
                any |= waitpid((pid_t) pid, NULL, 0) > 0;
        }
        return any;
}

static int end(Running *r) {
        int status = 0;

        (void) kill(-r->pid, SIGKILL);
        (void) kill(r->pid, SIGKILL);
        while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
                ;
        for (unsigned i = 0; i < PROCESSES_MAX * 2 && kill_orphans(); i++)
                ;
        return status;
}

static char *printable(const Running *r) {
        _cleanup_free_ char *copy = malloc(r->n_kept + 1), *escaped = NULL;
        size_t n = r->n_kept;

        if (!copy)
                return NULL;
        for (size_t i = 0; i < n; i++)
                copy[i] =
                        strchr("\n\t", r->kept[i]) ? ' ' : r->kept[i]; /* NUL becomes a blank too */
        copy[n] = 0;
        escaped = string_escape(string_strip(copy));
        if (!escaped || r->n_dropped == 0)
                return TAKE_PTR(escaped);
        return strjoinf("%s … (%llu bytes more)", escaped, (unsigned long long) r->n_dropped);
}

static int judge(int outcome, int status, HookResult *h) {
        h->status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
        if (outcome < 0)
                return outcome;
        if (WIFSIGNALED(status))
                return -EPIPE;
        if (h->status == EXIT_NO_EXEC)
                return -ENOEXEC;
        h->not_mine = h->status == EXIT_NOT_MINE;
        return h->status == 0 || h->not_mine ? 0 : -EACCES;
}

static int start(Running *r, const char *path, const HookCall *call) {
        int input[2], output[2];
        uid_t uid;
        gid_t gid;

        hook_user(r->w, &uid, &gid);
        if (pipe2(input, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        if (pipe2(output, O_CLOEXEC) < 0) {
                int e = errno;

                (void) close(input[0]);
                (void) close(input[1]);
                return -e;
        }
        (void) fcntl(input[0], F_SETFL, 0);
        (void) fcntl(output[0], F_SETFL, O_NONBLOCK);
        r->input = input[1];
        r->output = output[0];
        r->pid = fork();
        if (r->pid == 0)
                child(path, call, input[0], output[1], uid, gid);
        (void) close(input[0]);
        (void) close(output[1]);
        if (r->pid < 0)
                return -errno;
        r->pidfd = pidfd_open(r->pid, 0);
        return r->pidfd < 0 ? -errno : 0;
}

int hook_run(Worker *w, const HookCall *call, HookResult *ret) {
        _cleanup_(running_done)
                Running running = { .w = w, .pidfd = -EBADF, .input = -EBADF, .output = -EBADF };
        char path[1024];
        int r, status;

        assert(w);
        assert(call);
        assert(ret);
        if (!hook_name_is_valid(call->name))
                return -EINVAL;
        r = find_file(w, call->name, ret, path, sizeof(path));
        if (r < 0 || ret->masked)
                return r;
        if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return -errno;
        running.text = call->input;
        running.n_text = strlen(call->input);
        r = start(&running, path, call);
        if (r >= 0)
                r = attend(&running, now_boottime() + call->timeout_msec * USEC_PER_MSEC);
        if (running.pid <= 0)
                return r;
        /* What killing brings is not its own doing. */
        status = end(&running);
        for (unsigned i = 0; i < DRAIN_READS_MAX && running.output >= 0; i++)
                listen_to(&running);
        ret->output = printable(&running);
        return judge(r, status, ret);
}
