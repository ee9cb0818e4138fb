/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a rule says against a request: each reason by itself with its proof, and the whole grid of
 * who asks for what under which grant, requested or parked, against a table of truth.
 */

#include "base/strutil.h"
#include "policy/policy.h"
#include "unit.h"

static Policy *must_compile(const char *settings) {
        _cleanup_free_ char *text =
                strjoinf("{\"version\":1,\"rules\":[{\"name\":\"r\",\"match\":{}%s%s}]}",
                         settings[0] ? "," : "", settings);
        PolicyProblems problems;
        Policy *p = NULL;
        int r = policy_compile(&(PolicyText){ "p.json", text, strlen(text), 0 }, 1, NULL, &problems,
                               &p);

        if (r < 0 && problems.n > 0)
                ck_abort_msg("%s: %s", text, policy_problem_to_string(problems.items));
        ck_assert_int_eq(r, 0);
        return p;
}

typedef struct World { /* a function that is asked for, its mate, and a bridge in the same group */
        PciFacts facts[3];
        PciConfigFacts config[3];
        PciResource resources[2];
        VerdictMember members[3];
        IommuGroupFacts group;
        IommuFacts iommu;
        VerdictQuestion question;
        PolicyAsk ask;
        gid_t gids[2];
} World;

static void world_init(World *w) {
        *w = (World) { .gids = { 100, 2001 } };
        for (unsigned i = 0; i < 3; i++) {
                pci_facts_init(w->facts + i, (PciAddress) { .bus = 0x41, .function = (uint8_t) i });
                w->facts[i].class_code = i < 2 ? 0x030000 : 0x060400;
                w->members[i] = (VerdictMember) { .facts = w->facts + i, .config = w->config + i,
                                                  .use_read = true, .requested = i == 0 };
        }
        w->resources[0] = (PciResource) { 0xe0000000, 16U << 20, PCI_RESOURCE_MEM };
        w->resources[1] = (PciResource) { 0xd0000000, 256U << 20, PCI_RESOURCE_MEM };
        w->facts[0].kept = w->resources;
        w->facts[0].n_resources = w->facts[0].n_kept = 2;
        w->config[0].n_rebar = 1;
        w->config[0].rebar[0].bar = 1;
        w->config[0].rebar[0].sizes = 1U << 8 | 1U << 10; /* 256M, 1G */
        (void) string_copy(w->facts[0].reset_method, sizeof(w->facts[0].reset_method),
                           "af_flr bus");
        w->facts[0].state[PCI_ATTRIBUTE_RESET_METHOD] = FACT_PRESENT;
        iommu_facts_init(&w->iommu, "dmar0");
        w->iommu.registers_state = FACT_PRESENT;
        w->iommu.ecap = 1U << 3 | 1U << 7; /* interrupt remapping, snoop control */
        w->group = (IommuGroupFacts) { .type_state = FACT_PRESENT };
        w->question = (VerdictQuestion) { .members = w->members, .n_members = 3, .group = &w->group,
                                          .iommu = &w->iommu };
        w->ask = (PolicyAsk) { .uid = 1001, .gids = w->gids, .n_gids = 2, .manager = true,
                               .owner = "vm-1", .lifetime = 1U << 1, .n_asked = 1 };
}

/* ---- one reason at a time ---- */

static void nothing(World *w _unused_) {
}
static void nobody(World *w) {
        w->ask.owner = NULL;
}
static void two_owned(World *w) {
        w->ask.n_owned = 2;
}
static void many_owned(World *w) {
        w->ask.n_owned = UINT32_MAX;
}
static void two_owned_by_nobody(World *w) {
        w->ask.n_owned = 2;
        w->ask.owner = NULL;
}
static void persistent(World *w) {
        w->ask.lifetime = 1U << 2;
}
static void no_lifetime(World *w) {
        w->ask.lifetime = 0;
}
static void other_driver(World *w) {
        w->ask.driver = "mlx5-vfio-pci";
}
static void same_driver(World *w) {
        w->ask.driver = "vfio-pci";
}
static void alone(World *w) {
        w->question.n_members = 1;
}
static void mate_requested(World *w) {
        w->members[1].requested = true;
}
static void mate_on_vfio(World *w) {
        (void) string_copy(w->facts[1].driver, sizeof(w->facts[1].driver), "vfio-pci");
}
static void no_group(World *w) {
        w->question.group = NULL;
}
static void no_type(World *w) {
        w->group.type_state = FACT_ABSENT;
}
static void no_iommu(World *w) {
        w->question.iommu = NULL;
}
static void no_iommu_unsafe(World *w) {
        w->question.iommu = NULL;
        w->question.unsafe_interrupts = true;
}
static void no_snoop_control(World *w) {
        w->iommu.ecap = 1U << 3;
}
static void no_remapping(World *w) {
        w->iommu.ecap = 1U << 7;
}
static void platform_without(World *w) {
        w->question.no_remapping = true;
}
static void amd(World *w) {
        w->iommu = (IommuFacts) { .kind = IOMMU_KIND_AMD };
}
static void arm(World *w) {
        w->iommu = (IommuFacts) { .kind = IOMMU_KIND_ARM_SMMU };
}
static void arm_unsafe(World *w) {
        arm(w);
        w->question.unsafe_interrupts = true;
}
static void amd_unsafe(World *w) {
        amd(w);
        w->question.unsafe_interrupts = true;
}
static void has_ats(World *w) {
        w->config[0].has_ats = true;
}
static void unread(World *w) {
        w->members[0].config = NULL;
        w->facts[0].state[PCI_ATTRIBUTE_RESET_METHOD] = FACT_UNREAD;
}
static void other_methods(World *w) {
        (void) string_copy(w->facts[0].reset_method, sizeof(w->facts[0].reset_method),
                           "acpi busy xbus");
}
static void bar_unset(World *w) {
        w->resources[1].flags |= PCI_RESOURCE_UNSET;
}
static void bar_at_zero(World *w) {
        w->resources[1].start = 0;
}
static void pf_with_rebar_elsewhere(World *w) {
        w->config[0].rebar[0].bar = 3;
}

#define NONE _BLOCKER_INVALID
static const struct {
        const char *settings;
        void (*make)(World *w);
        BlockerCode code;
        const char *pointer;
} reasons[] = {
        { "", nothing, NONE, NULL },
        { "\"assign\":\"deny\"", nothing, BLOCKER_POLICY_DENIED, "assign" },
        { "\"assign\":\"allow\"", nothing, NONE, NULL },
        { "\"assign\":\"deny\"", nobody, BLOCKER_POLICY_DENIED, "assign" },
        { "\"owners\":[\"x\"]", nothing, BLOCKER_POLICY_OWNER, "owners" },
        { "\"owners\":[\"x\"]", nobody, NONE, NULL },
        { "\"limit\":2", two_owned, BLOCKER_POLICY_LIMIT, "limit" },
        { "\"limit\":3", two_owned, NONE, NULL },
        { "\"limit\":0", nothing, BLOCKER_POLICY_LIMIT, "limit" },
        { "\"limit\":2", two_owned_by_nobody, NONE, NULL },
        { "\"limit\":4294967294", many_owned, BLOCKER_POLICY_LIMIT, "limit" },
        { "\"limit\":\"none\"", many_owned, NONE, NULL },
        { "\"lifetime\":\"process\"", nothing, NONE, NULL },
        { "\"lifetime\":\"process\"", persistent, BLOCKER_POLICY_LIFETIME, "lifetime" },
        { "\"lifetime\":[]", no_lifetime, NONE, NULL },
        { "\"lifetime\":[]", nothing, BLOCKER_POLICY_LIFETIME, "lifetime" },
        { "\"driver\":\"vfio-pci\"", nothing, NONE, NULL },
        { "\"driver\":\"vfio-pci\"", same_driver, NONE, NULL },
        { "\"driver\":\"vfio-pci\"", other_driver, BLOCKER_POLICY_DRIVER, "driver" },
        { "\"driver\":\"auto\"", other_driver, NONE, NULL },
        { "\"group\":\"refuse\"", nothing, BLOCKER_POLICY_GROUP, "group" },
        { "\"group\":\"refuse\"", alone, NONE, NULL },
        { "\"group\":\"refuse\"", mate_requested, NONE, NULL },
        { "\"group\":\"refuse\"", mate_on_vfio, NONE, NULL },
        { "\"group\":\"take-all\"", nothing, NONE, NULL },
        { "\"p2p\":\"deny\"", nothing, BLOCKER_POLICY_P2P, "p2p" },
        { "\"p2p\":\"deny\"", mate_requested, BLOCKER_POLICY_P2P, "p2p" },
        { "\"p2p\":\"deny\"", mate_on_vfio, BLOCKER_POLICY_P2P, "p2p" },
        { "\"p2p\":\"deny\"", alone, NONE, NULL },
        { "\"iommu\":{\"domain\":\"dma\"}", nothing, NONE, NULL },
        { "\"iommu\":{\"domain\":\"dma\"}", no_type, BLOCKER_POLICY_IOMMU, "iommu/domain" },
        { "\"iommu\":{\"domain\":\"leave\"}", no_type, NONE, NULL },
        { "\"iommu\":{\"domain\":\"dma\"}", no_group, NONE, NULL },
        { "\"iommu\":{\"coherent\":\"required\"}", nothing, NONE, NULL },
        { "\"iommu\":{\"coherent\":\"required\"}", amd, NONE, NULL },
        { "\"iommu\":{\"coherent\":\"required\"}", no_snoop_control, BLOCKER_POLICY_COHERENCY,
          "iommu/coherent" },
        { "\"iommu\":{\"coherent\":\"required\"}", no_iommu, BLOCKER_POLICY_COHERENCY,
          "iommu/coherent" },
        { "\"iommu\":{\"coherent\":\"required\"}", arm, BLOCKER_POLICY_COHERENCY,
          "iommu/coherent" },
        { "\"iommu\":{\"coherent\":\"any\"}", no_iommu, NONE, NULL },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", nothing, NONE, NULL },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", no_iommu, NONE, NULL },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", amd, NONE, NULL },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", amd_unsafe, NONE, NULL },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", arm, NONE, NULL },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", arm_unsafe, BLOCKER_POLICY_REMAPPING,
          "iommu/interrupt-remapping" },
        { "\"iommu\":{\"interrupt-remapping\":\"any\"}", platform_without, NONE, NULL },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", no_iommu_unsafe,
          BLOCKER_POLICY_REMAPPING, "iommu/interrupt-remapping" },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", no_remapping,
          BLOCKER_POLICY_REMAPPING, "iommu/interrupt-remapping" },
        { "\"iommu\":{\"interrupt-remapping\":\"required\"}", platform_without,
          BLOCKER_POLICY_REMAPPING, "iommu/interrupt-remapping" },
        { "\"ats\":\"deny\"", nothing, NONE, NULL },
        { "\"ats\":\"deny\"", has_ats, BLOCKER_POLICY_ATS, "ats" },
        { "\"ats\":\"deny\"", unread, NONE, NULL },
        { "\"ats\":\"allow\"", has_ats, NONE, NULL },
        { "\"bars\":{\"1\":{\"size\":\"256M\"}}", nothing, NONE, NULL },
        { "\"bars\":{\"1\":{\"size\":\"1G\"}}", nothing, NONE, NULL },
        { "\"bars\":{\"1\":{\"size\":\"max\"},\"0\":{\"size\":\"max\"}}", nothing, NONE, NULL },
        { "\"bars\":{\"1\":{\"size\":\"512M\"}}", nothing, BLOCKER_POLICY_BAR, "bars/1/size" },
        { "\"bars\":{\"1\":{\"size\":\"1G\"}}", pf_with_rebar_elsewhere, BLOCKER_POLICY_BAR,
          "bars/1/size" },
        { "\"bars\":{\"0\":{\"size\":\"1G\"}}", nothing, BLOCKER_POLICY_BAR, "bars/0/size" },
        { "\"bars\":{\"0\":{\"size\":\"1G\"}}", unread, NONE, NULL },
        { "\"bars\":{\"0\":{\"size\":\"leave\"}}", nothing, NONE, NULL },
        { "\"bars\":{\"unassigned\":\"deny\"}", nothing, NONE, NULL },
        { "\"bars\":{\"unassigned\":\"deny\"}", bar_unset, BLOCKER_POLICY_BAR, "bars/unassigned" },
        { "\"bars\":{\"unassigned\":\"deny\"}", bar_at_zero, BLOCKER_POLICY_BAR,
          "bars/unassigned" },
        { "\"bars\":{\"unassigned\":\"allow\"}", bar_unset, NONE, NULL },
        { "\"clean\":{\"reset\":[\"flr\"]}", nothing, BLOCKER_POLICY_RESET, "clean/reset" },
        { "\"clean\":{\"reset\":[\"flr\",\"bus\"]}", nothing, NONE, NULL },
        { "\"clean\":{\"reset\":[\"bus\"]}", other_methods, BLOCKER_POLICY_RESET, "clean/reset" },
        { "\"clean\":{\"reset\":[\"af_flr\"]}", nothing, NONE, NULL },
        { "\"clean\":{\"reset\":[\"pm\"]}", unread, NONE, NULL },
        { "\"clean\":{\"reset\":[]}", nothing, NONE, NULL },
        { "\"clean\":{\"reset\":\"auto\"}", nothing, NONE, NULL },
};

START_TEST(test_reason) {
        _cleanup_(policy_freep) Policy *p = must_compile(reasons[_i].settings);
        _cleanup_free_ char *proof = NULL, *sentence = NULL;
        Verdict v = {};
        World w;

        world_init(&w);
        reasons[_i].make(&w);
        policy_evaluate(policy_rule_at(p, 0), &w.ask, &w.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, reasons[_i].code == NONE ? 0 : 1);
        if (reasons[_i].code == NONE)
                return;
        proof = strjoinf("rule \"r\" (p.json:1, /rules/0/%s)", reasons[_i].pointer);
        ck_assert_int_eq(v.blockers[0].code, reasons[_i].code);
        ck_assert_str_eq(v.blockers[0].proof, proof);
        ck_assert_uint_eq(v.blockers[0].about, 0);
        ck_assert_int_eq(blocker_to_error(v.blockers[0].code), ERROR_POLICY_DENIED);
        ck_assert(!blocker_is_forcible(v.blockers[0].code));
        sentence = blocker_describe(&w.question, v.blockers);
        ck_assert_ptr_nonnull(strstr(sentence, proof));
        v = (Verdict) {}; /* force passes over none of it */
        w.question.force = true;
        policy_evaluate(policy_rule_at(p, 0), &w.ask, &w.question, 0, &v);
        ck_assert(!verdict_is_clean(&v));
}
END_TEST

/* Of a request nothing concerns a member that is only parked, and nothing at all a bridge. */
START_TEST(test_parked) {
        static const BlockerCode concerns[] = { BLOCKER_POLICY_DENIED, BLOCKER_POLICY_OWNER,
                                                BLOCKER_POLICY_ATS };
        _cleanup_(policy_freep) Policy *p = must_compile(reasons[_i].settings);
        bool concerned = false;
        Verdict v = {}, bridge = {};
        World w;

        world_init(&w);
        reasons[_i].make(&w);
        w.members[0].requested = false;
        for (size_t i = 0; i < ELEMENTSOF(concerns); i++)
                concerned = concerned || concerns[i] == reasons[_i].code;
        policy_evaluate(policy_rule_at(p, 0), &w.ask, &w.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, concerned ? 1 : 0);
        if (w.question.n_members < 3)
                return;
        policy_evaluate(policy_rule_at(p, 0), &w.ask, &w.question, 2, &bridge);
        ck_assert_uint_eq(bridge.n_blockers, 0);
}
END_TEST

/* ---- who ---- */

static const struct {
        const char *owners; /* NULL: not set */
        bool any;           /* grants vm-1 to managers … */
        bool caller;        /* … and to the caller, uid 1001 in groups 100 and 2001 */
} grants[] = {
        { NULL, true, false },
        { "[]", false, false },
        { "[\"vm-*\"]", true, false },
        { "[\"tenant-*\"]", false, false },
        { "[\"tenant-*\",\"vm-1\"]", true, false },
        { "[{\"owner\":\"vm-*\",\"users\":[7,1001]}]", true, true },
        { "[{\"owner\":\"vm-*\",\"users\":[7,8]}]", true, false },
        { "[{\"owner\":\"vm-*\",\"groups\":[5,2001]}]", true, true },
        { "[{\"owner\":\"vm-*\",\"groups\":[5]}]", true, false },
        { "[{\"owner\":\"tenant-*\",\"users\":[1001],\"groups\":[100]}]", false, false },
        { "[{\"owner\":\"tenant-*\",\"users\":[1001]},\"vm-1\"]", true, false },
        { "[\"vm-1\",{\"owner\":\"*\",\"users\":[1001]}]", true, true },
};

START_TEST(test_grant) {
        _cleanup_free_
        char *settings =
                grants[_i].owners ? strjoinf("\"owners\":%s", grants[_i].owners) : strdup("");
        _cleanup_(policy_freep) Policy *p = must_compile(settings);

        for (unsigned bits = 0; bits < 16; bits++) {
                bool manager = bits & 1, named = bits & 2, requested = bits & 4, groups = bits & 8,
                     granted;
                Verdict v = {};
                World w;

                world_init(&w);
                w.ask.manager = manager;
                w.ask.owner = named ? "vm-1" : NULL;
                w.ask.n_gids = groups ? 2 : 0;
                w.members[0].requested = requested;
                granted = manager ? grants[_i].any
                                  : grants[_i].caller &&
                                            (groups ||
                                             !strstr(strempty(grants[_i].owners), "groups"));
                if (!named || (!requested && !grants[_i].owners))
                        granted = true; /* nothing to decide */
                policy_evaluate(policy_rule_at(p, 0), &w.ask, &w.question, 0, &v);
                ck_assert_msg(v.n_blockers == !granted, "%s, bits %u", strempty(grants[_i].owners),
                              bits);
                if (!granted)
                        ck_assert_int_eq(v.blockers[0].code, BLOCKER_POLICY_OWNER);
        }
}
END_TEST

/* Without any file: everything by managers, nothing by others. */
START_TEST(test_built_in) {
        PolicyProblems problems;
        _cleanup_(policy_freep) Policy *p = NULL;
        Policy *made = NULL;
        Verdict v = {};
        World w;

        ck_assert_int_eq(policy_compile(NULL, 0, NULL, &problems, &made), 0);
        p = made;
        world_init(&w);
        has_ats(&w);
        bar_unset(&w);
        no_iommu(&w);
        policy_evaluate(policy_defaults(p), &w.ask, &w.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, 0);
        w.ask.manager = false;
        policy_evaluate(policy_defaults(p), &w.ask, &w.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, 1);
        ck_assert_str_eq(v.blockers[0].proof, "built in");
}
END_TEST

/* Everything against it at once, in order of precedence. */
START_TEST(test_all) {
        _cleanup_(policy_freep) Policy *p =
                must_compile("\"assign\":\"deny\",\"owners\":[],\"limit\":0,\"lifetime\":[],"
                             "\"driver\":\"vfio-pci\","
                             "\"group\":\"refuse\",\"p2p\":\"deny\",\"ats\":\"deny\","
                             "\"iommu\":{\"domain\":\"dma\",\"coherent\":\"required\",\"interrupt-"
                             "remapping\":\"required\"},"
                             "\"bars\":{\"0\":{\"size\":\"1G\"},\"unassigned\":\"deny\"},\"clean\":"
                             "{\"reset\":[\"pm\"]}");
        Verdict v = {};
        World w;

        world_init(&w);
        has_ats(&w);
        bar_unset(&w);
        no_type(&w);
        other_driver(&w);
        platform_without(&w);
        w.question.iommu = NULL;
        policy_evaluate(policy_rule_at(p, 0), &w.ask, &w.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, 14);
        ck_assert_uint_eq(v.n_dropped, 0);
        for (size_t i = 1; i < v.n_blockers; i++)
                ck_assert_int_le(v.blockers[i - 1].code, v.blockers[i].code);
        ck_assert_int_eq(verdict_first(&v)->code, BLOCKER_POLICY_DENIED);
}
END_TEST

static void add(TCase *c) {
        ADD_TABLE(c, test_reason, reasons);
        ADD_TABLE(c, test_parked, reasons);
        ADD_TABLE(c, test_grant, grants);
        tcase_add_test(c, test_built_in);
        tcase_add_test(c, test_all);
}

UNIT_MAIN("policy-evaluate", add);
