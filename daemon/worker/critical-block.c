/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From a disk upwards: partitions, then what holds each (dm, md, bcache:
 * /sys/class/block/X/holders), until a mount, swap or a file system of several devices is met.
 * Where no table names a use, the kernel is asked: an exclusive open of a block device that a mount
 * in another namespace, an overlay's lower layer, ZFS or a stopped array holds is refused with
 * EBUSY (open(2), O_EXCL). Opening read-only changes nothing on the disk and raises no event.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/errors.h"
#include "base/fdio.h"
#include "worker/critical-private.h"

typedef struct BlockStep { /* one device on the way, with the proof that leads to it */
        char name[64];
        char proof[CRITICAL_PROOF_MAX];
        size_t parent; /* SIZE_MAX: the child itself */
        bool used;     /* it or something above it is in use by a table's word */
} BlockStep;

typedef struct BlockWalk {
        Critical *critical;
        PciUse *use;
        BlockStep *steps;
        size_t n, allocated;
        bool cut; /* too deep or too many */
} BlockWalk;

static int walk_add(BlockWalk *w, const char *proof, const char *name, size_t parent) {
        BlockStep *s;

        for (size_t i = 0; i < w->n; i++)
                if (streq(w->steps[i].name, name))
                        return 0;
        if (w->n >= CRITICAL_STEPS_MAX) {
                w->cut = true;
                return 0;
        }
        if (ARRAY_RESERVE_ONE(w->steps, w->n, w->allocated) < 0)
                return -ENOMEM;
        s = &w->steps[w->n++];
        *s = (BlockStep) { .parent = parent };
        if (!string_copy(s->name, sizeof s->name, name))
                w->cut = true;
        (void) snprintf(s->proof, sizeof s->proof, "%.400s → %s", proof, s->name);
        return 0;
}

static void mark_used(BlockWalk *w, size_t i) {
        for (size_t bound = 0; i != SIZE_MAX && bound <= CRITICAL_STEPS_MAX;
             bound++, i = w->steps[i].parent)
                w->steps[i].used = true;
}

static int report(BlockWalk *w, size_t i, PciCriticalCode code, const char *what) {
        char proof[CRITICAL_PROOF_MAX + 160];

        mark_used(w, i);
        (void) snprintf(proof, sizeof proof, "%s → %s", w->steps[i].proof, what);
        return pci_use_add_critical(w->use, code, proof);
}

static bool device_numbers(const Critical *c, const char *name, uint64_t *ret_major,
                           uint64_t *ret_minor) {
        char path[128], text[64];

        (void) snprintf(path, sizeof path, "class/block/%s/dev", name);
        if (read_attr_at(c->tree->sys, path, text, sizeof text) < 0)
                return false;
        const char *colon = strchr(text, ':');
        return colon &&
               parse_u64_n(text, (size_t) (colon - text), 10, UINT32_MAX, ret_major) >= 0 &&
               parse_u64(colon + 1, 10, UINT32_MAX, ret_minor) >= 0;
}

static int report_mounts(BlockWalk *w, size_t i) {
        const Critical *c = w->critical;
        uint64_t major = 0, minor = 0;
        bool numbered = device_numbers(c, w->steps[i].name, &major, &minor);

        for (size_t m = 0; m < c->n_mounts; m++) {
                const CriticalMount *mount = &c->mounts[m];
                bool same = numbered && mount->major == major && mount->minor == minor;
                if (!same && !streq(mount->source, w->steps[i].name))
                        continue;
                int r = report(w, i, PCI_CRITICAL_MOUNT, mount->target);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int report_members(BlockWalk *w, size_t i) {
        const Critical *c = w->critical;

        for (size_t m = 0; m < c->n_members; m++) {
                char what[96];
                if (!streq(c->members[m].device, w->steps[i].name))
                        continue;
                (void) snprintf(what, sizeof what, "btrfs %s", c->members[m].uuid);
                int r = report(w, i, PCI_CRITICAL_STORAGE, what);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int report_tables(BlockWalk *w, size_t i) {
        int r = report_mounts(w, i);

        if (r >= 0 && strv_contains(w->critical->swaps, w->steps[i].name))
                r = report(w, i, PCI_CRITICAL_SWAP, "swap");
        return r < 0 ? r : report_members(w, i);
}

static int add_partitions(BlockWalk *w, size_t i) {
        _cleanup_strv_ char **names = NULL;
        char path[192], text[32], proof[CRITICAL_PROOF_MAX];

        (void) string_copy(proof, sizeof proof,
                           w->steps[i].proof); /* the steps move as they grow */
        (void) snprintf(path, sizeof path, "class/block/%s", w->steps[i].name);
        int r = read_dir_names_at(w->critical->tree->sys, path, SYS_NAMES_MAX, true, &names);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (size_t p = 0; names && names[p]; p++) {
                if ((size_t) snprintf(path, sizeof path, "class/block/%s/%.64s/partition",
                                      w->steps[i].name, names[p]) >= sizeof path ||
                    read_attr_at(w->critical->tree->sys, path, text, sizeof text) < 0)
                        continue;
                if (walk_add(w, proof, names[p], i) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static int add_holders(BlockWalk *w, size_t i) {
        _cleanup_strv_ char **names = NULL;
        char path[128], proof[CRITICAL_PROOF_MAX];

        (void) string_copy(proof, sizeof proof, w->steps[i].proof);
        (void) snprintf(path, sizeof path, "class/block/%s/holders", w->steps[i].name);
        int r = read_dir_names_at(w->critical->tree->sys, path, SYS_NAMES_MAX, true, &names);
        if (r < 0)
                return r == -ENOMEM ? r : 0;
        for (size_t h = 0; names && names[h]; h++)
                if (walk_add(w, proof, names[h], i) < 0)
                        return -ENOMEM;
        return 0;
}

/* 1: refused because somebody has it; 0: free, or nothing is behind the node. */
static int exclusive_open_is_refused(const Critical *c, const char *name) {
        char path[80];

        (void) string_copy(path, sizeof path, name);
        for (char *p = path; *p; p++) /* cciss!c0d0 is /dev/cciss/c0d0 */
                if (*p == '!')
                        *p = '/';
        _cleanup_close_
        int fd = openat(c->tree->dev, path,
                        O_RDONLY | O_NONBLOCK | O_CLOEXEC | (c->tree->made ? 0 : O_EXCL));
        if (fd < 0)
                switch (errno) {
                case EBUSY:
                        return 1;
                case ENOENT:
                case ENXIO:
                case ENODEV:
                case ENOMEDIUM:
                        return 0;
                default:
                        return -errno;
                }
        if (c->tree->made) /* files stand for devices there, and a lock for the claim */
                return flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK;
        return 0;
}

static int report_unseen_use(BlockWalk *w, size_t i) {
        char what[128];

        if (w->steps[i].used)
                return 0;
        int busy = exclusive_open_is_refused(w->critical, w->steps[i].name);
        if (busy == 0)
                return 0;
        if (busy < 0)
                (void) snprintf(what, sizeof what, "not known to be free (exclusive open: %s)",
                                errno_text(-busy));
        return report(w, i, PCI_CRITICAL_STORAGE,
                      busy > 0 ? "held by the kernel (exclusive open refused)" : what);
}

static int walk(BlockWalk *w) {
        int r = 0;

        for (size_t i = 0; r >= 0 && i < w->n; i++) { /* grows as it goes */
                r = report_tables(w, i);
                if (r >= 0)
                        r = add_partitions(w, i);
                if (r >= 0)
                        r = add_holders(w, i);
        }
        /* From the top down: a claim of a partition shows at its disk too, and the nearer proof is
         * the better one. */
        for (size_t i = w->n; r >= 0 && i > 0; i--)
                r = report_unseen_use(w, i - 1);
        if (r >= 0 && w->cut)
                r = report(w, 0, PCI_CRITICAL_STORAGE,
                           "more devices above it than can be followed");
        return r;
}

int critical_follow_block(Critical *c, const char *proof, const char *name, PciUse *use) {
        BlockWalk w = { .critical = c, .use = use };

        assert(c);
        assert(use);
        critical_load_storage(c);
        int r = walk_add(&w, proof, name, SIZE_MAX);
        if (r >= 0 && c->storage_error < 0) {
                char what[128];
                (void) snprintf(what, sizeof what, "mounts and swap cannot be read: %s",
                                errno_text(-c->storage_error));
                r = report(&w, 0, PCI_CRITICAL_STORAGE, what);
        } else if (r >= 0)
                r = walk(&w);
        free(w.steps);
        return r;
}
