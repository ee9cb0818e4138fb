/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From D-Bus properties to the client's own JSON, and lists of them. The keys here are an
 * interface: scripts use them, the manual documents them, a test compares the two. What is not
 * there is null, never "" and never a magic number.
 */

#include "devices.h"

#include <assert.h>

#include "base/strutil.h"

const char *member_string(const Json *object, const char *key) {
        const char *s = NULL;

        return json_get_string(object, key, &s) > 0 ? s : "";
}

bool member_bool(const Json *object, const char *key) {
        bool b = false;

        return json_get_bool(object, key, &b) > 0 && b;
}

uint64_t member_u64(const Json *object, const char *key) {
        uint64_t v = 0;

        return json_get_u64(object, key, UINT64_MAX, &v) > 0 ? v : 0;
}

static void add_text(StrBuf *b, const Json *j) {
        bool yes;

        switch (json_type(j)) {
        case JSON_NULL:
                break;
        case JSON_STRING:
                strbuf_add(b, json_string(j));
                break;
        case JSON_BOOL:
                strbuf_add(b, json_bool(j, &yes) >= 0 && yes ? "true" : "false");
                break;
        case JSON_ARRAY:
                for (size_t i = 0; i < json_length(j); i++) {
                        const char *s = json_string(json_at(j, i));

                        strbuf_addf(b, "%s%s", i > 0 ? " " : "", strempty(s));
                }
                break;
        default: {
                _cleanup_free_ char *text = json_to_text((Json *) (uintptr_t) j, false);

                strbuf_add(b, strempty(text));
        }
        }
}

char *value_text(const Json *value) {
        StrBuf b = {};
        char *s;

        if (json_type(value) == JSON_STRING)
                s = strdup(json_string(value)); /* the usual case */
        else {
                add_text(&b, value);
                s = strbuf_steal(&b);
        }
        if (!s)
                output_out_of_memory();
        return s;
}

char *member_text(const Json *object, const char *key) {
        return value_text(json_get(object, key));
}

/* ---- one object ---- */

/* The string, or null where it is empty. */
static void set_text(Json *to, const char *key, const Json *from, const char *property) {
        const char *s = member_string(from, property);

        (void) json_set_string(to, key,
                               s[0] ? s : NULL); /* a broken tree shows when it is printed */
}

static void set_copy(Json *to, const char *key, const Json *from, const char *property) {
        Json *j = json_get(from, property);

        if (j)
                (void) json_set(to, key, json_ref(j));
        else
                (void) json_set_null(to, key);
}

static void set_hex(Json *to, const char *key, const Json *from, const char *property, int digits) {
        (void) json_set_stringf(to, key, "%0*x", digits, (unsigned) member_u64(from, property));
}

/* A number that is negative where there is none. */
static void set_number(Json *to, const char *key, const Json *from, const char *property) {
        int64_t v = -1;

        if (json_get_i64(from, property, &v) > 0 && v >= 0)
                (void) json_set_i64(to, key, v);
        else
                (void) json_set_null(to, key);
}

/* The last component of a path; null for "/". */
static void set_base(Json *to, const char *key, const Json *from, const char *property) {
        const char *base = path_base(member_string(from, property));

        (void) json_set_string(to, key, base[0] ? base : NULL);
}

static void set_names(Json *j, const Json *p, Names *names) {
        char buffer[NAME_MAX_SIZE];
        uint16_t vendor = (uint16_t) member_u64(p, "VendorId"),
                 device = (uint16_t) member_u64(p, "DeviceId");

        (void) json_set_string(j, "vendor_name", names_vendor(names, vendor, buffer));
        (void) json_set_string(j, "device_name", names_device(names, vendor, device, buffer));
        (void) json_set_string(j, "class_name",
                               names_class(names, (uint32_t) member_u64(p, "Class"), buffer));
}

Json *device_to_json(const Json *p, Names *names) {
        Json *j = json_new_object();

        set_text(j, "address", p, "Address");
        set_hex(j, "vendor", p, "VendorId", 4);
        set_hex(j, "device", p, "DeviceId", 4);
        set_hex(j, "subsystem_vendor", p, "SubsystemVendorId", 4);
        set_hex(j, "subsystem_device", p, "SubsystemDeviceId", 4);
        set_hex(j, "class", p, "Class", 6);
        set_hex(j, "revision", p, "Revision", 2);
        set_names(j, p, names);
        set_text(j, "kind", p, "Kind");
        set_text(j, "driver", p, "Driver");
        set_number(j, "iommu_group", p, "IommuGroup");
        set_text(j, "iommu", p, "Iommu");
        set_number(j, "numa_node", p, "NumaNode");
        set_text(j, "slot", p, "Slot");
        set_text(j, "port_path", p, "PortPath");
        set_text(j, "physical_function", p, "PhysicalFunction");
        set_copy(j, "total_vfs", p, "TotalVfs");
        set_copy(j, "children", p, "Children");
        set_copy(j, "reset_methods", p, "ResetMethods");
        set_text(j, "state", p, "State");
        set_text(j, "health", p, "Health");
        set_base(j, "assignment", p, "Assignment");
        set_text(j, "owner", p, "Owner");
        set_copy(j, "assignable", p, "Assignable");
        set_copy(j, "blockers", p, "Blockers");
        set_copy(j, "drift", p, "Drift");
        return j;
}

Json *group_to_json(const Json *p) {
        Json *j = json_new_object();

        set_number(j, "iommu_group", p, "Number");
        set_copy(j, "devices", p, "Devices");
        set_copy(j, "viable", p, "Viable");
        set_copy(j, "verdicts", p, "Verdicts");
        set_text(j, "domain_type", p, "DomainType");
        set_text(j, "iommu", p, "Iommu");
        set_text(j, "owner", p, "Owner");
        set_base(j, "assignment", p, "Assignment");
        return j;
}

static void set_uid(Json *to, const char *key, const Json *from, const char *property) {
        uint64_t uid = UINT32_MAX;

        if (json_get_u64(from, property, UINT32_MAX, &uid) > 0 && uid != UINT32_MAX)
                (void) json_set_u64(to, key, uid);
        else
                (void) json_set_null(to, key);
}

static void set_nonzero(Json *to, const char *key, const Json *from, const char *property) {
        uint64_t v = member_u64(from, property);

        if (v > 0)
                (void) json_set_u64(to, key, v);
        else
                (void) json_set_null(to, key);
}

/* A document in a string; null where there is none. */
static Json *parsed(const char *text) {
        Json *j = NULL;

        if (json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &j, NULL, NULL) < 0)
                return json_new_null();
        return j;
}

Json *assignment_to_json(const Json *p) {
        Json *j = json_new_object();

        set_text(j, "assignment", p, "Id");
        set_text(j, "owner", p, "Owner");
        set_text(j, "state", p, "State");
        set_text(j, "lifetime", p, "Lifetime");
        set_copy(j, "devices", p, "Devices");
        set_copy(j, "parked", p, "Parked");
        set_copy(j, "labels", p, "Labels");
        set_uid(j, "creator_uid", p, "CreatorUid");
        set_uid(j, "user_uid", p, "UserUid");
        set_nonzero(j, "pid", p, "Pid");
        set_text(j, "request_id", p, "RequestId");
        set_nonzero(j, "created_at_usec", p, "CreatedAt");
        set_nonzero(j, "attach_deadline_usec", p, "AttachDeadline");
        set_base(j, "job", p, "Job");
        set_copy(j, "pending_events", p, "PendingEvents");
        set_copy(j, "missing", p, "Missing");
        set_copy(j, "differs", p, "Differs");
        (void) json_set(j, "policy", parsed(member_string(p, "Policy")));
        return j;
}

static void set_steps(Json *to, const Json *p) {
        Json *steps = json_get(p, "Steps"), *out = json_new_array();

        for (size_t i = 0; i < json_length(steps); i++) {
                const Json *step = json_at(steps, i);
                Json *s = json_new_object();

                (void) json_set_string(s, "description", json_string(json_at(step, 0)));
                (void) json_set_string(s, "state", json_string(json_at(step, 1)));
                (void) json_append(out, s);
        }
        (void) json_set(to, "steps", out);
}

Json *job_to_json(const Json *p) {
        const char *result = member_string(p, "Result");
        Json *j = json_new_object(), *parsed = NULL;

        set_copy(j, "job", p, "Number");
        set_text(j, "kind", p, "Kind");
        set_text(j, "state", p, "State");
        set_base(j, "assignment", p, "Assignment");
        set_copy(j, "devices", p, "Devices");
        set_uid(j, "creator_uid", p, "CreatorUid");
        set_copy(j, "done", p, "Done");
        set_copy(j, "total", p, "Total");
        set_text(j, "current", p, "Current");
        set_steps(j, p);
        if (result[0] &&
            json_parse(result, strlen(result), JSON_LIMITS_DEFAULT, &parsed, NULL, NULL) >= 0)
                (void) json_set(j, "result", parsed);
        else
                (void) json_set_null(j, "result");
        return j;
}

/* ---- lists ---- */

/* One page of a list method: a(a{sv}), s. */
static int read_page(sd_bus *bus, const char *method, const char *after, Json **ret_rows,
                     char **ret_next) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        const char *next;
        int r;

        r = client_new_call(bus, NULL, BUS_INTERFACE_MANAGER, method, &call);
        if (r > 0)
                return r;
        if (after)
                r = sd_bus_message_append(call, "a{sv}", 1, "after", "s", after);
        else
                r = sd_bus_message_append(call, "a{sv}", 0);
        if (r < 0)
                return client_broken(r, method);
        r = client_call(bus, call, "list", &reply);
        if (r == 0)
                r = client_read(reply, method, ret_rows);
        if (r > 0)
                return r;
        r = sd_bus_message_read_basic(reply, 's', &next);
        if (r < 0)
                return client_broken(r, method);
        *ret_next = strdup(next);
        return *ret_next ? 0 : client_broken(-ENOMEM, method);
}

typedef Json *(*RowConvert)(const Json *row, void *userdata);

static int read_pages(sd_bus *bus, const char *method, RowConvert convert, void *userdata,
                      Json **ret) {
        _cleanup_json_ Json *all = json_new_array();
        _cleanup_free_ char *after = NULL;
        int r;

        do {
                _cleanup_json_ Json *rows = NULL;
                _cleanup_free_ char *next = NULL;

                r = read_page(bus, method, after, &rows, &next);
                if (r > 0)
                        return r;
                for (size_t i = 0; i < json_length(rows); i++)
                        (void) json_append(all, convert(json_at(rows, i),
                                                        userdata)); /* shows when it is printed */
                if (streq_ptr(next, after))
                        return complain(EXIT_FAILED, "%s: the daemon gives the same page again",
                                        method);
                free(after);
                after = TAKE_PTR(next);
        } while (!isempty(after));
        *ret = TAKE_PTR(all);
        return 0;
}

static Json *convert_device(const Json *row, void *userdata) {
        return device_to_json(row, userdata);
}

static Json *convert_assignment(const Json *row, void *userdata _unused_) {
        return assignment_to_json(row);
}

int devices_list(sd_bus *bus, Names *names, Json **ret) {
        return read_pages(bus, "ListDevices", convert_device, names, ret);
}

int assignments_list(sd_bus *bus, Json **ret) {
        return read_pages(bus, "ListAssignments", convert_assignment, NULL, ret);
}

typedef struct Sorted {
        uint64_t key;
        Json *value;
} Sorted;

static int compare_sorted(const void *a, const void *b) {
        const Sorted *x = a, *y = b;

        return (x->key > y->key) - (x->key < y->key);
}

int objects_list(sd_bus *bus, const char *interface, Json *(*convert)(const Json *),
                 const char *sort_key, Json **ret) {
        _cleanup_json_ Json *objects = NULL, *all = json_new_array();
        _cleanup_free_ Sorted *rows = NULL;
        void *i = NULL;
        const char *path;
        size_t n = 0;
        Json *value;
        int r;

        r = client_get_objects(bus, &objects);
        if (r > 0)
                return r;
        rows = calloc(json_length(objects) + 1, sizeof(*rows));
        if (!rows)
                return client_broken(-ENOMEM, interface);
        while (json_next(objects, &i, &path, &value)) {
                Json *properties = json_get(value, interface);

                if (!properties)
                        continue;
                rows[n].value = convert(properties);
                rows[n].key = member_u64(rows[n].value, sort_key);
                n++;
        }
        qsort(rows, n, sizeof(*rows), compare_sorted);
        for (size_t k = 0; k < n; k++)
                (void) json_append(all, rows[k].value); /* shows when it is printed */
        *ret = TAKE_PTR(all);
        return 0;
}
