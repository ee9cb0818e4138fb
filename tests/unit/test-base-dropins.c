/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * base/dropins over a made root: order, masks, and every kind of file that is none to read: each of
 * them is told, none is passed over.
 */

#include "base/dropins.h"

#include <fcntl.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "unit.h"

static char *dir;
static int root_fd = -EBADF;

static void set_up(void) {
        dir = unit_make_dir();
        root_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(root_fd, 0);
}

static void tear_down(void) {
        root_fd = safe_close(root_fd);
        unit_remove_dir(dir);
}

static void put(const char *path, const char *text) {
        _cleanup_free_ char *parent = strdup(path);
        _cleanup_close_ int fd = -EBADF;

        *strrchr(parent, '/') = 0;
        ck_assert_int_eq(mkdir_p_at(root_fd, parent, 0755), 0);
        fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(loop_write(fd, text, strlen(text)), 0);
}

static void put_link(const char *target, const char *path) {
        put(path, "");
        ck_assert_int_eq(unlinkat(root_fd, path, 0), 0);
        ck_assert_int_eq(symlinkat(target, root_fd, path), 0);
}

#define LOAD(all) ck_assert_int_eq(dropins_load(root_fd, "x.d", ".json", 100, 8, (all)), 0)

START_TEST(nothing_there) {
        _cleanup_dropins_ DropIns all = {};

        LOAD(&all);
        ck_assert_uint_eq(all.n, 0);
}
END_TEST

START_TEST(order_and_masks) {
        _cleanup_dropins_ DropIns all = {};

        put("usr/lib/pciassignd/x.d/50-b.json", "lib b");
        put("usr/lib/pciassignd/x.d/10-a.json", "lib a");
        put("usr/lib/pciassignd/x.d/60-gone.json", "lib gone");
        put("usr/lib/pciassignd/x.d/70-null.json", "lib null");
        put("usr/lib/pciassignd/x.d/readme.txt", "no suffix");
        put("usr/lib/pciassignd/x.d/.json", "nothing before the suffix");
        put("run/pciassignd/x.d/50-b.json", "run b");
        put("run/pciassignd/x.d/20-c.json", "run c");
        put("etc/pciassignd/x.d/20-c.json", "etc c");
        put("etc/pciassignd/x.d/60-gone.json", "");
        put_link("/dev/null", "etc/pciassignd/x.d/70-null.json");
        put_link("../other", "etc/pciassignd/x.d/80-link.json");
        put("etc/pciassignd/other", "by link");
        LOAD(&all);
        ck_assert_uint_eq(all.n, 4);
        ck_assert_str_eq(all.items[0].path, "/usr/lib/pciassignd/x.d/10-a.json");
        ck_assert_str_eq(all.items[0].text, "lib a");
        ck_assert_str_eq(all.items[1].text, "etc c");
        ck_assert_str_eq(all.items[2].text, "run b");
        ck_assert_str_eq(all.items[3].path, "/etc/pciassignd/x.d/80-link.json");
        ck_assert_str_eq(all.items[3].text, "by link");
        ck_assert_uint_eq(all.items[3].size, 7);
}
END_TEST

static void make_fifo(const char *path) {
        ck_assert_int_eq(mkfifoat(root_fd, path, 0644), 0);
}

static void make_directory(const char *path) {
        ck_assert_int_eq(mkdirat(root_fd, path, 0755), 0);
}

static void make_loop(const char *path) {
        ck_assert_int_eq(symlinkat("bad.json", root_fd, path), 0);
}

static void make_dangling(const char *path) {
        ck_assert_int_eq(symlinkat("nowhere", root_fd, path), 0);
}

static void make_large(const char *path) {
        char text[102];

        memset(text, 'x', 101);
        text[101] = 0;
        put(path, text);
}

static void make_huge(const char *path) {
        put(path, "");
        _cleanup_close_ int fd = openat(root_fd, path, O_WRONLY | O_CLOEXEC);
        ck_assert_int_eq(ftruncate(fd, (off_t) 8 << 30), 0);
}

static void make_device(const char *path) {
        ck_assert_int_eq(symlinkat("/dev/zero", root_fd, path), 0);
}

static const struct {
        void (*make)(const char *path);
        int error;
} bad[] = {
        { make_fifo, -EINVAL },       { make_directory, -EISDIR }, { make_loop, -ELOOP },
        { make_dangling, -ENOENT },   { make_large, -E2BIG },      { make_huge, -E2BIG },
        { make_device, -EINVAL },
};

/* What cannot be read masks all the same, and is said. */
START_TEST(bad_files) {
        _cleanup_dropins_ DropIns all = {};

        put("etc/pciassignd/x.d/good.json", "good");
        put("usr/lib/pciassignd/x.d/bad.json", "not this one");
        bad[_i].make("etc/pciassignd/x.d/bad.json");
        LOAD(&all);
        ck_assert_uint_eq(all.n, 2);
        ck_assert_str_eq(all.items[0].path, "/etc/pciassignd/x.d/bad.json");
        ck_assert_int_eq(all.items[0].error, bad[_i].error);
        ck_assert_ptr_null(all.items[0].text);
        ck_assert_str_eq(all.items[1].text, "good");
}
END_TEST

START_TEST(folder_is_none) {
        _cleanup_dropins_ DropIns all = {};

        put("etc/pciassignd/x.d", "a file");
        put("run/pciassignd/x.d/a.json", "a");
        LOAD(&all);
        ck_assert_uint_eq(all.n, 2);
        ck_assert_str_eq(all.items[0].path, "/etc/pciassignd/x.d");
        ck_assert_int_eq(all.items[0].error, -ENOTDIR);
        ck_assert_str_eq(all.items[1].text, "a");
}
END_TEST

START_TEST(too_many) {
        _cleanup_dropins_ DropIns all = {}, names = {};
        char path[64];

        for (unsigned i = 0; i < 9; i++) {
                (void) snprintf(path, sizeof(path), "etc/pciassignd/x.d/%02u.json", i);
                put(path, "x");
        }
        LOAD(&all);
        ck_assert_uint_eq(all.n, 9);
        ck_assert_int_eq(all.items[7].error, 0);
        ck_assert_int_eq(all.items[8].error, -E2BIG);
        for (unsigned i = 0; i <= DROPINS_NAMES_MAX; i++) {
                (void) snprintf(path, sizeof(path), "etc/pciassignd/y.d/%04u.json", i);
                put(path, "x");
        }
        ck_assert_int_eq(dropins_load(root_fd, "y.d", ".json", 100, 8, &names), 0);
        ck_assert_uint_eq(names.n, 1);
        ck_assert_int_eq(names.items[0].error, -E2BIG);
}
END_TEST

START_TEST(one_file) {
        _cleanup_dropin_ DropIn d = {}, e = {};

        ck_assert_int_eq(dropins_load_one(root_fd, "x.conf", 100, &d), 0);
        put("usr/lib/pciassignd/x.conf", "lib");
        put("run/pciassignd/x.conf", "run");
        ck_assert_int_eq(dropins_load_one(root_fd, "x.conf", 100, &d), 1);
        ck_assert_str_eq(d.path, "/run/pciassignd/x.conf");
        ck_assert_str_eq(d.text, "run");
        ck_assert_int_eq(dropins_load_one(root_fd, "x.conf", 2, &e), 1);
        ck_assert_int_eq(e.error, -E2BIG);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_checked_fixture(tcase, set_up, tear_down);
        tcase_add_test(tcase, nothing_there);
        tcase_add_test(tcase, order_and_masks);
        ADD_TABLE(tcase, bad_files, bad);
        tcase_add_test(tcase, folder_is_none);
        tcase_add_test(tcase, too_many);
        tcase_add_test(tcase, one_file);
}

UNIT_MAIN("base/dropins", add_tests);
