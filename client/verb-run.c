/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * run: a process assignment around a virtual machine monitor. The child is made first and waits on
 * a socket, because the assignment is for its pidfd; when the devices are ready it gets the go with
 * the descriptors, drops its privileges and executes the command. So the assignment ends with the
 * monitor, however that ends and whatever becomes of us. We close every descriptor that we passed
 * on: a copy here would make the device look held.
 *
 * open: descriptors of an assignment that is there already, for a command that takes our place.
 */

#include "verbs.h"

#include <sys/socket.h>

#include "assign-call.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "devices.h"
#include "follow.h"
#include "open-call.h"
#include "process.h"

#define EXIT_CANNOT_EXECUTE 126
#define EXIT_NO_COMMAND 127

typedef struct Runner {
        const Arguments *arguments;
        sd_bus *bus;
        Identity identity;
        unsigned kinds;
        Launch launch;
        pid_t child;
        int pidfd, socket;
        char *assignment; /* path */
        char *what;
} Runner;

/* ---- the child ---- */

static _Noreturn void child_main(const Arguments *a, const Identity *identity, int socket) {
        Launch l = {};
        int fds[LAUNCH_FDS_MAX], error;
        size_t n_fds = LAUNCH_FDS_MAX;

        /* End of stream: the devices could not be had. */
        if (message_receive(socket, &l, sizeof(l), fds, &n_fds, NULL) != (ssize_t) sizeof(l) ||
            n_fds != l.n_fds)
                _exit(EXIT_FAILED);
        for (size_t i = 0; i < n_fds; i++)
                l.fds[i].fd = fds[i];
        error = launch_exec(&l, identity, a->command);
        (void) message_send(socket, &error, sizeof(error), NULL,
                            0); /* the parent sees our exit code in any case */
        _exit(error == -ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_EXECUTE);
}

static int start_child(Runner *x) {
        int pair[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
                return complain(EXIT_FAILED, "%s: %m", x->what);
        x->child = fork();
        if (x->child == 0) {
                (void) close(pair[0]);
                child_main(x->arguments, &x->identity, pair[1]);
        }
        (void) close(pair[1]);
        x->socket = pair[0];
        if (x->child < 0)
                return complain(EXIT_FAILED, "%s: %m", x->what);
        x->pidfd = process_pidfd(x->child);
        return x->pidfd < 0 ? complain_errno(EXIT_FAILED, -x->pidfd, "%s: pidfd_open: %m", x->what)
                            : 0;
}

/* The go. What was passed on is closed here. */
static int release_child(Runner *x) {
        int fds[LAUNCH_FDS_MAX], error;
        ssize_t n;

        for (uint32_t i = 0; i < x->launch.n_fds; i++)
                fds[i] = x->launch.fds[i].fd;
        n = message_send(x->socket, &x->launch, sizeof(x->launch), fds, x->launch.n_fds);
        launch_close(&x->launch);
        if (n < 0)
                return complain_errno(EXIT_FAILED, (int) -n, "%s: the child is gone: %m", x->what);
        /* The socket closes when the command is executed; before that comes why it could not be. */
        n = message_receive(x->socket, &error, sizeof(error), NULL, &(size_t) { 0 }, NULL);
        if (n == sizeof(error))
                return complain_errno(error == -ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_EXECUTE,
                                      -error, "cannot execute %s: %m",
                                      escaped(x->arguments->command[0]));
        return 0;
}

/* ---- devices ---- */

static int resolve_devices(Runner *x, char *const *words, size_t n) {
        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ char *path = NULL;
                _cleanup_json_ Json *device = NULL;
                int r = client_find_device(x->bus, words[i], &path);

                if (r == 0)
                        r = client_get_all(x->bus, path, BUS_INTERFACE_DEVICE, x->what, &device);
                if (r > 0)
                        return r;
                if (!string_copy(x->launch.addresses[i], PCI_ADDRESS_MAX,
                                 member_string(device, "Address")))
                        return client_broken(-EBADMSG, x->what);
                x->launch.n_addresses++;
        }
        return 0;
}

static int assign(Runner *x) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        Arguments a = *x->arguments;
        AssignExtra extra = { .lifetime = "process",
                              .pidfd = x->pidfd,
                              .by_node = !LAUNCH_WANTS_FDS(x->kinds),
                              .no_wait = follow_is_wanted(&a) };
        const char *assignment, *job;
        int r;

        if (extra.by_node && !a.has_uid) { /* the node is the monitor's, which runs as we do */
                a.has_uid = true;
                a.uid = getuid();
        }
        r = assign_new_call(x->bus, "Assign", &a, a.words, &extra, &call);
        if (r == 0)
                r = client_call(x->bus, call, x->what, &reply);
        if (r > 0)
                return r;
        r = sd_bus_message_read(reply, "oo", &assignment, &job);
        if (r < 0)
                return client_broken(r, x->what);
        x->assignment = strdup(assignment);
        if (!x->assignment)
                output_out_of_memory();
        return follow_job(x->bus, job, x->what);
}

static int prepare(Runner *x) {
        int r = resolve_devices(x, x->arguments->words, x->arguments->n_words);

        if (r == 0)
                r = start_child(x);
        if (r == 0)
                r = assign(x);
        if (r == 0 && LAUNCH_WANTS_FDS(x->kinds))
                r = open_call(x->bus, x->arguments, x->assignment, x->kinds, x->what, &x->launch);
        return r;
}

/* ---- while it runs ---- */

static int wait_for_child(Runner *x, int signal_fd) {
        int r = process_wait(x->child, x->pidfd, signal_fd);

        x->child = 0;
        return r < 0 ? complain_errno(EXIT_FAILED, -r, "%s: waiting for the command: %m", x->what)
                     : r;
}

/* The child's end has made the daemon release already; this waits until the host has its devices
 * back. */
static void release_and_wait(Runner *x) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        const char *job;

        if (!x->assignment ||
            client_new_call(x->bus, x->assignment, BUS_INTERFACE_ASSIGNMENT, "Release", &call) >
                    0 ||
            sd_bus_message_append(call, "a{sv}", 0) < 0)
                return;
        if (client_call_unless_gone(x->bus, call, x->what, &reply) == 0 && reply &&
            sd_bus_message_read(reply, "o", &job) >= 0)
                (void) follow_job(x->bus, job,
                                  x->what); /* it complains; the exit code is the child's */
}

static int run(Runner *x) {
        _cleanup_close_ int signal_fd = -EBADF;
        int r = prepare(x), failed;

        if (r == 0) {
                signal_fd = signals_catch();
                if (signal_fd < 0)
                        r = complain_errno(EXIT_FAILED, -signal_fd, "%s: %m", x->what);
        }
        failed = r == 0 ? release_child(x) : r;
        x->socket = safe_close(x->socket); /* a child that waits for the go sees the end and goes */
        launch_close(&x->launch);
        if (x->child > 0) {
                r = wait_for_child(x, signal_fd);
                failed = failed ?: r;
        }
        release_and_wait(x);
        return failed;
}

int verb_run(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        Runner x = { .arguments = a, .pidfd = -EBADF, .socket = -EBADF };
        int r;

        if (!a->command || !a->command[0])
                return complain(2, "run wants a command: pciassignctl run DEVICE… -- COMMAND…");
        if (a->n_words > LAUNCH_DEVICES_MAX)
                return complain(2, "run takes at most %u devices", LAUNCH_DEVICES_MAX);
        r = launch_scan(a->command, a->n_words, &x.kinds);
        if (r == 0)
                r = identity_resolve(a, &x.identity);
        if (r == 0)
                r = client_connect(a, &bus);
        if (r > 0)
                return r;
        x.bus = bus;
        x.what = describe_words("run", a->words, a->n_words);
        r = run(&x);
        (void) safe_close(x.pidfd);
        (void) safe_close(x.socket);
        free(x.assignment);
        free(x.what);
        return r;
}

/* ---- open ---- */

static int list_assignment_devices(Runner *x) {
        _cleanup_json_ Json *properties = NULL;
        const Json *devices;
        int r = client_get_all(x->bus, x->assignment, BUS_INTERFACE_ASSIGNMENT, x->what,
                               &properties);

        if (r > 0)
                return r;
        devices = json_get(properties, "Devices");
        for (size_t i = 0; i < json_length(devices) && i < LAUNCH_DEVICES_MAX;
             i++, x->launch.n_addresses++)
                if (!string_copy(x->launch.addresses[i], PCI_ADDRESS_MAX,
                                 strempty(json_string(json_at(devices, i)))))
                        return client_broken(-EBADMSG, x->what);
        return 0;
}

static int open_and_execute(Runner *x) {
        const Arguments *a = x->arguments;
        int r = client_find_assignment(x->bus, a->words[0], &x->assignment);

        if (r == 0)
                r = a->n_words > 1 ? resolve_devices(x, a->words + 1, a->n_words - 1)
                                   : list_assignment_devices(x);
        if (r == 0)
                r = launch_scan(a->command, x->launch.n_addresses, &x->kinds);
        if (r == 0)
                r = identity_resolve(a, &x->identity);
        if (r == 0)
                r = open_call(x->bus, a, x->assignment, x->kinds, x->what, &x->launch);
        if (r > 0)
                return r;
        (void) fflush(stdout); /* nothing was printed */
        r = launch_exec(&x->launch, &x->identity, a->command);
        return complain_errno(r == -ENOENT ? EXIT_NO_COMMAND : EXIT_CANNOT_EXECUTE, -r,
                              "cannot execute %s: %m", escaped(a->command[0]));
}

int verb_open(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        Runner x = { .arguments = a, .pidfd = -EBADF, .socket = -EBADF };
        int r;

        if (!a->command || !a->command[0])
                return complain(2,
                                "open wants a command: pciassignctl open ASSIGNMENT -- COMMAND…");
        r = client_connect(a, &bus);
        if (r > 0)
                return r;
        x.bus = bus;
        x.what = describe_words("open", a->words, 1);
        r = open_and_execute(&x);
        launch_close(&x.launch);
        free(x.assignment);
        free(x.what);
        return r;
}
