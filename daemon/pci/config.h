/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * An image of a function's configuration space, possibly with holes, and the walk that says which
 * registers are wanted next: the reader (a worker) asks pci_config_want(), reads that range and
 * gives it back, until nothing is wanted. So only the dwords that are decoded are ever read, and
 * only this layer knows which. All-ones, capability loops and offsets out of range are normal
 * input. Register names: <linux/pci_regs.h>.
 */

#include "base/cleanup.h"

#define PCI_CONFIG_SIZE 256U
#define PCI_CONFIG_SIZE_EXTENDED 4096U
#define PCI_CONFIG_WALK_MAX 48U      /* capabilities below 256: (256-64)/4 */
#define PCI_CONFIG_EXTENDED_MAX 960U /* (4096-256)/4 */

typedef struct PciConfig {
        uint8_t bytes[PCI_CONFIG_SIZE_EXTENDED];
        uint8_t valid[PCI_CONFIG_SIZE_EXTENDED / 4 / 8]; /* a bit for each dword that was read */
        uint16_t size;                                   /* 64, 256 or 4096: what the file gives */
} PciConfig;

void pci_config_init(PciConfig *c, size_t size);
/* Stores n bytes read at offset (whole dwords; others are cut). -ERANGE beyond size. */
int pci_config_set(PciConfig *c, size_t offset, const void *data, size_t n);
/* True if all bytes are there; then the little-endian value. Missing bytes read as all-ones. */
bool pci_config_has(const PciConfig *c, size_t offset, size_t n);
uint8_t pci_config_u8(const PciConfig *c, size_t offset);
uint16_t pci_config_u16(const PciConfig *c, size_t offset);
uint32_t pci_config_u32(const PciConfig *c, size_t offset);

/* The next range of dwords the decoder lacks. false: nothing more is wanted. Always makes progress:
 * a range that was answered (even with all-ones) is never wanted again. */
bool pci_config_want(const PciConfig *c, size_t *ret_offset, size_t *ret_n);

/* Offset of the n-th (from 0) capability of this id; 0 when there is none. Bounded. */
uint16_t pci_config_find(const PciConfig *c, uint8_t id, unsigned n);
uint16_t pci_config_find_extended(const PciConfig *c, uint16_t id, unsigned n);

typedef enum PciLiveness {
        PCI_LIVENESS_UNKNOWN, /* registers not read */
        PCI_LIVENESS_ALIVE,
        PCI_LIVENESS_RRS,     /* Vendor ID reads 0001h: Request Retry Status, not ready yet */
        PCI_LIVENESS_ABSENT,  /* all-ones */
} PciLiveness;
/* By Vendor ID, and by the Command register where that is all-ones (VFs; drivers/pci/pci.c
 * pci_dev_wait()). */
PciLiveness pci_config_liveness(const PciConfig *c);
const char *pci_liveness_to_string(PciLiveness l);
