/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The journal: any bytes are scanned to the end, what is good among them folds, and what was folded
 * says the same after it was written as the fewest records and read again. The first byte decides
 * whether the rest is a file, or the payload of one record whose frame is right: the checksum would
 * keep nearly everything else from the decoder.
 */

#include "base/strutil.h"
#include "store/fold.h"

#include "fuzz.h"

static int take(const JournalRecord *record, void *userdata) {
        FoldChanges changes;
        Fold *f = userdata;
        int r = fold_stage(f, record, &changes);

        if (r >= 0)
                fold_commit(f, &changes);
        fuzz_require(r == 0 || r == -EBADMSG);
        return r;
}

/* The fewest records, framed as a file. */
static void write_records(const Fold *f, Encoder *ret) {
        _cleanup_encoder_ Encoder first = {};
        _cleanup_free_ JournalRecord *records = NULL;
        size_t n;

        fuzz_require(fold_records(f, &first, &records, &n) == 0);
        for (size_t i = 0; i < n; i++) {
                size_t begin = ret->size;

                encode_u32(ret, JOURNAL_MAGIC);
                encode_u16(ret, JOURNAL_VERSION);
                encode_u16(ret, records[i].type);
                encode_u32(ret, (uint32_t) records[i].size);
                encode_u64(ret, i + 1);
                fuzz_require(ret->error == 0);
                encode_u32(ret, crc32c(crc32c(0, ret->data + begin, ret->size - begin),
                                       records[i].payload, records[i].size));
                for (size_t k = 0; k < records[i].size; k++)
                        encode_u8(ret, records[i].payload[k]);
                fuzz_require(ret->error == 0);
        }
}

static void check_state(const Fold *f) {
        StoredState s;

        fuzz_require(fold_state(f, &s) == 0);
        fuzz_require(s.n_assignments + s.n_open_plans + s.n_quarantined + (s.boot_id[0] != 0) ==
                     hashmap_size(f->entries));
        for (size_t i = 0; i < s.n_assignments; i++)
                fuzz_require(strlen(s.assignments[i]->id) == ASSIGNMENT_ID_MAX - 1 &&
                             s.assignments[i]->owner);
        stored_state_done(&s);
}

static void check_round_trip(const Fold *f) {
        _cleanup_encoder_ Encoder one = {}, two = {};
        JournalScan scan;
        Fold again;

        check_state(f);
        write_records(f, &one);
        fuzz_require(fold_init(&again) == 0);
        fuzz_require(journal_scan(one.data, one.size, take, &again, &scan) == 0);
        fuzz_require(scan.dropped == 0 && scan.end == one.size);
        write_records(&again, &two);
        fuzz_require(one.size == two.size && memcmp(one.data, two.data, one.size) == 0);
        fold_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        JournalScan scan;
        Fold f;
        int r;

        if (size < 2)
                return 0;
        fuzz_require(fold_init(&f) == 0);
        if (data[0] & 1) {
                r = journal_scan(data + 1, size - 1, take, &f, &scan);
                fuzz_require(r == 0 || r == -EPROTONOSUPPORT);
                if (r == 0)
                        fuzz_require(scan.end <= size - 1 && scan.dropped <= size - 1);
        } else {
                JournalRecord record = { data[0] & 2 ? JOURNAL_VERSION_OLD : JOURNAL_VERSION,
                                         data[0] >> 2, 1, data + 1, size - 1 };

                (void) take(&record, &f); /* checks itself */
        }
        check_round_trip(&f);
        fold_done(&f);
        return 0;
}
