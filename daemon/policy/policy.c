/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A policy: its files read one after the other, what their rules leave out filled in from the
 * defaults, the index built. Only then is it there, and nothing changes it any more. Without any
 * file it is what is built in: every owner string, by root and managers, nothing done to a device
 * that nobody asked for.
 */

#include "policy/policy.h"

#include <assert.h>

#include "policy/policy-private.h"

#define SECOND UINT64_C(1000000)
#define ALL_KEYS ((UINT64_C(1) << _POLICY_KEY_MAX) - 1)
_Static_assert(_POLICY_KEY_MAX < 64, "a rule has a bit for each key");

/* The same as `standard` of each key says. */
void policy_settings_init(PolicySettings *s) {
        assert(s);
        *s = (PolicySettings) {
                .limit = UINT32_MAX,
                .vfs = UINT32_MAX,
                .lifetimes = POLICY_LIFETIME_ALL,
                .ready_timeout = 60 * SECOND,
                .correctable.then = POLICY_ERROR_NOTIFY,
                .non_fatal.then = POLICY_ERROR_NOTIFY | POLICY_ERROR_RECOVER,
                .fatal.then = POLICY_ERROR_NOTIFY | POLICY_ERROR_RECOVER | POLICY_ERROR_QUARANTINE,
                .unplug_grace = 30 * SECOND,
                .surprise_grace = 5 * SECOND,
                .release_grace = 30 * SECOND,
                .unplug_then = POLICY_THEN_REFUSE,
        };
}

static Policy *policy_new(void) {
        Policy *p = calloc(1, sizeof(*p));

        if (!p)
                return NULL;
        p->hash = HASH_INIT;
        p->defaults = (PolicyRule) {
                .name = "", .file = "built-in", .pointer = "", .index = SIZE_MAX
        };
        policy_settings_init(&p->defaults.settings);
        return p;
}

/* What the rules leave out, from the defaults. */
static void complete(Policy *p) {
        for (size_t i = 0; i < p->n_rules; i++) {
                PolicyRule *rule = &p->rules[i]->rule;

                for (uint64_t rest = ~rule->set & ALL_KEYS; rest; rest &= rest - 1) {
                        unsigned k = (unsigned) __builtin_ctzll(rest);

                        memcpy(policy_settings_field(&rule->settings, k),
                               policy_settings_field(&p->defaults.settings, k),
                               policy_key_info(k)->size);
                        rule->origins[k] = p->defaults.origins[k];
                }
        }
}

/* A word at a time, since files may be large; the last one is filled up with zeroes, which the size
 * that went in first tells apart. */
static uint64_t hash_words(uint64_t h, const char *data, size_t n) {
        for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
                uint64_t word = 0;

                memcpy(&word, data + i, MIN(sizeof(word), n - i));
                h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
                h ^= h >> 29;
        }
        return h;
}

static void add_to_hash(Policy *p, const PolicyText *t) {
        uint64_t sizes[] = { strlen(t->file), t->size };

        p->hash = hash_words(p->hash, (const char *) sizes, sizeof(sizes));
        p->hash = hash_words(p->hash, t->file, strlen(t->file));
        p->hash = hash_words(p->hash, t->text, t->size);
}

static int read_files(PolicyReader *x, const PolicyText *texts, size_t n) {
        if (n > POLICY_FILES_MAX) {
                x->text = texts + POLICY_FILES_MAX;
                policy_problem_add(x, 0, strdup(""), strjoinf("%zu files", n),
                                   strjoinf("at most %u", POLICY_FILES_MAX));
                return x->failed ? -ENOMEM : 0;
        }
        for (size_t i = 0; i < n; i++) {
                int r = policy_file_read(x, texts + i);

                if (r < 0)
                        return r;
                add_to_hash(x->policy, texts + i);
        }
        return 0;
}

int policy_compile(const PolicyText *texts, size_t n, const PolicyOptions *options,
                   PolicyProblems *problems, Policy **ret) {
        _cleanup_(policy_freep) Policy *p = policy_new();
        _cleanup_(hashmap_freep) Hashmap *names = hashmap_new_string();
        PolicyReader x = { .policy = p, .options = options, .problems = problems, .names = names };
        int r;

        assert(texts || n == 0);
        assert(problems);
        assert(ret);
        *problems = (PolicyProblems) {};
        if (!p || !names)
                return -ENOMEM;
        r = read_files(&x, texts, n);
        if (r >= 0 && problems->n > 0)
                return -EBADMSG;
        if (r >= 0) {
                complete(p);
                r = policy_index_build(p);
        }
        if (r < 0) {
                policy_problems_done(problems);
                return r;
        }
        *ret = TAKE_PTR(p);
        return 0;
}

Policy *policy_free(Policy *p) {
        if (!p)
                return NULL;
        policy_index_done(&p->index);
        policy_arena_done(&p->arena);
        free(p->rules);
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
        return &p->rules[i]->rule;
}

const PolicyRule *policy_defaults(const Policy *p) {
        assert(p);
        return &p->defaults;
}
