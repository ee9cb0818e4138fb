/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one out-of-line part of cleanup.h: growing an array. Capacity doubles, so that n appends cost
 * O(n) copies; every multiplication is checked, since counts can come from outside.
 */

#include "base/cleanup.h"

#include <assert.h>

int array_reserve_one(void **array, size_t n, size_t *allocated, size_t element_size) {
        size_t want, bytes;
        void *p;

        assert(array);
        assert(allocated);
        assert(element_size > 0);
        assert(n <= *allocated);

        if (n < *allocated)
                return 0;
        want = *allocated == 0 ? 8 : *allocated * 2;
        if (want <= n || __builtin_mul_overflow(want, element_size, &bytes))
                return -ENOMEM;
        p = realloc(*array, bytes);
        if (!p)
                return -ENOMEM;
        *array = p;
        *allocated = want;
        return 0;
}
