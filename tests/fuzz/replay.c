/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The main of a fuzz target in an ordinary build: runs it over the files that are named, or over
 * its corpus, that is all of tests/fuzz/corpus/NAME where the program is fuzz-NAME. An empty corpus
 * is an error, since then nothing would be tested.
 */

#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"

#include "fuzz.h"

#define INPUT_MAX (1U << 20)
#define INPUTS_MAX 100000U

static int replay_file(int dir_fd, const char *path) {
        _cleanup_free_ char *data = NULL;
        _cleanup_free_ uint8_t *exact = NULL;
        size_t size;
        int r;

        r = read_file_at(dir_fd, path, INPUT_MAX, &data, &size);
        if (r < 0) {
                fprintf(stderr, "%s: %s\n", path, strerror(-r));
                return r;
        }
        exact = malloc(MAX(size, (size_t) 1)); /* without the NUL, as libFuzzer gives it */
        if (!exact)
                return -ENOMEM;
        memcpy(exact, data, size);
        (void) LLVMFuzzerTestOneInput(exact, size);
        return 0;
}

static int replay_corpus(const char *program, unsigned *ret_n) {
        const char *top = getenv("top_srcdir"), *base = strrchr(program, '/');
        _cleanup_free_ char *path = NULL;
        _cleanup_strv_ char **names = NULL;
        _cleanup_close_ int fd = -EBADF;
        int r;

        base = base ? base + 1 : program;
        if (strncmp(base, "fuzz-", 5) != 0)
                return -EINVAL;
        path = strjoinf("%s/tests/fuzz/corpus/%s", top ? top : ".", base + 5);
        if (!path)
                return -ENOMEM;
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                fprintf(stderr, "%s: %s\n", path, strerror(-r));
                return r;
        }
        r = read_dir_names_at(fd, ".", INPUTS_MAX, true, &names);
        if (r < 0)
                return r;
        for (size_t i = 0; names && names[i]; i++, (*ret_n)++) {
                r = replay_file(fd, names[i]);
                if (r < 0)
                        return r;
        }
        if (*ret_n == 0)
                fprintf(stderr, "%s: empty\n", path);
        return *ret_n == 0 ? -ENOENT : 0;
}

int main(int argc, char **argv) {
        unsigned n = 0;
        int r = 0;

        if (argc < 2)
                r = replay_corpus(argv[0], &n);
        for (int i = 1; i < argc && r >= 0; i++, n++)
                r = replay_file(AT_FDCWD, argv[i]);
        printf("%u passed, %d failed\n", n, r < 0);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
