/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The tables of the bus layer against each other: gate, vtables and properties; object paths
 * against sd-bus' own encoding; options read from messages.
 */

#include <sys/socket.h>

#include "bus/bus-private.h"

#include "unit.h"

/* ---- the gate ---- */

START_TEST(every_row_is_whole_and_named_once) {
        const GateRow *row = &gate_table[_i];

        ck_assert_uint_lt((size_t) _i, gate_table_size);
        ck_assert_ptr_nonnull(row->handler);
        ck_assert_ptr_nonnull(row->details);
        ck_assert_ptr_eq(gate_find(row->interface, row->member), row);
        /* Who needs an action is looked up, so such a row cannot be public. */
        if (row->action != ACTION_NONE)
                ck_assert_uint_eq(row->flags & GATE_PUBLIC, 0);
        if (row->flags & GATE_OWNER)
                ck_assert_int_eq(row->action, ACTION_MANAGE_OTHERS);
}
END_TEST

START_TEST(unknown_methods_have_no_row) {
        ck_assert_ptr_null(gate_find(BUS_INTERFACE_MANAGER, "Nothing"));
        ck_assert_ptr_null(gate_find("org.example", "Assign"));
        ck_assert_ptr_null(gate_find(BUS_INTERFACE_DEVICE, "Assign"));
}
END_TEST

static int other_handler(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return 0;
}

/* clang-format off */
static const sd_bus_vtable unlisted[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Open", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, bus_gate_method, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END
};
static const sd_bus_vtable bypass[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Assign", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, other_handler, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END
};
/* clang-format on */

START_TEST(vtables_that_go_round_the_gate_are_refused) {
        ck_assert_int_eq(gate_check_vtable(BUS_INTERFACE_MANAGER, unlisted), -EINVAL);
        ck_assert_int_eq(gate_check_vtable(BUS_INTERFACE_MANAGER, bypass), -EINVAL);
        for (ObjectKind k = 0; k < _OBJECT_KIND_MAX; k++)
                ck_assert_int_eq(
                        gate_check_vtable(object_class(k)->interface, object_class(k)->vtable), 0);
}
END_TEST

START_TEST(vtables_have_the_properties_of_their_class) {
        const ObjectClass *c = object_class((ObjectKind) _i);
        size_t n = 0;

        ck_assert_uint_le(c->n_properties, PROPERTIES_MAX);
        for (const sd_bus_vtable *v = c->vtable; v->type != _SD_BUS_VTABLE_END; v++) {
                ck_assert_int_ne(v->type, _SD_BUS_VTABLE_WRITABLE_PROPERTY);
                if (v->type != _SD_BUS_VTABLE_PROPERTY)
                        continue;
                ck_assert_uint_lt(n, c->n_properties);
                ck_assert_str_eq(v->x.property.member, c->properties[n].name);
                ck_assert_str_eq(v->x.property.signature, c->properties[n].signature);
                ck_assert_int_eq((v->flags & SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE) != 0,
                                 c->properties[n].changes);
                n++;
        }
        ck_assert_uint_eq(n, c->n_properties);
}
END_TEST

/* ---- paths ---- */

static const char *const addresses[] = { "0000:00:00.0", "0000:41:1f.7", "10000:e1:00.0",
                                         "ffffffff:ff:1f.7", "abcd:ef:0a.3" };

START_TEST(device_paths_are_those_of_sd_bus) {
        _cleanup_free_ char *encoded = NULL;
        PciAddress a;

        ck_assert_int_eq(pci_address_parse(addresses[_i], &a), 0);
        ck_assert_int_ge(sd_bus_path_encode(BUS_PATH_DEVICE, addresses[_i], &encoded), 0);
        ck_assert_str_eq(bus_path_device(a).text, encoded);
}
END_TEST

START_TEST(long_ids_are_cut_not_overrun) {
        BusPath p = bus_path_assignment("0123456789abcdef0123456789abcdefXXXX");
        ck_assert_str_eq(p.text, BUS_PATH_ASSIGNMENT "/0123456789abcdef0123456789abcdef");
        ck_assert_str_eq(bus_path_job(UINT64_MAX).text, BUS_PATH_JOB "/18446744073709551615");
        ck_assert_str_eq(bus_path_running_job(NULL).text, "/");
}
END_TEST

/* ---- sinks ---- */

static uint64_t hash_of(const char *a, const char *b) {
        Sink s = SINK_HASH;
        sink_string(&s, a);
        sink_string(&s, b);
        ck_assert_int_eq(s.error, 0);
        return s.hash;
}

START_TEST(hashes_tell_values_apart) {
        ck_assert_uint_eq(hash_of("a", "b"), hash_of("a", "b"));
        ck_assert_uint_ne(hash_of("ab", ""), hash_of("a", "b"));
        ck_assert_uint_ne(hash_of("", "ab"), hash_of("ab", ""));
        ck_assert_uint_eq(hash_of(NULL, "x"), hash_of("", "x"));
}
END_TEST

/* ---- options ---- */

typedef struct Target {
        const char *text;
        int choice;
        bool truth;
        int third;
        uint32_t u;
        int32_t i;
        uint64_t t;
        char **labels;
} Target;

static const char *const choices[] = { "zero", NULL, "two" };
/* clang-format off */
static const OptionRow rows[] = {
        { "text", OPTION_STRING, offsetof(Target, text), 4, .expect = "text" },
        { "choice", OPTION_CHOICE, offsetof(Target, choice), .choices = choices, .n_choices = 3, .expect = "a choice" },
        { "truth", OPTION_BOOL, offsetof(Target, truth), .expect = "a truth" },
        { "third", OPTION_TRISTATE, offsetof(Target, third), .expect = "a truth" },
        { "u", OPTION_U32, offsetof(Target, u), 10, .expect = "at most ten" },
        { "i", OPTION_I32, offsetof(Target, i), 10, .expect = "at most ten" },
        { "t", OPTION_U64, offsetof(Target, t), 10, .expect = "at most ten" },
        { "labels", OPTION_LABELS, offsetof(Target, labels), .expect = "labels" },
};
/* clang-format on */

/* A sealed message with a{sv} of one option. */
static sd_bus_message *message(sd_bus **ret_bus, const char *key, const char *signature,
                               uint64_t number, const char *text) {
        sd_bus_message *m;
        int fds[2];

        ck_assert_int_ge(sd_bus_new(ret_bus), 0);
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        /* The other end stays open, and silent, until the process of this test ends. */
        ck_assert_int_ge(sd_bus_set_fd(*ret_bus, fds[0], fds[0]), 0);
        ck_assert_int_ge(sd_bus_start(*ret_bus), 0);
        ck_assert_int_ge(sd_bus_message_new_method_call(*ret_bus, &m, BUS_NAME, "/", BUS_NAME, "X"),
                         0);
        ck_assert_int_ge(sd_bus_message_open_container(m, 'a', "{sv}"), 0);
        if (streq(signature, "s"))
                ck_assert_int_ge(sd_bus_message_append(m, "{sv}", key, "s", text), 0);
        else if (streq(signature, "a{ss}"))
                ck_assert_int_ge(sd_bus_message_append(m, "{sv}", key, "a{ss}", 1, text, "v"), 0);
        else if (streq(signature, "t"))
                ck_assert_int_ge(sd_bus_message_append(m, "{sv}", key, "t", number), 0);
        else
                ck_assert_int_ge(
                        sd_bus_message_append(m, "{sv}", key, signature, (uint32_t) number), 0);
        ck_assert_int_ge(sd_bus_message_close_container(m), 0);
        ck_assert_int_ge(sd_bus_message_seal(m, 1, 0), 0);
        ck_assert_int_ge(sd_bus_message_rewind(m, true), 0);
        return m;
}

static const struct {
        const char *key, *signature;
        uint64_t number;
        const char *text;
        bool good;
} options[] = {
        { "text", "s", 0, "abcd", true },       { "text", "s", 0, "abcde", false },
        { "text", "s", 0, "", false },          { "text", "s", 0, "a\tb", false },
        { "text", "u", 1, NULL, false },        { "choice", "s", 0, "two", true },
        { "choice", "s", 0, "zero", true },     { "choice", "s", 0, "one", false },
        { "truth", "b", 1, NULL, true },        { "truth", "u", 1, NULL, false },
        { "third", "b", 0, NULL, true },        { "u", "u", 10, NULL, true },
        { "u", "u", 11, NULL, false },          { "u", "i", 1, NULL, false },
        { "i", "i", 10, NULL, true },           { "i", "i", 11, NULL, false },
        { "i", "i", UINT32_MAX, NULL, true },   { "i", "i", UINT32_MAX - 1, NULL, false },
        { "t", "t", 10, NULL, true },           { "t", "t", UINT64_MAX, NULL, false },
        { "labels", "a{ss}", 0, "key", true },  { "labels", "a{ss}", 0, "k=y", false },
        { "labels", "a{ss}", 0, "", false },    { "labels", "s", 0, "key", false },
        { "nothing", "b", 1, NULL, false },     { "", "b", 1, NULL, false },
};

START_TEST(options_are_taken_or_refused) {
        _cleanup_error_ Error err = ERROR_INIT;
        Target target = { .third = -1 };
        sd_bus *bus = NULL;
        sd_bus_message *m = message(&bus, options[_i].key, options[_i].signature,
                                    options[_i].number, options[_i].text);

        int r = options_read(m, rows, ELEMENTSOF(rows), &target, &err);
        if (options[_i].good)
                ck_assert_msg(r >= 0, "%s: %s", options[_i].key, err.message);
        else {
                ck_assert_int_eq(err.code, ERROR_INVALID);
                ck_assert_ptr_nonnull(strstr(err.message, options[_i].key));
        }
        strv_free(target.labels);
        sd_bus_message_unref(m);
        sd_bus_unref(bus);
}
END_TEST

START_TEST(values_arrive) {
        _cleanup_error_ Error err = ERROR_INIT;
        Target target = { .third = -1 };
        sd_bus *bus = NULL;
        sd_bus_message *m = message(&bus, "labels", "a{ss}", 0, "key");

        ck_assert_int_ge(options_read(m, rows, ELEMENTSOF(rows), &target, &err), 0);
        ck_assert_uint_eq(strv_length(target.labels), 1);
        ck_assert_str_eq(target.labels[0], "key=v");
        ck_assert_int_eq(target.third, -1);
        strv_free(target.labels);
        sd_bus_message_unref(m);
        sd_bus_unref(bus);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_loop_test(tcase, every_row_is_whole_and_named_once, 0, (int) gate_table_size);
        tcase_add_test(tcase, unknown_methods_have_no_row);
        tcase_add_test(tcase, vtables_that_go_round_the_gate_are_refused);
        tcase_add_loop_test(tcase, vtables_have_the_properties_of_their_class, 0, _OBJECT_KIND_MAX);
        ADD_TABLE(tcase, device_paths_are_those_of_sd_bus, addresses);
        tcase_add_test(tcase, long_ids_are_cut_not_overrun);
        tcase_add_test(tcase, hashes_tell_values_apart);
        ADD_TABLE(tcase, options_are_taken_or_refused, options);
        tcase_add_test(tcase, values_arrive);
}

UNIT_MAIN("bus", add_tests);
