/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * SNAPSHOT: the whole host as the kernel says it, into HOST.json (host/snapshot.h) in a sealed
 * memory file. It holds the texts and registers that the daemon and the worker read, and no others:
 * configuration space as far as it is decoded, since reading the rest of it can upset a device. The
 * daemon is told of each device before it is read: where its driver holds the lock for too long,
 * another worker begins anew and says of that device what can be read without.
 */

#include "host/snapshot.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/mman.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/worker.h"

/* errors: the ones that mean "not there" leave everything NULL and 0. */
static int take_text(ssize_t n, const char *text, char **ret_text, int *ret_error) {
        if (n == -ENOENT || n == -ENOTDIR)
                return 0;
        if (n < 0) {
                *ret_error = (int) -n;
                return 0;
        }
        return free_and_strdup(ret_text, text);
}

/* What waits for a driver's lock, of a device whose driver does not give it. */
static void leave_locked(int fd, SnapshotDevice *d) {
        for (PciAttribute a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                if (worker_attribute_is_late(a) &&
                    faccessat(fd, pci_attribute_path(a), F_OK, 0) >= 0)
                        d->attributes[a].error = ETIMEDOUT;
        d->config_error = ETIMEDOUT;
}

static int take_attributes(int fd, bool late, SnapshotDevice *d) {
        char text[PCI_ATTRIBUTE_TEXT_MAX + 1];
        int r = 0;

        for (PciAttribute a = 0; r >= 0 && a < _PCI_ATTRIBUTE_MAX; a++) {
                ssize_t n;

                if (worker_attribute_is_late(a) != late)
                        continue;
                n = read_attr_at(fd, pci_attribute_path(a), text, sizeof(text));
                r = take_text(n, text, &d->attributes[a].text, &d->attributes[a].error);
        }
        return r;
}

static int take_links(int fd, SnapshotDevice *d) {
        char text[NAME_MAX + 1];
        int r = 0;

        for (PciLink l = 0; r >= 0 && l < _PCI_LINK_MAX; l++) {
                int n = readlink_base_at(fd, pci_link_path(l), text, sizeof(text));

                r = take_text(n, text, &d->links[l].text, &d->links[l].error);
        }
        return r;
}

static int take_config(int fd, SnapshotDevice *d) {
        _cleanup_free_ PciConfig *c = calloc(1, sizeof(PciConfig));
        int r;

        if (!c)
                return -ENOMEM;
        r = worker_read_config(fd, c);
        if (r >= 0)
                d->config = TAKE_PTR(c);
        else if (r != -ENOENT)
                d->config_error = -r;
        return 0;
}

static int take_use(Worker *w, const SysChildren *children, SnapshotDevice *d) {
        Critical *critical;
        int r;

        r = worker_read_children(w, children, d->address, &d->use);
        if (r >= 0)
                r = worker_critical(w, &critical);
        return r < 0 ? r : critical_add_to_use(critical, d->address, &d->use);
}

static int take_device(Worker *w, const SysChildren *children, PciAddress a, bool stuck,
                       Snapshot *s) {
        _cleanup_close_ int fd = sys_open_function(&w->tree, a);
        char path[PATH_MAX];
        SnapshotDevice *d;
        int r;

        if (fd < 0 || sys_function_path(&w->tree, a, path, sizeof(path)) < 0)
                return 0; /* gone meanwhile */
        d = snapshot_add_device(s, a);
        if (!d || free_and_strdup(&d->path, path) < 0)
                return -ENOMEM;
        r = take_links(fd, d);
        if (r >= 0)
                r = take_attributes(fd, false, d);
        if (r >= 0)
                r = take_use(w, children, d);
        if (r >= 0 && stuck) {
                leave_locked(fd, d);
                return 0;
        }
        if (r >= 0)
                r = take_config(fd, d);
        return r < 0 ? r : take_attributes(fd, true, d);
}

static int take_devices(Worker *w, const HostRequest *request, Snapshot *s) {
        _cleanup_(sys_children_freep) SysChildren *children = NULL;
        _cleanup_free_ PciAddress *functions = NULL;
        size_t n = 0;
        int r;

        r = sys_list_functions(&w->tree, &functions, &n);
        if (r >= 0)
                r = sys_children_load(&w->tree, &children);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                worker_progress(w, functions + i);
                r = take_device(w, children, functions[i], worker_is_stuck(request, functions[i]),
                                s);
                if (r >= 0 && !worker_may_go_on(w))
                        r = -ECANCELED;
        }
        worker_progress(w, NULL);
        return r;
}

/* Text of one attribute below a directory of sysfs; what cannot be read is left out. */
static int take_optional(const SysTree *t, const char *directory, const char *name,
                         const char *attribute, char **ret) {
        char path[512], text[PCI_ATTRIBUTE_TEXT_MAX + 1];

        if (snprintf(path, sizeof(path), "%s/%s/%s", directory, name, attribute) >=
                    (int) sizeof(path) ||
            read_attr_at(t->sys, path, text, sizeof(text)) < 0)
                return 0;
        return free_and_strdup(ret, text);
}

static int compare_groups(const void *a, const void *b) {
        uint32_t x = ((const SnapshotGroup *) a)->id, y = ((const SnapshotGroup *) b)->id;

        return x < y ? -1 : x > y;
}

static int take_groups(Worker *w, Snapshot *s) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = read_dir_names_at(w->tree.sys, "kernel/iommu_groups", SYS_NAMES_MAX, true, &names);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char **name = names; r >= 0 && *name; name++) {
                SnapshotGroup *g;
                uint32_t id;

                if (parse_u32(*name, 10, UINT32_MAX, &id) < 0)
                        continue;
                if (ARRAY_RESERVE_ONE(s->groups, s->n_groups, s->groups_allocated) < 0)
                        return -ENOMEM;
                g = s->groups + s->n_groups++;
                *g = (SnapshotGroup) { .id = id };
                r = take_optional(&w->tree, "kernel/iommu_groups", *name, "type", &g->type);
                if (r >= 0)
                        r = take_optional(&w->tree, "kernel/iommu_groups", *name,
                                          "reserved_regions", &g->reserved_regions);
        }
        if (s->n_groups > 1)
                qsort(s->groups, s->n_groups, sizeof(SnapshotGroup), compare_groups);
        return r;
}

static int take_iommus(Worker *w, Snapshot *s) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = read_dir_names_at(w->tree.sys, "class/iommu", 4096, true, &names);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char **name = names; r >= 0 && *name; name++) {
                SnapshotIommu *i;

                if (ARRAY_RESERVE_ONE(s->iommus, s->n_iommus, s->iommus_allocated) < 0)
                        return -ENOMEM;
                i = s->iommus + s->n_iommus++;
                *i = (SnapshotIommu) {};
                (void) string_copy(i->name, sizeof(i->name), *name);
                r = take_optional(&w->tree, "class/iommu", *name, "intel-iommu/cap", &i->cap);
                if (r >= 0)
                        r = take_optional(&w->tree, "class/iommu", *name, "intel-iommu/ecap",
                                          &i->ecap);
                if (r >= 0 && !i->cap)
                        r = take_optional(&w->tree, "class/iommu", *name, "amd-iommu/cap", &i->cap);
                if (r >= 0)
                        r = take_optional(&w->tree, "class/iommu", *name, "amd-iommu/features",
                                          &i->features);
        }
        return r;
}

static int take_nodes(Worker *w, Snapshot *s) {
        _cleanup_free_ uint32_t *ids = NULL;
        size_t n = 0;
        int r;

        r = sys_list_nodes(&w->tree, &ids, &n);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                char text[PCI_ATTRIBUTE_TEXT_MAX + 1];
                SnapshotNode *node;

                if (ARRAY_RESERVE_ONE(s->nodes, s->n_nodes, s->nodes_allocated) < 0)
                        return -ENOMEM;
                node = s->nodes + s->n_nodes++;
                *node = (SnapshotNode) { .id = ids[i] };
                if (sys_read_distance(&w->tree, ids[i], text, sizeof(text)) >= 0)
                        r = free_and_strdup(&node->distance, text);
        }
        return r;
}

static int take_slot(Worker *w, const char *name, SnapshotSlot *slot) {
        const struct {
                const char *attribute;
                char **to;
        } texts[] = {
                { "address", &slot->address },     { "power", &slot->power },
                { "attention", &slot->attention }, { "latch", &slot->latch },
                { "adapter", &slot->adapter },
        };
        int r;

        r = free_and_strdup(&slot->name, name);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(texts); i++)
                r = take_optional(&w->tree, "bus/pci/slots", name, texts[i].attribute, texts[i].to);
        return r;
}

static int take_slots(Worker *w, Snapshot *s) {
        _cleanup_strv_ char **names = NULL;
        int r;

        r = read_dir_names_at(w->tree.sys, "bus/pci/slots", SYS_NAMES_MAX, true, &names);
        if (r < 0)
                return r == -ENOENT ? 0 : r;
        for (char **name = names; r >= 0 && *name; name++) {
                SnapshotSlot *slot;

                if (ARRAY_RESERVE_ONE(s->slots, s->n_slots, s->slots_allocated) < 0)
                        return -ENOMEM;
                slot = s->slots + s->n_slots++;
                *slot = (SnapshotSlot) {};
                r = take_slot(w, *name, slot);
        }
        return r;
}

static int add_alias(Snapshot *s, const char *pattern, const char *module) {
        SnapshotAlias *a;
        int r;

        if (ARRAY_RESERVE_ONE(s->aliases, s->n_aliases, s->aliases_allocated) < 0)
                return -ENOMEM;
        a = s->aliases + s->n_aliases++;
        *a = (SnapshotAlias) {};
        r = free_and_strdup(&a->pattern, pattern);
        return r < 0 ? r : free_and_strdup(&a->module, module);
}

static int take_aliases(Worker *w, Snapshot *s) {
        SysAliases aliases = {};
        bool any = false;
        int r;

        r = sys_aliases_load(&w->tree, &aliases);
        for (size_t i = 0; r >= 0 && i < aliases.n; i++) {
                r = add_alias(s, aliases.list[i].pattern, aliases.list[i].module);
                any |= streq(aliases.list[i].module, "vfio_pci");
        }
        /* Without its alias it takes every function all the same. */
        if (r >= 0 && !any && sys_has_vfio_driver(&w->tree))
                r = add_alias(s, "vfio_pci:*", "vfio_pci");
        sys_aliases_done(&aliases);
        return r;
}

static int send_json(Worker *w, const Snapshot *s, bool redact) {
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *text = NULL;
        HostFd f = { .kind = HOST_FD_SNAPSHOT };
        _cleanup_close_ int fd = -EBADF;
        int r;

        r = snapshot_to_json(s, redact, &j);
        if (r < 0)
                return r;
        text = json_to_text(j, true);
        if (!text)
                return -ENOMEM;
        fd = memfd_create("pciassignd-snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        r = loop_write(fd, text, strlen(text));
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0)
                return -errno;
        encode_fd(&w->encoder, &f);
        worker_send(w, PROTOCOL_FD, &fd, 1);
        return 0;
}

void worker_snapshot(Worker *w, const HostRequest *request) {
        _cleanup_(snapshot_freep) Snapshot *s = NULL;
        int r;

        assert(w);
        s = snapshot_new();
        r = s ? worker_read_platform(&w->tree, &s->platform) : -ENOMEM;
        if (r >= 0)
                r = take_devices(w, request, s);
        if (r >= 0)
                r = take_groups(w, s);
        if (r >= 0)
                r = take_iommus(w, s);
        if (r >= 0)
                r = take_nodes(w, s);
        if (r >= 0)
                r = take_slots(w, s);
        if (r >= 0)
                r = take_aliases(w, s);
        if (r >= 0)
                r = send_json(w, s, request->redact);
        worker_finish_simple(w, r, "take a snapshot of the host");
}
