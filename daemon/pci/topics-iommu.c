/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics around the IOMMU: "iommu" itself, "sva" (sharing a process's address space), "traffic"
 * (NoSnoop and relaxed ordering) and "p2p" (ACS of this function, and p2pmem). What a device may do
 * is told from capability registers, what is done from control registers; none of them is ever
 * written.
 */

#include <linux/pci_regs.h>

#include "pci/driver.h"
#include "pci/topics.h"

/* State of what an IOMMU's registers say. Kinds without registers in sysfs say nothing. */
static FactState iommu_state(const PciView *v) {
        if (!v->iommu)
                return v->facts->link_state[PCI_LINK_IOMMU] == FACT_ABSENT ? FACT_ABSENT
                                                                           : FACT_UNREAD;
        if (v->iommu->kind != IOMMU_KIND_INTEL && v->iommu->kind != IOMMU_KIND_AMD)
                return FACT_ABSENT;
        return (FactState) v->iommu->registers_state;
}

static int iommu_can(const PciView *v, int (*query)(const IommuFacts *i)) {
        return v->iommu ? query(v->iommu) : -ENODATA;
}

static void write_regions(const IommuGroupFacts *g, FactState s, Json *j) {
        Json *list;

        if (s != FACT_PRESENT) {
                topic_set_state(j, "reserved_regions", s);
                return;
        }
        list = topic_add_array(j, "reserved_regions");
        for (size_t i = 0; i < g->n_regions; i++) {
                Json *one = topic_append_object(list);

                topic_set_hex(one, "start", FACT_PRESENT, 16, g->regions[i].start);
                topic_set_hex(one, "end", FACT_PRESENT, 16, g->regions[i].end);
                (void) json_set_string(one, "type",
                                       iommu_region_type_to_string(g->regions[i].type));
        }
}

void topic_iommu(const PciView *v, Json *j) {
        FactState group = (FactState) v->facts->link_state[PCI_LINK_IOMMU_GROUP];
        FactState unread = group == FACT_ABSENT ? FACT_ABSENT : FACT_UNREAD;
        const IommuGroupFacts *g = v->group;
        FactState link = (FactState)v->facts->link_state[PCI_LINK_IOMMU],
                  registers = iommu_state(v);

        topic_set_u64(j, "group", group, v->facts->iommu_group);
        topic_set_bool(j, "waiting_for_supplier",
                       (FactState) v->facts->state[PCI_ATTRIBUTE_WAITING_FOR_SUPPLIER],
                       v->facts->waiting_for_supplier);
        topic_set_string(j, "instance", link, v->facts->iommu);
        topic_set_string(j, "kind", link,
                         iommu_kind_to_string(iommu_kind_from_name(v->facts->iommu)));
        topic_set_string(j, "domain_type", g ? (FactState)g->type_state : unread,
                         g ? g->type : NULL);
        topic_set_bool(j, "noiommu", g ? FACT_PRESENT : unread, g && g->noiommu);
        write_regions(g, g ? (FactState) g->regions_state : unread, j);
        topic_set_bool(j, "direct_mapping", g ? (FactState) g->regions_state : unread,
                       g && iommu_group_facts_has_direct(g));
        topic_set_tristate(j, "interrupt_remapping", iommu_can(v, iommu_facts_interrupt_remapping),
                           registers);
        topic_set_tristate(j, "snoop_control", iommu_can(v, iommu_facts_snoop_control), registers);
}

/* ---- sharing a process's address space ---- */

static void write_ats(const PciConfigFacts *c, FactState s, Json *j) {
        Json *ats = topic_add_object(j, "ats");

        topic_set_capable(ats, "capable", s);
        topic_set_bool(ats, "enabled", s, c && c->ats_control & PCI_ATS_CTRL_ENABLE);
        topic_set_u64(ats, "queue_depth", s,
                      c && c->ats_capabilities & 0x1f ? c->ats_capabilities & 0x1f : 32);
        topic_set_u64(ats, "smallest_translation_unit", s,
                      UINT64_C(1) << (PCI_ATS_MIN_STU + (c ? c->ats_control & 0x1f : 0)));
        topic_set_bool(ats, "page_aligned", s, c && c->ats_capabilities & PCI_ATS_CAP_PAGE_ALIGNED);
}

static void write_pri(const PciConfigFacts *c, FactState s, Json *j) {
        Json *pri = topic_add_object(j, "pri");

        topic_set_capable(pri, "capable", s);
        topic_set_bool(pri, "enabled", s, c && c->pri_control & PCI_PRI_CTRL_ENABLE);
        topic_set_bool(pri, "stopped", s, c && c->pri_status & PCI_PRI_STATUS_STOPPED);
        topic_set_bool(pri, "response_failure", s, c && c->pri_status & PCI_PRI_STATUS_RF);
        topic_set_u64(pri, "max_requests", s, c ? c->pri_max_requests : 0);
        topic_set_u64(pri, "allocated_requests", s, c ? c->pri_allocated : 0);
}

static void write_pasid(const PciConfigFacts *c, FactState s, Json *j) {
        Json *pasid = topic_add_object(j, "pasid");

        topic_set_capable(pasid, "capable", s);
        topic_set_bool(pasid, "enabled", s, c && c->pasid_control & PCI_PASID_CTRL_ENABLE);
        topic_set_u64(pasid, "width", s, c ? c->pasid_capabilities >> 8 & 0x1f : 0);
        topic_set_bool(pasid, "execute", s, c && c->pasid_capabilities & PCI_PASID_CAP_EXEC);
        topic_set_bool(pasid, "privileged", s, c && c->pasid_capabilities & PCI_PASID_CAP_PRIV);
}

typedef struct SvaVerdict {
        Json *reasons;
        bool impossible, unread, unreadable;
} SvaVerdict;

static void add_reason(Json *list, const char *code, const char *text) {
        Json *one = topic_append_object(list);

        (void) json_set_string(one, "code", code);
        (void) json_set_string(one, "reason", text);
}

static void require(SvaVerdict *verdict, FactState s, const char *code, const char *text) {
        switch (s) {
        case FACT_PRESENT:
                return;
        case FACT_UNREAD:
                verdict->unread = true;
                return;
        case FACT_ABSENT:
                verdict->impossible = true;
                add_reason(verdict->reasons, code, text);
                return;
        case FACT_UNREADABLE:
        case _FACT_STATE_MAX:
                verdict->unreadable = true;
                return;
        }
}

static FactState state_of_ability(int ability, FactState registers) {
        if (ability >= 0)
                return ability > 0 ? FACT_PRESENT : FACT_ABSENT;
        return registers == FACT_UNREAD ? FACT_UNREAD : FACT_UNREADABLE;
}

/* pci_enable_pasid() of drivers/pci/ats.c refuses where End-End TLP Prefixes are not supported. */
static FactState prefix_state(const PciConfigFacts *c) {
        return topic_capability_state(c, c && c->device_capabilities2 & PCI_EXP_DEVCAP2_EE_PREFIX);
}

static void write_verdict(const PciView *v, const PciConfigFacts *pasid, FactState ats, Json *j) {
        SvaVerdict verdict = { .reasons = topic_add_array(j, "reasons") };
        FactState group = (FactState)v->facts->link_state[PCI_LINK_IOMMU_GROUP],
                  registers = iommu_state(v);

        require(&verdict, group, "no-iommu", "no IOMMU translates for this function");
        if (group != FACT_ABSENT) {
                require(&verdict, state_of_ability(iommu_can(v, iommu_facts_pasid), registers),
                        "iommu-no-pasid", "the IOMMU does not support PASID");
                require(&verdict, state_of_ability(iommu_can(v, iommu_facts_ats), registers),
                        "iommu-no-ats", "the IOMMU does not support ATS (device TLBs)");
        }
        require(&verdict, topic_capability_state(pasid, pasid && pasid->has_pasid), "no-pasid",
                v->facts->is_vf ? "the physical function has no PASID capability"
                                : "the function has no PASID capability");
        require(&verdict, ats, "no-ats", "the function has no ATS capability");
        require(&verdict, prefix_state(pasid), "no-tlp-prefix",
                "the function cannot send End-End TLP Prefixes, which carry the PASID");
        if (verdict.impossible)
                (void) json_set_bool(j, "possible", false);
        else
                topic_set_bool(j, "possible",
                               verdict.unread       ? FACT_UNREAD
                               : verdict.unreadable ? FACT_UNREADABLE
                                                    : FACT_PRESENT,
                               true);
}

/* PASID and PRI of a VF are its physical function's (PCI Express 6.0, 9.3.7); ATS is its own. */
void topic_sva(const PciView *v, Json *j) {
        const PciConfigFacts *c = v->config, *shared = v->facts->is_vf ? v->physfn_config : c;
        FactState ats = topic_capability_state(c, c && c->has_ats);
        FactState pri = topic_capability_state(shared, shared && shared->has_pri);
        FactState registers = iommu_state(v);
        Json *notes, *iommu;

        write_verdict(v, shared, ats, j);
        notes = topic_add_array(j, "notes");
        if (pri == FACT_ABSENT)
                add_reason(notes, "no-pri",
                           "without PRI the device must handle page faults itself, or memory "
                           "must be pinned");
        if (state_of_ability(iommu_can(v, iommu_facts_pri), registers) == FACT_ABSENT)
                add_reason(notes, "iommu-no-pri", "the IOMMU does not take page requests");
        if (pci_driver_is_vfio(v->facts->driver))
                add_reason(notes, "vfio-hides-pasid",
                           "vfio-pci hides the PASID capability from a guest; it "
                           "needs an iommufd nested page table");
        write_ats(c, ats, j);
        write_pri(shared, pri, j);
        write_pasid(shared, topic_capability_state(shared, shared && shared->has_pasid), j);
        iommu = topic_add_object(j, "iommu");
        topic_set_tristate(iommu, "ats", iommu_can(v, iommu_facts_ats), registers);
        topic_set_tristate(iommu, "pri", iommu_can(v, iommu_facts_pri), registers);
        topic_set_tristate(iommu, "pasid", iommu_can(v, iommu_facts_pasid), registers);
}

/* ---- traffic attributes ---- */

void topic_traffic(const PciView *v, Json *j) {
        const PciConfigFacts *c = v->config;
        FactState config = topic_config_state(c);
        FactState express = topic_capability_state(c, c && c->pcie_type != PCIE_NONE);
        uint16_t control = c ? c->device_control : 0, command = c ? c->command : 0;

        topic_set_bool(j, "no_snoop", express, control & PCI_EXP_DEVCTL_NOSNOOP_EN);
        topic_set_tristate(j, "snoop_enforceable", iommu_can(v, iommu_facts_snoop_control),
                           iommu_state(v));
        topic_set_bool(j, "relaxed_ordering", express, control & PCI_EXP_DEVCTL_RELAX_EN);
        topic_set_bool(j, "extended_tag", express, control & PCI_EXP_DEVCTL_EXT_TAG);
        topic_set_u64(j, "max_payload", express,
                      UINT64_C(128) << ((control & PCI_EXP_DEVCTL_PAYLOAD) >> 5));
        topic_set_u64(j, "max_read_request", express,
                      UINT64_C(128) << ((control & PCI_EXP_DEVCTL_READRQ) >> 12));
        topic_set_bool(j, "bus_master", config, command & PCI_COMMAND_MASTER);
        topic_set_bool(j, "memory_decode", config, command & PCI_COMMAND_MEMORY);
        topic_set_bool(j, "io_decode", config, command & PCI_COMMAND_IO);
}

/* ---- peer to peer ---- */

static void write_acs_bits(Json *j, const char *key, FactState s, uint16_t bits) {
        static const char *const names[] = { "SV", "TB", "RR", "CR", "UF", "EC", "DT" };
        Json *list;

        if (s != FACT_PRESENT) {
                topic_set_state(j, key, s);
                return;
        }
        list = topic_add_array(j, key);
        for (unsigned i = 0; i < ELEMENTSOF(names); i++)
                if (bits >> i & 1)
                        (void) json_append_string(list, names[i]);
}

void topic_p2p(const PciView *v, Json *j) {
        const uint16_t isolating = PCI_ACS_SV | PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_UF;
        const uint16_t redirecting = PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_EC;
        const PciConfigFacts *c = v->config;
        FactState s = topic_capability_state(c, c && c->has_acs);
        uint16_t control = c ? c->acs_control : 0, capabilities = c ? c->acs_capabilities : 0;
        Json *acs = topic_add_object(j, "acs"), *p2pmem;

        topic_set_capable(acs, "capable", s);
        write_acs_bits(acs, "capabilities", s, capabilities);
        write_acs_bits(acs, "enabled", s, control);
        /* What the kernel demands of each bridge to split groups: REQ_ACS_FLAGS of
         * drivers/iommu/iommu.c. */
        topic_set_bool(acs, "isolates", s, (control & isolating) == isolating);
        /* What makes the kernel's p2pdma route through the host bridge: drivers/pci/p2pdma.c. */
        topic_set_bool(acs, "redirects", s, control & redirecting);
        topic_set_bool(acs, "blocks_translated", s, control & PCI_ACS_TB);
        p2pmem = topic_add_object(j, "p2pmem");
        topic_set_text_number(p2pmem, "size", topic_live(v, PCI_ATTRIBUTE_P2PMEM_SIZE));
        topic_set_text_number(p2pmem, "available", topic_live(v, PCI_ATTRIBUTE_P2PMEM_AVAILABLE));
        topic_set_text_flag(p2pmem, "published", topic_live(v, PCI_ATTRIBUTE_P2PMEM_PUBLISHED));
}
