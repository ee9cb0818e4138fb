/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The error table's look-ups and the Error object. Messages are cut at ERROR_MESSAGE_MAX, never
 * grown: filling an Error cannot fail. Nothing here logs.
 */

#include "base/errors.h"

#include <assert.h>
#include <stdarg.h>

#undef error_set
#undef error_prefix

typedef struct ErrorEntry {
        const char *dbus_name;
        int number;
        int exit_code;
        const char *doc;
} ErrorEntry;

static const ErrorEntry table[_ERROR_MAX] = {
        [ERROR_NONE] = { ERROR_DBUS_PREFIX "None", 0, 0, "no error" },
#define X(code, name, number, exit, doc) \
        [ERROR_##code] = { ERROR_DBUS_PREFIX name, number, exit, doc },
        ERROR_TABLE(X)
#undef X
};

static const ErrorEntry *error_entry(ErrorCode code) {
        assert((unsigned) code < _ERROR_MAX);
        return &table[code];
}

const char *error_code_to_dbus_name(ErrorCode code) {
        return error_entry(code)->dbus_name;
}

const char *error_code_to_string(ErrorCode code) {
        return error_entry(code)->dbus_name + strlen(ERROR_DBUS_PREFIX);
}

ErrorCode error_code_from_string(const char *s) {
        if (!s)
                return ERROR_NONE;
        if (strncmp(s, ERROR_DBUS_PREFIX, strlen(ERROR_DBUS_PREFIX)) == 0)
                s += strlen(ERROR_DBUS_PREFIX);
        for (unsigned i = 0; i < _ERROR_MAX; i++)
                if (streq(s, error_code_to_string((ErrorCode) i)))
                        return (ErrorCode) i;
        return ERROR_NONE;
}

int error_code_to_errno(ErrorCode code) {
        return error_entry(code)->number;
}

const char *errno_text(int error) {
        const char *text = strerrordesc_np(abs(error));

        return text ? text : "an error that has no name";
}

int error_code_to_exit(ErrorCode code) {
        return error_entry(code)->exit_code;
}

const char *error_code_to_doc(ErrorCode code) {
        return error_entry(code)->doc;
}

int error_set(Error *err, ErrorCode code, const char *format, ...) {
        char message[ERROR_MESSAGE_MAX];
        va_list ap;

        if (err) {
                /* Formatted aside, since an argument may be the old message. */
                va_start(ap, format);
                (void) vsnprintf(message, sizeof(message), format, ap);
                va_end(ap);
                error_done(err);
                err->code = code;
                memcpy(err->message, message, sizeof(message));
        }
        return -error_code_to_errno(code);
}

int error_prefix(Error *err, const char *format, ...) {
        char message[ERROR_MESSAGE_MAX];
        size_t n, rest;
        va_list ap;

        if (!err)
                return -error_code_to_errno(ERROR_FAILED);
        va_start(ap, format);
        (void) vsnprintf(message, sizeof(message), format, ap);
        va_end(ap);

        n = strlen(message);
        (void) snprintf(message + n, sizeof(message) - n, ": ");
        n = strlen(message);
        rest = MIN(strlen(err->message), sizeof(message) - 1 - n);
        memcpy(message + n, err->message, rest);
        message[n + rest] = 0;
        memcpy(err->message, message, sizeof(message));
        return -error_code_to_errno(err->code);
}

void error_take_details(Error *err, char *details) {
        if (!err) {
                free(details);
                return;
        }
        free(err->details);
        err->details = details;
}

void error_move(Error *to, Error *from) {
        assert(from);
        assert(to != from);

        if (!to) {
                error_done(from);
                return;
        }
        error_done(to);
        *to = *from;
        *from = ERROR_INIT;
}

void error_done(Error *err) {
        if (!err)
                return;
        free(err->details);
        err->details = NULL;
        err->code = ERROR_NONE;
        err->message[0] = 0;
}
