/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Registers to facts. Each capability is decoded only when all of its registers were read and they
 * are not all-ones throughout, which no real block of them is: a function that vanishes while it is
 * read answers so, and must not seem to support everything. Of a capability that may stand there
 * once, the first counts, as in the kernel. Nothing fails; `truncated` and `incomplete` say that
 * the picture has holes.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "pci/config-walk.h"
#include "pci/facts.h"

#define CXL_DVSEC_DEVICE 0
#define CXL_DVSEC_FLEXBUS_PORT 7

typedef struct Decoder {
        const PciConfig *c;
        PciConfigFacts *f;
        uint16_t flags; /* PCI Express Capabilities register */
        bool seen_express, seen_rebar;
} Decoder;

/* Are these n bytes behind the capability's header there, and is anything in them? */
static bool block_is_readable(Decoder *d, size_t limit, size_t offset, size_t n) {
        if (offset + n > limit || offset + n > d->c->size) {
                d->f->truncated = true;
                return false;
        }
        if (!pci_config_has(d->c, offset, n)) {
                d->f->incomplete = true;
                return false;
        }
        for (size_t i = 0; i < n; i++)
                if (d->c->bytes[offset + i] != UINT8_MAX)
                        return true;
        d->f->truncated = true;
        return false;
}

static bool standard_block(Decoder *d, size_t offset, size_t n) {
        return block_is_readable(d, PCI_CONFIG_SIZE, offset, n);
}

static bool extended_block(Decoder *d, size_t offset, size_t n) {
        return block_is_readable(d, PCI_CONFIG_SIZE_EXTENDED, offset, n);
}

static void decode_slot(Decoder *d, uint16_t at) {
        PciConfigFacts *f = d->f;

        if (!standard_block(d, at + PCI_EXP_SLTCAP, 8))
                return;
        f->slot_implemented = true;
        f->slot_capabilities = pci_config_u32(d->c, at + PCI_EXP_SLTCAP);
        f->slot_control = pci_config_u16(d->c, at + PCI_EXP_SLTCTL);
        f->slot_status = pci_config_u16(d->c, at + PCI_EXP_SLTSTA);
        f->physical_slot = (uint16_t) (f->slot_capabilities >> 19);
        f->physical_slot_valid = f->physical_slot != 0;
}

static void decode_express(Decoder *d, uint16_t at) {
        const PciConfig *c = d->c;
        PciConfigFacts *f = d->f;

        if (d->seen_express || !standard_block(d, at + PCI_EXP_DEVCAP, 8))
                return;
        d->seen_express = true;
        d->flags = pci_config_u16(c, at + PCI_EXP_FLAGS);
        f->pcie_type = (d->flags & PCI_EXP_FLAGS_TYPE) >> 4;
        f->device_capabilities = pci_config_u32(c, at + PCI_EXP_DEVCAP);
        f->flr = f->device_capabilities & PCI_EXP_DEVCAP_FLR;
        f->device_control = pci_config_u16(c, at + PCI_EXP_DEVCTL);
        f->device_status = pci_config_u16(c, at + PCI_EXP_DEVSTA);
        if (pcie_type_has_link(f->pcie_type) && standard_block(d, at + PCI_EXP_LNKCAP, 8)) {
                f->link_capabilities = pci_config_u32(c, at + PCI_EXP_LNKCAP);
                f->link_control = pci_config_u16(c, at + PCI_EXP_LNKCTL);
                f->link_status = pci_config_u16(c, at + PCI_EXP_LNKSTA);
        }
        if (pcie_type_has_slot(f->pcie_type, d->flags))
                decode_slot(d, at);
        if (pcie_type_has_root(f->pcie_type) && standard_block(d, at + PCI_EXP_RTCTL, 4)) {
                f->root_control = pci_config_u16(c, at + PCI_EXP_RTCTL);
                f->root_capabilities = pci_config_u16(c, at + PCI_EXP_RTCAP);
        }
        if ((d->flags & PCI_EXP_FLAGS_VERS) >= 2 && standard_block(d, at + PCI_EXP_DEVCAP2, 4))
                f->device_capabilities2 = pci_config_u32(c, at + PCI_EXP_DEVCAP2);
}

static void decode_standard(Decoder *d, uint16_t id, uint16_t at) {
        const PciConfig *c = d->c;
        PciConfigFacts *f = d->f;

        switch (id) {
        case PCI_CAP_ID_EXP:
                decode_express(d, at);
                break;
        case PCI_CAP_ID_PM:
                if (f->has_power || !standard_block(d, at + PCI_PM_CTRL, 4))
                        break;
                f->has_power = true;
                f->pm_control = pci_config_u16(c, at + PCI_PM_CTRL);
                break;
        case PCI_CAP_ID_MSI:
                f->has_msi = true;
                break;
        case PCI_CAP_ID_MSIX:
                if (f->has_msix)
                        break;
                f->has_msix = true;
                f->msix_vectors = pci_config_u16(c, at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE;
                f->msix_vectors++;
                break;
        case PCI_CAP_ID_AF:
                if (f->has_af)
                        break;
                f->has_af = true;
                f->af_capabilities = pci_config_u8(c, at + PCI_AF_CAP);
                break;
        }
}

static void decode_aer(Decoder *d, uint16_t at) {
        const PciConfig *c = d->c;
        PciConfigFacts *f = d->f;

        if (f->has_aer || !extended_block(d, at + PCI_ERR_UNCOR_STATUS, PCI_ERR_CAP))
                return;
        f->has_aer = true;
        f->aer_uncorrectable_status = pci_config_u32(c, at + PCI_ERR_UNCOR_STATUS);
        f->aer_uncorrectable_mask = pci_config_u32(c, at + PCI_ERR_UNCOR_MASK);
        f->aer_uncorrectable_severity = pci_config_u32(c, at + PCI_ERR_UNCOR_SEVER);
        f->aer_correctable_status = pci_config_u32(c, at + PCI_ERR_COR_STATUS);
        f->aer_correctable_mask = pci_config_u32(c, at + PCI_ERR_COR_MASK);
        f->aer_capabilities = pci_config_u32(c, at + PCI_ERR_CAP);
        if (!d->seen_express || !pcie_type_has_root(f->pcie_type) ||
            !extended_block(d, at + PCI_ERR_ROOT_COMMAND, 8))
                return;
        f->has_aer_root = true;
        f->aer_root_command = pci_config_u32(c, at + PCI_ERR_ROOT_COMMAND);
        f->aer_root_status = pci_config_u32(c, at + PCI_ERR_ROOT_STATUS);
}

static void decode_sriov(Decoder *d, uint16_t at) {
        const PciConfig *c = d->c;
        PciConfigFacts *f = d->f;

        if (f->has_sriov ||
            !extended_block(d, at + PCI_SRIOV_CAP, PCI_SRIOV_SUP_PGSIZE - PCI_SRIOV_CAP))
                return;
        f->has_sriov = true;
        f->sriov_control = pci_config_u16(c, at + PCI_SRIOV_CTRL);
        f->sriov_initial_vfs = pci_config_u16(c, at + PCI_SRIOV_INITIAL_VF);
        f->sriov_total_vfs = pci_config_u16(c, at + PCI_SRIOV_TOTAL_VF);
        f->sriov_num_vfs = pci_config_u16(c, at + PCI_SRIOV_NUM_VF);
        f->sriov_offset = pci_config_u16(c, at + PCI_SRIOV_VF_OFFSET);
        f->sriov_stride = pci_config_u16(c, at + PCI_SRIOV_VF_STRIDE);
        f->sriov_vf_device = pci_config_u16(c, at + PCI_SRIOV_VF_DID);
}

static void decode_rebar(Decoder *d, uint16_t at) {
        PciConfigFacts *f = d->f;
        uint32_t bars;

        if (d->seen_rebar || !extended_block(d, at + PCI_REBAR_CAP, 8))
                return;
        d->seen_rebar = true;
        bars = (pci_config_u32(d->c, at + PCI_REBAR_CTRL) & PCI_REBAR_CTRL_NBAR_MASK) >>
               PCI_REBAR_CTRL_NBAR_SHIFT;
        for (uint32_t i = 0; i < MIN(bars, PCI_REBAR_MAX); i++) {
                size_t each = at + 8U * i;
                uint32_t control;

                if (!extended_block(d, each + PCI_REBAR_CAP, 8))
                        return;
                control = pci_config_u32(d->c, each + PCI_REBAR_CTRL);
                if ((control & PCI_REBAR_CTRL_BAR_IDX) > 5) {
                        f->truncated = true;
                        continue;
                }
                f->rebar[f->n_rebar].bar = control & PCI_REBAR_CTRL_BAR_IDX;
                f->rebar[f->n_rebar].sizes = pci_config_u32(d->c, each + PCI_REBAR_CAP) >> 4;
                f->rebar[f->n_rebar].size_exponent =
                        (uint8_t) (20 + ((control & PCI_REBAR_CTRL_BAR_SIZE) >>
                                        PCI_REBAR_CTRL_BAR_SHIFT));
                f->n_rebar++;
        }
}

static void decode_cxl(Decoder *d, uint16_t at, uint16_t id) {
        PciConfigFacts *f = d->f;

        f->is_cxl = true;
        if (id == CXL_DVSEC_DEVICE && extended_block(d, at + PCI_DVSEC_HEADER2, 8)) {
                f->cxl_capabilities = pci_config_u16(d->c, at + 0xaU);
                f->cxl_control = pci_config_u16(d->c, at + 0xcU);
        } else if (id == CXL_DVSEC_FLEXBUS_PORT && extended_block(d, at + PCI_DVSEC_HEADER2, 8))
                f->cxl_flexbus_status = pci_config_u16(d->c, at + 0xeU);
}

static void decode_dvsec(Decoder *d, uint16_t at) {
        PciConfigFacts *f = d->f;
        uint16_t vendor, id;
        uint32_t header;

        if (!extended_block(d, at + PCI_DVSEC_HEADER1, 8))
                return;
        header = pci_config_u32(d->c, at + PCI_DVSEC_HEADER1);
        vendor = header & 0xffff;
        id = pci_config_u16(d->c, at + PCI_DVSEC_HEADER2);
        if (vendor == PCI_DVSEC_VENDOR_CXL)
                decode_cxl(d, at, id);
        else if (vendor == PCI_DVSEC_VENDOR_CCIX)
                f->is_ccix = true;
        if (f->n_dvsec >= PCI_DVSEC_MAX) {
                f->truncated = true;
                return;
        }
        f->dvsec[f->n_dvsec].vendor = vendor;
        f->dvsec[f->n_dvsec].id = id;
        f->dvsec[f->n_dvsec].revision = header >> 16 & 0xf;
        f->dvsec[f->n_dvsec].offset = at;
        f->n_dvsec++;
}

/* A 16-bit capability register at +4 and its control register at +6: ACS, ATS, PASID. */
static void decode_pair(Decoder *d, uint16_t at, bool *has, uint16_t *capabilities,
                        uint16_t *control) {
        if (*has || !extended_block(d, at + 4U, 4))
                return;
        *has = true;
        *capabilities = pci_config_u16(d->c, at + 4U);
        *control = pci_config_u16(d->c, at + 6U);
}

static void decode_extended_one(Decoder *d, uint16_t id, uint16_t at) {
        const PciConfig *c = d->c;
        PciConfigFacts *f = d->f;

        switch (id) {
        case PCI_EXT_CAP_ID_ERR:
                decode_aer(d, at);
                break;
        case PCI_EXT_CAP_ID_DSN:
                if (f->has_dsn || !extended_block(d, at + 4U, 8))
                        break;
                f->dsn = (uint64_t) pci_config_u32(c, at + 8U) << 32 | pci_config_u32(c, at + 4U);
                f->has_dsn = f->dsn != 0;
                break;
        case PCI_EXT_CAP_ID_ACS:
                decode_pair(d, at, &f->has_acs, &f->acs_capabilities, &f->acs_control);
                break;
        case PCI_EXT_CAP_ID_ATS:
                decode_pair(d, at, &f->has_ats, &f->ats_capabilities, &f->ats_control);
                break;
        case PCI_EXT_CAP_ID_PASID:
                decode_pair(d, at, &f->has_pasid, &f->pasid_capabilities, &f->pasid_control);
                break;
        case PCI_EXT_CAP_ID_PRI:
                if (f->has_pri || !extended_block(d, at + PCI_PRI_CTRL, 12))
                        break;
                decode_pair(d, at, &f->has_pri, &f->pri_control, &f->pri_status);
                f->pri_max_requests = pci_config_u32(c, at + PCI_PRI_MAX_REQ);
                f->pri_allocated = pci_config_u32(c, at + PCI_PRI_ALLOC_REQ);
                break;
        case PCI_EXT_CAP_ID_SRIOV:
                decode_sriov(d, at);
                break;
        case PCI_EXT_CAP_ID_DPC:
                if (f->has_dpc || !extended_block(d, at + PCI_EXP_DPC_CAP, 8))
                        break;
                decode_pair(d, at, &f->has_dpc, &f->dpc_capabilities, &f->dpc_control);
                f->dpc_status = pci_config_u16(c, at + PCI_EXP_DPC_STATUS);
                break;
        case PCI_EXT_CAP_ID_REBAR:
                decode_rebar(d, at);
                break;
        case PCI_EXT_CAP_ID_DVSEC:
                decode_dvsec(d, at);
                break;
        }
}

static void decode_list(Decoder *d, bool extended) {
        PciConfigFacts *f = d->f;
        PciCapabilityWalk w;
        uint16_t id, at;

        pci_capability_walk_init(&w, d->c, extended);
        while (pci_capability_walk_next(&w, &id, &at)) {
                uint8_t *n = extended ? &f->n_extended_caps : &f->n_caps;
                PciCapability *list = extended ? f->extended_caps : f->caps;

                if (*n < (extended ? PCI_EXTENDED_CAPS_MAX : PCI_CAPS_MAX))
                        list[(*n)++] = (PciCapability) { .id = id, .offset = at };
                else
                        f->truncated = true;
                if (extended)
                        decode_extended_one(d, id, at);
                else
                        decode_standard(d, id, at);
        }
        if (w.missing != 0)
                f->incomplete = true;
        if (w.broken)
                f->truncated = true;
}

void pci_config_decode(const PciConfig *c, PciConfigFacts *ret) {
        Decoder d = { .c = c, .f = ret };

        assert(c);
        assert(ret);
        *ret = (PciConfigFacts) {
                .size = c->size,
                .pcie_type = PCIE_NONE,
                .liveness = pci_config_liveness(c),
        };
        if (!pci_config_has(c, 0, PCI_STD_HEADER_SIZEOF)) {
                ret->incomplete = true;
                return;
        }
        if (ret->liveness != PCI_LIVENESS_ALIVE)
                return;
        ret->command = pci_config_u16(c, PCI_COMMAND);
        ret->status = pci_config_u16(c, PCI_STATUS);
        ret->header_type = pci_config_u8(c, PCI_HEADER_TYPE) & 0x7f;
        ret->multi_function = pci_config_u8(c, PCI_HEADER_TYPE) & 0x80;
        if (ret->header_type != PCI_HEADER_TYPE_NORMAL) {
                ret->secondary_bus = pci_config_u8(c, PCI_SECONDARY_BUS);
                ret->subordinate_bus = pci_config_u8(c, PCI_SUBORDINATE_BUS);
        }
        if (ret->header_type == PCI_HEADER_TYPE_BRIDGE)
                ret->bridge_control = pci_config_u16(c, PCI_BRIDGE_CONTROL);
        /* The kernel shows the first 64 bytes only to a reader without CAP_SYS_ADMIN. */
        if (c->size < PCI_CONFIG_SIZE)
                ret->incomplete = true;
        decode_list(&d, false);
        decode_list(&d, true);
}
