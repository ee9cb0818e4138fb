/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* IOMMU groups and IOMMU instances. Source: Documentation/ABI/testing/sysfs-kernel-iommu_groups. */

#include "base/jsonx.h"
#include "pci/facts.h"

typedef enum IommuRegionType {
        IOMMU_REGION_DIRECT,           /* firmware demands 1:1: not assignable */
        IOMMU_REGION_DIRECT_RELAXABLE,
        IOMMU_REGION_RESERVED,
        IOMMU_REGION_MSI,
        _IOMMU_REGION_MAX,
} IommuRegionType;
const char *iommu_region_type_to_string(IommuRegionType t);

typedef struct IommuRegion {
        uint64_t start, end; /* inclusive */
        IommuRegionType type;
} IommuRegion;
#define IOMMU_REGIONS_MAX 64U

/* Zero-initialised: not read yet. Devices stand in the inventory, by their iommu_group link. */
typedef struct IommuGroupFacts {
        uint32_t id;
        uint8_t type_state, regions_state; /* FactState */
        char type[16]; /* "DMA" "DMA-FQ" "identity" "blocked" "unmanaged" "unknown" */
        size_t n_regions;
        IommuRegion *regions;              /* owned */
        bool noiommu;                      /* G/name is "vfio-noiommu" */
} IommuGroupFacts;

void iommu_group_facts_done(IommuGroupFacts *g);
int iommu_group_facts_set_type(IommuGroupFacts *g, const char *text, int error);
/* Lines "0x… 0x… TYPE". -EBADMSG on malformed text (the fact becomes unreadable). */
int iommu_group_facts_set_regions(IommuGroupFacts *g, const char *text, int error);
bool iommu_group_facts_has_direct(const IommuGroupFacts *g);

typedef enum IommuKind {
        IOMMU_KIND_UNKNOWN,
        IOMMU_KIND_INTEL,     /* dmarN */
        IOMMU_KIND_AMD,       /* ivhdN */
        IOMMU_KIND_ARM_SMMU,  /* smmu3.…, smmu.… */
        IOMMU_KIND_VIRTIO,    /* virtioN */
        IOMMU_KIND_S390,
        IOMMU_KIND_RISCV,
        _IOMMU_KIND_MAX,
} IommuKind;
IommuKind iommu_kind_from_name(const char *name);
const char *iommu_kind_to_string(IommuKind k);

typedef struct IommuFacts {
        char name[PCI_IOMMU_NAME_MAX];
        IommuKind kind;
        uint8_t registers_state; /* FactState */
        bool has_cap;
        uint64_t cap, ecap; /* VT-d; AMD: cap and features. registers_state is that of the second */
} IommuFacts;
void iommu_facts_init(IommuFacts *i, const char *name);
/* attribute: "cap" "ecap" "features". 0, -EBADMSG, -EINVAL for any other. */
int iommu_facts_set_register(IommuFacts *i, const char *attribute, const char *text, int error);
/* Each: 1 yes, 0 no, -ENODATA unknown. VT-d ecap: IR bit 3, SC bit 7, PASID bit 40, PRS bit 29, DT
 * bit 2. */
int iommu_facts_interrupt_remapping(const IommuFacts *i);
int iommu_facts_snoop_control(const IommuFacts *i);
int iommu_facts_pasid(const IommuFacts *i);
int iommu_facts_pri(const IommuFacts *i);
int iommu_facts_ats(const IommuFacts *i);
