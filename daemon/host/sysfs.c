/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The cold facts of functions. For each function: one readlink for its path, one directory
 * descriptor, and then only the attributes of the cold scan that its class can have, each by open,
 * read, close relative to that directory. No `uevent`, `driver_override`, `config` or any other
 * attribute that waits for a driver or wakes the device is opened here: that is a worker's job.
 */

#include "host/sysfs.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>

#include "base/fdio.h"
#include "base/strutil.h"

#define CLASS_BRIDGE_PCI 0x0604U
#define CLASS_BRIDGE_SEMI 0x0609U
#define DEVICES_PREFIX "devices/"

int sys_tree_open(const char *root, SysTree *ret) {
        _cleanup_sys_tree_ SysTree t = SYS_TREE_INIT;

        assert(root);
        assert(ret);
        t.root = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (t.root < 0)
                return -errno;
        t.sys = open_dir_at(t.root, "sys");
        if (t.sys < 0)
                return t.sys;
        t.dev = open_dir_at(t.root, "dev");
        t.proc = open_dir_at(t.root, "proc");
        t.made = !streq(root, "/");
        *ret = t;
        t = SYS_TREE_INIT;
        return 0;
}

void sys_tree_done(SysTree *t) {
        assert(t);
        t->root = safe_close(t->root);
        t->sys = safe_close(t->sys);
        t->dev = safe_close(t->dev);
        t->proc = safe_close(t->proc);
}

static void closedirp(DIR **d) {
        if (*d)
                (void) closedir(*d);
}

static int compare_addresses(const void *a, const void *b) {
        return pci_address_compare(*(const PciAddress *) a, *(const PciAddress *) b);
}

int sys_list_functions(const SysTree *t, PciAddress **ret, size_t *ret_n) {
        _cleanup_(closedirp) DIR *d = NULL;
        _cleanup_free_ PciAddress *list = NULL;
        size_t n = 0, allocated = 0;
        int fd;

        assert(t);
        assert(ret);
        assert(ret_n);
        fd = open_dir_at(t->sys, "bus/pci/devices");
        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d) {
                (void) safe_close(fd);
                return -errno;
        }
        for (;;) {
                struct dirent *de;
                PciAddress a;

                errno = 0;
                de = readdir(d);
                if (!de && errno != 0)
                        return -errno;
                if (!de)
                        break;
                if (pci_address_parse(de->d_name, &a) < 0)
                        continue;
                if (n >= SYS_FUNCTIONS_MAX)
                        return -E2BIG;
                if (ARRAY_RESERVE_ONE(list, n, allocated) < 0)
                        return -ENOMEM;
                list[n++] = a;
        }
        if (n > 1)
                qsort(list, n, sizeof(PciAddress), compare_addresses);
        *ret = TAKE_PTR(list);
        *ret_n = n;
        return 0;
}

static int gone_or(int error) {
        return error == -ENOENT || error == -ENOTDIR ? -ENODEV : error;
}

int sys_open_function(const SysTree *t, PciAddress a) {
        char path[64];
        int fd;

        assert(t);
        (void) snprintf(path, sizeof(path), "bus/pci/devices/%s", PCI_ADDRESS_TEXT(a));
        fd = openat(t->sys, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? gone_or(-errno) : fd;
}

/* "../../../devices/pci0000:00/…" to the part below devices/. */
static const char *below_devices(const char *target) {
        while (strncmp(target, "../", 3) == 0)
                target += 3;
        return strncmp(target, DEVICES_PREFIX, strlen(DEVICES_PREFIX)) == 0
                       ? target + strlen(DEVICES_PREFIX)
                       : NULL;
}

static int read_path(int devices_fd, const char *address, char *buffer, size_t size) {
        char target[PATH_MAX];
        const char *path;
        int r;

        r = readlink_at(devices_fd, address, target, sizeof(target));
        if (r < 0)
                return gone_or(r);
        path = below_devices(target);
        if (!path)
                return -EBADMSG;
        if (strlen(path) >= size)
                return -ENAMETOOLONG;
        memcpy(buffer, path, strlen(path) + 1);
        return 0;
}

int sys_function_path(const SysTree *t, PciAddress a, char *buffer, size_t size) {
        _cleanup_close_ int devices = -EBADF;

        assert(t);
        assert(buffer);
        devices = open_dir_at(t->sys, "bus/pci/devices");
        if (devices < 0)
                return gone_or(devices);
        return read_path(devices, PCI_ADDRESS_TEXT(a), buffer, size);
}

void sys_read_attribute(int function_fd, PciAttribute a, PciFacts *f) {
        char text[PCI_ATTRIBUTE_TEXT_MAX + 1];
        ssize_t n;

        n = read_attr_at(function_fd, pci_attribute_path(a), text, sizeof(text));
        /* Malformed text is a fact of its own ("unreadable"), kept in f. */
        (void) pci_facts_set_attribute(f, a, n < 0 ? NULL : text, n < 0 ? (int) -n : 0);
}

void sys_read_links(int function_fd, PciFacts *f) {
        char target[NAME_MAX + 1];

        assert(f);
        for (PciLink l = 0; l < _PCI_LINK_MAX; l++) {
                int r = -ENOENT;

                /* The module is the driver's: many functions have none. */
                if (l != PCI_LINK_MODULE || f->link_state[PCI_LINK_DRIVER] == FACT_PRESENT)
                        r = readlink_base_at(function_fd, pci_link_path(l), target, sizeof(target));
                (void) pci_facts_set_link(f, l, r < 0 ? NULL : target, r < 0 ? -r : 0);
        }
}

static bool in_scope(PciAttribute a, const PciFacts *f) {
        uint32_t class = f->class_code >> 8;

        switch (pci_attribute_scope(a)) {
        case PCI_SCOPE_ALL:
                return true;
        case PCI_SCOPE_DISPLAY:
                return class >> 8 == 0x03;
        case PCI_SCOPE_PF:
                return !f->is_vf && class >> 8 != 0x06;
        case PCI_SCOPE_BRIDGE:
                return class == CLASS_BRIDGE_PCI || class == CLASS_BRIDGE_SEMI;
        }
        return true;
}

int sys_read_cold(int devices_fd, PciAddress a, PciFacts *ret) {
        const char *address = PCI_ADDRESS_TEXT(a);
        _cleanup_close_ int fd = -EBADF;
        _cleanup_(pci_facts_done) PciFacts f = {};
        char path[PATH_MAX];
        int r;

        assert(ret);
        pci_facts_init(&f, a);
        r = read_path(devices_fd, address, path, sizeof(path));
        if (r < 0)
                return r;
        r = pci_facts_set_path(&f, path);
        if (r < 0)
                return r;
        fd = openat(devices_fd, address, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return gone_or(-errno);
        sys_read_links(fd, &f);
        /* The table has the class before everything whose scope depends on it. */
        for (PciAttribute i = 0; i < _PCI_ATTRIBUTE_MAX; i++) {
                if (!pci_attribute_is_cold(i))
                        continue;
                if (in_scope(i, &f))
                        sys_read_attribute(fd, i, &f);
                else
                        (void) pci_facts_set_attribute(&f, i, NULL, ENOENT);
        }
        /* A function that goes away half-way leaves the rest absent: say gone, not "absent". */
        if (f.state[PCI_ATTRIBUTE_VENDOR] != FACT_PRESENT &&
            faccessat(devices_fd, address, F_OK, 0) < 0)
                return gone_or(-errno);
        *ret = f;
        f = (PciFacts) {};
        return 0;
}

bool sys_path_deepest_address(const char *path, PciAddress *ret) {
        char part[PCI_ADDRESS_MAX];
        bool found = false;

        assert(path);
        assert(ret);
        for (const char *p = path; *p;) {
                size_t n = strcspn(p, "/");
                PciAddress a;

                if (n > 0 && n < sizeof(part)) {
                        memcpy(part, p, n);
                        part[n] = 0;
                        if (pci_address_parse(part, &a) >= 0) {
                                *ret = a;
                                found = true;
                        }
                }
                p += n;
                p += strspn(p, "/");
        }
        return found;
}

/* ---- NUMA nodes ---- */

#define NODES "devices/system/node"

static int compare_u32(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return (x > y) - (x < y);
}

int sys_list_nodes(const SysTree *t, uint32_t **ret, size_t *ret_n) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_free_ uint32_t *ids = NULL;
        size_t n = 0;
        int r;

        assert(t);
        assert(ret);
        assert(ret_n);
        r = read_dir_names_at(t->sys, NODES, SYS_NAMES_MAX, false, &names);
        if (r < 0 && r != -ENOENT)
                return r;
        ids = calloc(NUMA_NODES_MAX, sizeof(uint32_t));
        if (!ids)
                return -ENOMEM;
        /* Files beside them are called "online", "possible", "has_cpu" … */
        for (char **name = names; name && *name && n < NUMA_NODES_MAX; name++)
                if (strncmp(*name, "node", 4) == 0 &&
                    parse_u32(*name + 4, 10, NUMA_NODES_MAX - 1, ids + n) >= 0)
                        n++;
        if (n > 1)
                qsort(ids, n, sizeof(uint32_t), compare_u32);
        *ret = TAKE_PTR(ids);
        *ret_n = n;
        return 0;
}

ssize_t sys_read_distance(const SysTree *t, uint32_t node, char *text, size_t size) {
        char path[64];

        assert(t);
        (void) snprintf(path, sizeof(path), NODES "/node%u/distance", node);
        return read_attr_at(t->sys, path, text, size);
}
