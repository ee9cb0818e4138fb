/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics "reset" (with power and readiness), "hotplug" and "accelerator". What a reset hits beyond
 * its function depends on the tree and is added by whoever has it.
 */

#include <linux/pci_regs.h>

#include "pci/topics.h"

#define CXL_CACHE 0x1
#define CXL_IO 0x2
#define CXL_MEM 0x4

/* ---- reset and power ---- */

static void write_methods(const PciFacts *f, Json *j) {
        FactState s = (FactState) f->state[PCI_ATTRIBUTE_RESET_METHOD];
        Json *list;

        if (s != FACT_PRESENT) {
                topic_set_state(j, "methods", s);
                return;
        }
        list = topic_add_array(j, "methods");
        for (const char *p = f->reset_method; *p;) {
                size_t n = strcspn(p, " ");
                char method[PCI_RESET_METHODS_MAX] = {};

                memcpy(method, p, MIN(n, sizeof(method) - 1));
                if (n > 0)
                        (void) json_append_string(list, method);
                p += n + (p[n] == ' ');
        }
}

static void write_power(const PciView *v, Json *j) {
        static const char *const states[] = { "D0", "D1", "D2", "D3hot" };
        const PciConfigFacts *c = v->config;
        FactState s = topic_capability_state(c, c && c->has_power);
        Json *power = topic_add_object(j, "power");

        topic_set_string(power, "state", s, states[c ? c->pm_control & PCI_PM_CTRL_STATE_MASK : 0]);
        topic_set_bool(power, "no_soft_reset", s, c && c->pm_control & PCI_PM_CTRL_NO_SOFT_RESET);
        topic_set_bool(power, "pme_enabled", s, c && c->pm_control & PCI_PM_CTRL_PME_ENABLE);
        topic_set_text(power, "kernel_state", topic_live(v, PCI_ATTRIBUTE_POWER_STATE));
        topic_set_text(power, "runtime_status", topic_live(v, PCI_ATTRIBUTE_RUNTIME_STATUS));
        topic_set_text(power, "control", topic_live(v, PCI_ATTRIBUTE_POWER_CONTROL));
        topic_set_text_flag(power, "d3cold_allowed", topic_live(v, PCI_ATTRIBUTE_D3COLD_ALLOWED));
}

void topic_reset(const PciView *v, Json *j) {
        const PciConfigFacts *c = v->config;
        FactState config = topic_config_state(c);
        FactState express = topic_capability_state(c, c && c->pcie_type != PCIE_NONE);
        FactState af = topic_capability_state(c, c && c->has_af);
        bool has_root =
                c && (c->pcie_type == PCIE_ROOT_PORT || c->pcie_type == PCIE_RC_EVENT_COLLECTOR);
        FactState root = topic_capability_state(c, has_root);
        Json *rrs;

        write_methods(v->facts, j);
        topic_set_bool(j, "flr", express, c && c->flr);
        topic_set_bool(j, "af_flr", af, c && c->af_capabilities & PCI_AF_CAP_FLR);
        topic_set_bool(j, "transactions_pending", express,
                       c && c->device_status & PCI_EXP_DEVSTA_TRPND);
        (void) json_set_string(j, "liveness",
                              c && c->liveness != PCI_LIVENESS_UNKNOWN
                                      ? pci_liveness_to_string(c->liveness)
                                      : fact_state_to_string(FACT_UNREAD));
        topic_set_bool(j, "config_complete", config, c && !c->truncated && !c->incomplete);
        rrs = topic_add_object(j, "rrs_software_visibility");
        topic_set_bool(rrs, "capable", root, c && c->root_capabilities & 1);
        topic_set_bool(rrs, "enabled", root, c && c->root_control & 0x10);
        write_power(v, j);
}

/* ---- hot-plug ---- */

void topic_hotplug(const PciView *v, Json *j) {
        const PciConfigFacts *c = v->config;
        FactState s = topic_capability_state(c, c && c->slot_implemented);
        FactState link = topic_link_state(c);
        uint32_t capabilities = c ? c->slot_capabilities : 0;
        uint16_t status = c ? c->slot_status : 0, control = c ? c->slot_control : 0;
        bool tells_link = c && c->link_capabilities & PCI_EXP_LNKCAP_DLLLARC;
        static const PciSlotFacts unread = {};
        const PciSlotFacts *slot = v->slot ? v->slot : &unread;
        Json *port = topic_add_object(j, "port"), *object = topic_add_object(j, "slot");

        topic_set_capable(port, "slot_implemented", s);
        topic_set_u64(port, "physical_slot",
                      s == FACT_PRESENT && c && !c->physical_slot_valid ? FACT_ABSENT : s,
                      c ? c->physical_slot : 0);
        topic_set_bool(port, "hotplug_capable", s, capabilities & PCI_EXP_SLTCAP_HPC);
        topic_set_bool(port, "surprise", s, capabilities & PCI_EXP_SLTCAP_HPS);
        topic_set_bool(port, "attention_button", s, capabilities & PCI_EXP_SLTCAP_ABP);
        topic_set_bool(port, "attention_indicator", s, capabilities & PCI_EXP_SLTCAP_AIP);
        topic_set_bool(port, "power_indicator", s, capabilities & PCI_EXP_SLTCAP_PIP);
        topic_set_bool(port, "power_controller", s, capabilities & PCI_EXP_SLTCAP_PCP);
        topic_set_bool(port, "latch_sensor", s, capabilities & PCI_EXP_SLTCAP_MRLSP);
        topic_set_bool(port, "interlock", s, capabilities & PCI_EXP_SLTCAP_EIP);
        topic_set_bool(port, "present", s, status & PCI_EXP_SLTSTA_PDS);
        topic_set_bool(port, "power_fault", s, status & PCI_EXP_SLTSTA_PFD);
        /* Power Controller Control: 0 is on, and means something only where there is a
         * controller. */
        topic_set_bool(port, "powered",
                       s == FACT_PRESENT && !(capabilities & PCI_EXP_SLTCAP_PCP) ? FACT_ABSENT : s,
                       !(control & PCI_EXP_SLTCTL_PCC));
        topic_set_bool(port, "link_active",
                       link == FACT_PRESENT && !tells_link ? FACT_ABSENT : link,
                       c && c->link_status & PCI_EXP_LNKSTA_DLLLA);
        topic_set_string(object, "name",
                         !v->slot        ? FACT_UNREAD
                         : slot->name[0] ? FACT_PRESENT
                                         : FACT_ABSENT,
                         slot->name);
        topic_set_text_flag(object, "power", &slot->power);
        topic_set_text_number(object, "attention", &slot->attention);
        topic_set_text_flag(object, "latch_open", &slot->latch);
        topic_set_text_flag(object, "present", &slot->adapter);
}

/* ---- accelerators ---- */

static void write_cxl(const PciConfigFacts *c, Json *j) {
        FactState s = topic_capability_state(c, c && c->is_cxl);
        uint16_t can = c ? c->cxl_capabilities : 0, now = c ? c->cxl_flexbus_status : 0;
        unsigned type = can & CXL_CACHE ? (can & CXL_MEM ? 2 : 1) : can & CXL_MEM ? 3 : 0;
        FactState device = s == FACT_PRESENT && can == 0 ? FACT_ABSENT : s;
        Json *cxl = topic_add_object(j, "cxl");

        topic_set_capable(cxl, "dvsec", s);
        topic_set_u64(cxl, "type", device == FACT_PRESENT && type == 0 ? FACT_ABSENT : device,
                      type);
        topic_set_bool(cxl, "cache", device, can & CXL_CACHE);
        topic_set_bool(cxl, "memory", device, can & CXL_MEM);
        topic_set_bool(cxl, "memory_enabled", device, c && c->cxl_control & CXL_MEM);
        topic_set_bool(cxl, "negotiated", s, now & (CXL_CACHE | CXL_MEM));
}

/* Names of the children of one subsystem, or the word. */
static void write_nodes(const PciUse *u, Json *j, const char *key, const char *subsystem,
                        const char *prefix) {
        Json *list;

        if (!u) {
                topic_set_state(j, key, FACT_UNREAD);
                return;
        }
        list = topic_add_array(j, key);
        for (size_t i = 0; i < u->n_children; i++)
                if (streq(u->children[i].subsystem, subsystem) &&
                    strncmp(u->children[i].name, prefix, strlen(prefix)) == 0)
                        (void) json_append_string(list, u->children[i].name);
}

static void write_dvsec(const PciConfigFacts *c, Json *j) {
        FactState s = topic_config_state(c);
        Json *list;

        if (s != FACT_PRESENT) {
                topic_set_state(j, "dvsec", s);
                return;
        }
        list = topic_add_array(j, "dvsec");
        for (unsigned i = 0; i < c->n_dvsec; i++) {
                Json *one = topic_append_object(list);

                topic_set_hex(one, "vendor", FACT_PRESENT, 4, c->dvsec[i].vendor);
                (void) json_set_u64(one, "id", c->dvsec[i].id);
                (void) json_set_u64(one, "revision", c->dvsec[i].revision);
        }
}

/* From the function's own node to each. */
static void write_distances(const PciView *v, FactState node, Json *j) {
        const NumaNode *own = v->nodes ? numa_nodes_find(v->nodes, v->facts->numa_node) : NULL;
        FactState s = node != FACT_PRESENT ? node
                      : v->facts->numa_node < 0 ? FACT_ABSENT
                      : !v->nodes               ? FACT_UNREAD
                      : own                     ? (FactState) own->state
                                                : FACT_ABSENT;
        Json *list;

        if (s == FACT_PRESENT && own->n != v->nodes->n)
                s = FACT_UNREADABLE;
        if (s != FACT_PRESENT) {
                topic_set_state(j, "numa_distances", s);
                return;
        }
        list = topic_add_array(j, "numa_distances");
        for (size_t i = 0; i < own->n; i++) {
                Json *one = topic_append_object(list);

                (void) json_set_u64(one, "node", v->nodes->list[i].id);
                (void) json_set_u64(one, "distance", own->distances[i]);
        }
}

void topic_accelerator(const PciView *v, Json *j) {
        const PciFacts *f = v->facts;
        const PciConfigFacts *c = v->config;
        FactState class = (FactState)f->state[PCI_ATTRIBUTE_CLASS],
                  node = (FactState)f->state[PCI_ATTRIBUTE_NUMA_NODE];

        topic_set_bool(j, "processing_accelerator", class,
                       pci_kind_from_class(f->class_code) == PCI_KIND_ACCELERATOR);
        write_cxl(c, j);
        topic_set_capable(j, "ccix", topic_capability_state(c, c && c->is_ccix));
        write_dvsec(c, j);
        write_nodes(v->use, j, "accel_nodes", "accel", "");
        write_nodes(v->use, j, "render_nodes", "drm", "renderD");
        write_nodes(v->use, j, "cxl_devices", "cxl", "");
        topic_set_u64(j, "numa_node", node == FACT_PRESENT && f->numa_node < 0 ? FACT_ABSENT : node,
                      f->numa_node < 0 ? 0 : (uint64_t) f->numa_node);
        write_distances(v, node, j);
}

/* Nothing of it is the function's own: whoever knows adds it. */
void topic_cleaning(const PciView *v _unused_, Json *j) {
        topic_set_state(j, "state", FACT_UNREAD);
}
