/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VFIO nodes: whether anybody holds a group, and who owns its nodes. A group's node opens only when
 * no descriptor of the group or of a device of it exists anywhere, in a process or queued in a
 * socket, so a trial open is the proof. Closing a device descriptor raises no event that another
 * process could wait for: the wait tries again, slower and slower.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/vfio.h"

#define TRIAL_FIRST_MSEC 5
#define TRIAL_LAST_MSEC 250

int vfio_group_is_unheld(const SysTree *tree, uint32_t group) {
        char path[32];

        assert(tree);
        (void) snprintf(path, sizeof path, "vfio/%u", group);
        _cleanup_close_ int fd = openat(tree->dev, path, O_RDWR | O_CLOEXEC);
        return fd < 0 ? -errno : 0;
}

/* Readable when a descriptor of the node was closed; -errno is no reason to fail: trials go on
 * without it. */
static int watch_node(const SysTree *tree, uint32_t group) {
        char path[64];
        _cleanup_close_ int node = -EBADF, fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

        if (fd < 0)
                return -errno;
        (void) snprintf(path, sizeof path, "vfio/%u", group);
        node = openat(tree->dev, path, O_PATH | O_CLOEXEC);
        if (node < 0)
                return -errno;
        (void) snprintf(path, sizeof path, "/proc/self/fd/%d", node);
        if (inotify_add_watch(fd, path, IN_CLOSE) < 0)
                return -errno;
        return TAKE_FD(fd);
}

static void drain(int fd) {
        char buffer[4096];

        while (fd >= 0 && read(fd, buffer, sizeof buffer) > 0)
                ;
}

int vfio_wait_unheld(const SysTree *tree, uint32_t group, uint32_t timeout_msec, int wake_fd) {
        _cleanup_close_ int watch = -EBADF;
        usec_t until = now_boottime() + timeout_msec * USEC_PER_MSEC;
        int pause_msec = TRIAL_FIRST_MSEC;

        for (;;) {
                int r = vfio_group_is_unheld(tree, group);
                usec_t now = now_boottime();
                if (r != -EBUSY || now >= until)
                        return r;
                if (watch < 0) {
                        /* Only for whom it is worth it: giving up a watch waits for all processors
                         * (RCU). What was closed before it stood is found by the next trial. */
                        watch = watch_node(tree, group);
                        if (watch >= 0)
                                continue;
                }
                struct pollfd fds[] = { { .fd = wake_fd, .events = POLLIN },
                                        { .fd = watch, .events = POLLIN } };
                usec_t left = (until - now + USEC_PER_MSEC - 1) / USEC_PER_MSEC;
                if (poll(fds, ELEMENTSOF(fds), (int) MIN((usec_t) pause_msec, left)) < 0 &&
                    errno != EINTR)
                        return -errno;
                if (fds[0].revents != 0)
                        return -ECANCELED;
                drain(watch); /* our own trials close the node as well: at most one more trial comes
                                 of that */
                pause_msec = MIN(pause_msec * 2, TRIAL_LAST_MSEC);
        }
}

static int record_owner(int directory, const char *name, uid_t uid, gid_t gid) {
        char text[64];

        if (uid == 0 && gid == 0)
                return unlinkat(directory, name, 0) < 0 && errno != ENOENT ? -errno : 0;
        int n = snprintf(text, sizeof text, "PCIASSIGN_UID=%u\nPCIASSIGN_GID=%u\n", uid, gid);
        return write_file_atomic_at(directory, name, text, (size_t) n, 0644, false);
}

static int own_node(const SysTree *tree, int records_fd, const char *path, uid_t uid, gid_t gid) {
        const char *slash = strrchr(path, '/');
        struct stat st;

        int r = record_owner(records_fd, slash ? slash + 1 : path, uid, gid);
        if (r < 0)
                return r;
        if (fchownat(tree->dev, path, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
            fstatat(tree->dev, path, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        return st.st_uid == uid && st.st_gid == gid ? 0 : -EIO;
}

int vfio_set_node_owner(const SysTree *tree, int records_fd, uint32_t group,
                        const PciAddress *devices, size_t n, VfioOwner owner) {
        char path[96], name[64];

        assert(tree);
        assert(devices || n == 0);
        (void) snprintf(path, sizeof path, "vfio/%u", group);
        int found = 0, r = own_node(tree, records_fd, path, owner.uid, owner.gid);
        if (r < 0 && r != -ENOENT)
                return r;
        found += r >= 0;
        for (size_t i = 0; i < n; i++) {
                if (vfio_cdev_name(tree, devices[i], name, sizeof name) < 0)
                        continue;
                (void) snprintf(path, sizeof path, "vfio/devices/%s", name);
                r = own_node(tree, records_fd, path, owner.uid, owner.gid);
                if (r < 0)
                        return r;
                found++;
        }
        return found > 0 ? 0 : -ENOENT;
}
