/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.pciassign1.Device: the twenty-odd cached facts that lists show, and what is done to one
 * function. What the other topics hold comes from GetFacts, read by a worker.
 */

#include <assert.h>

#include "bus/bus-private.h"

/* ---- properties ---- */

#define GETTER(name) static void name(Sink *s, Bus *b _unused_, const void *object)
#define DEVICE ((const Device *) object)

GETTER(get_address) {
        sink_string(s, PCI_ADDRESS_TEXT(DEVICE->facts.address));
}

GETTER(get_vendor) {
        sink_u16(s, DEVICE->facts.vendor);
}

GETTER(get_device) {
        sink_u16(s, DEVICE->facts.device);
}

GETTER(get_subsystem_vendor) {
        sink_u16(s, DEVICE->facts.subsystem_vendor);
}

GETTER(get_subsystem_device) {
        sink_u16(s, DEVICE->facts.subsystem_device);
}

GETTER(get_class) {
        sink_u32(s, DEVICE->facts.class_code);
}

GETTER(get_revision) {
        sink_u8(s, DEVICE->facts.revision);
}

GETTER(get_kind) {
        sink_string(s, pci_kind_to_string(pci_kind_from_class(DEVICE->facts.class_code)));
}

GETTER(get_driver) {
        sink_string(s, DEVICE->facts.driver);
}

GETTER(get_iommu_group) {
        bool has = DEVICE->facts.link_state[PCI_LINK_IOMMU_GROUP] == FACT_PRESENT;
        sink_i32(s, has && DEVICE->facts.iommu_group <= INT32_MAX
                            ? (int32_t) DEVICE->facts.iommu_group
                            : -1);
}

GETTER(get_iommu) {
        sink_string(s, DEVICE->facts.iommu);
}

GETTER(get_numa_node) {
        sink_i32(s, DEVICE->facts.numa_node);
}

GETTER(get_slot) {
        const PciSlotFacts *slot =
                inventory_slot(engine_inventory(b->engine), DEVICE->facts.address);
        sink_string(s, slot ? slot->name : NULL);
}

GETTER(get_port_path) {
        _cleanup_free_ char *path = pci_facts_port_path(&DEVICE->facts);
        if (path)
                sink_string(s, path);
        else
                s->error = -ENOMEM;
}

GETTER(get_physical_function) {
        sink_string(s, DEVICE->facts.is_vf ? PCI_ADDRESS_TEXT(DEVICE->facts.physfn) : NULL);
}

GETTER(get_total_vfs) {
        sink_u16(s, DEVICE->facts.sriov_totalvfs);
}

GETTER(get_children) {
        sink_open(s, 'a', "s");
        for (size_t n = 0; n < DEVICE->use.n_children; n++)
                sink_string(s, DEVICE->use.children[n].name);
        sink_close(s);
}

GETTER(get_reset_methods) {
        char text[PCI_RESET_METHODS_MAX], *save = NULL;

        (void) string_copy(text, sizeof(text), DEVICE->facts.reset_method); /* same size */
        sink_open(s, 'a', "s");
        for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
                sink_string(s, w);
        sink_close(s);
}

GETTER(get_state) {
        sink_string(s, device_state_to_string(device_get_state(DEVICE)));
}

GETTER(get_health) {
        sink_string(s, device_health_to_string(DEVICE->health));
}

GETTER(get_assignment) {
        if (DEVICE->assignment)
                sink_object(s, bus_path_assignment(DEVICE->assignment->id));
        else
                sink_object(s, bus_path_running_job(NULL));
}

GETTER(get_owner) {
        sink_string(s, DEVICE->assignment ? DEVICE->assignment->owner : NULL);
}

GETTER(get_assignable) {
        sink_bool(s, strv_length(DEVICE->blockers) == 0);
}

GETTER(get_drift) {
        sink_strv(s, DEVICE->drift);
}

GETTER(get_blockers) {
        sink_strv(s, DEVICE->blockers);
}

static const Property properties[] = {
        { "Address", "s", get_address },
        { "VendorId", "q", get_vendor },
        { "DeviceId", "q", get_device },
        { "SubsystemVendorId", "q", get_subsystem_vendor },
        { "SubsystemDeviceId", "q", get_subsystem_device },
        { "Class", "u", get_class },
        { "Revision", "y", get_revision },
        { "Kind", "s", get_kind },
        { "PortPath", "s", get_port_path },
        { "PhysicalFunction", "s", get_physical_function },
        { "Driver", "s", get_driver, true },
        { "IommuGroup", "i", get_iommu_group, true },
        { "Iommu", "s", get_iommu, true },
        { "NumaNode", "i", get_numa_node, true },
        { "Slot", "s", get_slot, true },
        { "TotalVfs", "q", get_total_vfs, true },
        { "Children", "as", get_children, true },
        { "ResetMethods", "as", get_reset_methods, true },
        { "State", "s", get_state, true },
        { "Health", "s", get_health, true },
        { "Assignment", "o", get_assignment, true },
        { "Owner", "s", get_owner, true },
        { "Assignable", "b", get_assignable, true },
        { "Blockers", "as", get_blockers, true },
        { "Drift", "as", get_drift, true },
};

/* ---- methods ---- */

static void facts_answered(const EngineAnswer *answer, const Error *error, void *userdata) {
        Call *q = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_json_ Json *facts = NULL;

        if (error) {
                call_fail(q, error);
                return;
        }
        int r = json_parse(answer->json, strlen(answer->json), JSON_LIMITS_DEFAULT, &facts, NULL,
                           NULL);
        if (r >= 0)
                r = call_new_reply(q, &reply);
        if (r >= 0)
                r = format_json_dict(reply, facts);
        call_finish(q, TAKE_PTR(reply), r);
}

int device_get_facts(Call *q, Error *err) {
        struct { bool confidential, refresh; } options = {};
        static const OptionRow rows[] = {
                { "confidential", OPTION_BOOL, 0, .expect = "a boolean (b)" },
                { "refresh", OPTION_BOOL, sizeof(bool), .expect = "a boolean (b)" },
        };
        _cleanup_strv_ char **topics = NULL;
        unsigned flags;
        void *d;

        int r = options_read_names(q->message, "topics", _PCI_TOPIC_MAX, err, &topics);
        if (r < 0)
                return r;
        for (size_t n = 0; topics[n]; n++)
                if (pci_topic_from_string(topics[n]) < 0)
                        return error_set(err, ERROR_INVALID,
                                         "There is no topic \"%s\"; the first is \"%s\", and the "
                                         "manual org.pciassign1(5) lists all",
                                         topics[n], pci_topic_to_string(PCI_TOPIC_IDENTITY));
        r = options_read(q->message, rows, ELEMENTSOF(rows), &options, err);
        if (r < 0)
                return r;
        r = call_find(q, OBJECT_DEVICE, err, &d);
        if (r < 0)
                return r;
        if (options.confidential) {
                r = call_require(q, ACTION_INSPECT, err);
                if (r <= 0)
                        return r;
        }
        Caller c;
        call_caller(q, &c);
        flags = (options.refresh ? FACTS_REFRESH : 0) | (options.confidential ? FACTS_SEARCH : 0) |
                (call_is_granted(q, ACTION_INSPECT) ? FACTS_CONFIDENTIAL : 0);
        return engine_get_facts(q->bus->engine, &c, PCI_ADDRESS_TEXT(((Device *) d)->facts.address),
                                topics[0] ? topics : NULL, flags, facts_answered, q, err);
}

int device_reset(Call *q, Error *err) {
        void *d;

        int r = options_read_none(q->message, err);
        if (r < 0)
                return r;
        r = call_find(q, OBJECT_DEVICE, err, &d);
        if (r < 0)
                return r;
        Caller c;
        call_caller(q, &c);
        return engine_reset_device(q->bus->engine, &c,
                                   PCI_ADDRESS_TEXT(((Device *) d)->facts.address), call_engine_job,
                                   q, err);
}

/* What a method with no options but its object begins with. */
static int device_of_call(Call *q, Error *err, Caller *c, const Device **ret) {
        void *d;
        int r = options_read_none(q->message, err);

        if (r >= 0)
                r = call_find(q, OBJECT_DEVICE, err, &d);
        if (r < 0)
                return r;
        call_caller(q, c);
        *ret = d;
        return 0;
}

int device_quarantine(Call *q, Error *err) {
        const char *reason;
        const Device *d;
        Caller c;
        int r = options_read_string(q->message, "reason", 256, err, &reason);

        if (r >= 0)
                r = device_of_call(q, err, &c, &d);
        if (r < 0)
                return r;
        return engine_quarantine_device(q->bus->engine, &c, PCI_ADDRESS_TEXT(d->facts.address),
                                        reason, call_engine_job, q, err);
}

int device_unquarantine(Call *q, Error *err) {
        const Device *d;
        Caller c;
        int r = device_of_call(q, err, &c, &d);

        if (r < 0)
                return r;
        return engine_unquarantine_device(q->bus->engine, &c, PCI_ADDRESS_TEXT(d->facts.address),
                                          call_engine_job, q, err);
}

int device_adopt(Call *q, Error *err) {
        const Device *d;
        Caller c;
        int r = device_of_call(q, err, &c, &d);

        if (r < 0)
                return r;
        return engine_adopt(q->bus->engine, &c, PCI_ADDRESS_TEXT(d->facts.address), call_engine_job,
                            q, err);
}

int device_restore(Call *q, Error *err) {
        const Device *d;
        Caller c;
        int r = device_of_call(q, err, &c, &d);

        if (r < 0)
                return r;
        return engine_restore(q->bus->engine, &c, PCI_ADDRESS_TEXT(d->facts.address),
                              call_engine_job, q, err);
}

int device_set_virtual_functions(Call *q, Error *err) {
        VfsOptions options = {};
        static const OptionRow rows[] = {
                { "driver", OPTION_STRING, offsetof(VfsOptions, driver), PCI_DRIVER_NAME_MAX - 1,
                  .expect = "\"none\", \"host\" or the name of a driver (s)" },
                { "no-wait", OPTION_BOOL, offsetof(VfsOptions, no_wait),
                  .expect = "a boolean (b)" },
        };
        uint32_t number;
        void *d;

        int r = sd_bus_message_read_basic(q->message, 'u', &number);
        if (r < 0)
                return r;
        r = options_read(q->message, rows, ELEMENTSOF(rows), &options, err);
        if (r < 0)
                return r;
        r = call_find(q, OBJECT_DEVICE, err, &d);
        if (r < 0)
                return r;
        Caller c;
        call_caller(q, &c);
        return engine_set_numvfs(q->bus->engine, &c,
                                 PCI_ADDRESS_TEXT(((Device *) d)->facts.address), number, &options,
                                 call_engine_job, q, err);
}

/* clang-format off */
#define CONST(name, signature) \
        SD_BUS_PROPERTY(name, signature, bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST)
#define CHANGES(name, signature) \
        SD_BUS_PROPERTY(name, signature, bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        CONST("Address", "s"),
        CONST("VendorId", "q"),
        CONST("DeviceId", "q"),
        CONST("SubsystemVendorId", "q"),
        CONST("SubsystemDeviceId", "q"),
        CONST("Class", "u"),
        CONST("Revision", "y"),
        CONST("Kind", "s"),
        CONST("PortPath", "s"),
        CONST("PhysicalFunction", "s"),
        CHANGES("Driver", "s"),
        CHANGES("IommuGroup", "i"),
        CHANGES("Iommu", "s"),
        CHANGES("NumaNode", "i"),
        CHANGES("Slot", "s"),
        CHANGES("TotalVfs", "q"),
        CHANGES("Children", "as"),
        CHANGES("ResetMethods", "as"),
        CHANGES("State", "s"),
        CHANGES("Health", "s"),
        CHANGES("Assignment", "o"),
        CHANGES("Owner", "s"),
        CHANGES("Assignable", "b"),
        CHANGES("Blockers", "as"),
        CHANGES("Drift", "as"),
        SD_BUS_METHOD_WITH_ARGS("GetFacts",
                SD_BUS_ARGS("as", topics, "a{sv}", options), SD_BUS_RESULT("a{sv}", facts),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reset",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Quarantine",
                SD_BUS_ARGS("s", reason, "a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Unquarantine",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Adopt",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Restore",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetVirtualFunctions",
                SD_BUS_ARGS("u", number, "a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END
};
/* clang-format on */

const ObjectClass device_class = {
        .interface = BUS_INTERFACE_DEVICE,
        .prefix = BUS_PATH_DEVICE,
        .properties = properties,
        .n_properties = ELEMENTSOF(properties),
        .vtable = vtable,
};
