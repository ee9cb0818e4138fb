/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One policy file: text to rules, checked against the table of keys. Everything that is wrong is
 * noted with its place and reading goes on, so that one look at the report mends a file. A rule
 * gets the settings that stand in it; what it leaves out is filled in when all files are read.
 */

#include "policy/policy-private.h"

#include <assert.h>

#define NAME_MAX_BYTES 64U
#define DEPTH_LIMIT 16U
#define ORIGIN_MAX 4352U

/* ---- walking ---- */

bool policy_walk_next(const PolicyReader *x, const PolicyValue *container, PolicyWalk *w,
                      PolicyValue *ret) {
        const char *key = NULL;
        Json *json;

        if (json_type(container->json) == JSON_ARRAY) {
                json = json_at(container->json, w->index);
                if (!json)
                        return false;
        } else if (!json_next(container->json, &w->iterator, &key, &json))
                return false;
        w->place = w->index == 0 ? container->place + 1 : x->places.items[w->place].next;
        *ret = (PolicyValue) { container, json, key, w->index, w->place };
        w->index++;
        return true;
}

/* ---- names of members ---- */

#define MEMBER_OBJECTS _POLICY_KEY_MAX /* objects are numbered behind the keys */
#define SLOTS 256U

static size_t member_slot(PolicyObject o, const char *name) {
        uint32_t h = (uint32_t) o * 31;

        for (; *name; name++)
                h = (h ^ (uint8_t) *name) * 16777619U;
        return (h ^ h >> 15) % SLOTS;
}

static void add_member(PolicyReader *x, PolicyObject o, const char *name, unsigned number) {
        size_t at = member_slot(o, name);

        while (x->members[at])
                at = (at + 1) % SLOTS;
        x->members[at] = (uint8_t) (number + 1);
}

static void add_members(PolicyReader *x) {
        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++) {
                x->key_names[k] = policy_key_name(k);
                add_member(x, policy_key_info(k)->object, x->key_names[k], k);
                if (policy_key_info(k)->alias)
                        add_member(x, policy_key_info(k)->object, policy_key_info(k)->alias, k);
        }
        for (unsigned o = POLICY_OBJECT_RULE + 1; o < _POLICY_OBJECT_MAX; o++)
                add_member(x, policy_object_info(o)->parent, policy_object_info(o)->name,
                           MEMBER_OBJECTS + o);
}

static bool is_member(const PolicyReader *x, unsigned number, PolicyObject o, const char *name) {
        if (number >= MEMBER_OBJECTS)
                return policy_object_info(number - MEMBER_OBJECTS)->parent == o &&
                       streq(policy_object_info(number - MEMBER_OBJECTS)->name, name);
        return policy_key_info(number)->object == o &&
               (streq(x->key_names[number], name) ||
                streq_ptr(policy_key_info(number)->alias, name));
}

/* The number of the key, or of the object behind the keys; -ENOENT. */
static int find_member(const PolicyReader *x, PolicyObject o, const char *name) {
        for (size_t at = member_slot(o, name); x->members[at]; at = (at + 1) % SLOTS)
                if (is_member(x, x->members[at] - 1U, o, name))
                        return x->members[at] - 1;
        return -ENOENT;
}

/* ---- settings ---- */

typedef struct Target { /* what is being filled: a rule, or the defaults */
        PolicyRule *rule;
        const char *prefix;  /* of origins: `rule "x" (FILE:LINE, /rules/0`, with all but the key */
        size_t prefix_size;
        bool all_origins;    /* also of keys that refuse nothing */
} Target;

/* `prefix`/key). Assembled by hand: there is one for most keys of every rule. */
static const char *make_origin(PolicyReader *x, const Target *t, PolicyKey k) {
        const char *path = policy_key_info(k)->path;
        size_t n = strlen(path);
        char *s = policy_arena_allocate(&x->policy->arena, t->prefix_size + n + 3);

        if (!s) {
                x->failed = true;
                return NULL;
        }
        memcpy(s, t->prefix, t->prefix_size);
        s[t->prefix_size] = '/';
        for (size_t i = 0; i < n; i++)
                s[t->prefix_size + 1 + i] = path[i] == '.' ? '/' : path[i];
        s[t->prefix_size + 1 + n] = ')';
        return s;
}

static bool read_key(PolicyReader *x, const Target *t, PolicyKey k, const PolicyValue *v,
                     uint64_t *seen) {
        const PolicyKeyInfo *info = policy_key_info(k);

        if (*seen & UINT64_C(1) << k)
                return policy_wrong_key(x, v, strjoinf("\"%s\"", v->key),
                                        strjoinf("either \"%s\" or \"%s\"", policy_key_name(k),
                                                 strempty(info->alias)));
        *seen |= UINT64_C(1) << k;
        if (!policy_value_read(x, k, v, &t->rule->settings))
                return false;
        t->rule->set |= UINT64_C(1) << k;
        if (info->refuses || t->all_origins)
                t->rule->origins[k] = make_origin(x, t, k);
        return true;
}

/* Recursion ends with the table's objects: three deep. */
static void read_object(PolicyReader *x, const Target *t, PolicyObject o, const PolicyValue *v,
                        uint64_t *seen) {
        PolicyWalk walk = {};
        PolicyValue one;

        if (json_type(v->json) != JSON_OBJECT) {
                (void) policy_wrong(x, v, "an object");
                return;
        }
        while (policy_walk_next(x, v, &walk, &one)) {
                int number = find_member(x, o, one.key);

                if (number >= (int) MEMBER_OBJECTS)
                        read_object(x, t, (unsigned) number - MEMBER_OBJECTS, &one, seen);
                else if (number >= 0)
                        (void) read_key(x, t, (PolicyKey) number, &one, seen);
                else if (o != POLICY_OBJECT_RULE || t->all_origins ||
                         (!streq(one.key, "name") && !streq(one.key, "match")))
                        (void) policy_unknown_member(x, &one, o, !t->all_origins);
        }
}

/* ---- rules ---- */

static unsigned line_of(PolicyReader *x, size_t at) {
        const char *text = x->text->text;

        if (at < x->line_at) { /* whoever asks goes through the text, nearly always forwards */
                x->line_at = 0;
                x->line = 1;
        }
        while (x->line_at < at) {
                const char *end = memchr(text + x->line_at, '\n', at - x->line_at);

                if (!end)
                        break;
                x->line_at = (size_t) (end - text) + 1;
                x->line++;
        }
        return x->line;
}

static bool read_name(PolicyReader *x, const PolicyValue *v, PolicyRule *rule) {
        const char *s = json_string(v->json);

        if (!s || !string_is_safe(s, NAME_MAX_BYTES))
                return policy_wrong(x, v, "a name of at most %u bytes", NAME_MAX_BYTES);
        rule->name = policy_arena_copy(&x->policy->arena, s, strlen(s));
        if (!rule->name) {
                x->failed = true;
                return false;
        }
        switch (hashmap_put(x->names, rule->name, rule)) {
        case 0:
                return true;
        case -EEXIST: {
                const PolicyRule *other = hashmap_get(x->names, rule->name);

                return policy_wrong(x, v, "a name that no other rule has: %s:%u has it",
                                    other->file, other->line);
        }
        default:
                x->failed = true;
                return false;
        }
}

static PolicyCompiled *new_rule(PolicyReader *x, const PolicyValue *v) {
        Policy *p = x->policy;
        char pointer[32];
        PolicyCompiled *c;
        int n = snprintf(pointer, sizeof(pointer), "/rules/%zu", v->index);

        if (ARRAY_RESERVE_ONE(p->rules, p->n_rules, p->n_allocated) < 0)
                return NULL;
        c = policy_arena_allocate(&p->arena, sizeof(*c));
        if (!c)
                return NULL;
        c->rule = (PolicyRule) {
                .name = "",
                .file = x->file,
                .pointer = policy_arena_copy(&p->arena, pointer, (size_t) n),
                .line = line_of(x, x->places.items[v->place].value),
                .index = p->n_rules,
        };
        if (!c->rule.pointer)
                return NULL;
        p->rules[p->n_rules++] = c;
        return c;
}

static void read_rule(PolicyReader *x, const PolicyValue *v) {
        PolicyValue name = {}, match = {}, one;
        char prefix[ORIGIN_MAX];
        Target t = { .prefix = prefix };
        PolicyWalk walk = {};
        PolicyCompiled *c;
        uint64_t seen = 0;
        int n;

        if (json_type(v->json) != JSON_OBJECT) {
                (void) policy_wrong(x, v, "an object");
                return;
        }
        c = new_rule(x, v);
        if (!c) {
                x->failed = true;
                return;
        }
        while (policy_walk_next(x, v, &walk, &one))
                if (streq_ptr(one.key, "name"))
                        name = one;
                else if (streq_ptr(one.key, "match"))
                        match = one;
        if (!name.json)
                (void) policy_wrong(x, v, "an object with \"name\"");
        else
                (void) read_name(x, &name, &c->rule);
        if (!match.json)
                (void) policy_wrong(x, v, "an object with \"match\"");
        else
                (void) policy_match_read(x, &match, c);
        n = snprintf(prefix, sizeof(prefix), "rule \"%s\" (%s:%u, %s", c->rule.name, x->file,
                     c->rule.line, c->rule.pointer);
        t.rule = &c->rule;
        t.prefix_size = MIN((size_t) n, sizeof(prefix) - 1);
        read_object(x, &t, POLICY_OBJECT_RULE, v, &seen);
}

/* One element of an array of the document, as soon as it is read: rules are many, and what is
 * wanted of one is kept when the next one comes. */
static int take_element(const char *key, size_t index, Json *element, size_t place,
                        void *userdata) {
        PolicyReader *x = userdata;
        const PolicyValue document = {}, rules = { .up = &document, .key = "rules" };
        const PolicyValue v = { .up = &rules, .json = element, .index = index, .place = place };

        if (!streq(key, "rules"))
                return 0;
        if (x->policy->n_rules >= POLICY_RULES_MAX) {
                if (!x->too_many)
                        (void) policy_wrong(x, &v, "at most %u rules in all", POLICY_RULES_MAX);
                x->too_many = true;
                return x->failed ? -ENOMEM : 0;
        }
        read_rule(x, &v);
        return x->failed ? -ENOMEM : 0;
}

/* What a later file says of a key replaces what an earlier one said of it; other keys stay. */
static void read_defaults(PolicyReader *x, const PolicyValue *v) {
        PolicyRule *d = &x->policy->defaults;
        char prefix[ORIGIN_MAX];
        Target t = { .rule = d, .prefix = prefix, .all_origins = true };
        uint64_t seen = 0;
        int n;

        d->file = x->file;
        d->pointer = "/defaults";
        d->line = line_of(x, x->places.items[v->place].value);
        n = snprintf(prefix, sizeof(prefix), "defaults (%s:%u, /defaults", x->file, d->line);
        t.prefix_size = MIN((size_t) n, sizeof(prefix) - 1);
        read_object(x, &t, POLICY_OBJECT_RULE, v, &seen);
}

/* ---- files ---- */

static void read_document(PolicyReader *x, const PolicyValue *v) {
        PolicyWalk walk = {};
        PolicyValue one;
        uint64_t version;
        bool versioned = false;

        if (json_type(v->json) != JSON_OBJECT) {
                (void) policy_wrong(x, v, "an object with \"version\", \"rules\", \"defaults\"");
                return;
        }
        while (policy_walk_next(x, v, &walk, &one))
                if (streq_ptr(one.key, "version")) {
                        versioned = true;
                        if (json_u64(one.json, UINT64_MAX, &version) < 0 || version != 1)
                                (void) policy_wrong(x, &one, "1");
                } else if (streq_ptr(one.key, "rules")) {
                        if (json_type(one.json) != JSON_ARRAY)
                                (void) policy_wrong(x, &one, "an array of rules");
                } else if (streq_ptr(one.key, "defaults"))
                        read_defaults(x, &one);
                else if (!streq_ptr(one.key, "$schema"))
                        (void) policy_unknown_key(x, &one, policy_document_names);
                else if (!json_string(one.json))
                        (void) policy_wrong(x, &one, "the place of the schema");
        if (!versioned)
                (void) policy_wrong(x, v, "an object with \"version\": 1");
}

static void note_syntax(PolicyReader *x, int error) {
        size_t at = x->places.error;
        char *found;

        if (x->places.reason)
                found = strdup(x->places.reason);
        else if (at >= x->text->size)
                found = strdup("the end of the text");
        else if ((uint8_t) x->text->text[at] > 0x20 && (uint8_t) x->text->text[at] < 0x7f)
                found = strjoinf("'%c'", x->text->text[at]);
        else
                found = strjoinf("byte 0x%02x", (uint8_t) x->text->text[at]);
        policy_problem_add(x, at, strdup(""), found,
                           error == -E2BIG
                                   ? strjoinf("at most %u containers in each other and %u bytes",
                                              DEPTH_LIMIT, POLICY_FILE_MAX)
                                   : strdup("JSON (RFC 8259; comments are allowed)"));
}

/* Rules are checked before what stands around them: the file's problems in order of the text. */
static void sort_problems(PolicyProblems *p, size_t first) {
        for (size_t i = first + 1; i < p->n; i++) {
                PolicyProblem one = p->items[i];
                size_t at = i;

                for (; at > first && (p->items[at - 1].line > one.line ||
                                      (p->items[at - 1].line == one.line &&
                                       p->items[at - 1].column > one.column));
                     at--)
                        p->items[at] = p->items[at - 1];
                p->items[at] = one;
        }
}

int policy_file_read(PolicyReader *x, const PolicyText *text) {
        const JsonLimits limits = { POLICY_FILE_MAX, DEPTH_LIMIT, true };
        _cleanup_json_ Json *json = NULL;
        size_t first;
        int r;

        assert(x);
        assert(text);
        if (!x->members[member_slot(POLICY_OBJECT_RULE, "assign")])
                add_members(x);
        x->text = text;
        first = x->problems->n;
        x->line_at = 0;
        x->line = 1;
        x->file = policy_arena_copy(&x->policy->arena, text->file, strlen(text->file));
        if (!x->file)
                return -ENOMEM;
        if (text->error < 0) {
                policy_problem_add(x, 0, strdup(""),
                                   strdup(strempty(strerrordesc_np(-text->error))),
                                   strdup("a file that can be read"));
                return x->failed ? -ENOMEM : 0;
        }
        x->places.element = take_element;
        x->places.userdata = x;
        r = json_parse_places(text->text, text->size, limits, &json, &x->places);
        if (r >= 0)
                read_document(x, &(PolicyValue) { .json = json });
        else if (r != -ENOMEM)
                note_syntax(x, r);
        json_places_done(&x->places);
        sort_problems(x->problems, first);
        return r == -ENOMEM || x->failed ? -ENOMEM : 0;
}
