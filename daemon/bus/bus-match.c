/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Wants as they come over the bus: an array of selectors with a number each. Types and bounds are
 * checked here, what the texts mean by the engine.
 */

#include <assert.h>

#include "bus/bus-private.h"

#define FIELD(key) offsetof(Want, text[key])
/* clang-format off */
static const OptionRow rows[] = {
        { "address", OPTION_STRING, FIELD(WANT_ADDRESS), 255, .expect = "a glob of addresses (s)" },
        { "port-path", OPTION_STRING, FIELD(WANT_PORT_PATH), 255, .expect = "a glob of port paths (s)" },
        { "slot", OPTION_STRING, FIELD(WANT_SLOT), 255, .expect = "a glob of slots (s)" },
        { "label", OPTION_STRING, FIELD(WANT_LABEL), 255, .expect = "a glob of firmware labels (s)" },
        { "driver", OPTION_STRING, FIELD(WANT_DRIVER), 255, .expect = "a glob of drivers, or \"none\" (s)" },
        { "vendor", OPTION_STRING, FIELD(WANT_VENDOR), 255, .expect = "a hexadecimal ID (s)" },
        { "device", OPTION_STRING, FIELD(WANT_DEVICE), 255, .expect = "a hexadecimal ID (s)" },
        { "subsystem-vendor", OPTION_STRING, FIELD(WANT_SUBSYSTEM_VENDOR), 255,
          .expect = "a hexadecimal ID (s)" },
        { "subsystem-device", OPTION_STRING, FIELD(WANT_SUBSYSTEM_DEVICE), 255,
          .expect = "a hexadecimal ID (s)" },
        { "class", OPTION_STRING, FIELD(WANT_CLASS), 255, .expect = "digits of a class code (s)" },
        { "kind", OPTION_STRING, FIELD(WANT_KIND), 255, .expect = "a kind of device (s)" },
        { "sriov", OPTION_STRING, FIELD(WANT_SRIOV), 255,
          .expect = "\"physical\", \"virtual\" or \"none\" (s)" },
        { "capabilities", OPTION_STRING, FIELD(WANT_CAPABILITIES), 255,
          .expect = "names joined by + (s)" },
        { "dsn", OPTION_STRING, FIELD(WANT_DSN), 255, .expect = "a Device Serial Number (s)" },
        { "numa-node", OPTION_I32, offsetof(Want, numa_node), INT16_MAX,
          .expect = "a node, -1 for those that name none (i)" },
};
/* clang-format on */

static int read_want(sd_bus_message *m, Error *err, Want *ret) {
        *ret = (Want) { .numa_node = WANT_ANY_NODE };
        int r = options_read(m, rows, ELEMENTSOF(rows), ret, err);
        if (r < 0)
                return r;
        return sd_bus_message_read_basic(m, 'u', &ret->count);
}

int match_read_wants(sd_bus_message *m, Error *err, Want **ret, size_t *ret_n) {
        assert(m);
        assert(ret);
        assert(ret_n);

        _cleanup_free_ Want *wants = calloc(WANTS_MAX, sizeof(Want));
        if (!wants)
                return -ENOMEM;
        size_t n = 0;
        int r = sd_bus_message_enter_container(m, 'a', "(a{sv}u)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'r', "a{sv}u")) > 0) {
                if (n >= WANTS_MAX)
                        return error_set(err, ERROR_INVALID,
                                         "Argument \"wants\" has more than %u elements", WANTS_MAX);
                r = read_want(m, err, wants + n++);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(wants);
        *ret_n = n;
        return 0;
}
