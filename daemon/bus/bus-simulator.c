/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.pciassign1.Simulator: time and mishaps of the simulated host. Registered with --simulate
 * only, which never runs on the machine's own system bus.
 */

#include <assert.h>

#include "bus/bus-private.h"
#include "host/sim.h"

#define HOST_JSON_MAX (1U << 20)
#define ERRNO_MAX 4095U

static int reply_empty(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        int r = call_new_reply(q, &reply);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

/* NULL with err. */
static Host *simulated_host(Call *q, Error *err) {
        Host *h = engine_host(q->bus->engine);

        if (host_is_sim(h))
                return h;
        (void) error_set(err, ERROR_NOT_SUPPORTED, "This is not a simulated host");
        return NULL;
}

static int read_address(Call *q, Error *err, PciAddress *ret) {
        const char *text;

        int r = options_read_string(q->message, "device", PCI_ADDRESS_MAX, err, &text);
        if (r < 0)
                return r;
        if (pci_address_parse_short(text, ret) < 0)
                return error_set(err, ERROR_INVALID, "Argument \"device\" must be a PCI address");
        return 0;
}

static int simulated(int r, PciAddress a, Error *err) {
        if (r >= 0)
                return 0;
        if (r == -ENODEV || r == -ENOENT)
                return error_set(err, ERROR_NOT_FOUND,
                                 "The simulated host has no function %s, or it is not in that "
                                 "state",
                                 PCI_ADDRESS_TEXT(a));
        return error_set(err, ERROR_FAILED, "The simulated host refuses %s: error %d",
                         PCI_ADDRESS_TEXT(a), -r);
}

int simulator_advance(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        uint64_t by;

        int r = sd_bus_message_read_basic(q->message, 't', &by);
        if (r < 0)
                return r;
        if (by > UINT64_C(366) * 86400 * USEC_PER_SEC)
                return error_set(err, ERROR_INVALID, "Argument \"usec\" must be a year at most");
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        host_sim_advance(h, by);
        r = call_new_reply(q, &reply);
        uint64_t now = host_sim_clock(h);
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 't', &now);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

typedef struct InjectArguments {
        const char *kind;
        uint32_t error, times;
        uint64_t delay;
} InjectArguments;

/* clang-format off */
static const OptionRow inject_rows[] = {
        { "kind", OPTION_STRING, offsetof(InjectArguments, kind), 32,
          .expect = "\"error\", \"delay\", \"hang\", \"no-effect\", \"wrong-driver\", \"all-ones\", \"rrs\" or "
                    "\"altered\" (s)" },
        { "error", OPTION_U32, offsetof(InjectArguments, error), 4095, .expect = "an errno (u)" },
        { "delay", OPTION_U64, offsetof(InjectArguments, delay), .expect = "microseconds (t)" },
        { "times", OPTION_U32, offsetof(InjectArguments, times), .expect = "a number, 0 for ever (u)" },
};
/* clang-format on */

int simulator_inject(Call *q, Error *err) {
        InjectArguments a = { .kind = "error", .error = EIO };
        SimFault fault = {};
        const char *step;

        int r = options_read_string(q->message, "step", 64, err, &step);
        if (r < 0)
                return r;
        r = read_address(q, err, &fault.device);
        if (r < 0)
                return r;
        r = options_read(q->message, inject_rows, ELEMENTSOF(inject_rows), &a, err);
        if (r < 0)
                return r;
        fault.step = step_type_from_string(step);
        if (fault.step < 0)
                return error_set(err, ERROR_INVALID, "There is no step \"%s\"", step);
        fault.kind = sim_fault_kind_from_string(a.kind);
        if ((int) fault.kind < 0 || fault.kind >= _SIM_FAULT_KIND_MAX)
                return error_set(err, ERROR_INVALID, "Option \"kind\" must be %s",
                                 inject_rows[0].expect);
        fault.error = (int) a.error;
        fault.delay = a.delay;
        fault.times = a.times;
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        r = simulated(host_sim_inject(h, &fault), fault.device, err);
        return r < 0 ? r : reply_empty(q, err);
}

int simulator_clear_faults(Call *q, Error *err) {
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        host_sim_clear_faults(h);
        return reply_empty(q, err);
}

int simulator_hold(Call *q, Error *err) {
        const char *comm;
        PciAddress a;
        uint32_t pid;

        int r = read_address(q, err, &a);
        if (r < 0)
                return r;
        r = sd_bus_message_read_basic(q->message, 'u', &pid);
        if (r < 0)
                return r;
        r = options_read_string(q->message, "command", 15, err, &comm);
        if (r < 0)
                return r;
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        r = simulated(host_sim_hold(h, a, pid, comm), a, err);
        return r < 0 ? r : reply_empty(q, err);
}

typedef int (*HostSimAction)(Host *h, PciAddress a);

static int simulator_act(Call *q, HostSimAction action, Error *err) {
        PciAddress a;

        int r = read_address(q, err, &a);
        if (r < 0)
                return r;
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        r = simulated(action(h, a), a, err);
        return r < 0 ? r : reply_empty(q, err);
}

int simulator_unhold(Call *q, Error *err) {
        return simulator_act(q, host_sim_unhold, err);
}

int simulator_remove(Call *q, Error *err) {
        return simulator_act(q, host_sim_remove, err);
}

int simulator_surprise_remove(Call *q, Error *err) {
        return simulator_act(q, host_sim_surprise_remove, err);
}

static int act_on_driver(Call *q, int (*act)(Host *h, PciAddress a, const char *driver),
                         Error *err) {
        const char *driver;
        PciAddress a;

        int r = read_address(q, err, &a);
        if (r < 0)
                return r;
        r = sd_bus_message_read_basic(q->message, 's', &driver);
        if (r < 0)
                return r;
        if (!isempty(driver) && !string_is_safe(driver, PCI_DRIVER_NAME_MAX - 1))
                return error_set(err, ERROR_INVALID,
                                 "Argument \"driver\" must be a driver's name, or empty for none");
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        r = simulated(act(h, a, driver), a, err);
        return r < 0 ? r : reply_empty(q, err);
}

int simulator_rebind(Call *q, Error *err) {
        return act_on_driver(q, host_sim_rebind, err);
}

int simulator_set_override(Call *q, Error *err) {
        return act_on_driver(q, host_sim_set_override, err);
}

int simulator_add(Call *q, Error *err) {
        const char *json;

        int r = sd_bus_message_read_basic(q->message, 's', &json);
        if (r < 0)
                return r;
        size_t n = strlen(json);
        if (n > HOST_JSON_MAX)
                return error_set(err, ERROR_INVALID, "Argument \"json\" must be at most 1 MiB");
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        r = host_sim_add(h, json, n, err);
        return r < 0 ? r : reply_empty(q, err);
}

int simulator_lose_events(Call *q, Error *err) {
        uint32_t n;

        int r = sd_bus_message_read_basic(q->message, 'u', &n);
        if (r < 0)
                return r;
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        host_sim_lose_events(h, n);
        return reply_empty(q, err);
}

int simulator_report_error(Call *q, Error *err) {
        const char *severity;
        SimErrorKind kind;
        PciAddress a;

        int r = read_address(q, err, &a);
        if (r < 0)
                return r;
        r = options_read_string(q->message, "severity", 32, err, &severity);
        if (r < 0)
                return r;
        kind = sim_error_kind_from_string(severity);
        if ((int) kind < 0)
                return error_set(err, ERROR_INVALID,
                                 "Argument \"severity\" must be \"correctable\", \"non-fatal\", "
                                 "\"fatal\" or \"dpc\"");
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        r = simulated(host_sim_error(h, a, kind), a, err);
        return r < 0 ? r : reply_empty(q, err);
}

int simulator_press_attention(Call *q, Error *err) {
        return simulator_act(q, host_sim_press_attention, err);
}

int simulator_fail_state(Call *q, Error *err) {
        uint32_t error;

        int r = sd_bus_message_read_basic(q->message, 'u', &error);
        if (r < 0)
                return r;
        if (error > ERRNO_MAX)
                return error_set(err, ERROR_INVALID, "Argument \"error\" must be an errno, or 0");
        Host *h = simulated_host(q, err);
        if (!h)
                return -EOPNOTSUPP;
        host_sim_set_state_error(h, (int) error);
        return reply_empty(q, err);
}

/* clang-format off */
const sd_bus_vtable simulator_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Advance", SD_BUS_ARGS("t", usec), SD_BUS_RESULT("t", now),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Inject",
                SD_BUS_ARGS("s", step, "s", device, "a{sv}", fault), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ClearFaults", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Hold",
                SD_BUS_ARGS("s", device, "u", pid, "s", command), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Unhold", SD_BUS_ARGS("s", device), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Rebind", SD_BUS_ARGS("s", device, "s", driver), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetOverride", SD_BUS_ARGS("s", device, "s", driver), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Remove", SD_BUS_ARGS("s", device), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SurpriseRemove", SD_BUS_ARGS("s", device), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Add", SD_BUS_ARGS("s", json), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ReportError", SD_BUS_ARGS("s", device, "s", severity), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("PressAttention", SD_BUS_ARGS("s", device), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("FailState", SD_BUS_ARGS("u", error), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("LoseEvents", SD_BUS_ARGS("u", count), SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END
};
/* clang-format on */
