/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Folds records into the state that they describe: the last record of an assignment wins, a plan
 * stands until its outcome. Entries are kept as encoded payloads of the current version, so that
 * compaction copies bytes and an older journal comes out new. A record is staged, appended by the
 * caller, then committed or reverted; reverting and committing cannot fail.
 */

#include "store/fold.h"

#include <assert.h>

#include "base/strutil.h"

struct FoldEntry {
        char *key;
        uint16_t type;    /* the record that says it */
        uint8_t *payload; /* NULL: said to be gone, until committed */
        size_t size;
};

static FoldEntry *entry_free(FoldEntry *e) {
        if (!e)
                return NULL;
        free(e->key);
        free(e->payload);
        free(e);
        return NULL;
}
DEFINE_CLEANUP(FoldEntry *, entry_free);

int fold_init(Fold *f) {
        assert(f);
        *f = (Fold) { .entries = hashmap_new_string(), .next_job = 1 };
        return f->entries ? 0 : -ENOMEM;
}

void fold_done(Fold *f) {
        FoldEntry *e;

        assert(f);
        if (f->entries)
                HASHMAP_FOREACH(e, f->entries)
                        entry_free(e);
        hashmap_free(f->entries);
        *f = (Fold) {};
}

static int entry_get(Fold *f, char kind, const char *name, uint16_t type, FoldEntry **ret) {
        _cleanup_(entry_freep) FoldEntry *e = NULL;
        _cleanup_free_ char *key = strjoinf("%c%s", kind, name);
        FoldEntry *there;
        int r;

        if (!key)
                return -ENOMEM;
        there = hashmap_get(f->entries, key);
        if (there) {
                *ret = there;
                return 0;
        }
        e = calloc(1, sizeof(*e));
        if (!e)
                return -ENOMEM;
        e->key = TAKE_PTR(key);
        e->type = type;
        r = hashmap_put(f->entries, e->key, e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(e);
        return 0;
}

static void drop_if_gone(Fold *f, FoldEntry *e) {
        if (e->payload)
                return;
        (void) hashmap_remove(f->entries, e->key);
        entry_free(e);
}

/* Takes the encoder's bytes; e NULL: the entry goes. */
static int stage_one(Fold *f, char kind, const char *name, uint16_t type, Encoder *e,
                     FoldChanges *changes) {
        FoldChange *c = changes->change + (changes->change[0].entry ? 1 : 0);
        FoldEntry *entry;
        int r;

        if (e && e->error < 0)
                return e->error;
        r = entry_get(f, kind, name, type, &entry);
        if (r < 0)
                return r;
        assert(!c->entry);
        *c = (FoldChange) { entry, entry->payload, entry->size };
        entry->payload = e ? TAKE_PTR(e->data) : NULL;
        entry->size = e ? e->size : 0;
        if (e)
                *e = (Encoder) {};
        return 0;
}

static int stage_plan(Fold *f, const RecordContent *c, FoldChanges *changes) {
        _cleanup_encoder_ Encoder e = {};

        record_begin(&e, c->plan, c->assignment_id, NULL);
        return stage_one(f, 'p', c->plan->id, RECORD_BEGIN, &e, changes);
}

static int stage_assignment(Fold *f, const Assignment *a, FoldChanges *changes) {
        _cleanup_encoder_ Encoder e = {};

        record_assignment(&e, a);
        return stage_one(f, 'a', a->id, RECORD_ASSIGNMENT, &e, changes);
}

static int stage_quarantine(Fold *f, const RecordContent *c, FoldChanges *changes) {
        _cleanup_encoder_ Encoder e = {};

        record_quarantine(&e, c->device, c->text);
        return stage_one(f, 'q', c->device, RECORD_QUARANTINE, c->text ? &e : NULL, changes);
}

static int stage_boot(Fold *f, const char *boot_id, FoldChanges *changes) {
        _cleanup_encoder_ Encoder e = {};

        record_boot(&e, boot_id);
        return stage_one(f, 'b', "", RECORD_BOOT, &e, changes);
}

static int stage_content(Fold *f, uint16_t type, const RecordContent *c, FoldChanges *changes) {
        int r = 0;

        if (type == RECORD_BEGIN)
                r = stage_plan(f, c, changes);
        else if (type == RECORD_END)
                r = stage_one(f, 'p', c->plan_id, RECORD_BEGIN, NULL, changes);
        else if (type == RECORD_FORGET)
                r = stage_one(f, 'a', c->assignment_id, RECORD_ASSIGNMENT, NULL, changes);
        else if (type == RECORD_QUARANTINE)
                r = stage_quarantine(f, c, changes);
        else if (type == RECORD_BOOT)
                r = stage_boot(f, c->boot_id, changes);
        if (r >= 0 && c->assignment)
                r = stage_assignment(f, c->assignment, changes);
        return r;
}

int fold_stage(Fold *f, const JournalRecord *record, FoldChanges *ret) {
        _cleanup_record_content_ RecordContent c = {};
        FoldChanges changes = {};
        int r;

        assert(f);
        assert(record);
        assert(ret);
        r = record_decode(record, &c);
        if (r < 0)
                return r;
        r = stage_content(f, record->type, &c, &changes);
        if (r < 0) {
                fold_revert(f, &changes);
                return r;
        }
        f->next_job = MAX(f->next_job, c.next_job);
        *ret = changes;
        return 0;
}

void fold_commit(Fold *f, FoldChanges *changes) {
        assert(f);
        assert(changes);
        for (size_t i = 0; i < ELEMENTSOF(changes->change); i++) {
                FoldChange *c = changes->change + i;

                free(c->old_payload);
                if (c->entry)
                        drop_if_gone(f, c->entry);
                *c = (FoldChange) {};
        }
}

void fold_revert(Fold *f, FoldChanges *changes) {
        assert(f);
        assert(changes);
        for (size_t i = ELEMENTSOF(changes->change); i-- > 0;) {
                FoldChange *c = changes->change + i;

                if (!c->entry)
                        continue;
                free(c->entry->payload);
                c->entry->payload = c->old_payload;
                c->entry->size = c->old_size;
                drop_if_gone(f, c->entry);
                *c = (FoldChange) {};
        }
}

int fold_records(const Fold *f, Encoder *ret_first, JournalRecord **ret, size_t *ret_n) {
        _cleanup_free_ JournalRecord *records = NULL;
        FoldEntry *e;
        size_t n = 1;

        assert(f);
        assert(ret_first);
        assert(ret);
        assert(ret_n);
        records = calloc(hashmap_size(f->entries) + 1, sizeof(*records));
        if (!records)
                return -ENOMEM;
        record_next_job(ret_first, f->next_job);
        if (ret_first->error < 0)
                return ret_first->error;
        records[0] = (JournalRecord){ JOURNAL_VERSION, RECORD_NEXT_JOB, 0, ret_first->data,
                                      ret_first->size };
        HASHMAP_FOREACH(e, f->entries)
                records[n++] = (JournalRecord) { JOURNAL_VERSION, e->type, 0, e->payload, e->size };
        *ret = TAKE_PTR(records);
        *ret_n = n;
        return 0;
}

static int state_add(StoredState *s, RecordContent *c) {
        if (c->plan) {
                StoredPlan *p = s->open_plans + s->n_open_plans++;

                p->plan = TAKE_PTR(c->plan);
                (void) string_copy(p->assignment, sizeof(p->assignment),
                                   c->assignment_id); /* fits, as decoded */
        } else if (c->assignment)
                s->assignments[s->n_assignments++] = TAKE_PTR(c->assignment);
        else if (c->text) {
                char *line = strjoinf("%s %s", c->device, c->text);

                if (!line)
                        return -ENOMEM;
                s->quarantined[s->n_quarantined++] = line;
        } else if (c->boot_id)
                (void) string_copy(s->boot_id, sizeof(s->boot_id),
                                   c->boot_id); /* fits, as decoded */
        return 0;
}

int fold_state(const Fold *f, StoredState *ret) {
        StoredState s = { .next_job = f->next_job };
        FoldEntry *e;
        size_t room = hashmap_size(f->entries) + 1;
        int r = 0;

        assert(ret);
        s.assignments = calloc(room, sizeof(*s.assignments));
        s.open_plans = calloc(room, sizeof(*s.open_plans));
        s.quarantined = calloc(room, sizeof(*s.quarantined));
        if (!s.assignments || !s.open_plans || !s.quarantined)
                r = -ENOMEM;
        HASHMAP_FOREACH(e, f->entries) {
                _cleanup_record_content_ RecordContent c = {};
                JournalRecord record = { JOURNAL_VERSION, e->type, 0, e->payload, e->size };

                if (r >= 0)
                        r = record_decode(&record, &c);
                if (r >= 0)
                        r = state_add(&s, &c);
        }
        if (r < 0) {
                stored_state_done(&s);
                return r;
        }
        *ret = s;
        return 0;
}
