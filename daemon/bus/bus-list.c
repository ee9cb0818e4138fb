/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * ListDevices and ListAssignments: filtered and in pages, so that a list of any length never holds
 * the event loop for long. A page ends at its limit or when enough has been looked at; `next` is
 * the key of the last one looked at, and "" at the end. A row is the object's properties, and its
 * path as "Object". Devices come by address, so a page after a cursor stays right when others come
 * and go.
 */

#include <assert.h>

#include "bus/bus-private.h"

#define PAGE_MAX 256U
#define LOOKED_AT_MAX 8192U

static bool matches_text(const char *pattern, const char *value) {
        return !pattern || glob_matches(pattern, strempty(value));
}

static int append_row(Bus *b, sd_bus_message *m, ObjectKind kind, const void *object) {
        const ObjectClass *c = object_class(kind);
        Sink s = SINK_MESSAGE(m);

        sink_open(&s, 'a', "{sv}");
        sink_open(&s, 'e', "sv");
        sink_basic(&s, 's', "Object");
        sink_open(&s, 'v', "o");
        sink_object(&s, bus_path_object(kind, object));
        sink_close(&s);
        sink_close(&s);
        for (size_t n = 0; n < c->n_properties; n++) {
                sink_open(&s, 'e', "sv");
                sink_basic(&s, 's', c->properties[n].name);
                sink_open(&s, 'v', c->properties[n].signature);
                c->properties[n].get(&s, b, object);
                sink_close(&s);
                sink_close(&s);
        }
        sink_close(&s);
        return s.error;
}

/* ---- devices ---- */

typedef struct DeviceFilter {
        const char *address, *vendor, *device, *class, *driver, *owner, *kind, *after;
        int state, assignable; /* -1: any */
        int32_t group, numa_node;
        uint32_t limit;
} DeviceFilter;
#define ANY INT32_MIN

static const char *const device_states[] = {
        [DEVICE_HOST] = "host",
        [DEVICE_AVAILABLE] = "available",
        [DEVICE_ASSIGNED] = "assigned",
        [DEVICE_HELD] = "held",
        [DEVICE_QUARANTINED] = "quarantined",
        [DEVICE_STUCK] = "stuck",
        [DEVICE_GONE] = "gone",
};

#define FIELD(member) offsetof(DeviceFilter, member)
#define PATTERN(key, member) \
        { key, OPTION_STRING, FIELD(member), DEVICE_NAME_SIZE_MAX, .expect = "a pattern (s)" }
/* clang-format off */
static const OptionRow device_rows[] = {
        PATTERN("address", address),
        PATTERN("driver", driver),
        PATTERN("owner", owner),
        PATTERN("kind", kind),
        { "vendor", OPTION_STRING, FIELD(vendor), 4, .expect = "four hexadecimal digits (s)" },
        { "device", OPTION_STRING, FIELD(device), 4, .expect = "four hexadecimal digits (s)" },
        { "class", OPTION_STRING, FIELD(class), 6, .expect = "the first two to six hexadecimal digits of a class (s)" },
        { "state", OPTION_CHOICE, FIELD(state), .choices = device_states, .n_choices = ELEMENTSOF(device_states),
          .expect = "a device state (s)" },
        { "group", OPTION_I32, FIELD(group), INT32_MAX, .expect = "the number of an IOMMU group, -1 for none (i)" },
        { "numa-node", OPTION_I32, FIELD(numa_node), INT16_MAX, .expect = "the number of a node, -1 for none (i)" },
        { "assignable", OPTION_TRISTATE, FIELD(assignable), .expect = "a boolean (b)" },
        { "limit", OPTION_U32, FIELD(limit), PAGE_MAX, .expect = "a number from 1 to 256 (u)" },
        { "after", OPTION_STRING, FIELD(after), PCI_ADDRESS_MAX,
          .expect = "the address that was returned as next (s)" },
};
/* clang-format on */

/* "10DE" against the four digits of a number; case does not count. */
static bool matches_hex(const char *wanted, unsigned digits, uint32_t value) {
        char text[9];

        if (!wanted)
                return true;
        (void) snprintf(text, sizeof(text), "%0*x", (int) digits, (unsigned) value);
        return strlen(wanted) <= digits && strncasecmp(wanted, text, strlen(wanted)) == 0;
}

static bool is_hex(const char *s, size_t min, size_t max) {
        size_t n = strspn(strempty(s), "0123456789abcdefABCDEF");
        return !s || (n >= min && n <= max && !s[n]);
}

static bool device_matches(const DeviceFilter *f, const Device *d) {
        const PciFacts *facts = &d->facts;
        bool grouped = facts->link_state[PCI_LINK_IOMMU_GROUP] == FACT_PRESENT;
        int64_t group = grouped ? (int64_t) facts->iommu_group : -1;

        return matches_text(f->address, PCI_ADDRESS_TEXT(facts->address)) &&
               matches_hex(f->vendor, 4, facts->vendor) &&
               matches_hex(f->device, 4, facts->device) &&
               matches_hex(f->class, 6, facts->class_code) &&
               matches_text(f->driver, facts->driver) &&
               matches_text(f->owner, d->assignment ? d->assignment->owner : NULL) &&
               matches_text(f->kind, pci_kind_to_string(pci_kind_from_class(facts->class_code))) &&
               (f->state < 0 || (int) device_get_state(d) == f->state) &&
               (f->group == ANY || group == f->group) &&
               (f->numa_node == ANY || facts->numa_node == f->numa_node) &&
               (f->assignable < 0 || (strv_length(d->blockers) == 0) == (f->assignable == 1));
}

static int device_filter_read(Call *q, DeviceFilter *f, PciAddress *ret_after, Error *err) {
        *f = (DeviceFilter){
                .state = -1, .assignable = -1, .group = ANY, .numa_node = ANY, .limit = PAGE_MAX
        };
        int r = options_read(q->message, device_rows, ELEMENTSOF(device_rows), f, err);
        if (r < 0)
                return r;
        if (!is_hex(f->vendor, 4, 4) || !is_hex(f->device, 4, 4))
                return error_set(
                        err, ERROR_INVALID,
                        "Options \"vendor\" and \"device\" must be four hexadecimal digits");
        if (!is_hex(f->class, 2, 6))
                return error_set(err, ERROR_INVALID,
                                 "Option \"class\" must be two to six hexadecimal digits");
        if (f->limit == 0)
                return error_set(err, ERROR_INVALID,
                                 "Option \"limit\" must be a number from 1 to 256");
        if (f->after && pci_address_parse(f->after, ret_after) < 0)
                return error_set(err, ERROR_INVALID,
                                 "Option \"after\" must be the address that was returned as next");
        return 0;
}

/* The first device behind an address. */
static size_t position_after(const Inventory *i, PciAddress a) {
        size_t low = 0, high = i->n_devices;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (pci_address_compare(i->sorted[middle]->facts.address, a) <= 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int fill_devices(Bus *b, sd_bus_message *m, const DeviceFilter *f, size_t first) {
        const Inventory *i = engine_inventory(b->engine);
        size_t rows = 0, n, end = MIN(i->n_devices, first + LOOKED_AT_MAX);

        int r = sd_bus_message_open_container(m, 'a', "a{sv}");
        if (r < 0)
                return r;
        for (n = first; n < end && rows < f->limit; n++) {
                if (!device_matches(f, i->sorted[n]))
                        continue;
                r = append_row(b, m, OBJECT_DEVICE, i->sorted[n]);
                if (r < 0)
                        return r;
                rows++;
        }
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_append_basic(
                m, 's',
                n >= i->n_devices || n == 0 ? ""
                                            : PCI_ADDRESS_TEXT(i->sorted[n - 1]->facts.address));
}

int list_devices(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        DeviceFilter f;
        PciAddress after = {};

        int r = device_filter_read(q, &f, &after, err);
        if (r < 0)
                return r;
        size_t first = f.after ? position_after(engine_inventory(q->bus->engine), after) : 0;
        r = call_new_reply(q, &reply);
        if (r >= 0)
                r = fill_devices(q->bus, reply, &f, first);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

/* ---- assignments ---- */

typedef struct AssignmentFilter {
        const char *owner, *label, *request, *after;
        int state;
        uint32_t uid, limit;
} AssignmentFilter;

static const char *const assignment_states[] = {
        [ASSIGNMENT_PREPARING] = "preparing",
        [ASSIGNMENT_ACTIVE] = "active",
        [ASSIGNMENT_RELEASING] = "releasing",
        [ASSIGNMENT_CLEANING] = "cleaning",
        [ASSIGNMENT_RELEASED] = "released",
        [ASSIGNMENT_RESERVED] = "reserved",
        [ASSIGNMENT_RECOVERING] = "recovering",
        [ASSIGNMENT_REMOVING] = "removing",
        [ASSIGNMENT_LOST] = "lost",
        [ASSIGNMENT_FAILED] = "failed",
};

#undef FIELD
#define FIELD(member) offsetof(AssignmentFilter, member)
/* clang-format off */
static const OptionRow assignment_rows[] = {
        { "owner", OPTION_STRING, FIELD(owner), OWNER_MAX, .expect = "a pattern (s)" },
        { "label", OPTION_STRING, FIELD(label), UINT64_C(2) * LABEL_SIZE_MAX, .expect = "\"key=value\" (s)" },
        { "uid", OPTION_U32, FIELD(uid), UINT32_MAX - 1, .expect = "the number of the user who made it (u)" },
        { "request", OPTION_STRING, FIELD(request), REQUEST_ID_MAX, .expect = "a request-id (s)" },
        { "state", OPTION_CHOICE, FIELD(state), .choices = assignment_states,
          .n_choices = ELEMENTSOF(assignment_states), .expect = "an assignment state (s)" },
        { "limit", OPTION_U32, FIELD(limit), PAGE_MAX, .expect = "a number from 1 to 256 (u)" },
        { "after", OPTION_STRING, FIELD(after), ASSIGNMENT_ID_MAX - 1,
          .expect = "the id that was returned as next (s)" },
};
/* clang-format on */

static bool assignment_matches(const AssignmentFilter *f, const Assignment *a) {
        return matches_text(f->owner, a->owner) &&
               (!f->label || (a->labels && strv_contains(a->labels, f->label))) &&
               (f->uid == UID_UNSET || a->creator_uid == f->uid) &&
               (!f->request || streq_ptr(a->request_id, f->request)) &&
               (f->state < 0 || (int) a->state == f->state);
}

/* In the order in which they were made. A cursor that has gone meanwhile starts anew: rows may come
 * twice, none is lost. */
static int fill_assignments(Bus *b, sd_bus_message *m, const AssignmentFilter *f) {
        const Inventory *i = engine_inventory(b->engine);
        const char *last = NULL;
        bool more = false, reached = !f->after || !inventory_assignment(i, f->after);
        size_t rows = 0;
        Assignment *a;

        int r = sd_bus_message_open_container(m, 'a', "a{sv}");
        if (r < 0)
                return r;
        HASHMAP_FOREACH(a, i->assignments) {
                if (!reached) {
                        reached = streq(a->id, f->after);
                        continue;
                }
                if (!assignment_matches(f, a))
                        continue;
                more = rows >= f->limit;
                if (more)
                        break;
                r = append_row(b, m, OBJECT_ASSIGNMENT, a);
                if (r < 0)
                        return r;
                last = a->id;
                rows++;
        }
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_append_basic(m, 's', more ? last : "");
}

int list_assignments(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        AssignmentFilter f = { .state = -1, .uid = UID_UNSET, .limit = PAGE_MAX };

        int r = options_read(q->message, assignment_rows, ELEMENTSOF(assignment_rows), &f, err);
        if (r < 0)
                return r;
        if (f.limit == 0)
                return error_set(err, ERROR_INVALID,
                                 "Option \"limit\" must be a number from 1 to 256");
        r = call_new_reply(q, &reply);
        if (r >= 0)
                r = fill_assignments(q->bus, reply, &f);
        return call_reply(q, TAKE_PTR(reply), r, err);
}
