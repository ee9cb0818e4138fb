/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One generic conversion from D-Bus to JSON, so that no verb has to know every property. The depth
 * is bounded by the bus library, which refuses messages with more than 64 containers inside each
 * other, and once more here.
 */

#include "variant-json.h"

#include <assert.h>

#define DEPTH_MAX 64U

static int read_value(sd_bus_message *m, unsigned depth, Json **ret);

static int read_basic(sd_bus_message *m, char type, Json **ret) {
        union {
                uint8_t u8;
                int b;
                int16_t i16;
                uint16_t u16;
                int32_t i32;
                uint32_t u32;
                int64_t i64;
                uint64_t u64;
                double d; const char *s; int fd;
        } v = {};
        Json *j;
        int r = sd_bus_message_read_basic(m, type, &v);

        if (r < 0)
                return r;
        switch (type) {
        case SD_BUS_TYPE_BYTE: j = json_new_u64(v.u8); break;
        case SD_BUS_TYPE_BOOLEAN: j = json_new_bool(v.b); break;
        case SD_BUS_TYPE_INT16: j = json_new_i64(v.i16); break;
        case SD_BUS_TYPE_UINT16: j = json_new_u64(v.u16); break;
        case SD_BUS_TYPE_INT32: j = json_new_i64(v.i32); break;
        case SD_BUS_TYPE_UINT32: j = json_new_u64(v.u32); break;
        case SD_BUS_TYPE_INT64: j = json_new_i64(v.i64); break;
        case SD_BUS_TYPE_UINT64: j = json_new_u64(v.u64); break;
        case SD_BUS_TYPE_DOUBLE: j = json_new_real(v.d) ?: json_new_null(); break;
        case SD_BUS_TYPE_STRING:
        case SD_BUS_TYPE_OBJECT_PATH:
        case SD_BUS_TYPE_SIGNATURE: j = json_new_string(v.s); break;
        default:
                j = json_new_null();
                break; /* a descriptor: its number means nothing to the reader */
        }
        *ret = j;
        return 0;
}

static int read_members(sd_bus_message *m, const char *contents, unsigned depth, Json *object) {
        int r;

        while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, contents)) > 0) {
                _cleanup_json_ Json *value = NULL;
                const char *key;

                r = sd_bus_message_read_basic(m, SD_BUS_TYPE_STRING, &key);
                if (r >= 0)
                        r = read_value(m, depth, &value);
                if (r >= 0)
                        r = json_set(object, key, TAKE_PTR(value));
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r;
}

static int read_elements(sd_bus_message *m, unsigned depth, Json *array) {
        int r;

        while ((r = sd_bus_message_at_end(m, false)) == 0) {
                _cleanup_json_ Json *value = NULL;

                r = read_value(m, depth, &value);
                if (r >= 0)
                        r = json_append(array, TAKE_PTR(value));
                if (r < 0)
                        return r;
        }
        return r;
}

static int read_container(sd_bus_message *m, char type, const char *contents, unsigned depth,
                          Json **ret) {
        bool dict = type == SD_BUS_TYPE_ARRAY && strncmp(contents, "{s", 2) == 0;
        _cleanup_json_ Json *j = dict ? json_new_object() : json_new_array();
        _cleanup_free_ char *inner = NULL;
        int r;

        r = sd_bus_message_enter_container(m, type, contents);
        if (r < 0)
                return r;
        if (dict) {
                inner = strndup(contents + 1, strlen(contents) - 2);
                if (!inner)
                        return -ENOMEM;
                r = read_members(m, inner, depth, j);
        } else
                r = read_elements(m, depth, j);
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                *ret = TAKE_PTR(j);
        return r;
}

static int read_value(sd_bus_message *m, unsigned depth, Json **ret) {
        const char *contents;
        char type;
        int r;

        if (depth == 0)
                return -EBADMSG;
        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r <= 0)
                return r < 0 ? r : -ENXIO;
        switch (type) {
        case SD_BUS_TYPE_VARIANT:
                r = sd_bus_message_enter_container(m, type, contents);
                if (r >= 0)
                        r = read_value(m, depth - 1, ret);
                return r < 0 ? r : sd_bus_message_exit_container(m);
        case SD_BUS_TYPE_ARRAY:
        case SD_BUS_TYPE_STRUCT:
        case SD_BUS_TYPE_DICT_ENTRY:
                return read_container(m, type, contents, depth - 1, ret);
        default:
                return read_basic(m, type, ret);
        }
}

int message_read_json(sd_bus_message *m, Json **ret) {
        Json *j = NULL;
        int r;

        assert(m);
        assert(ret);
        r = read_value(m, DEPTH_MAX, &j);
        if (r < 0) {
                json_free(j);
                return r;
        }
        *ret = j;
        return 0;
}
