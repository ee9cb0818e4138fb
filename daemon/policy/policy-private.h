/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a compiled policy is made of; inside this folder only. */

#include "policy/policy.h"

/* Memory that lives as long as the policy: nothing in it is freed by itself. */
typedef struct PolicyChunk PolicyChunk;
typedef struct PolicyArena {
        PolicyChunk *last;
} PolicyArena;
void *policy_arena_allocate(PolicyArena *a, size_t size); /* zeroed, aligned to 8; NULL on OOM */
char *policy_arena_copy(PolicyArena *a, const char *s, size_t n); /* terminated */
void policy_arena_done(PolicyArena *a);

struct Policy {
        PolicyArena arena;
        uint64_t hash;
        PolicyRule defaults;
        PolicyRule *rules;
        size_t n_rules;
};

/* The values of a host without any rule. */
void policy_settings_init(PolicySettings *s);
