/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Rules for people: a rule by its name and place, the whole policy with what each rule selects and
 * sets, and the walk that an explanation made over it. Only what somebody wrote is printed; every
 * setting that holds is in --json.
 */

#include "rules.h"

#include <assert.h>

#include "base/strutil.h"
#include "devices.h"

char *rule_text(const Json *rule, const char *name) {
        const char *called = member_string(rule, name), *file = member_string(rule, "file");
        _cleanup_free_ char *line = member_text(rule, "line");
        char *s;

        assert(name);
        if (streq(file, "built-in") || !file[0])
                s = strdup("built in");
        else
                s = strjoinf("%s (%s%s%s)", called[0] ? called : member_string(rule, "pointer"),
                             file, line[0] && !streq(line, "0") ? ":" : "",
                             line[0] && !streq(line, "0") ? line : "");
        if (!s)
                output_out_of_memory();
        return s;
}

static void add_ids(StrBuf *b, const Json *ids, const char *what) {
        for (size_t i = 0; i < json_length(ids); i++) {
                _cleanup_free_ char *id = value_text(json_at(ids, i));

                strbuf_addf(b, "%s %s", i > 0 ? "," : what, id);
        }
}

/* A setting's value; of owners "vm-*, web-* (users 1001; groups 44)". malloc'd, never NULL. */
static char *setting_text(const Json *value) {
        _cleanup_strbuf_ StrBuf b = {};
        char *s;

        if (json_type(value) != JSON_ARRAY)
                return value_text(value);
        for (size_t i = 0; i < json_length(value); i++) {
                const Json *one = json_at(value, i), *users = json_get(one, "users"),
                           *groups = json_get(one, "groups");
                _cleanup_free_ char *plain = json_type(one) == JSON_OBJECT ? NULL : value_text(one);

                strbuf_addf(&b, "%s%s", i > 0 ? ", " : "",
                            plain ? plain : member_string(one, "owner"));
                if (json_length(users) + json_length(groups) == 0)
                        continue;
                strbuf_add(&b, " (");
                add_ids(&b, users, "users");
                if (json_length(users) > 0 && json_length(groups) > 0)
                        strbuf_add(&b, "; ");
                add_ids(&b, groups, "groups");
                strbuf_add(&b, ")");
        }
        s = strbuf_steal(&b);
        if (!s)
                output_out_of_memory();
        return s;
}

/* "class 03, vendor 10de" */
static char *match_text(const Json *match) {
        _cleanup_strbuf_ StrBuf b = {};
        void *iterator = NULL;
        const char *key;
        Json *value;
        char *s;

        while (json_next(match, &iterator, &key, &value)) {
                _cleanup_free_ char *text = value_text(value);

                strbuf_addf(&b, "%s%s %s", b.size > 0 ? ", " : "", key, text);
        }
        if (b.size == 0)
                strbuf_add(&b, "every device");
        s = strbuf_steal(&b);
        if (!s)
                output_out_of_memory();
        return s;
}

int print_policy(const Json *j) {
        static const Column columns[] = {
                { "RULE", 0, 0 }, { "DEVICES", 0, 0 }, { "ASSIGN", 0, 0 }, { "OWNERS", 0, 0 },
                { "LIMIT", 0, 0 }, { "GROUP", 0, 0 },
        };
        static const char *const settings[] = { "assign", "owners", "limit", "group" };
        const Json *rules = json_get(j, "rules"), *defaults = json_get(j, "defaults");
        struct libscols_table *t = table_new(columns, ELEMENTSOF(columns));
        _cleanup_free_ char *generation = member_text(j, "generation");
        const char *problem = member_string(j, "problem");

        for (size_t i = 0; i <= json_length(rules); i++) {
                const Json *r = i < json_length(rules) ? json_at(rules, i) : defaults;
                _cleanup_free_
                char *name = rule_text(r, "rule"), *match = match_text(json_get(r, "match"));
                struct libscols_line *line = table_add(t, NULL);

                table_set(line, 0, name, PAINT_BOLD);
                table_set(line, 1, r == defaults ? "all others" : match, PAINT_NONE);
                for (size_t c = 0; c < ELEMENTSOF(settings); c++) {
                        _cleanup_free_ char *text = setting_text(json_get(r, settings[c]));

                        table_set(line, c + 2, text, PAINT_NONE);
                }
        }
        printf("Policy %s", escaped(generation));
        printf(problem[0] ? ": %snothing is assigned, since it cannot be read: %s%s\n" : "%s%s%s\n",
               output_begin(problem[0] ? PAINT_BAD : PAINT_NONE), escaped(problem), output_end());
        return table_print(t);
}

static void print_failed(const Json *failed) {
        for (size_t i = 0; i < json_length(failed); i++) {
                const Json *f = json_at(failed, i);
                _cleanup_free_
                char *wanted = member_text(f, "wanted"), *found = member_text(f, "found");

                printf("      %s is %s, not %s\n", escaped(member_string(f, "key")),
                       found[0] ? escaped(found) : "unknown", escaped(wanted));
        }
}

static void print_settings(const Json *settings) {
        void *iterator = NULL;
        const char *key;
        Json *setting;

        while (json_next(settings, &iterator, &key, &setting)) {
                const char *origin = member_string(setting, "origin");
                _cleanup_free_ char *value = setting_text(json_get(setting, "value"));

                if (streq(origin, "built in"))
                        continue;
                printf("    %s%s%s: %s (%s; %s)\n", output_begin(PAINT_BOLD), escaped(key),
                       output_end(), escaped(value), escaped(member_string(setting, "force")),
                       escaped(origin));
        }
}

void print_walk(const Json *walk) {
        const Json *rules = json_get(walk, "rules"), *owner = json_get(walk, "owner");
        _cleanup_free_ char *holds = rule_text(json_get(walk, "holds"), "rule");

        for (size_t i = 0; i < json_length(rules); i++) {
                const Json *r = json_at(rules, i);
                _cleanup_free_ char *name = rule_text(r, "rule");

                if (member_bool(r, "matched"))
                        continue;
                printf("  %sno match%s  %s\n", output_begin(PAINT_DIM), output_end(),
                       escaped(name));
                print_failed(json_get(r, "failed"));
        }
        printf("  %sholds%s     %s\n", output_begin(PAINT_GOOD), output_end(), escaped(holds));
        if (owner)
                printf("    owner %s: %s%s%s (%s)\n", escaped(member_string(owner, "owner")),
                       output_begin(member_bool(owner, "granted") ? PAINT_GOOD : PAINT_BAD),
                       member_bool(owner, "granted") ? "granted" : "not granted", output_end(),
                       escaped(member_string(owner, "origin")));
        print_settings(json_get(walk, "settings"));
}
