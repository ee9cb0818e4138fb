/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * jobs, cancel, and an assignment's kept events. Finished jobs stay readable for a while, so a
 * script that gave --no-wait finds its outcome here.
 */

#include "verbs.h"

#include <inttypes.h>

#include "assign-call.h"
#include "base/strutil.h"
#include "devices.h"

static int print_jobs(const Json *jobs) {
        static const Column columns[] = {
                { "JOB", 0, SCOLS_FL_RIGHT },
                { "KIND", 0, 0 },
                { "STATE", 0, 0 },
                { "STEPS", 0, SCOLS_FL_RIGHT },
                { "DEVICES", 0.3, SCOLS_FL_TRUNC },
                { "NOW", 0.4, SCOLS_FL_TRUNC },
        };
        struct libscols_table *t = table_new(columns, ELEMENTSOF(columns));

        for (size_t i = 0; i < json_length(jobs); i++) {
                const Json *j = json_at(jobs, i);
                struct libscols_line *line = table_add(t, NULL);
                _cleanup_free_
                char *number = member_text(j, "job"), *devices = member_text(j, "devices"),
                     *done = strjoinf("%" PRIu64 "/%" PRIu64, member_u64(j, "done"),
                                      member_u64(j, "total"));
                const char *error = member_string(json_get(j, "result"), "message");

                table_set(line, 0, number, PAINT_NONE);
                table_set(line, 1, member_string(j, "kind"), PAINT_NONE);
                table_set(line, 2, member_string(j, "state"),
                          output_paint_of(member_string(j, "state")));
                table_set(line, 3, done, PAINT_NONE);
                table_set(line, 4, devices, PAINT_NONE);
                table_set(line, 5, error[0] ? error : member_string(j, "current"), PAINT_NONE);
        }
        return table_print(t);
}

int verb_jobs(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_json_ Json *jobs = NULL;
        int r = client_connect(a, &bus);

        if (r == 0)
                r = objects_list(bus, BUS_INTERFACE_JOB, job_to_json, "job", &jobs);
        if (r > 0)
                return r;
        return a->json ? print_json(jobs) : print_jobs(jobs);
}

int verb_cancel(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_free_ char *what = describe_words("cancel job", a->words, 1), *path = NULL;
        uint64_t number;
        int r;

        if (parse_u64(a->words[0], 10, UINT64_MAX, &number) < 0)
                return complain(2, "'%s' is not the number of a job; pciassignctl jobs shows them",
                                escaped(a->words[0]));
        r = client_connect(a, &bus);
        if (r > 0)
                return r;
        path = strjoinf("%s/%" PRIu64, BUS_PATH_JOB, number);
        if (!path)
                output_out_of_memory();
        return client_call_strings(bus, METHOD(path, BUS_INTERFACE_JOB, "Cancel"), what, NULL,
                                   NULL);
}

/* ---- events ---- */

static void print_event(const Json *e) {
        _cleanup_free_ char *number = member_text(e, "number");

        printf("%s%s %s%s%s %s %s\n", escaped(number), member_bool(e, "acknowledged") ? "" : "*",
               output_begin(PAINT_BOLD), escaped(member_string(e, "kind")), output_end(),
               escaped(member_string(e, "device")), escaped(member_string(e, "details")));
}

int verb_events(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_json_ Json *events = NULL;
        _cleanup_free_ char *path = NULL, *what = describe_words("events", a->words, 1);
        int r = client_connect(a, &bus);

        if (r == 0)
                r = client_find_assignment(bus, a->words[0], &path);
        if (r == 0)
                r = client_new_call(bus, path, BUS_INTERFACE_ASSIGNMENT, "GetEvents", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "t", UINT64_C(0));
        if (r < 0)
                return client_broken(r, what);
        r = client_call(bus, call, what, &reply);
        if (r == 0)
                r = client_read(reply, what, &events);
        if (r > 0)
                return r;
        if (a->json)
                return print_json(events);
        for (size_t i = 0; i < json_length(events); i++)
                print_event(json_at(events, i));
        return 0;
}

int verb_acknowledge(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL;
        _cleanup_free_ char *path = NULL, *what = describe_words("acknowledge", a->words, 2);
        uint64_t number;
        int r;

        if (parse_u64(a->words[1], 10, UINT64_MAX, &number) < 0)
                return complain(
                        2, "'%s' is not the number of an event; pciassignctl events shows them",
                        escaped(a->words[1]));
        r = client_connect(a, &bus);
        if (r == 0)
                r = client_find_assignment(bus, a->words[0], &path);
        if (r == 0)
                r = client_new_call(bus, path, BUS_INTERFACE_ASSIGNMENT, "Acknowledge", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "t", number);
        return r < 0 ? client_broken(r, what) : client_call(bus, call, what, NULL);
}
