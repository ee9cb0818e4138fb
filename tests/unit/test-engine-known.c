/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Assignments that are decided by facts which were read before: no second reading when nothing came
 * since, and one, with a new decision, when the plan finds it otherwise.
 */

#include "engine-fixture.h"

static char **nvme(void) {
        return one_device("0000:45:00.0");
}

static bool was_read(World *w) {
        return world_device(w, NVME)->live_at >
               0; /* all of it; a plan tells single attributes alone */
}

/* Once there and back: from then on the device is known. */
static void begin(World *w) {
        AssignOptions o = persistent();

        world_init(w);
        world_settle(w);
        world_assign(w, &ALICE, nvme(), OWNER, &o);
        ck_assert_msg(w->answer.code == ERROR_NONE, "%s", w->answer.message);
        ck_assert(was_read(w));
        world_release(w, &ALICE, w->answer.assignment);
        ck_assert_msg(w->answer.code == ERROR_NONE, "%s", w->answer.message);
        ck_assert(!was_read(w));
}

START_TEST(test_known_is_not_read) {
        _cleanup_world_ World w = {};
        AssignOptions o = persistent();

        begin(&w);
        if (_i > 0)
                world_run(&w, 10 * USEC_PER_SEC); /* its children came back and were read */
        world_assign(&w, &ALICE, nvme(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert(!was_read(&w));
        ck_assert(world_driver_is(&w, NVME, "vfio-pci"));
}
END_TEST

START_TEST(test_token_and_force_read) {
        _cleanup_world_ World w = {};
        AssignOptions o = persistent();
        Caller c = ROOT;

        begin(&w);
        c.may_force = true;
        o.force = true;
        o.force_reason = (char *) "to see";
        world_assign(&w, &c, nvme(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert(was_read(&w));
}
END_TEST

/* No event tells of it: the plan finds it, and what is decided then gives it back. */
START_TEST(test_foreign_override_is_found) {
        _cleanup_world_ World w = {};
        AssignOptions o = persistent();

        begin(&w);
        ck_assert_int_eq(host_sim_set_override(w.host, NVME, "pci-stub"), 0);
        world_assign(&w, &ALICE, nvme(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert(was_read(&w));
        ck_assert_str_eq(
                world_assignment(&w, w.answer.assignment)->plan->devices[0].override_before,
                "pci-stub");
        world_release(&w, &ALICE, w.answer.assignment);
        ck_assert_str_eq(strempty(pci_live_override(world_device(&w, NVME)->live)), "pci-stub");
}
END_TEST

START_TEST(test_gone_is_found) {
        _cleanup_world_ World w = {};
        AssignOptions o = persistent();

        begin(&w);
        ck_assert_int_eq(host_sim_surprise_remove(w.host, NVME), 0);
        world_assign(&w, &ALICE, nvme(), OWNER, &o);
        ck_assert(w.answer.code == ERROR_GONE || w.answer.code == ERROR_NOT_FOUND ||
                  w.answer.code == ERROR_NOT_VIABLE);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

static void add(TCase *tcase) {
        tcase_add_loop_test(tcase, test_known_is_not_read, 0, 2);
        tcase_add_test(tcase, test_token_and_force_read);
        tcase_add_test(tcase, test_foreign_override_is_found);
        tcase_add_test(tcase, test_gone_is_found);
}

UNIT_MAIN("engine-known", add);
