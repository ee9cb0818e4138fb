/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a function is for, from its class code alone (PCI Code and ID Assignment Specification).
 * Kinds are what policies and users select by; they say nothing about what the host makes of a
 * device.
 */

#include <assert.h>

#include "pci/facts.h"

static const struct {
        uint32_t mask, value;
        PciKind kind;
} classes[] = { /* the first match counts */
        { 0xffff00, 0x010800, PCI_KIND_NVME },
        { 0xff0000, 0x010000, PCI_KIND_STORAGE },
        { 0xff0000, 0x020000, PCI_KIND_NIC },
        { 0xff0000, 0x030000, PCI_KIND_GPU },
        { 0xffff00, 0x040100, PCI_KIND_AUDIO },
        { 0xffff00, 0x040300, PCI_KIND_AUDIO },
        { 0xffff00, 0x050200, PCI_KIND_CXL_MEMORY },
        { 0xff0000, 0x050000, PCI_KIND_SYSTEM },
        { 0xffff00, 0x060000, PCI_KIND_HOST_BRIDGE },
        { 0xffff00, 0x060100, PCI_KIND_ISA },
        { 0xff0000, 0x060000, PCI_KIND_BRIDGE },
        { 0xffff00, 0x080500, PCI_KIND_STORAGE }, /* SD host controllers */
        { 0xff0000, 0x080000, PCI_KIND_SYSTEM },
        { 0xffff00, 0x0c0300, PCI_KIND_USB },
        { 0xffff00, 0x0c0400, PCI_KIND_STORAGE }, /* Fibre Channel */
        { 0xffff00, 0x0c0500, PCI_KIND_SMBUS },
        { 0xffff00, 0x0c0600, PCI_KIND_NIC }, /* InfiniBand */
        { 0xff0000, 0x120000, PCI_KIND_ACCELERATOR },
};

PciKind pci_kind_from_class(uint32_t class_code) {
        for (size_t i = 0; i < ELEMENTSOF(classes); i++)
                if ((class_code & classes[i].mask) == classes[i].value)
                        return classes[i].kind;
        return PCI_KIND_OTHER;
}

const char *pci_kind_to_string(PciKind k) {
        static const char *const names[_PCI_KIND_MAX] = {
                [PCI_KIND_OTHER] = "other",
                [PCI_KIND_HOST_BRIDGE] = "host-bridge",
                [PCI_KIND_BRIDGE] = "bridge",
                [PCI_KIND_ISA] = "isa",
                [PCI_KIND_SMBUS] = "smbus",
                [PCI_KIND_STORAGE] = "storage",
                [PCI_KIND_NVME] = "nvme",
                [PCI_KIND_NIC] = "nic",
                [PCI_KIND_GPU] = "gpu",
                [PCI_KIND_AUDIO] = "audio",
                [PCI_KIND_USB] = "usb",
                [PCI_KIND_ACCELERATOR] = "accelerator",
                [PCI_KIND_CXL_MEMORY] = "cxl-memory",
                [PCI_KIND_SYSTEM] = "system",
        };

        return (unsigned) k < _PCI_KIND_MAX ? names[k] : "other";
}

bool pci_facts_is_bridge(const PciFacts *f) {
        assert(f);
        return f->class_code >> 16 == 0x06 && f->class_code >> 8 != 0x0680;
}

const char *pcie_type_to_string(PcieType t) {
        switch (t) {
        case PCIE_ENDPOINT:
                return "endpoint";
        case PCIE_LEGACY_ENDPOINT:
                return "legacy-endpoint";
        case PCIE_ROOT_PORT:
                return "root-port";
        case PCIE_UPSTREAM_PORT:
                return "upstream-port";
        case PCIE_DOWNSTREAM_PORT:
                return "downstream-port";
        case PCIE_TO_PCI_BRIDGE:
                return "pcie-to-pci-bridge";
        case PCI_TO_PCIE_BRIDGE:
                return "pci-to-pcie-bridge";
        case PCIE_RC_ENDPOINT:
                return "root-complex-endpoint";
        case PCIE_RC_EVENT_COLLECTOR:
                return "root-complex-event-collector";
        case PCIE_NONE:
                return "conventional";
        }
        return "reserved";
}
