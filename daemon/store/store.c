/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The journal of the runtime directory: locks it against a second daemon, folds what it says, and
 * appends. Each call appends one record and syncs it; a call that fails has recorded nothing, so
 * its caller may do nothing. The file is compacted when it is opened and when it is full, and made
 * anew when it can no longer be trusted (journal.c says when). The engine compares everything that
 * is loaded with the kernel; nothing here does.
 */

#include "store/store-private.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fdio.h"

#define LOCK_FILE "lock-daemon"

static int handle_record(const JournalRecord *record, void *userdata) {
        Fold *fold = userdata;
        FoldChanges changes;
        int r;

        r = fold_stage(fold, record, &changes);
        if (r >= 0)
                fold_commit(fold, &changes);
        return r;
}

/* The directory must be ours or root's, and nobody else's to write. */
static int open_directory(const char *path) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & 022))
                return -EPERM;
        return TAKE_FD(fd);
}

static int lock(int dir_fd) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;

        fd = openat(dir_fd, LOCK_FILE,
                    O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0600);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
                return -EPERM;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        return TAKE_FD(fd);
}

static int store_rewrite(Store *s, size_t room) {
        _cleanup_encoder_ Encoder first = {};
        _cleanup_free_ JournalRecord *records = NULL;
        size_t n;
        int r;

        r = fold_records(&s->fold, &first, &records, &n);
        if (r < 0)
                return r;
        r = journal_rewrite(&s->journal, records, n, room);
        if (r >= 0)
                s->behind = false;
        return r;
}

/* A journal that cannot be compacted now (a full disk) still serves, once it ends where its last
 * good record does. */
static int store_compact_at_open(Store *s) {
        int r = store_rewrite(s, 0);

        if (r >= 0 || s->journal.fd < 0)
                return r;
        if (s->journal.poisoned)
                return r;
        return s->dropped > 0 ? journal_cut(&s->journal) : 0;
}

int store_open(const char *runtime_dir, const char *state_dir, Store **ret) {
        _cleanup_(store_closep) Store *s = NULL;
        JournalScan scan;
        int r;

        assert(runtime_dir);
        assert(ret);
        s = calloc(1, sizeof(*s));
        if (!s)
                return -ENOMEM;
        s->dir_fd = s->lock_fd = -EBADF;
        s->journal = JOURNAL_INIT(-EBADF);
        r = fold_init(&s->fold);
        if (r < 0)
                return r;
        s->dir_fd = r = open_directory(runtime_dir);
        if (r < 0)
                return r;
        s->lock_fd = r = lock(s->dir_fd);
        if (r < 0)
                return r;
        s->journal.dir_fd = s->dir_fd;
        r = journal_open(&s->journal, handle_record, &s->fold, &scan);
        if (r < 0)
                return r;
        s->dropped = scan.dropped;
        /* Every job that ran a plan left a record, so no lost record makes a number be given
         * twice. */
        s->fold.next_job = MAX(s->fold.next_job, scan.sequence + 1);
        r = store_compact_at_open(s);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_close(Store *s) {
        if (!s)
                return NULL;
        journal_close(&s->journal);
        fold_done(&s->fold);
        (void) safe_close(s->dir_fd);
        (void) safe_close(s->lock_fd);
        free(s);
        return NULL;
}

int store_load(Store *s, StoredState *ret) {
        int r;

        assert(s);
        assert(ret);
        r = fold_state(&s->fold, ret);
        if (r < 0)
                return r;
        ret->dropped_bytes = s->dropped;
        return 0;
}

void stored_state_done(StoredState *s) {
        assert(s);
        for (size_t i = 0; i < s->n_assignments; i++)
                assignment_free(s->assignments[i]);
        for (size_t i = 0; i < s->n_open_plans; i++)
                plan_free(s->open_plans[i].plan);
        for (size_t i = 0; i < s->n_quarantined; i++)
                free(s->quarantined[i]);
        free(s->assignments);
        free(s->open_plans);
        free(s->quarantined);
        *s = (StoredState) {};
}

static int store_append(Store *s, uint16_t type, const Encoder *e) {
        JournalRecord record = { JOURNAL_VERSION, type, 0, e->data, e->size };
        FoldChanges changes;
        int r, written = 0;

        if (e->error < 0)
                return e->error;
        if (e->size > JOURNAL_PAYLOAD_MAX)
                return -E2BIG;
        if (s->behind || !journal_has_room(&s->journal, e->size)) {
                written = store_rewrite(s, e->size + JOURNAL_HEADER_SIZE);
                if (written < 0 && type == RECORD_BEGIN)
                        return written;
        }
        /* What could not be read back is not written. */
        r = fold_stage(&s->fold, &record, &changes);
        if (r < 0)
                return r == -EBADMSG ? -EINVAL : r;
        r = written < 0 ? written : journal_append(&s->journal, type, e->data, e->size);
        if (r < 0) {
                /* A plan that is not recorded is not begun. But what has happened has happened: it
                 * is kept, and the next plan waits until a fresh file says it too. Or else a plan
                 * that is over would, after a restart, be undone under the next owner. */
                if (type == RECORD_BEGIN)
                        fold_revert(&s->fold, &changes);
                else {
                        fold_commit(&s->fold, &changes);
                        s->behind = true;
                }
                /* The record may be in the file though nobody was told: a fresh file without it,
                 * now rather than later. */
                if (s->journal.poisoned)
                        (void) store_rewrite(
                                s, 0); /* if this fails too, the next call tries again first */
                return r;
        }
        fold_commit(&s->fold, &changes);
        return 0;
}

int store_begin(Store *s, const Plan *plan, const Assignment *assignment) {
        _cleanup_encoder_ Encoder e = {};

        assert(s);
        assert(plan);
        record_begin(&e, plan, assignment ? assignment->id : NULL, assignment);
        return store_append(s, RECORD_BEGIN, &e);
}

int store_end(Store *s, const char *plan_id, int outcome, const Assignment *assignment) {
        _cleanup_encoder_ Encoder e = {};

        assert(s);
        assert(plan_id);
        record_end(&e, plan_id, outcome, assignment);
        return store_append(s, RECORD_END, &e);
}

int store_assignment(Store *s, const Assignment *assignment) {
        _cleanup_encoder_ Encoder e = {};

        assert(s);
        assert(assignment);
        record_assignment(&e, assignment);
        return store_append(s, RECORD_ASSIGNMENT, &e);
}

int store_forget(Store *s, const char *assignment_id) {
        _cleanup_encoder_ Encoder e = {};

        assert(s);
        assert(assignment_id);
        record_forget(&e, assignment_id);
        return store_append(s, RECORD_FORGET, &e);
}

int store_end_and_forget(Store *s, const char *plan_id, int outcome, const char *assignment_id) {
        /* The assignment first: between the two a restart undoes by the facts what is undone
         * already, while an assignment without its plan would pass for one that is prepared. */
        int k = assignment_id ? store_forget(s, assignment_id) : 0,
            r = store_end(s, plan_id, outcome, NULL);

        return r < 0 ? r : k;
}

int store_quarantine(Store *s, const char *device, const char *text) {
        _cleanup_encoder_ Encoder e = {};

        assert(s);
        assert(device);
        record_quarantine(&e, device, text);
        return store_append(s, RECORD_QUARANTINE, &e);
}

int store_boot(Store *s, const char *boot_id) {
        _cleanup_encoder_ Encoder e = {};

        assert(s);
        assert(boot_id);
        record_boot(&e, boot_id);
        return store_append(s, RECORD_BOOT, &e);
}
