/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The index of a policy: for each address, vendor and device, vendor, base class and kind that
 * rules demand, the rules that do, in order. Each rule stands under the most telling of its
 * selectors that can be looked up, once for each alternative; a rule with none of them, or with too
 * many alternatives, is among those that are always looked at. So a look-up sees no rule that
 * cannot match by what is indexed, and misses none.
 */

#include <assert.h>

#include "policy/policy-private.h"

#define KEYS_MAX 64U /* lists that one rule may stand in */

typedef struct Entry {
        uint64_t key;
        uint32_t rule;
} Entry;

typedef struct Entries {
        Entry *items;
        size_t n, allocated;
} Entries;

static const PolicyCondition *find_condition(const PolicyCompiled *c, PolicySelector s) {
        for (size_t i = 0; i < c->n_conditions; i++)
                if (c->conditions[i].selector == s)
                        return c->conditions + i;
        return NULL;
}

static size_t add_key(uint64_t *keys, size_t n, PolicyIndexKind kind, uint64_t value) {
        uint64_t key = policy_index_key(kind, value);

        for (size_t i = 0; i < n; i++)
                if (keys[i] == key)
                        return n;
        keys[n] = key;
        return n + 1;
}

static size_t keys_of_address(const PolicyCondition *c, uint64_t *keys) {
        size_t n = 0;

        if (!c || c->n > KEYS_MAX)
                return 0;
        for (size_t i = 0; i < c->n; i++)
                if (c->alternatives[i].glob)
                        return 0;
        for (size_t i = 0; i < c->n; i++)
                n = add_key(keys, n, POLICY_INDEX_ADDRESS, c->alternatives[i].value);
        return n;
}

static size_t keys_of_ids(const PolicyCondition *vendor, const PolicyCondition *device,
                          uint64_t *keys) {
        size_t n = 0;

        if (!vendor || vendor->n > KEYS_MAX)
                return 0;
        if (device && (size_t) vendor->n * device->n > KEYS_MAX)
                device = NULL;
        for (size_t i = 0; i < vendor->n; i++) {
                uint64_t id = vendor->alternatives[i].value;

                if (!device)
                        n = add_key(keys, n, POLICY_INDEX_VENDOR, id);
                for (size_t k = 0; device && k < device->n; k++)
                        n = add_key(keys, n, POLICY_INDEX_VENDOR_DEVICE,
                                    id << 16 | device->alternatives[k].value);
        }
        return n;
}

static size_t keys_of_class(const PolicyCondition *c, uint64_t *keys) {
        size_t n = 0;

        for (size_t i = 0; c && c->n <= KEYS_MAX && i < c->n; i++)
                n = add_key(keys, n, POLICY_INDEX_CLASS, c->alternatives[i].value >> 16);
        return n;
}

static size_t keys_of_kind(const PolicyCondition *c, uint64_t *keys) {
        size_t n = 0;

        for (size_t i = 0; c && c->n <= KEYS_MAX && i < c->n; i++)
                if (c->alternatives[i].value == POLICY_KIND_CXL)
                        n = add_key(keys, n, POLICY_INDEX_CXL, 0);
                else
                        n = add_key(keys, n, POLICY_INDEX_KIND, c->alternatives[i].value);
        return n;
}

/* The keys of the most telling selector; 0: none of them. */
static size_t keys_of(const PolicyCompiled *c, uint64_t keys[KEYS_MAX]) {
        size_t n = keys_of_address(find_condition(c, POLICY_SELECTOR_ADDRESS), keys);

        if (n == 0)
                n = keys_of_ids(find_condition(c, POLICY_SELECTOR_VENDOR),
                                find_condition(c, POLICY_SELECTOR_DEVICE), keys);
        if (n == 0)
                n = keys_of_class(find_condition(c, POLICY_SELECTOR_CLASS), keys);
        if (n == 0)
                n = keys_of_kind(find_condition(c, POLICY_SELECTOR_KIND), keys);
        return n;
}

static int collect(const Policy *p, Entries *e) {
        uint64_t keys[KEYS_MAX];

        for (size_t i = 0; i < p->n_rules; i++) {
                size_t n = keys_of(p->rules[i], keys);

                if (n == 0)
                        keys[n++] = 0; /* key 0: always looked at */
                for (size_t k = 0; k < n; k++) {
                        if (ARRAY_RESERVE_ONE(e->items, e->n, e->allocated) < 0)
                                return -ENOMEM;
                        e->items[e->n++] = (Entry) { keys[k], (uint32_t) i };
                }
        }
        return 0;
}

static size_t slot_of(const PolicyIndex *i, uint64_t key) {
        key *= UINT64_C(0x9e3779b97f4a7c15);
        return (key ^ key >> 32) & (i->n_slots - 1);
}

/* The key's list, or the free slot for it. */
static PolicyList *find_slot(const PolicyIndex *i, uint64_t key) {
        size_t at = slot_of(i, key);

        while (i->lists[at].n > 0 && i->lists[at].key != key)
                at = (at + 1) & (i->n_slots - 1);
        return i->lists + at;
}

const PolicyList *policy_index_find(const PolicyIndex *i, uint64_t key) {
        const PolicyList *l;

        assert(i);
        if (i->n_slots == 0)
                return NULL;
        l = find_slot(i, key);
        return l->n > 0 ? l : NULL;
}

/* Counts, places, fills: entries come by rule, so every list ends up in order of rules. */
static void fill(PolicyIndex *i, const Entries *e) {
        uint32_t first = 0;

        for (size_t k = 0; k < e->n; k++) {
                PolicyList *l = e->items[k].key ? find_slot(i, e->items[k].key) : &i->any;

                l->key = e->items[k].key;
                l->n++;
        }
        i->any.first = first;
        first += i->any.n;
        i->any.n = 0;
        for (size_t k = 0; k < i->n_slots; k++) {
                i->lists[k].first = first;
                first += i->lists[k].n;
        }
        /* first + n moves over the list and is then put back. */
        for (size_t k = 0; k < e->n; k++) {
                PolicyList *l = e->items[k].key ? find_slot(i, e->items[k].key) : &i->any;

                if (l == &i->any)
                        i->numbers[l->first + l->n++] = e->items[k].rule;
                else
                        i->numbers[l->first++] = e->items[k].rule;
        }
        for (size_t k = 0; k < i->n_slots; k++)
                i->lists[k].first -= i->lists[k].n;
}

void policy_index_done(PolicyIndex *i) {
        assert(i);
        free(i->lists);
        free(i->numbers);
        *i = (PolicyIndex) {};
}

int policy_index_build(Policy *p) {
        PolicyIndex *i = &p->index;
        Entries e = {};
        int r = collect(p, &e);

        if (r >= 0 && e.n > 0) {
                i->n_slots = 16;
                while (i->n_slots < 2 * e.n)
                        i->n_slots *= 2;
                i->lists = calloc(i->n_slots, sizeof(i->lists[0]));
                i->numbers = calloc(e.n, sizeof(i->numbers[0]));
                if (i->lists && i->numbers)
                        fill(i, &e);
                else
                        r = -ENOMEM;
        }
        free(e.items);
        return r;
}
