/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text of cached sysfs attributes and links into PciFacts. This is the cold path of the whole
 * inventory: nothing here allocates but the copy of a path and of the resources that there are, and
 * nothing scans twice. A value whose text is missing or malformed is put back to what
 * pci_facts_init() gave it, so that two facts that say the same compare equal.
 */

#include <assert.h>

#include "pci/facts.h"
#include "pci/scan.h"

/* Of a bridge's `resource` on a kernel without CONFIG_PCI_IOV: 7 and 4 windows. */
#define LINES_WITHOUT_IOV 11U

const char *fact_state_to_string(FactState s) {
        switch (s) {
        case FACT_UNREAD:
                return "not read yet";
        case FACT_ABSENT:
                return "n/a";
        case FACT_PRESENT:
                return "present";
        case FACT_UNREADABLE:
        case _FACT_STATE_MAX:
                break;
        }
        return "unreadable";
}

void pci_facts_init(PciFacts *f, PciAddress address) {
        assert(f);
        *f = (PciFacts) { .address = address, .numa_node = -1 };
}

void pci_facts_done(PciFacts *f) {
        if (!f)
                return;
        free(f->path);
        free(f->kept);
        pci_facts_init(f, f->address);
}

int pci_facts_copy(const PciFacts *from, PciFacts *to) {
        _cleanup_free_ PciResource *kept = NULL;
        char *path = NULL;

        assert(from);
        assert(to);
        if (from->n_kept > 0) {
                kept = malloc(from->n_kept * sizeof(*kept));
                if (!kept)
                        return -ENOMEM;
                memcpy(kept, from->kept, from->n_kept * sizeof(*kept));
        }
        if (from->path && !(path = strdup(from->path)))
                return -ENOMEM;
        *to = *from;
        to->path = path;
        to->kept = TAKE_PTR(kept);
        return 0;
}

const PciResource *pci_facts_resource(const PciFacts *f, unsigned i) {
        static const PciResource none;

        assert(f);
        return i < f->n_kept ? f->kept + i : &none;
}

static bool resources_equal(const PciFacts *a, const PciFacts *b) {
        if (a->n_resources != b->n_resources || a->n_kept != b->n_kept)
                return false;
        for (unsigned i = 0; i < a->n_kept; i++)
                if (a->kept[i].start != b->kept[i].start || a->kept[i].size != b->kept[i].size ||
                    a->kept[i].flags != b->kept[i].flags)
                        return false;
        return true;
}

static bool place_equal(const PciFacts *a, const PciFacts *b) {
        return pci_address_equal(a->address, b->address) && a->has_parent == b->has_parent &&
               pci_address_equal(a->parent, b->parent) && streq_ptr(a->path, b->path) &&
               a->is_vf == b->is_vf && pci_address_equal(a->physfn, b->physfn);
}

static bool identity_equal(const PciFacts *a, const PciFacts *b) {
        return a->vendor == b->vendor && a->device == b->device &&
               a->subsystem_vendor == b->subsystem_vendor &&
               a->subsystem_device == b->subsystem_device && a->class_code == b->class_code &&
               a->revision == b->revision;
}

bool pci_facts_equal(const PciFacts *a, const PciFacts *b) {
        assert(a);
        assert(b);
        return place_equal(a, b) && identity_equal(a, b) &&
               memcmp(a->state, b->state, sizeof(a->state)) == 0 &&
               memcmp(a->link_state, b->link_state, sizeof(a->link_state)) == 0 &&
               a->numa_node == b->numa_node && a->boot_vga == b->boot_vga &&
               a->waiting_for_supplier == b->waiting_for_supplier &&
               a->sriov_totalvfs == b->sriov_totalvfs && a->iommu_group == b->iommu_group &&
               streq(a->iommu, b->iommu) && streq(a->driver, b->driver) &&
               streq(a->module, b->module) && streq(a->reset_method, b->reset_method) &&
               resources_equal(a, b);
}

/* "0x…start 0x…end 0x…flags" with the newline that ends it. end is inclusive. */
static bool scan_resource(const char **text, PciResource *ret) {
        uint64_t start, end, flags;
        const char *p = *text;

        if (!scan_hex_prefixed(&p, 16, &start) || *p++ != ' ' || !scan_hex_prefixed(&p, 16, &end) ||
            *p++ != ' ' || !scan_hex_prefixed(&p, 16, &flags) || flags > UINT32_MAX)
                return false;
        if (*p == '\n')
                p++;
        else if (*p != 0)
                return false;
        *text = p;
        *ret = (PciResource) { .flags = (uint32_t) flags };
        if (start == 0 && end == 0)
                return true;
        /* A window that is off has end = start - 1. One of 2^64 bytes has no size that we could
         * hold. */
        if (end - start == UINT64_MAX)
                return start != 0;
        if (end < start)
                return false;
        ret->start = start;
        ret->size = end - start + 1;
        return true;
}

/* Most functions implement few: what follows the last of them is not kept. */
static bool keep_resources(PciFacts *f, const PciResource *lines, unsigned n) {
        PciResource *kept = NULL;

        while (n > 0 && lines[n - 1].size == 0 && lines[n - 1].flags == 0)
                n--;
        if (n > 0) {
                kept = malloc(n * sizeof(*kept));
                if (!kept)
                        return false;
                memcpy(kept, lines, n * sizeof(*kept));
        }
        free(f->kept);
        f->kept = kept;
        f->n_kept = (uint8_t) n;
        return true;
}

static bool parse_resources(PciFacts *f, const char *text) {
        PciResource lines[PCI_RESOURCE_MAX] = {};
        unsigned n = 0;

        /* A later kernel may list more of them; they are checked and passed over. */
        for (; *text; n++) {
                PciResource one;

                if (!scan_resource(&text, &one))
                        return false;
                if (n < PCI_RESOURCE_MAX)
                        lines[n] = one;
        }
        if (n <= PCI_RESOURCE_ROM)
                return false;
        if (n == LINES_WITHOUT_IOV) {
                memmove(lines + PCI_RESOURCE_WINDOW_FIRST, lines + PCI_RESOURCE_VF_FIRST,
                        (n - PCI_RESOURCE_VF_FIRST) * sizeof(lines[0]));
                memset(lines + PCI_RESOURCE_VF_FIRST, 0,
                       (PCI_RESOURCE_WINDOW_FIRST - PCI_RESOURCE_VF_FIRST) * sizeof(lines[0]));
                n = PCI_RESOURCE_MAX;
        }
        n = MIN(n, PCI_RESOURCE_MAX);
        if (!keep_resources(f, lines, n))
                return false;
        f->n_resources = (uint8_t) n;
        return true;
}

static bool parse_u16_hex(const char *text, uint16_t *ret) {
        uint64_t v;

        if (!scan_whole_hex(text, 4, &v))
                return false;
        *ret = (uint16_t) v;
        return true;
}

static bool parse_flag(const char *text, bool *ret) {
        uint64_t v;

        if (!scan_whole_decimal(text, 1, &v))
                return false;
        *ret = v == 1;
        return true;
}

static bool parse_node(const char *text, int16_t *ret) {
        uint64_t v;

        if (text[0] == '-') {
                if (!scan_whole_decimal(text + 1, 1, &v) || v != 1)
                        return false;
                *ret = -1;
                return true;
        }
        if (!scan_whole_decimal(text, INT16_MAX, &v))
                return false;
        *ret = (int16_t) v;
        return true;
}

/* "flr bus"; an empty list means that resets are disabled. */
static bool parse_reset_method(const char *text, char buffer[PCI_RESET_METHODS_MAX]) {
        if (scan_end(text)) {
                buffer[0] = 0;
                return true;
        }
        for (const char *p = text; !scan_end(p); p++)
                if (*p != ' ' && *p != '_' && (*p < 'a' || *p > 'z') && (*p < '0' || *p > '9'))
                        return false;
        return scan_name(text, buffer, PCI_RESET_METHODS_MAX);
}

static bool parse_attribute(PciFacts *f, PciAttribute a, const char *text) {
        uint64_t v;

        switch (a) {
        case PCI_ATTRIBUTE_VENDOR:
                return parse_u16_hex(text, &f->vendor);
        case PCI_ATTRIBUTE_DEVICE:
                return parse_u16_hex(text, &f->device);
        case PCI_ATTRIBUTE_SUBSYSTEM_VENDOR:
                return parse_u16_hex(text, &f->subsystem_vendor);
        case PCI_ATTRIBUTE_SUBSYSTEM_DEVICE:
                return parse_u16_hex(text, &f->subsystem_device);
        case PCI_ATTRIBUTE_CLASS:
                if (!scan_whole_hex(text, 6, &v))
                        return false;
                f->class_code = (uint32_t) v;
                return true;
        case PCI_ATTRIBUTE_REVISION:
                if (!scan_whole_hex(text, 2, &v))
                        return false;
                f->revision = (uint8_t) v;
                return true;
        case PCI_ATTRIBUTE_RESOURCE:
                return parse_resources(f, text);
        case PCI_ATTRIBUTE_NUMA_NODE:
                return parse_node(text, &f->numa_node);
        case PCI_ATTRIBUTE_BOOT_VGA:
                return parse_flag(text, &f->boot_vga);
        case PCI_ATTRIBUTE_RESET_METHOD:
                return parse_reset_method(text, f->reset_method);
        case PCI_ATTRIBUTE_SRIOV_TOTALVFS:
                if (!scan_whole_decimal(text, UINT16_MAX, &v))
                        return false;
                f->sriov_totalvfs = (uint16_t) v;
                return true;
        case PCI_ATTRIBUTE_WAITING_FOR_SUPPLIER:
                return parse_flag(text, &f->waiting_for_supplier);
        default: /* the rest is PciLive's */
                return false;
        }
}

/* To what pci_facts_init() gave. False: this attribute is not held here. */
static bool reset_attribute(PciFacts *f, PciAttribute a) {
        switch (a) {
        case PCI_ATTRIBUTE_VENDOR:
                f->vendor = 0;
                return true;
        case PCI_ATTRIBUTE_DEVICE:
                f->device = 0;
                return true;
        case PCI_ATTRIBUTE_SUBSYSTEM_VENDOR:
                f->subsystem_vendor = 0;
                return true;
        case PCI_ATTRIBUTE_SUBSYSTEM_DEVICE:
                f->subsystem_device = 0;
                return true;
        case PCI_ATTRIBUTE_CLASS:
                f->class_code = 0;
                return true;
        case PCI_ATTRIBUTE_REVISION:
                f->revision = 0;
                return true;
        case PCI_ATTRIBUTE_RESOURCE:
                f->n_resources = f->n_kept = 0;
                free(f->kept);
                f->kept = NULL;
                return true;
        case PCI_ATTRIBUTE_NUMA_NODE:
                f->numa_node = -1;
                return true;
        case PCI_ATTRIBUTE_BOOT_VGA:
                f->boot_vga = false;
                return true;
        case PCI_ATTRIBUTE_RESET_METHOD:
                f->reset_method[0] = 0;
                return true;
        case PCI_ATTRIBUTE_SRIOV_TOTALVFS:
                f->sriov_totalvfs = 0;
                return true;
        case PCI_ATTRIBUTE_WAITING_FOR_SUPPLIER:
                f->waiting_for_supplier = false;
                return true;
        default:
                return false;
        }
}

int pci_facts_set_attribute(PciFacts *f, PciAttribute a, const char *text, int error) {
        assert(f);
        assert((unsigned) a < _PCI_ATTRIBUTE_MAX);

        if (!reset_attribute(f, a))
                return 0;
        if (!text) {
                f->state[a] = abs(error) == ENOENT ? FACT_ABSENT : FACT_UNREADABLE;
                return 0;
        }
        if (!parse_attribute(f, a, text)) {
                (void) reset_attribute(f, a);
                f->state[a] = FACT_UNREADABLE;
                return -EBADMSG;
        }
        f->state[a] = FACT_PRESENT;
        return 0;
}

static void reset_link(PciFacts *f, PciLink l) {
        switch (l) {
        case PCI_LINK_DRIVER:
                f->driver[0] = 0;
                return;
        case PCI_LINK_IOMMU_GROUP:
                f->iommu_group = 0;
                return;
        case PCI_LINK_IOMMU:
                f->iommu[0] = 0;
                return;
        case PCI_LINK_PHYSFN:
                f->is_vf = false;
                f->physfn = (PciAddress) {};
                return;
        case PCI_LINK_MODULE:
                f->module[0] = 0;
                return;
        case _PCI_LINK_MAX:
        case _PCI_LINK_INVALID:
                return;
        }
}

static bool parse_link(PciFacts *f, PciLink l, const char *target) {
        uint64_t v;

        switch (l) {
        case PCI_LINK_DRIVER:
                return scan_name(target, f->driver, sizeof(f->driver));
        case PCI_LINK_IOMMU_GROUP:
                if (!scan_whole_decimal(target, UINT32_MAX, &v))
                        return false;
                f->iommu_group = (uint32_t) v;
                return true;
        case PCI_LINK_IOMMU:
                return scan_name(target, f->iommu, sizeof(f->iommu));
        case PCI_LINK_PHYSFN:
                f->is_vf = pci_address_parse(target, &f->physfn) >= 0;
                return f->is_vf;
        case PCI_LINK_MODULE:
                return scan_name(target, f->module, sizeof(f->module));
        case _PCI_LINK_MAX:
        case _PCI_LINK_INVALID:
                break;
        }
        return false;
}

int pci_facts_set_link(PciFacts *f, PciLink l, const char *target, int error) {
        assert(f);
        assert((unsigned) l < _PCI_LINK_MAX);

        reset_link(f, l);
        if (!target) {
                f->link_state[l] = abs(error) == ENOENT ? FACT_ABSENT : FACT_UNREADABLE;
                return 0;
        }
        if (!parse_link(f, l, target)) {
                f->link_state[l] = FACT_UNREADABLE;
                return -EBADMSG;
        }
        f->link_state[l] = FACT_PRESENT;
        return 0;
}
