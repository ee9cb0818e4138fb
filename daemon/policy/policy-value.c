/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Values of keys: text to setting by the type that the table gives, and back to JSON. A value that
 * is not what its key wants is a problem with its place; nothing is guessed or cut.
 */

#include <assert.h>

#include "pci/driver.h"
#include "policy/policy-private.h"

#define OWNERS_MAX 256U
#define IDS_MAX 256U
#define OWNER_NAME_MAX 256U
#define USER_NAME_MAX 256U

static bool wrong_for_key(PolicyReader *x, PolicyKey k, const PolicyValue *v) {
        _cleanup_free_ char *expected = policy_key_expected(k);

        if (!expected)
                x->failed = true;
        return expected && policy_wrong(x, v, "%s", expected);
}

const PolicyWord *policy_word_find(const PolicyWord *words, const char *text) {
        for (const PolicyWord *w = words; text && w->text; w++)
                if (w->text[0] == text[0] && streq(w->text, text))
                        return w;
        return NULL;
}

const PolicyWord *policy_word_of(const PolicyWord *words, uint64_t value) {
        for (const PolicyWord *w = words; w->text; w++)
                if (w->value == value)
                        return w;
        return NULL;
}

/* "30s" into its number and what stands behind it. */
static bool split_number(const char *s, uint64_t *ret, const char **ret_unit) {
        size_t n = strspn(s, "0123456789");

        if (n == 0 || parse_u64_n(s, n, 10, UINT64_MAX, ret) < 0)
                return false;
        *ret_unit = s + n;
        return true;
}

typedef struct Unit {
        const char *text;
        uint64_t factor;
} Unit;
static const Unit duration_units[] = {
        { "us", 1 },
        { "ms", 1000 },
        { "s", UINT64_C(1000000) },
        { "min", UINT64_C(60000000) },
        { "h", UINT64_C(3600000000) },
        { "d", UINT64_C(86400000000) },
        {},
};
static const Unit size_units[] = {
        { "K", UINT64_C(1) << 10 }, { "M", UINT64_C(1) << 20 }, { "G", UINT64_C(1) << 30 },
        { "T", UINT64_C(1) << 40 }, {},
};

static bool parse_units(const char *s, const Unit *units, uint64_t *ret) {
        const char *unit;
        uint64_t v;

        if (!s || !split_number(s, &v, &unit))
                return false;
        for (const Unit *u = units; u->text; u++)
                if (streq(u->text, unit))
                        return !__builtin_mul_overflow(v, u->factor, ret);
        return false;
}

char *policy_duration_to_string(uint64_t usec) {
        size_t i = 5;

        while (i > 0 && (usec % duration_units[i].factor != 0 || usec == 0))
                i--;
        return strjoinf("%" PRIu64 "%s", usec / duration_units[i].factor,
                        usec == 0 ? "s" : duration_units[i].text);
}

/* ---- reading, by type ---- */

static bool read_choice(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        const PolicyKeyInfo *info = policy_key_info(k);
        const PolicyWord *w = policy_word_find(info->words, json_string(v->json));

        if (!w)
                return wrong_for_key(x, k, v);
        if (info->size == sizeof(bool))
                *(bool *) to = w->value != 0;
        else
                *(unsigned *) to = (unsigned) w->value;
        return true;
}

static bool read_word(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        const PolicyWord *w = policy_word_find(policy_key_info(k)->words, json_string(v->json));

        if (!w)
                return wrong_for_key(x, k, v);
        *(const char **) to = w->kernel;
        return true;
}

static bool read_set(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        const PolicyWord *words = policy_key_info(k)->words, *w;
        PolicyWalk walk = {};
        PolicyValue one;
        unsigned bits = 0;
        bool good = true;

        if (json_type(v->json) != JSON_ARRAY) {
                w = policy_word_find(words, json_string(v->json));
                if (!w)
                        return wrong_for_key(x, k, v);
                *(unsigned *) to = (unsigned) w->value;
                return true;
        }
        while (policy_walk_next(x, v, &walk, &one)) {
                w = policy_word_find(words, json_string(one.json));
                if (w)
                        bits |= (unsigned) w->value;
                else
                        good = wrong_for_key(x, k, &one);
        }
        *(unsigned *) to = bits;
        return good;
}

static bool read_reset(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        PolicyReset reset = { .none = true };
        PolicyWalk walk = {};
        PolicyValue one;
        bool good = true;

        if (streq_ptr(json_string(v->json), "auto")) {
                *(PolicyReset *) to = (PolicyReset) {};
                return true;
        }
        if (json_type(v->json) != JSON_ARRAY)
                return wrong_for_key(x, k, v);
        while (policy_walk_next(x, v, &walk, &one)) {
                const PolicyWord *w =
                        policy_word_find(policy_key_info(k)->words, json_string(one.json));
                bool twice = false;

                for (size_t i = 0; w && i < reset.n; i++)
                        twice |= reset.methods[i] == w->kernel;
                if (!w)
                        good = wrong_for_key(x, k, &one);
                else if (twice)
                        good = policy_wrong(x, &one, "each method once");
                else
                        reset.methods[reset.n++] = w->kernel;
        }
        reset.none = reset.n == 0;
        *(PolicyReset *) to = reset;
        return good;
}

static int resolve(const PolicyReader *x, bool group, const char *name, uint32_t *ret) {
        const PolicyOptions *o = x->options;

        if (group)
                return o && o->group ? o->group(name, ret, o->userdata) : -ESRCH;
        return o && o->user ? o->user(name, ret, o->userdata) : -ESRCH;
}

static bool read_id(PolicyReader *x, const PolicyValue *v, bool group, uint32_t *ret) {
        const char *name = json_string(v->json);
        uint64_t number;

        if (!name) {
                if (json_u64(v->json, UINT32_MAX - 1, &number) < 0)
                        return policy_wrong(x, v, "the name or number of a %s",
                                            group ? "group" : "user");
                *ret = (uint32_t) number;
                return true;
        }
        if (!string_is_safe(name, USER_NAME_MAX) || resolve(x, group, name, ret) < 0)
                return policy_wrong(x, v, "a %s of this host", group ? "group" : "user");
        return true;
}

/* Users or groups, by name or number; *ret_n only ever covers ids that were read. */
static bool read_ids(PolicyReader *x, const PolicyValue *v, const uint32_t **ret, size_t *ret_n) {
        bool group = streq(v->key, "groups"), good = true;
        PolicyWalk walk = {};
        PolicyValue one;
        uint32_t *ids;
        size_t n = 0;

        if (json_type(v->json) != JSON_ARRAY || json_length(v->json) > IDS_MAX)
                return policy_wrong(x, v, "an array of at most %u %s", IDS_MAX, v->key);
        ids = policy_arena_allocate(&x->policy->arena, json_length(v->json) * sizeof(*ids));
        if (!ids) {
                x->failed = true;
                return false;
        }
        while (policy_walk_next(x, v, &walk, &one))
                if (read_id(x, &one, group, ids + n))
                        n++;
                else
                        good = false;
        *ret = ids;
        *ret_n = n;
        return good;
}

static bool read_owner_glob(PolicyReader *x, const PolicyValue *v, PolicyOwner *ret) {
        const char *s = json_string(v->json);

        if (!s || !string_is_safe(s, OWNER_NAME_MAX))
                return policy_wrong(x, v, "a pattern of owner strings, such as \"vm-*\"");
        ret->glob = policy_arena_copy(&x->policy->arena, s, strlen(s));
        if (!ret->glob)
                x->failed = true;
        return ret->glob;
}

static bool read_owner(PolicyReader *x, const PolicyValue *v, PolicyOwner *ret) {
        PolicyWalk walk = {};
        PolicyValue one;
        bool good = true;

        if (json_type(v->json) != JSON_OBJECT)
                return read_owner_glob(x, v, ret);
        while (policy_walk_next(x, v, &walk, &one)) {
                if (streq(one.key, "owner"))
                        good &= read_owner_glob(x, &one, ret);
                else if (streq(one.key, "users"))
                        good &= read_ids(x, &one, &ret->uids, &ret->n_uids);
                else if (streq(one.key, "groups"))
                        good &= read_ids(x, &one, &ret->gids, &ret->n_gids);
                else
                        good = policy_wrong_key(x, &one, strjoinf("an unknown key"),
                                                strdup("one of \"owner\", \"users\", \"groups\""));
        }
        if (good && !ret->glob)
                good = policy_wrong(x, v, "an object with \"owner\"");
        return good;
}

static bool read_owners(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        PolicyOwner *owners;
        PolicyWalk walk = {};
        PolicyValue one;
        bool good = true;

        if (json_type(v->json) == JSON_NULL) {
                *(PolicyOwners *) to = (PolicyOwners) {};
                return true;
        }
        if (json_type(v->json) != JSON_ARRAY || json_length(v->json) > OWNERS_MAX)
                return wrong_for_key(x, k, v);
        owners = policy_arena_allocate(&x->policy->arena, json_length(v->json) * sizeof(*owners));
        if (!owners) {
                x->failed = true;
                return false;
        }
        while (policy_walk_next(x, v, &walk, &one))
                good &= read_owner(x, &one, owners + one.index);
        *(PolicyOwners *) to = (PolicyOwners) { true, owners, json_length(v->json) };
        return good;
}

static bool read_limit(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        uint64_t n = UINT32_MAX;

        if (!streq_ptr(json_string(v->json), "none") &&
            json_u64(v->json, policy_key_info(k)->max, &n) < 0)
                return wrong_for_key(x, k, v);
        *(uint32_t *) to = (uint32_t) n;
        return true;
}

static bool read_driver(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        const char *s = json_string(v->json);

        if (streq_ptr(s, "auto")) {
                *(const char **) to = NULL;
                return true;
        }
        if (!s || !pci_driver_name_is_valid(s))
                return wrong_for_key(x, k, v);
        *(const char **) to = policy_arena_copy(&x->policy->arena, s, strlen(s));
        if (!*(const char **) to)
                x->failed = true;
        return true;
}

static bool read_size(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        const PolicyKeyInfo *info = policy_key_info(k);
        const char *s = json_string(v->json);
        uint64_t size = 0;

        if (streq_ptr(s, "max"))
                size = UINT64_MAX;
        else if (!streq_ptr(s, "leave") &&
                 (!parse_units(s, size_units, &size) || size < info->min || size > info->max ||
                  (size & (size - 1)) != 0))
                return wrong_for_key(x, k, v);
        *(PolicyBar *) to = (PolicyBar) { size > 0, size };
        return true;
}

static bool read_duration(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        const PolicyKeyInfo *info = policy_key_info(k);
        uint64_t usec;

        if (!parse_units(json_string(v->json), duration_units, &usec) || usec < info->min ||
            usec > info->max)
                return wrong_for_key(x, k, v);
        *(uint64_t *) to = usec;
        return true;
}

/* A file name and nothing else: no way out of hooks.d. */
static bool is_hook_name(const char *s) {
        return s && strlen(s) < POLICY_HOOK_NAME_MAX && s[0] && s[0] != '.' &&
               s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] ==
                       0;
}

static bool read_hooks(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        PolicyHooks hooks = {};
        PolicyWalk walk = {};
        PolicyValue one;
        bool good = true;

        if (json_type(v->json) != JSON_ARRAY || json_length(v->json) > POLICY_HOOKS_MAX)
                return wrong_for_key(x, k, v);
        while (policy_walk_next(x, v, &walk, &one)) {
                const char *s = json_string(one.json);

                if (!is_hook_name(s)) {
                        good = policy_wrong(x, &one, "the name of a file in hooks.d, of at most %u "
                                            "letters, digits, \".\", \"_\" and \"-\"",
                                            POLICY_HOOK_NAME_MAX - 1);
                        continue;
                }
                hooks.names[hooks.n] = policy_arena_copy(&x->policy->arena, s, strlen(s));
                if (!hooks.names[hooks.n++])
                        x->failed = true;
        }
        *(PolicyHooks *) to = hooks;
        return good;
}

static const Unit rate_windows[] = {
        { "/s", UINT64_C(1000000) },
        { "/min", UINT64_C(60000000) },
        { "/h", UINT64_C(3600000000) },
        { "/d", UINT64_C(86400000000) },
        {},
};

static bool read_rate(PolicyReader *x, PolicyKey k, const PolicyValue *v, void *to) {
        const PolicyKeyInfo *info = policy_key_info(k);
        const char *s = json_string(v->json), *window;
        uint64_t n;

        if (streq_ptr(s, "none")) {
                *(PolicyRate *) to = (PolicyRate) {};
                return true;
        }
        if (s && split_number(s, &n, &window) && n >= info->min && n <= info->max)
                for (const Unit *u = rate_windows; u->text; u++)
                        if (streq(u->text, window)) {
                                *(PolicyRate *) to = (PolicyRate) { (uint32_t) n, u->factor };
                                return true;
                        }
        return wrong_for_key(x, k, v);
}

bool policy_value_read(PolicyReader *x, PolicyKey k, const PolicyValue *v, PolicySettings *s) {
        static bool (*const readers[_POLICY_TYPE_MAX])(PolicyReader *x, PolicyKey k,
                                                       const PolicyValue *v, void *to) = {
                [POLICY_TYPE_CHOICE] = read_choice, [POLICY_TYPE_WORD] = read_word,
                [POLICY_TYPE_SET] = read_set,       [POLICY_TYPE_RESET] = read_reset,
                [POLICY_TYPE_OWNERS] = read_owners, [POLICY_TYPE_LIMIT] = read_limit,
                [POLICY_TYPE_DRIVER] = read_driver, [POLICY_TYPE_SIZE] = read_size,
                [POLICY_TYPE_DURATION] = read_duration, [POLICY_TYPE_HOOKS] = read_hooks,
                [POLICY_TYPE_RATE] = read_rate,
        };

        assert(x);
        assert(v);
        assert(s);
        return readers[policy_key_info(k)->type](x, k, v, policy_settings_field(s, k));
}

/* ---- back to JSON ---- */

static Json *set_to_json(const PolicyWord *words, unsigned bits) {
        Json *list = json_new_array();

        for (const PolicyWord *w = words; w->text; w++)
                if (bits & w->value)
                        (void) json_append_string(list, w->text);
        return list;
}

static Json *list_to_json(const char *const *names, size_t n) {
        Json *list = json_new_array();

        for (size_t i = 0; i < n; i++)
                (void) json_append_string(list, names[i]);
        return list;
}

static Json *ids_to_json(const uint32_t *ids, size_t n) {
        Json *list = json_new_array();

        for (size_t i = 0; i < n; i++)
                (void) json_append(list, json_new_u64(ids[i]));
        return list;
}

static Json *owners_to_json(const PolicyOwners *o) {
        Json *list;

        if (!o->set)
                return json_new_null();
        list = json_new_array();
        for (size_t i = 0; i < o->n; i++) {
                const PolicyOwner *one = o->items + i;
                Json *j;

                if (one->n_uids == 0 && one->n_gids == 0) {
                        (void) json_append_string(list, one->glob);
                        continue;
                }
                j = json_new_object();
                (void) json_set_string(j, "owner", one->glob);
                (void) json_set(j, "users", ids_to_json(one->uids, one->n_uids));
                (void) json_set(j, "groups", ids_to_json(one->gids, one->n_gids));
                (void) json_append(list, j);
        }
        return list;
}

static Json *take_string(char *s) {
        Json *j = s ? json_new_string(s) : NULL;

        free(s);
        return j;
}

static Json *size_to_json(const PolicyBar *bar) {
        size_t i = 3;

        if (!bar->set)
                return json_new_string("leave");
        if (bar->size == UINT64_MAX)
                return json_new_string("max");
        while (bar->size % size_units[i].factor != 0)
                i--;
        return take_string(
                strjoinf("%" PRIu64 "%s", bar->size / size_units[i].factor, size_units[i].text));
}

static Json *rate_to_json(const PolicyRate *rate) {
        for (const Unit *u = rate_windows; u->text; u++)
                if (u->factor == rate->window)
                        return take_string(strjoinf("%" PRIu32 "%s", rate->n, u->text));
        return json_new_string("none");
}

static Json *word_to_json(const PolicyWord *words, const char *kernel) {
        for (const PolicyWord *w = words; w->text; w++)
                if (streq_ptr(w->kernel, kernel))
                        return json_new_string(w->text);
        return NULL;
}

Json *policy_value_to_json(PolicyKey k, const PolicySettings *s) {
        const PolicyKeyInfo *info = policy_key_info(k);
        const void *from = policy_settings_field(s, k);

        switch (info->type) {
        case POLICY_TYPE_CHOICE:
                return json_new_string(
                        policy_word_of(info->words, info->size == sizeof(bool)
                                                            ? *(const bool *) from
                                                            : *(const unsigned *) from)
                                ->text);
        case POLICY_TYPE_WORD:
                return word_to_json(info->words, *(const char *const *) from);
        case POLICY_TYPE_SET:
                return set_to_json(info->words, *(const unsigned *) from);
        case POLICY_TYPE_RESET:
                return s->reset.n == 0 && !s->reset.none
                               ? json_new_string("auto")
                               : list_to_json(s->reset.methods, s->reset.n);
        case POLICY_TYPE_OWNERS:
                return owners_to_json(from);
        case POLICY_TYPE_LIMIT:
                return *(const uint32_t *) from == UINT32_MAX
                               ? json_new_string("none")
                               : json_new_u64(*(const uint32_t *) from);
        case POLICY_TYPE_DRIVER:
                return json_new_string(s->driver ? s->driver : "auto");
        case POLICY_TYPE_SIZE:
                return size_to_json(from);
        case POLICY_TYPE_DURATION:
                return take_string(policy_duration_to_string(*(const uint64_t *) from));
        case POLICY_TYPE_HOOKS:
                return list_to_json(s->hooks.names, s->hooks.n);
        case POLICY_TYPE_RATE:
                return rate_to_json(from);
        case _POLICY_TYPE_MAX:
                break;
        }
        return NULL;
}
