/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sim run: a directory of its own, in it a private dbus-daemon and a pciassignd over a simulated
 * machine, and a command whose DBUS_SYSTEM_BUS_ADDRESS leads there. All of it ends with the
 * command; if we are killed, the kernel ends the other two. Nothing of the host's own bus or state
 * is touched.
 */

#include "sim.h"

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "process.h"

#define START_TIMEOUT_MSEC 60000

typedef struct Child {
        pid_t pid;
        int pidfd;
} Child;

typedef struct Sim {
        char *dir, *address, *daemon, *host;
        Child bus, service;
        int notify; /* socket of the service's READY=1 */
} Sim;

/* What dbus-daemon is told: one socket, everybody of this user may do everything. */
static const char bus_config[] =
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
        " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
        "<busconfig>\n"
        "  <type>session</type>\n"
        "  <listen>unix:path=%s/bus</listen>\n"
        "  <auth>EXTERNAL</auth>\n"
        "  <policy context=\"default\">\n"
        "    <allow user=\"*\"/>\n"
        "    <allow send_destination=\"*\"/>\n"
        "    <allow receive_sender=\"*\"/>\n"
        "    <allow own=\"*\"/>\n"
        "  </policy>\n"
        "</busconfig>\n";

static char *in_dir(const Sim *s, const char *name) {
        char *path = strjoinf("%s/%s", s->dir, name);

        if (!path)
                output_out_of_memory();
        return path;
}

/* ---- processes ---- */

/* In a new process: its own session, so that the terminal's Ctrl-C is the command's alone; gone
 * when we are. */
static void become_helper(int output) {
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        signals_restore();
        if (setsid() < 0 || prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || null < 0 ||
            dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
            dup2(output, STDERR_FILENO) < 0)
                _exit(126);
}

/* Only the service is to say when it is ready: dbus-daemon would, too. */
static int set_notify_socket(const Sim *s, const Child *c) {
        _cleanup_free_ char *notify = in_dir(s, "notify");

        return c == &s->service ? setenv("NOTIFY_SOCKET", notify, 1) : unsetenv("NOTIFY_SOCKET");
}

static int spawn(const Sim *s, char *const *argv, const char *log_name, Child *ret) {
        _cleanup_free_ char *log = in_dir(s, log_name);
        _cleanup_close_ int output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        pid_t pid;

        if (output < 0)
                return complain(EXIT_FAILED, "%s: %m", log);
        pid = fork();
        if (pid < 0)
                return complain(EXIT_FAILED, "fork: %m");
        if (pid == 0) {
                become_helper(output);
                if (set_notify_socket(s, ret) >= 0)
                        (void) execvp(argv[0], argv); /* returns only if it failed */
                (void) fprintf(stderr, "%s: %m\n", argv[0]);
                _exit(127);
        }
        ret->pid = pid;
        ret->pidfd = process_pidfd(pid);
        return ret->pidfd < 0 ? complain_errno(EXIT_FAILED, -ret->pidfd, "pidfd_open: %m") : 0;
}

static void end_child(Child *c) {
        siginfo_t info;

        if (c->pid <= 0)
                return;
        (void) kill(c->pid, SIGTERM); /* it may have ended */
        while (waitid(P_PID, (id_t) c->pid, &info, WEXITED) < 0 && errno == EINTR)
                ;
        c->pidfd = safe_close(c->pidfd);
        c->pid = 0;
}

static void print_log(const Sim *s, const char *name) {
        _cleanup_free_ char *path = in_dir(s, name), *text = NULL;
        size_t n;

        if (read_file_at(AT_FDCWD, path, 1 << 20, &text, &n) >= 0 && n > 0)
                (void) fputs(text, stderr); /* our own programs' words */
}

/* Until fd can be read. What writes to it is the child; if that ends first, its log says why. */
static int wait_readable(const Sim *s, int fd, const Child *c, const char *program,
                         const char *log) {
        struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
                                { .fd = c->pidfd, .events = POLLIN } };
        int r;

        do
                r = poll(fds, ELEMENTSOF(fds), START_TIMEOUT_MSEC);
        while (r < 0 && errno == EINTR);
        if (r > 0 && (fds[0].revents & POLLIN))
                return 0;
        print_log(s, log);
        return complain(EXIT_UNREACHABLE, "%s %s", program,
                        r > 0 ? "did not start" : "did not become ready in a minute");
}

/* ---- bus and service ---- */

static int write_bus_config(const Sim *s, char **ret_path) {
        _cleanup_free_ char *path = in_dir(s, "bus.conf"), *text = strjoinf(bus_config, s->dir);
        int r;

        if (!text)
                output_out_of_memory();
        r = write_file_atomic_at(AT_FDCWD, path, text, strlen(text), 0600, false);
        if (r < 0)
                return complain_errno(EXIT_FAILED, -r, "%s: %m", path);
        *ret_path = TAKE_PTR(path);
        return 0;
}

static int start_bus(Sim *s) {
        _cleanup_free_ char *config = NULL, *option = NULL, *print = NULL;
        _cleanup_close_ int from = -EBADF, to = -EBADF;
        int pipe_fds[2], r = write_bus_config(s, &config);

        if (r > 0)
                return r;
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return complain(EXIT_FAILED, "pipe: %m");
        from = pipe_fds[0];
        to = pipe_fds[1];
        if (fd_set_cloexec(to, false) < 0)
                return complain(EXIT_FAILED, "fcntl: %m");
        option = strjoinf("--config-file=%s", config);
        print = strjoinf("--print-address=%d", to);
        s->address = strjoinf("unix:path=%s/bus", s->dir);
        if (!option || !print || !s->address)
                output_out_of_memory();
        r = spawn(s,
                  (char *const[]){ (char *) "dbus-daemon", option, print, (char *) "--nofork",
                                   (char *) "--nopidfile", (char *) "--nosyslog", NULL },
                  "dbus-daemon.log", &s->bus);
        to = safe_close(to);
        return r > 0 ? r
                     : wait_readable(s, from, &s->bus, "dbus-daemon (package dbus-daemon)",
                                     "dbus-daemon.log");
}

static int open_notify(Sim *s) {
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        _cleanup_free_ char *path = in_dir(s, "notify");

        if (!string_copy(sa.sun_path, sizeof(sa.sun_path), path))
                return complain(EXIT_FAILED, "%s: the path is too long for a socket; set TMPDIR",
                                path);
        s->notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (s->notify < 0 || bind(s->notify, (const struct sockaddr *) &sa, sizeof(sa)) < 0)
                return complain(EXIT_FAILED, "%s: %m", path);
        return 0;
}

static int wait_ready(const Sim *s) {
        for (;;) {
                char text[1024];
                ssize_t n;
                int r = wait_readable(s, s->notify, &s->service, "pciassignd", "pciassignd.log");

                if (r > 0)
                        return r;
                n = recv(s->notify, text, sizeof(text) - 1, MSG_DONTWAIT);
                if (n < 0)
                        continue;
                text[n] = 0;
                if (strncmp(text, "READY=1", 7) == 0 || strstr(text, "\nREADY=1"))
                        return 0;
        }
}

static int start_service(Sim *s) {
        _cleanup_free_
        char *simulate = strjoinf("--simulate=%s", s->host),
             *bus = strjoinf("--bus=%s", s->address),
             *runtime = strjoinf("--runtime-dir=%s/run", s->dir),
             *state = strjoinf("--state-dir=%s/state", s->dir),
             *config = strjoinf("--config-root=%s", s->dir), *run_dir = in_dir(s, "run"),
             *state_dir = in_dir(s, "state");
        int r = open_notify(s);

        if (r > 0)
                return r;
        if (!simulate || !bus || !runtime || !state || !config)
                output_out_of_memory();
        if (mkdir(run_dir, 0700) < 0 || mkdir(state_dir, 0700) < 0)
                return complain(EXIT_FAILED, "%s: %m", s->dir);
        r = spawn(s, (char *const[]){ s->daemon, simulate, bus, runtime, state, config, NULL },
                  "pciassignd.log", &s->service);
        return r > 0 ? r : wait_ready(s);
}

/* ---- the command ---- */

/* The directory that we were executed from; "" if it cannot be told. */
static void own_directory(char *buffer, size_t size) {
        char *slash;

        if (readlink_at(AT_FDCWD, "/proc/self/exe", buffer, size) < 0)
                buffer[0] = 0;
        slash = strrchr(buffer, '/');
        if (slash)
                *slash = 0;
}

char *client_find_daemon(const Arguments *a) {
        char own[PATH_MAX];
        char *s;

        if (a->daemon)
                s = strdup(a->daemon);
        else {
                own_directory(own, sizeof(own));
                s = strjoinf("%s/pciassignd", own);
                if (s && access(s, X_OK) < 0) {
                        free(s);
                        s = strdup(PKGLIBEXECDIR "/pciassignd");
                }
        }
        if (!s)
                output_out_of_memory();
        return s;
}

static void set_environment(const Sim *s) {
        char own[PATH_MAX];
        _cleanup_free_ char *path = NULL;

        own_directory(own, sizeof(own));
        path = strjoinf("%s:%s", own, getenv("PATH") ?: "/usr/bin:/bin");
        if (!path || setenv("DBUS_SYSTEM_BUS_ADDRESS", strempty(s->address), 1) < 0 ||
            setenv("PATH", path, 1) < 0 || setenv("PCIASSIGN_SIM_DIR", s->dir, 1) < 0)
                _exit(126);
}

static int run_command(const Arguments *a, const Sim *s, int signal_fd) {
        char *const shell[] = { getenv("SHELL") ?: (char *) "/bin/sh", NULL };
        char *const *argv = a->command && a->command[0] ? a->command : shell;
        _cleanup_close_ int pidfd = -EBADF;
        pid_t pid = fork();
        int r;

        if (pid < 0)
                return complain(EXIT_FAILED, "fork: %m");
        if (pid == 0) {
                signals_restore();
                set_environment(s);
                (void) execvp(argv[0], argv); /* returns only if it failed */
                _exit(complain(errno == ENOENT ? 127 : 126, "cannot execute %s: %m",
                               escaped(argv[0])));
        }
        pidfd = process_pidfd(pid);
        r = pidfd < 0 ? pidfd : process_wait(pid, pidfd, signal_fd);
        return r < 0 ? complain_errno(EXIT_FAILED, -r, "waiting for the command: %m") : r;
}

static int remove_one(const char *path, const struct stat *st _unused_, int flag _unused_,
                      struct FTW *ftw _unused_) {
        return remove(path);
}

static int make_dir(Sim *s) {
        s->dir = strjoinf("%s/pciassign-sim-XXXXXX", getenv("TMPDIR") ?: "/tmp");
        if (!s->dir)
                output_out_of_memory();
        if (!mkdtemp(s->dir))
                return complain(EXIT_FAILED, "%s: %m", escaped(s->dir));
        return 0;
}

int sim_run(const Arguments *a, const char *host) {
        Sim s = { .bus.pidfd = -EBADF, .service.pidfd = -EBADF, .notify = -EBADF };
        _cleanup_close_ int signal_fd = -EBADF;
        int r;

        s.host = realpath(host, NULL);
        if (!s.host)
                return complain(errno == ENOENT ? EXIT_NOT_FOUND : EXIT_FAILED, "%s: %m",
                                escaped(host));
        s.daemon = client_find_daemon(a);
        r = make_dir(&s);
        if (r == 0) {
                signal_fd = signals_catch();
                if (signal_fd < 0)
                        r = complain_errno(EXIT_FAILED, -signal_fd, "signals: %m");
        }
        if (r == 0)
                r = start_bus(&s);
        if (r == 0)
                r = start_service(&s);
        if (r == 0)
                r = run_command(a, &s, signal_fd);
        end_child(&s.service);
        end_child(&s.bus);
        (void) safe_close(s.notify);
        if (s.dir)
                (void) nftw(s.dir, remove_one, 16,
                            FTW_DEPTH | FTW_PHYS); /* what stays is in a temporary directory */
        free(s.dir);
        free(s.address);
        free(s.daemon);
        free(s.host);
        return r;
}
