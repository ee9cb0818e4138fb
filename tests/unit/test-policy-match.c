/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which rule holds for which device: every selector on a device that it fits and on one that it
 * does not, what is unknown, the order of rules, the index held against a plain walk over random
 * rules and devices, and the explanation that people get, word for word.
 */

#include "base/strutil.h"
#include "policy/policy-private.h"
#include "unit.h"

static Policy *must_compile(const char *text) {
        PolicyProblems problems;
        Policy *p = NULL;
        int r = policy_compile(&(PolicyText){ "p.json", text, strlen(text), 0 }, 1, NULL, &problems,
                               &p);

        if (r < 0 && problems.n > 0)
                ck_abort_msg("%s: %s", text, policy_problem_to_string(problems.items));
        ck_assert_int_eq(r, 0);
        return p;
}

typedef struct Card {
        PciFacts facts;
        PciConfigFacts config, physfn;
        PolicySubject subject;
} Card;

static void card_init(Card *c) {
        *c = (Card) {};
        pci_facts_init(&c->facts, (PciAddress) { .domain = 0, .bus = 0x41 });
        c->facts.vendor = 0x10de;
        c->facts.device = 0x2230;
        c->facts.subsystem_vendor = 0x1028;
        c->facts.subsystem_device = 0x0a6b;
        c->facts.class_code = 0x030200;
        c->facts.numa_node = 1;
        c->config = (PciConfigFacts) {
                .has_ats = true, .flr = true, .has_aer = true, .has_msix = true, .has_dsn = true,
                .dsn = UINT64_C(0x00154dffff130ca8),
        };
        c->physfn = (PciConfigFacts) { .has_pasid = true, .has_pri = true };
        c->subject = (PolicySubject){
                .facts = &c->facts,
                .config = &c->config,
                .physfn_config = &c->physfn,
                .port_path = "0000:00/03.1/00.0",
                .slot = "GPU3",
                .label = "Riser 1",
                .driver = "nvidia",
        };
}

static const struct {
        const char *key, *fits, *not;
        const char *wrong; /* refused */
} selectors[] = {
        { "vendor", "\"10de\"", "\"8086\"", "\"10d\"" },
        { "vendor", "[\"8086\",\"10DE\"]", "[\"8086\",\"1002\"]", "[\"8086\",7]" },
        { "device", "\"2230\"", "\"2231\"", "\"0x2230\"" },
        { "subsystem-vendor", "\"1028\"", "\"1029\"", "4136" },
        { "subsystem-device", "\"0a6b\"", "\"0a6c\"", "\"0a6g\"" },
        { "class", "\"03\"", "\"02\"", "\"3\"" },
        { "class", "\"0302\"", "\"0300\"", "\"03020\"" },
        { "class", "[\"02\",\"030200\"]", "\"030201\"", "\"0302000\"" },
        { "class", "[\"0200\",\"03\"]", "\"12\"", "\"zz\"" },
        { "kind", "\"gpu\"", "\"nic\"", "\"gup\"" },
        { "kind", "[\"nic\",\"gpu\"]", "[\"cxl\",\"accelerator\"]", "7" },
        { "numa-node", "1", "0", "-1" },
        { "numa-node", "[0,1]", "\"none\"", "\"1\"" },
        { "sriov", "\"none\"", "\"vf\"", "\"both\"" },
        { "sriov", "[\"pf\",\"none\"]", "\"pf\"", "null" },
        { "needs", "\"ats\"", "\"pasid\"", "\"atss\"" },
        { "needs", "[\"ats\",\"flr\",\"aer\",\"msix\",\"dsn\"]", "[\"ats\",\"acs\"]", "[]" },
        { "needs", "\"flr\"", "\"msi\"", "{}" },
        { "needs", "\"aer\"", "[\"sriov\"]", "[1]" },
        { "needs", "\"dsn\"", "\"rebar\"", "true" },
        { "needs", "\"ats\"", "\"pri\"", "\"\"" },
        { "needs", "\"ats\"", "[\"cxl\",\"ccix\"]", "[[]]" },
        { "dsn", "\"00-15-4d-ff-ff-13-0c-a8\"", "\"00-15-4d-ff-ff-13-0c-a9\"", "\"00-15-4d\"" },
        { "dsn", "\"00154DFFFF130CA8\"", "\"0000000000000000\"", "\"0-0154dffff130ca8-\"" },
        { "dsn", "[\"00154dffff130ca8\"]", "\"ffffffffffffffff\"", "\"zz154dffff130ca8\"" },
        { "address", "\"0000:41:00.0\"", "\"0000:42:00.0\"", "\"0000:41\"" },
        { "address", "\"41:00.0\"", "\"41:00.1\"", "\"gpu\"" },
        { "address", "\"0000:4?:*\"", "\"0001:*\"", "\"\"" },
        { "address", "[\"42:00.0\",\"0000:4[01]:00.*\"]", "[\"42:00.0\",\"0000:4[23]:00.*\"]",
          "7" },
        { "driver", "\"nv*\"", "\"nouveau\"", "{}" },
        { "slot", "\"GPU*\"", "\"NIC*\"", "\"\"" },
        { "label", "\"Riser ?\"", "\"Embedded*\"", "\"\\u0001\"" },
        { "port-path", "\"0000:00/03.1/*\"", "\"0000:00/03.2/*\"", "[\"\"]" },
};

static char *one_rule(const char *key, const char *value) {
        return strjoinf("{\"version\":1,\"rules\":[{\"name\":\"r\",\"match\":{\"%s\":%s}}]}", key,
                        value);
}

static bool fits(const char *key, const char *value, const Card *c) {
        _cleanup_free_ char *text = one_rule(key, value);
        _cleanup_(policy_freep) Policy *p = must_compile(text);

        return policy_match(p, &c->subject)->index == 0;
}

START_TEST(test_selector) {
        _cleanup_free_ char *text = one_rule(selectors[_i].key, selectors[_i].wrong);
        PolicyProblems problems;
        Policy *p = NULL;
        Card c;

        card_init(&c);
        ck_assert_msg(fits(selectors[_i].key, selectors[_i].fits, &c), "%s", selectors[_i].fits);
        ck_assert_msg(!fits(selectors[_i].key, selectors[_i].not, &c), "%s", selectors[_i].not);
        ck_assert_int_eq(
                policy_compile(&(PolicyText){ "p", text, strlen(text), 0 }, 1, NULL, &problems, &p),
                -EBADMSG);
        ck_assert_uint_eq(problems.n, 1);
        policy_problems_done(&problems);
}
END_TEST

START_TEST(test_selector_table) {
        for (PolicySelector s = 0; s < _POLICY_SELECTOR_MAX; s++) {
                bool found = false;

                for (size_t i = 0; i < ELEMENTSOF(selectors); i++)
                        found = found || streq(selectors[i].key, policy_selector_info(s)->name);
                ck_assert_msg(found, "no test for %s", policy_selector_info(s)->name);
        }
        for (PciKind k = 0; k < _PCI_KIND_MAX; k++) /* a word for each kind */
                ck_assert_str_eq(
                        policy_word_of(policy_selector_info(POLICY_SELECTOR_KIND)->words, k)->text,
                        pci_kind_to_string(k));
}
END_TEST

/* What is not known fits nothing. */
START_TEST(test_unknown) {
        uint64_t number;
        Card c;

        card_init(&c);
        c.subject = (PolicySubject) { .facts = &c.facts };
        for (size_t i = 0; i < ELEMENTSOF(selectors); i++) {
                const char *k = selectors[i].key;
                bool unknown = streq(k, "needs") || streq(k, "dsn") || streq(k, "driver") ||
                               streq(k, "slot") || streq(k, "label") || streq(k, "port-path");

                ck_assert_int_eq(fits(k, selectors[i].fits, &c), !unknown);
        }
        ck_assert(!fits("kind", "\"cxl\"", &c));
        c.facts.numa_node = -1;
        ck_assert(fits("numa-node", "\"none\"", &c));
        c.subject.config = &c.config;
        c.config = (PciConfigFacts) {};
        ck_assert(!fits("dsn", "\"0000000000000000\"", &c));
        ck_assert(!policy_fact_number(&c.subject, _POLICY_SELECTOR_INVALID, &number));
        ck_assert(!policy_fact_number(&c.subject, 999, &number));
        for (PolicySelector s = 0; s < _POLICY_SELECTOR_MAX; s++) { /* a number or a text */
                if (policy_selector_info(s)->type == POLICY_SELECT_GLOB &&
                    s != POLICY_SELECTOR_ADDRESS)
                        ck_assert(!policy_fact_number(&c.subject, s, &number));
        }
}
END_TEST

START_TEST(test_capabilities) {
        Card c;

        card_init(&c);
        c.config = (PciConfigFacts){ .has_pasid = true,
                                     .has_pri = true,
                                     .has_acs = true,
                                     .has_msi = true,
                                     .has_sriov = true,
                                     .n_rebar = 1,
                                     .is_cxl = true,
                                     .is_ccix = true,
                                     .has_af = true,
                                     .af_capabilities = 2 };
        ck_assert(fits(
                "needs",
                "[\"pasid\",\"pri\",\"acs\",\"msi\",\"sriov\",\"rebar\",\"cxl\",\"ccix\",\"flr\"]",
                &c));
        ck_assert(fits("kind", "\"cxl\"", &c));
        ck_assert(fits("kind", "[\"cxl\",\"gpu\"]", &c));
        c.config.af_capabilities = 1;
        ck_assert(!fits("needs", "\"flr\"", &c));
        c.facts.sriov_totalvfs = 8;
        ck_assert(fits("sriov", "\"pf\"", &c));
        c.facts.is_vf = true;
        ck_assert(fits("sriov", "\"vf\"", &c));
        c.config = (PciConfigFacts) {}; /* a VF's PASID and PRI are its PF's */
        ck_assert(fits("needs", "[\"pasid\",\"pri\"]", &c));
        c.subject.physfn_config = NULL;
        ck_assert(!fits("needs", "\"pasid\"", &c));
        ck_assert(!fits("needs", "\"pri\"", &c));
}
END_TEST

START_TEST(test_order) {
        _cleanup_(policy_freep) Policy *p = must_compile(
                "{\"version\":1,\"rules\":["
                "{\"name\":\"0\",\"match\":{\"slot\":\"NIC*\"}},"
                "{\"name\":\"1\",\"match\":{\"address\":\"41:00.0\",\"vendor\":\"8086\"}},"
                "{\"name\":\"2\",\"match\":{\"class\":\"03\",\"driver\":\"nvidia\",\"vendor\":"
                "\"10de\","
                "\"device\":\"2230\"}},"
                "{\"name\":\"3\",\"match\":{\"kind\":\"gpu\"}},"
                "{\"name\":\"4\",\"match\":{}}]}");
        Card c;

        card_init(&c);
        ck_assert_str_eq(policy_match(p, &c.subject)->name, "2");
        c.subject.driver = "nouveau";
        ck_assert_str_eq(policy_match(p, &c.subject)->name, "3");
        c.facts.class_code = 0x020000;
        ck_assert_str_eq(policy_match(p, &c.subject)->name, "4");
        c.subject.slot = "NIC1";
        ck_assert_str_eq(policy_match(p, &c.subject)->name, "0");
        c.subject.slot = NULL;
        c.facts.vendor = 0x8086;
        ck_assert_str_eq(policy_match(p, &c.subject)->name, "1");
}
END_TEST

/* ---- the index ---- */

static uint32_t draw(uint64_t *seed, uint32_t n) {
        *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (uint32_t) (*seed >> 33) % n;
}

/* More alternatives than lists that a rule may stand in: it is looked at always. */
START_TEST(test_many_alternatives) {
        static const char *const many[] = { "address", "class", "vendor" };
        Card c;

        card_init(&c);
        c.facts.address = (PciAddress) { .slot = 9 };
        c.facts.vendor = 0x1009;
        for (size_t k = 0; k < ELEMENTSOF(many); k++) {
                _cleanup_strbuf_ StrBuf b = {};

                for (unsigned i = 0; i < 65; i++)
                        strbuf_addf(&b, streq(many[k], "class")     ? "%s\"%02x\""
                                        : streq(many[k], "vendor") ? "%s\"10%02x\""
                                                                       : "%s\"0000:00:%02x.0\"",
                                    i > 0 ? "," : "[", streq(many[k], "address") ? i % 32 : i);
                strbuf_add(&b, "]");
                ck_assert(fits(many[k], b.data, &c));
        }
}
END_TEST

static void add_random_rule(StrBuf *b, unsigned i, uint64_t *seed) {
        strbuf_addf(b, "%s{\"name\":\"%u\",\"match\":{\"numa-node\":[0,1,2]", i > 0 ? "," : "", i);
        if (draw(seed, 4) == 0) {
                strbuf_add(b, ",\"vendor\":[\"1000\"");
                for (uint32_t k = draw(seed, 70); k > 0; k--)
                        strbuf_addf(b, ",\"%04x\"", 0x1000 + draw(seed, 6));
                strbuf_add(b, "]");
        } else if (draw(seed, 2) == 0)
                strbuf_addf(b, ",\"vendor\":\"%04x\"", 0x1000 + draw(seed, 6));
        if (draw(seed, 2) == 0)
                strbuf_addf(b, ",\"device\":[\"%04x\",\"%04x\"]", draw(seed, 4), draw(seed, 4));
        if (draw(seed, 3) == 0)
                strbuf_addf(b, ",\"class\":\"%s\"", draw(seed, 2) ? "03" : "0200");
        if (draw(seed, 4) == 0)
                strbuf_addf(b, ",\"kind\":%s", draw(seed, 2) ? "\"gpu\"" : "[\"nic\",\"cxl\"]");
        if (draw(seed, 3) == 0)
                strbuf_addf(b, ",\"address\":%s",
                            draw(seed, 2) ? "\"00:01.0\"" : "[\"00:02.0\",\"0000:00:0?.1\"]");
        if (draw(seed, 4) == 0)
                strbuf_add(b, ",\"sriov\":\"vf\"");
        strbuf_add(b, "}}");
}

static void random_card(Card *c, uint64_t *seed) {
        card_init(c);
        c->facts.address = (PciAddress){ .slot = (uint8_t) draw(seed, 4),
                                         .function = (uint8_t) draw(seed, 2) };
        c->facts.vendor = (uint16_t) (0x1000 + draw(seed, 6));
        c->facts.device = (uint16_t) draw(seed, 4);
        c->facts.class_code = draw(seed, 2) ? 0x030000 : 0x020000;
        c->facts.is_vf = draw(seed, 3) == 0;
        c->config.is_cxl = draw(seed, 3) == 0;
}

static size_t plain_walk(const Policy *p, const PolicySubject *s) {
        for (size_t i = 0; i < p->n_rules; i++) {
                const PolicyCompiled *c = p->rules[i];
                size_t k = 0;

                while (k < c->n_conditions && policy_condition_holds(c->conditions + k, s))
                        k++;
                if (k == c->n_conditions)
                        return i;
        }
        return SIZE_MAX;
}

START_TEST(test_index) {
        uint64_t seed = (uint64_t) _i + 1;
        _cleanup_strbuf_ StrBuf b = {};
        _cleanup_(policy_freep) Policy *p = NULL;

        strbuf_add(&b, "{\"version\":1,\"rules\":[");
        for (unsigned i = 0; i < 40; i++)
                add_random_rule(&b, i, &seed);
        strbuf_add(&b, "]}");
        p = must_compile(b.data);
        for (unsigned i = 0; i < 400; i++) {
                Card c;

                random_card(&c, &seed);
                ck_assert_uint_eq(policy_match(p, &c.subject)->index, plain_walk(p, &c.subject));
        }
}
END_TEST

/* ---- for people ---- */

START_TEST(test_explain) {
        static const PolicyHost host = { .kernel = 5 << 16 | 10 };
        _cleanup_(policy_freep) Policy *p = must_compile(
                "{\"version\":1,\n\"rules\":[\n"
                "{\"name\":\"nic\",\"match\":{\"class\":[\"0200\",\"03\"],\"vendor\":\"8086\","
                "\"dsn\":\"0000000000000001\",\"needs\":[\"ats\",\"acs\"],\"numa-node\":\"none\","
                "\"address\":[\"42:00.0\",\"0000:43:*\"],\"kind\":\"nic\",\"slot\":\"NIC?\"}},\n"
                "{\"name\":\"gpu\",\"match\":{\"class\":\"03\"},\"owners\":[\"vm-*\"],\"ats\":"
                "\"deny\"},\n"
                "{\"name\":\"rest\",\"match\":{}}],\n"
                "\"defaults\":{\"limit\":3}}");
        const PolicyAsk ask = { .owner = "vm-1", .manager = true };
        _cleanup_free_
        char *walk = NULL, *ats = NULL, *limit = NULL, *bar = NULL, *owner = NULL, *holds = NULL;
        _cleanup_json_ Json *j = NULL, *defaults = NULL;
        Card c;

        card_init(&c);
        c.subject.host = &host;
        c.subject.slot = NULL;
        j = policy_explain(p, &c.subject, &ask);
        walk = json_to_text(json_get(j, "rules"), false);
        ck_assert_str_eq(
                walk, "[{\"rule\":\"nic\",\"file\":\"p.json\",\"line\":3,\"pointer\":\"/rules/0\","
                      "\"matched\":false,\"failed\":["
                      "{\"key\":\"vendor\",\"wanted\":\"8086\",\"found\":\"10de\"},"
                      "{\"key\":\"kind\",\"wanted\":\"nic\",\"found\":\"gpu\"},"
                      "{\"key\":\"numa-node\",\"wanted\":\"none\",\"found\":1},"
                      "{\"key\":\"needs\",\"wanted\":[\"ats\",\"acs\"],\"found\":[\"ats\",\"flr\","
                      "\"aer\",\"msix\",\"dsn\"]},"
                      "{\"key\":\"dsn\",\"wanted\":\"00-00-00-00-00-00-00-01\",\"found\":\"00-15-"
                      "4d-ff-ff-13-0c-a8\"},"
                      "{\"key\":\"address\",\"wanted\":[\"0000:42:00.0\",\"0000:43:*\"],\"found\":"
                      "\"0000:41:00.0\"},"
                      "{\"key\":\"slot\",\"wanted\":\"NIC?\",\"found\":null}]},"
                      "{\"rule\":\"gpu\",\"file\":\"p.json\",\"line\":4,\"pointer\":\"/rules/1\","
                      "\"matched\":true,\"failed\":[]}]");
        holds = json_to_text(json_get(j, "holds"), false);
        ck_assert_str_eq(
                holds,
                "{\"rule\":\"gpu\",\"file\":\"p.json\",\"line\":4,\"pointer\":\"/rules/1\"}");
        ats = json_to_text(json_get(json_get(j, "settings"), "ats"), false);
        ck_assert_str_eq(
                ats, "{\"value\":\"deny\",\"origin\":\"rule \\\"gpu\\\" (p.json:4, /rules/1/ats)\","
                     "\"force\":\"refuses\",\"note\":\"ATS is not switched off per device from "
                     "user space: "
                     "a device that has it is refused.\"}");
        limit = json_to_text(json_get(json_get(json_get(j, "settings"), "limit"), "origin"), false);
        ck_assert_str_eq(limit, "\"defaults (p.json:6, /defaults/limit)\"");
        bar = json_to_text(json_get(json_get(json_get(j, "settings"), "bars.2.size"), "force"),
                           false);
        ck_assert_str_eq(bar, "\"refuses\"");
        owner = json_to_text(json_get(j, "owner"), false);
        ck_assert_str_eq(owner,
                         "{\"owner\":\"vm-1\",\"granted\":true,\"origin\":\"rule \\\"gpu\\\" "
                         "(p.json:4, /rules/1/owners)\"}");
        ck_assert_uint_eq(json_length(json_get(j, "settings")), _POLICY_KEY_MAX);
        c.facts.class_code = 0x020000;
        defaults = policy_explain(p, &c.subject, NULL);
        ck_assert_uint_eq(json_length(json_get(defaults, "rules")), 3);
        ck_assert_ptr_null(json_get(defaults, "owner"));
}
END_TEST

START_TEST(test_explain_defaults) {
        _cleanup_(policy_freep) Policy *p = must_compile("{\"version\":1}");
        _cleanup_json_ Json *j = NULL;
        Card c;

        card_init(&c);
        c.facts.class_code = 0xff0000;
        j = policy_explain(p, &c.subject, &(PolicyAsk) { .owner = "x" });
        ck_assert_uint_eq(json_length(json_get(j, "rules")), 0);
        ck_assert_str_eq(json_string(json_get(json_get(json_get(j, "settings"), "ats"), "origin")),
                         "built in");
        ck_assert_str_eq(json_string(json_get(json_get(j, "holds"), "file")), "built-in");
        ck_assert_ptr_null(json_get(json_get(j, "holds"), "line"));
}
END_TEST

static void add(TCase *c) {
        ADD_TABLE(c, test_selector, selectors);
        tcase_add_test(c, test_selector_table);
        tcase_add_test(c, test_unknown);
        tcase_add_test(c, test_capabilities);
        tcase_add_test(c, test_order);
        tcase_add_test(c, test_many_alternatives);
        tcase_add_loop_test(c, test_index, 0, 20);
        tcase_add_test(c, test_explain);
        tcase_add_test(c, test_explain_defaults);
}

UNIT_MAIN("policy-match", add);
