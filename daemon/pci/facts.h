/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What is known about one PCI function. PciFacts holds what the daemon reads itself (small: there
 * are thousands), PciConfigFacts what was decoded of configuration space, PciLive the attributes
 * that only a worker reads. Pure memory; nothing here does I/O. A fact is present, absent ("n/a"),
 * unreadable, or not read yet: see FactState.
 */

#include "base/jsonx.h"
#include "pci/address.h"
#include "pci/attribute.h"
#include "pci/config.h"

typedef enum FactState {
        FACT_UNREAD,     /* nobody looked yet */
        FACT_ABSENT,     /* looked: the kernel has no such attribute for this function */
        FACT_PRESENT,
        FACT_UNREADABLE, /* looked: read error, or text that does not parse */
        _FACT_STATE_MAX,
} FactState;
const char *fact_state_to_string(FactState s);

/* Resource flags as in include/linux/ioport.h. */
#define PCI_RESOURCE_IO UINT32_C(0x00000100)
#define PCI_RESOURCE_MEM UINT32_C(0x00000200)
#define PCI_RESOURCE_PREFETCH UINT32_C(0x00002000)
#define PCI_RESOURCE_MEM_64 UINT32_C(0x00100000)
#define PCI_RESOURCE_WINDOW UINT32_C(0x00200000)
#define PCI_RESOURCE_DISABLED UINT32_C(0x10000000)
#define PCI_RESOURCE_UNSET UINT32_C(0x20000000)

#define PCI_RESOURCE_ROM 6U
#define PCI_RESOURCE_VF_FIRST 7U      /* 7…12: VF BARs */
#define PCI_RESOURCE_WINDOW_FIRST 13U /* 13 I/O, 14 memory, 15 prefetchable memory */
#define PCI_RESOURCE_MAX 17U

typedef struct PciResource {
        uint64_t start;
        uint64_t size; /* bytes; 0: not implemented */
        uint32_t flags;
} PciResource;

#define PCI_DRIVER_NAME_MAX 40U
#define PCI_IOMMU_NAME_MAX 32U
#define PCI_RESET_METHODS_MAX 56U /* the kernel's seven make 46 */

/* One per function; keep it small. Zero-initialised is "nothing read". */
typedef struct PciFacts {
        PciAddress address;
        bool has_parent;   /* false: on a root bus */
        PciAddress parent; /* upstream bridge */
        char *path; /* below /sys/devices, e.g. "pci0000:00/0000:00:01.0/0000:01:00.0"; owned */

        uint8_t state[_PCI_ATTRIBUTE_MAX]; /* FactState */
        uint8_t link_state[_PCI_LINK_MAX]; /* FactState */

        uint16_t vendor, device, subsystem_vendor, subsystem_device;
        uint32_t class_code; /* 24 bits: base, sub, interface */
        uint8_t revision;
        int16_t numa_node;   /* -1: none */
        bool boot_vga, waiting_for_supplier;
        uint16_t sriov_totalvfs;
        bool is_vf;
        PciAddress physfn;
        uint32_t iommu_group; /* valid if link_state[PCI_LINK_IOMMU_GROUP] is FACT_PRESENT */
        char iommu[PCI_IOMMU_NAME_MAX];
        char driver[PCI_DRIVER_NAME_MAX]; /* "" when none is bound */
        char module[PCI_DRIVER_NAME_MAX];
        char reset_method[PCI_RESET_METHODS_MAX]; /* the kernel's list, "flr bus" */
        uint8_t n_resources; /* as the kernel lists them */
        uint8_t n_kept;      /* up to the last one that is implemented */
        PciResource *kept;   /* owned; see pci_facts_resource() */
} PciFacts;

/* One resource by its index; all zero where it is not implemented or was not read. Borrowed. */
const PciResource *pci_facts_resource(const PciFacts *f, unsigned i);

void pci_facts_init(PciFacts *f, PciAddress address);
void pci_facts_done(PciFacts *f);
int pci_facts_copy(const PciFacts *from, PciFacts *to); /* deep; 0 or -ENOMEM */
/* Field for field, for change detection; ignores nothing. */
bool pci_facts_equal(const PciFacts *a, const PciFacts *b);

/* Text of a CACHED attribute, or NULL with the errno of the read (ENOENT: absent; else unreadable).
 * Malformed text makes the fact FACT_UNREADABLE; returns 0, or -EBADMSG then. Attributes that
 * PciFacts does not hold are ignored. */
int pci_facts_set_attribute(PciFacts *f, PciAttribute a, const char *text, int error);
/* Last component of a link's target; NULL with errno likewise. */
int pci_facts_set_link(PciFacts *f, PciLink l, const char *target, int error);
/* The sysfs path below /sys/devices, from which the parent follows. Takes a copy. */
int pci_facts_set_path(PciFacts *f, const char *path);
/* "00.0/03.1/00.0": the chain of device.function numbers from the root bus, domain first
 * ("0000:00/…"), independent of bus numbers. malloc'd. NULL on OOM. */
char *pci_facts_port_path(const PciFacts *f);

/* Base class 06h but 0680h ("other bridge"), which both chipset functions and NVSwitches have. */
bool pci_facts_is_bridge(const PciFacts *f);
typedef enum PciKind {
        PCI_KIND_OTHER,
        PCI_KIND_HOST_BRIDGE,
        PCI_KIND_BRIDGE, /* PCI-PCI, switch ports, root ports */
        PCI_KIND_ISA,    /* ISA/LPC bridge */
        PCI_KIND_SMBUS,
        PCI_KIND_STORAGE,
        PCI_KIND_NVME,
        PCI_KIND_NIC,
        PCI_KIND_GPU,
        PCI_KIND_AUDIO,
        PCI_KIND_USB,
        PCI_KIND_ACCELERATOR, /* class 12h */
        PCI_KIND_CXL_MEMORY,  /* class 0502h */
        PCI_KIND_SYSTEM,      /* other base class 08h and 05h: IOMMU, RCEC … */
        _PCI_KIND_MAX,
} PciKind;
PciKind pci_kind_from_class(uint32_t class_code);
const char *pci_kind_to_string(PciKind k);

/* ---- configuration space ---- */

typedef enum PcieType { /* PCI Express Capabilities register, bits 7:4 */
        PCIE_ENDPOINT = 0,
        PCIE_LEGACY_ENDPOINT = 1,
        PCIE_ROOT_PORT = 4,
        PCIE_UPSTREAM_PORT = 5,
        PCIE_DOWNSTREAM_PORT = 6,
        PCIE_TO_PCI_BRIDGE = 7,
        PCI_TO_PCIE_BRIDGE = 8,
        PCIE_RC_ENDPOINT = 9,
        PCIE_RC_EVENT_COLLECTOR = 10,
        PCIE_NONE = 0xff, /* conventional PCI */
} PcieType;
const char *pcie_type_to_string(PcieType t);

#define PCI_DVSEC_MAX 12U
#define PCI_REBAR_MAX 6U
#define PCI_CAPS_MAX 24U
#define PCI_EXTENDED_CAPS_MAX 40U

typedef struct PciCapability {
        uint16_t id, offset;
} PciCapability;

typedef struct PciConfigFacts {
        PciLiveness liveness;
        uint16_t size;          /* bytes of config space the kernel gives */
        /* A capability list looped, left the range or was too long, or a capability's registers
         * read all-ones: what was not found may yet be there. */
        bool truncated;
        bool incomplete;        /* registers that are decoded were never read (short image) */
        uint8_t header_type;    /* 0 or 1, multi-function bit cut */
        bool multi_function;
        uint16_t command, status;
        uint8_t secondary_bus, subordinate_bus;
        uint16_t bridge_control; /* header type 1 */

        uint8_t n_caps, n_extended_caps;
        PciCapability caps[PCI_CAPS_MAX];
        PciCapability extended_caps[PCI_EXTENDED_CAPS_MAX];

        uint8_t pcie_type;      /* PcieType */
        uint8_t physical_slot_valid;
        uint16_t physical_slot; /* Slot Capabilities 31:19 */
        bool flr, slot_implemented;
        uint16_t device_control, device_status;
        uint32_t link_capabilities;
        uint16_t link_status, link_control;
        uint32_t slot_capabilities;
        uint16_t slot_control, slot_status;
        uint16_t root_control, root_capabilities;
        uint32_t device_capabilities, device_capabilities2;

        bool has_power; uint16_t pm_control; /* PMCSR */
        bool has_msi, has_msix; uint16_t msix_vectors;
        bool has_af; uint8_t af_capabilities;
        bool has_dsn; uint64_t dsn;

        bool has_aer;
        uint32_t aer_uncorrectable_status, aer_uncorrectable_mask, aer_uncorrectable_severity;
        uint32_t aer_correctable_status, aer_correctable_mask, aer_capabilities;
        bool has_aer_root; uint32_t aer_root_command, aer_root_status;
        bool has_dpc; uint16_t dpc_capabilities, dpc_control, dpc_status;
        bool has_acs; uint16_t acs_capabilities, acs_control;
        bool has_ats; uint16_t ats_capabilities, ats_control;
        bool has_pri; uint16_t pri_control, pri_status; uint32_t pri_max_requests, pri_allocated;
        bool has_pasid; uint16_t pasid_capabilities, pasid_control;
        bool has_sriov;
        uint16_t sriov_control, sriov_initial_vfs, sriov_total_vfs, sriov_num_vfs, sriov_offset,
                sriov_stride, sriov_vf_device;
        uint8_t n_rebar;
        struct {
                uint8_t bar, size_exponent;
                uint32_t sizes;
        } rebar[PCI_REBAR_MAX]; /* sizes bit k: 2^(20+k) */
        uint8_t n_dvsec;
        struct { uint16_t vendor, id, revision, offset; } dvsec[PCI_DVSEC_MAX];
        bool is_cxl;
        uint16_t cxl_capabilities, cxl_control, cxl_flexbus_status; /* DVSEC 1e98h ids 0 and 7 */
        bool is_ccix;                                               /* DVSEC vendor 1e2ch */
} PciConfigFacts;

/* Decodes an image that wants nothing more. Never fails: what is missing or broken shows in the
 * facts. */
void pci_config_decode(const PciConfig *c, PciConfigFacts *ret);

/* ---- attributes that only a worker reads ---- */

typedef struct PciText {
        uint8_t state; /* FactState */
        char *text;    /* owned; NULL unless FACT_PRESENT */
} PciText;

/* All attributes by worker, and the cached ones that are not in the cold scan, as text. */
typedef struct PciLive {
        PciText attributes[_PCI_ATTRIBUTE_MAX];
        PciText vpd_serial; /* decoded from VPD, read on demand */
} PciLive;

void pci_live_done(PciLive *l);
int pci_live_set(PciLive *l, PciAttribute a, const char *text, int error);
/* Binary VPD to the serial number ("SN" keyword of the read-only large resource); 0, -ENODATA,
 * -EBADMSG. */
int pci_vpd_serial(const uint8_t *data, size_t n, char **ret);
/* driver_override's text: NULL for "(null)" and "". */
const char *pci_live_override(const PciLive *l);

/* ---- use ---- */

typedef struct PciChild { /* a kernel device below the function */
        char subsystem[24]; /* block net drm accel nvme cxl misc … */
        char name[64];
} PciChild;

typedef struct PciHolder { /* a process that holds the function's node or child */
        uint32_t pid;
        uint32_t uid;
        char comm[24];
        char unit[128]; /* systemd unit by its control group, "" if unknown */
        char what[64];  /* "/dev/vfio/12", "/dev/nvme0n1" */
} PciHolder;

typedef enum PciCriticalCode {
        PCI_CRITICAL_MOUNT, /* a mounted file system */
        PCI_CRITICAL_SWAP,
        PCI_CRITICAL_STORAGE,        /* a stack that is in use: dm, md, ZFS, btrfs member, kernel's
                                        exclusive open */
        PCI_CRITICAL_REMOTE_STORAGE, /* iSCSI or NVMe-oF session over this NIC */
        PCI_CRITICAL_ROUTE,          /* a NIC that routes use */
        PCI_CRITICAL_CONSOLE,        /* boot VGA, console */
        PCI_CRITICAL_CHIPSET,        /* bridges, ISA, SMBus, system peripherals */
        PCI_CRITICAL_MEMORY,         /* CXL memory in use as system RAM or region */
        _PCI_CRITICAL_MAX,
} PciCriticalCode;
const char *pci_critical_to_string(PciCriticalCode c); /* "mount" … */
PciCriticalCode pci_critical_from_string(const char *s); /* -EINVAL */

typedef struct PciCritical {
        PciCriticalCode code;
        char *proof; /* "0000:00:05.0 → vda → vda1 → /"; owned */
} PciCritical;

typedef struct PciUse {
        PciChild *children; size_t n_children;
        PciHolder *holders; size_t n_holders;
        PciCritical *criticals; size_t n_criticals;
} PciUse;
#define PCI_USE_MAX 256U /* of each; more are dropped and the last one says so */

void pci_use_done(PciUse *u);
int pci_use_add_child(PciUse *u, const char *subsystem, const char *name);
int pci_use_add_holder(PciUse *u, const PciHolder *h);
int pci_use_add_critical(PciUse *u, PciCriticalCode code, const char *proof);

/* Reasons that follow from facts alone (no I/O): bridges, ISA, SMBus, system peripherals, boot VGA.
 * Functions of classes 0680h and 0880h that can be reset (NVSwitch, DSA) are devices like others
 * and get none. */
int pci_use_add_builtin_criticals(PciUse *u, const PciFacts *f);

/* ---- topics of design §6 as JSON ---- */

typedef enum PciTopic {
        PCI_TOPIC_IDENTITY,
        PCI_TOPIC_USE,
        PCI_TOPIC_IOMMU,
        PCI_TOPIC_RESOURCES,
        PCI_TOPIC_ERRORS,
        PCI_TOPIC_RESET,
        PCI_TOPIC_HOTPLUG,
        PCI_TOPIC_SVA,      /* sharing address space */
        PCI_TOPIC_TRAFFIC,  /* NoSnoop, relaxed ordering */
        PCI_TOPIC_SRIOV,
        PCI_TOPIC_ACCELERATOR,
        PCI_TOPIC_P2P,      /* ACS of the function and p2pmem */
        PCI_TOPIC_CLEANING, /* between owners: what the daemon did; nothing of the device itself */
        _PCI_TOPIC_MAX,
        _PCI_TOPIC_INVALID = -EINVAL,
} PciTopic;
const char *pci_topic_to_string(PciTopic t);
PciTopic pci_topic_from_string(const char *s);

/* Everything known of one function, borrowed. Any but facts may be NULL: then its values say "not
 * read yet". */
typedef struct PciView {
        const PciFacts *facts;
        const PciConfigFacts *config;
        const PciLive *live;
        const PciUse *use;
        const struct IommuGroupFacts *group; /* pci/iommu.h */
        const struct IommuFacts *iommu;
        const struct PciSlotFacts *slot;     /* pci/slot.h; pci_slot_none if there is none */
        const PciFacts *physfn;              /* of a VF: its physical function */
        const PciConfigFacts *physfn_config; /* PASID and PRI of a VF stand there */
        const struct NumaNodes *nodes;       /* pci/numa.h; all of the host's */
        const char *variant;    /* VFIO driver that would be used; "": none; NULL: not looked up */
        const char *vpd_serial; /* as once read; NULL: what live says */
} PciView;
/* A new object; every value that is not known is the string "not read yet", "n/a" or "unreadable"
 * (value true/false/ numbers where known). On OOM NULL, or a tree that json_to_text() refuses.
 * Stable keys, documented in the client's manual. What needs more than one function (group members,
 * what else a reset hits, use of windows, errors enabled along the path, NUMA distance, VFs) is for
 * the caller to add. */
Json *pci_topic_to_json(const PciView *v, PciTopic t);
