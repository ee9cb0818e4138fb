/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * show: one device with its facts by topic, or one assignment. A value is itself, "n/a", "not read
 * yet" or "unreadable", as the daemon says it.
 */

#include "verbs.h"

#include "base/strutil.h"
#include "devices.h"
#include "pci/address.h"

#define NESTED_MAX 8U

static void print_value(const char *key, const Json *value, unsigned depth);

static void print_scalar(const char *key, const char *text, unsigned depth) {
        bool known =
                !streq(text, "not read yet") && !streq(text, "n/a") && !streq(text, "unreadable");
        const char *paint = output_begin(known ? PAINT_NONE : PAINT_DIM);

        printf("%*s%s: %s%s%s\n", (int) (2 * depth), "", escaped(key), paint, escaped(text),
               paint[0] ? output_end() : "");
}

static bool is_flat(const Json *array) {
        for (size_t i = 0; i < json_length(array); i++) {
                JsonType type = json_type(json_at(array, i));

                if (type == JSON_ARRAY || type == JSON_OBJECT)
                        return false;
        }
        return true;
}

static void print_array(const char *key, const Json *array, unsigned depth) {
        printf("%*s%s:\n", (int) (2 * depth), "", escaped(key));
        for (size_t i = 0; i < json_length(array); i++) {
                char number[24];

                (void) snprintf(number, sizeof(number), "- %zu", i);
                print_value(number, json_at(array, i), depth + 1);
        }
}

static void print_object(const Json *object, unsigned depth) {
        void *iterator = NULL;
        const char *key;
        Json *value;

        while (json_next(object, &iterator, &key, &value))
                print_value(key, value, depth);
}

static void print_value(const char *key, const Json *value, unsigned depth) {
        JsonType type = json_type(value);

        if (type == JSON_OBJECT && depth < NESTED_MAX) {
                printf("%*s%s:\n", (int) (2 * depth), "", escaped(key));
                print_object(value, depth + 1);
        } else if (type == JSON_ARRAY && !is_flat(value) && depth < NESTED_MAX)
                print_array(key, value, depth);
        else {
                _cleanup_free_ char *text = value_text(value);

                print_scalar(key, text[0] ? text : "-", depth);
        }
}

static void print_device(const Json *d) {
        Json *facts = json_get(d, "facts");
        void *iterator = NULL;
        const char *key;
        Json *value;

        printf("%s%s%s  %s %s\n", output_begin(PAINT_BOLD), escaped(member_string(d, "address")),
               output_end(), escaped(member_string(d, "vendor_name")),
               escaped(member_string(d, "device_name")));
        while (json_next(d, &iterator, &key, &value))
                if (value != facts)
                        print_value(key, value, 1);
        iterator = NULL;
        while (json_next(facts, &iterator, &key, &value)) {
                printf("  %s%s%s\n", output_begin(PAINT_BOLD), escaped(key), output_end());
                print_object(value, 2);
        }
}

/* What the daemon is asked for; none means all. People get what says who has it and why, programs
 * everything. */
static char **topics_of(const Arguments *a) {
        static char *usual[] = { (char *) "identity", (char *) "use", (char *) "iommu", NULL };

        if (a->topics && strv_contains(a->topics, "all"))
                return NULL;
        return a->topics || a->json ? a->topics : usual;
}

static int send_get_facts(sd_bus *bus, const Arguments *a, const char *path, const char *what,
                          PendingCall *p) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r = client_new_call(bus, path, BUS_INTERFACE_DEVICE, "GetFacts", &call);

        if (r > 0)
                return r;
        r = sd_bus_message_append_strv(call, topics_of(a));
        if (r >= 0)
                r = a->refresh ? sd_bus_message_append(call, "a{sv}", 1, "refresh", "b", 1) :
                                 sd_bus_message_append(call, "a{sv}", 0);
        return r < 0 ? client_broken(r, what) : client_send(bus, call, what, p);
}

/* Both questions are asked before either is answered. */
static int ask(sd_bus *bus, const Arguments *a, const char *path, const char *what,
               Json *ret[static 2]) {
        _cleanup_pending_ PendingCall properties = {}, facts = {};
        PendingCall *const calls[] = { &properties, &facts };
        int r = client_send_get_all(bus, path, BUS_INTERFACE_DEVICE, what, &properties);

        if (r == 0)
                r = send_get_facts(bus, a, path, what, &facts);
        for (size_t i = 0; i < ELEMENTSOF(calls) && r == 0; i++) {
                _cleanup_message_ sd_bus_message *reply = NULL;

                r = client_wait(bus, what, calls[i], &reply);
                if (r == 0)
                        r = client_read(reply, what, ret + i);
        }
        return r;
}

/* A full address needs no look-up: its path is known. */
static int device_path(sd_bus *bus, const char *name, char **ret) {
        PciAddress a;

        if (pci_address_parse_short(name, &a) < 0)
                return client_find_device(bus, name, ret);
        return sd_bus_path_encode(BUS_PATH_DEVICE, PCI_ADDRESS_TEXT(a), ret) < 0
                       ? client_broken(-ENOMEM, name)
                       : 0;
}

static int show_device(sd_bus *bus, const Arguments *a, Names *names, const char *name,
                       Json **ret) {
        _cleanup_free_ char *path = NULL, *what = strjoinf("show %s", escaped(name));
        Json *answers[2] = {};
        int r;

        if (!what)
                output_out_of_memory();
        r = device_path(bus, name, &path);
        if (r == 0)
                r = ask(bus, a, path, what, answers);
        if (r == 0) {
                *ret = device_to_json(answers[0], names);
                (void) json_set(*ret, "facts", TAKE_PTR(answers[1])); /* shows when it is printed */
        }
        json_free(answers[0]);
        json_free(answers[1]);
        return r;
}

static int show_assignment(sd_bus *bus, const char *id, Json **ret) {
        _cleanup_free_ char *path = NULL;
        _cleanup_json_ Json *properties = NULL;
        int r = client_find_assignment(bus, id, &path);

        if (r == 0)
                r = client_get_all(bus, path, BUS_INTERFACE_ASSIGNMENT, "show", &properties);
        if (r > 0)
                return r;
        *ret = assignment_to_json(properties);
        return 0;
}

static int show_one(sd_bus *bus, const Arguments *a, Names *names, const char *name, Json **ret) {
        bool assignment = strlen(name) == 32 && strspn(name, "0123456789abcdef") == 32;

        return assignment ? show_assignment(bus, name, ret) : show_device(bus, a, names, name, ret);
}

static void print_one(const Json *j) {
        if (json_get(j, "address")) {
                print_device(j);
                return;
        }
        printf("%s%s%s\n", output_begin(PAINT_BOLD), escaped(member_string(j, "assignment")),
               output_end());
        print_object(j, 1);
}

int verb_show(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_(names_closep) Names *names = NULL;
        _cleanup_json_ Json *all = json_new_array();
        int r = client_connect(a, &bus);

        if (r > 0)
                return r;
        if (names_open(&names) < 0)
                output_out_of_memory();
        for (size_t i = 0; i < a->n_words; i++) {
                _cleanup_json_ Json *one = NULL;

                r = show_one(bus, a, names, a->words[i], &one);
                if (r > 0)
                        return r;
                if (a->json)
                        (void) json_append(all, TAKE_PTR(one)); /* shows when it is printed */
                else
                        print_one(one);
        }
        if (!a->json)
                return 0;
        return print_json(a->n_words == 1 ? json_at(all, 0) : all);
}
