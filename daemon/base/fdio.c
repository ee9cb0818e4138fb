/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * File and descriptor I/O. Paths are relative to a descriptor, every descriptor is close-on-exec,
 * reads have a limit and names are never followed out of habit: files that we create are made under
 * a new name with O_EXCL and renamed. Opening is non-blocking, so that a FIFO in a made-up tree
 * cannot hang a reader.
 */

#include "base/fdio.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/strutil.h"

#define MESSAGE_FDS_MAX 253U /* SCM_MAX_FD of the kernel */

static int open_for_read(int dir_fd, const char *path) {
        int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

        return fd < 0 ? -errno : fd;
}

static ssize_t read_once(int fd, void *data, size_t size) {
        ssize_t n;

        do
                n = read(fd, data, size);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : n;
}

ssize_t read_attr_at(int dir_fd, const char *path, char *buffer, size_t size) {
        _cleanup_close_ int fd = -EBADF;
        ssize_t n;

        assert(path);
        assert(buffer && size > 0);
        fd = open_for_read(dir_fd, path);
        if (fd < 0)
                return fd;
        n = read_once(fd, buffer, size);
        if (n < 0)
                return n;
        if ((size_t) n == size)
                return -E2BIG;
        if (n > 0 && buffer[n - 1] == '\n')
                n--;
        if (memchr(buffer, 0, (size_t) n))
                return -EBADMSG;
        buffer[n] = 0;
        return n;
}

int read_file_at(int dir_fd, const char *path, size_t max, char **ret, size_t *ret_size) {
        _cleanup_free_ char *data = NULL;
        _cleanup_close_ int fd = -EBADF;
        size_t n = 0, allocated = 0;
        struct stat st;

        assert(path);
        assert(ret);
        assert(max < SIZE_MAX - 1);
        fd = open_for_read(dir_fd, path);
        if (fd < 0)
                return fd;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISDIR(st.st_mode))
                return -EISDIR;
        for (;;) {
                ssize_t k;

                if (n + 1 >= allocated) {
                        /* One byte above max shows that the file is too large, one more is the
                         * NUL. */
                        size_t want =
                                allocated == 0 ? (size_t) MAX(st.st_size, 1022) + 2 : allocated * 2;
                        char *p;

                        want = MIN(want, max + 2);
                        p = realloc(data, want);
                        if (!p)
                                return -ENOMEM;
                        data = p;
                        allocated = want;
                }
                k = read_once(fd, data + n, allocated - 1 - n);
                if (k < 0)
                        return (int) k;
                if (k == 0)
                        break;
                n += (size_t) k;
                if (n > max)
                        return -E2BIG;
        }
        data[n] = 0;
        *ret = TAKE_PTR(data);
        if (ret_size)
                *ret_size = n;
        return 0;
}

int write_attr_at(int dir_fd, const char *path, const char *value) {
        _cleanup_close_ int fd = -EBADF;
        size_t size = strlen(value);
        ssize_t n;

        assert(path);
        fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return -errno;
        /* Not repeated on EINTR: the kernel may have begun, and a second store would do it
         * twice. */
        n = write(fd, value, size);
        if (n < 0)
                return -errno;
        return (size_t) n == size ? 0 : -EIO;
}

int readlink_at(int dir_fd, const char *path, char *buffer, size_t size) {
        ssize_t n;

        assert(path);
        assert(buffer && size > 0);
        n = readlinkat(dir_fd, path, buffer, size);
        if (n < 0)
                return -errno;
        if ((size_t) n >= size)
                return -ENAMETOOLONG;
        buffer[n] = 0;
        return 0;
}

int readlink_base_at(int dir_fd, const char *path, char *buffer, size_t size) {
        char target[PATH_MAX];
        const char *base;
        int r;

        r = readlink_at(dir_fd, path, target, sizeof(target));
        if (r < 0)
                return r;
        base = strrchr(target, '/');
        return string_copy(buffer, size, base ? base + 1 : target) ? 0 : -ENAMETOOLONG;
}

int loop_write(int fd, const void *data, size_t n) {
        const uint8_t *p = data;

        while (n > 0) {
                ssize_t k = write(fd, p, n);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                p += k;
                n -= (size_t) k;
        }
        return 0;
}

ssize_t loop_pread(int fd, void *data, size_t n, off_t offset) {
        uint8_t *p = data;
        size_t done = 0;

        while (done < n) {
                ssize_t k = pread(fd, p + done, n - done, offset + (off_t) done);
                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                done += (size_t) k;
        }
        return (ssize_t) done;
}

/* Splits path into its directory ("." if none) and last component; -EINVAL without one. */
static int path_split(const char *path, char *directory, size_t size, const char **ret_base) {
        const char *slash = strrchr(path, '/');
        const char *base = slash ? slash + 1 : path;
        size_t n = slash ? (size_t) (slash - path) : 0;

        if (isempty(base) || streq(base, ".") || streq(base, ".."))
                return -EINVAL;
        if (n + 2 > size)
                return -ENAMETOOLONG;
        if (!slash)
                (void) string_copy(directory, size, ".");
        else
                (void) string_copy(directory, MAX(n, (size_t) 1) + 1, path); /* "/" stays */
        *ret_base = base;
        return 0;
}

static int fill_file(int fd, const void *data, size_t n, mode_t mode, bool sync) {
        int r = loop_write(fd, data, n);

        if (r < 0)
                return r;
        if (fchmod(fd, mode) < 0)
                return -errno;
        return sync && fsync(fd) < 0 ? -errno : 0;
}

int write_file_atomic_at(int dir_fd, const char *path, const void *data, size_t n, mode_t mode,
                         bool sync) {
        char directory[PATH_MAX], temporary[NAME_MAX + 1];
        _cleanup_close_ int parent = -EBADF, fd = -EBADF;
        const char *base;
        uint64_t random;
        int r;

        r = path_split(path, directory, sizeof(directory), &base);
        if (r < 0)
                return r;
        parent = openat(dir_fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (parent < 0)
                return -errno;
        if (getrandom(&random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return -EIO;
        r = snprintf(temporary, sizeof(temporary), ".%.200s.%016" PRIx64, base, random);
        if (r < 0)
                return -EIO;
        fd = openat(parent, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = fill_file(fd, data, n, mode, sync);
        if (r >= 0 && renameat(parent, temporary, parent, base) < 0)
                r = -errno;
        if (r < 0) {
                (void) unlinkat(parent, temporary, 0); /* the first error is the one to tell */
                return r;
        }
        return sync && fsync(parent) < 0 ? -errno : 0;
}

int mkdir_p_at(int dir_fd, const char *path, mode_t mode) {
        char part[PATH_MAX];
        struct stat st;
        size_t n = strlen(path);

        if (n == 0)
                return -EINVAL;
        if (n >= sizeof(part))
                return -ENAMETOOLONG;
        for (size_t i = 1; i <= n; i++) {
                if (i < n && path[i] != '/')
                        continue;
                (void) string_copy(part, i + 1, path);
                if (mkdirat(dir_fd, part, mode) < 0 && errno != EEXIST)
                        return -errno;
        }
        if (fstatat(dir_fd, path, &st, 0) < 0)
                return -errno;
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

int open_dir_at(int root_fd, const char *path) {
        int fd;

        assert(path);
        if (path[0] == '/')
                return -EINVAL;
        fd = openat(root_fd, path[0] ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
        return fd < 0 ? -errno : fd;
}

static bool fd_is_kept(int fd, const int *keep, size_t n_keep) {
        for (size_t i = 0; i < n_keep; i++)
                if (keep[i] == fd)
                        return true;
        return false;
}

/* For kernels and sandboxes without close_range(2). */
static int close_by_proc(const int *keep, size_t n_keep) {
        DIR *d = opendir("/proc/self/fd");

        if (!d)
                return -errno;
        for (struct dirent *de = readdir(d); de; de = readdir(d)) {
                uint32_t fd;

                if (parse_u32(de->d_name, 10, INT_MAX, &fd) < 0 || fd <= STDERR_FILENO ||
                    (int) fd == dirfd(d))
                        continue;
                if (!fd_is_kept((int) fd, keep, n_keep))
                        (void) close((int) fd);
        }
        (void) closedir(d);
        return 0;
}

int close_all_except(const int *keep, size_t n_keep) {
        unsigned first = STDERR_FILENO + 1;

        assert(keep || n_keep == 0);
        for (;;) {
                /* The lowest kept descriptor that is not below first ends this range. */
                unsigned last = UINT_MAX;

                for (size_t i = 0; i < n_keep; i++)
                        if (keep[i] >= 0 && (unsigned) keep[i] >= first)
                                last = MIN(last, (unsigned) keep[i]);
                if (last > first && close_range(first, last == UINT_MAX ? last : last - 1, 0) < 0)
                        return errno == ENOSYS || errno == EPERM ? close_by_proc(keep, n_keep)
                                                                 : -errno;
                if (last == UINT_MAX)
                        return 0;
                first = last + 1;
        }
}

int fd_set_cloexec(int fd, bool on) {
        int flags = fcntl(fd, F_GETFD);

        if (flags < 0)
                return -errno;
        flags = on ? flags | FD_CLOEXEC : flags & ~FD_CLOEXEC;
        return fcntl(fd, F_SETFD, flags) < 0 ? -errno : 0;
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

/* The vector is terminated at every return, for whoever frees it. */
static int collect_names(DIR *d, size_t max, char ***names) {
        size_t n = 0, allocated = 0;

        if (ARRAY_RESERVE_ONE(*names, n, allocated) < 0)
                return -ENOMEM;
        (*names)[0] = NULL;
        for (;;) {
                struct dirent *de;

                errno = 0;
                de = readdir(d);
                if (!de)
                        return -errno;
                if (streq(de->d_name, ".") || streq(de->d_name, ".."))
                        continue;
                if (n >= max)
                        return -E2BIG;
                if (ARRAY_RESERVE_ONE(*names, n + 1, allocated) < 0)
                        return -ENOMEM;
                (*names)[n + 1] = NULL;
                (*names)[n] = strdup(de->d_name);
                if (!(*names)[n])
                        return -ENOMEM;
                n++;
        }
}

int read_dir_names_at(int dir_fd, const char *path, size_t max, bool sort, char ***ret) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_(closedirp) DIR *d = NULL;
        int fd, r;

        assert(ret);
        fd = open_dir_at(dir_fd, path);
        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d) {
                r = -errno;
                (void) close(fd);
                return r;
        }
        r = collect_names(d, max, &names);
        if (r < 0)
                return r;
        if (sort)
                strv_sort(names);
        *ret = TAKE_PTR(names);
        return 0;
}

/* Room for the most descriptors of one message and for the sender's credentials. */
typedef union ControlBuffer {
        struct cmsghdr alignment;
        char bytes[CMSG_SPACE(sizeof(int) * MESSAGE_FDS_MAX) + CMSG_SPACE(sizeof(struct ucred))];
} ControlBuffer;

ssize_t message_send(int socket_fd, const void *data, size_t n, const int *fds, size_t n_fds) {
        struct iovec iov = { (void *) data, n };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        ControlBuffer control;
        ssize_t sent;

        assert(data || n == 0);
        if (n_fds > MESSAGE_FDS_MAX)
                return -E2BIG;
        if (n_fds > 0) {
                struct cmsghdr *c;

                memset(&control, 0, sizeof(control));
                m.msg_control = &control;
                m.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
                c = CMSG_FIRSTHDR(&m);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                memcpy(CMSG_DATA(c), fds, sizeof(int) * n_fds);
        }
        do
                sent = sendmsg(socket_fd, &m, MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        return sent < 0 ? -errno : sent;
}

/* Takes descriptors and credentials out of the control data. Too many descriptors are closed and
 * counted. */
static size_t take_control(struct msghdr *m, int *fds, size_t room, struct ucred *ret_ucred) {
        size_t n = 0;

        for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_CREDENTIALS && ret_ucred)
                        memcpy(ret_ucred, CMSG_DATA(c), sizeof(*ret_ucred));
                if (c->cmsg_type != SCM_RIGHTS)
                        continue;
                for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++, n++) {
                        int fd;

                        memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
                        if (n < room)
                                fds[n] = fd;
                        else
                                (void) safe_close(fd);
                }
        }
        return n;
}

ssize_t message_receive(int socket_fd, void *data, size_t size, int *fds, size_t *n_fds,
                        struct ucred *ret_ucred) {
        size_t room = n_fds ? *n_fds : 0, got;
        struct iovec iov = { data, size };
        struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };
        struct ucred sender = { .uid = (uid_t) -1, .gid = (gid_t) -1 };
        ControlBuffer control;
        ssize_t n;

        assert(data && size > 0);
        assert(fds || room == 0);
        m.msg_control = &control;
        m.msg_controllen = sizeof(control);
        do
                n = recvmsg(socket_fd, &m, MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        got = take_control(&m, fds, room, &sender);
        if (got > room || (m.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
                for (size_t i = 0; i < MIN(got, room); i++)
                        (void) safe_close(fds[i]);
                return -EMSGSIZE;
        }
        if (n_fds)
                *n_fds = got;
        if (ret_ucred)
                *ret_ucred = sender;
        return n;
}
