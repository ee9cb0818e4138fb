/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Messages on the wire, and requests. The reports' codec stands in protocol-report.c. Nothing
 * received is used before it was compared with its range: the daemon is less privileged than the
 * worker, but a broken worker must not break the daemon, and a broken daemon must not make a worker
 * do what no request can say.
 */

#include "host/protocol.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/strutil.h"

#define FLAG_MEMFD 1U

/* ---- messages ---- */

void protocol_message_done(ProtocolMessage *m) {
        assert(m);
        for (size_t i = 0; i < m->n_fds; i++)
                m->fds[i] = safe_close(m->fds[i]);
        free(m->buffer);
        *m = (ProtocolMessage) {};
}

static int payload_to_memfd(const Encoder *payload, int *ret) {
        _cleanup_close_
        int fd = memfd_create("pciassignd-message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = loop_write(fd, payload->data, payload->size);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        *ret = TAKE_FD(fd);
        return 0;
}

int protocol_send(int socket_fd, ProtocolType type, const Encoder *payload, const int *fds,
                  size_t n_fds) {
        int all[PROTOCOL_FDS_MAX + 1];
        _cleanup_close_ int memfd = -EBADF;
        _cleanup_free_ uint8_t *frame = NULL;
        size_t size = payload ? payload->size : 0, n_all = 0;
        bool large = size > PROTOCOL_INLINE_MAX;
        ssize_t n;
        int r;

        assert(fds || n_fds == 0);
        if (payload && payload->error < 0)
                return payload->error;
        if (n_fds > PROTOCOL_FDS_MAX || size > PROTOCOL_PAYLOAD_MAX)
                return -E2BIG;
        if (large) {
                r = payload_to_memfd(payload, &memfd);
                if (r < 0)
                        return r;
                all[n_all++] = memfd;
        }
        for (size_t i = 0; i < n_fds; i++)
                all[n_all++] = fds[i];
        frame = malloc(2 + (large ? 0 : size));
        if (!frame)
                return -ENOMEM;
        frame[0] = (uint8_t) type;
        frame[1] = large ? FLAG_MEMFD : 0;
        if (!large && size > 0)
                memcpy(frame + 2, payload->data, size);
        n = message_send(socket_fd, frame, 2 + (large ? 0 : size), all, n_all);
        if (n == -ECONNRESET)
                return -EPIPE;
        return n < 0 ? (int) n : 0;
}

static int payload_from_memfd(ProtocolMessage *m) {
        const int seals = F_SEAL_SHRINK | F_SEAL_WRITE;
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        ssize_t n;

        if (m->n_fds == 0)
                return -EBADMSG;
        fd = m->fds[0];
        m->n_fds--;
        memmove(m->fds, m->fds + 1, m->n_fds * sizeof(int));
        if ((fcntl(fd, F_GET_SEALS) & seals) != seals || fstat(fd, &st) < 0 || st.st_size < 0 ||
            st.st_size > (off_t) PROTOCOL_PAYLOAD_MAX)
                return -EBADMSG;
        free(m->buffer);
        m->buffer = malloc((size_t) st.st_size + 1);
        if (!m->buffer)
                return -ENOMEM;
        n = loop_pread(fd, m->buffer, (size_t) st.st_size, 0);
        if (n != st.st_size)
                return -EBADMSG;
        m->payload = m->buffer;
        m->size = (size_t) n;
        return 0;
}

int protocol_receive(int socket_fd, ProtocolMessage *ret) {
        _cleanup_(protocol_message_done) ProtocolMessage m = {};
        size_t n_fds = ELEMENTSOF(m.fds);
        struct ucred sender = {};
        ssize_t n;

        assert(ret);
        m.buffer = malloc(PROTOCOL_INLINE_MAX + 2);
        if (!m.buffer)
                return -ENOMEM;
        n = message_receive(socket_fd, m.buffer, PROTOCOL_INLINE_MAX + 2, m.fds, &n_fds, &sender);
        if (n == -ECONNRESET)
                return 0;
        if (n <= 0)
                return (int) n;
        m.n_fds = n_fds;
        if (n < 2 || m.buffer[0] >= _PROTOCOL_TYPE_MAX || m.buffer[1] & ~FLAG_MEMFD)
                return -EBADMSG;
        m.type = (ProtocolType) m.buffer[0];
        m.pid = (uint32_t) sender.pid;
        m.payload = m.buffer + 2;
        m.size = (size_t) n - 2;
        if (m.buffer[1] & FLAG_MEMFD) {
                int r = payload_from_memfd(&m);
                if (r < 0)
                        return r;
        }
        *ret = m;
        m = (ProtocolMessage) {};
        return 1;
}

/* ---- requests ---- */

void protocol_request_done(ProtocolRequest *r) {
        assert(r);
        r->plan = plan_free(r->plan);
        free(r->devices);
        free(r->groups);
        free(r->stuck);
        free(r->open_devices);
        strv_free(r->modules);
        *r = (ProtocolRequest) {};
}

#define HAS_CONTAINER 1U
#define HAS_IOMMUFD 2U
#define HAS_PIDFD 4U

size_t protocol_request_fds(const HostRequest *r, int fds[PROTOCOL_FDS_MAX]) {
        size_t n = 0;

        assert(r);
        if (r->type == HOST_REQUEST_OPEN && r->container_fd >= 0)
                fds[n++] = r->container_fd;
        if (r->type == HOST_REQUEST_OPEN && r->iommufd >= 0)
                fds[n++] = r->iommufd;
        if (r->type == HOST_REQUEST_PROCESS && r->pidfd >= 0)
                fds[n++] = r->pidfd;
        return n;
}

static void encode_stuck(Encoder *e, const HostRequest *r) {
        encode_u32(e, (uint32_t) r->n_stuck);
        for (size_t i = 0; i < r->n_stuck; i++)
                encode_address(e, r->stuck[i]);
}

static void encode_read(Encoder *e, const HostRequest *r) {
        encode_u32(e, r->what);
        encode_u32(e, (uint32_t) r->n_devices);
        for (size_t i = 0; i < r->n_devices; i++)
                encode_address(e, r->devices[i]);
        encode_u32(e, (uint32_t) r->n_groups);
        for (size_t i = 0; i < r->n_groups; i++)
                encode_u32(e, r->groups[i]);
        encode_stuck(e, r);
}

static void encode_open(Encoder *e, const HostRequest *r) {
        encode_u8(e, (uint8_t) r->api);
        encode_u8(e,
                  (r->container_fd >= 0 ? HAS_CONTAINER : 0) | (r->iommufd >= 0 ? HAS_IOMMUFD : 0));
        encode_u8(e, r->want_container);
        encode_u8(e, r->want_iommufd);
        encode_u8(e, r->want_groups);
        encode_u8(e, r->iommufd_rlimit_process);
        encode_u32(e, (uint32_t) r->n_open_devices);
        for (size_t i = 0; i < r->n_open_devices; i++) {
                encode_address(e, r->open_devices[i].address);
                encode_u32(e, r->open_devices[i].group);
                encode_u8(e, r->open_devices[i].want_device);
                encode_string(e, r->open_devices[i].vf_token);
        }
}

void encode_request(Encoder *e, const HostRequest *r) {
        assert(e);
        assert(r);
        encode_u8(e, (uint8_t) r->type);
        switch (r->type) {
        case HOST_REQUEST_READ:
                encode_read(e, r);
                break;
        case HOST_REQUEST_PLAN:
                encode_u8(e, r->plan_recovery);
                encode_plan(e, r->plan);
                break;
        case HOST_REQUEST_OPEN:
                encode_open(e, r);
                break;
        case HOST_REQUEST_SNAPSHOT:
                encode_u8(e, r->redact);
                encode_stuck(e, r);
                break;
        case HOST_REQUEST_PREPARE:
                encode_u32(e, (uint32_t) strv_length(r->modules));
                for (char *const *m = r->modules; m && *m; m++)
                        encode_string(e, *m);
                break;
        case HOST_REQUEST_PROCESS:
                encode_u8(e, r->pidfd >= 0 ? HAS_PIDFD : 0);
                encode_u64(e, r->memlock);
                encode_u32(e, (uint32_t) r->signal);
                break;
        case HOST_REQUEST_PLATFORM:
        case _HOST_REQUEST_TYPE_MAX:
                break;
        }
}

static bool decode_bool(Decoder *d) {
        uint8_t v = decode_u8(d);

        if (v > 1 && d->error == 0)
                d->error = -EBADMSG;
        return v == 1;
}

/* A count that at least `size` bytes each must follow. */
static size_t decode_count(Decoder *d, size_t max, size_t size) {
        uint32_t n = decode_u32(d);

        if (d->error == 0 && (n > max || (size_t) n * size > d->size - d->position))
                d->error = -EBADMSG;
        return d->error < 0 ? 0 : n;
}

static int decode_fd_of(Decoder *d, bool there, const int *fds, size_t n_fds, size_t *next) {
        if (!there)
                return -EBADF;
        if (*next >= n_fds) {
                if (d->error == 0)
                        d->error = -EBADMSG;
                return -EBADF;
        }
        return fds[(*next)++];
}

static int decode_stuck(Decoder *d, ProtocolRequest *r) {
        r->request.n_stuck = decode_count(d, PROTOCOL_STUCK_MAX, 7);
        r->stuck = calloc(r->request.n_stuck + 1, sizeof(PciAddress));
        if (!r->stuck)
                return -ENOMEM;
        for (size_t i = 0; i < r->request.n_stuck; i++)
                r->stuck[i] = decode_address(d);
        r->request.stuck = r->stuck;
        return d->error;
}

static int decode_read(Decoder *d, ProtocolRequest *r) {
        r->request.what = decode_u32(d);
        r->request.n_devices = decode_count(d, PROTOCOL_DEVICES_MAX, 7);
        r->devices = calloc(r->request.n_devices + 1, sizeof(PciAddress));
        if (!r->devices)
                return -ENOMEM;
        for (size_t i = 0; i < r->request.n_devices; i++)
                r->devices[i] = decode_address(d);
        r->request.n_groups = decode_count(d, PROTOCOL_DEVICES_MAX, 4);
        r->groups = calloc(r->request.n_groups + 1, sizeof(uint32_t));
        if (!r->groups)
                return -ENOMEM;
        for (size_t i = 0; i < r->request.n_groups; i++)
                r->groups[i] = decode_u32(d);
        r->request.devices = r->devices;
        r->request.groups = r->groups;
        return decode_stuck(d, r);
}

static int decode_open(Decoder *d, const int *fds, size_t n_fds, ProtocolRequest *r) {
        HostRequest *q = &r->request;
        size_t next = 0;
        uint8_t has;

        q->api = (HostApi) decode_u8(d);
        has = decode_u8(d);
        if (q->api > HOST_API_CDEV || has & ~(HAS_CONTAINER | HAS_IOMMUFD))
                return -EBADMSG;
        q->container_fd = decode_fd_of(d, has & HAS_CONTAINER, fds, n_fds, &next);
        q->iommufd = decode_fd_of(d, has & HAS_IOMMUFD, fds, n_fds, &next);
        q->want_container = decode_bool(d);
        q->want_iommufd = decode_bool(d);
        q->want_groups = decode_bool(d);
        q->iommufd_rlimit_process = decode_bool(d);
        q->n_open_devices = decode_count(d, PLAN_DEVICES_MAX, 16);
        r->open_devices = calloc(q->n_open_devices + 1, sizeof(HostOpenDevice));
        if (!r->open_devices)
                return -ENOMEM;
        for (size_t i = 0; i < q->n_open_devices; i++) {
                HostOpenDevice *o = r->open_devices + i;
                _cleanup_free_ char *token = NULL;

                o->address = decode_address(d);
                o->group = decode_u32(d);
                o->want_device = decode_bool(d);
                if (decode_string(d, sizeof(o->vf_token) - 1, &token) < 0)
                        return d->error;
                (void) string_copy(o->vf_token, sizeof(o->vf_token), strempty(token));
        }
        q->open_devices = r->open_devices;
        return d->error;
}

static int decode_modules(Decoder *d, ProtocolRequest *r) {
        size_t n = decode_count(d, 256, 4);

        r->modules = calloc(n + 1, sizeof(char *));
        if (!r->modules)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int k = decode_string(d, 64, r->modules + i);
                if (k < 0)
                        return k;
                if (!r->modules[i])
                        return -EBADMSG;
        }
        r->request.modules = r->modules;
        return 0;
}

static int decode_body(Decoder *d, const int *fds, size_t n_fds, ProtocolRequest *r) {
        size_t next = 0;

        switch (r->request.type) {
        case HOST_REQUEST_READ:
                return decode_read(d, r);
        case HOST_REQUEST_PLAN:
                r->request.plan_recovery = decode_bool(d);
                (void) decode_plan(d, &r->plan);
                r->request.plan = r->plan;
                return d->error;
        case HOST_REQUEST_OPEN:
                return decode_open(d, fds, n_fds, r);
        case HOST_REQUEST_SNAPSHOT:
                r->request.redact = decode_bool(d);
                return decode_stuck(d, r);
        case HOST_REQUEST_PREPARE:
                return decode_modules(d, r);
        case HOST_REQUEST_PROCESS:
                r->request.pidfd = decode_fd_of(d, decode_u8(d) & HAS_PIDFD, fds, n_fds, &next);
                r->request.memlock = decode_u64(d);
                r->request.signal = (int) decode_u32(d);
                return r->request.signal < 0 || r->request.signal > 64 ? -EBADMSG : d->error;
        case HOST_REQUEST_PLATFORM:
                return 0;
        case _HOST_REQUEST_TYPE_MAX:
                break;
        }
        return -EBADMSG;
}

int decode_request(Decoder *d, const int *fds, size_t n_fds, ProtocolRequest *ret) {
        _cleanup_(protocol_request_done) ProtocolRequest r = {};
        uint8_t type;
        int k;

        assert(d);
        assert(fds || n_fds == 0);
        assert(ret);
        r.request.container_fd = r.request.iommufd = r.request.pidfd = -EBADF;
        type = decode_u8(d);
        if (d->error < 0 || type >= _HOST_REQUEST_TYPE_MAX)
                return -EBADMSG;
        r.request.type = (HostRequestType) type;
        k = decode_body(d, fds, n_fds, &r);
        if (k < 0)
                return k;
        k = decoder_finish(d);
        if (k < 0)
                return k;
        *ret = r;
        r = (ProtocolRequest) {};
        return 0;
}
