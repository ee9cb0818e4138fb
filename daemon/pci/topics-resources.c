/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics "resources" and "sriov": BARs, ROM, bridge windows, VF BARs, and virtual functions. A BAR
 * of size 0 is not implemented and left out. One whose flags say UNSET, or that stands at address
 * 0, has a size but no address: the kernel found no room for it. Addresses are hexadecimal text,
 * since JSON readers lose bits of large numbers.
 */

#include <linux/pci_regs.h>

#include "pci/driver.h"
#include "pci/scan.h"
#include "pci/topics.h"

static bool resource_is_assigned(const PciResource *r) {
        return r->size > 0 && r->start != 0 && !(r->flags & PCI_RESOURCE_UNSET);
}

static void write_place(Json *j, const PciResource *r) {
        bool assigned = resource_is_assigned(r);

        (void) json_set_string(j, "type", r->flags & PCI_RESOURCE_IO ? "io" : "memory");
        topic_set_u64(j, "width", r->flags & PCI_RESOURCE_MEM ? FACT_PRESENT : FACT_ABSENT,
                      r->flags & PCI_RESOURCE_MEM_64 ? 64 : 32);
        (void) json_set_bool(j, "prefetchable", r->flags & PCI_RESOURCE_PREFETCH);
        (void) json_set_u64(j, "size", r->size);
        (void) json_set_bool(j, "assigned", assigned);
        topic_set_hex(j, "address", assigned ? FACT_PRESENT : FACT_ABSENT, 1, r->start);
}

/* What a mapping of it may be: the kernel offers resourceN_wc for prefetchable memory only; VFIO
 * maps uncached. */
static void write_cacheability(Json *j, const PciResource *r) {
        Json *list;

        if (!(r->flags & PCI_RESOURCE_MEM)) {
                topic_set_state(j, "cacheability", FACT_ABSENT);
                return;
        }
        list = topic_add_array(j, "cacheability");
        (void) json_append_string(list, "uncached");
        if (r->flags & PCI_RESOURCE_PREFETCH)
                (void) json_append_string(list, "write-combining");
}

/* Bit k stands for 2^(20+k) bytes, in the kernel's attribute as in the register. */
static FactState resizable_sizes(const PciView *v, unsigned bar, uint64_t *ret) {
        const PciText *t = topic_live(v, (PciAttribute) (PCI_ATTRIBUTE_RESIZE_0 + bar));
        const PciConfigFacts *c = v->config;

        if (t->state == FACT_PRESENT && scan_whole_hex(t->text, 16, ret))
                return FACT_PRESENT;
        for (unsigned i = 0; c && i < c->n_rebar; i++)
                if (c->rebar[i].bar == bar) {
                        *ret = c->rebar[i].sizes;
                        return FACT_PRESENT;
                }
        if (t->state == FACT_UNREAD)
                return topic_capability_state(c, false);
        return t->state == FACT_ABSENT ? FACT_ABSENT : FACT_UNREADABLE;
}

static void write_sizes(const PciView *v, Json *j, unsigned bar) {
        uint64_t sizes = 0;
        FactState s = resizable_sizes(v, bar, &sizes);
        Json *list;

        if (s != FACT_PRESENT) {
                topic_set_state(j, "resizable", s);
                return;
        }
        list = topic_add_array(j, "resizable");
        for (unsigned k = 0; k < 43; k++)
                if (sizes >> k & 1)
                        (void) json_append(list, json_new_u64(UINT64_C(1) << (20 + k)));
}

static void write_bars(const PciView *v, Json *j) {
        const PciFacts *f = v->facts;
        Json *list = topic_add_array(j, "bars");

        for (unsigned i = 0; i < MIN(f->n_resources, PCI_RESOURCE_ROM); i++) {
                Json *one;

                if (pci_facts_resource(f, i)->size == 0)
                        continue;
                one = topic_append_object(list);
                (void) json_set_u64(one, "bar", i);
                write_place(one, pci_facts_resource(f, i));
                write_cacheability(one, pci_facts_resource(f, i));
                write_sizes(v, one, i);
        }
}

static void write_windows(const PciFacts *f, Json *j) {
        static const char *const names[] = { "io", "memory", "prefetchable" };
        uint32_t class = f->class_code >> 8;
        Json *list;

        if (class != 0x0604 && class != 0x0609) {
                topic_set_state(j, "windows", FACT_ABSENT);
                return;
        }
        list = topic_add_array(j, "windows");
        for (unsigned i = 0;
             i < ELEMENTSOF(names) && PCI_RESOURCE_WINDOW_FIRST + i < f->n_resources; i++) {
                const PciResource *r = pci_facts_resource(f, PCI_RESOURCE_WINDOW_FIRST + i);
                bool assigned = resource_is_assigned(r) && !(r->flags & PCI_RESOURCE_DISABLED);
                Json *one = topic_append_object(list);

                (void) json_set_string(one, "window", names[i]);
                (void) json_set_bool(one, "assigned", assigned);
                (void) json_set_u64(one, "size", r->size);
                topic_set_hex(one, "address", assigned ? FACT_PRESENT : FACT_ABSENT, 1, r->start);
        }
}

void topic_resources(const PciView *v, Json *j) {
        const PciFacts *f = v->facts;
        FactState s = (FactState) f->state[PCI_ATTRIBUTE_RESOURCE];

        if (s != FACT_PRESENT) {
                topic_set_state(j, "bars", s);
                topic_set_state(j, "rom", s);
                topic_set_state(j, "windows", s);
        } else {
                write_bars(v, j);
                if (pci_facts_resource(f, PCI_RESOURCE_ROM)->size > 0)
                        write_place(topic_add_object(j, "rom"),
                                    pci_facts_resource(f, PCI_RESOURCE_ROM));
                else
                        topic_set_state(j, "rom", FACT_ABSENT);
                write_windows(f, j);
        }
        topic_set_text_number(j, "secondary_bus", topic_live(v, PCI_ATTRIBUTE_SECONDARY_BUS));
        topic_set_text_number(j, "subordinate_bus", topic_live(v, PCI_ATTRIBUTE_SUBORDINATE_BUS));
}

/* ---- SR-IOV ---- */

/* The kernel keeps the space of all VFs as one resource. */
static void write_vf_bars(const PciFacts *f, FactState s, Json *j) {
        FactState resources = (FactState) f->state[PCI_ATTRIBUTE_RESOURCE];
        Json *list;

        if (s != FACT_PRESENT || resources != FACT_PRESENT) {
                topic_set_state(j, "vf_bars", s != FACT_PRESENT ? s : resources);
                return;
        }
        list = topic_add_array(j, "vf_bars");
        for (unsigned i = PCI_RESOURCE_VF_FIRST; i < MIN(f->n_resources, PCI_RESOURCE_WINDOW_FIRST);
             i++) {
                const PciResource *r = pci_facts_resource(f, i);
                Json *one;

                if (r->size == 0)
                        continue;
                one = topic_append_object(list);
                (void) json_set_u64(one, "bar", i - PCI_RESOURCE_VF_FIRST);
                write_place(one, r);
                topic_set_u64(one, "size_each", f->sriov_totalvfs > 0 ? FACT_PRESENT : FACT_ABSENT,
                              f->sriov_totalvfs > 0 ? r->size / f->sriov_totalvfs : 0);
        }
}

/* An attribute that the kernel has for the driver at hand, else the register. */
static void write_number(const PciView *v, Json *j, const char *key, PciAttribute a, FactState s,
                         uint16_t value) {
        const PciText *t = topic_live(v, a);

        if (t->state == FACT_PRESENT)
                topic_set_text_number(j, key, t);
        else
                topic_set_u64(j, key, s, value);
}

static void write_pf(const PciView *v, FactState total, Json *j) {
        const PciConfigFacts *c = v->config;
        FactState s = total == FACT_ABSENT && !c ? FACT_ABSENT
                                                 : topic_capability_state(c, c && c->has_sriov);
        const PciText *device = topic_live(v, PCI_ATTRIBUTE_SRIOV_VF_DEVICE);
        uint64_t id = c ? c->sriov_vf_device : 0;
        FactState known = s;

        topic_set_u64(j, "total_vfs", total == FACT_PRESENT ? total : s,
                      total == FACT_PRESENT ? v->facts->sriov_totalvfs
                      : c                   ? c->sriov_total_vfs
                                            : 0);
        write_number(v, j, "num_vfs", PCI_ATTRIBUTE_SRIOV_NUMVFS, s, c ? c->sriov_num_vfs : 0);
        write_number(v, j, "offset", PCI_ATTRIBUTE_SRIOV_OFFSET, s, c ? c->sriov_offset : 0);
        write_number(v, j, "stride", PCI_ATTRIBUTE_SRIOV_STRIDE, s, c ? c->sriov_stride : 0);
        if (device->state == FACT_PRESENT)
                known = scan_whole_hex(device->text, 4, &id) ? FACT_PRESENT : FACT_UNREADABLE;
        topic_set_hex(j, "vf_device", known, 4, id);
        topic_set_bool(j, "enabled", s, c && c->sriov_control & PCI_SRIOV_CTRL_VFE);
        topic_set_bool(j, "ari_hierarchy", s, c && c->sriov_control & PCI_SRIOV_CTRL_ARI);
        topic_set_text_flag(j, "autoprobe", topic_live(v, PCI_ATTRIBUTE_SRIOV_AUTOPROBE));
        write_vf_bars(v->facts, total, j);
}

void topic_sriov(const PciView *v, Json *j) {
        const PciFacts *f = v->facts;
        FactState vf = (FactState) f->link_state[PCI_LINK_PHYSFN];
        FactState total = (FactState) f->state[PCI_ATTRIBUTE_SRIOV_TOTALVFS];
        bool is_pf = total == FACT_PRESENT || (v->config && v->config->has_sriov);

        topic_set_string(j, "role", vf == FACT_ABSENT || is_pf ? FACT_PRESENT : vf,
                         vf == FACT_PRESENT ? "vf" : is_pf ? "pf" : "none");
        topic_set_string(j, "physical_function", vf, PCI_ADDRESS_TEXT(f->physfn));
        /* vfio-pci demands the token of a VF whose physical function it has, too:
         * vfio_pci_core.c. */
        topic_set_bool(j, "vf_token_needed",
                       vf != FACT_PRESENT ? vf
                       : v->physfn        ? FACT_PRESENT
                                          : FACT_UNREAD,
                       v->physfn && pci_driver_is_vfio(v->physfn->driver));
        write_pf(v, total, j);
}
