/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text of IOMMU groups and instances. Where a group's reserved regions do not parse, they count as
 * unreadable, and nobody may take a group with unreadable regions for one without direct mappings.
 * What an IOMMU can do is told from its registers only for the kinds whose registers are in sysfs;
 * anything else is "unknown", never "no".
 */

#include <assert.h>

#include "base/strutil.h"
#include "pci/iommu.h"
#include "pci/scan.h"

/* VT-d Extended Capability Register (specification 11.4.3) */
#define VTD_ECAP_DT 2
#define VTD_ECAP_IR 3
#define VTD_ECAP_SC 7
#define VTD_ECAP_PRS 29
#define VTD_ECAP_PASID 40
/* AMD-Vi capability header and Extended Feature Register (specification 3.2.1, 3.4.2) */
#define AMD_CAP_IOTLB 24
#define AMD_EFR_PPR 1
#define AMD_EFR_GT 4

static const char *const region_names[_IOMMU_REGION_MAX] = {
        [IOMMU_REGION_DIRECT] = "direct",
        [IOMMU_REGION_DIRECT_RELAXABLE] = "direct-relaxable",
        [IOMMU_REGION_RESERVED] = "reserved",
        [IOMMU_REGION_MSI] = "msi",
};

const char *iommu_region_type_to_string(IommuRegionType t) {
        return (unsigned) t < _IOMMU_REGION_MAX ? region_names[t] : "unknown";
}

void iommu_group_facts_done(IommuGroupFacts *g) {
        if (!g)
                return;
        free(g->regions);
        *g = (IommuGroupFacts) { .id = g->id };
}

int iommu_group_facts_set_type(IommuGroupFacts *g, const char *text, int error) {
        assert(g);
        g->type[0] = 0;
        if (!text) {
                g->type_state = abs(error) == ENOENT ? FACT_ABSENT : FACT_UNREADABLE;
                return 0;
        }
        if (!scan_name(text, g->type, sizeof(g->type))) {
                g->type_state = FACT_UNREADABLE;
                return -EBADMSG;
        }
        g->type_state = FACT_PRESENT;
        return 0;
}

/* "0x%016llx 0x%016llx TYPE" */
static bool scan_region(const char **text, IommuRegion *ret) {
        const char *p = *text;
        size_t n;

        if (!scan_hex_prefixed(&p, 16, &ret->start) || *p++ != ' ' ||
            !scan_hex_prefixed(&p, 16, &ret->end) || *p++ != ' ' || ret->end < ret->start)
                return false;
        n = strcspn(p, "\n");
        for (unsigned t = 0; t < _IOMMU_REGION_MAX; t++) {
                if (strlen(region_names[t]) != n || strncmp(region_names[t], p, n) != 0)
                        continue;
                ret->type = (IommuRegionType) t;
                *text = p + n + (p[n] == '\n');
                return true;
        }
        return false;
}

static int parse_regions(const char *text, IommuRegion **ret, size_t *ret_n) {
        _cleanup_free_ IommuRegion *regions = NULL;
        size_t n = 0, lines = 1;

        for (const char *p = text; *p; p++)
                lines += *p == '\n';
        if (lines > IOMMU_REGIONS_MAX + 1)
                return -EBADMSG;
        regions = calloc(lines, sizeof(IommuRegion));
        if (!regions)
                return -ENOMEM;
        for (; *text; n++)
                if (n >= IOMMU_REGIONS_MAX || !scan_region(&text, &regions[n]))
                        return -EBADMSG;
        *ret = n > 0 ? TAKE_PTR(regions) : NULL;
        *ret_n = n;
        return 0;
}

int iommu_group_facts_set_regions(IommuGroupFacts *g, const char *text, int error) {
        int r;

        assert(g);
        free(g->regions);
        g->regions = NULL;
        g->n_regions = 0;
        if (!text) {
                g->regions_state = abs(error) == ENOENT ? FACT_ABSENT : FACT_UNREADABLE;
                return 0;
        }
        r = parse_regions(text, &g->regions, &g->n_regions);
        g->regions_state = r < 0 ? FACT_UNREADABLE : FACT_PRESENT;
        return r;
}

bool iommu_group_facts_has_direct(const IommuGroupFacts *g) {
        assert(g);
        for (size_t i = 0; i < g->n_regions; i++)
                if (g->regions[i].type == IOMMU_REGION_DIRECT)
                        return true;
        return false;
}

static const struct {
        const char *prefix, *name;
        IommuKind kind;
} kinds[] = {
        { "dmar", "intel", IOMMU_KIND_INTEL },
        { "ivhd", "amd", IOMMU_KIND_AMD },
        { "smmu", "arm-smmu", IOMMU_KIND_ARM_SMMU },
        { "virtio", "virtio-iommu", IOMMU_KIND_VIRTIO },
        { "s390-iommu", "s390", IOMMU_KIND_S390 },
        { "riscv-iommu", "riscv", IOMMU_KIND_RISCV },
};

IommuKind iommu_kind_from_name(const char *name) {
        if (name)
                for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                        if (strncmp(name, kinds[i].prefix, strlen(kinds[i].prefix)) == 0)
                                return kinds[i].kind;
        return IOMMU_KIND_UNKNOWN;
}

const char *iommu_kind_to_string(IommuKind k) {
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                if (kinds[i].kind == k)
                        return kinds[i].name;
        return "unknown";
}

void iommu_facts_init(IommuFacts *i, const char *name) {
        assert(i);
        *i = (IommuFacts) { .kind = iommu_kind_from_name(name) };
        (void) string_copy(i->name, sizeof(i->name), strempty(name));
}

static bool parse_register(const char *text, uint64_t *ret) {
        uint64_t v;

        if (!scan_hex_prefixed(&text, 16, &v))
                return false;
        /* AMD's `features` of newer kernels: the second register, a colon, the first one. */
        if (*text == ':') {
                text++;
                if (!scan_hex_prefixed(&text, 16, &v))
                        return false;
        }
        if (!scan_end(text))
                return false;
        *ret = v;
        return true;
}

int iommu_facts_set_register(IommuFacts *i, const char *attribute, const char *text, int error) {
        bool is_cap;
        uint64_t v = 0;
        bool good;

        assert(i);
        assert(attribute);
        is_cap = streq(attribute, "cap");
        if (!is_cap && !streq(attribute, "ecap") && !streq(attribute, "features"))
                return -EINVAL;
        good = text && parse_register(text, &v);
        if (is_cap) {
                i->cap = v;
                i->has_cap = good;
        } else {
                i->ecap = v;
                i->registers_state = good                              ? FACT_PRESENT
                                     : !text && abs(error) == ENOENT ? FACT_ABSENT
                                                                     : FACT_UNREADABLE;
        }
        return good || !text ? 0 : -EBADMSG;
}

/* A bit of VT-d's or AMD's register; -1 in place of a bit number: this kind always can. */
static int extended_bit(const IommuFacts *i, int intel, int amd) {
        if (i->kind == IOMMU_KIND_AMD && amd < 0)
                return 1;
        if ((i->kind != IOMMU_KIND_INTEL && i->kind != IOMMU_KIND_AMD) ||
            i->registers_state != FACT_PRESENT)
                return -ENODATA;
        return i->ecap >> (i->kind == IOMMU_KIND_INTEL ? intel : amd) & 1;
}

int iommu_facts_interrupt_remapping(const IommuFacts *i) {
        assert(i);
        return extended_bit(i, VTD_ECAP_IR, -1);
}

int iommu_facts_snoop_control(const IommuFacts *i) {
        assert(i);
        /* drivers/iommu/virtio-iommu.c has no enforce_cache_coherency */
        return i->kind == IOMMU_KIND_VIRTIO ? 0 : extended_bit(i, VTD_ECAP_SC, -1);
}

int iommu_facts_pasid(const IommuFacts *i) {
        assert(i);
        return i->kind == IOMMU_KIND_VIRTIO ? 0 : extended_bit(i, VTD_ECAP_PASID, AMD_EFR_GT);
}

int iommu_facts_pri(const IommuFacts *i) {
        assert(i);
        return i->kind == IOMMU_KIND_VIRTIO ? 0 : extended_bit(i, VTD_ECAP_PRS, AMD_EFR_PPR);
}

int iommu_facts_ats(const IommuFacts *i) {
        assert(i);
        if (i->kind == IOMMU_KIND_VIRTIO)
                return 0;
        if (i->kind == IOMMU_KIND_AMD)
                return i->has_cap ? (int) (i->cap >> AMD_CAP_IOTLB & 1) : -ENODATA;
        return extended_bit(i, VTD_ECAP_DT, 0);
}
