/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PCI addresses "DDDD:BB:DD.F". Domains may have more than four digits (VMD: 10000:e1:00.0). */

#include "base/cleanup.h"

typedef struct PciAddress {
        uint32_t domain;
        uint8_t bus;
        uint8_t slot;     /* device number, 0…31 */
        uint8_t function; /* 0…7 */
} PciAddress;

#define PCI_ADDRESS_MAX 17 /* "ffffffff:ff:1f.7" and a NUL */

/* Strict: lower- or upper-case hex, 4…8 digits of domain, whole string. -EINVAL. */
int pci_address_parse(const char *s, PciAddress *ret);
/* The same, and the domain may be left out ("41:00.0" is domain 0). */
int pci_address_parse_short(const char *s, PciAddress *ret);
/* Writes into buffer and returns it. */
const char *pci_address_format(PciAddress a, char buffer[PCI_ADDRESS_MAX]);
int pci_address_compare(PciAddress a, PciAddress b);
/* Unique key for hashmap_*_u64(). */
uint64_t pci_address_key(PciAddress a);

static inline bool pci_address_equal(PciAddress a, PciAddress b) {
        return pci_address_key(a) == pci_address_key(b);
}

#define PCI_ADDRESS_TEXT(a) pci_address_format((a), (char[PCI_ADDRESS_MAX]) {})
