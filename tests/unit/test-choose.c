/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Choosing sets: tables of topologies whose best set anybody can see, and thousands of small random
 * ones against an oracle that tries every set there is. Hostile sizes end after a bounded number of
 * steps.
 */

#include "base/clock.h"
#include "model/choose.h"
#include "unit.h"

#define SMALL 12U

typedef struct Host {
        ChooseCandidate candidates[4096];
        bool needed[4096];
        ChooseGroup groups[4096];
        uint32_t counts[CHOOSE_WANTS_MAX];
        ChooseQuestion q;
} Host;

static Host *host_new(void) {
        Host *h = calloc(1, sizeof(Host));

        ck_assert_ptr_nonnull(h);
        h->q = (ChooseQuestion) {
                .candidates = h->candidates,
                .needed = h->needed,
                .groups = h->groups,
                .counts = h->counts,
                .n_bridges = 8192,
                .farthest = CHOOSE_FAR,
        };
        return h;
}

static void host_free(Host **h) {
        free(*h);
}
#define _cleanup_host_ _cleanup_(host_free)

static void want(Host *h, uint32_t n) {
        h->counts[h->q.n_wants++] = n;
}

/* A function of its own group below these bridges (0 ends the list). */
static ChooseCandidate *add(Host *h, uint32_t wants, int16_t node, const uint32_t *above) {
        size_t i = h->q.n_candidates++;
        ChooseCandidate *c = h->candidates + i;

        c->address = (PciAddress) { .bus = (uint8_t) (i / 32), .slot = (uint8_t) (i % 32) };
        c->wants = wants;
        c->numa_node = node;
        c->group = (uint32_t) h->q.n_groups;
        h->groups[h->q.n_groups++] = (ChooseGroup) { .n_members = 1 };
        while (above[c->n_above]) {
                c->above[c->n_above] = above[c->n_above];
                c->n_above++;
        }
        return c;
}
#define BELOW(...) ((const uint32_t[]) { __VA_ARGS__, 0 })
#define GPU 1U
#define NIC 2U

/* ---- topologies ---- */

typedef struct Row {
        const char *what;
        uint32_t gpus, nics;
        struct {
                uint32_t wants;
                int16_t node;
                uint32_t above[4];
                uint32_t mates;
                bool taken;
        } functions[9];
        bool same_numa, clean;
        ChooseNear farthest;
        int picks[4];    /* -1 ends; nothing: no set */
        ChooseNear near;
} Row;

#define ANY CHOOSE_FAR
static const Row rows[] = {
        { "the switch that has both before nearer addresses", 1, 1,
          { { GPU, 0, { 1, 2, 3 } }, { NIC, 0, { 4, 5, 6 } }, { GPU, 0, { 4, 5, 7 } } },
          false, false, ANY, { 1, 2, -1 }, CHOOSE_SAME_SWITCH },
        { "functions of one card", 2, 0,
          { { GPU, 0, { 1 } }, { GPU, 0, { 2 } }, { GPU, 0, { 2 } } },
          false, false, ANY, { 1, 2, -1 }, CHOOSE_SAME_SWITCH },
        { "right below a port is nearer than beside a switch", 2, 0,
          { { GPU, 0, { 1 } }, { GPU, 0, { 1, 2 } }, { GPU, 0, { 1 }, 0, true } },
          false, false, ANY, { 0, 2, -1 }, CHOOSE_SAME_SWITCH },
        { "one root port", 2, 0, { { GPU, 0, { 1 } }, { GPU, 0, { 1, 2 } }, { GPU, 0, { 3 } } },
          false, false, ANY, { 0, 1, -1 }, CHOOSE_SAME_ROOT_PORT },
        { "one node rather than two", 1, 1,
          { { GPU, 0, { 1 } }, { NIC, 1, { 2 } }, { GPU, 1, { 3 } } },
          false, false, ANY, { 1, 2, -1 }, CHOOSE_SAME_NUMA_NODE },
        { "far if there is nothing else", 1, 1, { { GPU, 0, { 1 } }, { NIC, 1, { 2 } } },
          false, false, ANY, { 0, 1, -1 }, CHOOSE_FAR },
        { "but not with one node demanded", 1, 1, { { GPU, 0, { 1 } }, { NIC, 1, { 2 } } },
          true, false, ANY, { -1 }, CHOOSE_FAR },
        { "nor with one switch demanded", 2, 0, { { GPU, 0, { 1 } }, { GPU, 0, { 2 } } },
          false, false, CHOOSE_SAME_SWITCH, { -1 }, CHOOSE_FAR },
        { "a clean group before a near one", 2, 0,
          { { GPU, 0, { 1, 2 }, 1 }, { GPU, 0, { 1, 2 } }, { GPU, 0, { 3 } } },
          false, false, ANY, { 1, 2, -1 }, CHOOSE_SAME_NUMA_NODE },
        { "mates if it must be", 1, 0, { { GPU, 0, { 1 }, 2 } }, false, false, ANY, { 0, -1 },
          CHOOSE_SAME_SWITCH },
        { "not with clean groups demanded", 1, 0, { { GPU, 0, { 1 }, 2 } }, false, true, ANY,
          { -1 }, CHOOSE_FAR },
        { "an idle one before a used one", 1, 0,
          { { GPU, 0, { 1 }, 0, true }, { GPU, 0, { 2 } } }, false, false, ANY, { 1, -1 },
          CHOOSE_SAME_SWITCH },
        { "near before idle", 2, 0,
          { { GPU, 0, { 1, 2 }, 0, true }, { GPU, 0, { 1, 2 }, 0, true }, { GPU, 0, { 3 } } },
          false, false, ANY, { 0, 1, -1 }, CHOOSE_SAME_SWITCH },
        { "the first of equals", 2, 0,
          { { GPU, 0, { 1, 2 } }, { GPU, 0, { 1, 2 } }, { GPU, 0, { 1, 2 } } },
          false, false, ANY, { 0, 1, -1 }, CHOOSE_SAME_SWITCH },
        { "wants that compete", 1, 1, { { GPU | NIC, 0, { 1 } }, { GPU, 0, { 1 } } },
          false, false, ANY, { 0, 1, -1 }, CHOOSE_SAME_SWITCH },
        { "one function is not two", 1, 1, { { GPU | NIC, 0, { 1 } } }, false, false, ANY, { -1 },
          CHOOSE_FAR },
        { "no bridge above", 2, 0, { { GPU, 0, { 0 } }, { GPU, 0, { 0 } } }, false, false, ANY,
          { 0, 1, -1 }, CHOOSE_SAME_NUMA_NODE },
        { "one function without a bridge is near to itself", 1, 0, { { GPU, -1, { 0 } } }, true,
          true, CHOOSE_SAME_SWITCH, { 0, -1 }, CHOOSE_SAME_SWITCH },
};

START_TEST(topologies) {
        const Row *row = rows + _i;
        _cleanup_host_ Host *h = host_new();
        ChooseSet sets[CHOOSE_SETS_MAX];
        bool exhaustive;
        size_t n, k = 0;

        want(h, row->gpus);
        if (row->nics > 0)
                want(h, row->nics);
        for (size_t i = 0; row->functions[i].wants; i++) {
                ChooseCandidate *c = add(h, row->functions[i].wants, row->functions[i].node,
                                         row->functions[i].above);

                c->taken = row->functions[i].taken;
                h->groups[c->group].n_members += row->functions[i].mates;
        }
        h->q.same_numa_node = row->same_numa;
        h->q.clean = row->clean;
        h->q.farthest = row->farthest;
        ck_assert_int_eq(choose_sets(&h->q, sets, &n, &exhaustive), 0);
        ck_assert_msg((n > 0) == (row->picks[0] >= 0), "%s: %zu sets", row->what, n);
        ck_assert(exhaustive);
        if (n == 0)
                return;
        for (; row->picks[k] >= 0; k++)
                ck_assert_msg(sets[0].picks[k] == (size_t) row->picks[k], "%s: pick %zu is %zu",
                              row->what, k, sets[0].picks[k]);
        ck_assert_uint_eq(sets[0].n_picks, k);
        ck_assert_msg(sets[0].near == row->near, "%s: %s", row->what,
                      choose_near_to_string(sets[0].near));
        for (size_t i = 1; i < n; i++)
                ck_assert_int_lt(choose_compare(&h->q, sets + i - 1, sets + i), 0);
}
END_TEST

START_TEST(mates_that_have_to_be_asked_for) {
        _cleanup_host_ Host *h = host_new();
        ChooseSet sets[CHOOSE_SETS_MAX];
        bool exhaustive;
        size_t n;

        /* A card of two functions in one group, each of which needs the other's consent. */
        want(h, 1);
        add(h, GPU, 0, BELOW(1));
        add(h, GPU, 0, BELOW(1))->group = 0;
        h->needed[0] = h->needed[1] = true;
        h->groups[0] = (ChooseGroup) { 2, 2 };
        ck_assert_int_eq(choose_sets(&h->q, sets, &n, &exhaustive), 0);
        ck_assert_uint_eq(n, 0);
        h->counts[0] = 2;
        ck_assert_int_eq(choose_sets(&h->q, sets, &n, &exhaustive), 0);
        ck_assert_uint_eq(n, 1);
        ck_assert_uint_eq(sets[0].n_mates, 0);
}
END_TEST

/* ---- the oracle ---- */

static uint64_t random_state;
static uint32_t dice(uint32_t n) {
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return (uint32_t) (random_state >> 33) % n;
}

static void make_random(Host *h) {
        static const uint32_t places[][4] = {
                { 0 },       { 1 },    { 2 },       { 1, 3 }, { 1, 3, 4 },
                { 1, 3, 5 }, { 2, 6 }, { 2, 6, 7 }, { 8, 9 },
        };
        size_t n = 3 + dice(SMALL - 3);

        for (uint32_t w = 0, wants = 1 + dice(3); w < wants; w++)
                want(h, 1 + dice(2));
        for (size_t i = 0; i < n; i++) {
                const uint32_t *above = places[dice(ELEMENTSOF(places))];
                uint32_t bits = 0;

                while (bits == 0)
                        bits = dice(4) ? 1U << dice((uint32_t) h->q.n_wants)
                                       : dice(1U << h->q.n_wants);
                add(h, bits, (int16_t) dice(3) - 1, above)->taken = dice(2);
                if (i > 0 && dice(3) == 0) {
                        uint32_t group = h->candidates[dice((uint32_t) i)].group;

                        h->candidates[i].group = group;
                        h->groups[group].n_members++;
                }
        }
        for (size_t i = 0; i < n; i++) {
                ChooseGroup *g = h->groups + h->candidates[i].group;

                g->n_members += dice(6) == 0;
                h->needed[i] = g->n_members > 1 && dice(4) == 0;
                g->n_needed += h->needed[i];
        }
        h->q.same_numa_node = dice(5) == 0;
        h->q.clean = dice(8) == 0;
        h->q.farthest = dice(4) ? CHOOSE_FAR : (ChooseNear) dice(_CHOOSE_NEAR_MAX);
}

/* Every way to give each slot a function of its own. */
static bool oracle(const Host *h, ChooseSet *best) {
        uint8_t wants[CHOOSE_PICKS_MAX];
        size_t slots = 0, at[CHOOSE_PICKS_MAX] = {}, depth = 0;
        bool found = false;

        for (size_t w = 0; w < h->q.n_wants; w++)
                for (uint32_t i = 0; i < h->counts[w]; i++)
                        wants[slots++] = (uint8_t) w;
        for (;;) {
                bool fits = at[depth] < h->q.n_candidates;

                if (!fits) {
                        if (depth-- == 0)
                                return found;
                        at[depth]++;
                        continue;
                }
                fits = h->candidates[at[depth]].wants & 1U << wants[depth];
                for (size_t k = 0; k < depth; k++)
                        fits = fits && at[k] != at[depth];
                if (!fits) {
                        at[depth]++;
                        continue;
                }
                if (depth + 1 < slots) {
                        at[++depth] = 0;
                        continue;
                }
                ChooseSet set = { .n_picks = slots };

                memcpy(set.picks, at, slots * sizeof(size_t));
                memcpy(set.wants, wants, slots);
                if (choose_complete(&h->q, &set) &&
                    (!found || choose_compare(&h->q, &set, best) < 0)) {
                        *best = set;
                        found = true;
                }
                at[depth]++;
        }
}

START_TEST(small_hosts_against_an_oracle) {
        random_state = 0x9e3779b97f4a7c15U * (uint64_t) (_i + 1);
        for (unsigned round = 0; round < 400; round++) {
                _cleanup_host_ Host *h = host_new();
                ChooseSet sets[CHOOSE_SETS_MAX], best;
                bool exhaustive, found;
                size_t n;

                make_random(h);
                found = oracle(h, &best);
                ck_assert_int_eq(choose_sets(&h->q, sets, &n, &exhaustive), 0);
                ck_assert(exhaustive);
                ck_assert_msg((n > 0) == found, "round %u: %zu sets, oracle %d", round, n, found);
                if (found)
                        ck_assert_msg(choose_compare(&h->q, sets, &best) == 0,
                                      "round %u: mates %u/%u near %d/%d taken %u/%u", round,
                                      sets[0].n_mates, best.n_mates, (int) sets[0].near,
                                      (int) best.near, sets[0].n_taken, best.n_taken);
        }
}
END_TEST

/* ---- hostile sizes ---- */

START_TEST(large_hosts_end_soon) {
        _cleanup_host_ Host *h = host_new();
        ChooseSet sets[CHOOSE_SETS_MAX], again[CHOOSE_SETS_MAX];
        usec_t start = now_boottime();
        bool exhaustive;
        size_t n, m;

        /* Every function satisfies every want, groups of four, a deep tree: as bad as can be. */
        for (size_t w = 0; w < CHOOSE_WANTS_MAX; w++)
                want(h, CHOOSE_PICKS_MAX / CHOOSE_WANTS_MAX);
        for (uint32_t i = 0; i < 4096; i++) {
                ChooseCandidate *c = add(h, UINT16_MAX, (int16_t) (i % 8),
                                         BELOW(1 + i / 1024, 10 + i / 512, 100 + i / 256,
                                               200 + i / 128, 1000 + i / 16));

                c->group = i / 4;
                c->taken = i % 3 > 0;
                h->needed[i] = i % 2 > 0;
        }
        for (size_t i = 0; i < 1024; i++)
                h->groups[i] = (ChooseGroup) { 4, 2 };
        ck_assert_int_eq(choose_sets(&h->q, sets, &n, &exhaustive), 0);
        ck_assert_msg(now_boottime() - start < 5 * USEC_PER_SEC, "took too long");
        ck_assert_int_eq(choose_sets(&h->q, again, &m, &exhaustive), 0);
        ck_assert_uint_eq(n, m);
        for (size_t i = 0; i < n; i++)
                ck_assert_int_eq(choose_compare(&h->q, sets + i, again + i), 0);
}
END_TEST

START_TEST(large_hosts_without_competition_are_exact) {
        _cleanup_host_ Host *h = host_new();
        ChooseSet sets[CHOOSE_SETS_MAX];
        bool exhaustive;
        size_t n;

        want(h, 2);
        want(h, 2);
        for (uint32_t i = 0; i < 4096; i++)
                add(h, i % 2 ? GPU : NIC, (int16_t) (i / 2048), BELOW(1 + i / 64, 100 + i / 8))
                        ->taken = i < 4000;
        ck_assert_int_eq(choose_sets(&h->q, sets, &n, &exhaustive), 0);
        ck_assert(exhaustive);
        ck_assert_uint_eq(n, CHOOSE_SETS_MAX);
        ck_assert_int_eq(sets[0].near, CHOOSE_SAME_SWITCH);
        ck_assert_uint_eq(sets[0].picks[0], 4000);
        ck_assert_uint_eq(sets[0].n_taken, 0);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_loop_test(tcase, topologies, 0, ELEMENTSOF(rows));
        tcase_add_test(tcase, mates_that_have_to_be_asked_for);
        tcase_add_loop_test(tcase, small_hosts_against_an_oracle, 0, 8);
        tcase_add_test(tcase, large_hosts_end_soon);
        tcase_add_test(tcase, large_hosts_without_competition_are_exact);
}

UNIT_MAIN("choose", add_tests);
