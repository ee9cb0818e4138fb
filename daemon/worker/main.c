/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pciassign-worker: serves one connection of the daemon on descriptor 3, request by request, and
 * ends when it closes. It starts by closing every descriptor that it was not given: an inherited
 * VFIO descriptor would keep a device open against the very unbind that is done here. The caller
 * must be root or the owner of the runtime directory.
 */

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/log.h"
#include "base/names.h"
#include "worker/hook.h"
#include "worker/worker.h"

#define SOCKET_FD 3

static int check_peer(Worker *w) {
        struct ucred peer;
        socklen_t n = sizeof(peer), k = sizeof(int);
        struct stat st;
        int type;

        if (getsockopt(w->socket, SOL_SOCKET, SO_TYPE, &type, &k) < 0)
                return -errno;
        if (type != SOCK_SEQPACKET)
                return -EPROTOTYPE;
        if (getsockopt(w->socket, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
                return -errno;
        w->daemon = peer.uid;
        if (peer.uid == 0 || peer.uid == geteuid())
                return 0;
        return stat(w->runtime_dir, &st) >= 0 && st.st_uid == peer.uid ? 0 : -EPERM;
}

static void serve(Worker *w, const HostRequest *r) {
        switch (r->type) {
        case HOST_REQUEST_READ:
                worker_read(w, r);
                break;
        case HOST_REQUEST_PLAN:
                worker_plan(w, r->plan, r->plan_recovery);
                break;
        case HOST_REQUEST_OPEN:
                worker_open(w, r);
                break;
        case HOST_REQUEST_SNAPSHOT:
                worker_snapshot(w, r);
                break;
        case HOST_REQUEST_PLATFORM:
                worker_platform(w);
                break;
        case HOST_REQUEST_PREPARE:
                worker_prepare(w, r->modules);
                break;
        case HOST_REQUEST_PROCESS:
                worker_process(w, r);
                break;
        case _HOST_REQUEST_TYPE_MAX:
                break;
        }
}

static int on_hello(Worker *w, const ProtocolMessage *m) {
        Decoder d = DECODER(m->payload, m->size);
        uint32_t version = decode_u32(&d);

        /* Ours is said even if it is another one, so that the daemon can tell why. */
        encode_u32(&w->encoder, PROTOCOL_VERSION);
        worker_send(w, PROTOCOL_HELLO, NULL, 0);
        return version == PROTOCOL_VERSION ? 0 : -EPROTONOSUPPORT;
}

static int on_request(Worker *w, const ProtocolMessage *m) {
        _cleanup_(protocol_request_done) ProtocolRequest request = {};
        Decoder d = DECODER(m->payload, m->size);
        int r;

        r = decode_request(&d, m->fds, m->n_fds, &request);
        if (r < 0)
                return r;
        w->cancelled = false;
        serve(w, &request.request);
        w->critical = critical_free(w->critical); /* the host changes between requests */
        return 0;
}

static int run(Worker *w) {
        bool greeted = false;

        while (!w->gone) {
                _cleanup_(protocol_message_done) ProtocolMessage m = {};
                int r = protocol_receive(w->socket, &m);

                if (r <= 0)
                        return r;
                if (!greeted && m.type != PROTOCOL_HELLO)
                        return -EPROTO;
                greeted = true;
                if (m.type == PROTOCOL_HELLO)
                        r = on_hello(w, &m);
                else if (m.type == PROTOCOL_REQUEST)
                        r = on_request(w, &m);
                else
                        r = m.type == PROTOCOL_CANCEL
                                    ? 0
                                    : -EPROTO; /* it came too late: nothing is at work */
                if (r < 0)
                        return r;
        }
        return 0;
}

static int parse_arguments(int argc, char **argv, const char **ret_root, bool *ret_hook,
                           Worker *w) {
        static const struct option options[] = {
                { "root", required_argument, NULL, 'r' },
                { "runtime-dir", required_argument, NULL, 'd' },
                { "worker-dir", required_argument, NULL, 'w' },
                { "state-dir", required_argument, NULL, 's' },
                { "hook-service", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, 'V' },
                {},
        };

        for (;;) {
                switch (getopt_long(argc, argv, "", options, NULL)) {
                case -1:
                        return optind == argc ? 1 : -EINVAL;
                case 'r':
                        *ret_root = optarg;
                        break;
                case 'd':
                        w->runtime_dir = optarg;
                        break;
                case 'w':
                        w->worker_dir = optarg;
                        break;
                case 's':
                        w->state_dir = optarg;
                        break;
                case 'h':
                        *ret_hook = true;
                        break;
                case 'V':
                        (void) printf("%s\n", PACKAGE_STRING);
                        return 0;
                default:
                        return -EINVAL;
                }
        }
}

int main(int argc, char **argv) {
        const int keep[] = { SOCKET_FD };
        Worker w = { .tree = SYS_TREE_INIT,
                     .socket = SOCKET_FD,
                     .runtime_dir = RUNTIME_DIR,
                     .worker_dir = WORKER_DIR,
                     .state_dir = STATE_DIR };
        const char *root = "/";
        bool hook = false;
        int r;

        log_set_program("pciassign-worker");
        r = parse_arguments(argc, argv, &root, &hook, &w);
        if (r <= 0)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        r = close_all_except(keep, ELEMENTSOF(keep));
        if (r < 0) {
                log_error_errno(r, "Cannot close inherited descriptors: %m");
                return EXIT_FAILURE;
        }
        (void) sigaction(SIGPIPE, &(struct sigaction) { .sa_handler = SIG_IGN }, NULL);
        r = check_peer(&w);
        if (r < 0) {
                log_error_errno(r, "Descriptor 3 is no connection of the daemon: %m");
                return EXIT_FAILURE;
        }
        (void) fd_set_cloexec(SOCKET_FD, true); /* a module loader must not inherit it */
        (void) fcntl(SOCKET_FD, F_SETFL, 0);
        r = sys_tree_open(root, &w.tree);
        if (r >= 0)
                r = hook ? hook_serve(&w) : run(&w);
        if (r < 0)
                log_error_errno(r, "Worker ends: %m");
        encoder_done(&w.encoder);
        sys_tree_done(&w.tree);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
