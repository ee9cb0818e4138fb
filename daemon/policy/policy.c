/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A compiled policy and what can be asked of it: its rules, its defaults, the hash that tells an
 * unchanged one. Without any file it is what is built in: every owner string, by root and managers,
 * nothing done to a device that nobody asked for.
 */

#include "policy/policy.h"

#include <assert.h>

#include "base/strutil.h"
#include "policy/policy-private.h"

void policy_settings_init(PolicySettings *s) {
        assert(s);
        *s = (PolicySettings) {
                .limit = UINT32_MAX,
                .lifetimes = POLICY_LIFETIME_ALL,
                .ready_timeout = 60 * UINT64_C(1000000),
                .correctable.then = POLICY_ERROR_NOTIFY,
                .non_fatal.then = POLICY_ERROR_NOTIFY | POLICY_ERROR_RECOVER,
                .fatal.then = POLICY_ERROR_NOTIFY | POLICY_ERROR_RECOVER | POLICY_ERROR_QUARANTINE,
                .unplug_grace = 30 * UINT64_C(1000000),
                .surprise_grace = 5 * UINT64_C(1000000),
                .release_grace = 30 * UINT64_C(1000000),
                .unplug_then = POLICY_THEN_REFUSE,
        };
}

int policy_compile(const PolicyText *texts, size_t n, const PolicyOptions *options _unused_,
                   PolicyProblems *problems, Policy **ret) {
        _cleanup_(policy_freep) Policy *p = NULL;

        assert(texts || n == 0);
        assert(problems);
        assert(ret);
        if (n > 0)
                return -EOPNOTSUPP;
        p = calloc(1, sizeof(*p));
        if (!p)
                return -ENOMEM;
        p->hash = HASH_INIT;
        p->defaults = (PolicyRule) {
                .name = "", .file = "built-in", .pointer = "", .index = SIZE_MAX
        };
        policy_settings_init(&p->defaults.settings);
        *ret = TAKE_PTR(p);
        return 0;
}

Policy *policy_free(Policy *p) {
        if (!p)
                return NULL;
        policy_arena_done(&p->arena);
        free(p);
        return NULL;
}

uint64_t policy_hash(const Policy *p) {
        assert(p);
        return p->hash;
}

size_t policy_n_rules(const Policy *p) {
        assert(p);
        return p->n_rules;
}

const PolicyRule *policy_rule_at(const Policy *p, size_t i) {
        assert(p);
        assert(i < p->n_rules);
        return p->rules + i;
}

const PolicyRule *policy_defaults(const Policy *p) {
        assert(p);
        return &p->defaults;
}

const PolicyRule *policy_match(const Policy *p, const PolicySubject *s) {
        assert(p);
        assert(s);
        return &p->defaults;
}
