/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is wrong with a file: the place (file, line, column, JSON pointer), what was found and what
 * was expected. All problems of all files are collected, up to a bound; what lies beyond is
 * counted. Text of the file is shown escaped and cut, since it may be anything.
 */

#include <assert.h>

#include "policy/policy-private.h"

#define SHOWN_MAX 48U

void policy_problems_done(PolicyProblems *p) {
        assert(p);
        for (size_t i = 0; i < p->n; i++) {
                free(p->items[i].file);
                free(p->items[i].pointer);
                free(p->items[i].found);
                free(p->items[i].expected);
        }
        *p = (PolicyProblems) {};
}

char *policy_problem_to_string(const PolicyProblem *p) {
        _cleanup_strbuf_ StrBuf b = {};

        assert(p);
        strbuf_add(&b, p->file);
        if (p->line > 0)
                strbuf_addf(&b, ":%u:%u", p->line, p->column);
        strbuf_addf(&b, ": %s%sfound %s, expected %s", p->pointer, p->pointer[0] ? ": " : "",
                    p->found, p->expected);
        return strbuf_steal(&b);
}

Json *policy_problems_to_json(const PolicyProblems *p) {
        Json *list = json_new_array();

        assert(p);
        for (size_t i = 0; i < p->n; i++) {
                const PolicyProblem *one = p->items + i;
                Json *j = json_new_object();

                (void) json_set_string(j, "file", one->file);
                if (one->line > 0) {
                        (void) json_set_u64(j, "line", one->line);
                        (void) json_set_u64(j, "column", one->column);
                }
                (void) json_set_string(j, "pointer", one->pointer);
                (void) json_set_string(j, "found", one->found);
                (void) json_set_string(j, "expected", one->expected);
                (void) json_append(list, j);
        }
        return list;
}

static void add_component(StrBuf *b, const PolicyValue *v) {
        strbuf_add(b, "/");
        if (!v->key) {
                strbuf_addf(b, "%zu", v->index);
                return;
        }
        for (const char *s = v->key; *s; s++) /* RFC 6901 */
                if (*s == '~' || *s == '/')
                        strbuf_add(b, *s == '~' ? "~0" : "~1");
                else
                        strbuf_add_n(b, s, 1);
}

/* As long as the way is; a way is bounded by the depth of the text. */
static char *make_pointer(const PolicyValue *v) {
        const PolicyValue *way[64];
        _cleanup_strbuf_ StrBuf b = {};
        size_t n = 0;

        for (; v && v->up && n < ELEMENTSOF(way); v = v->up)
                way[n++] = v;
        strbuf_add(&b, "");
        while (n > 0)
                add_component(&b, way[--n]);
        return strbuf_steal(&b);
}

/* Cut, and safe to print. */
static char *show_string(const char *s) {
        _cleanup_free_ char *cut = strndup(s, SHOWN_MAX), *safe = NULL;

        if (!cut)
                return NULL;
        safe = string_escape(cut);
        return safe ? strjoinf("\"%s%s\"", safe, strlen(s) > SHOWN_MAX ? "…" : "") : NULL;
}

static char *show(Json *j) {
        switch (json_type(j)) {
        case JSON_STRING:
                return show_string(json_string(j));
        case JSON_ARRAY:
                return strjoinf("an array of %zu", json_length(j));
        case JSON_OBJECT:
                return strdup("an object");
        case JSON_NULL:
        case JSON_BOOL:
        case JSON_INTEGER:
        case JSON_REAL:
                break;
        }
        return json_to_text(j, false);
}

/* Takes the strings. */
void policy_problem_add(PolicyReader *x, size_t at, char *pointer, char *found, char *expected) {
        PolicyProblems *p = x->problems;
        PolicyProblem one = { strdup(x->text->file), 0, 0, pointer, found, expected };

        if (x->text->text)
                json_place_find(x->text->text, at, &one.line, &one.column);
        if (one.file && pointer && found && expected && p->n < POLICY_PROBLEMS_MAX) {
                p->items[p->n++] = one;
                return;
        }
        if (p->n >= POLICY_PROBLEMS_MAX)
                p->n_dropped++;
        else
                x->failed = true;
        free(one.file);
        free(pointer);
        free(found);
        free(expected);
}

bool policy_wrong(PolicyReader *x, const PolicyValue *v, const char *format, ...) {
        char *expected = NULL;
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&expected, format, ap) < 0)
                expected = NULL;
        va_end(ap);
        policy_problem_add(x, x->places.items[v->place].value, make_pointer(v), show(v->json),
                           expected);
        return false;
}

bool policy_wrong_key(PolicyReader *x, const PolicyValue *v, char *found, char *expected) {
        policy_problem_add(x, x->places.items[v->place].key, make_pointer(v), found, expected);
        return false;
}
