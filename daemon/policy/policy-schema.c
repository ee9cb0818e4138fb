/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of keys as a JSON Schema (draft 07, which editors know) for those who write policy
 * files, and as plain JSON for those who ask what a key does. The schema takes every file that the
 * parser takes; the parser refuses some that it takes (a user that is not there, a rule's name used
 * twice, a size that is no power of two).
 */

#include "policy/policy-private.h"

/* ---- force ---- */

const char *policy_force_to_string(PolicyForce f) {
        static const char *const names[_POLICY_FORCE_MAX] = {
                [POLICY_ENFORCED] = "enforced",
                [POLICY_REFUSES] = "refuses",
                [POLICY_PRE_OPEN] = "pre-open default",
                [POLICY_REPORTED] = "reported",
        };

        return (unsigned) f < _POLICY_FORCE_MAX ? names[f] : NULL;
}

PolicyForce policy_key_force(PolicyKey k, const PolicyHost *host) {
        const PolicyKeyInfo *info = policy_key_info(k);

        if (host && host->locked)
                return info->force_locked;
        if (host && host->kernel > 0 && host->kernel < info->since)
                return info->force_old;
        return info->force;
}

/* ---- schema ---- */

static Json *words_to_json(const PolicyWord *words) {
        Json *list = json_new_array();

        for (; words->text; words++)
                (void) json_append_string(list, words->text);
        return list;
}

static Json *new_enum(const PolicyWord *words) {
        Json *j = json_new_object();

        (void) json_set(j, "enum", words_to_json(words));
        return j;
}

static Json *new_const(const char *word) {
        Json *j = json_new_object();

        (void) json_set_string(j, "const", word);
        return j;
}

static Json *new_pattern(const char *pattern) {
        Json *j = json_new_object();

        (void) json_set_string(j, "type", "string");
        (void) json_set_string(j, "pattern", pattern);
        return j;
}

static Json *new_string(unsigned max) {
        Json *j = json_new_object();

        (void) json_set_string(j, "type", "string");
        (void) json_set_u64(j, "minLength", 1);
        (void) json_set_u64(j, "maxLength", max);
        return j;
}

static Json *new_number(uint64_t max) {
        Json *j = json_new_object();

        (void) json_set_string(j, "type", "integer");
        (void) json_set_u64(j, "minimum", 0);
        (void) json_set_u64(j, "maximum", max);
        return j;
}

static Json *new_array(Json *items, unsigned min, unsigned max) {
        Json *j = json_new_object();

        (void) json_set_string(j, "type", "array");
        (void) json_set(j, "items", items);
        if (min > 0)
                (void) json_set_u64(j, "minItems", min);
        (void) json_set_u64(j, "maxItems", max);
        return j;
}

static Json *new_either(Json *a, Json *b) {
        Json *j = json_new_object(), *list = json_new_array();

        (void) json_append(list, a);
        (void) json_append(list, b);
        (void) json_set(j, "anyOf", list);
        return j;
}

static Json *new_object(Json *properties, const char *required) {
        Json *j = json_new_object(), *list = json_new_array();

        (void) json_set_string(j, "type", "object");
        (void) json_set_bool(j, "additionalProperties", false);
        (void) json_set(j, "properties", properties);
        for (; required && *required; required += strlen(required) + 1)
                (void) json_append_string(list, required);
        (void) json_set(j, "required", list);
        return j;
}

static Json *new_owner(void) {
        Json *properties = json_new_object();

        (void) json_set(properties, "owner", new_string(256));
        (void) json_set(properties, "users",
                        new_array(new_either(new_string(256), new_number(UINT32_MAX - 1)), 0, 256));
        (void) json_set(properties, "groups",
                        new_array(new_either(new_string(256), new_number(UINT32_MAX - 1)), 0, 256));
        return new_either(new_string(256), new_object(properties, "owner\0"));
}

static Json *new_owners(void) {
        Json *null = json_new_object();

        (void) json_set_string(null, "type", "null");
        return new_either(null, new_array(new_owner(), 0, 256));
}

static Json *key_schema(PolicyKey k) {
        const PolicyKeyInfo *info = policy_key_info(k);

        switch (info->type) {
        case POLICY_TYPE_CHOICE:
        case POLICY_TYPE_WORD:
                return new_enum(info->words);
        case POLICY_TYPE_SET:
                return new_either(new_enum(info->words), new_array(new_enum(info->words), 0, 1024));
        case POLICY_TYPE_RESET:
                return new_either(new_const("auto"),
                                  new_array(new_enum(info->words), 0, POLICY_RESET_METHODS_MAX));
        case POLICY_TYPE_OWNERS:
                return new_owners();
        case POLICY_TYPE_LIMIT:
                return new_either(new_const("none"), new_number(info->max));
        case POLICY_TYPE_DRIVER:
                return new_pattern("^[A-Za-z0-9_-]{1,32}$");
        case POLICY_TYPE_SIZE:
                return new_pattern("^(leave|max|[0-9]+[KMGT])$");
        case POLICY_TYPE_DURATION:
                return new_pattern("^[0-9]+(us|ms|s|min|h|d)$");
        case POLICY_TYPE_HOOKS:
                return new_array(new_pattern("^[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}$"), 0,
                                 POLICY_HOOKS_MAX);
        case POLICY_TYPE_RATE:
                return new_pattern("^(none|[0-9]+/(s|min|h|d))$");
        case _POLICY_TYPE_MAX:
                break;
        }
        return NULL;
}

static Json *describe_key(PolicyKey k) {
        const PolicyKeyInfo *info = policy_key_info(k);
        Json *j = key_schema(k), *standard = NULL;

        (void) json_set_stringf(j, "description", "%s %s", info->text, info->note);
        if (json_parse(info->standard, strlen(info->standard), JSON_LIMITS_DEFAULT, &standard, NULL,
                       NULL) >= 0)
                (void) json_set(j, "default", standard);
        return j;
}

/* "rate" or "count", not both. */
static void forbid_both(Json *object, const char *a, const char *b) {
        Json *not = json_new_object(), *list = json_new_array();

        (void) json_append_string(list, a);
        (void) json_append_string(list, b);
        (void) json_set(not, "required", list);
        (void) json_set(object, "not", not);
}

static Json *selectors_schema(void);

/* Recursion ends with the table's objects: three deep. */
static Json *object_schema(PolicyObject o, bool rule) {
        Json *properties = json_new_object(), *j;
        PolicyKey doubled = _POLICY_KEY_MAX;

        if (rule) {
                (void) json_set(properties, "name", new_string(64));
                (void) json_set(properties, "match", selectors_schema());
        }
        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++) {
                if (policy_key_info(k)->object != o)
                        continue;
                (void) json_set(properties, policy_key_name(k), describe_key(k));
                if (policy_key_info(k)->alias) {
                        (void) json_set(properties, policy_key_info(k)->alias, describe_key(k));
                        doubled = k;
                }
        }
        for (unsigned i = POLICY_OBJECT_RULE + 1; i < _POLICY_OBJECT_MAX; i++)
                if (policy_object_info(i)->parent == o)
                        (void) json_set(properties, policy_object_info(i)->name,
                                        object_schema(i, false));
        j = new_object(properties, rule ? "name\0match\0" : NULL);
        (void) json_set_string(j, "description", policy_object_info(o)->text);
        if (doubled < _POLICY_KEY_MAX)
                forbid_both(j, policy_key_name(doubled), policy_key_info(doubled)->alias);
        return j;
}

static Json *selector_schema(const PolicySelectorInfo *info) {
        switch (info->type) {
        case POLICY_SELECT_GLOB:
                return new_string(256);
        case POLICY_SELECT_ID:
                return new_pattern("^[0-9a-fA-F]{4}$");
        case POLICY_SELECT_CLASS:
                return new_pattern("^([0-9a-fA-F]{2}){1,3}$");
        case POLICY_SELECT_DSN:
                return new_pattern("^([0-9a-fA-F]{2}-?){7}[0-9a-fA-F]{2}$");
        case POLICY_SELECT_NODE:
                return new_either(new_const("none"), new_number(INT16_MAX));
        case POLICY_SELECT_WORD:
        case POLICY_SELECT_ALL:
                break;
        }
        return new_enum(info->words);
}

static Json *selectors_schema(void) {
        Json *properties = json_new_object(), *j;

        for (unsigned s = 0; s < _POLICY_SELECTOR_MAX; s++) {
                const PolicySelectorInfo *info = policy_selector_info(s);

                j = new_either(selector_schema(info), new_array(selector_schema(info), 1, 1024));
                (void) json_set_string(j, "description", info->text);
                (void) json_set(properties, info->name, j);
        }
        j = new_object(properties, NULL);
        (void) json_set_string(j, "description",
                               "Which devices the rule is about: all selectors must hold, of an "
                               "array one of its elements. {} is every device.");
        return j;
}

Json *policy_schema(void) {
        Json *properties = json_new_object(), *version = json_new_object(), *j;

        (void) json_set_u64(version, "const", 1);
        (void) json_set(properties, "$schema", new_string(1024));
        (void) json_set(properties, "version", version);
        (void) json_set(properties, "rules",
                        new_array(object_schema(POLICY_OBJECT_RULE, true), 0, POLICY_RULES_MAX));
        (void) json_set(properties, "defaults", object_schema(POLICY_OBJECT_RULE, false));
        j = new_object(properties, "version\0");
        (void) json_set_string(j, "$schema", "http://json-schema.org/draft-07/schema#");
        (void) json_set_string(j, "title", "Policy of pciassignd");
        return j;
}

/* ---- the table ---- */

static const char *type_name(PolicyType t) {
        static const char *const names[_POLICY_TYPE_MAX] = {
                [POLICY_TYPE_CHOICE] = "word",   [POLICY_TYPE_WORD] = "word",
                [POLICY_TYPE_SET] = "words",     [POLICY_TYPE_RESET] = "words",
                [POLICY_TYPE_OWNERS] = "owners", [POLICY_TYPE_LIMIT] = "number",
                [POLICY_TYPE_DRIVER] = "driver", [POLICY_TYPE_SIZE] = "size",
                [POLICY_TYPE_DURATION] = "duration", [POLICY_TYPE_HOOKS] = "names",
                [POLICY_TYPE_RATE] = "rate",
        };

        return names[t];
}

Json *policy_keys(void) {
        Json *list = json_new_array();

        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++) {
                const PolicyKeyInfo *info = policy_key_info(k);
                Json *j = json_new_object(), *standard = NULL;

                (void) json_set_string(j, "key", info->path);
                (void) json_set_string(j, "type", type_name(info->type));
                (void) json_set(j, "values",
                                info->words ? words_to_json(info->words) : json_new_null());
                if (json_parse(info->standard, strlen(info->standard), JSON_LIMITS_DEFAULT,
                               &standard, NULL, NULL) >= 0)
                        (void) json_set(j, "default", standard);
                (void) json_set_string(j, "force", policy_force_to_string(info->force));
                (void) json_set_string(j, "force-old", policy_force_to_string(info->force_old));
                (void) json_set_string(j, "force-locked",
                                       policy_force_to_string(info->force_locked));
                (void) json_set_string(j, "note", info->note);
                (void) json_set_string(j, "text", info->text);
                (void) json_append(list, j);
        }
        return list;
}
