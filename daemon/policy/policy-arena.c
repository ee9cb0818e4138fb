/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Memory of a policy: chunks that are filled from the front and go all at once. A policy is built
 * once and never changed, so nothing in it needs a life of its own.
 */

#include <assert.h>

#include "policy/policy-private.h"

#define CHUNK_SIZE (64U << 10)
#define ALIGNMENT 8U

struct PolicyChunk {
        PolicyChunk *next;
        size_t used, size;
        _Alignas(ALIGNMENT) char data[];
};

void *policy_arena_allocate(PolicyArena *a, size_t size) {
        PolicyChunk *c;
        void *p;

        assert(a);
        if (size > SIZE_MAX / 2)
                return NULL;
        size = (size + ALIGNMENT - 1) & ~(size_t) (ALIGNMENT - 1);
        c = a->last;
        if (!c || c->size - c->used < size) {
                size_t room = MAX(size, (size_t) CHUNK_SIZE);
                c = calloc(1, sizeof(*c) + room);
                if (!c)
                        return NULL;
                c->size = room;
                c->next = a->last;
                a->last = c;
        }
        p = c->data + c->used;
        c->used += size;
        return p;
}

char *policy_arena_copy(PolicyArena *a, const char *s, size_t n) {
        char *copy;

        assert(s || n == 0);
        copy = policy_arena_allocate(a, n + 1);
        if (copy && n > 0)
                memcpy(copy, s, n);
        return copy;
}

void policy_arena_done(PolicyArena *a) {
        assert(a);
        while (a->last) {
                PolicyChunk *next = a->last->next;
                free(a->last);
                a->last = next;
        }
}
