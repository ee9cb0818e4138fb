/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The gate: the one table of who may call what. Every method of every vtable goes through
 * bus_gate_method(), and a vtable with a method that has no row here is not registered, so a new
 * method cannot be open by oversight. An action is granted to root and the admin group by uid, to
 * others by polkit; GATE_OWNER rows ask nobody where the caller owns the object, GATE_PUBLIC rows
 * only read what the properties show to all. Options may need a second action (force), which their
 * handler requires. Properties are read-only and hold nothing secret.
 */

#include <assert.h>

#include "base/log.h"
#include "bus/bus-private.h"

#define MANAGER BUS_INTERFACE_MANAGER
#define DEVICE BUS_INTERFACE_DEVICE
#define ASSIGNMENT BUS_INTERFACE_ASSIGNMENT
#define JOB BUS_INTERFACE_JOB
#define SIMULATOR BUS_INTERFACE_SIMULATOR

/* clang-format off */
const GateRow gate_table[] = {
        { MANAGER, "Assign", ACTION_ASSIGN, 0, gate_details_devices, manager_assign },
        { MANAGER, "Plan", ACTION_NONE, 0, gate_details_none, manager_plan },
        { MANAGER, "AssignMatching", ACTION_ASSIGN, 0, gate_details_matching, manager_assign_matching },
        { MANAGER, "PlanMatching", ACTION_NONE, 0, gate_details_none, manager_plan_matching },
        { MANAGER, "Explain", ACTION_NONE, 0, gate_details_none, manager_explain },
        { MANAGER, "ListDevices", ACTION_NONE, GATE_PUBLIC, gate_details_none, list_devices },
        { MANAGER, "ListAssignments", ACTION_NONE, GATE_PUBLIC, gate_details_none, list_assignments },
        { MANAGER, "GetDevice", ACTION_NONE, GATE_PUBLIC, gate_details_none, manager_get_device },
        { MANAGER, "GetAssignment", ACTION_NONE, GATE_PUBLIC, gate_details_none, manager_get_assignment },
        { MANAGER, "Rescan", ACTION_INSPECT, 0, gate_details_none, manager_rescan },
        { MANAGER, "Snapshot", ACTION_INSPECT, 0, gate_details_none, manager_snapshot },
        { MANAGER, "Doctor", ACTION_NONE, 0, gate_details_none, manager_doctor },
        { MANAGER, "CheckPolicy", ACTION_POLICY, 0, gate_details_none, manager_check_policy },
        { MANAGER, "ReloadPolicy", ACTION_POLICY, 0, gate_details_none, manager_reload_policy },
        { MANAGER, "GetPolicy", ACTION_NONE, 0, gate_details_none, manager_get_policy },
        { DEVICE, "GetFacts", ACTION_NONE, 0, gate_details_object, device_get_facts },
        { DEVICE, "Reset", ACTION_RESET, 0, gate_details_object, device_reset },
        { DEVICE, "Adopt", ACTION_MANAGE_OTHERS, 0, gate_details_object, device_adopt },
        { DEVICE, "Restore", ACTION_MANAGE_OTHERS, 0, gate_details_object, device_restore },
        { DEVICE, "Quarantine", ACTION_RESET, 0, gate_details_object, device_quarantine },
        { DEVICE, "Unquarantine", ACTION_RESET, 0, gate_details_object, device_unquarantine },
        { DEVICE, "SetVirtualFunctions", ACTION_ASSIGN, 0, gate_details_object, device_set_virtual_functions },
        { ASSIGNMENT, "Open", ACTION_MANAGE_OTHERS, GATE_OWNER, gate_details_object, assignment_open },
        { ASSIGNMENT, "Attach", ACTION_MANAGE_OTHERS, GATE_OWNER, gate_details_object, assignment_attach },
        { ASSIGNMENT, "Release", ACTION_MANAGE_OTHERS, GATE_OWNER, gate_details_object, assignment_release },
        { ASSIGNMENT, "Acknowledge", ACTION_MANAGE_OTHERS, GATE_OWNER, gate_details_object,
          assignment_acknowledge_method },
        { ASSIGNMENT, "GetEvents", ACTION_MANAGE_OTHERS, GATE_OWNER, gate_details_object, assignment_get_events },
        { JOB, "Cancel", ACTION_MANAGE_OTHERS, GATE_OWNER, gate_details_object, job_cancel },
        /* The simulated host exists on private buses only: who can reach it may play with it. */
        { SIMULATOR, "Advance", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_advance },
        { SIMULATOR, "Inject", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_inject },
        { SIMULATOR, "ClearFaults", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_clear_faults },
        { SIMULATOR, "Hold", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_hold },
        { SIMULATOR, "Unhold", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_unhold },
        { SIMULATOR, "SetOverride", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_set_override },
        { SIMULATOR, "Rebind", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_rebind },
        { SIMULATOR, "Remove", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_remove },
        { SIMULATOR, "SurpriseRemove", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_surprise_remove },
        { SIMULATOR, "Add", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_add },
        { SIMULATOR, "ReportError", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_report_error },
        { SIMULATOR, "PressAttention", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_press_attention },
        { SIMULATOR, "FailState", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_fail_state },
        { SIMULATOR, "LoseEvents", ACTION_NONE, GATE_PUBLIC, gate_details_none, simulator_lose_events },
};
/* clang-format on */
const size_t gate_table_size = ELEMENTSOF(gate_table);

static const char *const action_table[_ACTION_MAX] = {
        [ACTION_NONE] = "none",
        [ACTION_INSPECT] = "inspect",
        [ACTION_ASSIGN] = "assign",
        [ACTION_MANAGE_OTHERS] = "manage-others",
        [ACTION_RESET] = "reset",
        [ACTION_EJECT] = "eject",
        [ACTION_FORCE] = "force",
        [ACTION_POLICY] = "policy",
};

const char *gate_action_to_string(GateAction a) {
        assert(a < _ACTION_MAX);
        return action_table[a];
}

const GateRow *gate_find(const char *interface, const char *member) {
        assert(interface);
        assert(member);

        for (size_t n = 0; n < ELEMENTSOF(gate_table); n++)
                if (streq(gate_table[n].member, member) &&
                    streq(gate_table[n].interface, interface))
                        return &gate_table[n];
        return NULL;
}

int gate_check_vtable(const char *interface, const sd_bus_vtable *vtable) {
        assert(interface);
        assert(vtable);

        for (const sd_bus_vtable *v = vtable; v->type != _SD_BUS_VTABLE_END; v++) {
                if (v->type != _SD_BUS_VTABLE_METHOD)
                        continue;
                if (v->x.method.handler != bus_gate_method ||
                    !gate_find(interface, v->x.method.member)) {
                        log_error("Method %s.%s does not go through the gate, or has no row in its "
                                  "table",
                                  interface, v->x.method.member);
                        return -EINVAL;
                }
        }
        return 0;
}

int bus_gate_method(sd_bus_message *m, void *userdata _unused_, sd_bus_error *error) {
        Bus *b = sd_bus_slot_get_userdata(sd_bus_get_current_slot(sd_bus_message_get_bus(m)));
        const GateRow *row;
        Call *q;

        /* The message may name no interface: then the vtable's is meant, which only sd-bus
         * knows. */
        const char *interface = sd_bus_message_get_interface(m);
        if (!interface)
                return sd_bus_error_set(error, SD_BUS_ERROR_UNKNOWN_INTERFACE,
                                        "The call must name its interface");
        row = gate_find(interface, sd_bus_message_get_member(m));
        if (!row)
                return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "Nobody may call this");
        int r = call_new(b, m, row, &q);
        if (r < 0)
                return r;
        call_advance(q);
        return 1;
}

/* ---- what polkit is told ---- */

static int append_detail(sd_bus_message *m, const char *key, const char *value) {
        return sd_bus_message_append(m, "{ss}", key, strempty(value));
}

static int append_device_details(sd_bus_message *m, const Device *d) {
        char text[32];
        const PciFacts *f = &d->facts;

        int r = append_detail(m, "device", PCI_ADDRESS_TEXT(f->address));
        if (r < 0)
                return r;
        (void) snprintf(text, sizeof(text), "%04x:%04x", f->vendor, f->device);
        r = append_detail(m, "ids", text);
        if (r < 0)
                return r;
        (void) snprintf(text, sizeof(text), "%06x", (unsigned) f->class_code);
        r = append_detail(m, "class", text);
        if (r < 0 || !d->assignment)
                return r;
        return append_detail(m, "owner", d->assignment->owner);
}

int gate_details_none(Call *q _unused_, sd_bus_message *m _unused_) {
        return 0;
}

/* polkit's rules match on one device: of several, the first is described and all are named. */
int gate_details_devices(Call *q, sd_bus_message *m) {
        _cleanup_strv_ char **names = NULL;
        _cleanup_strbuf_ StrBuf all = {};
        const char *owner;
        Device *d = NULL;

        int r = sd_bus_message_rewind(q->message, true);
        if (r < 0)
                return r;
        r = options_read_names(q->message, "devices", PLAN_DEVICES_MAX, NULL, &names);
        if (r < 0)
                return r;
        r = options_read_string(q->message, "owner", OWNER_MAX - 1, NULL, &owner);
        if (r < 0)
                return r;
        for (size_t n = 0; names[n]; n++)
                strbuf_addf(&all, "%s%s", n > 0 ? " " : "", names[n]);
        r = append_detail(m, "devices", all.data);
        if (r < 0)
                return r;
        r = append_detail(m, "owner", owner);
        if (r < 0)
                return r;
        if (!names[0] ||
            inventory_resolve(engine_inventory(q->bus->engine), names[0], NULL, &d) < 0)
                return 0; /* the handler says what is wrong */
        char text[32];
        r = append_detail(m, "device", PCI_ADDRESS_TEXT(d->facts.address));
        if (r < 0)
                return r;
        (void) snprintf(text, sizeof(text), "%04x:%04x", d->facts.vendor, d->facts.device);
        r = append_detail(m, "ids", text);
        if (r < 0)
                return r;
        (void) snprintf(text, sizeof(text), "%06x", (unsigned) d->facts.class_code);
        return append_detail(m, "class", text);
}

/* Which devices it will be is not known yet: polkit decides about the owner. */
int gate_details_matching(Call *q, sd_bus_message *m) {
        const char *owner;

        int r = sd_bus_message_rewind(q->message, true);
        if (r < 0)
                return r;
        r = sd_bus_message_skip(q->message, "a(a{sv}u)");
        if (r < 0)
                return r;
        r = options_read_string(q->message, "owner", OWNER_MAX - 1, NULL, &owner);
        if (r < 0)
                return r;
        r = append_detail(m, "devices", "matching");
        return r < 0 ? r : append_detail(m, "owner", owner);
}

int gate_details_object(Call *q, sd_bus_message *m) {
        const char *path = sd_bus_message_get_path(q->message);
        void *object;

        object = bus_find(q->bus, OBJECT_DEVICE, path);
        if (object)
                return append_device_details(m, object);
        object = bus_find(q->bus, OBJECT_ASSIGNMENT, path);
        if (!object)
                return 0;
        const Assignment *a = object;
        int r = append_detail(m, "assignment", a->id);
        if (r < 0)
                return r;
        if (a->plan && a->plan->n_devices > 0) {
                r = append_detail(m, "device", PCI_ADDRESS_TEXT(a->plan->devices[0].address));
                if (r < 0)
                        return r;
        }
        return append_detail(m, "owner", a->owner);
}
