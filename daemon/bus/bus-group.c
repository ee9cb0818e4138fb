/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.pciassign1.Group: an IOMMU group, the unit of ownership. Only properties.
 */

#include "bus/bus-private.h"

#define GETTER(name) static void name(Sink *s, Bus *b _unused_, const void *object)
#define GROUP ((const Group *) object)

GETTER(get_number) {
        sink_u32(s, GROUP->id);
}

GETTER(get_devices) {
        sink_open(s, 'a', "s");
        LIST_FOREACH(&GROUP->devices, link)
                sink_string(s, PCI_ADDRESS_TEXT(LIST_ENTRY(link, Device, in_group)->facts.address));
        sink_close(s);
}

GETTER(get_viable) {
        sink_bool(s, GROUP->viable);
}

GETTER(get_verdicts) {
        sink_open(s, 'a', "{sas}");
        LIST_FOREACH(&GROUP->devices, link) {
                const Device *d = LIST_ENTRY(link, Device, in_group);
                sink_open(s, 'e', "sas");
                sink_string(s, PCI_ADDRESS_TEXT(d->facts.address));
                sink_strv(s, d->blockers);
                sink_close(s);
        }
        sink_close(s);
}

GETTER(get_domain_type) {
        sink_string(s, GROUP->facts.type_state == FACT_PRESENT ? GROUP->facts.type : NULL);
}

GETTER(get_iommu) {
        const Device *first = list_is_empty(&GROUP->devices) ? NULL :
                              LIST_ENTRY(GROUP->devices.next, Device, in_group);
        sink_string(s, first ? first->facts.iommu : NULL);
}

GETTER(get_owner) {
        sink_string(s, GROUP->assignment ? GROUP->assignment->owner : NULL);
}

GETTER(get_assignment) {
        if (GROUP->assignment)
                sink_object(s, bus_path_assignment(GROUP->assignment->id));
        else
                sink_object(s, bus_path_running_job(NULL));
}

static const Property properties[] = {
        { "Number", "u", get_number },
        { "Devices", "as", get_devices, true },
        { "Viable", "b", get_viable, true },
        { "Verdicts", "a{sas}", get_verdicts, true },
        { "DomainType", "s", get_domain_type, true },
        { "Iommu", "s", get_iommu, true },
        { "Owner", "s", get_owner, true },
        { "Assignment", "o", get_assignment, true },
};

/* clang-format off */
#define CHANGES(name, signature) \
        SD_BUS_PROPERTY(name, signature, bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Number", "u", bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        CHANGES("Devices", "as"),
        CHANGES("Viable", "b"),
        CHANGES("Verdicts", "a{sas}"),
        CHANGES("DomainType", "s"),
        CHANGES("Iommu", "s"),
        CHANGES("Owner", "s"),
        CHANGES("Assignment", "o"),
        SD_BUS_VTABLE_END
};
/* clang-format on */

const ObjectClass group_class = {
        .interface = BUS_INTERFACE_GROUP,
        .prefix = BUS_PATH_GROUP,
        .properties = properties,
        .n_properties = ELEMENTSOF(properties),
        .vtable = vtable,
};
