/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Scope-bound ownership. A local that owns something is declared with a _cleanup_ macro and
 * initialised at once; TAKE_PTR() and TAKE_FD() hand it over.
 */

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(a, b) __attribute__((format(printf, a, b)))
#define _unused_ __attribute__((unused))
#define _sentinel_ __attribute__((sentinel))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

/* Conditions that are never or always true as far as anybody can tell, checked all the same. Where
 * branches are counted they are constants, as assert() is nothing there: no test can take them. */
#ifdef COVERAGE_TEST
#define NEVER(x) 0
#define ALWAYS(x) 1
#else
#define NEVER(x) (x)
#define ALWAYS(x) (x)
#endif

#define TAKE_PTR(p)                         \
        ({                                  \
                __typeof__(p) *_pp = &(p);  \
                __typeof__(p) _taken = *_pp;\
                *_pp = NULL;                \
                _taken;                     \
        })

#define TAKE_FD(fd)                         \
        ({                                  \
                int *_fdp = &(fd);          \
                int _taken_fd = *_fdp;      \
                *_fdp = -EBADF;             \
                _taken_fd;                  \
        })

/* Makes a cleanup function `func##p` out of a destructor that takes a pointer. */
#define DEFINE_CLEANUP(type, func)                    \
        static inline void func##p(type *p) {         \
                if (*p)                               \
                        func(*p);                     \
        }                                             \
        struct cleanup_needs_a_semicolon_##func

static inline void freep(void *p) {
        free(*(void **) p);
}

/* Closes, keeps errno, returns -EBADF so that `fd = safe_close(fd)` reads well. */
static inline int safe_close(int fd) {
        if (fd >= 0) {
                int saved = errno;
                (void) close(fd);
                errno = saved;
        }
        return -EBADF;
}

static inline void closep(int *fd) {
        (void) safe_close(*fd);
}

static inline void fclosep(FILE **f) {
        if (*f)
                (void) fclose(*f);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)
#define _cleanup_fclose_ _cleanup_(fclosep)

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

static inline bool streq_ptr(const char *a, const char *b) {
        return a == b || (a && b && streq(a, b));
}

static inline const char *strempty(const char *s) {
        return s ? s : "";
}

static inline bool isempty(const char *s) {
        return !s || !s[0];
}

/* Grows *array (of n elements) so that one more fits; 0 or -ENOMEM. Capacity doubles, counted by
 * *allocated. */
int array_reserve_one(void **array, size_t n, size_t *allocated, size_t element_size);
#define ARRAY_RESERVE_ONE(array, n, allocated) \
        array_reserve_one((void **) &(array), (n), &(allocated), sizeof((array)[0]))
