/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration files from the drop-in directories. A file is opened without waiting (no FIFO holds
 * the daemon up), is looked at before it is read (only regular files, only up to a size), and
 * whatever is wrong with it becomes an entry of its own: whoever reads rules must not take a file
 * that he could not read for one that is not there. Names come sorted, so that the order does not
 * depend on the file system.
 */

#include "base/dropins.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/fdio.h"
#include "base/strutil.h"

const char *const dropins_places[DROPINS_PLACES] = { "etc/pciassignd", "run/pciassignd",
                                                     "usr/lib/pciassignd" };

void dropin_done(DropIn *d) {
        assert(d);
        free(d->path);
        free(d->text);
        *d = (DropIn) {};
}

void dropins_done(DropIns *d) {
        assert(d);
        for (size_t i = 0; i < d->n; i++)
                dropin_done(d->items + i);
        free(d->items);
        *d = (DropIns) {};
}

static bool is_null_device(const struct stat *st) {
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* A link to /dev/null, also where there is no such device below the root. */
static bool is_masked(int dir_fd, const char *path) {
        char target[32];

        return readlink_at(dir_fd, path, target, sizeof(target)) >= 0 &&
               streq(target, "/dev/null");
}

static int read_text(int fd, size_t max_size, DropIn *d) {
        _cleanup_free_ char *text = NULL;
        struct stat st;
        ssize_t n;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (is_null_device(&st))
                return 0;
        if (!S_ISREG(st.st_mode))
                return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
        if ((uint64_t) st.st_size > max_size)
                return -E2BIG;
        text = malloc((size_t) st.st_size + 2);
        if (!text)
                return -ENOMEM;
        /* One byte more than it had: it may grow meanwhile, and is then not what was looked at. */
        n = loop_pread(fd, text, (size_t) st.st_size + 1, 0);
        if (n < 0)
                return (int) n;
        if (n != st.st_size)
                return -ESTALE;
        text[n] = 0;
        d->text = TAKE_PTR(text);
        d->size = (size_t) n;
        return 0;
}

int dropin_read(int dir_fd, const char *path, size_t max_size, DropIn *ret) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_dropin_ DropIn d = {};
        struct stat st;
        int r = 0;

        assert(path);
        assert(ret);
        d.path = strdup(path);
        if (!d.path)
                return -ENOMEM;
        /* Looked at before it is opened: to open a device can do something. */
        if (!is_masked(dir_fd, path)) {
                if (fstatat(dir_fd, path, &st, 0) < 0)
                        r = -errno;
                else if (!S_ISREG(st.st_mode) && !is_null_device(&st))
                        r = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
                else {
                        fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
                        r = fd < 0 ? -errno : read_text(fd, max_size, &d);
                }
        }
        if (r == -ENOMEM)
                return r;
        d.error = r;
        *ret = d;
        d = (DropIn) {};
        return 0;
}

static bool exists(int dir_fd, const char *path) {
        struct stat st;

        return fstatat(dir_fd, path, &st, AT_SYMLINK_NOFOLLOW) >= 0 ||
               (errno != ENOENT && errno != ENOTDIR);
}

/* As it is known outside: with the slash that is the root's. */
static int name_it(DropIn *d, const char *path) {
        char *shown = strjoinf("/%s", path);

        if (!shown)
                return -ENOMEM;
        free(d->path);
        d->path = shown;
        return 0;
}

static int read_first(int root_fd, const char *name, size_t max_size, DropIn *ret) {
        for (size_t k = 0; k < DROPINS_PLACES; k++) {
                _cleanup_free_ char *path = strjoinf("%s/%s", dropins_places[k], name);
                _cleanup_dropin_ DropIn d = {};
                int r;

                if (!path)
                        return -ENOMEM;
                if (!exists(root_fd, path))
                        continue;
                r = dropin_read(root_fd, path, max_size, &d);
                if (r >= 0)
                        r = name_it(&d, path);
                if (r < 0)
                        return r;
                *ret = d;
                d = (DropIn) {};
                return 1;
        }
        return 0;
}

int dropins_load_one(int root_fd, const char *name, size_t max_size, DropIn *ret) {
        assert(name);
        assert(ret);
        return read_first(root_fd, name, max_size, ret);
}

/* ---- all of a folder ---- */

static int add(DropIns *all, DropIn *d) {
        if (ARRAY_RESERVE_ONE(all->items, all->n, all->allocated) < 0)
                return -ENOMEM;
        all->total += d->size;
        all->items[all->n++] = *d;
        *d = (DropIn) {};
        return 0;
}

static int add_path(DropIns *all, const char *path, size_t max_size, size_t max_files) {
        _cleanup_dropin_ DropIn d = {};
        int r = dropin_read(AT_FDCWD, path, MIN(max_size, DROPINS_TOTAL_MAX - all->total), &d);

        if (r < 0 || (d.error == 0 && d.size == 0))
                return r;
        if (all->n >= max_files) {
                d.error = -E2BIG;
                d.text = (free(d.text), NULL);
                d.size = 0;
        }
        return all->n > max_files ? 0 : add(all, &d);
}

static int add_error(DropIns *all, const char *path, int error) {
        _cleanup_dropin_ DropIn d = { .error = error };
        int r = name_it(&d, path);

        return r < 0 ? r : add(all, &d);
}

static int collect_names(int root_fd, const char *folder, const char *suffix, DropIns *all,
                         char ***names) {
        size_t length = strlen(suffix);

        for (size_t k = 0; k < DROPINS_PLACES; k++) {
                _cleanup_free_ char *path = strjoinf("%s/%s", dropins_places[k], folder);
                _cleanup_strv_ char **found = NULL;
                int r;

                if (!path)
                        return -ENOMEM;
                if (!exists(root_fd, path))
                        continue;
                r = read_dir_names_at(root_fd, path, DROPINS_NAMES_MAX, true, &found);
                if (r == -ENOMEM || (r < 0 && add_error(all, path, r) < 0))
                        return -ENOMEM;
                for (char **f = found; r >= 0 && f && *f; f++) {
                        size_t n = strlen(*f);

                        if (n <= length || !streq(*f + n - length, suffix) ||
                            (*names && strv_contains(*names, *f)))
                                continue;
                        if (strv_extend(names, *f) < 0)
                                return -ENOMEM;
                }
        }
        if (*names)
                strv_sort(*names);
        return 0;
}

int dropins_load(int root_fd, const char *folder, const char *suffix, size_t max_size,
                 size_t max_files, DropIns *ret) {
        _cleanup_dropins_ DropIns all = {};
        _cleanup_strv_ char **names = NULL;
        int r;

        assert(folder);
        assert(suffix);
        assert(ret);
        r = collect_names(root_fd, folder, suffix, &all, &names);
        for (char **n = names; r >= 0 && n && *n; n++) {
                _cleanup_free_ char *name = strjoinf("%s/%s", folder, *n);
                _cleanup_dropin_ DropIn d = {};

                if (!name)
                        return -ENOMEM;
                r = read_first(root_fd, name, MIN(max_size, DROPINS_TOTAL_MAX - all.total), &d);
                /* Between listing and reading it went away: then it is not there. A mask and an
                 * empty file say nothing. */
                if (r <= 0 || (d.error == 0 && d.size == 0))
                        continue;
                if (all.n >= max_files) {
                        r = add_error(&all, d.path + 1, -E2BIG);
                        break; /* one is enough to refuse them all */
                }
                r = add(&all, &d);
        }
        if (r < 0)
                return r;
        *ret = all;
        all = (DropIns) {};
        return 0;
}

int dropins_add_path(const char *path, const char *suffix, size_t max_size, size_t max_files,
                     DropIns *all) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_close_ int dir_fd = -EBADF;
        size_t length;
        struct stat st;
        int r;

        assert(path);
        assert(suffix);
        assert(all);
        if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
                return add_path(all, path, max_size, max_files); /* says what is wrong with it */
        length = strlen(suffix);
        dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = dir_fd < 0 ? -errno : read_dir_names_at(dir_fd, ".", DROPINS_NAMES_MAX, true, &names);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                DropIn d = { .path = strdup(path), .error = r };

                r = d.path ? add(all, &d) : -ENOMEM;
                dropin_done(&d);
                return r;
        }
        for (char **n = names; n && *n && r >= 0; n++) {
                size_t size = strlen(*n);
                _cleanup_free_ char *file = NULL;

                if (size <= length || !streq(*n + size - length, suffix))
                        continue;
                file = strjoinf("%s/%s", path, *n);
                r = file ? add_path(all, file, max_size, max_files) : -ENOMEM;
        }
        return r < 0 ? r : 0;
}
