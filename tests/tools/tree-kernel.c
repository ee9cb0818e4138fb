/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Preloaded into daemon and workers over a made tree: a write to a file of its sysfs goes to the
 * process that plays the kernel (tree_kernel.py) and returns when that has acted, as write() to
 * sysfs does, with its errno. The file itself is the other side's to change, so a death at any call
 * leaves either nothing of a write or all of it. Everything else goes its way.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MESSAGE_MAX 8192

/* Is it a file of the made sysfs? Then its path. */
static int is_sysfs(int fd, char path[PATH_MAX]) {
        const char *root = getenv("TREE_KERNEL_ROOT");
        char link[64];
        ssize_t n;
        size_t size;

        if (!root)
                return 0;
        (void) snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, PATH_MAX - 1);
        if (n < 0)
                return 0;
        path[n] = 0;
        size = strlen(root);
        return strncmp(path, root, size) == 0 && strncmp(path + size, "/sys/", 5) == 0;
}

/* What the other side says: a negative errno, or 0. */
static int ask(const char *path, const void *data, size_t n) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char message[MESSAGE_MAX];
        int fd, answer = -EIO, size;

        size = snprintf(message, sizeof(message), "%s", path);
        if (size < 0 || (size_t) size + 1 + n > sizeof(message))
                return -E2BIG;
        memcpy(message + size + 1, data, n);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/kernel",
                        getenv("TREE_KERNEL_ROOT"));
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;
        if (connect(fd, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            send(fd, message, (size_t) size + 1 + n, MSG_NOSIGNAL) < 0 ||
            recv(fd, &answer, sizeof(answer), 0) != sizeof(answer))
                answer = -EIO;
        (void) close(fd);
        return answer;
}

ssize_t write(int fd, const void *data, size_t n) {
        static ssize_t (*real)(int, const void *, size_t);
        char path[PATH_MAX];
        int r;

        if (!real)
                real = (ssize_t (*)(int, const void *, size_t)) dlsym(RTLD_NEXT, "write");
        if (!is_sysfs(fd, path))
                return real(fd, data, n);
        r = ask(path, data, n);
        if (r < 0) {
                errno = -r;
                return -1;
        }
        return (ssize_t) n;
}

/* sysfs knows no truncation; here it would empty the file before anything is written. */
static int open_whole(const char *symbol, int dir, const char *path, int flags, mode_t mode) {
        int (*real)(int, const char *, int, ...) =
                (int (*)(int, const char *, int, ...)) dlsym(RTLD_NEXT, symbol);
        char at[PATH_MAX];
        int fd = real(dir, path, flags & ~O_TRUNC, mode);

        if (fd >= 0 && (flags & O_TRUNC) && !is_sysfs(fd, at) && ftruncate(fd, 0) < 0)
                return fd; /* what has no size, like a terminal */
        return fd;
}

int openat(int dir, const char *path, int flags, ...) {
        va_list ap;
        mode_t mode;

        va_start(ap, flags);
        mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
        va_end(ap);
        return open_whole("openat", dir, path, flags, mode);
}

int openat64(int dir, const char *path, int flags, ...);
int openat64(int dir, const char *path, int flags, ...) {
        va_list ap;
        mode_t mode;

        va_start(ap, flags);
        mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
        va_end(ap);
        return open_whole("openat64", dir, path, flags, mode);
}
