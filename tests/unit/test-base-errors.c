/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The small parts of base: the error table and the Error object, log lines, arrays, lists, clocks.
 */

#include "base/errors.h"

#include <fcntl.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/list.h"
#include "base/log.h"
#include "unit.h"

START_TEST(each_code_has_its_own_name_and_errno) {
        ErrorCode code = (ErrorCode) _i;

        ck_assert_int_eq(error_code_from_string(error_code_to_string(code)), code);
        ck_assert_int_eq(error_code_from_string(error_code_to_dbus_name(code)), code);
        ck_assert(strncmp(error_code_to_dbus_name(code), ERROR_DBUS_PREFIX,
                          strlen(ERROR_DBUS_PREFIX)) == 0);
        ck_assert_uint_gt(strlen(error_code_to_doc(code)), 5);
        ck_assert_int_eq(error_code_to_exit(code) == 0, code == ERROR_NONE);
        ck_assert_int_eq(error_code_to_errno(code) == 0, code == ERROR_NONE);
        for (int other = 0; other < _ERROR_MAX; other++)
                if (other != _i) {
                        ck_assert_int_ne(error_code_to_errno((ErrorCode) other),
                                         error_code_to_errno(code));
                        ck_assert_str_ne(error_code_to_string((ErrorCode) other),
                                         error_code_to_string(code));
                }
}
END_TEST

START_TEST(unknown_names_are_no_code) {
        ck_assert_int_eq(error_code_from_string("notfound"), ERROR_NONE);
        ck_assert_int_eq(error_code_from_string(""), ERROR_NONE);
        ck_assert_int_eq(error_code_from_string(NULL), ERROR_NONE);
}
END_TEST

START_TEST(error_is_set_prefixed_and_moved) {
        _cleanup_error_ Error a = ERROR_INIT, b = ERROR_INIT;

        ck_assert_int_eq(error_set(&a, ERROR_BUSY, "device %d", 7), -EBUSY);
        ck_assert_str_eq(a.message, "device 7");
        error_take_details(&a, strdup("{}"));
        ck_assert_int_eq(error_prefix(&a, "assign %s", "x"), -EBUSY);
        ck_assert_str_eq(a.message, "assign x: device 7");
        ck_assert_str_eq(a.details, "{}");
        error_move(&b, &a);
        ck_assert_int_eq(a.code, ERROR_NONE);
        ck_assert_ptr_null(a.details);
        ck_assert_str_eq(b.details, "{}");
        /* The old message may be an argument of the new one; the details belong to what was
         * there. */
        ck_assert_int_eq(error_set(&b, ERROR_GONE, "after %s", b.message), -ENOLINK);
        ck_assert_str_eq(b.message, "after assign x: device 7");
        ck_assert_ptr_null(b.details);
}
END_TEST

START_TEST(error_without_object_gives_its_errno) {
        Error a = ERROR_INIT;

        ck_assert_int_eq(error_set(NULL, ERROR_INVALID, "x"), -EINVAL);
        ck_assert_int_lt(error_prefix(NULL, "x"), 0);
        error_take_details(NULL, strdup("freed"));
        ck_assert_int_eq(error_set(&a, ERROR_FAILED, "x"), -EIO);
        error_take_details(&a, strdup("freed as well"));
        error_move(NULL, &a);
        ck_assert_int_eq(a.code, ERROR_NONE);
        error_done(NULL);
}
END_TEST

START_TEST(messages_are_cut_not_grown) {
        _cleanup_error_ Error a = ERROR_INIT;
        char text[3 * ERROR_MESSAGE_MAX];

        memset(text, 'x', sizeof(text) - 1);
        text[sizeof(text) - 1] = 0;
        (void) error_set(&a, ERROR_FAILED, "%s", text);
        ck_assert_uint_eq(strlen(a.message), ERROR_MESSAGE_MAX - 1);
        (void) error_prefix(&a, "prefix");
        ck_assert_uint_eq(strlen(a.message), ERROR_MESSAGE_MAX - 1);
        ck_assert(strncmp(a.message, "prefix: xxx", 11) == 0);
        (void) error_prefix(&a, "%s", text);
        ck_assert_uint_eq(strlen(a.message), ERROR_MESSAGE_MAX - 1);
}
END_TEST

/* Runs in the test's own process, so that standard error can be taken. */
static char *captured(int level, int error, const char *text, int expected) {
        char *dir = unit_make_dir(), *out = NULL;
        _cleanup_close_
        int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), saved = dup(STDERR_FILENO);
        int fd = openat(dir_fd, "err", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        LogContext context = { .message_id = "x", .device = "0000:01:00.0", .job = 3 };

        ck_assert_int_ge(fd, 0);
        ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
        (void) close(fd);
        errno = ENOTTY;
        ck_assert_int_eq(log_full(level, error, "file", 1, "%s: %m", text), expected);
        ck_assert_int_eq(errno, ENOTTY);
        ck_assert_int_eq(log_context(&context, level, error, "%s", text), expected);
        ck_assert_int_ge(dup2(saved, STDERR_FILENO), 0);
        ck_assert_int_eq(read_file_at(dir_fd, "err", 65536, &out, NULL), 0);
        unit_remove_dir(dir);
        return out;
}

START_TEST(log_writes_one_safe_line_a_message) {
        _cleanup_free_ char *line = NULL, *quiet = NULL, *named = NULL;

        (void) unsetenv("JOURNAL_STREAM");
        log_set_level(LOG_INFO);
        line = captured(LOG_ERR, -EBUSY, "a\nb\x1b", -EBUSY);
        ck_assert_str_eq(line, "a\\x0ab\\x1b: Device or resource busy\na\\x0ab\\x1b\n");
        quiet = captured(LOG_DEBUG, EBUSY, "unheard", -EBUSY);
        ck_assert_str_eq(quiet, "");
        log_set_program("prog");
        log_set_level(LOG_DEBUG);
        ck_assert_int_eq(log_get_level(), LOG_DEBUG);
        named = captured(LOG_DEBUG, 0, "heard", 0);
        ck_assert_str_eq(named, "prog: heard: Success\nprog: heard\n");
}
END_TEST

START_TEST(log_lines_have_a_limit) {
        _cleanup_free_ char *text = calloc(1, 100001), *lines = NULL;

        (void) setenv("JOURNAL_STREAM", "12:x", 1);
        memset(text, 1, 100000); /* four times as long when escaped */
        lines = captured(LOG_ERR, 0, text, 0);
        ck_assert_uint_lt(strlen(lines), 8192);
        ck_assert_int_eq(lines[strlen(lines) - 1], '\n');
}
END_TEST

static const struct {
        const char *name;
        int level;
} log_levels[] = {
        { "error", LOG_ERR }, { "warning", LOG_WARNING }, { "notice", LOG_NOTICE },
        { "info", LOG_INFO }, { "debug", LOG_DEBUG },     { "Debug", -EINVAL },
        { "", -EINVAL },      { NULL, -EINVAL },
};

START_TEST(log_levels_have_names) {
        ck_assert_int_eq(log_level_from_string(log_levels[_i].name), log_levels[_i].level);
}
END_TEST

START_TEST(array_doubles_and_refuses_overflow) {
        _cleanup_free_ uint32_t *numbers = NULL;
        size_t allocated = 0, absurd = SIZE_MAX / 2 + 1;
        void *untouched = NULL;

        for (size_t n = 0; n < 1000; n++) {
                ck_assert_int_eq(ARRAY_RESERVE_ONE(numbers, n, allocated), 0);
                ck_assert_uint_gt(allocated, n);
                numbers[n] = (uint32_t) n;
        }
        ck_assert_uint_eq(numbers[999], 999);
        ck_assert_int_eq(array_reserve_one(&untouched, absurd, &absurd, 1), -ENOMEM);
        absurd = SIZE_MAX / 8;
        ck_assert_int_eq(array_reserve_one(&untouched, absurd, &absurd, 16), -ENOMEM);
        ck_assert_ptr_null(untouched);
}
END_TEST

typedef struct Item {
        unsigned number;
        ListLink link;
} Item;

START_TEST(list_keeps_order_and_bears_unlinking) {
        Item items[5] = {};
        ListLink head;
        unsigned sum = 0, order = 0;

        list_init(&head);
        ck_assert(list_is_empty(&head));
        for (unsigned i = 0; i < ELEMENTSOF(items); i++) {
                items[i].number = i;
                ck_assert(!list_is_linked(&items[i].link));
                list_append(&head, &items[i].link);
        }
        LIST_FOREACH(&head, link) {
                Item *item = LIST_ENTRY(link, Item, link);
                ck_assert_uint_eq(item->number, order++);
                if (item->number % 2 == 0)
                        list_unlink(link);
        }
        list_unlink(&items[0].link); /* twice does no harm */
        LIST_FOREACH(&head, link)
                sum += LIST_ENTRY(link, Item, link)->number;
        ck_assert_uint_eq(sum, 1 + 3);
        ck_assert(!list_is_linked(&items[0].link));
}
END_TEST

START_TEST(clocks_run) {
        usec_t before = now_boottime();

        ck_assert_uint_gt(before, 0);
        ck_assert_uint_ge(now_boottime(), before);
        ck_assert_uint_gt(now_realtime(), UINT64_C(1600000000) * USEC_PER_SEC);
}
END_TEST

static void add_tests(TCase *tc) {
        tcase_add_loop_test(tc, each_code_has_its_own_name_and_errno, 0, _ERROR_MAX);
        tcase_add_test(tc, unknown_names_are_no_code);
        tcase_add_test(tc, error_is_set_prefixed_and_moved);
        tcase_add_test(tc, error_without_object_gives_its_errno);
        tcase_add_test(tc, messages_are_cut_not_grown);
        tcase_add_test(tc, log_writes_one_safe_line_a_message);
        tcase_add_test(tc, log_lines_have_a_limit);
        ADD_TABLE(tc, log_levels_have_names, log_levels);
        tcase_add_test(tc, array_doubles_and_refuses_overflow);
        tcase_add_test(tc, list_keeps_order_and_bears_unlinking);
        tcase_add_test(tc, clocks_run);
}

UNIT_MAIN("base/errors", add_tests);
