/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * monitor: what the daemon reports, as it happens, until the user ends it or the bus goes. One
 * signal is one line; with --json one object a line with the keys time, signal, object, interface
 * and arguments. The daemon's own coming and going is told too, since whoever follows the signals
 * must then look at everything anew.
 */

#include "verbs.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/strutil.h"
#include "devices.h"
#include "variant-json.h"

typedef struct Monitor {
        bool json;
        int error;
} Monitor;

static Json *read_arguments(sd_bus_message *m) {
        Json *all = json_new_array();

        while (sd_bus_message_at_end(m, true) == 0) {
                Json *one = NULL;

                if (message_read_json(m, &one) < 0)
                        break;
                (void) json_append(all, one); /* shows when it is printed */
        }
        return all;
}

static void print_event_json(const char *signal, const char *object, const char *interface,
                             Json *arguments) {
        _cleanup_json_ Json *j = json_new_object();

        (void) json_set_u64(j, "time_usec",
                            now_realtime()); /* shows when it is printed, as below */
        (void) json_set_string(j, "signal", signal);
        (void) json_set_string(j, "object", object);
        (void) json_set_string(j, "interface", interface);
        (void) json_set(j, "arguments", json_ref(arguments));
        (void) print_json_line(j);
}

/* "State=assigned Owner=vm-7": the changed properties that fit on a line. */
static void print_changes(const Json *properties) {
        void *i = NULL;
        const char *key;
        Json *value;

        while (json_next(properties, &i, &key, &value)) {
                JsonType type = json_type(value);
                _cleanup_free_ char *text = NULL;

                if (type == JSON_OBJECT ||
                    (type == JSON_ARRAY && json_type(json_at(value, 0)) == JSON_ARRAY))
                        continue; /* steps and labels: --json has them */
                text = member_text(properties, key);
                printf(" %s=%s", escaped(key), escaped(text));
        }
}

static void print_argument(const Json *value) {
        _cleanup_free_ char *text = json_to_text((Json *) (uintptr_t) value, false);

        printf(" %s",
               escaped(json_type(value) == JSON_STRING ? json_string(value) : strempty(text)));
}

static void print_event_text(const char *signal, const char *object, const Json *arguments) {
        const char *shown = strncmp(object, BUS_PATH "/", strlen(BUS_PATH) + 1) == 0
                                    ? object + strlen(BUS_PATH) + 1
                                    : object;
        bool changes = streq(signal, "PropertiesChanged");
        time_t now = (time_t) (now_realtime() / USEC_PER_SEC);
        char clock[16] = "";
        struct tm tm;

        if (localtime_r(&now, &tm))
                (void) strftime(clock, sizeof(clock), "%H:%M:%S", &tm); /* "" if it fails */
        printf("%s %s%s%s %s", clock, output_begin(PAINT_BOLD),
               changes ? "Changed" : escaped(signal), output_end(), escaped(shown));
        if (changes)
                print_changes(json_at(arguments, 1));
        else
                for (size_t i = 0; i < json_length(arguments); i++)
                        if (json_type(json_at(arguments, i)) != JSON_OBJECT)
                                print_argument(json_at(arguments, i));
        printf("\n");
        (void) fflush(stdout); /* output_finish() looks at its errors */
}

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        _cleanup_json_ Json *arguments = read_arguments(m);
        const char *signal = sd_bus_message_get_member(m), *path = sd_bus_message_get_path(m);
        Monitor *monitor = userdata;

        if (monitor->json)
                print_event_json(signal, path, sd_bus_message_get_interface(m), arguments);
        else
                print_event_text(signal, path, arguments);
        return 0;
}

static int on_owner_changed(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        _cleanup_json_ Json *none = json_new_array();
        const char *name, *before, *after, *word;
        Monitor *monitor = userdata;

        if (sd_bus_message_read(m, "sss", &name, &before, &after) < 0)
                return 0;
        word = after[0] ? "DaemonStarted" : "DaemonStopped";
        if (monitor->json)
                print_event_json(word, BUS_PATH, BUS_INTERFACE_MANAGER, none);
        else
                print_event_text(word, BUS_PATH, none);
        return 0;
}

static int subscribe(sd_bus *bus, Monitor *monitor) {
        int r;

        r = sd_bus_add_match(bus, NULL,
                             "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_PATH "'",
                             on_signal, monitor);
        if (r >= 0)
                r = sd_bus_add_match(
                        bus, NULL,
                        "type='signal',sender='org.freedesktop.DBus',"
                        "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME
                        "'",
                        on_owner_changed, monitor);
        return r < 0 ? complain_errno(EXIT_UNREACHABLE, -r, "monitor: cannot listen: %m") : 0;
}

int verb_monitor(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_json_ Json *manager = NULL;
        Monitor monitor = { .json = a->json };
        int r = client_connect(a, &bus);

        if (r == 0)
                r = subscribe(bus, &monitor);
        if (r == 0) /* starts the daemon where it can be started, and says where it cannot */
                r = client_get_all(bus, BUS_PATH, BUS_INTERFACE_MANAGER, "monitor", &manager);
        if (r > 0)
                return r;
        if (!a->json && output_is_terminal())
                printf("Listening; Ctrl-C ends.\n");
        for (;;) {
                r = sd_bus_process(bus, NULL);
                if (ferror(stdout))
                        return EXIT_FAILED; /* output_finish() says why */
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r < 0 && r != -EINTR)
                        return complain_errno(EXIT_UNREACHABLE, -r,
                                              "monitor: the connection to the bus was lost: %m");
        }
}
