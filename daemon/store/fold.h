/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What all records together say: the last word on each assignment, the plans without an outcome,
 * the quarantined. */

#include "base/hashmap.h"
#include "store/record.h"

typedef struct FoldEntry FoldEntry;

typedef struct Fold {
        Hashmap *entries; /* "a" id, "p" plan id, "q" device, "b" → FoldEntry */
        uint64_t next_job;
} Fold;

int fold_init(Fold *f);
void fold_done(Fold *f);

/* What a record changed, so that it can be taken back without an allocation when it could not be
 * appended. */
typedef struct FoldChange {
        FoldEntry *entry; /* NULL: none */
        uint8_t *old_payload;
        size_t old_size;
} FoldChange;
typedef struct FoldChanges {
        FoldChange change[2];
} FoldChanges;

/* 0; -EBADMSG: the record is none of ours; -ENOMEM. On failure nothing changed. Then exactly one of
 * the other two. */
int fold_stage(Fold *f, const JournalRecord *record, FoldChanges *ret);
void fold_commit(Fold *f, FoldChanges *changes);
void fold_revert(Fold *f, FoldChanges *changes);

/* The fewest records that say the same. Payloads are borrowed from the fold but for the first,
 * which is ret_first's. */
int fold_records(const Fold *f, Encoder *ret_first, JournalRecord **ret, size_t *ret_n);
/* dropped_bytes and next_job's floor are the caller's. */
int fold_state(const Fold *f, StoredState *ret);
