/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What leaves: errors with their details, JSON documents as dictionaries. The error's body is
 * (message, details), so it is built by hand; the code's name comes from the error table, never
 * from an errno.
 */

#include <assert.h>

#include "bus/bus-private.h"

int format_error(sd_bus_message *call, const Error *error, sd_bus_message **ret) {
        assert(call);
        assert(error);
        assert(ret);

        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        ErrorCode code = error->code == ERROR_NONE ? ERROR_FAILED : error->code;
        const char *message = isempty(error->message) ? error_code_to_doc(code) : error->message;

        /* Without a message in the sd_bus_error nothing is in the body yet. */
        const sd_bus_error e = { .name = error_code_to_dbus_name(code) };
        int r = sd_bus_message_new_method_error(call, &m, &e);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "ss", message, error->details ? error->details : "{}");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

int format_entry(sd_bus_message *m, const char *name, const char *signature, const void *value) {
        assert(m);
        assert(name);
        assert(signature && strlen(signature) == 1);

        int r = sd_bus_message_open_container(m, 'e', "sv");
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, 's', name);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'v', signature);
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, signature[0], value);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

/* ---- JSON ---- */

/* D-Bus allows 64 nested containers, and an object takes three (variant, array, entry). */
#define JSON_NESTED_MAX 12U

static int append_json(sd_bus_message *m, Json *j, unsigned depth);

static int append_basic_variant(sd_bus_message *m, const char *signature, const void *value) {
        int r = sd_bus_message_open_container(m, 'v', signature);
        if (r < 0)
                return r;
        r = sd_bus_message_append_basic(m, signature[0], value);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int append_json_text(sd_bus_message *m, Json *j) {
        _cleanup_free_ char *text = json_to_text(j, false);
        return text ? append_basic_variant(m, "s", text) : -ENOMEM;
}

static int append_json_number(sd_bus_message *m, Json *j) {
        int64_t x;
        uint64_t t;

        if (json_u64(j, UINT64_MAX, &t) >= 0)
                return append_basic_variant(m, "t", &t);
        if (json_i64(j, &x) >= 0)
                return append_basic_variant(m, "x", &x);
        return append_json_text(m, j);
}

static int append_members(sd_bus_message *m, Json *object, unsigned depth) {
        void *iterator = NULL;
        const char *key;
        Json *value;

        int r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while (json_next(object, &iterator, &key, &value)) {
                if (json_type(value) == JSON_NULL) /* D-Bus has none: left out */
                        continue;
                r = sd_bus_message_open_container(m, 'e', "sv");
                if (r < 0)
                        return r;
                r = sd_bus_message_append_basic(m, 's', key);
                if (r < 0)
                        return r;
                r = append_json(m, value, depth + 1);
                if (r < 0)
                        return r;
                r = sd_bus_message_close_container(m);
                if (r < 0)
                        return r;
        }
        return sd_bus_message_close_container(m);
}

static int append_json_array(sd_bus_message *m, Json *j, unsigned depth) {
        int r = sd_bus_message_open_container(m, 'v', "av");
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "v");
        if (r < 0)
                return r;
        for (size_t n = 0; n < json_length(j); n++) {
                Json *value = json_at(j, n);
                if (json_type(value) == JSON_NULL)
                        continue;
                r = append_json(m, value, depth + 1);
                if (r < 0)
                        return r;
        }
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

static int append_json_object(sd_bus_message *m, Json *j, unsigned depth) {
        int r = sd_bus_message_open_container(m, 'v', "a{sv}");
        if (r < 0)
                return r;
        r = append_members(m, j, depth);
        if (r < 0)
                return r;
        return sd_bus_message_close_container(m);
}

/* One value as a variant. What is nested deeper than D-Bus carries is given as text. */
static int append_json(sd_bus_message *m, Json *j, unsigned depth) {
        bool b;

        if (depth > JSON_NESTED_MAX)
                return append_json_text(m, j);
        switch (json_type(j)) {
        case JSON_NULL:
        case JSON_REAL:
                return append_json_text(m, j);
        case JSON_BOOL: {
                int r = json_bool(j, &b);
                int i = b;
                return r < 0 ? r : append_basic_variant(m, "b", &i);
        }
        case JSON_INTEGER:
                return append_json_number(m, j);
        case JSON_STRING:
                return append_basic_variant(m, "s", json_string(j));
        case JSON_ARRAY:
                return append_json_array(m, j, depth);
        case JSON_OBJECT:
                return append_json_object(m, j, depth);
        }
        return -EINVAL;
}

int format_json_dict(sd_bus_message *m, const Json *object) {
        assert(m);
        assert(object);

        if (json_type(object) != JSON_OBJECT)
                return -EINVAL;
        return append_members(m, (Json *) object, 1);
}
