/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * org.pciassign1.Job: a plan on its way, step by step. Result is the document that the error's body
 * carries, because some bindings drop that body.
 */

#include <assert.h>

#include "bus/bus-private.h"

#define GETTER(name) static void name(Sink *s, Bus *b _unused_, const void *object)
#define JOB ((const Job *) object)

GETTER(get_number) {
        sink_u64(s, JOB->id);
}

GETTER(get_kind) {
        sink_string(s, plan_kind_to_string(JOB->kind));
}

GETTER(get_creator) {
        sink_u32(s, JOB->creator_uid);
}

GETTER(get_assignment) {
        if (isempty(JOB->assignment))
                sink_object(s, bus_path_running_job(NULL));
        else
                sink_object(s, bus_path_assignment(JOB->assignment));
}

GETTER(get_devices) {
        sink_open(s, 'a', "s");
        for (size_t n = 0; JOB->plan && n < JOB->plan->n_devices; n++)
                sink_string(s, PCI_ADDRESS_TEXT(JOB->plan->devices[n].address));
        sink_close(s);
}

GETTER(get_state) {
        sink_string(s, job_state_to_string(JOB->state));
}

static size_t step_count(const Job *j) {
        return j->plan ? j->plan->n_steps : 0;
}

GETTER(get_steps) {
        sink_open(s, 'a', "(ss)");
        for (size_t n = 0; n < step_count(JOB); n++) {
                _cleanup_free_ char *text = step_describe(&JOB->plan->steps[n]);
                sink_open(s, 'r', "ss");
                sink_string(s, text);
                sink_string(s, step_state_to_string(JOB->step_states[n]));
                sink_close(s);
        }
        sink_close(s);
}

GETTER(get_done) {
        uint32_t done = 0;
        for (size_t n = 0; n < step_count(JOB); n++)
                done += JOB->step_states[n] == STEP_DONE;
        sink_u32(s, done);
}

GETTER(get_total) {
        sink_u32(s, (uint32_t) step_count(JOB));
}

GETTER(get_current) {
        _cleanup_free_ char *text = NULL;
        if (!JOB->finished && JOB->current < step_count(JOB))
                text = step_describe(&JOB->plan->steps[JOB->current]);
        sink_string(s, text);
}

static char *result_text(const Job *j) {
        _cleanup_json_ Json *o = json_new_object();
        Json *details = NULL;

        (void) json_set_string(o, "error",
                               j->result.code == ERROR_NONE ? NULL
                                                            : error_code_to_string(j->result.code));
        (void) json_set_string(o, "message", j->result.message);
        if (j->result.details && json_parse(j->result.details, strlen(j->result.details),
                                            JSON_LIMITS_DEFAULT, &details, NULL, NULL) >= 0)
                (void) json_set(o, "details", details);
        return json_to_text(o, false); /* NULL if any of it failed */
}

GETTER(get_result) {
        _cleanup_free_ char *text = JOB->finished ? result_text(JOB) : NULL;
        sink_string(s, text);
}

static const Property properties[] = {
        { "Number", "t", get_number },
        { "Kind", "s", get_kind },
        { "CreatorUid", "u", get_creator },
        { "Assignment", "o", get_assignment, true },
        { "Devices", "as", get_devices, true },
        { "State", "s", get_state, true },
        { "Steps", "a(ss)", get_steps, true },
        { "Done", "u", get_done, true },
        { "Total", "u", get_total, true },
        { "Current", "s", get_current, true },
        { "Result", "s", get_result, true },
};

int job_cancel(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Caller c;
        void *j;

        int r = call_find(q, OBJECT_JOB, err, &j);
        if (r < 0)
                return r;
        call_caller(q, &c);
        r = engine_cancel_job(q->bus->engine, &c, ((Job *) j)->id, err);
        if (r < 0)
                return r;
        r = call_new_reply(q, &reply);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

/* clang-format off */
#define CONST(name, signature) \
        SD_BUS_PROPERTY(name, signature, bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_CONST)
#define CHANGES(name, signature) \
        SD_BUS_PROPERTY(name, signature, bus_property_get, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        CONST("Number", "t"),
        CONST("Kind", "s"),
        CONST("CreatorUid", "u"),
        CHANGES("Assignment", "o"),
        CHANGES("Devices", "as"),
        CHANGES("State", "s"),
        CHANGES("Steps", "a(ss)"),
        CHANGES("Done", "u"),
        CHANGES("Total", "u"),
        CHANGES("Current", "s"),
        CHANGES("Result", "s"),
        SD_BUS_METHOD_WITH_ARGS("Cancel", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT,
                bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END
};
/* clang-format on */

const ObjectClass job_class = {
        .interface = BUS_INTERFACE_JOB,
        .prefix = BUS_PATH_JOB,
        .properties = properties,
        .n_properties = ELEMENTSOF(properties),
        .vtable = vtable,
};
