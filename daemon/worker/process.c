/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PROCESS: what an owner's process needs from root. The process is named by a pidfd alone.
 * RLIMIT_MEMLOCK is only ever raised. prlimit(2) takes a number, so the process is looked at
 * through the pidfd before and after: a number that was used anew in between is told as a failure.
 */

#include <assert.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/resource.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/worker.h"

static int pidfd_to_pid(int pidfd, pid_t *ret) {
        _cleanup_free_ char *text = NULL;
        char path[64], *line;
        uint32_t pid;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        r = read_file_at(-EBADF, path, 4096, &text, NULL);
        if (r < 0)
                return r;
        line = strstr(text, "\nPid:");
        if (!line)
                return -EBADF; /* no pidfd */
        line += strlen("\nPid:");
        line[strcspn(line, "\n")] = 0;
        if (parse_u32(string_strip(line), 10, INT32_MAX, &pid) < 0)
                return -ESRCH; /* -1: it has ended, or stands in another namespace */
        *ret = (pid_t) pid;
        return pid > 0 ? 0 : -ESRCH;
}

static int raise_memlock(int pidfd, uint64_t bytes) {
        struct rlimit old, new;
        pid_t pid;
        int r;

        r = pidfd_to_pid(pidfd, &pid);
        if (r < 0)
                return r;
        if (pidfd_send_signal(pidfd, 0, NULL, 0) < 0 && errno == ESRCH)
                return -ESRCH;
        if (prlimit(pid, RLIMIT_MEMLOCK, NULL, &old) < 0)
                return -errno;
        new.rlim_cur = MAX(old.rlim_cur, (rlim_t) bytes);
        new.rlim_max = MAX(old.rlim_max, (rlim_t) bytes);
        if (prlimit(pid, RLIMIT_MEMLOCK, &new, NULL) < 0)
                return -errno;
        return pidfd_send_signal(pidfd, 0, NULL, 0) < 0 && errno == ESRCH ? -ESRCH : 0;
}

void worker_process(Worker *w, const HostRequest *request) {
        int r = 0;

        assert(w);
        if (request->pidfd < 0) {
                worker_finish_simple(w, -EBADF, "act on a process");
                return;
        }
        if (request->memlock > 0)
                r = raise_memlock(request->pidfd, request->memlock);
        if (r < 0) {
                worker_finish_simple(w, r, "raise the locked memory limit of the process");
                return;
        }
        if (request->signal > 0 && pidfd_send_signal(request->pidfd, request->signal, NULL, 0) < 0)
                r = -errno;
        worker_finish_simple(w, r, "send a signal to the process");
}
