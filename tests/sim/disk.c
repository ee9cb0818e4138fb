/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The disk under the store, and the randomness of the world. The program's own pwrite(),
 * fdatasync(), fsync() and getrandom() stand in front of the C library's, so that the real store
 * runs unchanged: writes go to the file, syncs cost nothing, and either fails, is cut short, or is
 * the last thing that the daemon does, when it is told to. What is written is looked at on the way:
 * which plans are in the journal, durably and without an outcome, is known here without asking the
 * store.
 */

#include <dirent.h>
#include <fcntl.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include "base/strutil.h"
#include "store/record.h"
#include "world.h"

#define PLANS_MAX 512U

typedef struct DiskPlan {
        char id[33];
        bool durable;
} DiskPlan;

static struct {
        World *world;
        DiskFault fault;
        unsigned after, times; /* times 0: none */
        DiskPlan plans[PLANS_MAX];
        size_t n_plans;
} disk;

const char *disk_fault_to_string(DiskFault f) {
        static const char *const names[_DISK_FAULT_MAX] = {
                [DISK_FULL] = "no room for a record",
                [DISK_SHORT] = "room for half a record",
                [DISK_SYNC_FAILS] = "syncing fails",
                [DISK_CRASH_BEFORE] = "the daemon dies before it writes",
                [DISK_CRASH_TORN] = "the daemon dies with half of a record written",
                [DISK_CRASH_WRITTEN] = "the daemon dies with a record written, not synced",
                [DISK_CRASH_SYNCED] = "the daemon dies with a record synced",
        };

        return names[f];
}

void disk_attach(World *w) {
        disk.world = w;
        disk_clear();
        disk_forget();
}

void disk_inject(DiskFault f, unsigned after, unsigned times) {
        disk.fault = f;
        disk.after = after;
        disk.times = times;
}

void disk_clear(void) {
        disk.times = 0;
}

bool disk_is_faulty(void) {
        return disk.times > 0;
}

/* ---- what the journal has ---- */

void disk_forget(void) {
        disk.n_plans = 0;
}

void disk_trust(void) {
        for (size_t i = 0; i < disk.n_plans; i++)
                disk.plans[i].durable = true;
}

static DiskPlan *find_plan(const char *id) {
        for (size_t i = 0; i < disk.n_plans; i++)
                if (streq(disk.plans[i].id, id))
                        return disk.plans + i;
        return NULL;
}

bool disk_has_plan(const char *plan_id) {
        const DiskPlan *p = find_plan(plan_id);

        return p && p->durable;
}

static void note_record(const JournalRecord *record) {
        _cleanup_record_content_ RecordContent c = {};
        DiskPlan *p;

        if ((record->type != RECORD_BEGIN && record->type != RECORD_END) ||
            record_decode(record, &c) < 0)
                return;
        p = find_plan(record->type == RECORD_BEGIN ? c.plan->id : c.plan_id);
        if (record->type == RECORD_END && p)
                *p = disk.plans[--disk.n_plans];
        if (record->type != RECORD_BEGIN || p)
                return;
        if (disk.n_plans >= PLANS_MAX)
                world_fail(disk.world, INVARIANT_NONE, "more than %u plans are open", PLANS_MAX);
        p = disk.plans + disk.n_plans++;
        p->durable = false;
        (void) string_copy(p->id, sizeof(p->id), c.plan->id);
}

/* The frame of journal.h; false: no record of the journal. */
static bool read_frame(const uint8_t *data, size_t n, JournalRecord *ret) {
        Decoder d = DECODER(data, MIN(n, (size_t) JOURNAL_HEADER_SIZE));

        if (decode_u32(&d) != JOURNAL_MAGIC)
                return false;
        ret->version = decode_u16(&d);
        ret->type = decode_u16(&d);
        ret->size = decode_u32(&d);
        ret->sequence = decode_u64(&d);
        ret->payload = data + JOURNAL_HEADER_SIZE;
        (void) decode_u32(&d);
        return decoder_finish(&d) >= 0 && ret->size == n - JOURNAL_HEADER_SIZE;
}

/* ---- the system calls ---- */

/* Is this operation one that goes wrong? */
static bool is_struck(bool sync) {
        bool of_sync = disk.fault == DISK_SYNC_FAILS || disk.fault == DISK_CRASH_SYNCED;

        if (!disk.world || disk.times == 0 || sync != of_sync)
                return false;
        if (disk.after > 0) {
                disk.after--;
                return false;
        }
        disk.times--;
        return true;
}

static ssize_t write_at(int fd, const void *data, size_t n, off_t offset) {
        return syscall(SYS_pwrite64, fd, data, n, offset);
}

static ssize_t struck_write(int fd, const void *data, size_t n, off_t offset) {
        World *w = disk.world;

        world_note(w, "  disk: %s", disk_fault_to_string(disk.fault));
        switch (disk.fault) {
        case DISK_SHORT:
                if (n > 40) { /* the rest fails in the next call */
                        disk.times++;
                        disk.fault = DISK_FULL;
                        return write_at(fd, data, 40, offset);
                }
                break;
        case DISK_CRASH_TORN:
                (void) write_at(fd, data, n / 2, offset);
                world_crash(w);
        case DISK_CRASH_WRITTEN:
                (void) write_at(fd, data, n, offset);
                world_crash(w);
        case DISK_CRASH_BEFORE:
                world_crash(w);
        case DISK_FULL:
        case DISK_SYNC_FAILS:
        case DISK_CRASH_SYNCED:
        case _DISK_FAULT_MAX:
                break;
        }
        errno = ENOSPC;
        return -1;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) {
        JournalRecord record = {};
        bool ours = disk.world && read_frame(data, n, &record);
        ssize_t k;

        if (disk.world && is_struck(false)) {
                if (disk.fault == DISK_CRASH_WRITTEN && ours)
                        note_record(&record);
                return struck_write(fd, data, n, offset);
        }
        k = write_at(fd, data, n, offset);
        if (ours && k == (ssize_t) n)
                note_record(&record);
        return k;
}

static int synced(void) {
        World *w = disk.world;
        bool struck = is_struck(true);

        if (struck && disk.fault == DISK_SYNC_FAILS) {
                world_note(w, "  disk: %s", disk_fault_to_string(disk.fault));
                errno = EIO;
                return -1;
        }
        disk_trust();
        if (struck) {
                world_note(w, "  disk: %s", disk_fault_to_string(disk.fault));
                world_crash(w);
        }
        return 0;
}

int fdatasync(int fd _unused_) {
        return synced();
}

int fsync(int fd _unused_) {
        return synced();
}

ssize_t getrandom(void *buffer, size_t n, unsigned flags) {
        if (!disk.world)
                return syscall(SYS_getrandom, buffer, n, flags);
        world_random_bytes(disk.world, buffer, n);
        return (ssize_t) n;
}

/* ---- the end of a process ---- */

/* What the kernel would close: the store's files, pidfds, and descriptors of VFIO that reached no
 * client. */
static bool is_daemons(const char *target, int fd, const char *directory) {
        const World *w = disk.world;

        if (strncmp(target, directory, strlen(directory)) == 0)
                return true;
        for (size_t i = 0; i < w->n_handles; i++)
                if (w->handles[i].fd == fd)
                        return false;
        for (unsigned i = 0; i < WORLD_CLIENTS; i++)
                if (w->processes[i].pidfd == fd)
                        return false;
        if (strstr(target, "[pidfd]"))
                return true;
        /* The simulated kernel keeps the reading ends. */
        return strncmp(target, "pipe:", 5) == 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
}

void disk_close_below(const char *directory) {
        DIR *d = opendir("/proc/self/fd");
        struct dirent *e;

        if (!d)
                world_fail(disk.world, INVARIANT_NONE, "/proc/self/fd: %s", strerrorname_np(errno));
        while ((e = readdir(d))) {
                char target[256];
                ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof(target) - 1);
                uint32_t fd;

                if (n <= 0 || parse_u32(e->d_name, 10, INT32_MAX, &fd) < 0 || fd < 3 ||
                    (int) fd == dirfd(d))
                        continue;
                target[n] = 0;
                if (is_daemons(target, (int) fd, directory))
                        (void) close((int) fd);
        }
        (void) closedir(d);
}
