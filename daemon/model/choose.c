/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Choosing sets. Every place where a set could be (right below a port, below a bridge, on a NUMA
 * node, on the host) is searched for its best set, whatever the nearness; the best of all places is
 * the best of all, since all sets whose smallest place it is are equally near. Where wants do not
 * compete for functions and no two candidates share a group, the cheapest ones are the best set and
 * no search is needed. Otherwise
 * a matching (polynomial) says whether there is a set at all, and a depth-first search with a
 * bounded number of steps makes it better. Nothing here is recursive, and the steps depend on
 * nothing but the question, so the same question has the same answer.
 */

#include "model/choose.h"

#include <assert.h>

#include "base/strutil.h"

#define STEPS_PER_PLACE 40000U
#define STEPS_IN_ALL 400000U

static const char *const nears[_CHOOSE_NEAR_MAX] = {
        [CHOOSE_SAME_SWITCH] = "same-switch",
        [CHOOSE_SAME_ROOT_PORT] = "same-root-port",
        [CHOOSE_SAME_NUMA_NODE] = "same-numa-node",
        [CHOOSE_FAR] = "far",
};

const char *choose_near_to_string(ChooseNear n) {
        return (int) n >= 0 && n < _CHOOSE_NEAR_MAX ? nears[n] : NULL;
}

ChooseNear choose_near_from_string(const char *s) {
        for (ChooseNear n = 0; s && n < _CHOOSE_NEAR_MAX; n++)
                if (streq(nears[n], s))
                        return n;
        return _CHOOSE_NEAR_INVALID;
}

/* ---- what a set is worth ---- */

static void sort_picks(ChooseSet *set) {
        for (size_t i = 1; i < set->n_picks; i++)
                for (size_t k = i; k > 0 && set->picks[k] < set->picks[k - 1]; k--) {
                        size_t pick = set->picks[k];
                        uint8_t want = set->wants[k];

                        set->picks[k] = set->picks[k - 1];
                        set->wants[k] = set->wants[k - 1];
                        set->picks[k - 1] = pick;
                        set->wants[k - 1] = want;
                }
}

/* Of the set's picks in the group of pick i. first: i is the first of them. */
static uint32_t count_group(const ChooseQuestion *q, const ChooseSet *set, size_t i,
                            bool *ret_first, uint32_t *ret_needed) {
        uint32_t group = q->candidates[set->picks[i]].group, n = 0, needed = 0;
        bool first = true;

        for (size_t k = 0; k < set->n_picks; k++) {
                if (q->candidates[set->picks[k]].group != group)
                        continue;
                first = first && k >= i;
                n++;
                needed += q->needed[set->picks[k]];
        }
        *ret_first = first;
        *ret_needed = needed;
        return n;
}

static uint32_t sum_mates(const ChooseQuestion *q, const ChooseSet *set) {
        uint32_t sum = 0;

        for (size_t i = 0; i < set->n_picks; i++) {
                const ChooseGroup *g = q->groups + q->candidates[set->picks[i]].group;
                uint32_t needed, n;
                bool first;

                n = count_group(q, set, i, &first, &needed);
                if (first)
                        sum += g->n_members - MIN(n, g->n_members);
        }
        return sum;
}

/* Is everybody asked for who has to be? */
static bool has_needed(const ChooseQuestion *q, const ChooseSet *set) {
        for (size_t i = 0; i < set->n_picks; i++) {
                uint32_t needed;
                bool first;

                (void) count_group(q, set, i, &first, &needed);
                if (needed < q->groups[q->candidates[set->picks[i]].group].n_needed)
                        return false;
        }
        return true;
}

static void find_place(const ChooseQuestion *q, ChooseSet *set) {
        const ChooseCandidate *first = q->candidates + set->picks[0];
        unsigned common = first->n_above;
        bool port = true;

        set->one_node = true;
        for (size_t i = 1; i < set->n_picks; i++) {
                const ChooseCandidate *c = q->candidates + set->picks[i];
                unsigned same = 0;

                while (same < common && same < c->n_above && c->above[same] == first->above[same])
                        same++;
                common = same;
                set->one_node = set->one_node && c->numa_node == first->numa_node;
        }
        for (size_t i = 0; i < set->n_picks; i++) {
                const ChooseCandidate *c = q->candidates + set->picks[i];

                port = port && c->n_above == common;
        }
        set->numa_node = first->numa_node;
        set->bridge = common > 0 ? first->above[common - 1] : CHOOSE_NO_BRIDGE;
        if (set->n_picks == 1 || common > 1 || (common == 1 && port))
                set->near = CHOOSE_SAME_SWITCH;
        else if (common == 1)
                set->near = CHOOSE_SAME_ROOT_PORT;
        else
                set->near = set->one_node ? CHOOSE_SAME_NUMA_NODE : CHOOSE_FAR;
}

bool choose_complete(const ChooseQuestion *q, ChooseSet *set) {
        assert(q);
        assert(set);
        assert(set->n_picks > 0);
        sort_picks(set);
        set->n_mates = sum_mates(q, set);
        if (!has_needed(q, set) || (q->clean && set->n_mates > 0))
                return false;
        set->n_taken = 0;
        for (size_t i = 0; i < set->n_picks; i++)
                set->n_taken += q->candidates[set->picks[i]].taken;
        find_place(q, set);
        return set->near <= q->farthest && (!q->same_numa_node || set->one_node);
}

#define COMPARE(x, y)                         \
        do {                                  \
                if ((x) != (y))               \
                        return (x) < (y) ? -1 : 1; \
        } while (0)

int choose_compare(const ChooseQuestion *q, const ChooseSet *a, const ChooseSet *b) {
        assert(q);
        assert(a);
        assert(b);
        COMPARE(a->n_mates, b->n_mates);
        COMPARE(a->near, b->near);
        COMPARE(a->n_taken, b->n_taken);
        for (size_t i = 0; i < a->n_picks && i < b->n_picks; i++)
                COMPARE(a->picks[i], b->picks[i]); /* candidates are sorted by address */
        return 0;
}

/* ---- one place ---- */

typedef struct Place {
        const ChooseQuestion *q;
        size_t *members;      /* candidates, cheapest first */
        size_t n;
        uint8_t *used;        /* of each member: chosen */
        ChooseNear level;     /* nearer sets are found in smaller places */
        unsigned steps, *steps_left;
        bool cut;             /* steps ran out */
        ChooseSet best;
        bool found;
} Place;

typedef struct Slots { /* one for each function that is wanted; those of one want stand together */
        uint8_t want[CHOOSE_PICKS_MAX];
        size_t n;
} Slots;

static uint32_t mates_alone(const ChooseQuestion *q, size_t candidate) {
        uint32_t n = q->groups[q->candidates[candidate].group].n_members;

        return n > 0 ? n - 1 : 0;
}

static int compare_cost(const void *a, const void *b, void *userdata) {
        const ChooseQuestion *q = userdata;
        size_t x = *(const size_t *) a, y = *(const size_t *) b;

        COMPARE(mates_alone(q, x), mates_alone(q, y));
        COMPARE(q->candidates[x].taken, q->candidates[y].taken);
        COMPARE(x, y);
        return 0;
}

static void consider(Place *p, ChooseSet *set) {
        if (!choose_complete(p->q, set))
                return;
        if (!p->found || choose_compare(p->q, set, &p->best) < 0)
                p->best = *set;
        p->found = true;
}

static bool fits(const Place *p, size_t member, unsigned want) {
        return p->q->candidates[p->members[member]].wants & UINT32_C(1) << want;
}

static bool needs_others(const ChooseQuestion *q, size_t candidate) {
        return q->groups[q->candidates[candidate].group].n_needed >
               (q->needed[candidate] ? 1U : 0U);
}

/* No function is wanted twice, no two share a group: then choices are independent. */
static bool is_simple(const Place *p, uint32_t *seen) {
        bool simple = true;

        for (size_t i = 0; i < p->n; i++) {
                const ChooseCandidate *c = p->q->candidates + p->members[i];

                simple = simple && (c->wants & (c->wants - 1)) == 0 &&
                         !needs_others(p->q, p->members[i]);
                simple = seen[c->group]++ == 0 && simple;
                /* Below one bridge functions can still name different nodes. */
                if (p->q->same_numa_node &&
                    c->numa_node != p->q->candidates[p->members[0]].numa_node)
                        simple = false;
        }
        for (size_t i = 0; i < p->n; i++)
                seen[p->q->candidates[p->members[i]].group] = 0;
        return simple;
}

/* Kuhn's augmenting paths: slots to members, taking only functions whose groups can be had without
 * their mates if `alone`. A slot with more than n_slots members to choose from always finds one, so
 * a failing search looks at no more than n_slots² of them. */
typedef struct Match {
        const Place *p;
        const Slots *slots;
        bool alone;
        uint8_t *slot_of; /* of each member, 0xff none */
        uint8_t *seen;
} Match;

static bool match_member(const Match *m, size_t member, unsigned want) {
        return fits(m->p, member, want) &&
               !(m->alone && needs_others(m->p->q, m->p->members[member]));
}

/* Breadth first from one slot; 0xff in from_slot: not reached. */
static bool augment(const Match *m, size_t start, size_t *from_member) {
        uint8_t queue[CHOOSE_PICKS_MAX];
        size_t head = 0, tail = 0, came[CHOOSE_PICKS_MAX];

        memset(m->seen, 0, m->p->n);
        queue[tail++] = (uint8_t) start;
        came[start] = SIZE_MAX;
        while (head < tail) {
                uint8_t slot = queue[head++];

                for (size_t i = 0; i < m->p->n; i++) {
                        if (m->seen[i] || !match_member(m, i, m->slots->want[slot]))
                                continue;
                        m->seen[i] = 1;
                        if (m->slot_of[i] != 0xff) {
                                came[m->slot_of[i]] = slot;
                                queue[tail++] = m->slot_of[i];
                                continue;
                        }
                        /* Free: every slot on the way back moves to the member it was reached
                         * by. */
                        for (size_t member = i, s = slot;;) {
                                size_t old = from_member[s];

                                m->slot_of[member] = (uint8_t) s;
                                from_member[s] = member;
                                if (s == start)
                                        return true;
                                member = old;
                                s = came[s];
                        }
                }
        }
        return false;
}

static int find_match(Place *p, const Slots *slots, bool alone, bool *ret) {
        _cleanup_free_ uint8_t *slot_of = malloc(p->n), *seen = malloc(p->n);
        size_t member_of[CHOOSE_PICKS_MAX];
        Match m = { p, slots, alone, slot_of, seen };
        ChooseSet set = { .n_picks = slots->n };

        if (!slot_of || !seen)
                return -ENOMEM;
        memset(slot_of, 0xff, p->n);
        *ret = false;
        for (size_t s = 0; s < slots->n; s++) {
                member_of[s] = SIZE_MAX;
                if (!augment(&m, s, member_of))
                        return 0;
        }
        for (size_t s = 0; s < slots->n; s++) {
                set.picks[s] = p->members[member_of[s]];
                set.wants[s] = slots->want[s];
        }
        consider(p, &set);
        *ret = true;
        return 0;
}

/* ---- search ---- */

/* What the picks so far cost at least, however the rest turns out: each further pick can make at
 * most one mate a function that was asked for. */
static bool is_hopeless(const Place *p, const ChooseSet *set, size_t n_slots) {
        uint32_t left = (uint32_t) (n_slots - set->n_picks), mates, n_taken = 0;

        if (!p->found)
                return false;
        mates = sum_mates(p->q, set);
        mates -= MIN(mates, left);
        if (mates != p->best.n_mates)
                return mates > p->best.n_mates;
        for (size_t i = 0; i < set->n_picks; i++)
                n_taken += p->q->candidates[set->picks[i]].taken;
        return n_taken > p->best.n_taken && p->best.near <= p->level;
}

static size_t next_member(Place *p, const Slots *slots, size_t slot, size_t from) {
        for (size_t i = from; i < p->n; i++)
                if (!p->used[i] && fits(p, i, slots->want[slot]))
                        return i;
        return p->n;
}

static bool charge(Place *p, unsigned steps) {
        if (p->steps < steps || *p->steps_left < steps)
                return false;
        p->steps -= steps;
        *p->steps_left -= steps;
        return true;
}

/* Depth first, with the choices of each slot on a stack of their own. Slots of one want choose
 * upwards only, so that no set is looked at twice. */
static void search(Place *p, const Slots *slots) {
        size_t chosen[CHOOSE_PICKS_MAX], depth = 0, from = 0;

        for (;;) {
                ChooseSet set = { .n_picks = depth };
                size_t i = next_member(p, slots, depth, from);

                if (i < p->n && !charge(p, 1 + (unsigned) ((i - from) / 64 + depth * depth / 8))) {
                        p->cut = true;
                        while (depth > 0)
                                p->used[chosen[--depth]] = 0;
                        return;
                }
                if (i == p->n) {
                        if (depth-- == 0)
                                return;
                        p->used[chosen[depth]] = 0;
                        from = chosen[depth] + 1;
                        continue;
                }
                chosen[depth] = i;
                p->used[i] = 1;
                for (size_t s = 0; s <= depth; s++) {
                        set.picks[s] = p->members[chosen[s]];
                        set.wants[s] = slots->want[s];
                }
                set.n_picks = depth + 1;
                if (set.n_picks == slots->n)
                        consider(p, &set);
                if (set.n_picks == slots->n || is_hopeless(p, &set, slots->n)) {
                        p->used[i] = 0;
                        from = i + 1;
                        continue;
                }
                depth++;
                from = slots->want[depth] == slots->want[depth - 1] ? i + 1 : 0;
        }
}

static bool has_enough(const Place *p) {
        for (size_t w = 0; w < p->q->n_wants; w++) {
                uint32_t n = 0;

                for (size_t i = 0; i < p->n && n < p->q->counts[w]; i++)
                        n += fits(p, i, (unsigned) w);
                if (n < p->q->counts[w])
                        return false;
        }
        return true;
}

static void cheapest(Place *p, const Slots *slots) {
        ChooseSet set = {};
        size_t from = 0;

        for (size_t s = 0; s < slots->n; s++) {
                size_t i = next_member(p, slots, s,
                                       s > 0 && slots->want[s] == slots->want[s - 1] ? from : 0);

                set.picks[set.n_picks] = p->members[i];
                set.wants[set.n_picks++] = slots->want[s];
                from = i + 1;
        }
        consider(p, &set);
}

static int search_place(Place *p, const Slots *slots, uint32_t *seen) {
        bool possible;
        int r;

        if (!has_enough(p))
                return 0;
        qsort_r(p->members, p->n, sizeof(size_t), compare_cost, (void *) (uintptr_t) p->q);
        if (is_simple(p, seen)) {
                cheapest(p, slots);
                return 0;
        }
        r = find_match(p, slots, true, &possible);
        if (r >= 0 && !possible)
                r = find_match(p, slots, false, &possible);
        if (r < 0 || !possible)
                return r;
        p->steps = STEPS_PER_PLACE;
        memset(p->used, 0, p->n);
        search(p, slots);
        return 0;
}

/* ---- places ---- */

static void add_set(const ChooseQuestion *q, const ChooseSet *set, ChooseSet *ret, size_t *n) {
        size_t at = 0;

        while (at < *n && choose_compare(q, ret + at, set) < 0)
                at++;
        if (at == CHOOSE_SETS_MAX || (at < *n && choose_compare(q, ret + at, set) == 0))
                return;
        if (*n < CHOOSE_SETS_MAX)
                (*n)++;
        memmove(ret + at + 1, ret + at, (*n - at - 1) * sizeof(*ret));
        ret[at] = *set;
}

typedef struct Search {
        const ChooseQuestion *q;
        Slots slots;
        size_t *members;
        uint8_t *used;
        uint32_t *seen;   /* of each group */
        unsigned steps_left;
        ChooseSet *ret;
        size_t n;
        bool cut;
} Search;

static int look_at(Search *s, ChooseNear level, size_t n) {
        Place p = {
                .q = s->q,
                .members = s->members,
                .n = n,
                .used = s->used,
                .level = level,
                .steps_left = &s->steps_left,
        };
        int r;

        memset(s->used, 0, n);
        r = n >= s->slots.n ? search_place(&p, &s->slots, s->seen) : 0;
        if (r >= 0 && p.found)
                add_set(s->q, &p.best, s->ret, &s->n);
        s->cut = s->cut || p.cut;
        return r;
}

/* Candidates from the i-th on that are below its k-th bridge; right: right below it. */
static size_t below(Search *s, size_t i, unsigned k, bool right, size_t n_at_most) {
        const ChooseQuestion *q = s->q;
        uint32_t bridge = q->candidates[i].above[k];
        size_t n = 0, seen = 0;

        for (size_t m = i; m < q->n_candidates && seen < n_at_most; m++) {
                const ChooseCandidate *c = q->candidates + m;

                if (c->n_above <= k || c->above[k] != bridge)
                        continue;
                seen++;
                if (!right || c->n_above == k + 1)
                        s->members[n++] = m;
        }
        return n;
}

static int look_below(Search *s, size_t i, unsigned k, size_t n_below) {
        size_t n = below(s, i, k, k == 0, n_below);
        int r = look_at(s, CHOOSE_SAME_SWITCH, n);

        if (r < 0 || n == n_below)
                return r;
        if (s->q->farthest < CHOOSE_SAME_ROOT_PORT)
                return 0;
        return look_at(s, CHOOSE_SAME_ROOT_PORT, below(s, i, k, false, n_below));
}

/* A bridge with all candidates of the bridge above it is the better place: that one is passed
 * over. */
static int look_below_bridges(Search *s) {
        const ChooseQuestion *q = s->q;
        _cleanup_free_ uint32_t *counts = calloc(q->n_bridges + 1, sizeof(uint32_t));
        _cleanup_free_ uint8_t *done = calloc(q->n_bridges + 1, 1);
        int r = 0;

        if (!counts || !done)
                return -ENOMEM;
        for (size_t i = 0; i < q->n_candidates; i++)
                for (unsigned k = 0; k < q->candidates[i].n_above; k++)
                        counts[q->candidates[i].above[k]]++;
        for (size_t i = 0; i < q->n_candidates; i++) {
                const ChooseCandidate *c = q->candidates + i;

                for (unsigned k = 0; k + 1 < c->n_above; k++)
                        if (counts[c->above[k]] == counts[c->above[k + 1]])
                                done[c->above[k]] = 1;
        }
        for (size_t i = 0; i < q->n_candidates && r >= 0; i++)
                for (unsigned k = 0; k < q->candidates[i].n_above && r >= 0; k++) {
                        uint32_t bridge = q->candidates[i].above[k];

                        if (done[bridge] || counts[bridge] < s->slots.n)
                                continue;
                        done[bridge] = 1;
                        r = look_below(s, i, k, counts[bridge]);
                }
        return r;
}

static int look_at_nodes(Search *s) {
        _cleanup_free_ uint8_t *done = calloc(UINT16_MAX + 1, 1);
        int r = 0;

        if (!done)
                return -ENOMEM;
        for (size_t i = 0; i < s->q->n_candidates && r >= 0; i++) {
                int16_t node = s->q->candidates[i].numa_node;
                size_t n = 0;

                if (done[(uint16_t) node])
                        continue;
                done[(uint16_t) node] = 1;
                for (size_t m = i; m < s->q->n_candidates; m++)
                        if (s->q->candidates[m].numa_node == node)
                                s->members[n++] = m;
                r = look_at(s, CHOOSE_SAME_NUMA_NODE, n);
        }
        return r;
}

static int look_everywhere(Search *s) {
        bool one = s->slots.n == 1; /* which is near to itself wherever it is */
        int r = look_below_bridges(s);

        if (r >= 0 && s->q->farthest >= CHOOSE_SAME_NUMA_NODE)
                r = look_at_nodes(s);
        if (r < 0 || (!one && (s->q->farthest < CHOOSE_FAR || s->q->same_numa_node)))
                return r;
        for (size_t m = 0; m < s->q->n_candidates; m++)
                s->members[m] = m;
        return look_at(s, CHOOSE_FAR, s->q->n_candidates);
}

int choose_sets(const ChooseQuestion *q, ChooseSet *ret, size_t *ret_n, bool *ret_exhaustive) {
        Search s = { .q = q, .steps_left = STEPS_IN_ALL, .ret = ret };
        int r;

        assert(q);
        assert(q->n_wants <= CHOOSE_WANTS_MAX);
        assert(ret);
        assert(ret_n);
        assert(ret_exhaustive);
        for (size_t w = 0; w < q->n_wants; w++)
                for (uint32_t i = 0; i < q->counts[w]; i++) {
                        assert(s.slots.n < CHOOSE_PICKS_MAX);
                        s.slots.want[s.slots.n++] = (uint8_t) w;
                }
        assert(s.slots.n > 0);
        s.members = calloc(q->n_candidates + 1, sizeof(size_t));
        s.used = calloc(q->n_candidates + 1, 1);
        s.seen = calloc(q->n_groups + 1, sizeof(uint32_t));
        r = s.members && s.used && s.seen ? look_everywhere(&s) : -ENOMEM;
        free(s.members);
        free(s.used);
        free(s.seen);
        if (r < 0)
                return r;
        *ret_n = s.n;
        *ret_exhaustive = !s.cut;
        return 0;
}
