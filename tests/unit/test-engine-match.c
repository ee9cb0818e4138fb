/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Devices by what they are: selectors, the best set over a real topology, two callers at once, the
 * next best when fresh facts speak against the best, the same request again.
 */

#include "engine-fixture.h"

static Want want(uint32_t n, WantKey k, const char *value) {
        Want w = { .count = n, .numa_node = WANT_ANY_NODE };

        w.text[k] = value;
        return w;
}

static void match_begin(World *w, const Caller *c, const MatchOptions *m, const AssignOptions *o) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_assign_matching(w->engine, c, m, OWNER, o, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        else
                ck_assert_uint_eq(w->answer.n, 0);
}

static void wait_answers(World *w, unsigned n) {
        for (unsigned i = 0; i < 1000 && w->answer.n < n; i++)
                world_run(w, 100 * USEC_PER_MSEC);
        ck_assert_uint_eq(w->answer.n, n);
}

static void match(World *w, const Caller *c, const MatchOptions *m, const AssignOptions *o) {
        match_begin(w, c, m, o);
        wait_answers(w, 1);
}

static void plan(World *w, const Caller *c, const MatchOptions *m, const AssignOptions *o) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_plan_matching(w->engine, c, m, OWNER, o, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        wait_answers(w, 1);
}

static char *devices_of(World *w, const char *id) {
        _cleanup_strv_ char **v = NULL;
        const Assignment *a = world_assignment(w, id);

        ck_assert_ptr_nonnull(a);
        ck_assert_int_eq(assignment_devices(a, false, &v), 0);
        return strv_join(v, " ");
}

static void check_devices(World *w, const char *wanted) {
        _cleanup_free_ char *devices = NULL;

        ck_assert_msg(w->answer.code == ERROR_NONE, "%s %s", w->answer.message,
                      strempty(w->answer.details));
        devices = devices_of(w, w->answer.assignment);
        ck_assert_str_eq(devices, wanted);
}

static AssignOptions take_all(void) {
        AssignOptions o = persistent();

        o.group = GROUP_TAKE_ALL;
        return o;
}

/* ---- selectors ---- */

typedef struct Selector {
        WantKey key;
        const char *value;
        uint32_t n; /* of the host's functions */
} Selector;

static const Selector selectors[] = {
        { WANT_KIND, "gpu", 9 },
        { WANT_KIND, "storage", 6 },
        { WANT_KIND, "nvme", 5 },
        { WANT_KIND, "accelerator", 1 },
        { WANT_KIND, "cxl", 1 },
        { WANT_VENDOR, "10de", 16 },
        { WANT_VENDOR, "0x10DE", 16 },
        { WANT_CLASS, "0302", 0 },
        { WANT_CLASS, "03", 9 },
        { WANT_CLASS, "108", 0 },
        { WANT_CLASS, "0108", 5 },
        { WANT_ADDRESS, "0000:4?:00.*", 6 },
        { WANT_ADDRESS, "4?:00.*", 6 },
        { WANT_DRIVER, "mlx*", 8 },
        { WANT_DRIVER, "none", 10 },
        { WANT_SRIOV, "physical", 4 },
        { WANT_SRIOV, "virtual", 4 },
        { WANT_PORT_PATH, "0000:9c/*", 14 },
};

/* How many satisfy it is told by a plan, whatever may be had. */
START_TEST(selectors_select) {
        const Selector *s = selectors + _i;
        _cleanup_world_ World w;
        Want one = want(1, s->key, s->value);
        AssignOptions o = take_all();
        _cleanup_json_ Json *j = NULL;
        uint64_t n = 0;

        world_init(&w);
        world_settle(&w);
        plan(&w, &ROOT, &(MatchOptions) { .wants = &one, .n_wants = 1 }, &o);
        ck_assert_msg(w.answer.json, "%s", w.answer.message);
        ck_assert_int_eq(json_parse(w.answer.json, strlen(w.answer.json), JSON_LIMITS_DEFAULT, &j,
                                    NULL, NULL),
                         0);
        ck_assert_int_eq(json_get_u64(json_at(json_get(json_get(j, "match"), "wants"), 0),
                                      "matching", 4096, &n),
                         1);
        ck_assert_msg(n == s->n, "%s=%s: %u", want_key_to_string(s->key), s->value, (unsigned) n);
}
END_TEST

static const struct { WantKey key; const char *value, *expected; } bad[] = {
        { WANT_KIND, "toaster", "kind" },
        { WANT_VENDOR, "12345", "hexadecimal" },
        { WANT_CLASS, "0300000", "class" },
        { WANT_CLASS, "xx", "class" },
        { WANT_SRIOV, "maybe", "physical" },
        { WANT_CAPABILITIES, "flr+wings", "flr" },
        { WANT_DSN, "00-11-22-33-44-55-66-77-88", "16" },
        { WANT_SLOT, "\n", "printable" },
};

START_TEST(what_means_nothing_is_refused) {
        _cleanup_world_ World w;
        Want one = want(1, bad[_i].key, bad[_i].value);
        AssignOptions o = persistent();

        world_init(&w);
        match(&w, &ROOT, &(MatchOptions) { .wants = &one, .n_wants = 1 }, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        ck_assert_msg(strstr(w.answer.message, bad[_i].expected), "%s", w.answer.message);
}
END_TEST

START_TEST(limits) {
        _cleanup_world_ World w;
        Want many[WANTS_MAX + 1];
        AssignOptions o = persistent();

        for (size_t i = 0; i < ELEMENTSOF(many); i++)
                many[i] = want(8, WANT_KIND, "gpu");
        world_init(&w);
        match(&w, &ROOT, &(MatchOptions) { .wants = many, .n_wants = WANTS_MAX + 1 }, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        match(&w, &ROOT, &(MatchOptions) { .wants = many, .n_wants = 9 }, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        match(&w, &ROOT, &(MatchOptions) { .wants = many, .n_wants = 0 }, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        many[0].count = 0;
        match(&w, &ROOT, &(MatchOptions) { .wants = many, .n_wants = 1 }, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        o.force = true;
        o.force_reason = "because";
        many[0].count = 1;
        match(&w, &ROOT, &(MatchOptions) { .wants = many, .n_wants = 1 }, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
}
END_TEST

/* ---- sets ---- */

START_TEST(gpus_and_a_nic_below_one_switch) {
        _cleanup_world_ World w;
        Want wants[] = { want(2, WANT_KIND, "gpu"), want(1, WANT_KIND, "nic") };
        MatchOptions m = { .wants = wants, .n_wants = 2, .same_numa_node = true };
        AssignOptions o = take_all();

        world_init(&w);
        world_settle(&w);
        match(&w, &ALICE, &m, &o);
        check_devices(&w, "0000:41:00.0 0000:42:00.0 0000:43:00.0");
        match(&w, &BOB, &m, &o);
        check_devices(&w, "0000:61:00.0 0000:62:00.0 0000:63:00.0");
        match(&w, &BOB, &m, &o);
        check_devices(&w, "0000:a1:00.0 0000:a2:00.0 0000:a3:00.0");
        /* The last NIC has virtual functions enabled; one of them will do. */
        match(&w, &BOB, &m, &o);
        check_devices(&w, "0000:c1:00.0 0000:c2:00.0 0000:c3:00.2");
        match(&w, &BOB, &m, &o);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        ck_assert_ptr_nonnull(strstr(strempty(w.answer.details), "left_out"));
}
END_TEST

START_TEST(two_at_once_never_choose_the_same) {
        _cleanup_world_ World w;
        Want one = want(2, WANT_KIND, "nvme");
        MatchOptions m = { .wants = &one, .n_wants = 1 };
        AssignOptions o = persistent();
        _cleanup_error_ Error err = ERROR_INIT;

        world_init(&w);
        /* Before everything is read both wait for it. */
        ck_assert_int_eq(
                engine_assign_matching(w.engine, &ALICE, &m, OWNER, &o, world_reply, &w, &err), 0);
        ck_assert_int_eq(
                engine_assign_matching(w.engine, &BOB, &m, OTHER, &o, world_reply, &w, &err), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 0);
        world_settle(&w);
        wait_answers(&w, 2);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_uint_eq(world_n_assignments(&w), 2);
        for (const char *const *name =
                     (const char *const[]){ "0000:45:00.0", "0000:65:00.0", "0000:a5:00.0",
                                            "0000:c5:00.0", NULL };
             *name; name++) {
                PciAddress a;

                ck_assert_int_eq(pci_address_parse(*name, &a), 0);
                ck_assert_ptr_nonnull(world_device(&w, a)->assignment);
        }
        /* Two on one node each, as near as there are. */
        ck_assert_ptr_eq(world_device(&w, (PciAddress) { .bus = 0x45 })->assignment,
                         world_device(&w, (PciAddress) { .bus = 0x65 })->assignment);
}
END_TEST

START_TEST(clean_groups_or_consent) {
        _cleanup_world_ World w;
        Want one = want(1, WANT_VENDOR, "10de"), gpu = want(1, WANT_KIND, "gpu");
        Want both[] = { want(1, WANT_KIND, "gpu"), want(1, WANT_KIND, "audio") };
        AssignOptions alone = persistent(), all = take_all();

        both[1].text[WANT_VENDOR] = "10de";
        world_init(&w);
        world_settle(&w);
        match(&w, &ROOT, &(MatchOptions) { .wants = &gpu, .n_wants = 1 }, &alone);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_VIABLE);
        match(&w, &ROOT, &(MatchOptions){ .wants = &one, .n_wants = 1, .clean_groups = true },
              &all);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_VIABLE);
        /* Asked for together they are each other's mates, and no consent is needed. */
        match(&w, &ROOT, &(MatchOptions){ .wants = both, .n_wants = 2, .clean_groups = true },
              &alone);
        check_devices(&w, "0000:41:00.0 0000:41:00.1");
        match(&w, &ROOT, &(MatchOptions) { .wants = &gpu, .n_wants = 1 }, &all);
        check_devices(&w, "0000:42:00.0");
}
END_TEST

START_TEST(fresh_facts_speak_against_the_best) {
        _cleanup_world_ World w;
        Want one = want(1, WANT_KIND, "nvme");
        MatchOptions m = { .wants = &one, .n_wants = 1 };
        AssignOptions o = persistent();

        world_init(&w);
        world_settle(&w);
        ck_assert_int_eq(host_sim_hold(w.host, NVME, 4711, "dd"), 0);
        match(&w, &ALICE, &m, &o);
        check_devices(&w, "0000:65:00.0");
        ck_assert_uint_eq(world_n_assignments(&w), 1);
}
END_TEST

START_TEST(the_same_request_again) {
        _cleanup_world_ World w;
        Want one = want(1, WANT_KIND, "nvme");
        MatchOptions m = { .wants = &one, .n_wants = 1 };
        AssignOptions o = persistent();
        char first[ASSIGNMENT_ID_MAX];

        o.request_id = "r1";
        world_init(&w);
        world_settle(&w);
        match(&w, &ALICE, &m, &o);
        check_devices(&w, "0000:45:00.0");
        (void) string_copy(first, sizeof(first), w.answer.assignment);
        match(&w, &ALICE, &m, &o);
        ck_assert_str_eq(w.answer.assignment, first);
        one.text[WANT_KIND] = "nic";
        match(&w, &ALICE, &m, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        ck_assert_uint_eq(world_n_assignments(&w), 1);
}
END_TEST

START_TEST(a_plan_ranks_and_claims_nothing) {
        _cleanup_world_ World w;
        Want one = want(2, WANT_KIND, "nvme");
        MatchOptions m = { .wants = &one, .n_wants = 1 };
        AssignOptions o = persistent();
        _cleanup_json_ Json *j = NULL;
        const char *near = NULL;
        char token[256];

        world_init(&w);
        world_settle(&w);
        plan(&w, &ALICE, &m, &o);
        ck_assert_int_eq(json_parse(w.answer.json, strlen(w.answer.json), JSON_LIMITS_DEFAULT, &j,
                                    NULL, NULL),
                         0);
        ck_assert_uint_ge(json_length(json_get(json_get(j, "match"), "sets")), 2);
        ck_assert_int_eq(json_get_string(json_at(json_get(json_get(j, "match"), "sets"), 0), "near",
                                         &near),
                         1);
        ck_assert_str_eq(near, "same-numa-node");
        /* The host's own disk is left out, and says why. */
        ck_assert_ptr_nonnull(strstr(w.answer.json, "host-"));
        ck_assert_uint_eq(world_n_assignments(&w), 0);
        ck_assert(w.answer.token[0]);
        /* Only the plan's own set is what its token lets pass. */
        (void) string_copy(token, sizeof(token), w.answer.token);
        o.token = token;
        match(&w, &ALICE, &m, &o);
        check_devices(&w, "0000:45:00.0 0000:65:00.0");
        match(&w, &ALICE, &m, &o);
        ck_assert_int_eq(w.answer.code, ERROR_PLAN_STALE);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_loop_test(tcase, selectors_select, 0, ELEMENTSOF(selectors));
        tcase_add_loop_test(tcase, what_means_nothing_is_refused, 0, ELEMENTSOF(bad));
        tcase_add_test(tcase, limits);
        tcase_add_test(tcase, gpus_and_a_nic_below_one_switch);
        tcase_add_test(tcase, two_at_once_never_choose_the_same);
        tcase_add_test(tcase, clean_groups_or_consent);
        tcase_add_test(tcase, fresh_facts_speak_against_the_best);
        tcase_add_test(tcase, the_same_request_again);
        tcase_add_test(tcase, a_plan_ranks_and_claims_nothing);
}

UNIT_MAIN("engine-match", add_tests);
