/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Hot-plug slots, /sys/bus/pci/slots/NAME. Mapped by `address` ("DDDD:BB:DD", no function), never
 * by name. */

#include "pci/facts.h"

typedef struct PciSlotFacts {
        char name[32];
        uint32_t domain;
        uint8_t bus, device;
        bool has_device;                    /* false: placeholder slot "DDDD:BB" */
        PciText power, attention, latch, adapter; /* read by a worker only */
} PciSlotFacts;

/* Looked for, and there is none: for PciView.slot of a function that stands in no slot. */
extern const PciSlotFacts pci_slot_none;

int pci_slot_facts_init(PciSlotFacts *s, const char *name, const char *address_text); /* -EBADMSG */
void pci_slot_facts_done(PciSlotFacts *s);
/* attribute: "power" "attention" "latch" "adapter". */
int pci_slot_facts_set(PciSlotFacts *s, const char *attribute, const char *text, int error);
bool pci_slot_facts_matches(const PciSlotFacts *s, PciAddress a);
