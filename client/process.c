/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Waits for a child by its pidfd. What the terminal sends reaches the whole foreground, the child
 * too, so it is not passed on; what somebody sent to us alone is.
 */

#include "process.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2 };

static sigset_t caught_set(void) {
        sigset_t s;

        (void) sigemptyset(&s); /* these cannot fail with valid arguments */
        for (size_t i = 0; i < ELEMENTSOF(caught); i++)
                (void) sigaddset(&s, caught[i]);
        return s;
}

int signals_catch(void) {
        sigset_t s = caught_set();
        int fd;

        if (sigprocmask(SIG_BLOCK, &s, NULL) < 0)
                return -errno;
        fd = signalfd(-1, &s, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

void signals_restore(void) {
        sigset_t s = caught_set();

        (void) sigprocmask(SIG_UNBLOCK, &s, NULL); /* cannot fail with valid arguments */
}

static void forward(int signal_fd, int pidfd) {
        struct signalfd_siginfo info;

        while (read(signal_fd, &info, sizeof(info)) == (ssize_t) sizeof(info))
                if (info.ssi_code != SI_KERNEL)
                        (void) syscall(SYS_pidfd_send_signal, pidfd, (int) info.ssi_signo, NULL,
                                       0); /* may have ended */
}

int process_wait(pid_t child, int pidfd, int signal_fd) {
        struct pollfd fds[] = {
                { .fd = pidfd, .events = POLLIN },
                { .fd = signal_fd, .events = POLLIN },
        };
        siginfo_t info = {};

        while (!(fds[0].revents & POLLIN)) {
                if (poll(fds, ELEMENTSOF(fds), -1) < 0 && errno != EINTR)
                        return -errno;
                if (fds[1].revents & POLLIN)
                        forward(signal_fd, pidfd);
        }
        if (waitid(P_PID, (id_t) child, &info, WEXITED) < 0)
                return -errno;
        return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

int process_pidfd(pid_t pid) {
        int fd = (int) syscall(SYS_pidfd_open, pid, 0);

        return fd < 0 ? -errno : fd;
}
