/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which registers are to be read: the header, each capability's header, and of the capabilities
 * that are decoded the registers that config-decode.c looks at, no more. Reading configuration
 * space can sleep and costs a bus transaction per dword. A function that is absent or answers with
 * Request Retry Status is asked for nothing but its header: each further read of one that is not
 * ready could stall until a time-out.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "pci/config-walk.h"

typedef struct Range {
        uint8_t offset, n; /* from the capability's header, bytes */
} Range;

#define RANGES_MAX 6U

bool pcie_type_has_link(unsigned type) {
        return type != PCI_EXP_TYPE_RC_END && type != PCI_EXP_TYPE_RC_EC;
}

bool pcie_type_has_slot(unsigned type, uint16_t flags) {
        return (type == PCI_EXP_TYPE_ROOT_PORT || type == PCI_EXP_TYPE_DOWNSTREAM) &&
               (flags & PCI_EXP_FLAGS_SLOT);
}

bool pcie_type_has_root(unsigned type) {
        return type == PCI_EXP_TYPE_ROOT_PORT || type == PCI_EXP_TYPE_RC_EC;
}

bool pci_config_express(const PciConfig *c, uint16_t *ret_offset, uint16_t *ret_flags) {
        uint16_t offset = pci_config_find(c, PCI_CAP_ID_EXP, 0);

        if (offset == 0 || !pci_config_has(c, offset, 4))
                return false;
        *ret_offset = offset;
        *ret_flags = pci_config_u16(c, offset + PCI_EXP_FLAGS);
        return true;
}

static size_t express_ranges(const PciConfig *c, uint16_t offset, Range r[RANGES_MAX]) {
        uint16_t flags = pci_config_u16(c, offset + PCI_EXP_FLAGS);
        unsigned type = (flags & PCI_EXP_FLAGS_TYPE) >> 4;
        size_t n = 0;

        r[n++] = (Range) { PCI_EXP_DEVCAP, 8 };
        if (pcie_type_has_link(type))
                r[n++] = (Range) { PCI_EXP_LNKCAP, 8 };
        if (pcie_type_has_slot(type, flags))
                r[n++] = (Range) { PCI_EXP_SLTCAP, 8 };
        if (pcie_type_has_root(type))
                r[n++] = (Range) { PCI_EXP_RTCTL, 4 };
        if ((flags & PCI_EXP_FLAGS_VERS) >= 2)
                r[n++] = (Range) { PCI_EXP_DEVCAP2, 4 };
        return n;
}

static size_t standard_ranges(const PciConfig *c, uint16_t id, uint16_t offset,
                              Range r[RANGES_MAX]) {
        switch (id) {
        case PCI_CAP_ID_EXP:
                return express_ranges(c, offset, r);
        case PCI_CAP_ID_PM:
                r[0] = (Range) { PCI_PM_CTRL, 4 };
                return 1;
        }
        return 0; /* MSI, MSI-X and AF: what matters stands in the header's dword */
}

static size_t rebar_ranges(const PciConfig *c, uint16_t offset, Range r[RANGES_MAX]) {
        unsigned bars;

        r[0] = (Range) { PCI_REBAR_CAP, 8 };
        if (!pci_config_has(c, offset + PCI_REBAR_CTRL, 4))
                return 1;
        bars = (pci_config_u32(c, offset + PCI_REBAR_CTRL) & PCI_REBAR_CTRL_NBAR_MASK) >>
               PCI_REBAR_CTRL_NBAR_SHIFT;
        r[0].n = (uint8_t) (8 * MIN(MAX(bars, 1U), 6U));
        return 1;
}

static size_t dvsec_ranges(const PciConfig *c, uint16_t offset, Range r[RANGES_MAX]) {
        r[0] = (Range) { PCI_DVSEC_HEADER1, 8 };
        r[1] = (Range) { PCI_DVSEC_HEADER2 + 4, 4 };
        /* Only CXL's have a register of interest behind the headers. */
        return pci_config_has(c, offset + PCI_DVSEC_HEADER1, 4) &&
               pci_config_u16(c, offset + PCI_DVSEC_HEADER1) == PCI_DVSEC_VENDOR_CXL ? 2 : 1;
}

static size_t extended_ranges(const PciConfig *c, uint16_t id, uint16_t offset, bool root,
                              Range r[RANGES_MAX]) {
        switch (id) {
        case PCI_EXT_CAP_ID_ERR:
                r[0] = (Range) { PCI_ERR_UNCOR_STATUS, PCI_ERR_CAP + 4 - PCI_ERR_UNCOR_STATUS };
                r[1] = (Range) { PCI_ERR_ROOT_COMMAND, 8 };
                return root ? 2 : 1;
        case PCI_EXT_CAP_ID_DSN:
                r[0] = (Range) { 4, 8 };
                return 1;
        case PCI_EXT_CAP_ID_ACS:
        case PCI_EXT_CAP_ID_ATS:
        case PCI_EXT_CAP_ID_PASID:
                r[0] = (Range) { 4, 4 };
                return 1;
        case PCI_EXT_CAP_ID_PRI:
                r[0] = (Range) { PCI_PRI_CTRL, 12 };
                return 1;
        case PCI_EXT_CAP_ID_SRIOV:
                r[0] = (Range) { PCI_SRIOV_CAP, PCI_SRIOV_SUP_PGSIZE - PCI_SRIOV_CAP };
                return 1;
        case PCI_EXT_CAP_ID_DPC:
                r[0] = (Range) { PCI_EXP_DPC_CAP, 8 };
                return 1;
        case PCI_EXT_CAP_ID_REBAR:
                return rebar_ranges(c, offset, r);
        case PCI_EXT_CAP_ID_DVSEC:
                return dvsec_ranges(c, offset, r);
        }
        return 0;
}

/* The first run of dwords of the range below `limit` that was not read. What lies beyond cannot
 * be wanted. */
static bool range_missing(const PciConfig *c, size_t limit, size_t offset, size_t n,
                          size_t *ret_offset, size_t *ret_n) {
        size_t end = MIN(offset + n, MIN(limit, (size_t) c->size)), start = offset, stop;

        while (start + 4 <= end && pci_config_has(c, start, 4))
                start += 4;
        if (start + 4 > end)
                return false;
        for (stop = start; stop + 4 <= end && !pci_config_has(c, stop, 4);)
                stop += 4;
        *ret_offset = start;
        *ret_n = stop - start;
        return true;
}

static bool list_wants(const PciConfig *c, bool extended, size_t *ret_offset, size_t *ret_n) {
        uint16_t id, offset, flags;
        PciCapabilityWalk w;
        size_t limit = extended ? PCI_CONFIG_SIZE_EXTENDED : PCI_CONFIG_SIZE;
        bool root = extended && pci_config_express(c, &offset, &flags) &&
                    pcie_type_has_root((flags & PCI_EXP_FLAGS_TYPE) >> 4);

        pci_capability_walk_init(&w, c, extended);
        while (pci_capability_walk_next(&w, &id, &offset)) {
                Range ranges[RANGES_MAX];
                size_t n = extended ? extended_ranges(c, id, offset, root, ranges)
                                    : standard_ranges(c, id, offset, ranges);

                for (size_t i = 0; i < n; i++)
                        if (range_missing(c, limit, offset + ranges[i].offset, ranges[i].n,
                                          ret_offset, ret_n))
                                return true;
        }
        if (w.missing == 0)
                return false;
        *ret_offset = w.missing;
        *ret_n = 4;
        return true;
}

bool pci_config_want(const PciConfig *c, size_t *ret_offset, size_t *ret_n) {
        size_t offset, n;

        assert(c);
        assert(ret_offset);
        assert(ret_n);
        if (!range_missing(c, PCI_CONFIG_SIZE, 0, PCI_STD_HEADER_SIZEOF, &offset, &n)) {
                if (pci_config_liveness(c) != PCI_LIVENESS_ALIVE)
                        return false;
                if (!list_wants(c, false, &offset, &n) && !list_wants(c, true, &offset, &n))
                        return false;
        }
        *ret_offset = offset;
        *ret_n = n;
        return true;
}
