/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An open-addressing hash map with a per-process random seed. Keys are either strings (borrowed:
 * they must live as long as the entry, usually inside the value) or 64-bit numbers. Values are
 * borrowed pointers, never NULL. Iteration follows insertion; while iterating only the entry at
 * hand may be removed, and nothing added.
 */

#include "base/cleanup.h"

typedef struct Hashmap Hashmap;
typedef struct HashmapIterator {
        size_t index;
} HashmapIterator;

Hashmap *hashmap_new_string(void);
Hashmap *hashmap_new_u64(void);
Hashmap *hashmap_free(Hashmap *m); /* NULL is fine; values stay */
DEFINE_CLEANUP(Hashmap *, hashmap_free);

/* 0, -EEXIST when the key is there, -ENOMEM. */
int hashmap_put(Hashmap *m, const char *key, void *value);
int hashmap_put_u64(Hashmap *m, uint64_t key, void *value);
void *hashmap_get(const Hashmap *m, const char *key);
void *hashmap_get_u64(const Hashmap *m, uint64_t key);
void *hashmap_remove(Hashmap *m, const char *key); /* the value, or NULL */
void *hashmap_remove_u64(Hashmap *m, uint64_t key);
size_t hashmap_size(const Hashmap *m);
/* The next value, or NULL at the end. */
void *hashmap_next(const Hashmap *m, HashmapIterator *i);
#define HASHMAP_FOREACH(value, m) \
        for (HashmapIterator _i_##value = {}; ((value) = hashmap_next((m), &_i_##value));)
