/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What stands in the journal's records, and the state that they fold into. Hostile bytes are
 * -EBADMSG. */

#include "model/model.h"
#include "plan/codec.h"
#include "store/journal.h"
#include "store/store.h"

typedef enum RecordType {
        RECORD_BEGIN = 1,  /* plan, maybe its assignment */
        RECORD_END,        /* plan id, outcome, maybe its assignment */
        RECORD_ASSIGNMENT,
        RECORD_FORGET,     /* assignment id */
        RECORD_QUARANTINE, /* device, text; NULL text: no more */
        RECORD_NEXT_JOB,   /* job numbers below this one were given out */
        RECORD_BOOT,       /* id of the kernel's boot that all of it is about */
        _RECORD_TYPE_MAX,
} RecordType;

/* A record of the type into the (empty) encoder; check e->error. */
void record_begin(Encoder *e, const Plan *plan, const char *assignment_id, const Assignment *a);
void record_end(Encoder *e, const char *plan_id, int outcome, const Assignment *a);
void record_assignment(Encoder *e, const Assignment *a);
void record_forget(Encoder *e, const char *assignment_id);
void record_quarantine(Encoder *e, const char *device, const char *text);
void record_next_job(Encoder *e, uint64_t next_job);
void record_boot(Encoder *e, const char *boot_id);

/* The descriptor of the owner's process is not in a record (pidfd -EBADF), nor the running job. */
int decode_assignment(Decoder *d, unsigned version, Assignment **ret, uint64_t *ret_job);

/* One decoded record. Absent parts are NULL. */
typedef struct RecordContent {
        Plan *plan;
        char *plan_id, *assignment_id, *device, *text, *boot_id;
        uint8_t outcome;
        Assignment *assignment;
        uint64_t next_job; /* a job number that must not be given again is below it; 0: says
                            * nothing */
} RecordContent;
int record_decode(const JournalRecord *record, RecordContent *ret);
void record_content_done(RecordContent *c);
#define _cleanup_record_content_ _cleanup_(record_content_done)
