/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What every Check program of the unit tier shares. A program has tests over tables (START_TEST …
 * END_TEST with tcase_add_loop_test) and ends with UNIT_MAIN(name, function that adds them to a
 * case).
 */

#include <check.h>
#include <ftw.h>
#include <sys/stat.h>

#include "base/cleanup.h"

#define UNIT_TIMEOUT_SEC 60

/* One loop run of the test per element of the table. */
#define ADD_TABLE(tcase, test, table) \
        tcase_add_loop_test((tcase), (test), 0, (int) ELEMENTSOF(table))

static inline int unit_run(const char *name, void (*add)(TCase *tcase)) {
        Suite *suite = suite_create(name);
        TCase *tcase = tcase_create(name);
        SRunner *runner;
        int failed;

        tcase_set_timeout(tcase, UNIT_TIMEOUT_SEC);
        add(tcase);
        suite_add_tcase(suite, tcase);
        runner = srunner_create(suite);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

#define UNIT_MAIN(name, add)                \
        int main(void) {                    \
                return unit_run(name, add); \
        }                                   \
        struct unit_main_needs_a_semicolon

/* A fresh directory below $TMPDIR; its path is malloc'd. */
static inline char *unit_make_dir(void) {
        const char *base = getenv("TMPDIR");
        char *path = NULL;

        ck_assert_int_ge(asprintf(&path, "%s/unit-XXXXXX", isempty(base) ? "/tmp" : base), 0);
        ck_assert_ptr_nonnull(mkdtemp(path));
        return path;
}

static inline int unit_remove_one(const char *path, const struct stat *st _unused_,
                                  int flag _unused_, struct FTW *ftw _unused_) {
        return remove(path);
}

/* Removes what unit_make_dir() made, with all in it, and frees the path. */
static inline void unit_remove_dir(char *path) {
        ck_assert_int_eq(nftw(path, unit_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
        free(path);
}
