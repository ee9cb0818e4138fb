/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What was expected, in words, from the table of keys; and what an unknown key may have been meant
 * to be: the name at hand with the fewest letters changed, if it is near enough.
 */

#include <assert.h>

#include "policy/policy-private.h"

#define NEAR_MAX 32U /* bytes of a name that is compared */

const char *const policy_document_names[] = { "$schema", "version", "rules", "defaults", NULL };

static void add_name(StrBuf *b, const char *name) {
        strbuf_addf(b, "%s\"%s\"", b->size > 0 ? ", " : "", name);
}

char *policy_words_describe(const PolicyWord *words) {
        _cleanup_strbuf_ StrBuf b = {};
        _cleanup_free_ char *list = NULL;

        assert(words);
        for (const PolicyWord *w = words; w->text; w++)
                add_name(&b, w->text);
        list = strbuf_steal(&b);
        return list ? strjoinf("one of %s", list) : NULL;
}

char *policy_key_expected(PolicyKey k) {
        const PolicyKeyInfo *info = policy_key_info(k);
        _cleanup_free_ char *words = NULL, *low = NULL, *high = NULL;

        if (info->words) {
                words = policy_words_describe(info->words);
                if (!words)
                        return NULL;
        }
        switch (info->type) {
        case POLICY_TYPE_CHOICE:
        case POLICY_TYPE_WORD:
                return TAKE_PTR(words);
        case POLICY_TYPE_SET:
                return strjoinf("%s, or an array of them", words);
        case POLICY_TYPE_RESET:
                return strjoinf("\"auto\", or an array of methods, each %s", words);
        case POLICY_TYPE_OWNERS:
                return strdup(
                        "an array of at most 256 patterns or { \"owner\", \"users\", \"groups\" }");
        case POLICY_TYPE_LIMIT:
                return strjoinf("a number from 0 to %" PRIu64 ", or \"none\"", info->max);
        case POLICY_TYPE_DRIVER:
                return strdup("\"auto\", or the name of a driver");
        case POLICY_TYPE_SIZE:
                return strdup("\"leave\", \"max\", or a power of two from \"1M\" to \"2048T\"");
        case POLICY_TYPE_DURATION:
                low = policy_duration_to_string(info->min);
                high = policy_duration_to_string(info->max);
                return low && high
                               ? strjoinf("a duration from \"%s\" to \"%s\" (us, ms, s, min, h, d)",
                                          low, high)
                               : NULL;
        case POLICY_TYPE_HOOKS:
                return strjoinf("an array of at most %u names of hooks", POLICY_HOOKS_MAX);
        case POLICY_TYPE_RATE:
                return strjoinf("\"none\", or a rate from \"%" PRIu64 "/d\" to \"%" PRIu64
                                "/s\" (/s, /min, /h, /d)", info->min, info->max);
        case _POLICY_TYPE_MAX:
                break;
        }
        return NULL;
}

char *policy_selector_expected(PolicySelector s) {
        const PolicySelectorInfo *info = policy_selector_info(s);

        switch (info->type) {
        case POLICY_SELECT_GLOB:
                return strdup(
                        s == POLICY_SELECTOR_ADDRESS
                                ? "an address or a pattern of addresses, such as \"0000:41:00.*\""
                                : "a pattern of at most 256 bytes");
        case POLICY_SELECT_ID:
                return strjoinf("four hexadecimal digits, such as %s", info->example);
        case POLICY_SELECT_CLASS:
                return strdup("two, four or six hexadecimal digits");
        case POLICY_SELECT_DSN:
                return strjoinf("a serial number such as %s", info->example);
        case POLICY_SELECT_NODE:
                return strdup("a number, or \"none\"");
        case POLICY_SELECT_WORD:
        case POLICY_SELECT_ALL:
                break;
        }
        return policy_words_describe(info->words);
}

/* ---- unknown keys ---- */

/* Levenshtein's distance of names that are not too long. */
static size_t distance(const char *a, const char *b) {
        size_t n = strlen(a), m = strlen(b), row[NEAR_MAX + 1];

        if (n > NEAR_MAX || m > NEAR_MAX)
                return SIZE_MAX;
        for (size_t k = 0; k <= m; k++)
                row[k] = k;
        for (size_t i = 1; i <= n; i++) {
                size_t diagonal = row[0];

                row[0] = i;
                for (size_t k = 1; k <= m; k++) {
                        size_t above = row[k], replaced = diagonal + (a[i - 1] != b[k - 1]);

                        row[k] = MIN(replaced, MIN(above, row[k - 1]) + 1);
                        diagonal = above;
                }
        }
        return row[m];
}

typedef struct Guess {
        const char *key, *best;
        size_t distance;
        StrBuf names;
} Guess;

static void offer(Guess *g, const char *name) {
        size_t d = distance(g->key, name);

        if (d < g->distance) {
                g->distance = d;
                g->best = name;
        }
        add_name(&g->names, name);
}

static bool note(PolicyReader *x, const PolicyValue *v, Guess *g) {
        _cleanup_free_ char *names = strbuf_steal(&g->names);
        char *expected;

        if (!names)
                expected = NULL;
        else if (g->best && g->distance < strlen(v->key) &&
                 g->distance <= MAX((size_t) 2, strlen(v->key) / 3))
                expected = strjoinf("one of %s; did you mean \"%s\"?", names, g->best);
        else
                expected = strjoinf("one of %s", names);
        return policy_wrong_key(x, v, strdup("an unknown key"), expected);
}

bool policy_unknown_key(PolicyReader *x, const PolicyValue *v, const char *const *names) {
        Guess g = { .key = v->key, .distance = SIZE_MAX };

        for (; *names; names++)
                offer(&g, *names);
        return note(x, v, &g);
}

bool policy_unknown_selector(PolicyReader *x, const PolicyValue *v) {
        Guess g = { .key = v->key, .distance = SIZE_MAX };

        for (PolicySelector s = 0; s < _POLICY_SELECTOR_MAX; s++)
                offer(&g, policy_selector_info(s)->name);
        return note(x, v, &g);
}

bool policy_unknown_member(PolicyReader *x, const PolicyValue *v, PolicyObject o, bool rule) {
        Guess g = { .key = v->key, .distance = SIZE_MAX };

        if (rule && o == POLICY_OBJECT_RULE) {
                offer(&g, "name");
                offer(&g, "match");
        }
        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++) {
                if (policy_key_info(k)->object != o)
                        continue;
                offer(&g, policy_key_name(k));
                if (policy_key_info(k)->alias)
                        offer(&g, policy_key_info(k)->alias);
        }
        for (unsigned i = POLICY_OBJECT_RULE + 1; i < _POLICY_OBJECT_MAX; i++)
                if (policy_object_info(i)->parent == o)
                        offer(&g, policy_object_info(i)->name);
        return note(x, v, &g);
}
