/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of attribute.h as functions. Only names and rules stand here; reading is the host's
 * work and decoding that of facts.c and live.c.
 */

#include <assert.h>

#include "pci/attribute.h"

static const struct {
        const char *path;
        uint8_t reader, scope;
        bool is_cold;
} attributes[_PCI_ATTRIBUTE_MAX] = {
#define X(id, path, reader, scope, cold) \
        [PCI_ATTRIBUTE_##id] = { path, PCI_READER_##reader, PCI_SCOPE_##scope, cold },
        PCI_ATTRIBUTE_TABLE(X)
#undef X
};

static const char *const links[_PCI_LINK_MAX] = {
        [PCI_LINK_DRIVER] = "driver",
        [PCI_LINK_IOMMU_GROUP] = "iommu_group",
        [PCI_LINK_IOMMU] = "iommu",
        [PCI_LINK_PHYSFN] = "physfn",
        [PCI_LINK_MODULE] = "driver/module",
};

const char *pci_attribute_path(PciAttribute a) {
        assert((unsigned) a < _PCI_ATTRIBUTE_MAX);
        return attributes[a].path;
}

PciReader pci_attribute_reader(PciAttribute a) {
        assert((unsigned) a < _PCI_ATTRIBUTE_MAX);
        return (PciReader) attributes[a].reader;
}

PciAttributeScope pci_attribute_scope(PciAttribute a) {
        assert((unsigned) a < _PCI_ATTRIBUTE_MAX);
        return (PciAttributeScope) attributes[a].scope;
}

bool pci_attribute_is_cold(PciAttribute a) {
        assert((unsigned) a < _PCI_ATTRIBUTE_MAX);
        return attributes[a].is_cold;
}

PciAttribute pci_attribute_from_path(const char *path) {
        if (!path)
                return _PCI_ATTRIBUTE_INVALID;
        for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                if (streq(attributes[a].path, path))
                        return (PciAttribute) a;
        return _PCI_ATTRIBUTE_INVALID;
}

const char *pci_link_path(PciLink l) {
        assert((unsigned) l < _PCI_LINK_MAX);
        return links[l];
}

PciLink pci_link_from_path(const char *path) {
        if (!path)
                return _PCI_LINK_INVALID;
        for (unsigned l = 0; l < _PCI_LINK_MAX; l++)
                if (streq(links[l], path))
                        return (PciLink) l;
        return _PCI_LINK_INVALID;
}
