/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The selectors of policy-keys.h: the rows of the table that say which devices a rule is about.
 * Their order is that of evaluation, so what costs a comparison of numbers stands before what costs
 * a pattern.
 */

#include <assert.h>

#include "policy/policy-keys.h"
#include "policy/policy.h"

#define WORDS(name) static const PolicyWord name[]

WORDS(kinds) = { { "other", PCI_KIND_OTHER, NULL },
                 { "host-bridge", PCI_KIND_HOST_BRIDGE, NULL },
                 { "bridge", PCI_KIND_BRIDGE, NULL },
                 { "isa", PCI_KIND_ISA, NULL },
                 { "smbus", PCI_KIND_SMBUS, NULL },
                 { "storage", PCI_KIND_STORAGE, NULL },
                 { "nvme", PCI_KIND_NVME, NULL },
                 { "nic", PCI_KIND_NIC, NULL },
                 { "gpu", PCI_KIND_GPU, NULL },
                 { "audio", PCI_KIND_AUDIO, NULL },
                 { "usb", PCI_KIND_USB, NULL },
                 { "accelerator", PCI_KIND_ACCELERATOR, NULL },
                 { "cxl-memory", PCI_KIND_CXL_MEMORY, NULL },
                 { "system", PCI_KIND_SYSTEM, NULL },
                 { "cxl", POLICY_KIND_CXL, NULL },
                 {} };
WORDS(roles) = { { "pf", POLICY_SRIOV_PF, NULL },
                 { "vf", POLICY_SRIOV_VF, NULL },
                 { "none", POLICY_SRIOV_NONE, NULL },
                 {} };
WORDS(needs) = { { "pasid", POLICY_NEED_PASID, NULL },
                 { "pri", POLICY_NEED_PRI, NULL },
                 { "ats", POLICY_NEED_ATS, NULL },
                 { "flr", POLICY_NEED_FLR, NULL },
                 { "acs", POLICY_NEED_ACS, NULL },
                 { "aer", POLICY_NEED_AER, NULL },
                 { "msi", POLICY_NEED_MSI, NULL },
                 { "msix", POLICY_NEED_MSIX, NULL },
                 { "sriov", POLICY_NEED_SRIOV, NULL },
                 { "rebar", POLICY_NEED_REBAR, NULL },
                 { "dsn", POLICY_NEED_DSN, NULL },
                 { "cxl", POLICY_NEED_CXL, NULL },
                 { "ccix", POLICY_NEED_CCIX, NULL },
                 {} };

static const PolicySelectorInfo selectors[_POLICY_SELECTOR_MAX] = {
        [POLICY_SELECTOR_VENDOR] = { "vendor", POLICY_SELECT_ID, NULL, "\"10de\"", "Vendor ID." },
        [POLICY_SELECTOR_DEVICE] = { "device", POLICY_SELECT_ID, NULL, "[\"2230\", \"2231\"]",
                                     "Device ID." },
        [POLICY_SELECTOR_SUBSYSTEM_VENDOR] = { "subsystem-vendor", POLICY_SELECT_ID, NULL,
                                               "\"1028\"", "Subsystem vendor ID." },
        [POLICY_SELECTOR_SUBSYSTEM_DEVICE] = { "subsystem-device", POLICY_SELECT_ID, NULL,
                                               "\"0a6b\"", "Subsystem ID." },
        [POLICY_SELECTOR_CLASS] = { "class", POLICY_SELECT_CLASS, NULL, "\"0302\"",
                                    "Class code, or its first two or four digits." },
        [POLICY_SELECTOR_KIND] = { "kind", POLICY_SELECT_WORD, kinds, "\"gpu\"",
                                   "What the class code makes of it, as `list` shows it; \"cxl\" "
                                   "is "
                                   "every function with a CXL DVSEC." },
        [POLICY_SELECTOR_NUMA_NODE] = { "numa-node", POLICY_SELECT_NODE, NULL, "0",
                                        "NUMA node, or \"none\"." },
        [POLICY_SELECTOR_SRIOV] = { "sriov", POLICY_SELECT_WORD, roles, "\"vf\"",
                                    "Physical function, virtual function, or neither." },
        [POLICY_SELECTOR_NEEDS] = { "needs", POLICY_SELECT_ALL, needs, "[\"ats\", \"pasid\"]",
                                    "Capabilities; an array means all of them. PASID and PRI of a "
                                    "virtual function are those of its physical function." },
        [POLICY_SELECTOR_DSN] = { "dsn", POLICY_SELECT_DSN, NULL, "\"00-15-4d-ff-ff-13-0c-a8\"",
                                  "Device Serial Number, as lspci prints it." },
        [POLICY_SELECTOR_ADDRESS] = { "address", POLICY_SELECT_GLOB, NULL, "\"0000:41:00.*\"",
                                      "Address, with its domain." },
        [POLICY_SELECTOR_DRIVER] = { "driver", POLICY_SELECT_GLOB, NULL, "\"mlx5_core\"",
                                     "Host driver that it has, or had before it was assigned." },
        [POLICY_SELECTOR_SLOT] = { "slot", POLICY_SELECT_GLOB, NULL, "\"GPU*\"", "Physical slot." },
        [POLICY_SELECTOR_LABEL] = { "label", POLICY_SELECT_GLOB, NULL, "\"Embedded NIC 1\"",
                                    "Label that the firmware gives it." },
        [POLICY_SELECTOR_PORT_PATH] = { "port-path", POLICY_SELECT_GLOB, NULL, "\"0000:00/03.1/*\"",
                                        "Device and function numbers from the root bus on, which "
                                        "no "
                                        "renumbering of buses changes." },
};

const PolicySelectorInfo *policy_selector_info(PolicySelector s) {
        assert((unsigned) s < _POLICY_SELECTOR_MAX);
        return selectors + s;
}
