/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What survives the daemon: the journal in the runtime directory. An append-only file of
 * checksummed records (one codec, plan/codec.h): a plan before its first write, its outcome, and
 * each change of an assignment. Loading folds it; a torn or garbage tail is cut and reported.
 * Compacted (new file, rename) at start and when it grows. No record is ever trusted against the
 * kernel: the engine reconciles.
 */

#include "base/errors.h"
#include "model/model.h"

typedef struct Store Store;

/* Locks runtime_dir/lock-daemon: -EBUSY when another daemon runs. -EPERM, -ELOOP, -EISDIR:
 * directory, lock or journal is not a plain thing of ours that nobody else can write.
 * -EPROTONOSUPPORT: a newer daemon wrote the journal. */
int store_open(const char *runtime_dir, const char *state_dir, Store **ret);
Store *store_close(Store *s);
DEFINE_CLEANUP(Store *, store_close);

typedef struct StoredPlan {
        Plan *plan;
        char assignment[ASSIGNMENT_ID_MAX]; /* "" none */
} StoredPlan;

typedef struct StoredState {
        Assignment **assignments; size_t n_assignments; /* plan of each inside */
        StoredPlan *open_plans; size_t n_open_plans;    /* begun, no outcome */
        char **quarantined; size_t n_quarantined;       /* "ADDRESS IDENTITY reason" */
        uint64_t next_job;
        size_t dropped_bytes;            /* of a torn tail */
        char boot_id[ASSIGNMENT_ID_MAX]; /* of the boot that it is about; "" not said */
} StoredState;
int store_load(Store *s, StoredState *ret);
void stored_state_done(StoredState *s);

/* One append each; 0 or -errno. A plan whose begin fails is not recorded and may not be run. What
 * the others say has happened: when one fails it is not on disk, but kept, and no plan begins
 * before a fresh file has it. */
int store_begin(Store *s, const Plan *plan,
                const Assignment *assignment); /* assignment may be NULL */
int store_end(Store *s, const char *plan_id, int outcome, const Assignment *assignment);
int store_assignment(Store *s, const Assignment *assignment); /* changed: attach, state, labels */
int store_forget(Store *s, const char *assignment_id);
/* The outcome, and the end of the assignment (NULL: none) with it: the second is said even if the
 * first is not written, or else a restart would go on with what is over. The first error. */
int store_end_and_forget(Store *s, const char *plan_id, int outcome, const char *assignment_id);
int store_boot(Store *s, const char *boot_id); /* 32 hexadecimal digits */
/* One more line to the records of a device's cleaning; JSON without a newline. Not synced, bounded:
 * the oldest go. */
int store_add_cleaning(Store *s, const char *device, const char *record);
/* All of them, one a line; malloc'd. -ENOENT: none. */
int store_read_cleaning(Store *s, const char *device, char **ret);
/* Quarantines a device (its address) with "IDENTITY reason"; text NULL ends it. */
int store_quarantine(Store *s, const char *device, const char *text);
