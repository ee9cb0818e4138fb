/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of registers that change by themselves, and the comparison under it. A row gives the
 * bits of one dword that are compared; what has no row is compared whole, as far as the walk of
 * config-want.c reads it: the header, each capability's header, and the registers of the
 * capabilities that are decoded. Registers that a vendor defines are not read and so not compared.
 * What the owner of a device can write and a reset must take back (Device Control, error masks,
 * access control, sizes of BARs, the number of virtual functions) has its bits in the mask; what
 * the kernel or the link change on their own has not. The same table is in pciassignd(8).
 */

#include "pci/compare.h"

#include <assert.h>
#include <linux/pci_regs.h>

#include "base/strutil.h"
#include "pci/config-walk.h"

#define NOTHING 0x00000000U

/* clang-format off */
const PciVolatile pci_volatile_table[] = {
        { 'h', 0, 0x04, 0x06b1fbe8, "Command, Status",
          "decoding, bus mastering, write-and-invalidate and interrupt disable follow the driver; errors are latched" },
        { 'h', 0, 0x0c, 0x00ff0000, "Cache Line Size, Latency Timer, BIST", "set by the kernel; BIST reports" },
        { 'h', 0, 0x10, NOTHING, "BAR 0", "compared with the kernel's resources" },
        { 'h', 0, 0x14, NOTHING, "BAR 1", "compared with the kernel's resources" },
        { 'h', 0, 0x18, NOTHING, "BAR 2", "compared with the kernel's resources" },
        { 'h', 0, 0x1c, NOTHING, "BAR 3", "compared with the kernel's resources" },
        { 'h', 0, 0x20, NOTHING, "BAR 4", "compared with the kernel's resources" },
        { 'h', 0, 0x24, NOTHING, "BAR 5", "compared with the kernel's resources" },
        { 'h', 0, 0x30, NOTHING, "Expansion ROM Base Address", "enabled while it is read" },
        { 'h', 0, 0x3c, 0xffffff00, "Interrupt Line", "written by the kernel" },
        { 'c', PCI_CAP_ID_PM, 0x04, 0x00000008, "Power Management Control/Status", "power state and wake-up events" },
        { 'c', PCI_CAP_ID_VPD, 0x00, 0x0000ffff, "VPD Address", "moves with each access" },
        { 'c', PCI_CAP_ID_MSI, 0x00, 0x038effff, "MSI Message Control", "enabled by the driver" },
        { 'c', PCI_CAP_ID_MSIX, 0x00, 0x07ffffff, "MSI-X Message Control", "enabled and masked by the driver" },
        { 'c', PCI_CAP_ID_EXP, 0x04, 0xf003ffff, "Device Capabilities", "slot power limit: a message sets it" },
        { 'c', PCI_CAP_ID_EXP, 0x08, 0x0000ffff, "Device Status", "errors and pending transactions" },
        { 'c', PCI_CAP_ID_EXP, 0x10, NOTHING, "Link Control, Link Status", "power management of the link, its state" },
        { 'c', PCI_CAP_ID_EXP, 0x18, NOTHING, "Slot Control, Slot Status", "of the slot, not of what is in it" },
        { 'c', PCI_CAP_ID_EXP, 0x1c, NOTHING, "Root Control", "of a port" },
        { 'c', PCI_CAP_ID_EXP, 0x20, NOTHING, "Root Status", "of a port" },
        { 'e', PCI_EXT_CAP_ID_ERR, 0x04, NOTHING, "Uncorrectable Error Status", "latched errors" },
        { 'e', PCI_EXT_CAP_ID_ERR, 0x10, NOTHING, "Correctable Error Status", "latched errors" },
        { 'e', PCI_EXT_CAP_ID_ERR, 0x18, 0x000007e0, "Advanced Error Capabilities and Control", "the first error" },
        { 'e', PCI_EXT_CAP_ID_ERR, 0x2c, NOTHING, "Root Error Command", "of a port" },
        { 'e', PCI_EXT_CAP_ID_ERR, 0x30, NOTHING, "Root Error Status", "of a port" },
        { 'e', PCI_EXT_CAP_ID_ATS, 0x04, 0x0000ffff, "ATS Control", "enabled by the kernel's IOMMU driver" },
        { 'e', PCI_EXT_CAP_ID_PRI, 0x04, NOTHING, "Page Request Control, Status", "enabled by the IOMMU driver" },
        { 'e', PCI_EXT_CAP_ID_PRI, 0x0c, NOTHING, "Outstanding Page Requests", "set by the IOMMU driver" },
        { 'e', PCI_EXT_CAP_ID_PASID, 0x04, 0x0000ffff, "PASID Control", "enabled by the kernel's IOMMU driver" },
        { 'e', PCI_EXT_CAP_ID_SRIOV, 0x08, 0x0000001f, "SR-IOV Status", "migration status" },
        { 'e', PCI_EXT_CAP_ID_SRIOV, 0x14, NOTHING, "First VF Offset, VF Stride", "follow the number of functions" },
        { 'e', PCI_EXT_CAP_ID_DPC, 0x04, 0x0000ffff, "DPC Control", "of a port" },
        { 'e', PCI_EXT_CAP_ID_DPC, 0x08, NOTHING, "DPC Status", "of a port" },
        { 'e', PCI_EXT_CAP_ID_DVSEC, 0x08, 0x0000ffff, "DVSEC registers", "defined by the vendor" },
        { 'e', PCI_EXT_CAP_ID_DVSEC, 0x0c, NOTHING, "DVSEC registers", "defined by the vendor" },
};
/* clang-format on */
const size_t pci_volatile_table_size = ELEMENTSOF(pci_volatile_table);

static const PciVolatile *find_row(char kind, uint16_t id, uint16_t offset) {
        for (size_t i = 0; i < ELEMENTSOF(pci_volatile_table); i++) {
                const PciVolatile *v = pci_volatile_table + i;

                if (v->kind == kind && v->id == id && v->offset == offset)
                        return v;
        }
        return NULL;
}

/* ---- which capability a dword belongs to ---- */

typedef struct Place {
        char kind;
        uint16_t id, start;
} Place;

typedef struct Places {
        Place list[PCI_CONFIG_WALK_MAX + PCI_CONFIG_EXTENDED_MAX];
        size_t n;
} Places;

static void add_places(const PciConfig *c, bool extended, Places *p) {
        PciCapabilityWalk w;
        uint16_t id, offset;

        pci_capability_walk_init(&w, c, extended);
        while (p->n < ELEMENTSOF(p->list) && pci_capability_walk_next(&w, &id, &offset))
                p->list[p->n++] = (Place) { extended ? 'e' : 'c', id, offset };
}

/* The capability with the highest start at or below the offset, of the same half. */
static Place place_of(const Places *p, uint16_t offset) {
        Place best = { 'h', 0, 0 };

        if (offset < PCI_STD_HEADER_SIZEOF)
                return best;
        best.kind = offset < PCI_CONFIG_SIZE ? 'c' : 'e';
        for (size_t i = 0; i < p->n; i++)
                if (p->list[i].start <= offset && p->list[i].kind == best.kind &&
                    p->list[i].start >= best.start)
                        best = p->list[i];
        return best;
}

static bool is_known_capability(char kind, uint16_t id) {
        static const uint8_t whole[] = { PCI_CAP_ID_EXP,  PCI_CAP_ID_PM,  PCI_CAP_ID_MSI,
                                         PCI_CAP_ID_MSIX, PCI_CAP_ID_VPD, PCI_CAP_ID_AF };

        if (kind != 'c')
                return true; /* an extended header holds ID, version and next, nothing else */
        for (size_t i = 0; i < ELEMENTSOF(whole); i++)
                if (whole[i] == id)
                        return true;
        return false;
}

static uint32_t mask_of(const PciConfig *reference, Place place, uint16_t offset) {
        const PciVolatile *v = find_row(place.kind, place.id, (uint16_t) (offset - place.start));

        if (place.kind == 'h' &&
            (pci_config_u8(reference, PCI_HEADER_TYPE) & 0x7f) != PCI_HEADER_TYPE_NORMAL)
                return offset == 0x00 || offset == 0x08 ? UINT32_MAX : NOTHING;
        if (v)
                return v->mask;
        /* The upper half of another capability's header is whatever that capability wants. */
        return offset == place.start && !is_known_capability(place.kind, place.id) ? 0x0000ffffU
                                                                                   : UINT32_MAX;
}

static void set_name(PciDifference *d, Place place) {
        uint16_t offset = (uint16_t) (d->offset - place.start);
        const PciVolatile *v = find_row(place.kind, place.id, offset);

        if (v)
                (void) string_copy(d->name, sizeof(d->name), v->name); /* cut: it is for people */
        else if (place.kind == 'h')
                (void) snprintf(d->name, sizeof(d->name), "header + %02xh", offset);
        else
                (void) snprintf(d->name, sizeof(d->name), "%scapability %02xh + %02xh",
                                place.kind == 'e' ? "extended " : "", place.id, offset);
}

static PciDifference *add(PciComparison *c) {
        if (c->n >= PCI_DIFFERENCES_MAX) {
                c->n_dropped++;
                return NULL;
        }
        c->list[c->n] = (PciDifference) {};
        return c->list + c->n++;
}

void pci_config_compare(const PciConfig *reference, const PciConfig *found, PciComparison *ret) {
        Places places = {};

        assert(reference);
        assert(found);
        assert(ret);
        add_places(reference, false, &places);
        add_places(reference, true, &places);
        for (uint16_t offset = 0; offset + 4U <= reference->size;
             offset = (uint16_t) (offset + 4)) {
                Place place;
                PciDifference *d;
                uint32_t mask, was, is;

                if (!pci_config_has(reference, offset, 4))
                        continue;
                place = place_of(&places, offset);
                mask = mask_of(reference, place, offset);
                if (mask == NOTHING)
                        continue;
                was = pci_config_u32(reference, offset) & mask;
                is = pci_config_u32(found, offset) & mask;
                ret->n_compared++;
                if (pci_config_has(found, offset, 4) && was == is)
                        continue;
                d = add(ret);
                if (!d)
                        continue;
                *d = (PciDifference){
                        .offset = offset, .mask = mask, .reference = was, .found = is
                };
                set_name(d, place);
        }
}

/* ---- base addresses ---- */

static int parse_resource(const char *line, uint64_t v[3]) {
        for (size_t i = 0; i < 3; i++) {
                size_t n;
                int r;

                line += strspn(line, " ");
                if (strncmp(line, "0x", 2) == 0)
                        line += 2;
                n = strcspn(line, " \n");
                r = parse_u64_n(line, n, 16, UINT64_MAX, v + i);
                if (r < 0)
                        return -EBADMSG;
                line += n;
        }
        return 0;
}

/* linux/ioport.h, through the attribute `resource` */
#define RESOURCE_IO 0x00000100U
#define RESOURCE_MEM 0x00000200U
#define RESOURCE_MEM_64 0x00100000U
#define RESOURCE_UNSET 0x20000000U

static void compare_bar(const PciConfig *found, unsigned i, const uint64_t v[3],
                        PciComparison *ret) {
        uint16_t offset = (uint16_t) (PCI_BASE_ADDRESS_0 + 4 * i);
        uint64_t flags = v[2], is, start = v[0];
        PciDifference *d;

        if (!(flags & (RESOURCE_IO | RESOURCE_MEM)) || flags & RESOURCE_UNSET || v[1] < v[0] ||
            v[1] == 0)
                return;
        is = pci_config_u32(found, offset);
        is &= flags & RESOURCE_IO ? PCI_BASE_ADDRESS_IO_MASK : (uint32_t) PCI_BASE_ADDRESS_MEM_MASK;
        if (flags & RESOURCE_MEM_64 && i < 5)
                is |= (uint64_t) pci_config_u32(found, offset + 4) << 32;
        ret->n_compared++;
        if (is == start)
                return;
        d = add(ret);
        if (!d)
                return;
        *d = (PciDifference) { .offset = offset, .mask = UINT32_MAX };
        /* The half that differs, or the lower one. */
        d->reference =
                (uint32_t) start == (uint32_t) is ? (uint32_t) (start >> 32) : (uint32_t) start;
        d->found = (uint32_t) start == (uint32_t) is ? (uint32_t) (is >> 32) : (uint32_t) is;
        (void) snprintf(d->name, sizeof(d->name), "BAR %u", i);
}

int pci_config_compare_bars(const PciConfig *found, const char *resource, PciComparison *ret) {
        assert(found);
        assert(resource);
        assert(ret);
        if ((pci_config_u8(found, PCI_HEADER_TYPE) & 0x7f) != PCI_HEADER_TYPE_NORMAL)
                return 0;
        for (unsigned i = 0; i < 6 && *resource; i++) {
                uint64_t v[3];
                int r = parse_resource(resource, v);

                if (r < 0)
                        return r;
                compare_bar(found, i, v, ret);
                resource += strcspn(resource, "\n");
                resource += *resource == '\n';
        }
        return 0;
}

char *pci_comparison_to_string(const PciComparison *c) {
        _cleanup_strbuf_ StrBuf b = {};

        assert(c);
        if (c->n == 0)
                return strjoinf("nothing differs in %zu registers", c->n_compared);
        for (size_t i = 0; i < c->n; i++) {
                const PciDifference *d = c->list + i;

                strbuf_addf(&b, "%s%s at 0x%03x is 0x%08x, was 0x%08x", i > 0 ? "; " : "", d->name,
                            d->offset, d->found, d->reference);
        }
        if (c->n_dropped > 0)
                strbuf_addf(&b, "; and %zu more", c->n_dropped);
        return strbuf_steal(&b);
}
