/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The journal: what goes in comes out, whatever was cut, flipped or refused in between. Faults of
 * the disk are made with RLIMIT_FSIZE, which needs no privilege: a write beyond it is short, then
 * EFBIG.
 */

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "plan/codec.h"
#include "store/journal.h"
#include "store/record.h"
#include "store/store.h"
#include "unit.h"

#define ID_A "0123456789abcdef0123456789abcde0"
#define ID_B "0123456789abcdef0123456789abcde1"
#define PLAN_A "00000000000000000000000000000aaa"
#define PLAN_B "00000000000000000000000000000bbb"

static char *dir;

static void setup(void) {
        dir = unit_make_dir();
}

static void teardown(void) {
        unit_remove_dir(TAKE_PTR(dir));
}

static Plan *make_plan(const char *id) {
        Plan *p = plan_new(PLAN_ASSIGN);
        PlanDevice *d;
        Step *s;

        ck_assert_ptr_nonnull(p);
        (void) string_copy(p->id, sizeof(p->id), id);
        d = plan_add_device(p, (PciAddress) { 0, 0x41, 0, 0 });
        ck_assert_ptr_nonnull(d);
        d->group = 12;
        d->vendor = 0x10de;
        d->device = 0x2330;
        d->requested = true;
        d->driver = strdup("vfio-pci");
        d->driver_before = strdup("nvidia");
        d->override_before = strdup("");
        s = plan_add_device_step(p, STEP_UNBIND, d);
        ck_assert_ptr_nonnull(s);
        ck_assert_int_eq(step_set(s, "nvidia", "nvidia", ""), 0);
        return p;
}

/* Every field that is kept differs from its default. */
static Assignment *make_assignment(const char *id) {
        Assignment *a;

        ck_assert_int_eq(assignment_new(&a), 0);
        (void) string_copy(a->id, sizeof(a->id), id);
        a->owner = strdup("vm-7");
        a->creator_uid = 1001;
        a->user_uid = 1002;
        a->user_gid = 1003;
        ck_assert_int_eq(strv_extend(&a->labels, "tier=gold"), 0);
        ck_assert_int_eq(strv_extend(&a->labels, "tenant=ü"), 0);
        a->lifetime = LIFETIME_PERSISTENT;
        assignment_set_state(a, ASSIGNMENT_ACTIVE);
        a->bus_name = strdup(":1.42");
        a->pid = 4711;
        a->pid_start = 99887766;
        a->attach_deadline = 123456789;
        a->request_id = strdup("req-1");
        a->request_hash = UINT64_C(0xdeadbeefcafef00d);
        a->force = a->by_node = a->release_wanted = true;
        a->force_reason = strdup("because");
        a->policy = strdup("[{\"rule\":{}}]");
        a->memlock =
                UINT64_MAX; /* stands last in the record: no zeros that journal_bytes() would cut */
        a->plan = make_plan(PLAN_A);
        a->created_at = 55;
        for (unsigned i = 0; i < EVENTS_MAX + 3; i++)
                ck_assert_int_eq(assignment_add_notice(a, 1000 + i, "Lost", "0000:41:00.0",
                                                       "{\"n\":1}", NULL),
                                 0);
        a->notices[(EVENTS_MAX + 1) % EVENTS_MAX].acknowledged = true;
        ck_assert_int_eq(strv_extend(&a->differs, "0000:41:00.0 driver: nouveau, was nvidia"), 0);
        return a;
}

static void check_assignment(const Assignment *a, const Assignment *b) {
        _cleanup_encoder_ Encoder x = {}, y = {};

        /* Field by field where a mistake of encoder and decoder could cancel out, and all of it as
         * bytes. */
        ck_assert_str_eq(a->id, b->id);
        ck_assert_str_eq(a->owner, b->owner);
        ck_assert_uint_eq(a->creator_uid, b->creator_uid);
        ck_assert_uint_eq(a->user_uid, b->user_uid);
        ck_assert_uint_eq(a->user_gid, b->user_gid);
        ck_assert_uint_eq(strv_length(a->labels), strv_length(b->labels));
        for (size_t i = 0; a->labels && a->labels[i]; i++)
                ck_assert_str_eq(a->labels[i], b->labels[i]);
        ck_assert_int_eq(a->lifetime, b->lifetime);
        ck_assert_int_eq(a->state, b->state);
        ck_assert(streq_ptr(a->bus_name, b->bus_name));
        ck_assert_int_eq(b->pidfd, -EBADF);
        ck_assert_uint_eq(a->pid, b->pid);
        ck_assert_uint_eq(a->pid_start, b->pid_start);
        ck_assert_uint_eq(a->attach_deadline, b->attach_deadline);
        ck_assert(streq_ptr(a->request_id, b->request_id));
        ck_assert_uint_eq(a->request_hash, b->request_hash);
        ck_assert_int_eq(a->force, b->force);
        ck_assert_int_eq(a->by_node, b->by_node);
        ck_assert_int_eq(a->release_wanted, b->release_wanted);
        ck_assert(streq_ptr(a->force_reason, b->force_reason));
        ck_assert(streq_ptr(a->policy, b->policy));
        ck_assert_uint_eq(a->memlock, b->memlock);
        ck_assert_uint_eq(a->created_at, b->created_at);
        ck_assert_uint_eq(a->next_notice, b->next_notice);
        for (size_t i = 0; i < EVENTS_MAX; i++) {
                ck_assert_uint_eq(a->notices[i].number, b->notices[i].number);
                ck_assert(streq_ptr(a->notices[i].details, b->notices[i].details));
                ck_assert_int_eq(a->notices[i].acknowledged, b->notices[i].acknowledged);
        }
        ck_assert_uint_eq(strv_length(a->differs), strv_length(b->differs));
        ck_assert_int_eq(!a->plan, !b->plan);
        if (a->plan)
                ck_assert_str_eq(a->plan->devices[0].driver_before,
                                 b->plan->devices[0].driver_before);
        record_assignment(&x, a);
        record_assignment(&y, b);
        ck_assert_int_eq(x.error, 0);
        ck_assert_uint_eq(x.size, y.size);
        ck_assert_mem_eq(x.data, y.data, x.size);
}

static Store *open_store(void) {
        Store *s;

        ck_assert_int_eq(store_open(dir, dir, &s), 0);
        return s;
}

static StoredState load(void) {
        Store *s = open_store();
        StoredState state;

        ck_assert_int_eq(store_load(s, &state), 0);
        store_close(s);
        return state;
}

static int journal_fd(int flags) {
        _cleanup_free_ char *path = strjoinf("%s/journal", dir);
        int fd = open(path, flags | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        return fd;
}

static char *journal_bytes(size_t *ret_n) {
        _cleanup_close_ int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        char *data;

        ck_assert_int_eq(read_file_at(fd, "journal", JOURNAL_SIZE_MAX, &data, ret_n), 0);
        while (*ret_n > 0 && data[*ret_n - 1] == 0)
                (*ret_n)--;
        return data;
}

static void put_bytes(const void *data, size_t n) {
        _cleanup_close_ int fd = journal_fd(O_WRONLY | O_CREAT | O_TRUNC);

        ck_assert_int_eq(loop_write(fd, data, n), 0);
}

START_TEST(test_empty) {
        StoredState s = load();

        ck_assert_uint_eq(s.n_assignments, 0);
        ck_assert_uint_eq(s.n_open_plans, 0);
        ck_assert_uint_eq(s.dropped_bytes, 0);
        ck_assert_uint_ge(s.next_job, 1);
        stored_state_done(&s);
}
END_TEST

START_TEST(test_round_trip) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A), *plain = NULL;
        _cleanup_(plan_freep) Plan *other = make_plan(PLAN_B);
        Job job = { .id = 41 };
        StoredState state;
        Store *s = open_store();

        ck_assert_int_eq(assignment_new(&plain), 0);
        (void) string_copy(plain->id, sizeof(plain->id), ID_B);
        plain->owner = strdup("x");
        a->job = &job;
        ck_assert_int_eq(store_begin(s, a->plan, a), 0);
        a->job = NULL;
        ck_assert_int_eq(store_begin(s, other, NULL), 0);
        ck_assert_int_eq(store_assignment(s, plain), 0);
        ck_assert_int_eq(store_quarantine(s, "0000:41:00.0", "10de:2330 reset failed"), 0);
        ck_assert_int_eq(store_quarantine(s, "0000:42:00.0", "10de:2330 reset failed"), 0);
        ck_assert_int_eq(store_quarantine(s, "0000:42:00.0", NULL), 0);
        store_close(s);

        /* Twice: what compaction at the first load wrote reads the same. */
        for (int i = 0; i < 2; i++) {
                state = load();
                ck_assert_uint_eq(state.n_assignments, 2);
                check_assignment(a, state.assignments[0]);
                check_assignment(plain, state.assignments[1]);
                ck_assert_uint_eq(state.n_open_plans, 2);
                ck_assert_str_eq(state.open_plans[0].plan->id, PLAN_A);
                ck_assert_str_eq(state.open_plans[0].assignment, ID_A);
                ck_assert_str_eq(state.open_plans[1].plan->id, PLAN_B);
                ck_assert_str_eq(state.open_plans[1].assignment, "");
                ck_assert_uint_eq(state.open_plans[1].plan->n_steps, 1);
                ck_assert_uint_eq(state.n_quarantined, 1);
                ck_assert_str_eq(state.quarantined[0], "0000:41:00.0 10de:2330 reset failed");
                ck_assert_uint_ge(state.next_job, 42);
                ck_assert_uint_eq(state.dropped_bytes, 0);
                stored_state_done(&state);
        }
}
END_TEST

START_TEST(test_outcomes) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A);
        StoredState state;
        Store *s = open_store();

        assignment_set_state(a, ASSIGNMENT_PREPARING);
        ck_assert_int_eq(store_begin(s, a->plan, a), 0);
        assignment_set_state(a, ASSIGNMENT_ACTIVE);
        ck_assert_int_eq(store_end(s, a->plan->id, 0, a), 0);
        ck_assert_int_eq(store_load(s, &state), 0);
        ck_assert_uint_eq(state.n_open_plans, 0);
        ck_assert_uint_eq(state.n_assignments, 1);
        ck_assert_int_eq(state.assignments[0]->state, ASSIGNMENT_ACTIVE);
        stored_state_done(&state);
        ck_assert_int_eq(store_forget(s, ID_A), 0);
        ck_assert_int_eq(store_forget(s, ID_A), 0); /* again is no mistake */
        store_close(s);
        state = load();
        ck_assert_uint_eq(state.n_assignments, 0);
        stored_state_done(&state);
}
END_TEST

START_TEST(test_refuses_what_it_could_not_read) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A);
        StoredState state;
        Store *s = open_store();

        (void) string_copy(a->id, sizeof(a->id), "short");
        ck_assert_int_eq(store_assignment(s, a), -EINVAL);
        (void) string_copy(a->id, sizeof(a->id), ID_A);
        free(a->owner);
        a->owner = calloc(1, CODEC_STRING_MAX + 2);
        memset(a->owner, 'x', CODEC_STRING_MAX + 1);
        ck_assert_int_eq(store_assignment(s, a), -E2BIG);
        ck_assert_int_eq(store_load(s, &state), 0);
        ck_assert_uint_eq(state.n_assignments, 0);
        stored_state_done(&state);
        store_close(s);
}
END_TEST

static char *journal_of_two(size_t *ret_n, size_t *ret_first) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A),
                                               *b = make_assignment(ID_B);
        Store *s = open_store();

        ck_assert_int_eq(store_assignment(s, a), 0);
        free(journal_bytes(ret_first));
        ck_assert_int_eq(store_assignment(s, b), 0);
        store_close(s);
        return journal_bytes(ret_n);
}

static int collect(const JournalRecord *record, void *userdata) {
        _cleanup_record_content_ RecordContent c = {};
        unsigned *n = userdata;
        int r = record_decode(record, &c);

        if (r >= 0 && record->type == RECORD_ASSIGNMENT)
                (*n)++;
        return r;
}

/* At least this many assignments are found, and every byte is a record's, dropped, or a zero at the
 * end. */
static void check_scan(const char *data, size_t n, unsigned min) {
        JournalScan scan;
        unsigned found = 0;

        ck_assert_int_eq(journal_scan((const uint8_t *) data, n, collect, &found, &scan), 0);
        ck_assert_uint_ge(found, min);
        ck_assert_uint_le(scan.end, n);
        ck_assert_uint_le(scan.dropped, n);
}

START_TEST(test_truncation_at_every_byte) {
        size_t n, first;
        _cleanup_free_ char *data = journal_of_two(&n, &first);

        for (size_t cut = 0; cut < n; cut++) {
                StoredState state;
                Store *s;

                check_scan(data, cut, cut < first ? 0 : 1);
                if (cut % 61 != 0) /* the whole way over the disk now and then */
                        continue;

                put_bytes(data, cut);
                s = open_store();
                ck_assert_int_eq(store_load(s, &state), 0);
                ck_assert_uint_le(state.n_assignments, 2);
                if (cut >= first)
                        ck_assert_uint_ge(state.n_assignments, 1);
                if (state.n_assignments > 0)
                        ck_assert_str_eq(state.assignments[0]->id, ID_A);
                if (cut > first)
                        ck_assert_uint_gt(state.dropped_bytes, 0);
                stored_state_done(&state);
                /* Cut for good: opening again finds nothing to drop. */
                store_close(s);
                state = load();
                ck_assert_uint_eq(state.dropped_bytes, 0);
                stored_state_done(&state);
        }
}
END_TEST

/* A flipped bit costs the record that it stands in and no other, and is told. */
START_TEST(test_bit_flips) {
        size_t n, first;
        _cleanup_free_ char *data = journal_of_two(&n, &first);

        for (size_t bit = 0; bit < first * 8; bit++) {
                StoredState state;
                bool has_b = false;

                data[bit / 8] ^= (char) (1 << bit % 8);
                check_scan(data, n, 1);
                if (bit % 397 == 0)
                        put_bytes(data, n);
                data[bit / 8] ^= (char) (1 << bit % 8);
                if (bit % 397 != 0)
                        continue;
                state = load();
                ck_assert_uint_gt(state.dropped_bytes, 0);
                for (size_t i = 0; i < state.n_assignments; i++)
                        has_b = has_b || streq(state.assignments[i]->id, ID_B);
                ck_assert(has_b);
                stored_state_done(&state);
        }
}
END_TEST

START_TEST(test_garbage) {
        uint8_t noise[4096];
        StoredState state;
        uint64_t x = 1;

        for (size_t i = 0; i < sizeof(noise); i++) {
                x = x * UINT64_C(6364136223846793005) + 1442695040888963407;
                noise[i] = (uint8_t) (x >> 56) | 1;
        }
        put_bytes(noise, sizeof(noise));
        state = load();
        ck_assert_uint_eq(state.n_assignments, 0);
        ck_assert_uint_eq(state.dropped_bytes, sizeof(noise));
        stored_state_done(&state);
}
END_TEST

/* ---- versions ---- */

static void put_record(unsigned version, uint64_t sequence, uint16_t type, const Encoder *payload) {
        _cleanup_encoder_ Encoder e = {};

        encode_u32(&e, JOURNAL_MAGIC);
        encode_u16(&e, (uint16_t) version);
        encode_u16(&e, type);
        encode_u32(&e, (uint32_t) payload->size);
        encode_u64(&e, sequence);
        encode_u32(&e, crc32c(crc32c(0, e.data, e.size), payload->data, payload->size));
        ck_assert_int_eq(e.error, 0);
        ck_assert_uint_eq(e.size, JOURNAL_HEADER_SIZE);
        put_bytes(e.data, e.size);
        _cleanup_close_ int fd = journal_fd(O_WRONLY | O_APPEND);
        ck_assert_int_eq(loop_write(fd, payload->data, payload->size), 0);
}

START_TEST(test_older_version) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A);
        _cleanup_encoder_ Encoder e = {};
        StoredState state;

        a->policy = (free(a->policy), NULL); /* nor had it rules */
        record_assignment(&e, a);
        e.size -= 8; /* version 1 ended before memlock */
        put_record(JOURNAL_VERSION_OLD, 7, RECORD_ASSIGNMENT, &e);
        for (int i = 0; i < 2; i++) { /* as found, and as rewritten in today's version */
                state = load();
                ck_assert_uint_eq(state.n_assignments, 1);
                ck_assert_uint_eq(state.dropped_bytes, 0);
                ck_assert(!state.assignments[0]->by_node);
                ck_assert_uint_eq(state.assignments[0]->memlock, 0);
                a->by_node = false;
                a->memlock = 0;
                check_assignment(a, state.assignments[0]);
                stored_state_done(&state);
        }
}
END_TEST

/* The boot that it is about outlives compaction, and the last one said counts. */
START_TEST(test_boot) {
        StoredState state;
        Store *s;

        ck_assert_int_eq(store_open(dir, dir, &s), 0);
        ck_assert_int_eq(store_boot(s, ID_A), 0);
        ck_assert_int_eq(store_boot(s, ID_B), 0);
        ck_assert_int_eq(store_boot(s, "not an id"),
                         -EINVAL); /* what could not be read back is not written */
        store_close(s);
        for (int i = 0; i < 2; i++) {
                state = load();
                ck_assert_str_eq(state.boot_id, ID_B);
                ck_assert_uint_eq(state.n_assignments, 0);
                stored_state_done(&state);
        }
}
END_TEST

START_TEST(test_newer_version) {
        _cleanup_encoder_ Encoder e = {};
        _cleanup_free_ char *before = NULL, *after = NULL;
        size_t n, m;
        Store *s;

        encode_u64(&e, 12);
        put_record(JOURNAL_VERSION + 1, 7, RECORD_NEXT_JOB, &e);
        before = journal_bytes(&n);
        ck_assert_int_eq(store_open(dir, dir, &s), -EPROTONOSUPPORT);
        after = journal_bytes(&m);
        ck_assert_uint_eq(n, m);
        ck_assert_mem_eq(before, after, n);
}
END_TEST

/* ---- the disk says no ---- */

static void limit_file_size(rlim_t n) {
        struct rlimit l = { n, RLIM_INFINITY };

        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &l), 0);
}

START_TEST(test_short_write) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A),
                                               *b = make_assignment(ID_B);
        _cleanup_free_ char *before = NULL, *after = NULL;
        size_t n, m;
        StoredState state;
        Store *s = open_store();

        ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
        ck_assert_int_eq(store_assignment(s, a), 0);
        before = journal_bytes(&n);
        /* The limit lies inside the record: part of it is written, then nothing more. */
        limit_file_size(n + 100);
        ck_assert_int_eq(store_assignment(s, b), -EFBIG);
        after = journal_bytes(&m);
        ck_assert_uint_eq(n, m);
        ck_assert_mem_eq(before, after, n);
        /* While the disk is full nothing can be said, and nothing is lost. */
        ck_assert_int_lt(store_assignment(s, b), 0);
        ck_assert_int_lt(store_begin(s, a->plan, a), 0);
        ck_assert_int_eq(store_load(s, &state), 0);
        ck_assert_uint_eq(state.n_assignments, 2); /* what has happened is known, if not on disk */
        check_assignment(a, state.assignments[0]);
        stored_state_done(&state);
        /* A daemon that starts on the full disk reads it. */
        store_close(s);
        s = open_store();
        ck_assert_int_eq(store_load(s, &state), 0);
        ck_assert_uint_eq(state.n_assignments, 1);
        stored_state_done(&state);
        limit_file_size(RLIM_INFINITY);
        ck_assert_int_eq(store_assignment(s, b), 0);
        store_close(s);
        state = load();
        ck_assert_uint_eq(state.n_assignments, 2);
        ck_assert_uint_eq(state.dropped_bytes, 0);
        stored_state_done(&state);
}
END_TEST

/* A plan whose end could not be written is over all the same: the next plan to begin takes that to
 * disk before it. */
START_TEST(test_end_is_kept) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A);
        _cleanup_(plan_freep) Plan *other = make_plan(PLAN_B);
        _cleanup_free_ char *before = NULL;
        StoredState state;
        size_t n;
        Store *s = open_store();

        ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
        ck_assert_int_eq(store_begin(s, a->plan, a), 0);
        before = journal_bytes(&n);
        limit_file_size(n + 10);
        ck_assert_int_lt(store_end_and_forget(s, a->plan->id, 0, a->id), 0);
        ck_assert_int_lt(store_begin(s, other, NULL), 0);
        limit_file_size(RLIM_INFINITY);
        ck_assert_int_eq(store_begin(s, other, NULL), 0);
        store_close(s);
        state = load();
        ck_assert_uint_eq(state.n_assignments, 0);
        ck_assert_uint_eq(state.n_open_plans, 1);
        ck_assert_str_eq(state.open_plans[0].plan->id, PLAN_B);
        stored_state_done(&state);
}
END_TEST

/* A file that can neither be written nor cut is poisoned; what follows goes to a fresh one. */
START_TEST(test_poisoned) {
        _cleanup_close_ int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        _cleanup_encoder_ Encoder e = {};
        Journal j = JOURNAL_INIT(dir_fd);
        JournalRecord record = { JOURNAL_VERSION, RECORD_NEXT_JOB, 0, NULL, 0 };
        int good;

        record_next_job(&e, 5);
        record.payload = e.data;
        record.size = e.size;
        ck_assert_int_eq(journal_rewrite(&j, &record, 1, 0), 0);
        good = j.fd;
        j.fd = journal_fd(O_RDONLY);
        ck_assert_int_eq(journal_append(&j, RECORD_NEXT_JOB, e.data, e.size), -EBADF);
        ck_assert(j.poisoned);
        ck_assert(!journal_has_room(&j, 1));
        ck_assert_int_eq(journal_append(&j, RECORD_NEXT_JOB, e.data, e.size), -EIO);
        ck_assert_int_eq(journal_rewrite(&j, &record, 1, 0), 0);
        ck_assert(!j.poisoned);
        ck_assert_int_eq(journal_append(&j, RECORD_NEXT_JOB, e.data, e.size), 0);
        (void) safe_close(good);
        journal_close(&j);
}
END_TEST

START_TEST(test_growth) {
        _cleanup_(assignment_freep) Assignment *a = make_assignment(ID_A);
        _cleanup_free_ char *path = strjoinf("%s/journal", dir);
        struct stat st;
        StoredState state;
        Store *s = open_store();

        for (unsigned i = 0; i < 2000; i++) {
                a->pid = i;
                ck_assert_int_eq(store_assignment(s, a), 0);
        }
        store_close(s);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_le(st.st_size, 512 << 10);
        state = load();
        ck_assert_uint_eq(state.n_assignments, 1);
        ck_assert_uint_eq(state.assignments[0]->pid, 1999);
        ck_assert_uint_ge(state.next_job, 2000);
        stored_state_done(&state);
}
END_TEST

/* ---- what is not ours ---- */

START_TEST(test_second_daemon) {
        Store *s = open_store(), *other;

        ck_assert_int_eq(store_open(dir, dir, &other), -EBUSY);
        store_close(s);
        s = open_store();
        store_close(s);
}
END_TEST

static void make_link(const char *path) {
        ck_assert_int_eq(symlink("/dev/zero", path), 0);
}

static void make_directory(const char *path) {
        ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void make_fifo(const char *path) {
        ck_assert_int_eq(mkfifo(path, 0600), 0);
}

static void make_writable(const char *path) {
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(fchmod(fd, 0622), 0);
}

static void make_hard_link(const char *path) {
        _cleanup_free_ char *other = strjoinf("%s.other", path);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(link(path, other), 0);
}

static const struct {
        const char *name;
        void (*make)(const char *path);
        int error;
} foreign[] = {
        { "journal", make_link, -ELOOP },
        { "journal", make_directory, -EISDIR },
        { "journal", make_fifo, -EPERM },
        { "journal", make_writable, -EPERM },
        { "journal", make_hard_link, -EPERM },
        { "lock-daemon", make_link, -ELOOP },
        { "lock-daemon", make_fifo, -EPERM },
        { "lock-daemon", make_writable, -EPERM },
        { "lock-daemon", make_directory, -EISDIR },
};

START_TEST(test_foreign) {
        _cleanup_free_ char *path = strjoinf("%s/%s", dir, foreign[_i].name);
        Store *s;

        foreign[_i].make(path);
        ck_assert_int_eq(store_open(dir, dir, &s), foreign[_i].error);
}
END_TEST

START_TEST(test_foreign_directory) {
        Store *s;

        ck_assert_int_eq(chmod(dir, 0777), 0);
        ck_assert_int_eq(store_open(dir, dir, &s), -EPERM);
        ck_assert_int_eq(store_open("/nonexistent/pciassignd", dir, &s), -ENOENT);
}
END_TEST

static void add_tests(TCase *t) {
        tcase_add_checked_fixture(t, setup, teardown);
        tcase_add_test(t, test_empty);
        tcase_add_test(t, test_round_trip);
        tcase_add_test(t, test_outcomes);
        tcase_add_test(t, test_refuses_what_it_could_not_read);
        tcase_add_test(t, test_truncation_at_every_byte);
        tcase_add_test(t, test_bit_flips);
        tcase_add_test(t, test_garbage);
        tcase_add_test(t, test_older_version);
        tcase_add_test(t, test_newer_version);
        tcase_add_test(t, test_boot);
        tcase_add_test(t, test_short_write);
        tcase_add_test(t, test_end_is_kept);
        tcase_add_test(t, test_poisoned);
        tcase_add_test(t, test_growth);
        tcase_add_test(t, test_second_daemon);
        ADD_TABLE(t, test_foreign, foreign);
        tcase_add_test(t, test_foreign_directory);
}

UNIT_MAIN("store", add_tests);
