/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the fuzz targets share. A target is one file that defines LLVMFuzzerTestOneInput();
 * libFuzzer gives it a main in a build with --enable-fuzzers, replay.c in any other. Whatever does
 * not hold ends the program by fuzz_require(), so that an input that breaks an invariant counts as
 * a crash.
 */

#include "base/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_require(condition)                                                                    \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__,          \
                                #condition);                                                       \
                        abort();                                                                   \
                }                                                                                  \
        } while (false)

/* The bytes with a NUL behind them, on the heap, so that a read beyond is seen. */
static inline char *fuzz_text(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);

        fuzz_require(text);
        if (size > 0)
                memcpy(text, data, size);
        text[size] = 0;
        return text;
}
