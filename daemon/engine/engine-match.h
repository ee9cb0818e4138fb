/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices by what they are: wants, candidates, the ranking. */

#include "engine/engine-private.h"
#include "model/choose.h"

typedef struct WantFilter {
        uint32_t count;
        int32_t numa_node;
        char *text[_WANT_KEY_MAX];
        /* What the texts say, parsed. */
        int32_t ids[4]; /* vendor, device, subsystem vendor and device; -1 any */
        uint32_t class_value, class_mask;
        PciKind kind;
        bool any_cxl, has_kind, has_dsn;
        int sriov;      /* -1 any */
        uint32_t capabilities;
        uint64_t dsn;
} WantFilter;

/* n of them, owned. ERROR_INVALID names the want and what was expected. */
int want_filters_new(const MatchOptions *m, Error *err, WantFilter **ret);
void want_filters_free(WantFilter *f, size_t n);
bool want_matches(const WantFilter *f, const Inventory *i, const Device *d);
/* "2 × kind=gpu,driver=nvidia"; malloc'd, NULL on OOM. */
char *want_describe(const WantFilter *f);

typedef struct Matching { /* a question and its answer */
        WantFilter *filters;
        size_t n_filters;
        bool same_numa_node, same_switch, clean_groups, take_all;
        const char *driver; /* of the request; borrowed */
        const PolicyAsk *ask; /* who asks; borrowed */
        char **tried;       /* addresses that could not be had, each followed by why; owned */

        /* The answer. */
        char **devices;     /* strv of addresses; NULL: no set */
        Json *document;
} Matching;

/* Picks the best set that passes the whole verdict: 0 with devices, or the refusal with the
 * document as its details. */
int engine_match(Engine *e, Matching *m, Error *err);
