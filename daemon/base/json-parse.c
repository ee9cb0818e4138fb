/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The JSON reader (RFC 8259), strict where json-c's own is lenient: no duplicate keys, no trailing
 * commas, no NUL inside a string (C strings would be cut there), no integer beyond 64 bits, UTF-8
 * checked, comments only on request. It keeps its containers on a stack of its own of at most
 * DEPTH_MAX, so that no text can exhaust ours, and stops at the first error with its place. Every
 * byte is looked at a bounded number of times.
 */

#include <assert.h>
#include <locale.h>
#include <math.h>

#include "base/jsonx-private.h"
#include "base/strutil.h"

#define DEPTH_MAX 64U
#define REAL_MAX_BYTES 128U

typedef struct Parser {
        const char *start, *p, *end;
        JsonLimits limits;
        Json *stack[DEPTH_MAX]; /* open containers, outermost first; inner ones are owned by outer
                                   ones */
        unsigned depth;
        Json *root; /* owned once a value was seen */
        StrBuf key;    /* of the member whose value comes next */
        StrBuf string; /* one with escapes; kept for the next one */
        JsonPlaces *places; /* NULL: not asked for */
        const char *key_at; /* where the last key stands */
        size_t open[DEPTH_MAX]; /* places of the open containers */
        bool array[DEPTH_MAX];  /* what they are; else an object */
        const char *reason;
        StrBuf array_key;       /* of the member of the document that is open, if it is an array */
        size_t index, place;    /* of the element of it that is at hand */
} Parser;

static int skip_comment(Parser *p) {
        const char *s = p->p + 2;

        if (p->end - p->p < 2 || (p->p[1] != '/' && p->p[1] != '*'))
                return -EBADMSG;
        if (p->p[1] == '/') {
                while (s < p->end && *s != '\n')
                        s++;
                p->p = s;
                return 0;
        }
        for (; p->end - s >= 2; s++)
                if (s[0] == '*' && s[1] == '/') {
                        p->p = s + 2;
                        return 0;
                }
        return -EBADMSG;
}

static int skip_blanks(Parser *p) {
        for (;;) {
                const char *s = p->p, *end = p->end;

                while (s < end && (*s == ' ' || *s == '\n' || *s == '\t' || *s == '\r'))
                        s++;
                p->p = s;
                if (s == end || *s != '/' || !p->limits.comments)
                        return 0;
                int r = skip_comment(p);
                if (r < 0)
                        return r;
        }
}

static bool next_is(const Parser *p, char c) {
        return p->p < p->end && *p->p == c;
}

static int parse_hex4(Parser *p, uint32_t *ret) {
        uint64_t v;

        /* parse_u64_n() would take a "0x". */
        if (p->end - p->p < 4 || p->p[1] == 'x' || p->p[1] == 'X' ||
            parse_u64_n(p->p, 4, 16, UINT16_MAX, &v) < 0)
                return -EBADMSG;
        p->p += 4;
        *ret = (uint32_t) v;
        return 0;
}

/* The \uXXXX at p (behind the u), with its second half if it is a surrogate, as UTF-8. */
static int parse_unicode(Parser *p, StrBuf *b) {
        uint32_t c, low;
        char out[4];
        size_t n;

        if (parse_hex4(p, &c) < 0 || c == 0 || (c >= 0xdc00 && c <= 0xdfff))
                return -EBADMSG;
        if (c >= 0xd800 && c <= 0xdbff) {
                if (p->end - p->p < 2 || p->p[0] != '\\' || p->p[1] != 'u')
                        return -EBADMSG;
                p->p += 2;
                if (parse_hex4(p, &low) < 0 || low < 0xdc00 || low > 0xdfff)
                        return -EBADMSG;
                c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        }
        n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (n == 1)
                out[0] = (char) c;
        else {
                static const uint8_t lead[] = { 0, 0, 0xc0, 0xe0, 0xf0 };
                for (size_t i = n - 1; i > 0; i--, c >>= 6)
                        out[i] = (char) (0x80 | (c & 0x3f));
                out[0] = (char) (lead[n] | c);
        }
        strbuf_add_n(b, out, n);
        return 0;
}

static int parse_escape(Parser *p, StrBuf *b) {
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        const char *found;

        p->p++;
        if (p->p >= p->end || !*p->p)
                return -EBADMSG;
        if (*p->p == 'u') {
                p->p++;
                return parse_unicode(p, b);
        }
        found = strchr(from, *p->p);
        if (!found)
                return -EBADMSG;
        strbuf_add_n(b, &to[found - from], 1);
        p->p++;
        return 0;
}

/* A string's bytes: in the text itself where nothing is escaped, else in `b`, which is emptied
 * first. */
static int parse_string(Parser *p, StrBuf *b, const char **ret, size_t *ret_n) {
        const char *run;
        bool escaped = false;

        if (!next_is(p, '"'))
                return -EBADMSG;
        run = ++p->p;
        b->size = 0;
        for (;;) {
                const char *s = run, *end = p->end;
                uint8_t all = 0;

                while (s < end && *s != '"' && *s != '\\' && (uint8_t) *s >= 0x20)
                        all |= (uint8_t) *s++;
                p->p = s;
                if (all >= 0x80 && !utf8_is_valid(run, (size_t) (p->p - run))) {
                        p->reason = "a string that is not UTF-8";
                        return -EBADMSG;
                }
                if (next_is(p, '"') && !escaped) {
                        *ret = run;
                        *ret_n = (size_t) (p->p++ - run);
                        return 0;
                }
                strbuf_add_n(b, run, (size_t) (p->p - run));
                if (next_is(p, '"'))
                        break;
                if (!next_is(p, '\\'))
                        return -EBADMSG;
                int r = parse_escape(p, b);
                if (r < 0)
                        return r;
                escaped = true;
                run = p->p;
        }
        p->p++;
        if (b->error < 0)
                return b->error;
        *ret = b->data;
        *ret_n = b->size;
        return 0;
}

static void skip_digits(Parser *p) {
        while (p->p < p->end && *p->p >= '0' && *p->p <= '9')
                p->p++;
}

/* Moves over one or more digits. */
static int take_digits(Parser *p) {
        const char *start = p->p;

        skip_digits(p);
        return p->p > start ? 0 : -EBADMSG;
}

static int parse_integer(const char *s, size_t n, Json **ret) {
        bool negative = s[0] == '-';
        uint64_t v;

        if (parse_u64_n(s + negative, n - negative, 10, UINT64_MAX, &v) < 0)
                return -EBADMSG;
        if (negative && v > (uint64_t) INT64_MAX + 1)
                return -EBADMSG;
        *ret = negative ? json_new_i64((int64_t) (0 - v)) : json_new_u64(v);
        return *ret ? 0 : -ENOMEM;
}

/* In the C locale, whatever the program's is. */
static int parse_real(const char *s, size_t n, Json **ret) {
        char text[REAL_MAX_BYTES];
        locale_t locale;
        double v;

        if (n >= sizeof(text))
                return -EBADMSG;
        memcpy(text, s, n);
        text[n] = 0;
        locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t) 0);
        if (!locale)
                return -ENOMEM;
        v = strtod_l(text, NULL, locale);
        freelocale(locale);
        if (!isfinite(v))
                return -EBADMSG;
        *ret = json_new_real(v);
        return *ret ? 0 : -ENOMEM;
}

static int parse_number(Parser *p, Json **ret) {
        const char *start = p->p;
        bool real = false;

        if (next_is(p, '-'))
                p->p++;
        if (next_is(p, '0'))
                p->p++;
        else if (take_digits(p) < 0)
                return -EBADMSG;
        if (next_is(p, '.')) {
                real = true;
                p->p++;
                if (take_digits(p) < 0)
                        return -EBADMSG;
        }
        if (next_is(p, 'e') || next_is(p, 'E')) {
                real = true;
                p->p++;
                if (next_is(p, '+') || next_is(p, '-'))
                        p->p++;
                if (take_digits(p) < 0)
                        return -EBADMSG;
        }
        return real ? parse_real(start, (size_t) (p->p - start), ret)
                    : parse_integer(start, (size_t) (p->p - start), ret);
}

static bool take_word(Parser *p, const char *word) {
        size_t n = strlen(word);

        if ((size_t) (p->end - p->p) < n || memcmp(p->p, word, n) != 0)
                return false;
        p->p += n;
        return true;
}

static int parse_scalar(Parser *p, Json **ret) {
        const char *s;
        size_t n;
        int r;

        if (next_is(p, '"')) {
                r = parse_string(p, &p->string, &s, &n);
                if (r < 0)
                        return r;
                *ret = json_new_string_n(s, n);
        } else if (next_is(p, '-') || (p->p < p->end && *p->p >= '0' && *p->p <= '9'))
                return parse_number(p, ret);
        else if (take_word(p, "true"))
                *ret = json_new_bool(true);
        else if (take_word(p, "false"))
                *ret = json_new_bool(false);
        else if (take_word(p, "null"))
                *ret = json_new_null();
        else
                return -EBADMSG;
        return *ret ? 0 : -ENOMEM;
}

/* Puts a finished or just opened value into the container at hand, which owns it from here on. */
static int attach(Parser *p, Json *value) {
        Json *container;
        int r;

        if (p->depth == 0) {
                p->root = value;
                return 0;
        }
        container = p->stack[p->depth - 1];
        if (p->array[p->depth - 1])
                return json_append(container, value);
        r = json_set_new(container, p->key.data, value);
        if (r == -EEXIST) {
                p->p = p->key_at;
                p->reason = "a key that the object has already";
                return -EBADMSG;
        }
        return r;
}

/* A member's key and its colon. */
static int parse_key(Parser *p) {
        const char *key;
        size_t n;
        int r;

        p->key_at = p->p;
        r = parse_string(p, &p->string, &key, &n);
        if (r < 0)
                return r;
        p->key.size = 0;
        strbuf_add_n(&p->key, key, n);
        strbuf_add(&p->key, "");
        if (p->key.error < 0)
                return p->key.error;
        r = skip_blanks(p);
        if (r < 0)
                return r;
        if (!next_is(p, ':'))
                return -EBADMSG;
        p->p++;
        return skip_blanks(p);
}

/* Opens a container. *ret_empty: it was closed at once. */
static int open_container(Parser *p, bool *ret_empty) {
        bool array = *p->p == '[';
        Json *value;
        int r;

        if (p->depth >= MIN(p->limits.max_depth, DEPTH_MAX)) {
                p->reason = "too many containers in each other";
                return -E2BIG;
        }
        value = array ? json_new_array() : json_new_object();
        if (!value)
                return -ENOMEM;
        r = attach(p, value);
        if (r < 0)
                return r;
        p->p++;
        r = skip_blanks(p);
        if (r < 0)
                return r;
        *ret_empty = next_is(p, array ? ']' : '}');
        if (*ret_empty) {
                p->p++;
                return 0;
        }
        if (p->places)
                p->open[p->depth] = p->places->n - 1;
        if (p->depth == 1) {
                p->array_key.size = 0;
                strbuf_add(&p->array_key, strempty(p->key.data));
                p->index = 0;
        }
        p->array[p->depth] = array;
        p->stack[p->depth++] = value;
        return array ? 0 : parse_key(p);
}

/* Behind a value: hands an element over to whoever wants them one by one. */
static int hand_over(Parser *p) {
        JsonPlaces *to = p->places;
        Json *array;
        int r;

        if (!to || !to->element || p->depth != 2 || p->array[0] || !p->array[1])
                return 0;
        if (p->array_key.error < 0)
                return p->array_key.error;
        array = p->stack[1];
        r = to->element(p->array_key.data, p->index++, json_at(array, json_length(array) - 1),
                        p->place, to->userdata);
        if (r < 0)
                return r;
        json_drop_last(array);
        to->n = p->place;
        return 0;
}

/* Behind a value: a comma and what the next value needs, or closing brackets. Returns 1 when all
 * are closed. */
static int after_value(Parser *p) {
        while (p->depth > 0) {
                bool array = p->array[p->depth - 1];
                int r = hand_over(p);

                if (r < 0)
                        return r;
                r = skip_blanks(p);
                if (r < 0)
                        return r;
                if (next_is(p, ',')) {
                        p->p++;
                        r = skip_blanks(p);
                        if (r < 0)
                                return r;
                        return array ? 0 : parse_key(p);
                }
                if (!next_is(p, array ? ']' : '}'))
                        return -EBADMSG;
                p->p++;
                p->depth--;
                if (p->places)
                        p->places->items[p->open[p->depth]].next = (uint32_t) p->places->n;
        }
        return 1;
}

/* Records the place of the value that starts here. */
static int add_place(Parser *p) {
        JsonPlaces *to = p->places;
        uint32_t at = (uint32_t) (p->p - p->start);
        bool member = p->depth > 0 && !p->array[p->depth - 1];

        if (ARRAY_RESERVE_ONE(to->items, to->n, to->allocated) < 0)
                return -ENOMEM;
        if (p->depth == 2)
                p->place = to->n;
        to->items[to->n] = (JsonPlace) {
                .key = member ? (uint32_t) (p->key_at - p->start) : at,
                .value = at,
                .next = (uint32_t) to->n + 1,
        };
        to->n++;
        return 0;
}

static int parse_document(Parser *p) {
        int r = skip_blanks(p);

        while (r == 0) {
                bool complete = true;

                if (p->places && add_place(p) < 0)
                        return -ENOMEM;
                if (next_is(p, '[') || next_is(p, '{'))
                        r = open_container(p, &complete);
                else {
                        Json *value;
                        r = parse_scalar(p, &value);
                        if (r >= 0)
                                r = attach(p, value);
                }
                if (r >= 0 && complete)
                        r = after_value(p);
        }
        if (r < 0)
                return r;
        r = skip_blanks(p);
        if (r < 0)
                return r;
        return p->p == p->end ? 0 : -EBADMSG;
}

void json_place_find(const char *text, size_t at, unsigned *ret_line, unsigned *ret_column) {
        unsigned line = 1, column = 1;

        assert(text || at == 0);
        for (size_t i = 0; i < at; i++)
                if (text[i] == '\n') {
                        line++;
                        column = 1;
                } else if (((uint8_t) text[i] & 0xc0) != 0x80)
                        column++;
        if (ret_line)
                *ret_line = line;
        if (ret_column)
                *ret_column = column;
}

void json_places_done(JsonPlaces *p) {
        assert(p);
        free(p->items);
        *p = (JsonPlaces) {};
}

static int parse(Parser *p, size_t n, Json **ret) {
        int r = n > p->limits.max_size || (p->places && n >= UINT32_MAX) ? -E2BIG : 0;

        if (r < 0)
                p->reason = "a text that is too large";
        else {
                p->end = p->p + n;
                r = parse_document(p);
        }
        strbuf_done(&p->key);
        strbuf_done(&p->string);
        strbuf_done(&p->array_key);
        if (r < 0) {
                (void) json_free(p->root);
                return r;
        }
        *ret = p->root;
        return 0;
}

int json_parse(const char *text, size_t n, JsonLimits limits, Json **ret, unsigned *ret_line,
               unsigned *ret_column) {
        Parser p = { .limits = limits };
        int r;

        assert(text || n == 0);
        assert(ret);
        p.start = p.p = text ? text : "";
        r = parse(&p, n, ret);
        if (r < 0)
                json_place_find(p.start, (size_t) (p.p - p.start), ret_line, ret_column);
        return r;
}

int json_parse_places(const char *text, size_t n, JsonLimits limits, Json **ret,
                      JsonPlaces *places) {
        Parser p = { .limits = limits, .places = places };
        int r;

        assert(text || n == 0);
        assert(ret);
        assert(places);
        p.start = p.p = text ? text : "";
        r = parse(&p, n, ret);
        if (r < 0) {
                places->error = (size_t) (p.p - p.start);
                places->reason = p.reason;
        }
        return r;
}
