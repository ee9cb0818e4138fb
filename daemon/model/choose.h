/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The best set of functions for several wants ("2 GPUs and 2 NICs") among candidates, as plain
 * numbers: who may be chosen at all was decided before. Pure, deterministic, bounded.
 *
 * Of two sets the better one is, in this order: the one that takes fewer group mates along that
 * nobody asked for; the nearer one (ChooseNear); the one that takes fewer functions from host
 * drivers; the one whose sorted addresses come first.
 */

#include "pci/address.h"

#define CHOOSE_WANTS_MAX 16U
#define CHOOSE_PICKS_MAX 64U
#define CHOOSE_CANDIDATES_MAX 65536U
#define CHOOSE_SETS_MAX 8U
#define CHOOSE_NO_BRIDGE UINT32_MAX
#define CHOOSE_DEPTH_MAX 16U /* bridges above a function that count, from the root down */

typedef enum ChooseNear {
        CHOOSE_SAME_SWITCH,    /* below one bridge that is no root port, or right below one port */
        CHOOSE_SAME_ROOT_PORT,
        CHOOSE_SAME_NUMA_NODE, /* functions that name no node count as of one node */
        CHOOSE_FAR,
        _CHOOSE_NEAR_MAX,
        _CHOOSE_NEAR_INVALID = -EINVAL,
} ChooseNear;
const char *choose_near_to_string(ChooseNear n);
ChooseNear choose_near_from_string(const char *s);

typedef struct ChooseCandidate {
        PciAddress address;
        uint32_t wants;      /* bit i: it satisfies want i */
        uint32_t group;      /* number of its IOMMU group among groups[] */
        uint32_t above[CHOOSE_DEPTH_MAX]; /* numbers below n_bridges, root port first */
        uint8_t n_above;
        bool taken;          /* a host driver has it now */
        int16_t numa_node;
} ChooseCandidate;

typedef struct ChooseGroup {
        uint32_t n_members; /* that go with the group: all but bridges */
        uint32_t n_needed;  /* of them have to be chosen themselves, or the group cannot be had */
} ChooseGroup;

typedef struct ChooseQuestion { /* borrowed */
        const ChooseCandidate *candidates; /* sorted by address */
        const bool *needed;                /* of each candidate: counts in its group's n_needed */
        size_t n_candidates;
        const ChooseGroup *groups;
        size_t n_groups;
        size_t n_bridges;
        const uint32_t *counts; /* of each want, 1 or more; CHOOSE_PICKS_MAX in all */
        size_t n_wants;
        ChooseNear farthest;    /* sets that are farther apart are none; CHOOSE_FAR: all */
        bool same_numa_node;
        bool clean;             /* sets that take mates along are none */
} ChooseQuestion;

typedef struct ChooseSet {
        size_t picks[CHOOSE_PICKS_MAX]; /* candidates, by address */
        uint8_t wants[CHOOSE_PICKS_MAX]; /* what each is for */
        size_t n_picks;
        uint32_t n_mates, n_taken;
        ChooseNear near;
        uint32_t bridge; /* the lowest that is above all; CHOOSE_NO_BRIDGE */
        int16_t numa_node; /* of all, if they have the same */
        bool one_node;
} ChooseSet;

/* The best sets, best first: at most one for each place (bridge, NUMA node, host). ret has room for
 * CHOOSE_SETS_MAX. 0 or -ENOMEM; no set is *ret_n == 0. *ret_exhaustive: no better one can
 * exist. */
int choose_sets(const ChooseQuestion *q, ChooseSet *ret, size_t *ret_n, bool *ret_exhaustive);
/* Negative: a is better. */
int choose_compare(const ChooseQuestion *q, const ChooseSet *a, const ChooseSet *b);
/* Fills in what follows from picks and wants: order, mates, nearness. false: it is no set (a needed
 * mate is missing, too far apart). */
bool choose_complete(const ChooseQuestion *q, ChooseSet *set);
