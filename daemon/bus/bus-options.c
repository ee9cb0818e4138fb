/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Arguments from strangers: dictionaries of options by one table per method, lists of names,
 * strings. Everything is bounded before it is copied; an unknown key, a key given twice, a wrong
 * type and a wrong value are refused with the key and what was expected. Values of strings and
 * descriptors stay the message's.
 */

#include <assert.h>

#include "bus/bus-private.h"

#define KEY_SHOWN_MAX 64U

static const OptionRow *find_row(const char *key, const OptionRow *rows, size_t n_rows) {
        for (size_t n = 0; n < n_rows; n++)
                if (streq(rows[n].key, key))
                        return &rows[n];
        return NULL;
}

static int unknown_key(const char *key, const OptionRow *rows, size_t n_rows, Error *err) {
        _cleanup_strbuf_ StrBuf b = {};

        if (!string_is_safe(key, KEY_SHOWN_MAX))
                key = "(unprintable)";
        if (n_rows == 0)
                return error_set(err, ERROR_INVALID, "Unknown option \"%s\"; none is known here",
                                 key);
        for (size_t n = 0; n < n_rows; n++)
                strbuf_addf(&b, "%s%s", n > 0 ? ", " : "", rows[n].key);
        return error_set(err, ERROR_INVALID, "Unknown option \"%s\"; known are: %s", key,
                         strempty(b.data));
}

static int wrong(const OptionRow *row, const char *found, Error *err) {
        return error_set(err, ERROR_INVALID, "Option \"%s\" must be %s%s%s", row->key, row->expect,
                         found ? ", not of type " : "", strempty(found));
}

static const char *row_signature(const OptionRow *row) {
        switch (row->type) {
        case OPTION_STRING:
        case OPTION_CHOICE:
                return "s";
        case OPTION_BOOL:
        case OPTION_TRISTATE:
                return "b";
        case OPTION_U32:
                return "u";
        case OPTION_I32:
                return "i";
        case OPTION_U64:
                return "t";
        case OPTION_FD:
                return "h";
        case OPTION_LABELS:
                return "a{ss}";
        }
        return NULL;
}

static int read_text(sd_bus_message *m, const OptionRow *row, void *to, Error *err) {
        const char *s;
        int r = sd_bus_message_read_basic(m, 's', &s);
        if (r < 0)
                return r;
        if (row->type == OPTION_STRING) {
                if (!string_is_safe(s, row->max))
                        return wrong(row, NULL, err);
                *(const char **) to = s;
                return 0;
        }
        for (size_t n = 0; n < row->n_choices; n++)
                if (streq_ptr(row->choices[n], s)) {
                        *(int *) to = (int) n;
                        return 0;
                }
        return wrong(row, NULL, err);
}

static int read_number(sd_bus_message *m, const OptionRow *row, void *to, Error *err) {
        union { uint64_t t; uint32_t u; int32_t i; } v = {};

        int r = sd_bus_message_read_basic(m, row_signature(row)[0], &v);
        if (r < 0)
                return r;
        switch (row->type) {
        case OPTION_U32:
                if (row->max > 0 && v.u > row->max)
                        return wrong(row, NULL, err);
                *(uint32_t *) to = v.u;
                return 0;
        case OPTION_I32:
                if (v.i < -1 || (row->max > 0 && v.i > (int64_t) row->max))
                        return wrong(row, NULL, err);
                *(int32_t *) to = v.i;
                return 0;
        case OPTION_U64:
                if (row->max > 0 && v.t > row->max)
                        return wrong(row, NULL, err);
                *(uint64_t *) to = v.t;
                return 0;
        case OPTION_STRING:
        case OPTION_BOOL:
        case OPTION_TRISTATE:
        case OPTION_FD:
        case OPTION_LABELS:
        case OPTION_CHOICE:
                break;
        }
        return -EINVAL;
}

static bool label_key_is_valid(const char *s) {
        return string_is_safe(s, LABEL_SIZE_MAX) && !strchr(s, '=');
}

static int read_labels(sd_bus_message *m, const OptionRow *row, char ***to, Error *err) {
        _cleanup_strv_ char **v = NULL;
        size_t n = 0;
        const char *key, *value;

        int r = sd_bus_message_enter_container(m, 'a', "{ss}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "{ss}", &key, &value)) > 0) {
                if (++n > LABELS_MAX)
                        return wrong(row, NULL, err);
                if (!label_key_is_valid(key) ||
                    (!isempty(value) && !string_is_safe(value, LABEL_SIZE_MAX)))
                        return error_set(err, ERROR_INVALID,
                                         "Option \"%s\" must have keys and values of printable "
                                         "UTF-8, at most 256 bytes each, and no = in a key",
                                         row->key);
                _cleanup_free_ char *label = strjoinf("%s=%s", key, value);
                if (!label || strv_extend(&v, label) < 0)
                        return -ENOMEM;
        }
        if (r < 0)
                return r;
        strv_free(*to);
        *to = TAKE_PTR(v);
        return sd_bus_message_exit_container(m);
}

static int read_value(sd_bus_message *m, const OptionRow *row, void *to, Error *err) {
        int b, r;

        switch (row->type) {
        case OPTION_STRING:
        case OPTION_CHOICE:
                return read_text(m, row, to, err);
        case OPTION_BOOL:
                r = sd_bus_message_read_basic(m, 'b', &b);
                if (r >= 0)
                        *(bool *) to = b;
                return r;
        case OPTION_TRISTATE:
                return sd_bus_message_read_basic(m, 'b', to);
        case OPTION_U32:
        case OPTION_I32:
        case OPTION_U64:
                return read_number(m, row, to, err);
        case OPTION_FD:
                return sd_bus_message_read_basic(m, 'h', to);
        case OPTION_LABELS:
                return read_labels(m, row, to, err);
        }
        return -EINVAL;
}

static int read_entry(sd_bus_message *m, const OptionRow *rows, size_t n_rows, uint32_t *seen,
                      void *target, Error *err) {
        const char *key, *contents;

        int r = sd_bus_message_read_basic(m, 's', &key);
        if (r < 0)
                return r;
        const OptionRow *row = find_row(key, rows, n_rows);
        if (!row)
                return unknown_key(key, rows, n_rows, err);
        uint32_t bit = UINT32_C(1) << (row - rows);
        if (*seen & bit)
                return error_set(err, ERROR_INVALID, "Option \"%s\" is given twice", row->key);
        *seen |= bit;

        char type;
        r = sd_bus_message_peek_type(m, &type, &contents);
        if (r < 0)
                return r;
        if (!streq(contents, row_signature(row)))
                return wrong(row, strlen(contents) <= 16 ? contents : "something else", err);
        r = sd_bus_message_enter_container(m, 'v', contents);
        if (r < 0)
                return r;
        r = read_value(m, row, (char *) target + row->offset, err);
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

int options_read(sd_bus_message *m, const OptionRow *rows, size_t n_rows, void *target,
                 Error *err) {
        assert(m);
        assert(rows || n_rows == 0);
        assert(n_rows <= OPTIONS_MAX);

        uint32_t seen = 0;
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = read_entry(m, rows, n_rows, &seen, target, err);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

int options_read_none(sd_bus_message *m, Error *err) {
        return options_read(m, NULL, 0, NULL, err);
}

int options_read_names(sd_bus_message *m, const char *what, size_t max, Error *err, char ***ret) {
        assert(m);
        assert(what);
        assert(ret);

        _cleanup_strv_ char **v = NULL;
        const char *s;
        size_t n = 0, allocated = 0;

        int r = sd_bus_message_enter_container(m, 'a', "s");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read_basic(m, 's', &s)) > 0) {
                if (n >= max)
                        return error_set(err, ERROR_INVALID,
                                         "Argument \"%s\" has more than %zu elements", what, max);
                if (!string_is_safe(s, DEVICE_NAME_SIZE_MAX))
                        return error_set(err, ERROR_INVALID,
                                         "Element %zu of argument \"%s\" must be 1 to %u bytes of "
                                         "printable UTF-8",
                                         n + 1, what, DEVICE_NAME_SIZE_MAX);
                if (n + 1 >= allocated) {
                        allocated = MAX(allocated * 2, (size_t) 8);
                        char **grown = reallocarray(v, allocated, sizeof(char *));
                        if (!grown)
                                return -ENOMEM;
                        v = grown;
                }
                v[n] = strdup(s);
                if (!v[n])
                        return -ENOMEM;
                v[++n] = NULL;
        }
        if (r < 0)
                return r;
        if (!v) {
                v = calloc(1, sizeof(char *));
                if (!v)
                        return -ENOMEM;
        }
        r = sd_bus_message_exit_container(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

int options_read_string(sd_bus_message *m, const char *what, size_t max, Error *err,
                        const char **ret) {
        assert(m);
        assert(what);
        assert(ret);

        const char *s;
        int r = sd_bus_message_read_basic(m, 's', &s);
        if (r < 0)
                return r;
        if (!string_is_safe(s, max))
                return error_set(err, ERROR_INVALID,
                                 "Argument \"%s\" must be 1 to %zu bytes of printable UTF-8", what,
                                 max);
        *ret = s;
        return 0;
}
