/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * `settle`: returns when the daemon has read the facts of every function, for units that must not
 * start before. Told by the property's signal; the property is read after listening began, so that
 * the change cannot be missed.
 */

#include "bus.h"
#include "output.h"
#include "verbs.h"

/* Anything that changes on the manager is a reason to look again. */
static int on_changed(sd_bus_message *m _unused_, void *userdata, sd_bus_error *error _unused_) {
        bool *look = userdata;

        *look = true;
        return 0;
}

static int is_settled(sd_bus *bus, bool *ret) {
        _cleanup_json_ Json *manager = NULL;
        int r = client_get_all(bus, BUS_PATH, BUS_INTERFACE_MANAGER, "settle", &manager);

        *ret = false;
        if (r == 0)
                (void) json_get_bool(manager, "Settled", ret);
        return r;
}

int verb_settle(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        bool look = true, settled = false;
        int r = client_connect(a, &bus);

        if (r > 0)
                return r;
        r = sd_bus_match_signal(bus, NULL, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.Properties",
                                "PropertiesChanged", on_changed, &look);
        if (r < 0)
                return complain_errno(EXIT_UNREACHABLE, -r, "settle: cannot listen: %m");
        for (;;) {
                if (look) {
                        look = false;
                        r = is_settled(bus, &settled);
                        if (r > 0 || settled)
                                return r;
                }
                r = sd_bus_process(bus, NULL);
                if (r == 0 && !look)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r < 0 && r != -EINTR)
                        return complain_errno(EXIT_UNREACHABLE, -r,
                                              "settle: the connection to the bus was lost: %m");
        }
}
