/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The walk over a capability list, inside this folder only. It visits each offset once and stays in
 * its range, so that loops and wild pointers end it; which of the ways it ended stands in `missing`
 * and `broken`.
 */

#include "pci/config.h"

typedef struct PciCapabilityWalk {
        const PciConfig *config;
        bool extended;
        bool broken;      /* ended by a loop, a wild pointer or an all-ones header */
        uint16_t next;    /* offset of the next header */
        uint16_t missing; /* ended because this dword was not read; 0: no */
        uint8_t visited[PCI_CONFIG_SIZE_EXTENDED / 4 / 8];
} PciCapabilityWalk;

void pci_capability_walk_init(PciCapabilityWalk *w, const PciConfig *c, bool extended);
bool pci_capability_walk_next(PciCapabilityWalk *w, uint16_t *ret_id, uint16_t *ret_offset);

#define PCI_DVSEC_VENDOR_CXL 0x1e98
#define PCI_DVSEC_VENDOR_CCIX 0x1e2c

/* The PCI Express Capabilities register and its place; false if there is none (yet). */
bool pci_config_express(const PciConfig *c, uint16_t *ret_offset, uint16_t *ret_flags);
bool pcie_type_has_link(unsigned type);
bool pcie_type_has_slot(unsigned type, uint16_t flags);
bool pcie_type_has_root(unsigned type);
