/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Entries stand in an array in the order in which they came; an open-addressed index of 32-bit
 * numbers points into it. So iteration follows insertion, whatever the random seed is, and a run
 * that is replayed meets the same order. Keys may come from outside: they are hashed by SipHash-2-4
 * with a key per map.
 *
 * A removed entry leaves a hole (value NULL) in the array and a tombstone in the index until the
 * next growth, so that removing the entry at hand never disturbs an iteration.
 */

#include "base/hashmap.h"

#include <assert.h>
#include <sys/random.h>

#define SLOT_EMPTY UINT32_C(0)
#define SLOT_DELETED UINT32_MAX
#define SLOTS_MIN 16U
#define ENTRIES_MAX (UINT32_C(1) << 30)

typedef struct Entry {
        union {
                const char *string;
                uint64_t number;
        } key;
        void *value; /* NULL: a hole */
        uint64_t hash;
} Entry;

struct Hashmap {
        bool strings;
        uint64_t seed[2];
        Entry *entries;
        size_t n_entries; /* with holes */
        size_t n_values;
        uint32_t *slots; /* entry number + 1 */
        size_t n_slots;  /* a power of two, or 0; entries fill at most three quarters */
};

static uint64_t rotate(uint64_t x, unsigned by) {
        return (x << by) | (x >> (64 - by));
}

static void sip_round(uint64_t v[4]) {
        v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
        v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word) {
        v[3] ^= word;
        sip_round(v);
        sip_round(v);
        v[0] ^= word;
}

/* SipHash-2-4 (Aumasson, Bernstein 2012). Words are taken in host order: hashes never leave the
 * process. */
static uint64_t sip_hash(const uint64_t seed[2], const void *data, size_t n) {
        uint64_t v[4] = {
                seed[0] ^ UINT64_C(0x736f6d6570736575),
                seed[1] ^ UINT64_C(0x646f72616e646f6d),
                seed[0] ^ UINT64_C(0x6c7967656e657261),
                seed[1] ^ UINT64_C(0x7465646279746573),
        };
        const uint8_t *p = data;
        uint64_t last = (uint64_t) n << 56;

        for (size_t left = n; left >= sizeof(uint64_t);
             left -= sizeof(uint64_t), p += sizeof(uint64_t)) {
                uint64_t word;
                memcpy(&word, p, sizeof(word));
                sip_word(v, word);
        }
        for (size_t i = 0; i < n % sizeof(uint64_t); i++)
                last |= (uint64_t) p[i] << (8 * i);
        sip_word(v, last);
        v[2] ^= 0xff;
        for (unsigned i = 0; i < 4; i++)
                sip_round(v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static Hashmap *hashmap_new(bool strings) {
        Hashmap *m = calloc(1, sizeof(*m));

        if (!m)
                return NULL;
        m->strings = strings;
        /* Never blocks late in boot and never fails for 16 bytes then; earlier a weaker seed must
         * do. */
        if (getrandom(m->seed, sizeof(m->seed), GRND_NONBLOCK) != (ssize_t) sizeof(m->seed))
                m->seed[0] = (uint64_t) (uintptr_t) m;
        return m;
}

Hashmap *hashmap_new_string(void) {
        return hashmap_new(true);
}

Hashmap *hashmap_new_u64(void) {
        return hashmap_new(false);
}

Hashmap *hashmap_free(Hashmap *m) {
        if (!m)
                return NULL;
        free(m->entries);
        free(m->slots);
        free(m);
        return NULL;
}

static uint64_t key_hash(const Hashmap *m, const Entry *e) {
        if (m->strings)
                return sip_hash(m->seed, e->key.string, strlen(e->key.string));
        return sip_hash(m->seed, &e->key.number, sizeof(e->key.number));
}

static bool key_equal(const Hashmap *m, const Entry *a, const Entry *b) {
        if (a->hash != b->hash)
                return false;
        return m->strings ? streq(a->key.string, b->key.string) : a->key.number == b->key.number;
}

/* The slot that holds the key, or SIZE_MAX. There is always an empty slot to stop at. */
static size_t slot_find(const Hashmap *m, const Entry *wanted) {
        if (m->n_slots == 0)
                return SIZE_MAX;
        for (size_t i = wanted->hash & (m->n_slots - 1);; i = (i + 1) & (m->n_slots - 1)) {
                if (m->slots[i] == SLOT_EMPTY)
                        return SIZE_MAX;
                if (m->slots[i] != SLOT_DELETED &&
                    key_equal(m, &m->entries[m->slots[i] - 1], wanted))
                        return i;
        }
}

static void slot_fill(Hashmap *m, uint32_t entry) {
        size_t i = m->entries[entry].hash & (m->n_slots - 1);

        while (m->slots[i] != SLOT_EMPTY)
                i = (i + 1) & (m->n_slots - 1);
        m->slots[i] = entry + 1;
}

/* Makes room for one entry more: closes the holes and sizes the index for twice the values. */
static int hashmap_grow(Hashmap *m) {
        size_t n_slots = SLOTS_MIN, n = 0;
        uint32_t *slots;
        Entry *entries;

        if (m->n_values >= ENTRIES_MAX)
                return -ENOMEM;
        while (n_slots / 4 * 3 < m->n_values * 2 + 1)
                n_slots *= 2;
        slots = calloc(n_slots, sizeof(*slots));
        if (!slots)
                return -ENOMEM;
        entries = malloc(n_slots / 4 * 3 * sizeof(*entries));
        if (!entries) {
                free(slots);
                return -ENOMEM;
        }
        for (size_t i = 0; i < m->n_entries; i++)
                if (m->entries[i].value)
                        entries[n++] = m->entries[i];
        free(m->entries);
        free(m->slots);
        m->entries = entries;
        m->n_entries = n;
        m->slots = slots;
        m->n_slots = n_slots;
        for (size_t i = 0; i < n; i++)
                slot_fill(m, (uint32_t) i);
        return 0;
}

static int put(Hashmap *m, Entry e) {
        e.hash = key_hash(m, &e);
        if (slot_find(m, &e) != SIZE_MAX)
                return -EEXIST;
        if (m->n_entries >= m->n_slots / 4 * 3) {
                int r = hashmap_grow(m);
                if (r < 0)
                        return r;
        }
        m->entries[m->n_entries] = e;
        slot_fill(m, (uint32_t) m->n_entries);
        m->n_entries++;
        m->n_values++;
        return 0;
}

static void *get(const Hashmap *m, Entry e) {
        size_t slot;

        e.hash = key_hash(m, &e);
        slot = slot_find(m, &e);
        return slot == SIZE_MAX ? NULL : m->entries[m->slots[slot] - 1].value;
}

static void *take(Hashmap *m, Entry e) {
        size_t slot;
        Entry *found;

        e.hash = key_hash(m, &e);
        slot = slot_find(m, &e);
        if (slot == SIZE_MAX)
                return NULL;
        found = &m->entries[m->slots[slot] - 1];
        m->slots[slot] = SLOT_DELETED;
        m->n_values--;
        return TAKE_PTR(found->value);
}

int hashmap_put(Hashmap *m, const char *key, void *value) {
        assert(m && m->strings && key && value);
        return put(m, (Entry) { .key.string = key, .value = value });
}

int hashmap_put_u64(Hashmap *m, uint64_t key, void *value) {
        assert(m && !m->strings && value);
        return put(m, (Entry) { .key.number = key, .value = value });
}

void *hashmap_get(const Hashmap *m, const char *key) {
        assert(m && m->strings && key);
        return get(m, (Entry) { .key.string = key });
}

void *hashmap_get_u64(const Hashmap *m, uint64_t key) {
        assert(m && !m->strings);
        return get(m, (Entry) { .key.number = key });
}

void *hashmap_remove(Hashmap *m, const char *key) {
        assert(m && m->strings && key);
        return take(m, (Entry) { .key.string = key });
}

void *hashmap_remove_u64(Hashmap *m, uint64_t key) {
        assert(m && !m->strings);
        return take(m, (Entry) { .key.number = key });
}

size_t hashmap_size(const Hashmap *m) {
        return m ? m->n_values : 0;
}

void *hashmap_next(const Hashmap *m, HashmapIterator *i) {
        assert(i);
        while (m && i->index < m->n_entries) {
                void *value = m->entries[i->index++].value;
                if (value)
                        return value;
        }
        return NULL;
}
