/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Policy files: any text is refused with a place and words for it, or taken; then every device gets
 * the rule that a plain walk finds, evaluation ends, and the rules written as JSON read back as the
 * same rules. Texts are split at NUL bytes into several files.
 */

#include "policy/policy-private.h"

#include "fuzz.h"

#define FILES_MAX 4U

static int find_name(const char *name, uint32_t *ret, void *userdata _unused_) {
        *ret = (uint32_t) strlen(name);
        return name[0] == 'x' ? -ESRCH : 0;
}

static const PolicyOptions options = { find_name, find_name, NULL };

static void check_problems(const PolicyProblems *p) {
        _cleanup_json_ Json *j = policy_problems_to_json(p);

        fuzz_require(p->n > 0);
        for (size_t i = 0; i < p->n; i++) {
                _cleanup_free_ char *text = policy_problem_to_string(p->items + i);

                fuzz_require(text && utf8_is_valid(text, strlen(text)));
                fuzz_require(p->items[i].line > 0 && p->items[i].column > 0);
                fuzz_require(p->items[i].found[0] && p->items[i].expected[0]);
        }
        fuzz_require(json_length(j) == p->n);
}

static const PolicyRule *plain_walk(const Policy *p, const PolicySubject *s) {
        for (size_t i = 0; i < p->n_rules; i++) {
                size_t k = 0;

                while (k < p->rules[i]->n_conditions &&
                       policy_condition_holds(p->rules[i]->conditions + k, s))
                        k++;
                if (k == p->rules[i]->n_conditions)
                        return &p->rules[i]->rule;
        }
        return &p->defaults;
}

static void check_devices(const Policy *p) {
        static const uint32_t classes[] = { 0x030000, 0x020000, 0x010802, 0x120000, 0x060400 };
        PciConfigFacts config = {
                .has_ats = true, .flr = true, .is_cxl = true, .has_dsn = true, .dsn = 1
        };

        for (unsigned i = 0; i < ELEMENTSOF(classes); i++) {
                PciFacts facts;
                const PolicySubject s = { .facts = &facts, .config = i % 2 ? &config : NULL,
                                          .slot = "GPU1", .driver = "nvidia" };
                const VerdictMember member = { .facts = &facts,
                                               .config = s.config,
                                               .requested = i % 2 };
                const VerdictQuestion q = { .members = &member, .n_members = 1 };
                const PolicyAsk ask = {
                        .uid = i, .owner = i ? "vm-1" : NULL, .n_asked = i, .lifetime = 1
                };
                const PolicyRule *rule;
                Verdict v = {};

                pci_facts_init(&facts, (PciAddress) { .bus = 0x41, .slot = (uint8_t) i });
                facts.vendor = i % 2 ? 0x10de : 0x8086;
                facts.device = 0x2230;
                facts.class_code = classes[i];
                rule = policy_match(p, &s);
                fuzz_require(rule == plain_walk(p, &s));
                policy_evaluate(rule, &ask, &q, 0, &v);
                for (size_t k = 0; k < v.n_blockers; k++)
                        fuzz_require(v.blockers[k].proof);
                (void) json_free(policy_explain(p, &s, &ask));
                pci_facts_done(&facts);
        }
}

/* A rule or the defaults as shown, without its place, as it may stand in a file. */
static Json *as_written(const Json *shown, bool rule) {
        Json *j = json_new_object(), *value;
        void *iterator = NULL;
        const char *key;

        while (json_next(shown, &iterator, &key, &value))
                if (streq(key, "rule") && rule)
                        (void) json_set(j, "name", json_ref(value));
                else if (!streq(key, "rule") && !streq(key, "file") && !streq(key, "line") &&
                         !streq(key, "pointer"))
                        (void) json_set(j, key, json_ref(value));
        return j;
}

static char *write_policy(const Policy *p) {
        _cleanup_json_ Json *shown = policy_to_json(p), *j = json_new_object();
        Json *rules = json_new_array();

        (void) json_set_u64(j, "version", 1);
        for (size_t i = 0; i < policy_n_rules(p); i++)
                (void) json_append(rules, as_written(json_at(json_get(shown, "rules"), i), true));
        (void) json_set(j, "rules", rules);
        (void) json_set(j, "defaults", as_written(json_get(shown, "defaults"), false));
        return json_to_text(j, false);
}

static void check_round_trip(const Policy *p) {
        _cleanup_free_ char *text = write_policy(p), *again = NULL;
        PolicyProblems problems;
        Policy *copy = NULL;

        fuzz_require(text);
        fuzz_require(policy_compile(&(PolicyText){ "copy", text, strlen(text), 0 }, 1, &options,
                                    &problems, &copy) == 0);
        again = write_policy(copy);
        fuzz_require(again && streq(text, again));
        (void) policy_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        PolicyText texts[FILES_MAX];
        PolicyProblems problems;
        Policy *p = NULL;
        size_t n = 0;
        int r;

        while (n < FILES_MAX) {
                const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
                size_t length = end && n + 1 < FILES_MAX ? (size_t) (end - data) : size;

                texts[n++] = (PolicyText) { "f.json", (const char *) data, length, 0 };
                if (length == size)
                        break;
                data += length + 1;
                size -= length + 1;
        }
        r = policy_compile(texts, n, &options, &problems, &p);
        if (r == -EBADMSG) {
                check_problems(&problems);
                policy_problems_done(&problems);
                return 0;
        }
        fuzz_require(r == 0);
        check_devices(p);
        check_round_trip(p);
        (void) policy_free(p);
        return 0;
}
