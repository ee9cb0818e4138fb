/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The image of a configuration space: bytes with a valid bit for each dword, and the bounded walk
 * over its two capability lists. The walk never trusts a pointer: each offset is visited once,
 * offsets outside the list's range end it, and so does a header of all-ones, which is what an
 * absent function answers. Registers of capabilities are interpreted in config-decode.c, and
 * config-want.c says which of them are to be read.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "pci/config-walk.h"

#define EXTENDED_NEXT_SHIFT 20

void pci_config_init(PciConfig *c, size_t size) {
        assert(c);
        *c = (PciConfig) { .size = (uint16_t) (MIN(size, (size_t) PCI_CONFIG_SIZE_EXTENDED) &
                                             ~(size_t) 3) };
}

int pci_config_set(PciConfig *c, size_t offset, const void *data, size_t n) {
        size_t start, end;

        assert(c);
        assert(data || n == 0);
        if (offset > c->size || n > c->size - offset)
                return -ERANGE;
        start = (offset + 3) & ~(size_t) 3;
        end = (offset + n) & ~(size_t) 3;
        if (start >= end)
                return 0;
        memcpy(c->bytes + start, (const uint8_t *) data + (start - offset), end - start);
        for (size_t dword = start / 4; dword < end / 4; dword++)
                c->valid[dword / 8] |= (uint8_t) (1U << dword % 8);
        return 0;
}

bool pci_config_has(const PciConfig *c, size_t offset, size_t n) {
        assert(c);
        if (offset > c->size || n > c->size - offset)
                return false;
        for (size_t dword = offset / 4; dword < (offset + n + 3) / 4; dword++)
                if (!(c->valid[dword / 8] >> dword % 8 & 1))
                        return false;
        return true;
}

uint8_t pci_config_u8(const PciConfig *c, size_t offset) {
        return pci_config_has(c, offset, 1) ? c->bytes[offset] : UINT8_MAX;
}

uint16_t pci_config_u16(const PciConfig *c, size_t offset) {
        return (uint16_t) (pci_config_u8(c, offset) | pci_config_u8(c, offset + 1) << 8);
}

uint32_t pci_config_u32(const PciConfig *c, size_t offset) {
        return pci_config_u16(c, offset) | (uint32_t) pci_config_u16(c, offset + 2) << 16;
}

/* Where the first capability stands; 0 when there is no list. */
static uint16_t capability_list_start(const PciConfig *c) {
        if (!pci_config_has(c, 0, PCI_STD_HEADER_SIZEOF))
                return 0;
        if (!(pci_config_u16(c, PCI_STATUS) & PCI_STATUS_CAP_LIST))
                return 0;
        if ((pci_config_u8(c, PCI_HEADER_TYPE) & 0x7f) == PCI_HEADER_TYPE_CARDBUS)
                return pci_config_u8(c, PCI_CB_CAPABILITY_LIST) & 0xfc;
        return pci_config_u8(c, PCI_CAPABILITY_LIST) & 0xfc;
}

void pci_capability_walk_init(PciCapabilityWalk *w, const PciConfig *c, bool extended) {
        assert(w);
        assert(c);
        *w = (PciCapabilityWalk) { .config = c, .extended = extended };
        if (!extended)
                w->next = capability_list_start(c);
        else if (c->size > PCI_CONFIG_SIZE)
                w->next = PCI_CONFIG_SIZE;
}

/* Reads the header at w->next and moves w->next on. 1: a capability, 0: the end, -EAGAIN: a null
 * one, skipped. */
static int walk_step(PciCapabilityWalk *w, uint16_t *ret_id, uint16_t *ret_offset) {
        size_t low = w->extended ? PCI_CONFIG_SIZE : PCI_STD_HEADER_SIZEOF;
        size_t high = MIN(w->extended ? PCI_CONFIG_SIZE_EXTENDED : PCI_CONFIG_SIZE,
                          (size_t) w->config->size);
        uint16_t offset = w->next, id;
        uint32_t header;

        if (offset == 0)
                return 0;
        if (offset < low || offset + 4U > high || w->visited[offset / 32] >> offset / 4 % 8 & 1) {
                w->broken = true;
                return 0;
        }
        if (!pci_config_has(w->config, offset, 4)) {
                w->missing = offset;
                return 0;
        }
        w->visited[offset / 32] |= (uint8_t) (1U << offset / 4 % 8);
        header = pci_config_u32(w->config, offset);
        if (header == UINT32_MAX || (!w->extended && (header & 0xff) == 0xff)) {
                w->broken = true;
                return 0;
        }
        id = w->extended ? header & 0xffff : header & 0xff;
        w->next = w->extended ? header >> EXTENDED_NEXT_SHIFT & 0xffc : header >> 8 & 0xfc;
        if (id == 0)
                return -EAGAIN;
        *ret_id = id;
        *ret_offset = offset;
        return 1;
}

bool pci_capability_walk_next(PciCapabilityWalk *w, uint16_t *ret_id, uint16_t *ret_offset) {
        assert(w);
        assert(ret_id);
        assert(ret_offset);
        /* Ends: every turn marks one more offset as visited. */
        for (;;) {
                int r = walk_step(w, ret_id, ret_offset);

                if (r > 0)
                        return true;
                if (r == 0) {
                        w->next = 0;
                        return false;
                }
        }
}

static uint16_t find(const PciConfig *c, bool extended, uint16_t id, unsigned n) {
        PciCapabilityWalk w;
        uint16_t each, offset;

        pci_capability_walk_init(&w, c, extended);
        while (pci_capability_walk_next(&w, &each, &offset))
                if (each == id && n-- == 0)
                        return offset;
        return 0;
}

uint16_t pci_config_find(const PciConfig *c, uint8_t id, unsigned n) {
        assert(c);
        return find(c, false, id, n);
}

uint16_t pci_config_find_extended(const PciConfig *c, uint16_t id, unsigned n) {
        assert(c);
        return find(c, true, id, n);
}

PciLiveness pci_config_liveness(const PciConfig *c) {
        uint32_t id;

        assert(c);
        if (!pci_config_has(c, PCI_VENDOR_ID, 4))
                return PCI_LIVENESS_UNKNOWN;
        id = pci_config_u32(c, PCI_VENDOR_ID);
        if ((id & 0xffff) == 0x0001)
                return PCI_LIVENESS_RRS;
        if (id != UINT32_MAX)
                return PCI_LIVENESS_ALIVE;
        if (!pci_config_has(c, PCI_COMMAND, 4))
                return PCI_LIVENESS_UNKNOWN;
        return pci_config_u32(c, PCI_COMMAND) == UINT32_MAX ? PCI_LIVENESS_ABSENT
                                                            : PCI_LIVENESS_ALIVE;
}

const char *pci_liveness_to_string(PciLiveness l) {
        switch (l) {
        case PCI_LIVENESS_UNKNOWN:
                return "unknown";
        case PCI_LIVENESS_ALIVE:
                return "alive";
        case PCI_LIVENESS_RRS:
                return "not-ready";
        case PCI_LIVENESS_ABSENT:
                return "absent";
        }
        return "unknown";
}
