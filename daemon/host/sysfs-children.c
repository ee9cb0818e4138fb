/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kernel devices (block, net, drm …) below PCI functions. Two ways to the same answer. The scan of
 * a whole host reads each class directory once and takes the function from the target of each link;
 * an event about one function walks that function's directory alone. With NVMe multipath a
 * namespace hangs under its subsystem, not under a controller, and is a child of every controller
 * that the subsystem links. Partitions, DRM connectors and the like, which hang below a device of
 * their own class, are left out.
 */

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/sysfs.h"

#define WALK_DEPTH_MAX 12U
#define WALK_ENTRIES_MAX 16384U

static const struct {
        const char *subsystem, *directory;
} classes[] = {
        { "block", "class/block" },
        { "net", "class/net" },
        { "nvme", "class/nvme" },
        { "drm", "class/drm" },
        { "accel", "class/accel" },
        { "cxl", "bus/cxl/devices" },
        { "infiniband", "class/infiniband" },
        { "sound", "class/sound" },
        { "misc", "class/misc" },
};

typedef struct Entry {
        uint64_t key; /* pci_address_key() */
        uint32_t order;
        PciChild child;
} Entry;

struct SysChildren {
        Entry *entries;
        size_t n, allocated;
};

SysChildren *sys_children_free(SysChildren *c) {
        if (c)
                free(c->entries);
        free(c);
        return NULL;
}

static int compare_entries(const void *a, const void *b) {
        const Entry *x = a, *y = b;

        if (x->key != y->key)
                return x->key < y->key ? -1 : 1;
        return x->order < y->order ? -1 : x->order > y->order;
}

static int add_entry(SysChildren *c, PciAddress a, const char *subsystem, const char *name) {
        Entry *e;

        if (c->n >= (size_t) 4 * SYS_NAMES_MAX)
                return -E2BIG;
        if (ARRAY_RESERVE_ONE(c->entries, c->n, c->allocated) < 0)
                return -ENOMEM;
        e = c->entries + c->n;
        *e = (Entry) { .key = pci_address_key(a), .order = (uint32_t) c->n };
        (void) string_copy(e->child.subsystem, sizeof(e->child.subsystem), subsystem);
        if (string_copy(e->child.name, sizeof(e->child.name), name))
                c->n++;
        return 0;
}

static int compare_names(const void *key, const void *element) {
        return strcmp(key, *(char *const *) element);
}

/* Does a device of the same class stand right above? "…/block/vda/vda1" below vda. */
static bool is_nested(char *const *names, size_t n, char *target) {
        char *last = strrchr(target, '/'), *parent;
        bool nested;

        if (!last)
                return false;
        *last = 0;
        parent = strrchr(target, '/');
        nested = parent && bsearch(parent + 1, names, n, sizeof(char *), compare_names);
        *last = '/';
        return nested;
}

/* Calls found() for every controller that an NVMe subsystem directory links. */
static int each_controller(int subsystem_fd, const char *path,
                           int (*found)(PciAddress a, void *userdata), void *userdata) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_close_ int fd = -EBADF;
        char target[PATH_MAX];
        int r;

        fd = open_dir_at(subsystem_fd, path);
        if (fd < 0)
                return 0; /* gone meanwhile */
        if (read_dir_names_at(fd, ".", SYS_NAMES_MAX, false, &names) < 0)
                return 0;
        for (char **name = names; *name; name++) {
                PciAddress a;

                if (strncmp(*name, "nvme", 4) != 0 ||
                    readlink_at(fd, *name, target, sizeof(target)) < 0 ||
                    !sys_path_deepest_address(target, &a))
                        continue;
                r = found(a, userdata);
                if (r < 0)
                        return r;
        }
        return 0;
}

typedef struct MultipathTarget {
        SysChildren *children;
        const char *name;
} MultipathTarget;

static int add_multipath(PciAddress a, void *userdata) {
        MultipathTarget *m = userdata;

        return add_entry(m->children, a, "block", m->name);
}

/* A block device whose path has no PCI function: one of an NVMe subsystem? */
static int add_virtual_block(const SysTree *t, SysChildren *c, const char *target,
                             const char *name) {
        const char *p = strstr(target, "/nvme-subsystem/");
        MultipathTarget m = { c, name };
        char path[PATH_MAX];
        size_t n;

        if (!p)
                return 0;
        p += strlen("/nvme-subsystem/");
        n = strcspn(p, "/");
        if (snprintf(path, sizeof(path), "class/nvme-subsystem/%.*s",
                     (int) MIN(n, (size_t) NAME_MAX), p) < 0)
                return -EIO;
        return each_controller(t->sys, path, add_multipath, &m);
}

static int load_class(const SysTree *t, SysChildren *c, size_t class) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_close_ int fd = -EBADF;
        char target[PATH_MAX];
        size_t n;
        int r;

        fd = open_dir_at(t->sys, classes[class].directory);
        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        r = read_dir_names_at(fd, ".", SYS_NAMES_MAX, true, &names);
        if (r < 0)
                return r;
        n = strv_length(names);
        for (size_t i = 0; i < n; i++) {
                PciAddress a;

                if (readlink_at(fd, names[i], target, sizeof(target)) < 0 ||
                    is_nested(names, n, target))
                        continue;
                /* Ports and decoders stand on the same bus. */
                if (streq(classes[class].subsystem, "cxl") && strncmp(names[i], "mem", 3) != 0)
                        continue;
                if (sys_path_deepest_address(target, &a))
                        r = add_entry(c, a, classes[class].subsystem, names[i]);
                else if (streq(classes[class].subsystem, "block"))
                        r = add_virtual_block(t, c, target, names[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

int sys_children_load(const SysTree *t, SysChildren **ret) {
        _cleanup_(sys_children_freep) SysChildren *c = NULL;
        int r;

        assert(t);
        assert(ret);
        c = calloc(1, sizeof(SysChildren));
        if (!c)
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(classes); i++) {
                r = load_class(t, c, i);
                if (r < 0)
                        return r;
        }
        if (c->n > 1)
                qsort(c->entries, c->n, sizeof(Entry), compare_entries);
        *ret = TAKE_PTR(c);
        return 0;
}

int sys_children_add_to_use(const SysChildren *c, PciAddress a, PciUse *use) {
        uint64_t key = pci_address_key(a);
        size_t low = 0, high;

        assert(c);
        assert(use);
        high = c->n;
        while (low < high) {
                size_t middle = low + (high - low) / 2;

                if (c->entries[middle].key < key)
                        low = middle + 1;
                else
                        high = middle;
        }
        for (; low < c->n && c->entries[low].key == key; low++) {
                int r = pci_use_add_child(use, c->entries[low].child.subsystem,
                                          c->entries[low].child.name);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- one function ---- */

typedef struct Walk {
        SysChildren found;
        unsigned entries;
        PciAddress address;
} Walk;

static int class_of_directory(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(classes); i++)
                if (streq(classes[i].subsystem, name))
                        return (int) i;
        return -1;
}

/* The subsystem of a device directory by its link; NVMe namespaces and CXL devices stand in no
 * class directory. */
static bool subsystem_is(int fd, const char *name, const char *subsystem) {
        char path[NAME_MAX + 16], base[32];

        (void) snprintf(path, sizeof(path), "%.*s/subsystem", NAME_MAX, name);
        return readlink_base_at(fd, path, base, sizeof(base)) >= 0 && streq(base, subsystem);
}

/* The class of the device that this directory is; NULL if it is none of ours. */
static const char *class_of_entry(int fd, const char *parent_class, const char *name) {
        if (parent_class)
                return subsystem_is(fd, name, parent_class) ? parent_class : NULL;
        if (strncmp(name, "nvme", 4) == 0 && subsystem_is(fd, name, "block"))
                return "block";
        if (strncmp(name, "mem", 3) == 0 && subsystem_is(fd, name, "cxl"))
                return "cxl";
        return NULL;
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

/* Attributes and links are no devices, and what is below another function is that one's. */
static bool may_hold_device(int fd, const struct dirent *de) {
        static const char *const others[] = {
                ".", "..", "power", "msi_irqs", "aer", "link", "p2pmem", "vfio-dev", "queue",
        };
        struct stat st;
        PciAddress a;

        if (de->d_type != DT_DIR && de->d_type != DT_UNKNOWN)
                return false;
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (streq(de->d_name, others[i]))
                        return false;
        if (pci_address_parse(de->d_name, &a) >= 0)
                return false;
        return de->d_type == DT_DIR ||
               (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) >= 0 && S_ISDIR(st.st_mode));
}

/* parent_class: this directory is one like "net", whose members are devices of that class. */
static int walk_directory(Walk *w, int parent_fd, const char *path, const char *parent_class,
                          unsigned depth) {
        _cleanup_(closedirp) DIR *d = NULL;
        int fd, r;

        fd = openat(parent_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        d = fd >= 0 ? fdopendir(fd) : NULL;
        if (!d) {
                (void) safe_close(fd);
                return 0; /* gone meanwhile */
        }
        for (struct dirent *de = readdir(d); de; de = readdir(d)) {
                const char *class;
                int below;

                if (++w->entries > WALK_ENTRIES_MAX)
                        return -E2BIG;
                if (!may_hold_device(fd, de))
                        continue;
                class = class_of_entry(fd, parent_class, de->d_name);
                r = class ? add_entry(&w->found, w->address, class, de->d_name) : 0;
                if (r < 0)
                        return r;
                /* Below a block or net device there are only its own parts; an NVMe controller has
                 * namespaces. */
                if ((class && !streq(class, "nvme")) || depth >= WALK_DEPTH_MAX)
                        continue;
                below = class_of_directory(de->d_name);
                r = walk_directory(w, fd, de->d_name, below >= 0 ? classes[below].subsystem : NULL,
                                   depth + 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int note_controller(PciAddress a, void *userdata) {
        Walk *w = userdata;

        if (pci_address_equal(a, w->address))
                w->entries = 1;
        return 0;
}

/* Namespaces of the NVMe subsystems that link this function's controllers. */
static int walk_multipath(const SysTree *t, Walk *w) {
        _cleanup_strv_ char **subsystems = NULL;

        if (read_dir_names_at(t->sys, "class/nvme-subsystem", SYS_NAMES_MAX, true, &subsystems) < 0)
                return 0;
        for (char **s = subsystems; *s; s++) {
                _cleanup_strv_ char **names = NULL;
                _cleanup_close_ int fd = -EBADF;
                char path[PATH_MAX];

                (void) snprintf(path, sizeof(path), "class/nvme-subsystem/%s", *s);
                w->entries = 0;
                (void) each_controller(t->sys, path, note_controller, w);
                fd = w->entries ? open_dir_at(t->sys, path) : -EBADF;
                if (fd < 0 || read_dir_names_at(fd, ".", SYS_NAMES_MAX, true, &names) < 0)
                        continue;
                for (char **name = names; *name; name++)
                        if (subsystem_is(fd, *name, "block")) {
                                int r = add_entry(&w->found, w->address, "block", *name);
                                if (r < 0)
                                        return r;
                        }
        }
        return 0;
}

static bool has_nvme(const SysChildren *c) {
        for (size_t i = 0; i < c->n; i++)
                if (streq(c->entries[i].child.subsystem, "nvme"))
                        return true;
        return false;
}

/* In the order of the classes, then by name, as a scan of the whole host gives them. */
static int compare_found(const void *a, const void *b) {
        const PciChild *x = &((const Entry *) a)->child, *y = &((const Entry *) b)->child;
        int i = class_of_directory(x->subsystem), j = class_of_directory(y->subsystem);

        return i != j ? i - j : strcmp(x->name, y->name);
}

int sys_children_walk(const SysTree *t, PciAddress a, PciUse *use) {
        Walk w = { .address = a };
        _cleanup_close_ int fd = -EBADF;
        int r;

        assert(t);
        assert(use);
        fd = sys_open_function(t, a);
        if (fd < 0)
                return fd;
        r = walk_directory(&w, fd, ".", NULL, 0);
        if (r >= 0 && has_nvme(&w.found))
                r = walk_multipath(t, &w);
        if (r >= 0 && w.found.n > 1)
                qsort(w.found.entries, w.found.n, sizeof(Entry), compare_found);
        for (size_t i = 0; r >= 0 && i < w.found.n; i++)
                r = pci_use_add_child(use, w.found.entries[i].child.subsystem,
                                      w.found.entries[i].child.name);
        free(w.found.entries);
        return r;
}
