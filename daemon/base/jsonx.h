/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * JSON, the only place that knows json-c. A Json is reference counted. Parsing is strict (UTF-8
 * checked, no trailing garbage, no duplicate keys, // and block comments allowed on request), with
 * limits on size and depth (64 at most). A string with \u0000 and an integer beyond 64 bits are
 * refused as syntax errors. Builders swallow NULL and stay sane after allocation failures:
 * json_to_text() of a broken tree returns NULL.
 */

#include "base/cleanup.h"

typedef struct json_object Json;

typedef struct JsonLimits {
        size_t max_size;    /* bytes */
        unsigned max_depth; /* nested arrays and objects */
        bool comments;
} JsonLimits;
#define JSON_LIMITS_DEFAULT ((JsonLimits) { 16U << 20, 32, false })

typedef enum JsonType {
        JSON_NULL,
        JSON_BOOL,
        JSON_INTEGER,
        JSON_REAL,
        JSON_STRING,
        JSON_ARRAY,
        JSON_OBJECT,
} JsonType;

/* -EBADMSG on syntax (line and column, 1-based, in the last two, which may be NULL), -E2BIG over a
 * limit. */
int json_parse(const char *text, size_t n, JsonLimits limits, Json **ret, unsigned *ret_line,
               unsigned *ret_column);

/* Where a value stands, in bytes from the start of the text; `key` is that of its key, or its
 * own. */
typedef struct JsonPlace {
        uint32_t key, value;
        uint32_t next; /* index of the value behind this one and all that is in it */
} JsonPlace;
/* The places of all values, in order of the text: the first member or element of the container at
 * index i is at i + 1, the one behind that at its `next`. Index 0 is the document. */
typedef struct JsonPlaces {
        JsonPlace *items; /* owned */
        size_t n, allocated;
        size_t error;       /* on failure: where reading stopped */
        const char *reason; /* on failure, where more than syntax was wrong; static, else NULL */

        /* If set, long arrays need not be held: called with each complete element, borrowed, of an
         * array that is a member `key` of the document, and with its place; behind it the element
         * and its places are dropped. A negative return ends the reading with it. */
        int (*element)(const char *key, size_t index, Json *element, size_t place, void *userdata);
        void *userdata;
} JsonPlaces;
/* As json_parse(), recording places; those of a text that was refused are of no use but `error`. */
int json_parse_places(const char *text, size_t n, JsonLimits limits, Json **ret,
                      JsonPlaces *places);
void json_places_done(JsonPlaces *p);
/* Line and column (in characters), 1-based, of a byte of the text. */
void json_place_find(const char *text, size_t at, unsigned *ret_line, unsigned *ret_column);
Json *json_ref(Json *j);
Json *json_free(Json *j); /* drops a reference; NULL is fine; returns NULL */
DEFINE_CLEANUP(Json *, json_free);
#define _cleanup_json_ _cleanup_(json_freep)

JsonType json_type(const Json *j);
const char *json_type_to_string(JsonType type);
/* Member by name or element by index, borrowed; NULL if absent or not of that kind. */
Json *json_get(const Json *j, const char *key);
Json *json_at(const Json *j, size_t i);
size_t json_length(const Json *j); /* of array, object or string (bytes) */
/* Walks an object's members: start with *iterator = NULL; false at the end. Order of the text. */
bool json_next(const Json *j, void **iterator, const char **ret_key, Json **ret_value);

/* Typed getters of members: 1 found, 0 absent (or null), -EINVAL wrong type, -ERANGE. */
int json_get_string(const Json *j, const char *key, const char **ret);
int json_get_u64(const Json *j, const char *key, uint64_t max, uint64_t *ret);
int json_get_i64(const Json *j, const char *key, int64_t *ret);
int json_get_bool(const Json *j, const char *key, bool *ret);
/* The value itself: NULL or -EINVAL where the type differs. */
const char *json_string(const Json *j);
int json_u64(const Json *j, uint64_t max, uint64_t *ret);
int json_i64(const Json *j, int64_t *ret);
int json_bool(const Json *j, bool *ret);

/* Builders. json_set/json_append take the reference of value. The typed ones return 0 or
 * -ENOMEM. */
Json *json_new_object(void);
Json *json_new_array(void);
/* NULL gives JSON null; what is not UTF-8 is escaped as string_escape() does. */
Json *json_new_string(const char *s);
Json *json_new_u64(uint64_t v);
Json *json_new_i64(int64_t v);
Json *json_new_bool(bool v);
Json *json_new_real(double v); /* NULL for what is not finite */
Json *json_new_null(void);
int json_set(Json *object, const char *key, Json *value);
int json_set_string(Json *object, const char *key, const char *value);
int json_set_stringf(Json *object, const char *key, const char *format, ...) _printf_(3, 4);
int json_set_u64(Json *object, const char *key, uint64_t value);
int json_set_i64(Json *object, const char *key, int64_t value);
int json_set_bool(Json *object, const char *key, bool value);
int json_set_null(Json *object, const char *key);
int json_set_strv(Json *object, const char *key, char *const *v);
int json_append(Json *array, Json *value);
int json_append_string(Json *array, const char *value);
/* malloc'd text; pretty adds newlines and two-blank indents. NULL on OOM. */
char *json_to_text(Json *j, bool pretty);
