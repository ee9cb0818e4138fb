/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Preloaded into the daemon: the n-th allocation from now on fails, once or all after it, as the
 * file named by FAILING_MALLOC says, which the test maps as well. Nothing fails while the countdown
 * is 0.
 */

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* glibc's own, under the names that it keeps for such wrappers. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

typedef struct Control {
        int64_t countdown; /* the allocation that takes it to 0 fails */
        int64_t forever;   /* and all after it */
        int64_t failed;    /* how many did */
} Control;

static Control *control;

static __attribute__((constructor)) void map_control(void) {
        const char *path = getenv("FAILING_MALLOC");
        int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        void *p;

        if (fd < 0)
                return;
        p = mmap(NULL, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        (void) close(fd);
        if (p != MAP_FAILED)
                control = p;
        (void) unsetenv("LD_PRELOAD"); /* the daemon alone, not what it starts */
}

/* countdown n: n - 1 allocations are granted, the next is refused. */
static int refused(void) {
        if (!control || control->countdown == 0 || --control->countdown > 0)
                return 0;
        control->countdown = control->forever ? 1 : 0;
        control->failed++;
        errno = ENOMEM;
        return 1;
}

void *malloc(size_t n) {
        return refused() ? NULL : __libc_malloc(n);
}

void *calloc(size_t n, size_t size) {
        return refused() ? NULL : __libc_calloc(n, size);
}

void *realloc(void *p, size_t n) {
        return refused() ? NULL : __libc_realloc(p, n);
}
