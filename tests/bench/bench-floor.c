/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The floors of the bus figures: a server that does nothing but what the bus demands.
 *
 *   bench-floor FROM SOCKET
 *
 * owns org.pciassign1.BenchFloor. It fetches GetManagedObjects of FROM once and from then on
 * answers the same method with the same content, appended by hand from an array. A datagram on
 * SOCKET (a uevent) becomes one PropertiesChanged signal with the properties a driver change
 * alters.
 */

#include <sys/socket.h>
#include <sys/un.h>

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "base/names.h"
#include "base/strutil.h"

typedef struct Entry { /* one step of building: what to append or to open or close */
        char type;     /* a basic type, or ( ) for open and close */
        char *text;    /* signature of a container, or a string */
        char container;
        union {
                uint8_t u8;
                int b;
                int16_t i16;
                uint16_t u16;
                int32_t i32;
                uint32_t u32;
                int64_t i64;
                uint64_t u64;
                double d;
        } value;
} Entry;

typedef struct Floor {
        sd_bus *bus;
        Entry *entries;
        size_t n_entries, allocated;
        int socket_fd;
} Floor;

static Entry *floor_add(Floor *f) {
        if (ARRAY_RESERVE_ONE(f->entries, f->n_entries, f->allocated) < 0)
                return NULL;
        Entry *e = &f->entries[f->n_entries++];
        *e = (Entry) {};
        return e;
}

static bool is_text(char type) {
        return type == 's' || type == 'o' || type == 'g';
}

static int record_basic(Floor *f, sd_bus_message *m, char type) {
        Entry *e = floor_add(f);
        const char *text;

        if (!e)
                return -ENOMEM;
        e->type = type;
        if (!is_text(type))
                return sd_bus_message_read_basic(m, type, &e->value);
        int r = sd_bus_message_read_basic(m, type, &text);
        if (r < 0)
                return r;
        e->text = strdup(text);
        return e->text ? 0 : -ENOMEM;
}

static int record(Floor *f, sd_bus_message *m, unsigned depth);

static int record_container(Floor *f, sd_bus_message *m, char type, const char *contents,
                            unsigned depth) {
        Entry *e = floor_add(f);

        if (!e)
                return -ENOMEM;
        *e = (Entry) { .type = '(', .container = type, .text = strdup(contents) };
        if (!e->text)
                return -ENOMEM;
        int r = sd_bus_message_enter_container(m, type, contents);
        if (r >= 0)
                r = record(f, m, depth + 1);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        e = floor_add(f);
        if (!e)
                return -ENOMEM;
        e->type = ')';
        return 0;
}

static int record(Floor *f, sd_bus_message *m, unsigned depth) {
        if (depth > 16)
                return -ELOOP;
        for (;;) {
                const char *contents;
                char type;
                int r = sd_bus_message_peek_type(m, &type, &contents);
                if (r <= 0)
                        return r;
                r = contents ? record_container(f, m, type, contents, depth)
                             : record_basic(f, m, type);
                if (r < 0)
                        return r;
        }
}

static int append(const Entry *e, sd_bus_message *m) {
        if (e->type == '(')
                return sd_bus_message_open_container(m, e->container, e->text);
        if (e->type == ')')
                return sd_bus_message_close_container(m);
        return sd_bus_message_append_basic(m, e->type,
                                           is_text(e->type) ? (const void *) e->text : &e->value);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        Floor *f = userdata;

        if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager",
                                           "GetManagedObjects"))
                return 0;
        int r = sd_bus_message_new_method_return(m, &reply);
        for (size_t i = 0; r >= 0 && i < f->n_entries; i++)
                r = append(&f->entries[i], reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static int on_event(sd_event_source *s, int fd, uint32_t events, void *userdata) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        Floor *f = userdata;
        char buffer[8192];

        if (recv(fd, buffer, sizeof buffer, MSG_DONTWAIT) < 0)
                return 0;
        int r = sd_bus_message_new_signal(f->bus, &m, BUS_PATH "/device/x",
                                          "org.freedesktop.DBus.Properties", "PropertiesChanged");
        if (r >= 0)
                r = sd_bus_message_append(m, "sa{sv}as", BUS_INTERFACE_DEVICE, 2, "Driver", "s",
                                          "vfio-pci", "State", "s", "held", 0);
        return r < 0 ? r : sd_bus_send(f->bus, m, NULL);
}

static int fetch(Floor *f, const char *from) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = sd_bus_call_method(f->bus, from, BUS_PATH, "org.freedesktop.DBus.ObjectManager",
                                   "GetManagedObjects", NULL, &reply, "");

        return r < 0 ? r : record(f, reply, 0);
}

static int listen_on(Floor *f, const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (!string_copy(address.sun_path, sizeof address.sun_path, path))
                return -ENAMETOOLONG;
        (void) unlink(path);
        f->socket_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (f->socket_fd < 0 ||
            bind(f->socket_fd, (struct sockaddr *) &address, sizeof address) < 0)
                return -errno;
        return 0;
}

int main(int argc, char **argv) {
        Floor f = { .socket_fd = -EBADF };
        sd_event *event = NULL;
        int r;

        if (argc != 3) {
                fprintf(stderr, "usage: bench-floor FROM SOCKET\n");
                return 2;
        }
        r = sd_event_default(&event);
        if (r >= 0)
                r = sd_bus_open_system(&f.bus);
        if (r >= 0)
                r = fetch(&f, argv[1]);
        if (r >= 0)
                r = listen_on(&f, argv[2]);
        if (r >= 0)
                r = sd_bus_add_object(f.bus, NULL, BUS_PATH, on_message, &f);
        if (r >= 0)
                r = sd_event_add_io(event, NULL, f.socket_fd, 1 /* EPOLLIN */, on_event, &f);
        if (r >= 0)
                r = sd_bus_attach_event(f.bus, event, 0);
        if (r >= 0)
                r = sd_bus_request_name(f.bus, "org.pciassign1.BenchFloor", 0);
        if (r >= 0)
                r = sd_event_loop(event);
        fprintf(stderr, "bench-floor: %s\n", strerror(-r));
        return 1;
}
