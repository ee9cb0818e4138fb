/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON values over json-c, which here is the container and the reference count only: reading is
 * json-parse.c's, writing is below. json-c knows null as a NULL pointer, which could not be told
 * from a failed allocation; ours is an object that carries the mark null_mark. A container that a
 * builder failed to fill carries broken_mark, and a tree with one in it is never written.
 */

#include "base/jsonx.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>

/* json-c's typedefs of these names would collide with our functions. */
#define json_type json_c_type
#define json_bool json_c_bool
#include <json-c/json_object.h>
#include <json-c/linkhash.h>
#undef json_type
#undef json_bool

#include "base/jsonx-private.h"
#include "base/strutil.h"

#define WRITE_DEPTH_MAX 64U

static const char null_mark[] = "null", broken_mark[] = "broken";

static bool has_mark(const Json *j, const char *mark) {
        return json_object_get_userdata((Json *) j) == mark;
}

static void set_mark(Json *j, const char *mark) {
        json_object_set_userdata(j, (void *) mark, NULL);
}

Json *json_ref(Json *j) {
        return json_object_get(j);
}

Json *json_free(Json *j) {
        (void) json_object_put(j);
        return NULL;
}

JsonType json_type(const Json *j) {
        switch (json_object_get_type(j)) {
        case json_type_null: /* a NULL pointer */
                return JSON_NULL;
        case json_type_boolean: /* which our null is inside */
                return has_mark(j, null_mark) ? JSON_NULL : JSON_BOOL;
        case json_type_double:
                return JSON_REAL;
        case json_type_int:
                return JSON_INTEGER;
        case json_type_object:
                return JSON_OBJECT;
        case json_type_array:
                return JSON_ARRAY;
        case json_type_string:
                return JSON_STRING;
        }
        return JSON_NULL;
}

const char *json_type_to_string(JsonType type) {
        static const char *const names[] = {
                [JSON_NULL] = "null",     [JSON_BOOL] = "boolean", [JSON_INTEGER] = "integer",
                [JSON_REAL] = "number",   [JSON_STRING] = "string", [JSON_ARRAY] = "array",
                [JSON_OBJECT] = "object",
        };

        assert((unsigned) type < ELEMENTSOF(names));
        return names[type];
}

Json *json_get(const Json *j, const char *key) {
        Json *value = NULL;

        if (json_type(j) != JSON_OBJECT || !json_object_object_get_ex(j, key, &value))
                return NULL;
        return value;
}

Json *json_at(const Json *j, size_t i) {
        if (json_type(j) != JSON_ARRAY || i >= json_length(j))
                return NULL;
        return json_object_array_get_idx(j, i);
}

size_t json_length(const Json *j) {
        switch (json_type(j)) {
        case JSON_ARRAY:
                return json_object_array_length(j);
        case JSON_OBJECT:
                return (size_t) json_object_object_length(j);
        case JSON_STRING:
                return (size_t) json_object_get_string_len(j);
        case JSON_NULL:
        case JSON_BOOL:
        case JSON_INTEGER:
        case JSON_REAL:
                break;
        }
        return 0;
}

bool json_next(const Json *j, void **iterator, const char **ret_key, Json **ret_value) {
        struct lh_entry *e;

        assert(iterator);
        if (json_type(j) != JSON_OBJECT)
                return false;
        e = *iterator ? lh_entry_next((struct lh_entry *) *iterator)
                      : lh_table_head(json_object_get_object(j));
        if (!e)
                return false;
        *iterator = e;
        if (ret_key)
                *ret_key = lh_entry_k(e);
        if (ret_value)
                *ret_value = lh_entry_v(e);
        return true;
}

const char *json_string(const Json *j) {
        return json_type(j) == JSON_STRING ? json_object_get_string((Json *) j) : NULL;
}

int json_u64(const Json *j, uint64_t max, uint64_t *ret) {
        uint64_t v;

        if (json_type(j) != JSON_INTEGER)
                return -EINVAL;
        if (json_object_get_int64(j) < 0)
                return -ERANGE;
        v = json_object_get_uint64(j);
        if (v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

int json_i64(const Json *j, int64_t *ret) {
        int64_t v;

        if (json_type(j) != JSON_INTEGER)
                return -EINVAL;
        v = json_object_get_int64(j);
        /* json-c cuts what is too large at INT64_MAX. */
        if (v == INT64_MAX && json_object_get_uint64(j) > (uint64_t) INT64_MAX)
                return -ERANGE;
        *ret = v;
        return 0;
}

int json_bool(const Json *j, bool *ret) {
        if (json_type(j) != JSON_BOOL)
                return -EINVAL;
        *ret = json_object_get_boolean(j);
        return 0;
}

/* A member that is there and not null. */
static const Json *member(const Json *j, const char *key) {
        const Json *value = json_get(j, key);

        return json_type(value) == JSON_NULL ? NULL : value;
}

int json_get_string(const Json *j, const char *key, const char **ret) {
        const Json *value = member(j, key);
        const char *s = json_string(value);

        if (!value)
                return 0;
        if (!s)
                return -EINVAL;
        *ret = s;
        return 1;
}

int json_get_u64(const Json *j, const char *key, uint64_t max, uint64_t *ret) {
        const Json *value = member(j, key);
        int r = value ? json_u64(value, max, ret) : 0;

        return value && r == 0 ? 1 : r;
}

int json_get_i64(const Json *j, const char *key, int64_t *ret) {
        const Json *value = member(j, key);
        int r = value ? json_i64(value, ret) : 0;

        return value && r == 0 ? 1 : r;
}

int json_get_bool(const Json *j, const char *key, bool *ret) {
        const Json *value = member(j, key);
        int r = value ? json_bool(value, ret) : 0;

        return value && r == 0 ? 1 : r;
}

Json *json_new_object(void) {
        return json_object_new_object();
}

Json *json_new_array(void) {
        return json_object_new_array();
}

Json *json_new_string(const char *s) {
        _cleanup_free_ char *escaped = NULL;

        if (!s)
                return json_new_null();
        if (!utf8_is_valid(s, strlen(s))) {
                escaped = string_escape(s);
                if (!escaped)
                        return NULL;
                s = escaped;
        }
        return json_object_new_string(s);
}

Json *json_new_string_n(const char *s, size_t n) {
        return n <= INT_MAX ? json_object_new_string_len(s, (int) n) : NULL;
}

int json_set_new(Json *object, const char *key, Json *value) {
        struct lh_table *t = json_object_get_object(object);
        unsigned long hash = lh_get_hash(t, key);
        char *copy;
        int r = -ENOMEM;

        if (lh_table_lookup_entry_w_hash(t, key, hash)) {
                (void) json_free(value);
                return -EEXIST;
        }
        copy = strdup(key);
        if (copy)
                r = lh_table_insert_w_hash(t, copy, value, hash, 0) < 0 ? -ENOMEM : 0;
        if (r < 0) {
                free(copy);
                (void) json_free(value);
        }
        return r;
}

void json_drop_last(Json *array) {
        (void) json_object_array_del_idx(array, json_object_array_length(array) - 1, 1);
}

Json *json_new_u64(uint64_t v) {
        return v <= (uint64_t) INT64_MAX ? json_object_new_int64((int64_t) v)
                                         : json_object_new_uint64(v);
}

Json *json_new_i64(int64_t v) {
        return json_object_new_int64(v);
}

Json *json_new_bool(bool v) {
        return json_object_new_boolean(v);
}

Json *json_new_real(double v) {
        return isfinite(v) ? json_object_new_double(v) : NULL;
}

Json *json_new_null(void) {
        Json *j = json_object_new_boolean(false);

        if (j)
                set_mark(j, null_mark);
        return j;
}

int json_set(Json *object, const char *key, Json *value) {
        assert(key);
        if (object && json_type(object) == JSON_OBJECT && value &&
            json_object_object_add(object, key, value) == 0)
                return 0;
        (void) json_free(value);
        if (object)
                set_mark(object, broken_mark);
        return -ENOMEM;
}

int json_append(Json *array, Json *value) {
        if (array && json_type(array) == JSON_ARRAY && value &&
            json_object_array_add(array, value) == 0)
                return 0;
        (void) json_free(value);
        if (array)
                set_mark(array, broken_mark);
        return -ENOMEM;
}

int json_set_string(Json *object, const char *key, const char *value) {
        return json_set(object, key, json_new_string(value));
}

int json_set_stringf(Json *object, const char *key, const char *format, ...) {
        _cleanup_free_ char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&s, format, ap);
        va_end(ap);
        if (n < 0)
                s = NULL;
        return json_set(object, key, s ? json_new_string(s) : NULL);
}

int json_set_u64(Json *object, const char *key, uint64_t value) {
        return json_set(object, key, json_new_u64(value));
}

int json_set_i64(Json *object, const char *key, int64_t value) {
        return json_set(object, key, json_new_i64(value));
}

int json_set_bool(Json *object, const char *key, bool value) {
        return json_set(object, key, json_new_bool(value));
}

int json_set_null(Json *object, const char *key) {
        return json_set(object, key, json_new_null());
}

int json_set_strv(Json *object, const char *key, char *const *v) {
        Json *array = json_new_array();

        for (size_t i = 0; v && v[i]; i++)
                (void) json_append_string(array, v[i]); /* a failure marks the array */
        return json_set(object, key, array);
}

int json_append_string(Json *array, const char *value) {
        return json_append(array, json_new_string(value));
}

static void write_string(StrBuf *b, const char *s) {
        strbuf_add(b, "\"");
        for (const char *run = s;; run = ++s) {
                while ((uint8_t) *s >= 0x20 && *s != '"' && *s != '\\' && *s != 0x7f)
                        s++;
                strbuf_add_n(b, run, (size_t) (s - run));
                if (!*s)
                        break;
                if (*s == '"' || *s == '\\')
                        strbuf_addf(b, "\\%c", *s);
                else if (*s == '\n')
                        strbuf_add(b, "\\n");
                else
                        strbuf_addf(b, "\\u%04x", (unsigned) (uint8_t) *s);
        }
        strbuf_add(b, "\"");
}

/* The shortest text that reads back as the same value, with a point or an exponent, whatever the
 * locale. */
static void write_real(StrBuf *b, double v) {
        char text[40];

        for (int precision = 15; precision <= 17; precision++) {
                (void) snprintf(text, sizeof(text), "%.*g", precision, v);
                if (strtod(text, NULL) == v)
                        break;
        }
        for (char *s = text; *s; s++)
                if (*s == ',')
                        *s = '.';
        strbuf_add(b, text);
        if (!strpbrk(text, ".e"))
                strbuf_add(b, ".0");
}

static void write_break(StrBuf *b, bool pretty, unsigned depth) {
        if (!pretty)
                return;
        strbuf_add(b, "\n");
        for (unsigned i = 0; i < depth; i++)
                strbuf_add(b, "  ");
}

static void write_value(StrBuf *b, const Json *j, bool pretty, unsigned depth);

static void write_container(StrBuf *b, const Json *j, bool pretty, unsigned depth) {
        bool array = json_type(j) == JSON_ARRAY;
        size_t n = json_length(j);
        void *iterator = NULL;
        const char *key = "";
        Json *value = NULL;

        if (depth >= WRITE_DEPTH_MAX || has_mark(j, broken_mark)) {
                b->error = -ENOMEM;
                return;
        }
        strbuf_add(b, array ? "[" : "{");
        for (size_t i = 0; i < n && b->error == 0; i++) {
                if (i > 0)
                        strbuf_add(b, ",");
                write_break(b, pretty, depth + 1);
                if (array)
                        value = json_at(j, i);
                else {
                        (void) json_next(j, &iterator, &key, &value);
                        write_string(b, key);
                        strbuf_add(b, pretty ? ": " : ":");
                }
                write_value(b, value, pretty, depth + 1);
        }
        if (n > 0)
                write_break(b, pretty, depth);
        strbuf_add(b, array ? "]" : "}");
}

/* Recursion ends at WRITE_DEPTH_MAX. */
static void write_value(StrBuf *b, const Json *j, bool pretty, unsigned depth) {
        int64_t v;

        switch (json_type(j)) {
        case JSON_NULL:
                strbuf_add(b, "null");
                break;
        case JSON_BOOL:
                strbuf_add(b, json_object_get_boolean(j) ? "true" : "false");
                break;
        case JSON_INTEGER:
                if (json_i64(j, &v) == 0)
                        strbuf_addf(b, "%" PRIi64, v);
                else
                        strbuf_addf(b, "%" PRIu64, json_object_get_uint64(j));
                break;
        case JSON_REAL:
                write_real(b, json_object_get_double(j));
                break;
        case JSON_STRING:
                write_string(b, json_string(j));
                break;
        case JSON_ARRAY:
        case JSON_OBJECT:
                write_container(b, j, pretty, depth);
                break;
        }
}

char *json_to_text(Json *j, bool pretty) {
        _cleanup_strbuf_ StrBuf b = {};

        if (!j)
                return NULL;
        write_value(&b, j, pretty, 0);
        return strbuf_steal(&b);
}
