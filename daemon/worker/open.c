/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * OPEN: descriptors for the owner. They are sent one by one and closed here before the request is
 * said to be done: a copy that stayed would keep the device open for ever.
 */

#include <assert.h>

#include "base/strutil.h"
#include "worker/vfio.h"
#include "worker/worker.h"

static ErrorCode code_of(int error) {
        switch (-error) {
        case EBUSY:
                return ERROR_BUSY;
        case EPERM:
        case EINVAL:
                return ERROR_NOT_VIABLE;
        case EACCES:
                return ERROR_NOT_AUTHORIZED;
        case ENOENT:
        case EOPNOTSUPP:
                return ERROR_NOT_SUPPORTED;
        case ENODEV:
                return ERROR_GONE;
        default:
                return ERROR_FAILED;
        }
}

/* The caller gets what it asked for; what was only needed on the way is closed. */
static bool is_wanted(const HostRequest *r, HostFdKind kind) {
        switch (kind) {
        case HOST_FD_CONTAINER:
                return r->want_container;
        case HOST_FD_IOMMUFD:
                return r->want_iommufd;
        case HOST_FD_GROUP:
        case HOST_FD_CDEV:
                return r->want_groups;
        case HOST_FD_DEVICE:
        case HOST_FD_SNAPSHOT:
        case _HOST_FD_KIND_MAX:
                return true;
        }
        return true;
}

void worker_open(Worker *w, const HostRequest *r) {
        HostResult result = { .failed_step = SIZE_MAX };
        VfioDetail detail = {};
        HostFd *fds = NULL;
        size_t n = 0;
        int k;

        assert(w);
        assert(r);
        k = vfio_open_all(&w->tree, r, &fds, &n, &detail);
        for (size_t i = 0; k >= 0 && i < n; i++)
                if (is_wanted(r, fds[i].kind)) {
                        encode_fd(&w->encoder, fds + i);
                        worker_send(w, PROTOCOL_FD, &fds[i].fd, 1);
                }
        vfio_fds_free(fds, n);
        if (k < 0) {
                result.outcome = HOST_OUTCOME_FAILED;
                result.error = k;
                result.code = code_of(k);
                (void) snprintf(result.message, sizeof(result.message), "open VFIO descriptors: %s",
                                detail.text[0] ? detail.text : errno_text(-k));
        }
        worker_finish(w, &result);
}
