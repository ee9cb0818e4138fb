/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Hooks in a service of their own. The worker has no capability to change its user, and none that
 * a hook must not have: it asks the socket-activated pciassign-hook@.service, which is the same
 * program under the hooks' user in a narrower sandbox, and in whose control group everything that a
 * hook starts ends with it. One connection is one hook. Request, little-endian: u32 time limit in
 * ms, name with its NUL, the input to the end. Answer: i32 result, i32 status, u8 flags, output.
 */

#include <assert.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/clock.h"
#include "base/strutil.h"
#include "worker/hook.h"

#define SOCKET_NAME "hook.sock"
#define REQUEST_MAX (128U << 10)
#define ANSWER_HEAD 9U
#define ANSWER_MAX (ANSWER_HEAD + HOOK_OUTPUT_MAX * 5U) /* escaped */
#define TIMEOUT_MAX_MSEC (3600U * 1000U)
#define ANSWER_GRACE_MSEC 10000U /* start of the service, and the end of what a hook started */
#define FLAG_NOT_MINE 1U
#define FLAG_MASKED 2U

/* ---- the worker's side ---- */

static int connect_service(const Worker *w) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        int n;

        if (fd < 0)
                return -errno;
        n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/" SOCKET_NAME, w->worker_dir);
        if ((size_t) n >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0)
                return errno == ENOENT ? -EHOSTDOWN : -errno; /* ENOENT: there is no such hook */
        return TAKE_FD(fd);
}

static int send_request(int fd, const HookCall *call) {
        const uint32_t timeout = htole32(call->timeout_msec);
        struct iovec parts[] = {
                { (void *) &timeout, sizeof(timeout) },
                { (void *) call->name, strlen(call->name) + 1 },
                { (void *) call->input, strlen(call->input) },
        };
        const struct msghdr message = { .msg_iov = parts, .msg_iovlen = ELEMENTSOF(parts) };

        if (parts[1].iov_len + parts[2].iov_len + sizeof(timeout) > REQUEST_MAX)
                return -E2BIG;
        return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* Until it answers. A cancellation is passed on, and its answer waited for: by then nothing of the
 * hook is left. */
static int await_answer(Worker *w, int fd, usec_t until) {
        bool passed_on = false;

        for (;;) {
                struct pollfd p[] = { { .fd = fd, .events = POLLIN },
                                      { .fd = passed_on ? -1 : w->socket, .events = POLLIN } };
                usec_t now = now_boottime();

                if (now >= until)
                        return -ETIMEDOUT;
                if (poll(p, ELEMENTSOF(p), (int) ((until - now) / USEC_PER_MSEC) + 1) < 0 &&
                    errno != EINTR)
                        return -errno;
                if (p[0].revents)
                        return 0;
                if (p[1].revents && !worker_may_go_on(w)) {
                        (void) shutdown(fd, SHUT_WR);
                        passed_on = true;
                }
        }
}

static int take_answer(int fd, HookResult *ret) {
        _cleanup_free_ char *output = NULL;
        uint8_t bytes[ANSWER_MAX];
        uint32_t result, status;
        ssize_t n = recv(fd, bytes, sizeof(bytes), MSG_TRUNC);

        if (n < 0)
                return -errno;
        if (n == 0)
                return -EPIPE; /* the service was ended */
        if (n < (ssize_t) ANSWER_HEAD || n > (ssize_t) sizeof(bytes))
                return -EBADMSG;
        output = strndup((const char *) bytes + ANSWER_HEAD, (size_t) n - ANSWER_HEAD);
        if (!output)
                return -ENOMEM;
        memcpy(&result, bytes, sizeof(result));
        memcpy(&status, bytes + 4, sizeof(status));
        ret->status = (int32_t) le32toh(status);
        ret->not_mine = bytes[8] & FLAG_NOT_MINE;
        ret->masked = bytes[8] & FLAG_MASKED;
        free(ret->output);
        ret->output = string_escape(output); /* printable already, if it is who it says it is */
        return (int32_t) le32toh(result) <= 0 ? (int32_t) le32toh(result) : -EBADMSG;
}

int hook_ask(Worker *w, const HookCall *call, HookResult *ret) {
        _cleanup_close_ int fd = -EBADF;
        usec_t until;
        int r;

        assert(w);
        assert(call);
        assert(ret);
        if (!hook_name_is_valid(call->name))
                return -EINVAL;
        fd = connect_service(w);
        if (fd < 0)
                return fd;
        until = now_boottime() + (call->timeout_msec + ANSWER_GRACE_MSEC) * USEC_PER_MSEC;
        r = send_request(fd, call);
        if (r >= 0)
                r = await_answer(w, fd, until);
        return r < 0 ? r : take_answer(fd, ret);
}

/* ---- the service's side ---- */

static int send_answer(int fd, int result, const HookResult *h) {
        const uint32_t numbers[] = { htole32((uint32_t) result), htole32((uint32_t) h->status) };
        const uint8_t flags = (uint8_t) ((h->not_mine ? FLAG_NOT_MINE : 0) |
                                         (h->masked ? FLAG_MASKED : 0));
        const char *output = strempty(h->output);
        struct iovec parts[] = {
                { (void *) numbers, sizeof(numbers) },
                { (void *) &flags, sizeof(flags) },
                { (void *) output, strnlen(output, (size_t) ANSWER_MAX - ANSWER_HEAD) },
        };
        const struct msghdr message = { .msg_iov = parts, .msg_iovlen = ELEMENTSOF(parts) };

        return sendmsg(fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int hook_serve(Worker *w) {
        _cleanup_free_ char *request = malloc(REQUEST_MAX + 1);
        _cleanup_(hook_result_done) HookResult h = {};
        HookCall call = {};
        uint32_t timeout;
        size_t name;
        ssize_t n;

        assert(w);
        if (!request)
                return -ENOMEM;
        n = recv(w->socket, request, REQUEST_MAX, MSG_TRUNC);
        if (n <= 0)
                return n < 0 ? -errno : 0;
        if (n <= (ssize_t) sizeof(timeout) || n > (ssize_t) REQUEST_MAX)
                return -EBADMSG;
        request[n] = 0;
        memcpy(&timeout, request, sizeof(timeout));
        name = strlen(request + sizeof(timeout)) + 1;
        if (sizeof(timeout) + name > (size_t) n)
                return -EBADMSG;
        call = (HookCall) {
                .name = request + sizeof(timeout),
                .input = request + sizeof(timeout) + name,
                .timeout_msec = MIN(le32toh(timeout), TIMEOUT_MAX_MSEC),
        };
        return send_answer(w->socket, hook_run(w, &call, &h), &h);
}
