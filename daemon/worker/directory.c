/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The workers' own directory below /run: locks of groups, owners of nodes, references. It belongs
 * to root, so that a daemon gone astray can neither take a lock away nor hand a node to somebody
 * through udev. Under another root, in tests, it belongs to whoever runs them.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "worker/worker.h"

/* Whoever may open a lock can take it: that is the daemon's group besides root, and nobody else.
 * Where this fails the daemon does not see the lock, and hears of it from the worker. */
static void share(const Worker *w, int fd, mode_t mode) {
        struct stat st;

        if (stat(w->runtime_dir, &st) < 0)
                return;
        (void) fchown(fd, (uid_t) -1, st.st_gid);
        (void) fchmod(fd, mode);
}

void worker_share(const Worker *w, int fd) {
        assert(w);
        share(w, fd, 0640);
}

int worker_directory(const Worker *w, const char *name, bool shared) {
        _cleanup_close_ int own = -EBADF, fd = -EBADF;
        int r;

        assert(w);
        assert(name);
        if (mkdir(w->worker_dir, 0755) < 0 && errno != EEXIST)
                return -errno;
        own = open(w->worker_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (own < 0)
                return -errno;
        r = mkdir_p_at(own, name, 0700);
        if (r < 0)
                return r;
        fd = openat(own, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        if (shared)
                share(w, fd, 0750);
        return TAKE_FD(fd);
}
