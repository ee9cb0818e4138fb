/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A policy for people: which rule holds for a device and why the ones before it do not, every
 * setting with where it comes from and what it does on this host; and all rules as they hold, with
 * what they left out filled in.
 */

#include <assert.h>

#include "policy/policy-private.h"

/* ---- selectors ---- */

static Json *number_to_json(PolicySelector s, uint64_t value, uint64_t mask) {
        const PolicySelectorInfo *info = policy_selector_info(s);
        const PolicyWord *w;
        char text[32];

        switch (info->type) {
        case POLICY_SELECT_ID:
                (void) snprintf(text, sizeof(text), "%04" PRIx64, value);
                break;
        case POLICY_SELECT_CLASS:
                (void) snprintf(text, sizeof(text), "%06" PRIx64, value);
                for (size_t n = 6; n > 2 && !(mask & 0xff); n -= 2, mask >>= 8)
                        text[n - 2] = 0;
                break;
        case POLICY_SELECT_DSN:
                for (unsigned i = 0; i < 8; i++)
                        (void) snprintf(text + (size_t) i * 3, 4, "%02x%s",
                                        (unsigned) (value >> (56 - 8 * i) & 0xff),
                                        i < 7 ? "-" : "");
                break;
        case POLICY_SELECT_NODE:
                return value == UINT64_MAX ? json_new_string("none") : json_new_u64(value);
        case POLICY_SELECT_WORD:
                w = policy_word_of(info->words, value);
                return json_new_string(w ? w->text : "other");
        case POLICY_SELECT_ALL: {
                Json *list = json_new_array();

                for (w = info->words; w->text; w++)
                        if (value & w->value)
                                (void) json_append_string(list, w->text);
                return list;
        }
        case POLICY_SELECT_GLOB: /* an address without a wildcard */
                return json_new_string(PCI_ADDRESS_TEXT(((PciAddress) {
                        .domain = (uint32_t) (value >> 16),
                        .bus = (uint8_t) (value >> 8),
                        .slot = (uint8_t) (value >> 3 & 31),
                        .function = (uint8_t) (value & 7),
                })));
        }
        return json_new_string(text);
}

static Json *alternative_to_json(PolicySelector s, const PolicyAlternative *a) {
        return a->glob ? json_new_string(a->glob) : number_to_json(s, a->value, a->mask);
}

static Json *condition_to_json(const PolicyCondition *c) {
        Json *list;

        if (c->n == 1)
                return alternative_to_json(c->selector, c->alternatives);
        list = json_new_array();
        for (size_t i = 0; i < c->n; i++)
                (void) json_append(list, alternative_to_json(c->selector, c->alternatives + i));
        return list;
}

/* null: it has none, or it is not known. */
static Json *fact_to_json(const PolicySubject *s, PolicySelector selector) {
        uint64_t number;

        if (policy_selector_info(selector)->type == POLICY_SELECT_GLOB)
                return json_new_string(policy_fact_text(s, selector, (char[PCI_ADDRESS_MAX]) {}));
        if (!policy_fact_number(s, selector, &number))
                return json_new_null();
        return number_to_json(selector, number, UINT64_MAX);
}

static Json *match_to_json(const PolicyCompiled *c) {
        Json *j = json_new_object();

        for (size_t i = 0; i < c->n_conditions; i++)
                (void) json_set(j, policy_selector_info(c->conditions[i].selector)->name,
                                condition_to_json(c->conditions + i));
        return j;
}

/* ---- rules ---- */

static void set_place(Json *j, const PolicyRule *rule) {
        (void) json_set_string(j, "rule", rule->name);
        (void) json_set_string(j, "file", rule->file);
        if (rule->line > 0)
                (void) json_set_u64(j, "line", rule->line);
        (void) json_set_string(j, "pointer", rule->pointer);
}

/* Into the objects that its path names, which are made as needed; a path is three names deep. */
static void set_by_path(Json *j, const char *path, Json *value) {
        char name[32];
        size_t n;

        for (; path[n = strcspn(path, ".")]; path += n + 1) {
                Json *inner;

                (void) snprintf(name, sizeof(name), "%.*s", (int) n, path);
                inner = json_get(j, name);
                if (!inner && json_set(j, name, json_new_object()) >= 0)
                        inner = json_get(j, name);
                if (!inner) {
                        (void) json_free(value);
                        return; /* j is marked as broken */
                }
                j = inner;
        }
        (void) json_set(j, path, value);
}

static void set_settings(Json *j, const PolicySettings *s) {
        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++)
                set_by_path(j, policy_key_to_string(k), policy_value_to_json(k, s));
}

Json *policy_to_json(const Policy *p) {
        Json *j = json_new_object(), *rules = json_new_array(), *one;

        assert(p);
        for (size_t i = 0; i < p->n_rules; i++) {
                one = json_new_object();
                set_place(one, &p->rules[i]->rule);
                (void) json_set(one, "match", match_to_json(p->rules[i]));
                set_settings(one, &p->rules[i]->rule.settings);
                (void) json_append(rules, one);
        }
        one = json_new_object();
        set_place(one, &p->defaults);
        set_settings(one, &p->defaults.settings);
        (void) json_set_u64(j, "version", 1);
        (void) json_set(j, "rules", rules);
        (void) json_set(j, "defaults", one);
        return j;
}

/* ---- explain ---- */

static Json *failed_to_json(const PolicyCompiled *c, const PolicySubject *s) {
        Json *list = json_new_array();

        for (size_t i = 0; i < c->n_conditions; i++) {
                const PolicyCondition *one = c->conditions + i;
                Json *j;

                if (policy_condition_holds(one, s))
                        continue;
                j = json_new_object();
                (void) json_set_string(j, "key", policy_selector_info(one->selector)->name);
                (void) json_set(j, "wanted", condition_to_json(one));
                (void) json_set(j, "found", fact_to_json(s, one->selector));
                (void) json_append(list, j);
        }
        return list;
}

static Json *walk_to_json(const Policy *p, const PolicySubject *s, const PolicyRule *holds) {
        Json *list = json_new_array();
        size_t n = MIN(p->n_rules, holds->index == SIZE_MAX ? p->n_rules : holds->index + 1);

        for (size_t i = 0; i < n; i++) {
                const PolicyCompiled *c = p->rules[i];
                Json *j = json_new_object();

                set_place(j, &c->rule);
                (void) json_set_bool(j, "matched", &c->rule == holds);
                (void) json_set(j, "failed", failed_to_json(c, s));
                (void) json_append(list, j);
        }
        return list;
}

static void set_origin(Json *j, const Policy *p, const PolicyRule *rule, PolicyKey k) {
        bool own = rule->set & UINT64_C(1) << k;

        if (rule != &p->defaults && own)
                (void) json_set_string(j, "origin",
                                       rule->origins[k] ? rule->origins[k] : rule->name);
        else
                (void) json_set_string(
                        j, "origin", p->defaults.origins[k] ? p->defaults.origins[k] : "built in");
}

static Json *settings_to_json(const Policy *p, const PolicyRule *rule, const PolicyHost *host) {
        Json *settings = json_new_object();

        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++) {
                Json *j = json_new_object();

                (void) json_set(j, "value", policy_value_to_json(k, &rule->settings));
                set_origin(j, p, rule, k);
                (void) json_set_string(j, "force",
                                       policy_force_to_string(policy_key_force(k, host)));
                (void) json_set_string(j, "note", policy_key_info(k)->note);
                (void) json_set(settings, policy_key_to_string(k), j);
        }
        return settings;
}

Json *policy_rule_settings(const Policy *p, const PolicyRule *rule) {
        Json *j = json_new_object();

        assert(p);
        assert(rule);
        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++)
                if ((rule->set | p->defaults.set) & UINT64_C(1) << k)
                        (void) json_set(j, policy_key_to_string(k),
                                        policy_value_to_json(k, &rule->settings));
        return j;
}

Json *policy_explain(const Policy *p, const PolicySubject *s, const PolicyAsk *ask) {
        const PolicyRule *rule;
        Json *j = json_new_object(), *holds = json_new_object();

        assert(p);
        assert(s);
        rule = policy_match(p, s);
        (void) json_set_string(j, "device", PCI_ADDRESS_TEXT(s->facts->address));
        (void) json_set(j, "rules", walk_to_json(p, s, rule));
        set_place(holds, rule);
        (void) json_set(j, "holds", holds);
        (void) json_set(j, "settings", settings_to_json(p, rule, s->host));
        if (ask && ask->owner) {
                Json *owner = json_new_object();

                (void) json_set_string(owner, "owner", ask->owner);
                (void) json_set_bool(owner, "granted", policy_may_own(&rule->settings, ask));
                set_origin(owner, p, rule, POLICY_KEY_OWNERS);
                (void) json_set(j, "owner", owner);
        }
        return j;
}
