/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tokens: each single fact that a plan relied on, changed behind the daemon's back, makes the plan
 * stale and is named; a fact that no plan relies on does not.
 */

#include "engine-fixture.h"
#include "engine/engine-policy.h"
#include "host/sim-private.h"

typedef struct Change {
        const char *key;    /* what is named; NULL: nothing is stale */
        const char *device; /* what the plan is for */
        void (*make)(World *w, SimDevice *d);
        bool alone;         /* nothing else is named */
        const char *owner, *driver; /* of the request that follows; NULL: as planned */
} Change;

static void attribute(SimDevice *d, PciAttribute a, const char *text) {
        ck_assert_int_eq(sim_attribute_set(d, a, text), 0);
}

static void rescan(World *w) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        ck_assert_int_eq(engine_rescan(w->engine, &ROOT, world_reply, w, &err), 0);
        world_run(w, USEC_PER_SEC);
        ck_assert_int_eq(w->answer.code, ERROR_NONE);
}

static void card(World *w, SimDevice *d) {
        attribute(d, PCI_ATTRIBUTE_SUBSYSTEM_DEVICE, "0x9999");
        rescan(w);
}

static void driver(World *w, SimDevice *d) {
        ck_assert_int_eq(host_sim_rebind(w->host, d->source.address, ""), 0);
}

static void override(World *w _unused_, SimDevice *d) {
        ck_assert_int_eq(sim_set_override(d, "pci-stub"), 0);
}

static void region(World *w _unused_, SimDevice *d) {
        SimGroup *g = sim_group(d->host, d->group);

        ck_assert_int_eq(free_and_strdup(&g->reserved_regions,
                                         "0x00000000e0000000 0x00000000e0ffffff direct"),
                         0);
}

static void child(World *w _unused_, SimDevice *d) {
        ck_assert_uint_gt(d->source.use.n_children, 0);
        (void) string_copy(d->source.use.children[0].name, sizeof(d->source.use.children[0].name),
                           "other0");
}

static void disk(World *w _unused_, SimDevice *d) {
        ck_assert_int_eq(pci_use_add_critical(&d->source.use, PCI_CRITICAL_MOUNT, "nvme1n1 → /srv"),
                         0);
}

static void functions(World *w _unused_, SimDevice *d) {
        ck_assert_int_eq(sim_set_numvfs(d, 2), 0);
}

static void d3cold(World *w _unused_, SimDevice *d) {
        attribute(d, PCI_ATTRIBUTE_D3COLD_ALLOWED, "0");
}

static void domain(World *w _unused_, SimDevice *d) {
        ck_assert_int_eq(free_and_strdup(&sim_group(d->host, d->group)->type, "identity"), 0);
}

static void methods(World *w, SimDevice *d) {
        attribute(d, PCI_ATTRIBUTE_RESET_METHOD, "bus");
        rescan(w);
}

static void policy(World *w, SimDevice *d _unused_) {
        static const char text[] = "{ \"version\": 1, \"defaults\": { \"limit\": 7 } }";
        PolicyText file = { .file = "test.json", .text = text, .size = strlen(text) };
        _cleanup_error_ Error err = ERROR_INIT;

        ck_assert_msg(engine_set_policy(w->engine, &file, 1, &err) >= 0, "%s %s", err.message,
                      strempty(err.details));
}

static void power(World *w _unused_, SimDevice *d) {
        attribute(d, PCI_ATTRIBUTE_RUNTIME_STATUS, "suspended");
}

static void nothing(World *w _unused_, SimDevice *d _unused_) {
}

#define ONE "0000:45:00.0"
static const Change changes[] = {
        { NULL, ONE, nothing },
        { NULL, ONE, power },
        { "request", ONE, nothing, true, OTHER },
        { "request", ONE, nothing, true, NULL, "vfio-pci" },
        { "identity", ONE, card, true },
        { "driver", ONE, driver },
        { "driver-override", ONE, override, true },
        { "group", ONE, region, true },
        { "use", ONE, child, true },
        { "use", ONE, disk, true },
        { "policy", ONE, policy, true },
        { "virtual-functions", "0000:43:00.0", functions },
        { "settings", ONE, d3cold, true },
        { "settings", ONE, domain, true },
        { "reset", ONE, methods, true },
};

START_TEST(each_fact_is_named) {
        const Change *c = changes + _i;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *all = c->key ? strjoinf("{\"changed\":[\"%s\"]}", c->key) : NULL;
        _cleanup_free_ char *one = c->key ? strjoinf("\"%s\"", c->key) : NULL;
        char token[256];
        PciAddress a;

        world_init(&w);
        world_settle(&w);
        ck_assert_int_eq(pci_address_parse(c->device, &a), 0);
        ck_assert_int_eq(engine_plan(w.engine, &ROOT, one_device(c->device), OWNER, &o, world_reply,
                                     &w, &err),
                         0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 1);
        (void) string_copy(token, sizeof(token), w.answer.token);
        ck_assert(token[0]);
        c->make(&w, sim_device(sim_of(w.host), a));
        world_run(&w, USEC_PER_SEC);
        o.token = token;
        o.driver = c->driver;
        world_assign(&w, &ROOT, one_device(c->device), c->owner ? c->owner : OWNER, &o);
        if (!c->key) {
                ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
                return;
        }
        ck_assert_msg(w.answer.code == ERROR_PLAN_STALE, "%s: %s", c->key, w.answer.message);
        ck_assert_msg(strstr(w.answer.details, one), "%s: %s", c->key, w.answer.details);
        if (c->alone)
                ck_assert_str_eq(w.answer.details, all);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

static const char *const no_tokens[] = { "x", "0123456789abcdef", "0123456789abcdeg-", "-",
                                         "%s%n" };

START_TEST(what_is_no_token) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_settle(&w);
        o.token = no_tokens[_i];
        world_assign(&w, &ROOT, one_device(ONE), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

/* What a plan tells beside its steps: who holds the device, whom a reset takes along. */
START_TEST(a_plan_tells_of_neighbours) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        _cleanup_error_ Error err = ERROR_INIT;
        SimDevice *d;

        world_init(&w);
        d = sim_device(sim_of(w.host), GPU);
        attribute(d, PCI_ATTRIBUTE_RESET_METHOD, "bus");
        world_settle(&w);
        rescan(&w);
        answer_reset(&w.answer);
        ck_assert_int_eq(engine_plan(w.engine, &ROOT, gpu_card(), OWNER, &o, world_reply, &w, &err),
                         0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_ptr_nonnull(strstr(
                w.answer.json, "\"reset_method\":\"bus\",\"reset_also_hits\":[\"0000:41:00.1\"]"));
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_loop_test(tcase, each_fact_is_named, 0, ELEMENTSOF(changes));
        tcase_add_loop_test(tcase, what_is_no_token, 0, ELEMENTSOF(no_tokens));
        tcase_add_test(tcase, a_plan_tells_of_neighbours);
}

UNIT_MAIN("engine-token", add_tests);
