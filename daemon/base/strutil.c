/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Strings. Numbers are parsed whole and in range or refused; text from outside is checked as UTF-8
 * and escaped before it reaches a terminal; buffers and vectors grow with every allocation checked.
 * Nothing here depends on the locale.
 */

#include "base/strutil.h"

#include <assert.h>

static int digit_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return 16;
}

int parse_u64_n(const char *s, size_t n, unsigned base, uint64_t max, uint64_t *ret) {
        bool overflow = false;
        uint64_t v = 0;

        assert(s || n == 0);
        assert(base == 0 || base == 10 || base == 16);
        assert(ret);

        if (base != 10 && n >= 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
                s += 2;
                n -= 2;
                base = 16;
        }
        if (base == 0)
                base = 10;
        if (n == 0)
                return -EINVAL;
        for (size_t i = 0; i < n; i++) {
                unsigned digit = (unsigned) digit_value(s[i]);
                if (digit >= base)
                        return -EINVAL;
                if (__builtin_mul_overflow(v, base, &v) || __builtin_add_overflow(v, digit, &v))
                        overflow = true;
        }
        if (overflow || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

int parse_u64(const char *s, unsigned base, uint64_t max, uint64_t *ret) {
        return s ? parse_u64_n(s, strlen(s), base, max, ret) : -EINVAL;
}

int parse_u32(const char *s, unsigned base, uint32_t max, uint32_t *ret) {
        uint64_t v;
        int r = parse_u64(s, base, max, &v);

        if (r < 0)
                return r;
        *ret = (uint32_t) v;
        return 0;
}

int parse_bool(const char *s, bool *ret) {
        static const char *const yes[] = { "1", "yes", "true", "on" }, *const no[] = { "0", "no",
                                                                                       "false",
                                                                                       "off" };

        assert(ret);
        for (size_t i = 0; s && i < ELEMENTSOF(yes); i++)
                if (streq(s, yes[i]) || streq(s, no[i])) {
                        *ret = streq(s, yes[i]);
                        return 0;
                }
        return -EINVAL;
}

/* Length of the UTF-8 sequence at s and its code point; 0 when it is not one (RFC 3629: no overlong
 * forms, no surrogates, nothing above U+10FFFF). */
static size_t utf8_decode(const char *s, size_t n, uint32_t *ret) {
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const uint8_t *p = (const uint8_t *) s;
        size_t length;
        uint32_t c;

        if (n == 0)
                return 0;
        if (p[0] < 0x80) {
                *ret = p[0];
                return 1;
        }
        if (p[0] >= 0xf8 || p[0] < 0xc0)
                return 0;
        length = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
        if (n < length)
                return 0;
        c = p[0] & (0x7fU >> length);
        for (size_t i = 1; i < length; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (p[i] & 0x3f);
        }
        if (c < smallest[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
                return 0;
        *ret = c;
        return length;
}

/* C0, DEL, C1, line and paragraph separators, and what reverses the direction of text on a
 * terminal. */
static bool is_control(uint32_t c) {
        return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0x2028 || c == 0x2029 ||
               (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

bool utf8_is_valid(const char *s, size_t n) {
        uint32_t c;

        for (size_t i = 0, length; i < n; i += length) {
                length = utf8_decode(s + i, n - i, &c);
                if (length == 0)
                        return false;
        }
        return true;
}

bool string_is_safe(const char *s, size_t max) {
        size_t n = s ? strnlen(s, max + 1) : 0;
        uint32_t c;

        if (n == 0 || n > max)
                return false;
        for (size_t i = 0, length; i < n; i += length) {
                length = utf8_decode(s + i, n - i, &c);
                if (length == 0 || is_control(c))
                        return false;
        }
        return true;
}

char *string_escape(const char *s) {
        _cleanup_strbuf_ StrBuf b = {};
        size_t n = strlen(s);
        uint32_t c;

        for (size_t i = 0, length; i < n; i += length) {
                length = utf8_decode(s + i, n - i, &c);
                if (length > 0 && !is_control(c)) {
                        strbuf_add_n(&b, s + i, length);
                        continue;
                }
                length = MAX(length, (size_t) 1);
                for (size_t j = 0; j < length; j++)
                        strbuf_addf(&b, "\\x%02x", (unsigned) (uint8_t) s[i + j]);
        }
        return strbuf_steal(&b);
}

/* Matches one character against the [set] at p; *ret_end is behind the set, or NULL when it is not
 * closed. */
static bool set_matches(const char *p, char c, const char **ret_end) {
        bool negated, found = false;

        p++;
        negated = *p == '!' || *p == '^';
        if (negated)
                p++;
        for (const char *start = p; *p && (*p != ']' || p == start); p++) {
                if (p[1] == '-' && p[2] && p[2] != ']') {
                        found = found ||
                                ((uint8_t) c >= (uint8_t) p[0] && (uint8_t) c <= (uint8_t) p[2]);
                        p += 2;
                } else
                        found = found || c == *p;
        }
        *ret_end = *p ? p + 1 : NULL;
        return found != negated;
}

/* Whether one pattern element, not a star, takes the character c; *ret_next is the element behind
 * it. */
static bool element_matches(const char *p, char c, const char **ret_next) {
        const char *end;

        if (*p == '[') {
                bool found = set_matches(p, c, &end);
                if (end) {
                        *ret_next = end;
                        return found;
                }
        }
        *ret_next = p + 1;
        return *p == '?' || (*p && *p == c);
}

bool glob_matches(const char *pattern, const char *s) {
        const char *star = NULL, *retry = NULL, *next;

        assert(pattern);
        assert(s);
        while (*s) {
                if (*pattern == '*') {
                        star = ++pattern;
                        retry = s;
                } else if (element_matches(pattern, *s, &next)) {
                        pattern = next;
                        s++;
                } else if (star) {
                        /* Only the last star needs another try: earlier ones took the least they
                         * could. */
                        pattern = star;
                        s = ++retry;
                } else
                        return false;
        }
        while (*pattern == '*')
                pattern++;
        return *pattern == 0;
}

static bool is_blank(char c) {
        return c == ' ' || (c >= '\t' && c <= '\r');
}

char *string_strip(char *s) {
        size_t n;

        while (is_blank(*s))
                s++;
        n = strlen(s);
        while (n > 0 && is_blank(s[n - 1]))
                s[--n] = 0;
        return s;
}

bool string_copy(char *to, size_t size, const char *from) {
        size_t n;

        assert(to && size > 0);
        assert(from);
        n = strnlen(from, size);
        memcpy(to, from, MIN(n, size - 1));
        to[MIN(n, size - 1)] = 0;
        return n < size;
}

int free_and_strdup(char **p, const char *s) {
        char *copy = NULL;

        if (s) {
                copy = strdup(s);
                if (!copy)
                        return -ENOMEM;
        }
        free(*p);
        *p = copy;
        return 0;
}

char *strjoinf(const char *format, ...) {
        char *s = NULL;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(&s, format, ap);
        va_end(ap);
        return n < 0 ? NULL : s;
}

/* Room for n bytes and the terminator behind them. */
static bool strbuf_reserve(StrBuf *b, size_t n) {
        size_t need, want;
        char *p;

        if (b->error < 0)
                return false;
        if (__builtin_add_overflow(b->size, n, &need) || __builtin_add_overflow(need, 1, &need) ||
            need > SIZE_MAX / 2) {
                b->error = -ENOMEM;
                return false;
        }
        if (b->data && need <= b->allocated)
                return true;
        want = MAX(need, MAX(b->allocated * 2, (size_t) 64));
        p = realloc(b->data, want);
        if (!p) {
                b->error = -ENOMEM;
                return false;
        }
        b->data = p;
        b->allocated = want;
        return true;
}

void strbuf_add_n(StrBuf *b, const void *data, size_t n) {
        if (!strbuf_reserve(b, n))
                return;
        if (n > 0)
                memcpy(b->data + b->size, data, n);
        b->size += n;
        b->data[b->size] = 0;
}

void strbuf_add(StrBuf *b, const char *s) {
        strbuf_add_n(b, s, strlen(s));
}

void strbuf_addf(StrBuf *b, const char *format, ...) {
        va_list ap;
        int n;

        if (!strbuf_reserve(b, 0))
                return;
        va_start(ap, format);
        n = vsnprintf(b->data + b->size, b->allocated - b->size, format, ap);
        va_end(ap);
        if (n < 0) {
                b->data[b->size] = 0;
                b->error = -ENOMEM;
                return;
        }
        if ((size_t) n >= b->allocated - b->size) {
                b->data[b->size] = 0;
                if (!strbuf_reserve(b, (size_t) n))
                        return;
                va_start(ap, format);
                (void) vsnprintf(b->data + b->size, b->allocated - b->size, format, ap);
                va_end(ap);
        }
        b->size += (size_t) n;
}

char *strbuf_steal(StrBuf *b) {
        char *s = NULL;

        if (strbuf_reserve(b, 0)) {
                b->data[b->size] = 0;
                s = TAKE_PTR(b->data);
        }
        strbuf_done(b);
        return s;
}

void strbuf_done(StrBuf *b) {
        free(b->data);
        *b = (StrBuf) {};
}

void strv_free(char **v) {
        for (size_t i = 0; v && v[i]; i++)
                free(v[i]);
        free(v);
}

size_t strv_length(char *const *v) {
        size_t n = 0;

        while (v && v[n])
                n++;
        return n;
}

bool strv_contains(char *const *v, const char *s) {
        for (size_t i = 0; v && v[i]; i++)
                if (streq(v[i], s))
                        return true;
        return false;
}

/* Appends the first n bytes of s to a vector of known length. */
static int strv_push_n(char ***v, size_t length, const char *s, size_t n) {
        char **grown, *copy;

        grown = reallocarray(*v, length + 2, sizeof(char *));
        if (!grown)
                return -ENOMEM;
        grown[length] = NULL;
        *v = grown;
        copy = strndup(s, n);
        if (!copy)
                return -ENOMEM;
        (*v)[length] = copy;
        (*v)[length + 1] = NULL;
        return 0;
}

int strv_extend(char ***v, const char *s) {
        assert(v && s);
        return strv_push_n(v, strv_length(*v), s, strlen(s));
}

int strv_copy(char *const *v, char ***ret) {
        size_t n = strv_length(v);
        _cleanup_strv_ char **copy = calloc(n + 1, sizeof(char *));

        if (!copy)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                copy[i] = strdup(v[i]);
                if (!copy[i])
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(copy);
        return 0;
}

int strv_split(const char *s, const char *separators, char ***ret) {
        _cleanup_strv_ char **v = calloc(2, sizeof(char *));

        if (!v)
                return -ENOMEM;
        for (size_t n = 0, word;; s += word) {
                s += strspn(s, separators);
                word = strcspn(s, separators);
                if (word == 0)
                        break;
                int r = strv_push_n(&v, n++, s, word);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(v);
        return 0;
}

char *strv_join(char *const *v, const char *separator) {
        _cleanup_strbuf_ StrBuf b = {};

        for (size_t i = 0; v && v[i]; i++) {
                if (i > 0)
                        strbuf_add(&b, separator);
                strbuf_add(&b, v[i]);
        }
        return strbuf_steal(&b);
}

static int compare_strings(const void *a, const void *b) {
        return strcmp(*(char *const *) a, *(char *const *) b);
}

void strv_sort(char **v) {
        size_t n = strv_length(v);

        if (n > 1)
                qsort(v, n, sizeof(char *), compare_strings);
}

uint32_t crc32c(uint32_t seed, const void *data, size_t n) {
        /* Sixteen remainders of the reflected polynomial 0x82f63b78: two look-ups a byte. */
        static const uint32_t nibbles[16] = {
                0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
        };
        const uint8_t *p = data;
        uint32_t crc = ~seed;

        for (size_t i = 0; i < n; i++) {
                crc ^= p[i];
                crc = crc >> 4 ^ nibbles[crc & 15];
                crc = crc >> 4 ^ nibbles[crc & 15];
        }
        return ~crc;
}

uint64_t hash_bytes(uint64_t h, const void *data, size_t n) {
        const uint8_t *p = data;

        for (size_t i = 0; i < n; i++)
                h = (h ^ p[i]) * UINT64_C(0x100000001b3);
        return h;
}
