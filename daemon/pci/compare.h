/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Is a function configured as it was? Two images of its configuration space, the reference and what
 * shows now, are compared dword by dword under a table of what changes by itself. Base addresses
 * are compared with what the kernel assigned, since the reference may be older than a resize. Pure.
 */

#include "pci/config.h"
#include "pci/facts.h"

typedef struct PciDifference {
        uint16_t offset;
        uint32_t mask;            /* bits that are compared */
        uint32_t reference, found; /* under the mask */
        char name[40];            /* "Device Control", "capability 10h + 08h", "BAR 2" */
} PciDifference;
#define PCI_DIFFERENCES_MAX 16U

typedef struct PciComparison {
        size_t n_compared;        /* dwords */
        PciDifference list[PCI_DIFFERENCES_MAX];
        size_t n;
        size_t n_dropped;         /* more than fitted */
} PciComparison;

/* Every dword that both images have; one that only the reference has is a difference, since the
 * capability that it belongs to cannot be found any more. Adds to *ret. */
void pci_config_compare(const PciConfig *reference, const PciConfig *found, PciComparison *ret);
/* BARs against the kernel's resources (the text of the attribute `resource`). Not for a virtual
 * function, whose BARs stand in its physical function. Adds to *ret. -EBADMSG: text is
 * malformed. */
int pci_config_compare_bars(const PciConfig *found, const char *resource, PciComparison *ret);
/* "nothing differs in 57 registers", or the differences: "Device Control at 0x078 is 0x2810, was
 * 0x2910"; malloc'd. */
char *pci_comparison_to_string(const PciComparison *c);

/* One row of the table, for the manual and its test. */
typedef struct PciVolatile {
        char kind;          /* 'h' header (type 0), 'c' capability, 'e' extended capability */
        uint16_t id;        /* of the capability; 0 for the header */
        uint16_t offset;    /* of the dword, from the header or the capability */
        uint32_t mask;      /* bits that are compared: the others change by themselves */
        const char *name;   /* of the register, as the specification names it */
        const char *why;    /* what changes the others */
} PciVolatile;
extern const PciVolatile pci_volatile_table[];
extern const size_t pci_volatile_table_size;
