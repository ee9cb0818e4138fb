/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The sysfs attributes and links of a PCI function that are read, in one table: who may read each
 * one, and where its text goes. CACHED ones neither touch hardware nor take a driver's lock and are
 * read by the daemon itself; WORKER ones may block or wake the device and are read by a worker
 * process only. Reading `uevent` is never needed. Paths are relative to
 * /sys/bus/pci/devices/ADDRESS. Source: Documentation/ABI/testing/sysfs-bus-pci and
 * drivers/pci/pci-sysfs.c.
 */

#include "base/cleanup.h"

typedef enum PciReader { PCI_READER_CACHED, PCI_READER_WORKER } PciReader;

/* ONLY: which functions have it at all, so that the scan does not look in vain. */
typedef enum PciAttributeScope {
        PCI_SCOPE_ALL,
        PCI_SCOPE_DISPLAY, /* base class 03h */
        PCI_SCOPE_PF,      /* known only by trying: physical functions with SR-IOV */
        PCI_SCOPE_BRIDGE,  /* class 0604h, 0609h */
} PciAttributeScope;

/*      id                     path                        reader   scope    in the cold scan */
#define PCI_ATTRIBUTE_TABLE(X)                                                                 \
        X(VENDOR,               "vendor",                   CACHED, ALL, true)                 \
        X(DEVICE,               "device",                   CACHED, ALL, true)                 \
        X(SUBSYSTEM_VENDOR,     "subsystem_vendor",         CACHED, ALL, true)                 \
        X(SUBSYSTEM_DEVICE,     "subsystem_device",         CACHED, ALL, true)                 \
        X(CLASS,                "class",                    CACHED, ALL, true)                 \
        X(REVISION,             "revision",                 CACHED, ALL, true)                 \
        X(RESOURCE,             "resource",                 CACHED, ALL, true)                 \
        X(NUMA_NODE,            "numa_node",                CACHED, ALL, true)                 \
        X(BOOT_VGA,             "boot_vga",                 CACHED, DISPLAY, true)             \
        X(RESET_METHOD,         "reset_method",             CACHED, ALL, true)                 \
        X(SRIOV_TOTALVFS,       "sriov_totalvfs",           CACHED, PF, true)                  \
        X(WAITING_FOR_SUPPLIER, "waiting_for_supplier",     CACHED, ALL, true)                 \
        X(LABEL,                "label",                    CACHED, ALL, false)                \
        X(ACPI_INDEX,           "acpi_index",               CACHED, ALL, false)                \
        X(ARI_ENABLED,          "ari_enabled",              CACHED, ALL, false)                \
        X(D3COLD_ALLOWED,       "d3cold_allowed",           CACHED, ALL, false)                \
        X(ENABLE,               "enable",                   CACHED, ALL, false)                \
        X(SRIOV_OFFSET,         "sriov_offset",             CACHED, PF, false)                 \
        X(SRIOV_STRIDE,         "sriov_stride",             CACHED, PF, false)                 \
        X(SRIOV_VF_DEVICE,      "sriov_vf_device",          CACHED, PF, false)                 \
        X(SRIOV_AUTOPROBE,      "sriov_drivers_autoprobe",  CACHED, PF, false)                 \
        X(AER_CORRECTABLE,      "aer_dev_correctable",      CACHED, ALL, false)                \
        X(AER_FATAL,            "aer_dev_fatal",            CACHED, ALL, false)                \
        X(AER_NONFATAL,         "aer_dev_nonfatal",         CACHED, ALL, false)                \
        X(AER_ROOT_CORRECTABLE, "aer_rootport_total_err_cor", CACHED, BRIDGE, false)           \
        X(AER_ROOT_FATAL,       "aer_rootport_total_err_fatal", CACHED, BRIDGE, false)         \
        X(AER_ROOT_NONFATAL,    "aer_rootport_total_err_nonfatal", CACHED, BRIDGE, false)      \
        X(AER_COR_INTERVAL,     "aer/correctable_ratelimit_interval_ms", CACHED, ALL, false)   \
        X(AER_COR_BURST,        "aer/correctable_ratelimit_burst", CACHED, ALL, false)         \
        X(AER_NONFATAL_INTERVAL, "aer/nonfatal_ratelimit_interval_ms", CACHED, ALL, false)     \
        X(AER_NONFATAL_BURST,   "aer/nonfatal_ratelimit_burst", CACHED, ALL, false)            \
        X(P2PMEM_SIZE,          "p2pmem/size",              CACHED, ALL, false)                \
        X(P2PMEM_AVAILABLE,     "p2pmem/available",         CACHED, ALL, false)                \
        X(P2PMEM_PUBLISHED,     "p2pmem/published",         CACHED, ALL, false)                \
        X(RUNTIME_STATUS,       "power/runtime_status",     WORKER, ALL, false)                \
        X(POWER_CONTROL,        "power/control",            WORKER, ALL, false)                \
        X(POWER_STATE,          "power_state",              WORKER, ALL, false)                \
        X(DRIVER_OVERRIDE,      "driver_override",          WORKER, ALL, false)                \
        X(SRIOV_NUMVFS,         "sriov_numvfs",             WORKER, PF, false)                 \
        X(CURRENT_LINK_SPEED,   "current_link_speed",       WORKER, ALL, false)                \
        X(CURRENT_LINK_WIDTH,   "current_link_width",       WORKER, ALL, false)                \
        X(MAX_LINK_SPEED,       "max_link_speed",           WORKER, ALL, false)                \
        X(MAX_LINK_WIDTH,       "max_link_width",           WORKER, ALL, false)                \
        X(SECONDARY_BUS,        "secondary_bus_number",     WORKER, BRIDGE, false)             \
        X(SUBORDINATE_BUS,      "subordinate_bus_number",   WORKER, BRIDGE, false)             \
        X(RESIZE_0,             "resource0_resize",         WORKER, ALL, false)                \
        X(RESIZE_1,             "resource1_resize",         WORKER, ALL, false)                \
        X(RESIZE_2,             "resource2_resize",         WORKER, ALL, false)                \
        X(RESIZE_3,             "resource3_resize",         WORKER, ALL, false)                \
        X(RESIZE_4,             "resource4_resize",         WORKER, ALL, false)                \
        X(RESIZE_5,             "resource5_resize",         WORKER, ALL, false)

typedef enum PciAttribute {
#define X(id, path, reader, scope, cold) PCI_ATTRIBUTE_##id,
        PCI_ATTRIBUTE_TABLE(X)
#undef X
        _PCI_ATTRIBUTE_MAX,
        _PCI_ATTRIBUTE_INVALID = -EINVAL,
} PciAttribute;

#define PCI_ATTRIBUTE_TEXT_MAX 4096U /* longer text is malformed */

const char *pci_attribute_path(PciAttribute a);
PciReader pci_attribute_reader(PciAttribute a);
PciAttributeScope pci_attribute_scope(PciAttribute a);
bool pci_attribute_is_cold(PciAttribute a);
PciAttribute pci_attribute_from_path(const char *path);

/* Links of a function: the last component of the target is what counts. All are readable without
 * any lock. */
typedef enum PciLink {
        PCI_LINK_DRIVER,      /* "driver" → driver name */
        PCI_LINK_IOMMU_GROUP, /* "iommu_group" → decimal number */
        PCI_LINK_IOMMU,       /* "iommu" → dmar0, ivhd0, virtio3 … */
        PCI_LINK_PHYSFN,      /* "physfn" → address of the physical function */
        PCI_LINK_MODULE,      /* "driver/module" → kernel module; none for a built-in driver */
        _PCI_LINK_MAX,
        _PCI_LINK_INVALID = -EINVAL,
} PciLink;

const char *pci_link_path(PciLink l);
PciLink pci_link_from_path(const char *path);
