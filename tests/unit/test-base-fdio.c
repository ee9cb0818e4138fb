/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * base/fdio over a made directory: limits of reads, atomic writes that leave the old file when they
 * fail, directories, descriptors over sockets.
 */

#include "base/fdio.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/strutil.h"
#include "unit.h"

static char *dir;
static int dir_fd = -EBADF;

static void set_up(void) {
        dir = unit_make_dir();
        dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(dir_fd, 0);
}

static void tear_down(void) {
        dir_fd = safe_close(dir_fd);
        unit_remove_dir(dir);
}

static void put_file(const char *name, const void *data, size_t n) {
        _cleanup_close_
        int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(loop_write(fd, data, n), 0);
}

static const struct {
        const char *data;
        size_t n;
        ssize_t r;
        const char *text;
} attributes[] = {
        { "value\n", 6, 5, "value" },
        { "value", 5, 5, "value" },
        { "a\n\n", 3, 2, "a\n" },
        { "", 0, 0, "" },
        { "\n", 1, 0, "" },
        { "1234567", 7, 7, "1234567" },
        { "12345678", 8, -E2BIG, NULL },
        { "123456789", 9, -E2BIG, NULL },
        { "a\0b", 3, -EBADMSG, NULL },
};

START_TEST(attribute_is_read_within_its_buffer) {
        char buffer[8];

        put_file("a", attributes[_i].data, attributes[_i].n);
        ck_assert_int_eq(read_attr_at(dir_fd, "a", buffer, sizeof(buffer)), attributes[_i].r);
        if (attributes[_i].text)
                ck_assert_str_eq(buffer, attributes[_i].text);
}
END_TEST

START_TEST(reading_what_is_no_file_fails) {
        char buffer[8];
        char *data = NULL;

        ck_assert_int_eq(read_attr_at(dir_fd, "absent", buffer, sizeof(buffer)), -ENOENT);
        ck_assert_int_eq(read_attr_at(dir_fd, ".", buffer, sizeof(buffer)), -EISDIR);
        ck_assert_int_eq(read_file_at(dir_fd, ".", 10, &data, NULL), -EISDIR);
        ck_assert_int_eq(read_file_at(dir_fd, "absent", 10, &data, NULL), -ENOENT);
        /* A FIFO without a writer would hold a blocking reader for ever. */
        ck_assert_int_eq(mkfifoat(dir_fd, "fifo", 0600), 0);
        ck_assert_int_eq(read_attr_at(dir_fd, "fifo", buffer, sizeof(buffer)), 0);
        ck_assert_int_eq(write_attr_at(dir_fd, "fifo", "x"), -ENXIO);
        ck_assert_ptr_null(data);
}
END_TEST

START_TEST(file_is_read_up_to_its_limit) {
        _cleanup_free_ char *big = malloc(100000), *data = NULL;
        size_t n = 0;

        memset(big, 'x', 100000);
        put_file("f", big, 100000);
        ck_assert_int_eq(read_file_at(dir_fd, "f", 99999, &data, &n), -E2BIG);
        ck_assert_ptr_null(data);
        ck_assert_int_eq(read_file_at(dir_fd, "f", 100000, &data, &n), 0);
        ck_assert_uint_eq(n, 100000);
        ck_assert_int_eq(data[n], 0);
        ck_assert_int_eq(memcmp(data, big, n), 0);
        free(TAKE_PTR(data));
        put_file("f", "", 0);
        ck_assert_int_eq(read_file_at(dir_fd, "f", 0, &data, NULL), 0);
        ck_assert_str_eq(data, "");
        free(TAKE_PTR(data));
        /* Files that say they have no size grow as they are read. */
        ck_assert_int_eq(read_file_at(AT_FDCWD, "/proc/self/maps", 1U << 20, &data, &n), 0);
        ck_assert_uint_gt(n, 1024);
        ck_assert_uint_eq(strlen(data), n);
}
END_TEST

START_TEST(attribute_is_written_once) {
        char buffer[16];

        put_file("a", "old-and-long", 12);
        ck_assert_int_eq(write_attr_at(dir_fd, "a", "new"), 0);
        ck_assert_int_eq(read_attr_at(dir_fd, "a", buffer, sizeof(buffer)), 12);
        ck_assert_str_eq(buffer, "new-and-long"); /* no truncation: sysfs has none either */
        ck_assert_int_eq(write_attr_at(dir_fd, "absent", "x"), -ENOENT);
        ck_assert_int_eq(write_attr_at(AT_FDCWD, "/dev/full", "x"), -ENOSPC);
}
END_TEST

START_TEST(links_are_read_whole_or_refused) {
        char target[16], base[8];

        ck_assert_int_eq(symlinkat("../../drivers/vfio", dir_fd, "driver"), 0);
        ck_assert_int_eq(symlinkat("short", dir_fd, "plain"), 0);
        put_file("file", "", 0);
        ck_assert_int_eq(readlink_at(dir_fd, "driver", target, sizeof(target)), -ENAMETOOLONG);
        ck_assert_int_eq(readlink_base_at(dir_fd, "driver", base, sizeof(base)), 0);
        ck_assert_str_eq(base, "vfio");
        ck_assert_int_eq(readlink_base_at(dir_fd, "driver", base, 4), -ENAMETOOLONG);
        ck_assert_int_eq(readlink_at(dir_fd, "plain", target, 6), 0);
        ck_assert_str_eq(target, "short");
        ck_assert_int_eq(readlink_at(dir_fd, "plain", target, 5), -ENAMETOOLONG);
        ck_assert_int_eq(readlink_base_at(dir_fd, "plain", base, sizeof(base)), 0);
        ck_assert_str_eq(base, "short");
        ck_assert_int_eq(readlink_at(dir_fd, "file", target, sizeof(target)), -EINVAL);
        ck_assert_int_eq(readlink_base_at(dir_fd, "absent", base, sizeof(base)), -ENOENT);
}
END_TEST

START_TEST(positioned_read_stops_at_the_end) {
        _cleanup_close_ int fd = -EBADF;
        char buffer[8] = {};

        put_file("f", "0123456789", 10);
        fd = openat(dir_fd, "f", O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(loop_pread(fd, buffer, 4, 2), 4);
        ck_assert_str_eq(buffer, "2345");
        ck_assert_int_eq(loop_pread(fd, buffer, 8, 6), 4);
        ck_assert_int_eq(loop_pread(fd, buffer, 8, 10), 0);
        ck_assert_int_eq(loop_pread(-1, buffer, 8, 0), -EBADF);
}
END_TEST

static void assert_names(const char *expected) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_free_ char *joined = NULL;

        ck_assert_int_eq(read_dir_names_at(dir_fd, "", 100, true, &names), 0);
        joined = strv_join(names, " ");
        ck_assert_str_eq(joined, expected);
}

START_TEST(atomic_write_replaces_or_leaves) {
        bool sync = _i != 0;
        _cleanup_free_ char *data = NULL;
        struct stat st;
        mode_t old_mask = umask(077);

        ck_assert_int_eq(write_file_atomic_at(dir_fd, "state", "one", 3, 0644, sync), 0);
        ck_assert_int_eq(fstatat(dir_fd, "state", &st, 0), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0644); /* whatever the umask is */
        (void) umask(old_mask);
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "./state", "two", 3, 0600, sync), 0);
        ck_assert_int_eq(read_file_at(dir_fd, "state", 10, &data, NULL), 0);
        ck_assert_str_eq(data, "two");
        /* Failures: no such directory, a directory in the file's place, no name. Nothing is left
         * behind. */
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "no/state", "x", 1, 0600, sync), -ENOENT);
        ck_assert_int_eq(mkdirat(dir_fd, "d", 0755), 0);
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "d", "x", 1, 0600, sync), -EISDIR);
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "", "x", 1, 0600, sync), -EINVAL);
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "d/", "x", 1, 0600, sync), -EINVAL);
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "..", "x", 1, 0600, sync), -EINVAL);
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "d/inner", "in", 2, 0600, sync), 0);
        ck_assert_int_eq(faccessat(dir_fd, "d/inner", R_OK, 0), 0);
        assert_names("d state");
}
END_TEST

START_TEST(atomic_write_replaces_a_link) {
        _cleanup_free_ char *data = NULL, *absolute = strjoinf("%s/abs", dir);
        struct stat st;

        ck_assert_int_eq(write_file_atomic_at(dir_fd, "keep", "old", 3, 0600, false), 0);
        ck_assert_int_eq(symlinkat("keep", dir_fd, "link"), 0);
        /* The link is replaced, not followed. */
        ck_assert_int_eq(write_file_atomic_at(dir_fd, "link", "new", 3, 0600, false), 0);
        ck_assert_int_eq(fstatat(dir_fd, "link", &st, AT_SYMLINK_NOFOLLOW), 0);
        ck_assert(S_ISREG(st.st_mode));
        ck_assert_int_eq(read_file_at(dir_fd, "keep", 10, &data, NULL), 0);
        ck_assert_str_eq(data, "old");
        ck_assert_int_eq(write_file_atomic_at(-EBADF, absolute, "x", 1, 0600, false), 0);
        assert_names("abs keep link");
}
END_TEST

START_TEST(directories_are_made_and_opened) {
        _cleanup_close_ int fd = -EBADF;
        char longest[PATH_MAX + 1];

        memset(longest, 'a', sizeof(longest) - 1);
        longest[sizeof(longest) - 1] = 0;
        put_file("file", "", 0);
        ck_assert_int_eq(mkdir_p_at(dir_fd, "a/b/c", 0755), 0);
        ck_assert_int_eq(mkdir_p_at(dir_fd, "a/b/c/", 0755), 0);
        ck_assert_int_eq(mkdir_p_at(dir_fd, "file", 0755), -ENOTDIR);
        ck_assert_int_eq(mkdir_p_at(dir_fd, "file/x", 0755), -ENOTDIR);
        ck_assert_int_eq(mkdir_p_at(dir_fd, "", 0755), -EINVAL);
        ck_assert_int_eq(mkdir_p_at(dir_fd, longest, 0755), -ENAMETOOLONG);
        fd = open_dir_at(dir_fd, "a/b/c");
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        ck_assert_int_eq(open_dir_at(dir_fd, "/etc"), -EINVAL);
        ck_assert_int_eq(open_dir_at(dir_fd, "file"), -ENOTDIR);
        ck_assert_int_eq(open_dir_at(dir_fd, "absent"), -ENOENT);
}
END_TEST

START_TEST(names_have_a_limit) {
        _cleanup_strv_ char **names = NULL;
        char name[8];

        for (unsigned i = 0; i < 20; i++) {
                (void) snprintf(name, sizeof(name), "%u", i);
                put_file(name, "", 0);
        }
        ck_assert_int_eq(read_dir_names_at(dir_fd, ".", 19, false, &names), -E2BIG);
        ck_assert_int_eq(read_dir_names_at(dir_fd, "absent", 19, false, &names), -ENOENT);
        ck_assert_ptr_null(names);
        ck_assert_int_eq(read_dir_names_at(dir_fd, ".", 20, true, &names), 0);
        ck_assert_uint_eq(strv_length(names), 20);
        ck_assert_str_eq(names[0], "0");
        ck_assert_str_eq(names[2], "10");
}
END_TEST

START_TEST(only_kept_descriptors_stay_open) {
        pid_t child;
        int status;

        child = fork();
        ck_assert_int_ge(child, 0);
        if (child == 0) {
                int a = dup2(STDERR_FILENO, 50), b = dup2(STDERR_FILENO, 51),
                    c = dup2(STDERR_FILENO, 53);
                int d = dup2(STDERR_FILENO, 90);
                const int keep[] = { c, -EBADF, a, a };
                bool good = close_all_except(keep, ELEMENTSOF(keep)) == 0;

                good = good && fcntl(a, F_GETFD) >= 0 && fcntl(c, F_GETFD) >= 0;
                good = good && fcntl(b, F_GETFD) < 0 && fcntl(d, F_GETFD) < 0 &&
                       fcntl(52, F_GETFD) < 0;
                good = good && fcntl(STDERR_FILENO, F_GETFD) >= 0;
                _exit(good ? 0 : 1);
        }
        ck_assert_int_eq(waitpid(child, &status, 0), child);
        ck_assert(WIFEXITED(status));
        ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(close_on_exec_is_switched) {
        _cleanup_close_ int fd = dup(dir_fd);

        ck_assert_int_eq(fd_set_cloexec(fd, true), 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        ck_assert_int_eq(fd_set_cloexec(fd, false), 0);
        ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
        ck_assert_int_eq(fd_set_cloexec(-1, true), -EBADF);
}
END_TEST

static size_t count_open(void) {
        _cleanup_close_ int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_strv_ char **names = NULL;

        ck_assert_int_eq(read_dir_names_at(root, "proc/self/fd", 1000, false, &names), 0);
        return strv_length(names);
}

START_TEST(messages_carry_descriptors) {
        int pair[2], fds[3], sent[2] = { dir_fd, dir_fd };
        struct ucred sender = {};
        size_t n_fds = ELEMENTSOF(fds);
        char buffer[16];
        struct stat a, b;
        const int on = 1;

        ck_assert_int_eq(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        ck_assert_int_eq(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)), 0);
        ck_assert_int_eq(message_receive(pair[1], buffer, sizeof(buffer), NULL, NULL, NULL),
                         -EAGAIN);
        ck_assert_int_eq(message_send(pair[0], "hello", 5, sent, 2), 5);
        ck_assert_int_eq(message_receive(pair[1], buffer, sizeof(buffer), fds, &n_fds, &sender), 5);
        ck_assert_uint_eq(n_fds, 2);
        ck_assert_int_eq(sender.pid, getpid());
        ck_assert_int_eq(fcntl(fds[1], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        ck_assert_int_eq(fstat(fds[0], &a), 0);
        ck_assert_int_eq(fstat(dir_fd, &b), 0);
        ck_assert_uint_eq(a.st_ino, b.st_ino);
        (void) close(fds[0]);
        (void) close(fds[1]);
        (void) close(pair[0]);
        ck_assert_int_eq(message_receive(pair[1], buffer, sizeof(buffer), NULL, NULL, NULL), 0);
        ck_assert_int_eq(message_send(pair[1], "x", 1, NULL, 0), -EPIPE);
        (void) close(pair[1]);
}
END_TEST

/* A cut message, or more descriptors than there is room for, is refused and leaks none. */
START_TEST(cut_messages_leak_nothing) {
        int pair[2], fds[2], sent[3] = { dir_fd, dir_fd, dir_fd };
        size_t n_fds, before;
        char buffer[4];

        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        before = count_open();
        n_fds = 2;
        ck_assert_int_eq(message_send(pair[0], "abc", 3, sent, 3), 3);
        ck_assert_int_eq(message_receive(pair[1], buffer, sizeof(buffer), fds, &n_fds, NULL),
                         -EMSGSIZE);
        n_fds = 2;
        ck_assert_int_eq(message_send(pair[0], "too long", 8, sent, 1), 8);
        ck_assert_int_eq(message_receive(pair[1], buffer, sizeof(buffer), fds, &n_fds, NULL),
                         -EMSGSIZE);
        ck_assert_int_eq(message_send(pair[0], "abc", 3, sent, 1), 3);
        ck_assert_int_eq(message_receive(pair[1], buffer, sizeof(buffer), NULL, NULL, NULL),
                         -EMSGSIZE);
        ck_assert_uint_eq(count_open(), before);
        ck_assert_int_eq(message_send(pair[0], "x", 1, sent, 1000), -E2BIG);
        ck_assert_int_eq(message_send(-1, "x", 1, NULL, 0), -EBADF);
        (void) close(pair[0]);
        (void) close(pair[1]);
}
END_TEST

static void add_tests(TCase *tc) {
        tcase_add_checked_fixture(tc, set_up, tear_down);
        ADD_TABLE(tc, attribute_is_read_within_its_buffer, attributes);
        tcase_add_test(tc, reading_what_is_no_file_fails);
        tcase_add_test(tc, file_is_read_up_to_its_limit);
        tcase_add_test(tc, attribute_is_written_once);
        tcase_add_test(tc, links_are_read_whole_or_refused);
        tcase_add_test(tc, positioned_read_stops_at_the_end);
        tcase_add_loop_test(tc, atomic_write_replaces_or_leaves, 0, 2);
        tcase_add_test(tc, atomic_write_replaces_a_link);
        tcase_add_test(tc, directories_are_made_and_opened);
        tcase_add_test(tc, names_have_a_limit);
        tcase_add_test(tc, only_kept_descriptors_stay_open);
        tcase_add_test(tc, close_on_exec_is_switched);
        tcase_add_test(tc, messages_carry_descriptors);
        tcase_add_test(tc, cut_messages_leak_nothing);
}

UNIT_MAIN("base/fdio", add_tests);
