/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * READ: facts that touch hardware or wait for a driver. Groups come first, since they wait for
 * nothing; then each device in two messages: what is answered at once, and then the attributes that
 * take the driver's lock
 * (`driver_override`, `sriov_numvfs` …). Reading those never returns while an unbind of the device
 * is blocked; then this worker is lost, and the daemon has all else already and goes on with
 * another, which leaves those attributes of that device alone.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/worker.h"

#define VPD_SIZE_MAX 4096U
#define VPD_CHUNK 256U
/* Above this many devices, inverting the class directories once is cheaper than a walk for each. */
#define WALK_DEVICES_MAX 8U

bool worker_attribute_is_late(PciAttribute a) {
        switch (a) {
        case PCI_ATTRIBUTE_DRIVER_OVERRIDE:
        case PCI_ATTRIBUTE_SRIOV_NUMVFS:
        case PCI_ATTRIBUTE_CURRENT_LINK_SPEED:
        case PCI_ATTRIBUTE_CURRENT_LINK_WIDTH:
        case PCI_ATTRIBUTE_MAX_LINK_SPEED:
        case PCI_ATTRIBUTE_MAX_LINK_WIDTH:
        case PCI_ATTRIBUTE_SECONDARY_BUS:
        case PCI_ATTRIBUTE_SUBORDINATE_BUS:
        case PCI_ATTRIBUTE_RESIZE_0:
        case PCI_ATTRIBUTE_RESIZE_1:
        case PCI_ATTRIBUTE_RESIZE_2:
        case PCI_ATTRIBUTE_RESIZE_3:
        case PCI_ATTRIBUTE_RESIZE_4:
        case PCI_ATTRIBUTE_RESIZE_5:
                return true;
        default:
                return false;
        }
}

int worker_read_config(int function_fd, PciConfig *ret) {
        _cleanup_close_ int fd = -EBADF;
        struct stat st;
        size_t offset, n;

        assert(ret);
        fd = openat(function_fd, "config", O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size < 64)
                return -EBADMSG;
        pci_config_init(ret, (size_t) MIN(st.st_size, (off_t) PCI_CONFIG_SIZE_EXTENDED));
        while (pci_config_want(ret, &offset, &n)) {
                uint8_t bytes[PCI_CONFIG_SIZE_EXTENDED];
                ssize_t k = loop_pread(fd, bytes, MIN(n, sizeof(bytes)), (off_t) offset);

                if (k < 0)
                        return (int) k;
                if (k < 4) /* without the capability to read it all, the file ends early */
                        break;
                if (pci_config_set(ret, offset, bytes, (size_t) k) < 0)
                        break;
        }
        return 0;
}

int worker_read_children(Worker *w, const SysChildren *children, PciAddress a, PciUse *use) {
        return children ? sys_children_add_to_use(children, a, use)
                        : sys_children_walk(&w->tree, a, use);
}

static void read_attribute(int fd, PciAttribute a, PciLive *l) {
        char text[PCI_ATTRIBUTE_TEXT_MAX + 1];
        ssize_t n = read_attr_at(fd, pci_attribute_path(a), text, sizeof(text));

        /* Out of memory or malformed: the fact stays unread or unreadable, which is what it is. */
        (void) pci_live_set(l, a, n < 0 ? NULL : text, n < 0 ? (int) -n : 0);
}

static void read_attributes(int fd, bool late, PciLive *l) {
        for (PciAttribute a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                if (!pci_attribute_is_cold(a) && worker_attribute_is_late(a) == late)
                        read_attribute(fd, a, l);
}

/* VPD comes four bytes at a time from a slow device: stop as soon as the serial number is there. */
static void read_vpd(int function_fd, PciLive *l) {
        uint8_t data[VPD_SIZE_MAX];
        _cleanup_close_ int fd = -EBADF;
        size_t size = 0;
        int r = -ENODATA;

        fd = openat(function_fd, "vpd", O_RDONLY | O_CLOEXEC);
        if (fd < 0) {
                l->vpd_serial.state = errno == ENOENT ? FACT_ABSENT : FACT_UNREADABLE;
                return;
        }
        while (size < sizeof(data) && r == -ENODATA) {
                ssize_t n = loop_pread(fd, data + size, VPD_CHUNK, (off_t) size);

                if (n < 0)
                        r = (int) n;
                if (n <= 0)
                        break;
                size += (size_t) n;
                r = pci_vpd_serial(data, size, &l->vpd_serial.text);
                if (r == -EBADMSG && size < sizeof(data))
                        r = -ENODATA; /* cut short by us */
        }
        l->vpd_serial.state = r >= 0 ? FACT_PRESENT : r == -ENODATA ? FACT_ABSENT : FACT_UNREADABLE;
}

/* ---- one device ---- */

typedef struct Reading {
        Worker *w;
        const HostRequest *request;
        SysChildren *children; /* NULL: walk */
} Reading;

static int read_use(const Reading *g, int devices_fd, PciAddress a, PciUse *use) {
        Critical *critical;
        PciFacts f;
        int r;

        r = sys_read_cold(devices_fd, a, &f);
        if (r < 0)
                return r;
        r = worker_read_children(g->w, g->children, a, use);
        if (r >= 0)
                r = pci_use_add_builtin_criticals(use, &f);
        pci_facts_done(&f);
        if (r < 0)
                return r;
        r = worker_critical(g->w, &critical);
        if (r >= 0)
                r = critical_add_to_use(critical, a, use);
        if (r >= 0 && g->request->what & HOST_READ_HOLDERS)
                r = worker_find_holders(g->w, a, use);
        return r;
}

static void report(Worker *w, const ProtocolDevice *d) {
        encode_device(&w->encoder, d);
        worker_send(w, PROTOCOL_DEVICE, NULL, 0);
}

void worker_report_attribute(Worker *w, PciAddress a, int function_fd, PciAttribute attribute) {
        PciLive live = {};

        read_attribute(function_fd, attribute, &live);
        report(w, &(ProtocolDevice) { .address = a, .last = true, .live = &live });
        pci_live_done(&live);
}

static void read_late(const Reading *g, int fd, PciAddress a, int error) {
        unsigned what = g->request->what;
        PciLive late = {};

        if (what & HOST_READ_LIVE)
                read_attributes(fd, true, &late);
        if (what & HOST_READ_VPD)
                read_vpd(fd, &late);
        report(g->w, &(ProtocolDevice){ .address = a,
                                        .error = error,
                                        .what = what & HOST_READ_VPD,
                                        .last = true,
                                        .live = &late });
        pci_live_done(&late);
}

bool worker_is_stuck(const HostRequest *r, PciAddress a) {
        for (size_t i = 0; i < r->n_stuck; i++)
                if (pci_address_equal(r->stuck[i], a))
                        return true;
        return false;
}

static void read_device(const Reading *g, int devices_fd, PciAddress a) {
        ProtocolDevice d = { .address = a };
        _cleanup_free_ PciConfig *config = NULL;
        _cleanup_close_ int fd = -EBADF;
        PciLive live = {};
        PciUse use = {};
        bool stuck = worker_is_stuck(g->request, a);
        unsigned what = g->request->what;
        int r = 0;

        /* What another worker hangs in would only take this one too. */
        if (stuck) {
                what &= ~(HOST_READ_CONFIG | HOST_READ_VPD);
                d.error = -ETIMEDOUT;
        }
        fd = sys_open_function(&g->w->tree, a);
        if (fd < 0) {
                d.error = fd;
                d.last = true;
                report(g->w, &d);
                return;
        }
        if (what & HOST_READ_LIVE) {
                read_attributes(fd, false, &live);
                d.live = &live;
                d.what |= HOST_READ_LIVE;
        }
        if (what & (HOST_READ_USE | HOST_READ_HOLDERS)) {
                r = read_use(g, devices_fd, a, &use);
                d.use = r < 0 ? NULL : &use;
                d.what |= r < 0 ? 0 : what & (HOST_READ_USE | HOST_READ_HOLDERS);
                d.error = r < 0 ? r : d.error;
        }
        if (what & HOST_READ_CONFIG) {
                config = calloc(1, sizeof(PciConfig));
                r = config ? worker_read_config(fd, config) : -ENOMEM;
                d.config = r < 0 ? NULL : config;
                d.what |= r < 0 ? 0 : HOST_READ_CONFIG;
                if (r < 0 && r != -ENOENT)
                        d.error = r;
        }
        d.last = stuck || !(what & (HOST_READ_LIVE | HOST_READ_VPD));
        report(g->w, &d);
        if (!d.last)
                read_late(g, fd, a, d.error);
        pci_live_done(&live);
        pci_use_done(&use);
}

static int read_devices(Worker *w, const HostRequest *r) {
        _cleanup_(sys_children_freep) SysChildren *children = NULL;
        _cleanup_close_ int devices = -EBADF;
        Reading g = { .w = w, .request = r };
        int k;

        if (r->n_devices == 0)
                return 0;
        devices = open_dir_at(w->tree.sys, "bus/pci/devices");
        if (devices < 0)
                return devices;
        if (r->what & HOST_READ_USE && r->n_devices > WALK_DEVICES_MAX) {
                k = sys_children_load(&w->tree, &children);
                if (k < 0)
                        return k;
        }
        g.children = children;
        for (size_t i = 0; i < r->n_devices && worker_may_go_on(w); i++)
                read_device(&g, devices, r->devices[i]);
        return w->cancelled ? -ECANCELED : 0;
}

/* ---- groups and slots ---- */

static ssize_t read_group_text(Worker *w, uint32_t id, const char *attribute, char *text,
                               size_t size) {
        char path[96];

        (void) snprintf(path, sizeof(path), "kernel/iommu_groups/%u/%s", id, attribute);
        return read_attr_at(w->tree.sys, path, text, size);
}

static void read_group(Worker *w, uint32_t id) {
        char text[PCI_ATTRIBUTE_TEXT_MAX + 1];
        IommuGroupFacts g = { .id = id };
        ssize_t n;

        n = read_group_text(w, id, "type", text, sizeof(text));
        (void) iommu_group_facts_set_type(&g, n < 0 ? NULL : text, n < 0 ? (int) -n : 0);
        n = read_group_text(w, id, "reserved_regions", text, sizeof(text));
        (void) iommu_group_facts_set_regions(&g, n < 0 ? NULL : text, n < 0 ? (int) -n : 0);
        g.noiommu = read_group_text(w, id, "name", text, sizeof(text)) > 0 &&
                    streq(text, "vfio-noiommu");
        encode_group(&w->encoder, &g);
        worker_send(w, PROTOCOL_GROUP, NULL, 0);
        iommu_group_facts_done(&g);
}

static int compare_u32(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

static int read_groups(Worker *w, const HostRequest *r) {
        _cleanup_free_ uint32_t *ids = calloc(r->n_devices + r->n_groups + 1, sizeof(uint32_t));
        size_t n = 0;

        if (!ids)
                return -ENOMEM;
        for (size_t i = 0; r->what & HOST_READ_GROUP && i < r->n_devices; i++) {
                _cleanup_close_ int fd = sys_open_function(&w->tree, r->devices[i]);
                char base[32];

                if (fd >= 0 && readlink_base_at(fd, "iommu_group", base, sizeof(base)) >= 0 &&
                    parse_u32(base, 10, UINT32_MAX, ids + n) >= 0)
                        n++;
        }
        for (size_t i = 0; i < r->n_groups; i++)
                ids[n++] = r->groups[i];
        qsort(ids, n, sizeof(uint32_t), compare_u32);
        for (size_t i = 0; i < n && !w->gone; i++)
                if (i == 0 || ids[i] != ids[i - 1])
                        read_group(w, ids[i]);
        return 0;
}

static bool slot_is_wanted(const PciSlotFacts *s, const HostRequest *r) {
        for (size_t i = 0; i < r->n_devices; i++)
                if (pci_slot_facts_matches(s, r->devices[i]))
                        return true;
        return r->n_devices == 0;
}

static void read_slot(Worker *w, const HostRequest *r, const char *name) {
        static const char *const attributes[] = { "power", "attention", "latch", "adapter" };
        char path[512], text[128];
        PciSlotFacts s = {};

        (void) snprintf(path, sizeof(path), "bus/pci/slots/%.200s/address", name);
        if (read_attr_at(w->tree.sys, path, text, sizeof(text)) < 0 ||
            pci_slot_facts_init(&s, name, text) < 0)
                return;
        if (slot_is_wanted(&s, r)) {
                for (size_t i = 0; i < ELEMENTSOF(attributes); i++) {
                        ssize_t n;

                        (void) snprintf(path, sizeof(path), "bus/pci/slots/%.200s/%s", name,
                                        attributes[i]);
                        n = read_attr_at(w->tree.sys, path, text, sizeof(text));
                        (void) pci_slot_facts_set(&s, attributes[i], n < 0 ? NULL : text,
                                                  n < 0 ? (int) -n : 0);
                }
                encode_slot(&w->encoder, &s);
                worker_send(w, PROTOCOL_SLOT, NULL, 0);
        }
        pci_slot_facts_done(&s);
}

static int read_slots(Worker *w, const HostRequest *r) {
        _cleanup_strv_ char **names = NULL;
        int k;

        k = read_dir_names_at(w->tree.sys, "bus/pci/slots", SYS_NAMES_MAX, true, &names);
        if (k < 0)
                return k == -ENOENT ? 0 : k;
        for (char **name = names; *name && !w->gone; name++)
                read_slot(w, r, *name);
        return 0;
}

void worker_read(Worker *w, const HostRequest *r) {
        int k;

        k = read_groups(w, r);
        if (k >= 0)
                k = read_devices(w, r);
        if (k >= 0 && r->what & HOST_READ_SLOT)
                k = read_slots(w, r);
        worker_finish_simple(w, k, "read facts");
}
