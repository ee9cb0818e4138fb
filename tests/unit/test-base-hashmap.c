/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * base/hashmap against a plain array as its model, under many additions and removals; order of
 * iteration; removal while iterating.
 */

#include "base/hashmap.h"

#include "unit.h"

#define KEYS 5000U
#define STEPS 200000U

START_TEST(strings_are_found_by_content) {
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new_string();
        char one[] = "one", same[] = "one", two[] = "two";

        ck_assert_int_eq(hashmap_put(m, one, one), 0);
        ck_assert_int_eq(hashmap_put(m, same, two), -EEXIST);
        ck_assert_int_eq(hashmap_put(m, two, two), 0);
        ck_assert_ptr_eq(hashmap_get(m, same), one);
        ck_assert_ptr_null(hashmap_get(m, ""));
        ck_assert_uint_eq(hashmap_size(m), 2);
        ck_assert_ptr_eq(hashmap_remove(m, "one"), one);
        ck_assert_ptr_null(hashmap_remove(m, "one"));
        ck_assert_ptr_null(hashmap_get(m, "one"));
        ck_assert_uint_eq(hashmap_size(m), 1);
}
END_TEST

START_TEST(an_empty_map_answers) {
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new_u64();
        HashmapIterator i = {};

        ck_assert_ptr_null(hashmap_get_u64(m, 0));
        ck_assert_ptr_null(hashmap_remove_u64(m, UINT64_MAX));
        ck_assert_ptr_null(hashmap_next(m, &i));
        ck_assert_ptr_null(hashmap_next(NULL, &i));
        ck_assert_uint_eq(hashmap_size(NULL), 0);
        ck_assert_ptr_null(hashmap_free(NULL));
}
END_TEST

/* A random walk of puts and removes; after it map and model agree on every key. */
START_TEST(map_agrees_with_a_model) {
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new_u64();
        _cleanup_free_ bool *model = calloc(KEYS, sizeof(bool));
        _cleanup_free_ char *values = malloc(KEYS);
        uint64_t random = (uint64_t) _i * 0x9e3779b97f4a7c15 + 1;
        size_t n = 0, seen = 0;
        char *value;

        for (unsigned step = 0; step < STEPS; step++) {
                random = random * 6364136223846793005 + 1442695040888963407;
                unsigned k = (unsigned) (random >> 33) % KEYS;
                /* Keys that differ in high bits only must spread as well. */
                uint64_t key = (uint64_t) k << 40;

                if (random >> 63) {
                        ck_assert_int_eq(hashmap_put_u64(m, key, &values[k]),
                                         model[k] ? -EEXIST : 0);
                        n += !model[k];
                        model[k] = true;
                } else {
                        ck_assert_ptr_eq(hashmap_remove_u64(m, key), model[k] ? &values[k] : NULL);
                        n -= model[k];
                        model[k] = false;
                }
                ck_assert_uint_eq(hashmap_size(m), n);
        }
        for (unsigned k = 0; k < KEYS; k++)
                ck_assert_ptr_eq(hashmap_get_u64(m, (uint64_t) k << 40),
                                 model[k] ? &values[k] : NULL);
        HASHMAP_FOREACH(value, m) {
                ck_assert(model[value - values]);
                model[value - values] = false;
                seen++;
        }
        ck_assert_uint_eq(seen, n);
}
END_TEST

START_TEST(iteration_follows_insertion_and_bears_removal) {
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new_u64();
        unsigned numbers[1000], expected = 0, *value;

        for (unsigned i = 0; i < ELEMENTSOF(numbers); i++) {
                numbers[i] = i;
                ck_assert_int_eq(hashmap_put_u64(m, i * 7919ULL, &numbers[i]), 0);
        }
        HASHMAP_FOREACH(value, m) {
                ck_assert_uint_eq(*value, expected++);
                if (*value % 3 != 0)
                        ck_assert_ptr_eq(hashmap_remove_u64(m, *value * 7919ULL), value);
        }
        ck_assert_uint_eq(expected, ELEMENTSOF(numbers));
        expected = 0;
        HASHMAP_FOREACH(value, m) {
                ck_assert_uint_eq(*value, expected);
                expected += 3;
        }
        ck_assert_uint_eq(hashmap_size(m), 334);
        /* What is put anew comes last, also across growth. */
        for (unsigned i = 0; i < ELEMENTSOF(numbers); i++)
                ck_assert_int_eq(hashmap_put_u64(m, i * 7919ULL, &numbers[i]),
                                 i % 3 == 0 ? -EEXIST : 0);
        expected = 0;
        HASHMAP_FOREACH(value, m) {
                if (expected >= 334)
                        ck_assert_uint_ne(*value % 3, 0);
                expected++;
        }
        ck_assert_uint_eq(expected, ELEMENTSOF(numbers));
}
END_TEST

static void add_tests(TCase *tc) {
        tcase_add_test(tc, strings_are_found_by_content);
        tcase_add_test(tc, an_empty_map_answers);
        tcase_add_loop_test(tc, map_agrees_with_a_model, 0, 4);
        tcase_add_test(tc, iteration_follows_insertion_and_bears_removal);
}

UNIT_MAIN("base/hashmap", add_tests);
