/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.pciassign1.Manager: what concerns the whole host, and the way from names to objects. Each
 * handler reads its arguments, hands them to the engine and shapes the answer.
 */

#include <assert.h>

#include "bus/bus-private.h"

#define GETTER(name) static void name(Sink *s, Bus *b, const void *object _unused_)

GETTER(get_version) {
        sink_string(s, b->options.version);
}

GETTER(get_simulated) {
        sink_bool(s, b->options.simulated);
}

GETTER(get_settled) {
        sink_bool(s, engine_is_settled(b->engine));
}

GETTER(get_policy_generation) {
        sink_u64(s, engine_policy_generation(b->engine));
}

static void sink_count(Sink *s, const char *name, size_t n) {
        sink_open(s, 'e', "su");
        sink_string(s, name);
        sink_u32(s, (uint32_t) n);
        sink_close(s);
}

GETTER(get_counts) {
        const Inventory *i = engine_inventory(b->engine);
        sink_open(s, 'a', "{su}");
        sink_count(s, "devices", i->n_devices);
        sink_count(s, "groups", hashmap_size(i->groups));
        sink_count(s, "assignments", hashmap_size(i->assignments));
        sink_count(s, "jobs", hashmap_size(i->jobs));
        sink_close(s);
}

static const Property properties[] = {
        { "Version", "s", get_version },
        { "Simulated", "b", get_simulated },
        { "Settled", "b", get_settled, true },
        { "PolicyGeneration", "t", get_policy_generation, true },
        { "Counts", "a{su}", get_counts },
};

/* ---- Assign and Plan ---- */

static const char *const lifetimes[] = {
        [LIFETIME_CONNECTION] = "connection",
        [LIFETIME_PROCESS] = "process",
        [LIFETIME_PERSISTENT] = "persistent",
};

static const char *const consents[] = {
        [GROUP_ONLY_REQUESTED] = "only-requested",
        [GROUP_TAKE_ALL] = "take-all",
};

typedef struct AssignArguments {
        char **devices;
        const char *owner;
        int lifetime, group, pidfd;
        const char *request_id, *reason, *token, *driver;
        char **labels;
        bool force, by_node, no_wait;
        uint32_t uid, gid;
        uint64_t memlock, attach_within;
        Want *wants; /* instead of devices */
        size_t n_wants;
        bool same_numa_node, same_switch, clean_groups;
} AssignArguments;

static void assign_arguments_done(AssignArguments *a) {
        strv_free(a->devices);
        strv_free(a->labels);
        free(a->wants);
}

#define FIELD(member) offsetof(AssignArguments, member)
#define UID_TEXT "a user or group number below 4294967295 (u)"
/* clang-format off */
#define ASSIGN_ROWS \
        { "lifetime", OPTION_CHOICE, FIELD(lifetime), .choices = lifetimes, .n_choices = ELEMENTSOF(lifetimes), \
          .expect = "\"connection\", \"process\" or \"persistent\" (s)" }, \
        { "group", OPTION_CHOICE, FIELD(group), .choices = consents, .n_choices = ELEMENTSOF(consents), \
          .expect = "\"only-requested\" or \"take-all\" (s)" }, \
        { "request-id", OPTION_STRING, FIELD(request_id), REQUEST_ID_MAX, .expect = "1 to 128 bytes of text (s)" }, \
        { "labels", OPTION_LABELS, FIELD(labels), .expect = LABELS_TEXT }, \
        { "force", OPTION_BOOL, FIELD(force), .expect = "a boolean (b)" }, \
        { "reason", OPTION_STRING, FIELD(reason), 256, .expect = "1 to 256 bytes of text (s)" }, \
        { "uid", OPTION_U32, FIELD(uid), UINT32_MAX - 1, .expect = UID_TEXT }, \
        { "gid", OPTION_U32, FIELD(gid), UINT32_MAX - 1, .expect = UID_TEXT }, \
        { "by-node", OPTION_BOOL, FIELD(by_node), .expect = "a boolean (b)" }, \
        { "pidfd", OPTION_FD, FIELD(pidfd), .expect = "the pidfd of a process (h)" }, \
        { "memlock", OPTION_U64, FIELD(memlock), .expect = "a number of bytes (t)" }, \
        { "attach-within", OPTION_U64, FIELD(attach_within), 86400 * USEC_PER_SEC, \
          .expect = "microseconds, a day at most (t)" }, \
        { "token", OPTION_STRING, FIELD(token), 255, .expect = "the token of a plan (s)" }, \
        { "driver", OPTION_STRING, FIELD(driver), 32, .expect = "the name of a VFIO driver (s)" }, \
        { "no-wait", OPTION_BOOL, FIELD(no_wait), .expect = "a boolean (b)" },

static const OptionRow assign_rows[] = { ASSIGN_ROWS };

/* The same for devices by what they are. */
static const OptionRow match_rows[] = {
        ASSIGN_ROWS
        { "same-numa-node", OPTION_BOOL, FIELD(same_numa_node), .expect = "a boolean (b)" },
        { "same-switch", OPTION_BOOL, FIELD(same_switch), .expect = "a boolean (b)" },
        { "clean-groups", OPTION_BOOL, FIELD(clean_groups), .expect = "a boolean (b)" },
};
/* clang-format on */

/* matching: wants stand where the devices do otherwise. */
static int assign_arguments_read(Call *q, bool matching, AssignArguments *a, Error *err) {
        *a = (AssignArguments) {
                .lifetime = _LIFETIME_INVALID,
                .uid = UID_UNSET,
                .gid = GID_UNSET,
                .pidfd = -EBADF,
        };
        int r = matching ? match_read_wants(q->message, err, &a->wants, &a->n_wants)
                         : options_read_names(q->message, "devices", PLAN_DEVICES_MAX, err,
                                              &a->devices);
        if (r < 0)
                return r;
        r = options_read_string(q->message, "owner", OWNER_MAX - 1, err, &a->owner);
        if (r < 0)
                return r;
        r = matching ? options_read(q->message, match_rows, ELEMENTSOF(match_rows), a, err)
                     : options_read(q->message, assign_rows, ELEMENTSOF(assign_rows), a, err);
        if (r < 0)
                return r;
        if (!matching && !a->devices[0])
                return error_set(err, ERROR_INVALID, "No device is named; name one at least");
        if (a->force != !!a->reason)
                return error_set(err, ERROR_INVALID,
                                 "Options \"force\" and \"reason\" go together; say why");
        return 0;
}

/* What some options need beyond the method's own action: to override, and to name another user than
 * oneself. */
static int require_for_arguments(Call *q, const AssignArguments *a, Error *err) {
        if (a->force) {
                int r = call_require(q, ACTION_FORCE, err);
                if (r <= 0)
                        return r;
        }
        if ((a->uid != UID_UNSET && a->uid != q->uid) || a->gid != GID_UNSET)
                return call_require(q, ACTION_MANAGE_OTHERS, err);
        return 1;
}

static AssignOptions assign_options(const AssignArguments *a) {
        return (AssignOptions) {
                .lifetime = a->lifetime,
                .request_id = a->request_id,
                .labels = a->labels,
                .group = (GroupConsent) a->group,
                .force = a->force,
                .force_reason = a->reason,
                .uid = a->uid,
                .gid = a->gid,
                .by_node = a->by_node,
                .pidfd = a->pidfd,
                .memlock = a->memlock,
                .attach_within = a->attach_within,
                .token = a->token,
                .driver = a->driver,
                .no_wait = a->no_wait,
        };
}

static void assign_answered(const EngineAnswer *answer, const Error *error, void *userdata) {
        Call *q = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (error) {
                call_fail(q, error);
                return;
        }
        assert(answer->assignment);
        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "oo",
                                          bus_path_assignment(answer->assignment->id).text,
                                          bus_path_running_job(answer->job).text);
        if (answer->assignment->lifetime == LIFETIME_CONNECTION)
                call_finish_if_present(q, TAKE_PTR(reply), r);
        else
                call_finish(q, TAKE_PTR(reply), r);
}

int manager_assign(Call *q, Error *err) {
        _cleanup_(assign_arguments_done) AssignArguments a = {};
        Caller c;

        int r = assign_arguments_read(q, false, &a, err);
        if (r < 0)
                return r;
        r = require_for_arguments(q, &a, err);
        if (r <= 0)
                return r;
        AssignOptions o = assign_options(&a);
        call_caller(q, &c);
        return engine_assign(q->bus->engine, &c, a.devices, a.owner, &o, assign_answered, q, err);
}

static void plan_answered(const EngineAnswer *answer, const Error *error, void *userdata) {
        Call *q = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (error) {
                call_fail(q, error);
                return;
        }
        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "ss", answer->json, strempty(answer->token));
        call_finish(q, TAKE_PTR(reply), r);
}

int manager_plan(Call *q, Error *err) {
        _cleanup_(assign_arguments_done) AssignArguments a = {};
        Caller c;

        int r = assign_arguments_read(q, false, &a, err);
        if (r < 0)
                return r;
        r = require_for_arguments(q, &a, err);
        if (r <= 0)
                return r;
        AssignOptions o = assign_options(&a);
        call_caller(q, &c);
        return engine_plan(q->bus->engine, &c, a.devices, a.owner, &o, plan_answered, q, err);
}

static MatchOptions match_options(const AssignArguments *a) {
        return (MatchOptions) {
                .wants = a->wants,
                .n_wants = a->n_wants,
                .same_numa_node = a->same_numa_node,
                .same_switch = a->same_switch,
                .clean_groups = a->clean_groups,
        };
}

int manager_assign_matching(Call *q, Error *err) {
        _cleanup_(assign_arguments_done) AssignArguments a = {};
        Caller c;

        int r = assign_arguments_read(q, true, &a, err);
        if (r < 0)
                return r;
        r = require_for_arguments(q, &a, err);
        if (r <= 0)
                return r;
        AssignOptions o = assign_options(&a);
        MatchOptions m = match_options(&a);
        call_caller(q, &c);
        return engine_assign_matching(q->bus->engine, &c, &m, a.owner, &o, assign_answered, q, err);
}

int manager_plan_matching(Call *q, Error *err) {
        _cleanup_(assign_arguments_done) AssignArguments a = {};
        Caller c;

        int r = assign_arguments_read(q, true, &a, err);
        if (r < 0)
                return r;
        r = require_for_arguments(q, &a, err);
        if (r <= 0)
                return r;
        AssignOptions o = assign_options(&a);
        MatchOptions m = match_options(&a);
        call_caller(q, &c);
        return engine_plan_matching(q->bus->engine, &c, &m, a.owner, &o, plan_answered, q, err);
}

/* ---- the other methods ---- */

int manager_explain(Call *q, Error *err) {
        const char *device, *owner;
        Caller c;

        int r = options_read_string(q->message, "device", DEVICE_NAME_SIZE_MAX, err, &device);
        if (r < 0)
                return r;
        r = options_read_string(q->message, "owner", OWNER_MAX - 1, err, &owner);
        if (r < 0)
                return r;
        call_caller(q, &c);
        return engine_explain(q->bus->engine, &c, device, owner, call_engine_json, q, err);
}

static int reply_path(Call *q, BusPath path, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 'o', path.text);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

int manager_get_device(Call *q, Error *err) {
        const char *name;
        Device *d;

        int r = options_read_string(q->message, "device", DEVICE_NAME_SIZE_MAX, err, &name);
        if (r < 0)
                return r;
        r = inventory_resolve(engine_inventory(q->bus->engine), name, err, &d);
        if (r < 0)
                return r;
        return reply_path(q, bus_path_device(d->facts.address), err);
}

int manager_get_assignment(Call *q, Error *err) {
        const char *id;

        int r = options_read_string(q->message, "assignment", ASSIGNMENT_ID_MAX - 1, err, &id);
        if (r < 0)
                return r;
        const Assignment *a = inventory_assignment(engine_inventory(q->bus->engine), id);
        if (!a)
                return error_set(err, ERROR_NOT_FOUND,
                                 "There is no assignment %s; ListAssignments has all", id);
        return reply_path(q, bus_path_assignment(a->id), err);
}

int manager_rescan(Call *q, Error *err) {
        Caller c;

        int r = options_read_none(q->message, err);
        if (r < 0)
                return r;
        call_caller(q, &c);
        return engine_rescan(q->bus->engine, &c, call_engine_job, q, err);
}

static void snapshot_answered(const EngineAnswer *answer, const Error *error, void *userdata) {
        Call *q = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (error) {
                call_fail(q, error);
                return;
        }
        assert(answer->n_fds > 0);
        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 'h', &answer->fds[0].fd);
        call_finish(q, TAKE_PTR(reply), r);
}

int manager_snapshot(Call *q, Error *err) {
        struct { bool redact; } options = {};
        static const OptionRow rows[] = {
                { "redact", OPTION_BOOL, 0, .expect = "a boolean (b)" },
        };
        Caller c;

        int r = options_read(q->message, rows, ELEMENTSOF(rows), &options, err);
        if (r < 0)
                return r;
        call_caller(q, &c);
        return engine_snapshot(q->bus->engine, &c, options.redact, snapshot_answered, q, err);
}

int manager_doctor(Call *q, Error *err) {
        Caller c;

        call_caller(q, &c);
        return engine_doctor(q->bus->engine, &c, call_engine_json, q, err);
}

/* clang-format off */
static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Simulated", "b", bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Settled", "b", bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("PolicyGeneration", "t", bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Counts", "a{su}", bus_property_get, 0, 0),
        SD_BUS_METHOD_WITH_ARGS("Assign",
                SD_BUS_ARGS("as", devices, "s", owner, "a{sv}", options),
                SD_BUS_RESULT("o", assignment, "o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Plan",
                SD_BUS_ARGS("as", devices, "s", owner, "a{sv}", options),
                SD_BUS_RESULT("s", json, "s", token),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AssignMatching",
                SD_BUS_ARGS("a(a{sv}u)", wants, "s", owner, "a{sv}", options),
                SD_BUS_RESULT("o", assignment, "o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("PlanMatching",
                SD_BUS_ARGS("a(a{sv}u)", wants, "s", owner, "a{sv}", options),
                SD_BUS_RESULT("s", json, "s", token),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Explain",
                SD_BUS_ARGS("s", device, "s", owner), SD_BUS_RESULT("s", json),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListDevices",
                SD_BUS_ARGS("a{sv}", filter), SD_BUS_RESULT("aa{sv}", devices, "s", next),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ListAssignments",
                SD_BUS_ARGS("a{sv}", filter), SD_BUS_RESULT("aa{sv}", assignments, "s", next),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetDevice",
                SD_BUS_ARGS("s", name), SD_BUS_RESULT("o", device),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetAssignment",
                SD_BUS_ARGS("s", id), SD_BUS_RESULT("o", assignment),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Rescan",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Snapshot",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("h", snapshot),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Doctor",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("CheckPolicy",
                SD_BUS_ARGS("s", text), SD_BUS_RESULT("s", json),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ReloadPolicy",
                SD_BUS_ARGS("a{sv}", options), SD_BUS_RESULT("o", job),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("GetPolicy",
                SD_BUS_NO_ARGS, SD_BUS_RESULT("s", json),
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("JobNew", SD_BUS_ARGS("o", job), 0),
        SD_BUS_SIGNAL_WITH_ARGS("JobRemoved", SD_BUS_ARGS("o", job, "s", result), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Drift", SD_BUS_ARGS("o", device, "a{sv}", details), 0),
        SD_BUS_VTABLE_END
};
/* clang-format on */

const ObjectClass manager_class = {
        .interface = BUS_INTERFACE_MANAGER,
        .properties = properties,
        .n_properties = ELEMENTSOF(properties),
        .vtable = vtable,
};
