/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The object tree: one fallback vtable and one node enumerator per kind of object, whatever their
 * number. Properties come from the tables of the classes. GetManagedObjects is answered by hand in
 * one pass, because sd-bus would look each object up once per property; the standard interfaces,
 * which every object has, are left out of it.
 */

#include <assert.h>

#include "bus/bus-private.h"

static const ObjectClass *const classes[_OBJECT_KIND_MAX] = {
        [OBJECT_MANAGER] = &manager_class,
        [OBJECT_DEVICE] = &device_class,
        [OBJECT_GROUP] = &group_class,
        [OBJECT_ASSIGNMENT] = &assignment_class,
        [OBJECT_JOB] = &job_class,
};

const ObjectClass *object_class(ObjectKind kind) {
        assert(kind < _OBJECT_KIND_MAX);
        return classes[kind];
}

static const ObjectClass *class_by_interface(const char *interface) {
        for (size_t k = 0; k < _OBJECT_KIND_MAX; k++)
                if (streq(classes[k]->interface, interface))
                        return classes[k];
        return NULL;
}

static Bus *bus_of_current_slot(sd_bus *bus) {
        return sd_bus_slot_get_userdata(sd_bus_get_current_slot(bus));
}

int bus_property_get(sd_bus *bus, const char *path _unused_, const char *interface,
                     const char *property, sd_bus_message *reply, void *userdata,
                     sd_bus_error *error _unused_) {
        const ObjectClass *c = class_by_interface(interface);
        Bus *b = bus_of_current_slot(bus);
        assert(c);
        assert(b);

        /* GetAll asks in the order of the table: the next row is nearly always the right one. */
        for (size_t n = 0; n < c->n_properties; n++) {
                size_t at = (b->property_hint + n) % c->n_properties;
                const Property *p = &c->properties[at];
                if (!streq(p->name, property))
                        continue;
                b->property_hint = at + 1;
                Sink s = SINK_MESSAGE(reply);
                p->get(&s, b, userdata);
                return s.error;
        }
        return -ENOENT;
}

int bus_append_properties(Bus *b, sd_bus_message *m, const ObjectClass *c, const void *object) {
        assert(b);
        assert(m);
        assert(c);

        Sink s = SINK_MESSAGE(m);
        sink_open(&s, 'a', "{sv}");
        for (size_t n = 0; n < c->n_properties; n++) {
                const Property *p = &c->properties[n];
                sink_open(&s, 'e', "sv");
                sink_basic(&s, 's', p->name);
                sink_open(&s, 'v', p->signature);
                p->get(&s, b, object);
                sink_close(&s);
                sink_close(&s);
        }
        sink_close(&s);
        return s.error;
}

/* ---- ObjectManager ---- */

static int append_object(Bus *b, sd_bus_message *m, ObjectKind kind, const void *object) {
        int r = sd_bus_message_open_container(m, 'e', "oa{sa{sv}}");
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, 'o', bus_path_object(kind, object).text);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{sa{sv}}");
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'e', "sa{sv}");
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, 's', classes[kind]->interface);
        if (r < 0)
                return r;
        r = bus_append_properties(b, m, classes[kind], object);
        if (r < 0)
                return r;
        for (unsigned n = 0; n < 3; n++) {
                r = sd_bus_message_close_container(m);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_map(Bus *b, sd_bus_message *m, ObjectKind kind, const Hashmap *map) {
        void *object;
        HASHMAP_FOREACH(object, map) {
                int r = append_object(b, m, kind, object);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int append_all_objects(Bus *b, sd_bus_message *m) {
        const Inventory *i = engine_inventory(b->engine);

        int r = sd_bus_message_open_container(m, 'a', "{oa{sa{sv}}}");
        if (r < 0)
                return r;
        for (size_t n = 0; n < i->n_devices; n++) {
                r = append_object(b, m, OBJECT_DEVICE, i->sorted[n]);
                if (r < 0)
                        return r;
        }
        r = append_map(b, m, OBJECT_GROUP, i->groups);
        if (r < 0)
                return r;
        r = append_map(b, m, OBJECT_ASSIGNMENT, i->assignments);
        if (r < 0)
                return r;
        r = append_map(b, m, OBJECT_JOB, i->jobs);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

/* On the manager's path, before sd-bus looks at its vtables. 0 leaves the message to them. */
static int on_manager_path(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Bus *b = userdata;

        if (sd_bus_message_is_method_call(m, "org.freedesktop.DBus.ObjectManager",
                                          "GetManagedObjects") <= 0 ||
            !sd_bus_message_has_signature(m, ""))
                return 0;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(m, &reply);
        if (r < 0)
                return r;
        r = append_all_objects(b, reply);
        if (r < 0)
                return r;
        r = sd_bus_send(NULL, reply, NULL);
        return r < 0 ? r : 1;
}

/* ---- find and enumerate ---- */

static int find_kind(const char *path, void *userdata, void **found, ObjectKind kind) {
        void *object = bus_find(userdata, kind, path);
        if (!object)
                return 0;
        *found = object;
        return 1;
}

#define DEFINE_FIND(name, kind)                                                                    \
        static int name(sd_bus *bus _unused_, const char *path, const char *interface _unused_,    \
                        void *userdata, void **found, sd_bus_error *error _unused_) {              \
                return find_kind(path, userdata, found, kind);                                     \
        }
DEFINE_FIND(find_device, OBJECT_DEVICE)
DEFINE_FIND(find_group, OBJECT_GROUP)
DEFINE_FIND(find_assignment, OBJECT_ASSIGNMENT)
DEFINE_FIND(find_job, OBJECT_JOB)

static const sd_bus_object_find_t finders[_OBJECT_KIND_MAX] = {
        [OBJECT_DEVICE] = find_device,
        [OBJECT_GROUP] = find_group,
        [OBJECT_ASSIGNMENT] = find_assignment,
        [OBJECT_JOB] = find_job,
};

static int enumerate_map(ObjectKind kind, const Hashmap *map, char ***nodes) {
        _cleanup_strv_ char **v = NULL;
        size_t n = 0;
        void *object;

        v = calloc(hashmap_size(map) + 1, sizeof(char *));
        if (!v)
                return -ENOMEM;
        HASHMAP_FOREACH(object, map) {
                v[n] = strdup(bus_path_object(kind, object).text);
                if (!v[n++])
                        return -ENOMEM;
        }
        *nodes = TAKE_PTR(v);
        return 1;
}

#define DEFINE_ENUMERATE(name, kind, map)                                                         \
        static int name(sd_bus *bus _unused_, const char *prefix _unused_, void *userdata,        \
                        char ***ret_nodes, sd_bus_error *error _unused_) {                        \
                Bus *b = userdata;                                                                \
                return b->engine                                                                  \
                               ? enumerate_map(kind, engine_inventory(b->engine)->map, ret_nodes) \
                               : 0;                                                               \
        }
DEFINE_ENUMERATE(enumerate_devices, OBJECT_DEVICE, devices)
DEFINE_ENUMERATE(enumerate_groups, OBJECT_GROUP, groups)
DEFINE_ENUMERATE(enumerate_assignments, OBJECT_ASSIGNMENT, assignments)
DEFINE_ENUMERATE(enumerate_jobs, OBJECT_JOB, jobs)

static const sd_bus_node_enumerator_t enumerators[_OBJECT_KIND_MAX] = {
        [OBJECT_DEVICE] = enumerate_devices,
        [OBJECT_GROUP] = enumerate_groups,
        [OBJECT_ASSIGNMENT] = enumerate_assignments,
        [OBJECT_JOB] = enumerate_jobs,
};

static int register_class(sd_bus *bus, const ObjectClass *c, ObjectKind kind, Bus *b) {
        int r = gate_check_vtable(c->interface, c->vtable);
        if (r < 0)
                return r;
        if (!c->prefix)
                return sd_bus_add_object_vtable(bus, NULL, BUS_PATH, c->interface, c->vtable, b);
        r = sd_bus_add_fallback_vtable(bus, NULL, c->prefix, c->interface, c->vtable, finders[kind],
                                       b);
        if (r < 0)
                return r;
        return sd_bus_add_node_enumerator(bus, NULL, c->prefix, enumerators[kind], b);
}

int bus_register_objects(sd_bus *bus, bool simulated, Bus *b) {
        assert(bus);
        assert(b);

        int r = sd_bus_add_object(bus, NULL, BUS_PATH, on_manager_path, b);
        if (r < 0)
                return r;
        r = sd_bus_add_object_manager(bus, NULL, BUS_PATH);
        if (r < 0)
                return r;
        for (ObjectKind k = 0; k < _OBJECT_KIND_MAX; k++) {
                r = register_class(bus, classes[k], k, b);
                if (r < 0)
                        return r;
        }
        if (!simulated)
                return 0;
        r = gate_check_vtable(BUS_INTERFACE_SIMULATOR, simulator_vtable);
        if (r < 0)
                return r;
        return sd_bus_add_object_vtable(bus, NULL, BUS_PATH, BUS_INTERFACE_SIMULATOR,
                                        simulator_vtable, b);
}
