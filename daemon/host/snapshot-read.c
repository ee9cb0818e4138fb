/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The typed getters below the reader of HOST.json. The file comes from somebody else's machine:
 * every type, length and key is checked, and each refusal names the place by its JSON pointer, what
 * was found and what was expected. Keys that are quoted in a message are escaped and cut, since
 * they are as hostile as the rest.
 */

#include "host/snapshot-private.h"

#include <assert.h>
#include <stdarg.h>

#include "base/strutil.h"

#define SHOWN_KEY_MAX 48

static void pointer_add(SnapshotReader *r, const char *s) {
        size_t room = sizeof(r->pointer) - 1 - r->length, n = MIN(strlen(s), room);

        memcpy(r->pointer + r->length, s, n);
        r->length += n;
        r->pointer[r->length] = 0;
}

/* No byte of a key reaches a terminal but printable ASCII. */
static const char *escape_byte(char c, char buffer[8]) {
        if (c < ' ' || c > '~')
                (void) snprintf(buffer, 8, "\\x%02x", (unsigned) (uint8_t) c);
        else
                (void) snprintf(buffer, 8, "%c", c);
        return buffer;
}

size_t snapshot_enter(SnapshotReader *r, const char *key) {
        size_t before = r->length;

        assert(key);
        pointer_add(r, "/");
        for (const char *p = key; *p; p++) { /* RFC 6901 escapes */
                char c[8];

                pointer_add(r, *p == '~' ? "~0" : *p == '/' ? "~1" : escape_byte(*p, c));
        }
        return before;
}

size_t snapshot_enter_index(SnapshotReader *r, size_t i) {
        size_t before = r->length;
        char text[24];

        (void) snprintf(text, sizeof(text), "/%zu", i);
        pointer_add(r, text);
        return before;
}

void snapshot_leave(SnapshotReader *r, size_t length) {
        assert(length <= r->length);
        r->length = length;
        r->pointer[length] = 0;
}

int snapshot_invalid(SnapshotReader *r, const char *format, ...) {
        char text[ERROR_MESSAGE_MAX - sizeof(r->pointer)];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        return error_set(r->err, ERROR_INVALID, "%s: %s", r->length > 0 ? r->pointer : "/", text);
}

int snapshot_expected(SnapshotReader *r, const char *expected, const Json *found) {
        return snapshot_invalid(r, "expected %s, found %s", expected,
                                found ? json_type_to_string(json_type(found)) : "nothing");
}

int snapshot_out_of_memory(SnapshotReader *r) {
        (void) error_set(r->err, ERROR_FAILED, "out of memory while reading the snapshot");
        return -ENOMEM;
}

static bool key_is_known(const char *const *keys, const char *key) {
        for (; *keys; keys++)
                if (streq(*keys, key))
                        return true;
        return false;
}

int snapshot_check_object(SnapshotReader *r, const Json *j, const char *const *keys) {
        void *iterator = NULL;
        const char *key;

        if (json_type(j) != JSON_OBJECT)
                return snapshot_expected(r, "an object", j);
        while (json_next(j, &iterator, &key, NULL)) {
                char shown[SHOWN_KEY_MAX + 8] = "";

                if (key_is_known(keys, key))
                        continue;
                for (size_t n = 0; *key && n < SHOWN_KEY_MAX; n = strlen(shown))
                        (void) escape_byte(*key++, shown + n);
                return snapshot_invalid(r, "unknown key \"%s\"; this version reads no such key",
                                        shown);
        }
        return 0;
}

int snapshot_text(SnapshotReader *r, const Json *value, size_t max, char **ret) {
        const char *s = json_string(value);
        char *copy;

        assert(ret);
        if (!s)
                return snapshot_expected(r, "a string", value);
        if (json_length(value) > max)
                return snapshot_invalid(r, "the string has %zu bytes, %zu are allowed",
                                        json_length(value), max);
        if (strlen(s) != json_length(value))
                return snapshot_invalid(r, "the string has a NUL inside");
        copy = strdup(s);
        if (!copy)
                return snapshot_out_of_memory(r);
        *ret = copy;
        return 0;
}

int snapshot_name(SnapshotReader *r, const Json *value, size_t max, char **ret) {
        _cleanup_free_ char *s = NULL;
        int k;

        k = snapshot_text(r, value, max, &s);
        if (k < 0)
                return k;
        if (!string_is_safe(s, max))
                return snapshot_invalid(r, "expected a name without control characters, not empty");
        *ret = TAKE_PTR(s);
        return 0;
}

static int get_string(SnapshotReader *r, const Json *j, const char *key, size_t max, bool name,
                      char **ret) {
        const Json *value = json_get(j, key);
        size_t before;
        int k;

        if (!value)
                return 0;
        before = snapshot_enter(r, key);
        k = name ? snapshot_name(r, value, max, ret) : snapshot_text(r, value, max, ret);
        snapshot_leave(r, before);
        return k < 0 ? k : 1;
}

int snapshot_get_text(SnapshotReader *r, const Json *j, const char *key, size_t max, char **ret) {
        return get_string(r, j, key, max, false, ret);
}

int snapshot_get_name(SnapshotReader *r, const Json *j, const char *key, size_t max, char **ret) {
        return get_string(r, j, key, max, true, ret);
}

int snapshot_get_number(SnapshotReader *r, const Json *j, const char *key, uint64_t max,
                        uint64_t *ret) {
        const Json *value = json_get(j, key);
        size_t before;
        int k = 1;

        assert(ret);
        if (!value)
                return 0;
        before = snapshot_enter(r, key);
        if (json_type(value) != JSON_INTEGER)
                k = snapshot_expected(r, "an integer", value);
        else if (json_u64(value, max, ret) < 0)
                k = snapshot_invalid(r, "expected an integer from 0 to %llu",
                                     (unsigned long long) max);
        snapshot_leave(r, before);
        return k;
}

int snapshot_get_array(SnapshotReader *r, const Json *j, const char *key, size_t max, Json **ret) {
        Json *value = json_get(j, key);
        size_t before;
        int k = 1;

        assert(ret);
        if (!value)
                return 0;
        before = snapshot_enter(r, key);
        if (json_type(value) != JSON_ARRAY)
                k = snapshot_expected(r, "an array", value);
        else if (json_length(value) > max)
                k = snapshot_invalid(r, "the array has %zu elements, %zu are allowed",
                                     json_length(value), max);
        else
                *ret = value;
        snapshot_leave(r, before);
        return k;
}

int snapshot_errno_from_string(const char *s) {
        assert(s);
        for (int i = 1; i < 134; i++) { /* EHWPOISON is the last */
                const char *name = strerrorname_np(i);

                if (name && streq(name, s))
                        return i;
        }
        return -EINVAL;
}
