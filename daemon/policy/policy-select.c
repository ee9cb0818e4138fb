/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The match of a rule: text to conditions. Each selector becomes one condition with alternatives
 * of which one must hold; what is a number is compared under a mask, the rest by pattern.
 */

#include <assert.h>
#include <ctype.h>

#include "policy/policy-private.h"

#define ALTERNATIVES_MAX 1024U
#define GLOB_MAX 256U
#define CLASS_DIGITS 6U

static bool wrong_for_selector(PolicyReader *x, PolicySelector s, const PolicyValue *v) {
        _cleanup_free_ char *expected = policy_selector_expected(s);

        if (!expected)
                x->failed = true;
        return expected && policy_wrong(x, v, "%s", expected);
}

static bool parse_digits(const char *s, size_t n, uint64_t *ret) {
        return s && strlen(s) == n && strspn(s, "0123456789abcdefABCDEF") == n &&
               parse_u64_n(s, n, 16, UINT64_MAX, ret) == 0;
}

static bool parse_class(const char *s, PolicyAlternative *ret) {
        size_t n = s ? strlen(s) : 0;
        unsigned shift = 4 * (CLASS_DIGITS - (unsigned) MIN(n, (size_t) CLASS_DIGITS));

        if ((n != 2 && n != 4 && n != CLASS_DIGITS) || !parse_digits(s, n, &ret->value))
                return false;
        ret->value <<= shift;
        ret->mask = UINT64_C(0xffffff) >> shift << shift;
        return true;
}

/* "00-15-4d-ff-ff-13-0c-a8", the most significant byte first, or the same without dashes. */
static bool parse_dsn(const char *s, uint64_t *ret) {
        char digits[17];
        size_t n = 0;

        for (; s && *s && n < sizeof(digits) - 1; s++) {
                if (*s == '-' && n > 0 && n % 2 == 0)
                        continue;
                digits[n++] = *s;
        }
        digits[n] = 0;
        return s && !*s && parse_digits(digits, 16, ret);
}

static bool read_node(const Json *j, PolicyAlternative *ret) {
        uint64_t node;

        if (streq_ptr(json_string(j), "none"))
                ret->value = (uint64_t) -1;
        else if (json_u64(j, INT16_MAX, &node) == 0)
                ret->value = node;
        else
                return false;
        return true;
}

static bool is_exact(const char *glob) {
        return !strpbrk(glob, "*?[\\");
}

/* An address without wildcards is compared as a number, which an index can hold. */
static bool read_address(PolicyReader *x, const char *s, PolicyAlternative *ret) {
        PciAddress a;
        char *copy;

        if (!s || strlen(s) > GLOB_MAX || s[strspn(s, "0123456789abcdefABCDEF:.*?[]-")] || !s[0])
                return false;
        if (is_exact(s)) {
                if (pci_address_parse_short(s, &a) < 0)
                        return false;
                ret->value = pci_address_key(a);
                return true;
        }
        copy = policy_arena_copy(&x->policy->arena, s, strlen(s));
        if (!copy) {
                x->failed = true;
                return true;
        }
        for (char *c = copy; *c; c++)
                *c = (char) tolower((unsigned char) *c);
        ret->glob = copy;
        return true;
}

static bool read_glob(PolicyReader *x, const char *s, PolicyAlternative *ret) {
        if (!s || !string_is_safe(s, GLOB_MAX))
                return false;
        ret->glob = policy_arena_copy(&x->policy->arena, s, strlen(s));
        if (!ret->glob)
                x->failed = true;
        return true;
}

static bool read_alternative(PolicyReader *x, PolicySelector s, const PolicyValue *v,
                             PolicyAlternative *ret) {
        const PolicySelectorInfo *info = policy_selector_info(s);
        const char *text = json_string(v->json);
        const PolicyWord *w;
        bool good = false;

        *ret = (PolicyAlternative) { .mask = UINT64_MAX };
        switch (info->type) {
        case POLICY_SELECT_GLOB:
                good = s == POLICY_SELECTOR_ADDRESS ? read_address(x, text, ret)
                                                    : read_glob(x, text, ret);
                break;
        case POLICY_SELECT_ID:
                good = parse_digits(text, 4, &ret->value);
                break;
        case POLICY_SELECT_CLASS:
                good = parse_class(text, ret);
                break;
        case POLICY_SELECT_DSN:
                good = parse_dsn(text, &ret->value);
                break;
        case POLICY_SELECT_NODE:
                good = read_node(v->json, ret);
                break;
        case POLICY_SELECT_WORD:
        case POLICY_SELECT_ALL:
                w = policy_word_find(info->words, text);
                good = w;
                if (w)
                        ret->value = w->value;
                break;
        }
        return good || wrong_for_selector(x, s, v);
}

static bool read_alternatives(PolicyReader *x, PolicySelector s, const PolicyValue *v,
                              PolicyCondition *ret) {
        PolicyAlternative *list;
        PolicyWalk walk = {};
        PolicyValue one;
        size_t n = json_type(v->json) == JSON_ARRAY ? json_length(v->json) : 1;
        bool good = true;

        if (n == 0 || n > ALTERNATIVES_MAX)
                return policy_wrong(x, v, "1 to %u alternatives", ALTERNATIVES_MAX);
        list = policy_arena_allocate(&x->policy->arena, n * sizeof(*list));
        if (!list) {
                x->failed = true;
                return false;
        }
        if (json_type(v->json) != JSON_ARRAY)
                good = read_alternative(x, s, v, list);
        else
                while (policy_walk_next(x, v, &walk, &one))
                        good &= read_alternative(x, s, &one, list + one.index);
        if (policy_selector_info(s)->type == POLICY_SELECT_ALL) {
                for (size_t i = 1; i < n; i++)
                        list->value |= list[i].value;
                list->mask = list->value;
                n = 1;
        }
        *ret = (PolicyCondition) { s, (uint32_t) n, list };
        return good;
}

static PolicySelector find_selector(const char *name) {
        for (PolicySelector s = 0; s < _POLICY_SELECTOR_MAX; s++)
                if (streq(policy_selector_info(s)->name, name))
                        return s;
        return _POLICY_SELECTOR_INVALID;
}

bool policy_match_read(PolicyReader *x, const PolicyValue *v, PolicyCompiled *rule) {
        PolicyCondition *list;
        PolicyWalk walk = {};
        PolicyValue one;
        size_t n = 0;
        bool good = true;

        if (json_type(v->json) != JSON_OBJECT)
                return policy_wrong(x, v, "an object of selectors, {} for every device");
        list = policy_arena_allocate(&x->policy->arena,
                                     MIN(json_length(v->json), (size_t) _POLICY_SELECTOR_MAX) *
                                             sizeof(*list));
        if (!list) {
                x->failed = true;
                return false;
        }
        while (policy_walk_next(x, v, &walk, &one)) {
                PolicySelector s = find_selector(one.key);
                PolicyCondition c;
                size_t at = n;

                if (s < 0) {
                        good = policy_unknown_selector(x, &one);
                        continue;
                }
                if (!read_alternatives(x, s, &one, &c)) {
                        good = false;
                        continue;
                }
                for (; at > 0 && list[at - 1].selector > s;
                     at--) /* no selector twice: JSON has no key twice */
                        list[at] = list[at - 1];
                list[at] = c;
                n++;
        }
        rule->conditions = list;
        rule->n_conditions = n;
        return good;
}
