/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Small files that outlive a reboot. The directory may be the unprivileged daemon's while the
 * writer is root: so every path is one name of a strict grammar below one descriptor, no link is
 * followed, a new file is made with O_EXCL, and what is read must be a plain file with one name
 * that nobody else can write. A write is synced before it is told.
 */

#include "host/state-dir.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/strutil.h"

#define NAME_SIZE_MAX 64U

void host_state_files_free(HostStateFile *files, size_t n) {
        for (size_t i = 0; i < n; i++) {
                free(files[i].name);
                free(files[i].text);
        }
        free(files);
}

/* The part behind the prefix; NULL without it. */
static const char *behind(const char *name, const char *prefix) {
        size_t n = strlen(prefix);

        return strncmp(name, prefix, n) == 0 ? name + n : NULL;
}

bool state_dir_name_is_valid(const char *name) {
        const char *digits;
        size_t n = 16;

        assert(name);
        digits = behind(name, "device-");
        if (!digits) {
                digits = behind(name, "reservation-");
                n = 32;
        }
        return digits && strspn(digits, "0123456789abcdef") == n && streq(digits + n, ".json");
}

static bool is_trusted(const struct stat *st, uid_t daemon) {
        return (st->st_uid == 0 || st->st_uid == geteuid() || st->st_uid == daemon) &&
               !(st->st_mode & 022);
}

int state_dir_open(const char *path, uid_t daemon) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        assert(path);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        return is_trusted(&st, daemon) ? TAKE_FD(fd) : -EPERM;
}

int state_dir_read(int dir_fd, uid_t daemon, const char *name, char **ret, size_t *ret_size) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *text = NULL;
        struct stat st;
        ssize_t n;

        assert(name);
        assert(ret);
        assert(ret_size);
        if (!state_dir_name_is_valid(name))
                return -EINVAL;
        fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return errno == ELOOP ? -EPERM : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_nlink != 1 || !is_trusted(&st, daemon))
                return -EPERM;
        if ((uint64_t) st.st_size > STATE_DIR_FILE_MAX)
                return -EFBIG;
        text = malloc((size_t) st.st_size + 1);
        if (!text)
                return -ENOMEM;
        n = loop_pread(fd, text, (size_t) st.st_size, 0);
        if (n < 0)
                return (int) n;
        text[n] = 0;
        *ret = TAKE_PTR(text);
        *ret_size = (size_t) n;
        return 0;
}

int state_dir_holds(int dir_fd, uid_t daemon, const char *name, const char *text) {
        _cleanup_free_ char *now = NULL;
        size_t n;
        int r = state_dir_read(dir_fd, daemon, name, &now, &n);

        if (r == -ENOENT)
                return text[0] == 0;
        if (r < 0)
                return r;
        return text[0] && n == strlen(text) && memcmp(now, text, n) == 0;
}

static int fill(int fd, int dir_fd, const char *text) {
        struct stat st;
        int r;

        if (fstat(dir_fd, &st) < 0)
                return -errno;
        r = loop_write(fd, text, strlen(text));
        if (r < 0)
                return r;
        /* The daemon reads it, and is not root. */
        if (st.st_uid != geteuid() && fchown(fd, st.st_uid, st.st_gid) < 0)
                return -errno;
        return fsync(fd) < 0 ? -errno : 0;
}

static int replace(int dir_fd, const char *name, const char *text) {
        char temporary[NAME_SIZE_MAX + 8];
        _cleanup_close_ int fd = -EBADF;
        int r;

        (void) snprintf(temporary, sizeof(temporary), ".%s.new", name);
        if (unlinkat(dir_fd, temporary, 0) < 0 && errno != ENOENT) /* of a worker that was killed */
                return -errno;
        fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = fill(fd, dir_fd, text);
        if (r >= 0 && renameat(dir_fd, temporary, dir_fd, name) < 0)
                r = -errno;
        if (r < 0)
                (void) unlinkat(dir_fd, temporary, 0); /* the first error is the one to tell */
        return r;
}

int state_dir_commit(int dir_fd, uid_t daemon, const char *name, const char *text) {
        int r = 0;

        assert(name);
        assert(text);
        if (!state_dir_name_is_valid(name))
                return -EINVAL;
        if (strlen(text) > STATE_DIR_FILE_MAX)
                return -E2BIG;
        if (text[0])
                r = replace(dir_fd, name, text);
        else if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
                r = -errno;
        if (r < 0)
                return r;
        if (fsync(dir_fd) < 0)
                return -EIO;
        r = state_dir_holds(dir_fd, daemon, name, text);
        return r > 0 ? 0 : r < 0 ? r : -EIO;
}

static bool looks_like_ours(const char *name) {
        return behind(name, "device-") || behind(name, "reservation-");
}

int state_dir_list(int dir_fd, uid_t daemon, HostStateFile **ret, size_t *ret_n) {
        _cleanup_strv_ char **names = NULL;
        HostStateFile *files;
        size_t n = 0;
        int r;

        assert(ret);
        assert(ret_n);
        r = read_dir_names_at(dir_fd, ".", STATE_DIR_FILES_MAX, true, &names);
        if (r < 0)
                return r;
        files = calloc(strv_length(names) + 1, sizeof(HostStateFile));
        if (!files)
                return -ENOMEM;
        for (char **name = names; name && *name; name++) {
                HostStateFile *f = files + n;

                if (!looks_like_ours(*name))
                        continue;
                f->name = strdup(*name);
                if (!f->name) {
                        host_state_files_free(files, n);
                        return -ENOMEM;
                }
                f->error = state_dir_name_is_valid(*name)
                                   ? state_dir_read(dir_fd, daemon, *name, &f->text, &f->size)
                                   : -EBADMSG;
                n++;
        }
        *ret = files;
        *ret_n = n;
        return 0;
}
