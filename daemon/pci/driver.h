/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Driver names and module aliases. */

#include "pci/facts.h"

/* Grammar of driver names that are ever written: [A-Za-z0-9_-]{1,32}. */
bool pci_driver_name_is_valid(const char *s);
/* vfio-pci or a variant driver (name ends in "-vfio-pci" or "_vfio_pci", or is listed by the
 * caller). */
bool pci_driver_is_vfio(const char *driver);
/* Drivers that the kernel lets share a group with VFIO (driver_managed_dma): vfio drivers,
 * pcieport, pci-stub. */
bool pci_driver_is_group_neutral(const char *driver);

#define PCI_MODALIAS_MAX 96U
/* "vfio_pci:v00008086d000010D3sv…sd…bc02sc00i00" into buffer. */
const char *pci_vfio_modalias(const PciFacts *f, char buffer[PCI_MODALIAS_MAX]);
/* Of alias patterns (glob) with their modules, the module whose matching pattern has the fewest
 * wildcards. Returns its index or -ENOENT. */
typedef struct PciModuleAlias {
        const char *pattern, *module;
} PciModuleAlias;
int pci_vfio_choose(const PciFacts *f, const PciModuleAlias *aliases, size_t n);
/* Module name to driver name: "vfio_pci" → "vfio-pci"; others keep their name ("mlx5_vfio_pci"). */
int pci_module_to_driver(const char *module, char *buffer, size_t size);
