/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Policy files from text to rule: every key with a value that is good, one of a wrong type and one
 * that is wrong; every selector on a device that it fits and one that it does not; what is refused
 * and where; how defaults and the order of files work; the index against a plain walk.
 */

#include "base/strutil.h"
#include "policy/policy.h"
#include "unit.h"

/* ---- helpers ---- */

static int find_user(const char *name, uid_t *ret, void *userdata _unused_) {
        if (!streq(name, "alice"))
                return -ESRCH;
        *ret = 1001;
        return 0;
}

static int find_group(const char *name, gid_t *ret, void *userdata _unused_) {
        if (!streq(name, "vm-admins"))
                return -ESRCH;
        *ret = 2001;
        return 0;
}

static const PolicyOptions options = { find_user, find_group, NULL };

static int compile(const char *text, PolicyProblems *problems, Policy **ret) {
        return policy_compile(&(PolicyText) { "p.json", text, strlen(text), 0 }, 1, &options,
                              problems, ret);
}

static Policy *must_compile(const char *text) {
        PolicyProblems problems;
        Policy *p = NULL;
        int r = compile(text, &problems, &p);

        if (r < 0 && problems.n > 0)
                ck_abort_msg("%s: %s", text, policy_problem_to_string(problems.items));
        ck_assert_int_eq(r, 0);
        return p;
}

/* The only problem of the text. */
static void must_refuse(const char *text, const char *pointer, const char *expected) {
        PolicyProblems problems;
        Policy *p = NULL;
        _cleanup_free_ char *all = NULL;

        ck_assert_msg(compile(text, &problems, &p) == -EBADMSG, "taken: %s", text);
        ck_assert_ptr_null(p);
        all = policy_problem_to_string(problems.items);
        ck_assert_msg(problems.n == 1, "%s: %zu problems, the first %s", text, problems.n, all);
        ck_assert_msg(streq(problems.items[0].pointer, pointer), "%s: %s", text, all);
        ck_assert_msg(strstr(problems.items[0].expected, expected), "%s: %s", text, all);
        ck_assert_str_eq(problems.items[0].file, "p.json");
        ck_assert_uint_ge(problems.items[0].line, 1);
        policy_problems_done(&problems);
}

/* { "KEY": VALUE } with the objects that a dotted path names. */
static char *nest(const char *path, const char *value) {
        _cleanup_strbuf_ StrBuf b = {};
        unsigned depth = 0;
        size_t n;

        for (;; path += n + 1, depth++) {
                n = strcspn(path, ".");
                strbuf_addf(&b, "{\"%.*s\":", (int) n, path);
                if (!path[n])
                        break;
        }
        strbuf_add(&b, value);
        for (unsigned i = 0; i <= depth; i++)
                strbuf_add(&b, "}");
        return strbuf_steal(&b);
}

/* As a rule's only setting, which needs its closing brace cut off and put back. */
static char *rule_with(const char *path, const char *value) {
        _cleanup_free_ char *setting = nest(path, value);

        return strjoinf("{\"version\":1,\"rules\":[{\"name\":\"r\",\"match\":{},%s]}", setting + 1);
}

static char *defaults_with(const char *path, const char *value) {
        _cleanup_free_ char *setting = nest(path, value);

        return strjoinf("{\"version\":1,\"defaults\":%s}", setting);
}

static char *value_text(Json *j, const char *path) {
        size_t n;

        for (;; path += n + 1) {
                _cleanup_free_ char *name = NULL;

                n = strcspn(path, ".");
                name = strndup(path, n);
                j = json_get(j, name);
                if (!path[n])
                        return json_to_text(j, false);
        }
}

/* ---- keys ---- */

static const struct {
        PolicyKey key;
        const char *good;  /* what is shown is the same, unless … */
        const char *shown; /* … NULL is not here */
        const char *type, *wrong;
        const char *place; /* below the key's pointer, of both problems */
} keys[] = {
        { POLICY_KEY_ASSIGN, "\"deny\"", NULL, "true", "\"maybe\"", "" },
        { POLICY_KEY_OWNERS,
          "[\"vm-*\",{\"owner\":\"t-*\",\"users\":[\"alice\",7],\"groups\":[\"vm-admins\"]}]",
          "[\"vm-*\",{\"owner\":\"t-*\",\"users\":[1001,7],\"groups\":[2001]}]", "[7]", "[\"\"]",
          "/0" },
        { POLICY_KEY_OWNERS, "null", NULL, "\"vm-*\"", "{}", "" },
        { POLICY_KEY_OWNERS, "[]", NULL, "[{\"users\":[]}]", "[{}]", "/0" },
        { POLICY_KEY_OWNERS, "[{\"owner\":\"a\",\"users\":[],\"groups\":[]}]", "[\"a\"]",
          "[{\"owner\":\"a\",\"users\":[true]}]", "[{\"owner\":\"a\",\"users\":[\"bob\"]}]",
          "/0/users/0" },
        { POLICY_KEY_OWNERS, "[\"*\"]", NULL, "[{\"owner\":\"a\",\"groups\":\"x\"}]",
          "[{\"owner\":\"a\",\"groups\":7}]", "/0/groups" },
        { POLICY_KEY_LIMIT, "4", NULL, "\"4\"", "-1", "" },
        { POLICY_KEY_LIMIT, "\"none\"", NULL, "4.5", "4294967295", "" },
        { POLICY_KEY_LIMIT, "0", NULL, "[]", "18446744073709551615", "" },
        { POLICY_KEY_GROUP, "\"take-all\"", NULL, "1", "\"all\"", "" },
        { POLICY_KEY_GROUP, "\"refuse\"", NULL, "{}", "\"Refuse\"", "" },
        { POLICY_KEY_DRIVER, "\"mlx5-vfio-pci\"", NULL, "null", "\"../x\"", "" },
        { POLICY_KEY_DRIVER, "\"auto\"", NULL, "[\"auto\"]", "\"\"", "" },
        { POLICY_KEY_LIFETIME, "\"process\"", "[\"process\"]", "1", "\"forever\"", "" },
        { POLICY_KEY_LIFETIME, "[\"process\",\"persistent\"]", NULL, "[1]", "[\"forever\"]", "/0" },
        { POLICY_KEY_BAR_0, "\"256M\"", NULL, "268435456", "\"3M\"", "" },
        { POLICY_KEY_BAR_1, "\"max\"", NULL, "null", "\"512K\"", "" },
        { POLICY_KEY_BAR_2, "\"leave\"", NULL, "{}", "\"M\"", "" },
        { POLICY_KEY_BAR_3, "\"1024M\"", "\"1G\"", "[]", "\"4096T\"", "" },
        { POLICY_KEY_BAR_4, "\"2048T\"", NULL, "true", "\"1MB\"", "" },
        { POLICY_KEY_BAR_5, "\"1M\"", NULL, "1", "\"99999999999999999999T\"", "" },
        { POLICY_KEY_BARS_UNASSIGNED, "\"deny\"", NULL, "false", "\"no\"", "" },
        { POLICY_KEY_IOMMU_DOMAIN, "\"dma-fq\"", NULL, "4", "\"DMA\"", "" },
        { POLICY_KEY_IOMMU_DOMAIN, "\"identity\"", NULL, "null", "\"blocked\"", "" },
        { POLICY_KEY_IOMMU_COHERENT, "\"required\"", NULL, "true", "\"yes\"", "" },
        { POLICY_KEY_IOMMU_REMAPPING, "\"required\"", NULL, "true", "\"yes\"", "" },
        { POLICY_KEY_P2P, "\"deny\"", NULL, "[\"deny\"]", "\"allow\"", "" },
        { POLICY_KEY_NO_SNOOP, "\"off\"", NULL, "false", "\"false\"", "" },
        { POLICY_KEY_ATS, "\"deny\"", NULL, "false", "\"off\"", "" },
        { POLICY_KEY_D3COLD, "\"on\"", NULL, "1", "\"1\"", "" },
        { POLICY_KEY_CLEAN_RESET, "[\"flr\",\"bus\"]", NULL, "[1]", "[\"flrr\"]", "/0" },
        { POLICY_KEY_CLEAN_RESET, "[]", NULL, "{}", "\"flr\"", "" },
        { POLICY_KEY_CLEAN_RESET, "\"auto\"", NULL, "[\"pm\",null]", "[\"pm\",\"pm\"]", "/1" },
        { POLICY_KEY_CLEAN_READY, "\"90s\"", NULL, "60", "\"60\"", "" },
        { POLICY_KEY_CLEAN_READY, "\"2min\"", NULL, "null", "\"1us\"", "" },
        { POLICY_KEY_CLEAN_READY, "\"60min\"", "\"1h\"", "[]", "\"61min\"", "" },
        { POLICY_KEY_CLEAN_HOOKS, "[\"a.sh\",\"b\"]", NULL, "[7]", "[\"../x\"]", "/0" },
        { POLICY_KEY_CLEAN_HOOKS, "[]", NULL, "\"a\"",
          "[\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\",\"\"]",
          "" },
        { POLICY_KEY_CLEAN_HOOKS, "[\"-\"]", NULL, "[null]", "[\".x\"]", "/0" },
        { POLICY_KEY_CORRECTABLE_RATE, "\"100/min\"", NULL, "100", "\"100\"", "" },
        { POLICY_KEY_CORRECTABLE_THEN, "[\"rate-limit\",\"degrade\"]", NULL, "[null]",
          "[\"panic\"]", "/0" },
        { POLICY_KEY_NON_FATAL_RATE, "\"3/h\"", NULL, "{}", "\"0/h\"", "" },
        { POLICY_KEY_NON_FATAL_THEN, "[]", NULL, "7", "\"\"", "" },
        { POLICY_KEY_FATAL_RATE, "\"none\"", NULL, "true", "\"1/y\"", "" },
        { POLICY_KEY_FATAL_RATE, "\"1000000/d\"", NULL, "true", "\"1000001/d\"", "" },
        { POLICY_KEY_FATAL_THEN, "\"quarantine\"", "[\"quarantine\"]", "null", "\"reset\"", "" },
        { POLICY_KEY_UNPLUG_GRACE, "\"0s\"", NULL, "0", "\"2d\"", "" },
        { POLICY_KEY_UNPLUG_SURPRISE, "\"1500ms\"", NULL, "5", "\"61s\"", "" },
        { POLICY_KEY_UNPLUG_THEN, "\"force\"", NULL, "{}", "\"wait\"", "" },
        { POLICY_KEY_RELEASE_GRACE, "\"7us\"", NULL, "1.5", "\"18446744073709551616us\"", "" },
        { POLICY_KEY_RELEASE_THEN, "\"end\"", NULL, "true", "\"force\"", "" },
        { POLICY_KEY_RETURN, "\"reassign\"", NULL, "[]", "\"leave\"", "" },
        { POLICY_KEY_PRESENT, "\"claim\"", NULL, "0", "\"take\"", "" },
        { POLICY_KEY_INSERTED, "\"hold\"", NULL, "null", "\"deny\"", "" },
        { POLICY_KEY_VFS, "8", NULL, "\"8\"", "65536", "" },
        { POLICY_KEY_VFS, "\"none\"", NULL, "true", "-1", "" },
};

START_TEST(test_key_good) {
        const char *path = policy_key_to_string(keys[_i].key);
        _cleanup_free_ char *rule = rule_with(path, keys[_i].good), *shown = NULL, *own = NULL;
        _cleanup_(policy_freep) Policy *p = must_compile(rule);
        _cleanup_json_ Json *j = policy_to_json(p);
        const PolicyRule *r = policy_rule_at(p, 0);

        shown = value_text(json_at(json_get(j, "rules"), 0), path);
        ck_assert_str_eq(shown, keys[_i].shown ? keys[_i].shown : keys[_i].good);
        ck_assert_uint_eq(r->set, UINT64_C(1) << keys[_i].key);
        ck_assert_str_eq(r->name, "r");
        ck_assert_str_eq(r->pointer, "/rules/0");
        if (policy_key_info(keys[_i].key)->refuses) {
                ck_assert_ptr_nonnull(r->origins[keys[_i].key]);
                ck_assert_int_eq(
                        strncmp(r->origins[keys[_i].key], "rule \"r\" (p.json:1, /rules/0/", 29),
                        0);
        }
        own = value_text(json_get(j, "defaults"), path); /* of others nothing is seen there */
        free(own);
        own = value_text(json_get(j, "defaults"), "assign");
        ck_assert_str_eq(own, "\"allow\"");
}
END_TEST

START_TEST(test_key_wrong) {
        const char *path = policy_key_to_string(keys[_i].key);
        _cleanup_free_ char *type = rule_with(path, keys[_i].type),
                            *wrong = defaults_with(path, keys[_i].wrong), *way = strdup(path),
                            *in_rule = NULL, *in_defaults = NULL;

        for (char *s = way; *s; s++)
                if (*s == '.')
                        *s = '/';
        in_rule = strjoinf("/rules/0/%s%s", way, keys[_i].place);
        in_defaults = strjoinf("/defaults/%s%s", way, keys[_i].place);
        must_refuse(type, in_rule, "");
        must_refuse(wrong, in_defaults, "");
}
END_TEST

/* No key without a row above, and each row of the table is whole. */
START_TEST(test_key_table) {
        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++) {
                const PolicyKeyInfo *info = policy_key_info(k);
                bool found = false;

                for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                        found = found || (unsigned) keys[i].key == k;
                ck_assert_msg(found, "no test for %s", info->path);
                ck_assert(info->path && info->standard && info->note && info->text);
                ck_assert_uint_gt(info->size, 0);
                ck_assert_int_eq(policy_key_from_string(info->path), k);
        }
        ck_assert_int_eq(policy_key_from_string("nothing"), _POLICY_KEY_INVALID);
        ck_assert_int_eq(policy_key_from_string(NULL), _POLICY_KEY_INVALID);
        ck_assert_ptr_null(policy_key_to_string(_POLICY_KEY_MAX));
}
END_TEST

/* What the table says is built in is. */
START_TEST(test_key_standard) {
        const PolicyKeyInfo *info = policy_key_info(_i);
        _cleanup_free_ char *text = defaults_with(info->path, info->standard), *a = NULL, *b = NULL;
        PolicyProblems problems;
        Policy *none = NULL;
        _cleanup_(policy_freep) Policy *said = must_compile(text), *built_in = NULL;
        _cleanup_json_ Json *x = NULL, *y = NULL;

        ck_assert_int_eq(policy_compile(NULL, 0, NULL, &problems, &none), 0);
        built_in = none;
        ck_assert_int_eq(memcmp((const char *) &policy_defaults(said)->settings + info->offset,
                                (const char *) &policy_defaults(built_in)->settings + info->offset,
                                info->size), 0);
        x = policy_to_json(said);
        y = policy_to_json(built_in);
        a = value_text(json_get(x, "defaults"), info->path);
        b = value_text(json_get(y, "defaults"), info->path);
        ck_assert_str_eq(a, b);
        ck_assert_str_eq(policy_defaults(said)->pointer, "/defaults");
        ck_assert_str_eq(policy_defaults(built_in)->file, "built-in");
        ck_assert_uint_ne(policy_hash(said), policy_hash(built_in));
}
END_TEST

START_TEST(test_force) {
        const PolicyHost old = { .kernel = 4 << 16 | 19 }, recent = { .kernel = 6 << 16 | 12 },
                         locked = { .kernel = 6 << 16 | 12, .locked = true };

        ck_assert_int_eq(policy_key_force(POLICY_KEY_NO_SNOOP, NULL), POLICY_PRE_OPEN);
        ck_assert_int_eq(policy_key_force(POLICY_KEY_NO_SNOOP, &recent), POLICY_PRE_OPEN);
        ck_assert_int_eq(policy_key_force(POLICY_KEY_NO_SNOOP, &locked), POLICY_REFUSES);
        ck_assert_int_eq(policy_key_force(POLICY_KEY_BAR_3, &old), POLICY_REFUSES);
        ck_assert_int_eq(policy_key_force(POLICY_KEY_BAR_3, &recent), POLICY_ENFORCED);
        ck_assert_int_eq(policy_key_force(POLICY_KEY_BAR_3, &(PolicyHost) {}), POLICY_ENFORCED);
        ck_assert_int_eq(policy_key_force(POLICY_KEY_ATS, &recent), POLICY_REFUSES);
        ck_assert_int_eq(policy_key_force(POLICY_KEY_CLEAN_RESET, &old), POLICY_REFUSES);
        for (PolicyForce f = 0; f < _POLICY_FORCE_MAX; f++)
                ck_assert_ptr_nonnull(policy_force_to_string(f));
        ck_assert_ptr_null(policy_force_to_string(_POLICY_FORCE_MAX));
}
END_TEST

/* ---- problems ---- */

static const struct {
        const char *text, *pointer, *found, *expected;
        unsigned line, column;
} refusals[] = {
        { "", "", "the end of the text", "JSON", 1, 1 },
        { "{\n  \"version\": 1,\n  \"rules\": [", "", "the end of the text", "JSON", 3, 13 },
        { "{\"version\": 1, }", "", "'}'", "JSON", 1, 16 },
        { "{\"version\": 1, \x01}", "", "byte 0x01", "JSON", 1, 16 },
        { "{\"version\": 1, \"$schema\": \"\xff\"}", "", "not UTF-8", "JSON", 1, 29 },
        { "{\"version\": 1, \"version\": 1}", "", "a key that the object has already", "JSON", 1,
          16 },
        { "[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]", "", "too many containers", "at most 16", 1, 17 },
        { "7", "", "7", "an object", 1, 1 },
        { "{}", "", "an object", "\"version\": 1", 1, 1 },
        { "{\"version\": 2}", "/version", "2", "1", 1, 13 },
        { "{\"version\": \"1\"}", "/version", "\"1\"", "1", 1, 13 },
        { "{\"version\": 1, \"$schema\": 7}", "/$schema", "7", "schema", 1, 27 },
        { "{\"version\": 1, \"ruels\": []}", "/ruels", "an unknown key", "did you mean \"rules\"?",
          1, 16 },
        { "{\"version\": 1, \"a/b~c\": [1, 2]}", "/a~1b~0c", "an unknown key", "one of \"$schema\"",
          1, 16 },
        { "{\"version\": 1, \"rules\": {}}", "/rules", "an object", "an array of rules", 1, 25 },
        { "{\"version\": 1, \"rules\": [\n7]}", "/rules/0", "7", "an object", 2, 1 },
        { "{\"version\": 1, \"rules\": [{\"match\": {}}]}", "/rules/0", "an object", "\"name\"", 1,
          26 },
        { "{\"version\": 1, \"rules\": [{\"name\": \"a\"}]}", "/rules/0", "an object", "\"match\"",
          1, 26 },
        { "{\"version\": 1, \"rules\": [{\"name\": \"\", \"match\": {}}]}", "/rules/0/name", "\"\"",
          "a name", 1, 35 },
        { "{\"version\": 1, \"rules\": [{\"name\": 7, \"match\": {}}]}", "/rules/0/name", "7",
          "a name", 1, 35 },
        { "{\"version\": 1, \"rules\": [{\"name\": \"a\\u001b[31m\", \"match\": {}}]}",
          "/rules/0/name", "\"a\\x1b[31m\"", "a name", 1, 35 },
        { "{\"version\": 1, \"rules\": [{\"name\": \"a\", \"match\": {}},\n{\"name\": \"a\", "
          "\"match\": {}}]}",
          "/rules/1/name", "\"a\"", "no other rule has: p.json:1", 2, 10 },
        { "{\"version\": 1, \"rules\": [{\"name\": \"a\", \"match\": []}]}", "/rules/0/match",
          "an array of 0", "{} for every device", 1, 49 },
        { "{\"version\": 1, \"rules\": [{\"name\": \"a\", \"match\": {\"vendro\": \"8086\"}}]}",
          "/rules/0/match/vendro", "an unknown key", "did you mean \"vendor\"?", 1, 50 },
        { "{\"version\": 1, \"rules\": [{\"name\": \"a\", \"match\": {}, \"asign\": \"deny\"}]}",
          "/rules/0/asign", "an unknown key", "did you mean \"assign\"?", 1, 53 },
        { "{\"version\": 1, \"defaults\": []}", "/defaults", "an array of 0", "an object", 1, 28 },
        { "{\"version\": 1, \"defaults\": {\"name\": \"a\"}}", "/defaults/name", "an unknown key",
          "one of \"assign\"", 1, 29 },
        { "{\"version\": 1, \"defaults\": {\"iommu\": \"dma\"}}", "/defaults/iommu", "\"dma\"",
          "an object", 1, 38 },
        { "{\"version\": 1, \"defaults\": {\"iommu\": {\"coherant\": \"any\"}}}",
          "/defaults/iommu/coherant", "an unknown key", "did you mean \"coherent\"?", 1, 39 },
        { "{\"version\": 1, \"defaults\": {\"bars\": {\"6\": {}}}}", "/defaults/bars/6",
          "an unknown key", "one of \"unassigned\", \"0\", \"1\"", 1, 38 },
        { "{\"version\": 1, \"defaults\": {\"errors\": {\"fatal\": {\"rate\": \"1/h\", \"count\": "
          "\"2/h\"}}}}",
          "/defaults/errors/fatal/count", "\"count\"", "either \"rate\" or \"count\"", 1, 65 },
        { "{\"version\": 1, \"defaults\": {\"owners\": [{\"owner\": \"a\", \"user\": []}]}}",
          "/defaults/owners/0/user", "an unknown key", "\"users\"", 1, 55 },
        { "{\"version\": 1, \"defaults\": {\"ats\": null}}", "/defaults/ats", "null",
          "\"allow\", \"deny\"", 1, 36 },
        { "{\"version\": 1, \"defaults\": {\"driver\": "
          "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}",
          "/defaults/driver", "…", "driver", 1, 39 },
};

START_TEST(test_refusal) {
        PolicyProblems problems;
        Policy *p = NULL;

        must_refuse(refusals[_i].text, refusals[_i].pointer, refusals[_i].expected);
        ck_assert_int_eq(compile(refusals[_i].text, &problems, &p), -EBADMSG);
        ck_assert_msg(strstr(problems.items[0].found, refusals[_i].found), "found %s",
                      problems.items[0].found);
        ck_assert_uint_eq(problems.items[0].line, refusals[_i].line);
        ck_assert_uint_eq(problems.items[0].column, refusals[_i].column);
        policy_problems_done(&problems);
}
END_TEST

/* All that is wrong, in order of the text, of all files. */
START_TEST(test_all_problems) {
        const char *first = "{ \"rules\": [ { \"name\": \"a\", \"match\": { \"class\": \"3\" },\n "
                            "\"ats\": 1 } ],\n"
                            " \"defaults\": { \"p2p\": 2 } }";
        const PolicyText texts[] = {
                { "a.json", first, strlen(first), 0 },
                { "b.json", NULL, 0, -ELOOP },
                { "c.json", "{", 1, 0 },
        };
        static const struct { const char *file; unsigned line; const char *pointer;
        } wanted[] = {
                { "a.json", 1, "" },
                { "a.json", 1, "/rules/0/match/class" },
                { "a.json", 2, "/rules/0/ats" },
                { "a.json", 3, "/defaults/p2p" },
                { "b.json", 0, "" },
                { "c.json", 1, "" },
        };
        PolicyProblems problems;
        Policy *p = NULL;
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *text = NULL;

        ck_assert_int_eq(policy_compile(texts, 3, NULL, &problems, &p), -EBADMSG);
        ck_assert_uint_eq(problems.n, ELEMENTSOF(wanted));
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++) {
                ck_assert_str_eq(problems.items[i].file, wanted[i].file);
                ck_assert_str_eq(problems.items[i].pointer, wanted[i].pointer);
                ck_assert_uint_eq(problems.items[i].line, wanted[i].line);
        }
        ck_assert_ptr_nonnull(strstr(problems.items[4].found, "symbolic links"));
        text = policy_problem_to_string(problems.items + 1);
        ck_assert_str_eq(
                text, "a.json:1:49: /rules/0/match/class: found \"3\", expected two, four or six "
                      "hexadecimal digits");
        j = policy_problems_to_json(&problems);
        ck_assert_uint_eq(json_length(j), problems.n);
        ck_assert_ptr_null(json_get(json_at(j, 4), "line"));
        ck_assert_str_eq(json_string(json_get(json_at(j, 3), "pointer")), "/defaults/p2p");
        policy_problems_done(&problems);
}
END_TEST

START_TEST(test_too_many_problems) {
        _cleanup_strbuf_ StrBuf b = {};
        PolicyProblems problems;
        Policy *p = NULL;

        strbuf_add(&b, "{\"version\":1,\"rules\":[");
        for (unsigned i = 0; i < 2 * POLICY_PROBLEMS_MAX; i++)
                strbuf_addf(&b, "%s7", i > 0 ? "," : "");
        strbuf_add(&b, "]}");
        ck_assert_int_eq(compile(b.data, &problems, &p), -EBADMSG);
        ck_assert_uint_eq(problems.n, POLICY_PROBLEMS_MAX);
        ck_assert_uint_eq(problems.n_dropped, POLICY_PROBLEMS_MAX);
        policy_problems_done(&problems);
}
END_TEST

START_TEST(test_too_much) {
        static const PolicyText many[POLICY_FILES_MAX + 1];
        _cleanup_strbuf_ StrBuf b = {};
        PolicyText list[POLICY_FILES_MAX + 1];
        PolicyProblems problems;
        Policy *p = NULL;

        memcpy(list, many, sizeof(list));
        for (size_t i = 0; i < ELEMENTSOF(list); i++)
                list[i] = (PolicyText) { "p.json", "{\"version\":1}", 13, 0 };
        ck_assert_int_eq(policy_compile(list, ELEMENTSOF(list), NULL, &problems, &p), -EBADMSG);
        ck_assert_ptr_nonnull(strstr(problems.items[0].expected, "at most 256"));
        policy_problems_done(&problems);

        strbuf_add(&b, "{\"version\":1,\"rules\":[");
        for (unsigned i = 0; i <= POLICY_RULES_MAX + 1; i++)
                strbuf_addf(&b, "%s{\"name\":\"%u\",\"match\":{}}", i > 0 ? "," : "", i);
        strbuf_add(&b, "]}");
        must_refuse(b.data, "/rules/8192", "at most 8192 rules");

        list[0] =
                (PolicyText){ "big.json", calloc(1, POLICY_FILE_MAX + 1), POLICY_FILE_MAX + 1, 0 };
        ck_assert_ptr_nonnull(list[0].text);
        ck_assert_int_eq(policy_compile(list, 1, NULL, &problems, &p), -EBADMSG);
        ck_assert_str_eq(problems.items[0].found, "a text that is too large");
        policy_problems_done(&problems);
        free((char *) list[0].text);
}
END_TEST

/* Cut at each byte it is refused or, never, taken for something else. */
START_TEST(test_truncated) {
        const char *whole =
                "{\"version\":1,\"rules\":[{\"name\":\"a\",\"match\":{\"vendor\":[\"8086\","
                "\"10de\"]},"
                "\"iommu\":{\"domain\":\"dma\"},\"owners\":[{\"owner\":\"x\",\"users\":[1]}]}],"
                "\"defaults\":{\"ats\":\"deny\"}}";

        for (size_t n = 0; n < strlen(whole); n++) {
                _cleanup_free_ char *cut = strndup(whole, n);
                PolicyProblems problems;
                Policy *p = NULL;

                ck_assert_int_eq(compile(cut, &problems, &p), -EBADMSG);
                ck_assert_uint_eq(problems.n, 1);
                policy_problems_done(&problems);
        }
        policy_free(must_compile(whole));
}
END_TEST

/* ---- rules and defaults ---- */

START_TEST(test_defaults) {
        const PolicyText texts[] = {
                { "10.json", NULL, 0, 0 }, { "20.json", NULL, 0, 0 }, { "30.json", NULL, 0, 0 },
        };
        PolicyText list[3];
        PolicyProblems problems;
        Policy *p = NULL;
        const PolicyRule *r;

        memcpy(list, texts, sizeof(list));
        list[0].text = "{\"version\":1,\"rules\":[{\"name\":\"a\",\"match\":{\"vendor\":\"8086\"},"
                       "\"limit\":2}],"
                       "\"defaults\":{\"limit\":5,\"ats\":\"deny\",\"clean\":{\"hooks\":[\"h\"]}}}";
        list[1].text =
                "// nothing but a comment and\n{\"version\":1,\"defaults\":{\"ats\":\"allow\","
                "\"iommu\":{\"coherent\":\"required\"}}}";
        list[2].text = "{\"version\":1,\"rules\":[{\"name\":\"b\",\"match\":{}}]}";
        for (size_t i = 0; i < 3; i++)
                list[i].size = strlen(list[i].text);
        ck_assert_int_eq(policy_compile(list, 3, NULL, &problems, &p), 0);
        ck_assert_uint_eq(policy_n_rules(p), 2);
        r = policy_rule_at(
                p, 0); /* its own, then the later file's, then the earlier one's, then built in */
        ck_assert_uint_eq(r->settings.limit, 2);
        ck_assert(!r->settings.ats_deny);
        ck_assert(r->settings.coherent_required);
        ck_assert_str_eq(r->settings.hooks.names[0], "h");
        ck_assert_uint_eq(r->settings.release_grace, 30000000);
        ck_assert_str_eq(r->origins[POLICY_KEY_LIMIT], "rule \"a\" (10.json:1, /rules/0/limit)");
        ck_assert_str_eq(r->origins[POLICY_KEY_ATS], "defaults (20.json:2, /defaults/ats)");
        ck_assert_str_eq(r->origins[POLICY_KEY_IOMMU_COHERENT],
                         "defaults (20.json:2, /defaults/iommu/coherent)");
        ck_assert_ptr_null(r->origins[POLICY_KEY_ASSIGN]);
        r = policy_rule_at(p, 1);
        ck_assert_uint_eq(r->settings.limit, 5);
        ck_assert_str_eq(r->file, "30.json");
        ck_assert_uint_eq(r->index, 1);
        ck_assert_str_eq(policy_defaults(p)->file, "20.json");
        ck_assert_uint_eq(policy_defaults(p)->settings.limit, 5);
        policy_free(p);
        ck_assert_ptr_null(policy_free(NULL));
}
END_TEST

/* The same files have the same hash; any other byte, name or order another one. */
START_TEST(test_hash) {
        PolicyText list[2] = { { "a", "{\"version\":1}", 13, 0 },
                               { "b", "{\"version\":1 }", 14, 0 } };
        uint64_t seen[4];
        PolicyProblems problems;

        for (unsigned i = 0; i < 4; i++) {
                Policy *p = NULL;

                if (i == 2)
                        list[0].file = "c";
                if (i == 3) {
                        PolicyText swap = list[0];
                        list[0] = list[1];
                        list[1] = swap;
                }
                ck_assert_int_eq(policy_compile(list, 2, NULL, &problems, &p), 0);
                seen[i] = policy_hash(p);
                policy_free(p);
        }
        ck_assert_uint_eq(seen[0], seen[1]);
        ck_assert_uint_ne(seen[1], seen[2]);
        ck_assert_uint_ne(seen[2], seen[3]);
}
END_TEST

/* Everything the schema lists is a key of the table, and the other way round. */
START_TEST(test_schema) {
        _cleanup_json_ Json *schema = policy_schema(), *table = policy_keys();
        Json *rule = json_get(json_get(json_get(json_get(schema, "properties"), "rules"), "items"),
                              "properties");

        ck_assert_uint_eq(json_length(table), _POLICY_KEY_MAX);
        for (unsigned k = 0; k < _POLICY_KEY_MAX; k++) {
                const char *path = policy_key_to_string(k);
                Json *at = rule;
                size_t n;

                ck_assert_str_eq(json_string(json_get(json_at(table, k), "key")), path);
                for (;; path += n + 1) {
                        _cleanup_free_ char *name = NULL;

                        n = strcspn(path, ".");
                        name = strndup(path, n);
                        at = json_get(at, name);
                        ck_assert_msg(at, "%s is not in the schema", policy_key_to_string(k));
                        if (!path[n])
                                break;
                        at = json_get(at, "properties");
                }
                ck_assert_ptr_nonnull(json_get(at, "description"));
                ck_assert_ptr_nonnull(json_get(at, "default"));
        }
        for (unsigned s = 0; s < _POLICY_SELECTOR_MAX; s++)
                ck_assert_ptr_nonnull(json_get(json_get(json_get(rule, "match"), "properties"),
                                               policy_selector_info(s)->name));
        free(json_to_text(schema, true));
}
END_TEST

static void add(TCase *c) {
        ADD_TABLE(c, test_key_good, keys);
        ADD_TABLE(c, test_key_wrong, keys);
        tcase_add_test(c, test_key_table);
        tcase_add_loop_test(c, test_key_standard, 0, _POLICY_KEY_MAX);
        tcase_add_test(c, test_force);
        ADD_TABLE(c, test_refusal, refusals);
        tcase_add_test(c, test_all_problems);
        tcase_add_test(c, test_too_many_problems);
        tcase_add_test(c, test_too_much);
        tcase_add_test(c, test_truncated);
        tcase_add_test(c, test_defaults);
        tcase_add_test(c, test_hash);
        tcase_add_test(c, test_schema);
}

UNIT_MAIN("policy", add);
