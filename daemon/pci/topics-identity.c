/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Topics "identity" and "use": what a function is, where it stands, and who uses it. Names of
 * vendors and devices are not looked up here: they follow from the IDs and belong to whoever shows
 * them.
 */

#include "pci/topics.h"

static void write_ids(const PciFacts *f, Json *j) {
        topic_set_hex(j, "vendor", (FactState) f->state[PCI_ATTRIBUTE_VENDOR], 4, f->vendor);
        topic_set_hex(j, "device", (FactState) f->state[PCI_ATTRIBUTE_DEVICE], 4, f->device);
        topic_set_hex(j, "subsystem_vendor", (FactState)f->state[PCI_ATTRIBUTE_SUBSYSTEM_VENDOR], 4,
                      f->subsystem_vendor);
        topic_set_hex(j, "subsystem_device", (FactState)f->state[PCI_ATTRIBUTE_SUBSYSTEM_DEVICE], 4,
                      f->subsystem_device);
        topic_set_hex(j, "class", (FactState) f->state[PCI_ATTRIBUTE_CLASS], 6, f->class_code);
        topic_set_hex(j, "revision", (FactState) f->state[PCI_ATTRIBUTE_REVISION], 2, f->revision);
        topic_set_string(j, "kind", (FactState) f->state[PCI_ATTRIBUTE_CLASS],
                         pci_kind_to_string(pci_kind_from_class(f->class_code)));
}

static void write_place(const PciFacts *f, Json *j) {
        _cleanup_free_ char *port_path = pci_facts_port_path(f);

        (void) json_set_string(j, "address", PCI_ADDRESS_TEXT(f->address));
        topic_set_string(j, "parent",
                         !f->path        ? FACT_UNREAD
                         : f->has_parent ? FACT_PRESENT
                                         : FACT_ABSENT,
                         PCI_ADDRESS_TEXT(f->parent));
        topic_set_string(j, "port_path", f->path ? FACT_PRESENT : FACT_UNREAD, port_path);
        topic_set_string(j, "sysfs_path", f->path ? FACT_PRESENT : FACT_UNREAD, f->path);
}

void topic_identity(const PciView *v, Json *j) {
        const PciConfigFacts *c = v->config;
        FactState config = topic_config_state(c);

        write_place(v->facts, j);
        write_ids(v->facts, j);
        topic_set_string(j, "slot",
                         !v->slot           ? FACT_UNREAD
                         : v->slot->name[0] ? FACT_PRESENT
                                            : FACT_ABSENT,
                         v->slot ? v->slot->name : NULL);
        topic_set_text(j, "label", topic_live(v, PCI_ATTRIBUTE_LABEL));
        topic_set_text(j, "acpi_index", topic_live(v, PCI_ATTRIBUTE_ACPI_INDEX));
        topic_set_string(j, "pcie_type", config,
                         c ? pcie_type_to_string((PcieType)c->pcie_type) : NULL);
        topic_set_u64(j, "header_type", config, c ? c->header_type : 0);
        topic_set_bool(j, "multi_function", config, c && c->multi_function);
        topic_set_hex(j, "device_serial_number", topic_capability_state(c, c && c->has_dsn), 16,
                      c ? c->dsn : 0);
        if (v->vpd_serial)
                (void) json_set_string(j, "serial", v->vpd_serial);
        else if (v->live)
                topic_set_text(j, "serial", &v->live->vpd_serial);
        else
                topic_set_state(j, "serial", FACT_UNREAD);
}

static void write_children(const PciUse *u, Json *j) {
        Json *list = topic_add_array(j, "children");

        for (size_t i = 0; i < u->n_children; i++) {
                Json *one = topic_append_object(list);

                (void) json_set_string(one, "subsystem", u->children[i].subsystem);
                (void) json_set_string(one, "name", u->children[i].name);
        }
}

static void write_holders(const PciUse *u, Json *j) {
        Json *list = topic_add_array(j, "holders");

        for (size_t i = 0; i < u->n_holders; i++) {
                const PciHolder *h = &u->holders[i];
                Json *one = topic_append_object(list);

                (void) json_set_u64(one, "pid", h->pid);
                (void) json_set_u64(one, "uid", h->uid);
                (void) json_set_string(one, "comm", h->comm);
                topic_set_string(one, "unit", h->unit[0] ? FACT_PRESENT : FACT_ABSENT, h->unit);
                (void) json_set_string(one, "what", h->what);
        }
}

static void write_criticals(const PciUse *u, Json *j) {
        Json *list = topic_add_array(j, "host_critical");

        for (size_t i = 0; i < u->n_criticals; i++) {
                Json *one = topic_append_object(list);

                (void) json_set_string(one, "code", pci_critical_to_string(u->criticals[i].code));
                (void) json_set_string(one, "proof", u->criticals[i].proof);
        }
}

void topic_use(const PciView *v, Json *j) {
        const PciFacts *f = v->facts;
        const PciText *override = topic_live(v, PCI_ATTRIBUTE_DRIVER_OVERRIDE);
        FactState s = (FactState) override->state;
        const char *name = v->live ? pci_live_override(v->live) : NULL;

        topic_set_string(j, "driver", (FactState) f->link_state[PCI_LINK_DRIVER], f->driver);
        topic_set_string(j, "module", (FactState) f->link_state[PCI_LINK_MODULE], f->module);
        topic_set_string(j, "override", s == FACT_PRESENT && !name ? FACT_ABSENT : s, name);
        topic_set_string(j, "vfio_driver",
                         !v->variant      ? FACT_UNREAD
                         : v->variant[0] ? FACT_PRESENT
                                         : FACT_ABSENT,
                         v->variant);
        topic_set_text_number(j, "enable_count", topic_live(v, PCI_ATTRIBUTE_ENABLE));
        if (v->use) {
                write_children(v->use, j);
                write_holders(v->use, j);
                write_criticals(v->use, j);
                return;
        }
        topic_set_state(j, "children", FACT_UNREAD);
        topic_set_state(j, "holders", FACT_UNREAD);
        topic_set_state(j, "host_critical", FACT_UNREAD);
}
