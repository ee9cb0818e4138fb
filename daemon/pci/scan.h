/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Scanning of short kernel text, inside this folder only. A scanner moves a pointer over terminated
 * text, never beyond its NUL, never allocates, and leaves the pointer where it stopped. It exists
 * because thousands of attributes are decoded at start; elsewhere use parse_u64() of
 * base/strutil.h.
 */

#include "base/cleanup.h"

static inline int scan_hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

/* 1…max_digits (at most 16) hex digits; false when there is none or one more follows. */
static inline bool scan_hex(const char **p, unsigned max_digits, uint64_t *ret) {
        const char *s = *p;
        uint64_t v = 0;
        unsigned n = 0;
        int digit;

        for (; (digit = scan_hex_digit(*s)) >= 0; s++, n++) {
                if (n >= max_digits)
                        return false;
                v = v << 4 | (unsigned) digit;
        }
        if (n == 0)
                return false;
        *p = s;
        *ret = v;
        return true;
}

/* The same with a "0x" that may be missing. */
static inline bool scan_hex_prefixed(const char **p, unsigned max_digits, uint64_t *ret) {
        const char *s = *p;

        if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
                s += 2;
        if (!scan_hex(&s, max_digits, ret))
                return false;
        *p = s;
        return true;
}

/* Decimal, no sign, at most max. */
static inline bool scan_decimal(const char **p, uint64_t max, uint64_t *ret) {
        const char *s = *p;
        uint64_t v = 0;

        if (*s < '0' || *s > '9')
                return false;
        for (; *s >= '0' && *s <= '9'; s++) {
                uint64_t digit = (uint64_t) (*s - '0');

                if (digit > max || v > (max - digit) / 10)
                        return false;
                v = v * 10 + digit;
        }
        *p = s;
        *ret = v;
        return true;
}

/* Nothing is left but, perhaps, the newline that ends an attribute. */
static inline bool scan_end(const char *s) {
        return s[0] == 0 || (s[0] == '\n' && s[1] == 0);
}

static inline bool scan_whole_hex(const char *s, unsigned max_digits, uint64_t *ret) {
        uint64_t v;

        if (!scan_hex_prefixed(&s, max_digits, &v) || !scan_end(s))
                return false;
        *ret = v;
        return true;
}

static inline bool scan_whole_decimal(const char *s, uint64_t max, uint64_t *ret) {
        uint64_t v;

        if (!scan_decimal(&s, max, &v) || !scan_end(s))
                return false;
        *ret = v;
        return true;
}

/* Copies text without its final newline if it fits, is not empty, and is printable ASCII without
 * a slash. */
static inline bool scan_name(const char *s, char *buffer, size_t size) {
        size_t n = 0;

        for (; !scan_end(s + n); n++)
                if (n + 1 >= size || s[n] < ' ' || s[n] > '~' || s[n] == '/')
                        return false;
        if (n == 0)
                return false;
        memcpy(buffer, s, n);
        buffer[n] = 0;
        return true;
}
