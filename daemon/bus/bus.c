/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection: opened without waiting, objects registered before the name is asked for, so that
 * whoever finds the name finds everything. A connection or a name that is lost ends the loop with
 * failure, and the service manager starts the daemon again: nothing is lost by that, since all
 * state is in the journal and the kernel. Never a synchronous call.
 */

#include <assert.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "bus/bus-private.h"

static void bus_init(Bus *b) {
        list_init(&b->calls);
        list_init(&b->clients_order);
        list_init(&b->dirty);
        list_init(&b->progress);
}

static int on_name_lost(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Bus *b = userdata;
        const char *name;

        if (sd_bus_message_read_basic(m, 's', &name) < 0 || !streq(name, BUS_NAME))
                return 0;
        log_error("The name %s was taken from us", BUS_NAME);
        return sd_event_exit(b->event, EXIT_FAILURE);
}

static int connect_bus(const char *address, sd_bus **ret) {
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;

        int r = sd_bus_new(&bus);
        if (r < 0)
                return r;
        r = sd_bus_set_description(bus, "pciassignd");
        if (r < 0)
                return r;
        r = sd_bus_set_address(bus, address);
        if (r < 0)
                return r;
        r = sd_bus_set_bus_client(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_negotiate_fds(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_set_exit_on_disconnect(bus, true);
        if (r < 0)
                return r;
        r = sd_bus_start(bus);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(bus);
        return 0;
}

static void options_fill(BusOptions *o) {
        if (o->max_requests_per_uid == 0)
                o->max_requests_per_uid = BUS_REQUESTS_PER_UID_DEFAULT;
        if (o->polkit_timeout == 0)
                o->polkit_timeout = BUS_POLKIT_TIMEOUT_DEFAULT;
}

int bus_new(struct sd_event *event, Engine *engine, const BusOptions *options, Bus **ret) {
        assert(event);
        assert(engine);
        assert(options);
        assert(ret);

        _cleanup_(bus_freep) Bus *b = calloc(1, sizeof(Bus));
        if (!b)
                return -ENOMEM;
        bus_init(b);
        b->event = event;
        b->engine = engine;
        b->options = *options;
        options_fill(&b->options);
        b->clients = hashmap_new_string();
        if (!b->clients)
                return -ENOMEM;

        int r = connect_bus(options->address ? options->address
                                             : "unix:path=/run/dbus/system_bus_socket",
                            &b->bus);
        if (r < 0)
                return r;
        r = sd_bus_attach_event(b->bus, event, SD_EVENT_PRIORITY_NORMAL);
        if (r < 0)
                return r;
        r = bus_register_objects(b->bus, options->simulated, b);
        if (r < 0)
                return r;
        r = sd_bus_match_signal_async(b->bus, NULL, "org.freedesktop.DBus", "/org/freedesktop/DBus",
                                      "org.freedesktop.DBus", "NameLost", on_name_lost, NULL, b);
        if (r < 0)
                return r;
        r = bus_changes_start(b);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}

Bus *bus_free(Bus *b) {
        if (!b)
                return NULL;
        b->watch_wanted = false;
        LIST_FOREACH(&b->calls, link)
                call_free(LIST_ENTRY(link, Call, link));
        bus_changes_stop(b);
        clients_free(b);
        hashmap_free(b->clients);
        b->watch = sd_bus_slot_unref(b->watch);
        sd_bus_flush_close_unref(b->bus);
        free(b);
        return NULL;
}

void bus_set_options(Bus *b, const BusOptions *options) {
        assert(b);
        assert(options);

        b->options.max_requests_per_uid = options->max_requests_per_uid;
        b->options.polkit_timeout = options->polkit_timeout;
        if (b->options.admin_gid != options->admin_gid) {
                b->options.admin_gid = options->admin_gid;
                clients_free(b); /* who is privileged was learned by the old one */
        }
        options_fill(&b->options);
}

void bus_learn_id(Bus *b) {
        sd_id128_t id;

        if (!b->id[0] && sd_bus_get_bus_id(b->bus, &id) >= 0)
                (void) sd_id128_to_string(id, b->id);
}

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Bus *b = userdata;
        uint32_t answer;

        bus_learn_id(b);

        if (sd_bus_message_is_method_error(m, NULL) > 0) {
                log_error("The bus refuses the name %s: %s; is the bus policy installed?", BUS_NAME,
                          strempty(sd_bus_message_get_error(m)->message));
                return sd_event_exit(b->event, EXIT_FAILURE);
        }
        /* 1: owner, 4: owner already */
        if (sd_bus_message_read_basic(m, 'u', &answer) < 0 || (answer != 1 && answer != 4)) {
                log_error("The name %s is taken: another pciassignd runs on this bus", BUS_NAME);
                return sd_event_exit(b->event, EXIT_FAILURE);
        }
        int r = clients_check(b);
        if (r < 0)
                (void) log_error_errno(r,
                                       "Failed to look after clients of earlier assignments: %m");
        if (b->ready)
                b->ready(b->ready_userdata);
        return 0;
}

int bus_request_name(Bus *b, BusReady ready, void *userdata) {
        assert(b);

        b->ready = ready;
        b->ready_userdata = userdata;
        /* Not queued and not to be replaced: two daemons never take turns. */
        return sd_bus_call_method_async(b->bus, NULL, "org.freedesktop.DBus",
                                        "/org/freedesktop/DBus", "org.freedesktop.DBus",
                                        "RequestName", on_name, b, "su", BUS_NAME, 4U);
}

/* ---- introspection without a bus: two ends of a socket in one process ---- */

typedef struct Introspection {
        char *xml;
        int result;
        bool done;
} Introspection;

static int on_introspected(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Introspection *i = userdata;
        const char *xml;

        i->done = true;
        if (sd_bus_message_is_method_error(m, NULL) > 0) {
                i->result = -ENOENT;
                return 0;
        }
        i->result = sd_bus_message_read_basic(m, 's', &xml);
        if (i->result >= 0) {
                i->xml = strdup(xml);
                i->result = i->xml ? 0 : -ENOMEM;
        }
        return 0;
}

static int start_peer(sd_bus *bus, int *fd, bool server) {
        int r = sd_bus_set_fd(bus, *fd, *fd);
        if (r < 0)
                return r;
        *fd = -EBADF; /* the bus closes it */
        if (server) {
                sd_id128_t id;
                r = sd_id128_randomize(&id);
                if (r < 0)
                        return r;
                r = sd_bus_set_server(bus, true, id);
                if (r < 0)
                        return r;
        }
        return sd_bus_start(bus);
}

static int run_peers(sd_bus *server, sd_bus *client, const char *path, Introspection *i) {
        int r = sd_bus_call_method_async(client, NULL, NULL, path,
                                         "org.freedesktop.DBus.Introspectable", "Introspect",
                                         on_introspected, i, NULL);
        if (r < 0)
                return r;
        while (!i->done) {
                int s = sd_bus_process(server, NULL);
                if (s < 0)
                        return s;
                r = sd_bus_process(client, NULL);
                if (r < 0)
                        return r;
        }
        return i->result;
}

int bus_introspect(const char *path, char **ret) {
        assert(path);
        assert(ret);

        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *server = NULL, *client = NULL;
        _cleanup_close_ int ours = -EBADF, theirs = -EBADF;
        Introspection i = {};
        Bus b = {};
        int fds[2];

        if (!sd_bus_object_path_is_valid(path))
                return -EINVAL;
        bus_init(&b);
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
                return -errno;
        ours = fds[0];
        theirs = fds[1];
        int r = sd_bus_new(&server);
        if (r < 0)
                return r;
        r = sd_bus_new(&client);
        if (r < 0)
                return r;
        r = bus_register_objects(server, true, &b);
        if (r < 0)
                return r;
        r = start_peer(server, &ours, true);
        if (r < 0)
                return r;
        r = start_peer(client, &theirs, false);
        if (r < 0)
                return r;
        r = run_peers(server, client, path, &i);
        if (r < 0) {
                free(i.xml);
                return r;
        }
        *ret = i.xml;
        return 0;
}
