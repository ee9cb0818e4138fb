/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the daemon reads itself. A scan lists the functions and inverts the class directories when
 * it begins; each scan_next() then reads one function, so that the caller can slice it. Everything
 * here is memory of the kernel: no call waits for a device, a driver or firmware.
 */

#include <assert.h>
#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/kernel-private.h"

struct HostScan {
        Host *host; /* first */
        int devices_fd;
        PciAddress *functions;
        size_t n_functions, next;
        SysChildren *children;
};

void kernel_scan_end(HostScan *s) {
        (void) safe_close(s->devices_fd);
        free(s->functions);
        sys_children_free(s->children);
        free(s);
}

int kernel_scan_begin(Host *h, HostScan **ret) {
        KernelHost *k = kernel_host(h);
        HostScan *s = calloc(1, sizeof(HostScan));
        int r;

        if (!s)
                return -ENOMEM;
        s->host = h;
        r = s->devices_fd = open_dir_at(k->tree.sys, "bus/pci/devices");
        if (r >= 0)
                r = sys_list_functions(&k->tree, &s->functions, &s->n_functions);
        if (r >= 0)
                r = sys_children_load(&k->tree, &s->children);
        if (r < 0) {
                kernel_scan_end(s);
                return r;
        }
        *ret = s;
        return 0;
}

int kernel_scan_next(HostScan *s, PciFacts *ret_facts, PciUse *ret_use) {
        while (s->next < s->n_functions) {
                PciAddress a = s->functions[s->next++];
                PciUse use = {};
                PciFacts f;
                int r;

                r = sys_read_cold(s->devices_fd, a, &f);
                if (r == -ENODEV)
                        continue; /* went away meanwhile: its event follows */
                if (r < 0)
                        return r;
                r = sys_children_add_to_use(s->children, a, &use);
                if (r >= 0)
                        r = pci_use_add_builtin_criticals(&use, &f);
                if (r < 0) {
                        pci_facts_done(&f);
                        pci_use_done(&use);
                        return r;
                }
                *ret_facts = f;
                *ret_use = use;
                return 1;
        }
        return 0;
}

static int refresh_cold(KernelHost *k, PciFacts *facts) {
        _cleanup_close_ int devices = open_dir_at(k->tree.sys, "bus/pci/devices");
        PciFacts fresh;
        int r;

        if (devices < 0)
                return devices;
        r = sys_read_cold(devices, facts->address, &fresh);
        if (r < 0)
                return r;
        pci_facts_done(facts);
        *facts = fresh;
        return 0;
}

int kernel_refresh(Host *h, PciFacts *facts, HostRefresh what) {
        KernelHost *k = kernel_host(h);
        _cleanup_close_ int fd = -EBADF;

        if (what == HOST_REFRESH_COLD)
                return refresh_cold(k, facts);
        fd = sys_open_function(&k->tree, facts->address);
        if (fd < 0)
                return fd;
        sys_read_links(fd, facts);
        return 0;
}

int kernel_read_children(Host *h, PciAddress a, PciUse *ret_use) {
        PciUse use = {};
        int r;

        r = sys_children_walk(&kernel_host(h)->tree, a, &use);
        if (r < 0) {
                pci_use_done(&use);
                return r;
        }
        *ret_use = use;
        return 0;
}

static void read_iommu(const SysTree *t, const char *name, IommuFacts *ret) {
        static const struct {
                const char *path, *attribute;
        } registers[] = {
                { "intel-iommu/cap", "cap" },
                { "intel-iommu/ecap", "ecap" },
                { "amd-iommu/cap", "cap" },
                { "amd-iommu/features", "features" },
        };
        char text[PCI_ATTRIBUTE_TEXT_MAX + 1], path[512];

        iommu_facts_init(ret, name);
        for (size_t i = 0; i < ELEMENTSOF(registers); i++) {
                ssize_t n;

                if (snprintf(path, sizeof(path), "class/iommu/%s/%s", name, registers[i].path) >=
                    (int) sizeof(path))
                        continue;
                n = read_attr_at(t->sys, path, text, sizeof(text));
                if (n == -ENOENT)
                        continue;
                (void) iommu_facts_set_register(ret, registers[i].attribute, n < 0 ? NULL : text,
                                                n < 0 ? (int) -n : 0);
        }
}

int kernel_iommus(Host *h, IommuFacts **ret, size_t *ret_n) {
        KernelHost *k = kernel_host(h);
        _cleanup_strv_ char **names = NULL;
        IommuFacts *list;
        size_t n;
        int r;

        r = read_dir_names_at(k->tree.sys, "class/iommu", 4096, true, &names);
        if (r < 0 && r != -ENOENT)
                return r;
        n = r < 0 ? 0 : strv_length(names);
        list = calloc(n + 1, sizeof(IommuFacts));
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                read_iommu(&k->tree, names[i], list + i);
        *ret = list;
        *ret_n = n;
        return 0;
}

/* Names and addresses only: the other attributes ask the hot-plug controller and are a worker's. */
int kernel_slots(Host *h, PciSlotFacts **ret, size_t *ret_n) {
        KernelHost *k = kernel_host(h);
        _cleanup_strv_ char **names = NULL;
        PciSlotFacts *list;
        size_t n, filled = 0;
        int r;

        r = read_dir_names_at(k->tree.sys, "bus/pci/slots", 65536, true, &names);
        if (r < 0 && r != -ENOENT)
                return r;
        n = r < 0 ? 0 : strv_length(names);
        list = calloc(n + 1, sizeof(PciSlotFacts));
        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                char text[64], path[512];

                if (snprintf(path, sizeof(path), "bus/pci/slots/%s/address", names[i]) <
                            (int) sizeof(path) &&
                    read_attr_at(k->tree.sys, path, text, sizeof(text)) >= 0 &&
                    pci_slot_facts_init(list + filled, names[i], text) >= 0)
                        filled++;
        }
        *ret = list;
        *ret_n = filled;
        return 0;
}

/* Memory of the kernel as well: the firmware's table, read when it started. */
int kernel_nodes(Host *h, NumaNodes *ret) {
        KernelHost *k = kernel_host(h);
        _cleanup_free_ uint32_t *ids = NULL;
        NumaNodes nodes = {};
        size_t n;
        int r;

        r = sys_list_nodes(&k->tree, &ids, &n);
        if (r < 0)
                return r;
        nodes.list = calloc(n + 1, sizeof(NumaNode));
        if (!nodes.list)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                char text[PCI_ATTRIBUTE_TEXT_MAX + 1];
                ssize_t size = sys_read_distance(&k->tree, ids[i], text, sizeof(text));

                nodes.list[nodes.n].id = ids[i];
                r = numa_node_set_distances(nodes.list + nodes.n++, size < 0 ? NULL : text,
                                            size < 0 ? (int) -size : 0);
                if (r == -ENOMEM) {
                        numa_nodes_done(&nodes);
                        return r;
                }
        }
        *ret = nodes;
        return 0;
}
