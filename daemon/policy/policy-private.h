/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a compiled policy is made of, and what reading one needs; inside this folder only. */

#include <inttypes.h>

#include "base/hashmap.h"
#include "base/strutil.h"
#include "policy/policy.h"

/* ---- memory that lives as long as the policy: nothing in it is freed by itself ---- */

typedef struct PolicyChunk PolicyChunk;
typedef struct PolicyArena {
        PolicyChunk *last;
} PolicyArena;
void *policy_arena_allocate(PolicyArena *a, size_t size); /* zeroed, aligned to 8; NULL on OOM */
char *policy_arena_copy(PolicyArena *a, const char *s, size_t n); /* terminated */
void policy_arena_done(PolicyArena *a);

/* ---- compiled ---- */

typedef struct PolicyAlternative {
        uint64_t value, mask; /* the fact & mask is this value … */
        const char *glob;     /* … or, if not NULL, its text matches this */
} PolicyAlternative;

typedef struct PolicyCondition {
        PolicySelector selector;
        uint32_t n;
        const PolicyAlternative *alternatives; /* one of them must hold */
} PolicyCondition;

typedef struct PolicyCompiled {
        PolicyRule rule;
        PolicyCondition *conditions; /* by selector; all must hold */
        size_t n_conditions;
} PolicyCompiled;

/* Which rules can match: lists of rule numbers, ascending, by a fact that their match demands. A
 * rule stands in lists of one kind only. */
typedef struct PolicyList {
        uint64_t key;
        uint32_t first, n; /* in numbers; n == 0: a free slot */
} PolicyList;
typedef struct PolicyIndex {
        PolicyList *lists; /* open addressing */
        size_t n_slots;    /* a power of two; 0 without rules */
        uint32_t *numbers;
        PolicyList any; /* rules that demand nothing that is indexed */
} PolicyIndex;

struct Policy {
        PolicyArena arena;
        uint64_t hash;
        PolicyRule defaults;
        PolicyCompiled **rules;
        size_t n_rules, n_allocated;
        PolicyIndex index;
};

/* The values of a host without any rule. */
void policy_settings_init(PolicySettings *s);
static inline void *policy_settings_field(const PolicySettings *s, PolicyKey k) {
        return (char *) s + policy_key_info(k)->offset;
}
int policy_index_build(Policy *p); /* 0 or -ENOMEM */
void policy_index_done(PolicyIndex *i);

/* Keys of the index: what a subject has, of each kind of list. */
typedef enum PolicyIndexKind {
        POLICY_INDEX_ADDRESS,
        POLICY_INDEX_VENDOR_DEVICE,
        POLICY_INDEX_VENDOR,
        POLICY_INDEX_CLASS, /* the base class */
        POLICY_INDEX_KIND,
        POLICY_INDEX_CXL,
        _POLICY_INDEX_MAX,
} PolicyIndexKind;
static inline uint64_t policy_index_key(PolicyIndexKind kind, uint64_t value) {
        return (uint64_t) (kind + 1) << 56 | value;
}
const PolicyList *policy_index_find(const PolicyIndex *i, uint64_t key); /* NULL: no rule */

/* ---- a subject's facts, as selectors see them ---- */

/* False: it has none, or nobody knows. */
bool policy_fact_number(const PolicySubject *s, PolicySelector selector, uint64_t *ret);
const char *policy_fact_text(const PolicySubject *s, PolicySelector selector,
                             char buffer[PCI_ADDRESS_MAX]);
bool policy_condition_holds(const PolicyCondition *c, const PolicySubject *s);

/* May the caller name the owner that it asks for? */
bool policy_may_own(const PolicySettings *s, const PolicyAsk *ask);

/* ---- reading ---- */

typedef struct PolicyReader {
        Policy *policy;
        const PolicyOptions *options; /* may be NULL */
        PolicyProblems *problems;
        const PolicyText *text;
        const char *file; /* the policy's copy of its path */
        JsonPlaces places;
        Hashmap *names;         /* of the rules so far */
        size_t line_at; unsigned line; /* where the last line that was looked for begins */
        uint8_t members[256];   /* keys and objects by the hash of their names */
        const char *key_names[_POLICY_KEY_MAX];
        bool failed;            /* out of memory */
        bool too_many;          /* rules; said once */
} PolicyReader;

/* A value of the text with the way to it. */
typedef struct PolicyValue {
        const struct PolicyValue *up;
        Json *json;
        const char *key; /* NULL: an element */
        size_t index;
        size_t place;
} PolicyValue;

typedef struct PolicyWalk { /* over members or elements; starts zeroed */
        void *iterator;
        size_t index, place;
} PolicyWalk;
bool policy_walk_next(const PolicyReader *x, const PolicyValue *container, PolicyWalk *w,
                      PolicyValue *ret);

/* Notes a problem at the value: what was found is the value itself. Always false. */
bool policy_wrong(PolicyReader *x, const PolicyValue *v, const char *format, ...) _printf_(3, 4);
/* … or is what `found` says, at the value's key; both are taken, NULL stands for a failed
 * allocation. */
bool policy_wrong_key(PolicyReader *x, const PolicyValue *v, char *found, char *expected);
void policy_problem_add(PolicyReader *x, size_t at, char *pointer, char *found, char *expected);

/* A key that is none of those that may stand there. Always false. */
extern const char *const policy_document_names[];
bool policy_unknown_key(PolicyReader *x, const PolicyValue *v, const char *const *names);
bool policy_unknown_selector(PolicyReader *x, const PolicyValue *v);
bool policy_unknown_member(PolicyReader *x, const PolicyValue *v, PolicyObject o, bool rule);

/* The key's value into the settings; false with a problem noted. */
bool policy_value_read(PolicyReader *x, PolicyKey k, const PolicyValue *v, PolicySettings *s);
bool policy_match_read(PolicyReader *x, const PolicyValue *v, PolicyCompiled *rule);
/* One file. Problems are noted, only a lack of memory fails. */
int policy_file_read(PolicyReader *x, const PolicyText *text);

/* ---- words for people ---- */

/* "one of \"a\", \"b\""; malloc'd, NULL on OOM. */
char *policy_words_describe(const PolicyWord *words);
/* What a value of the key may be. */
char *policy_key_expected(PolicyKey k);
char *policy_selector_expected(PolicySelector s);
Json *policy_value_to_json(PolicyKey k, const PolicySettings *s);
const PolicyWord *policy_word_find(const PolicyWord *words, const char *text);
const PolicyWord *policy_word_of(const PolicyWord *words, uint64_t value);
char *policy_duration_to_string(uint64_t usec);
