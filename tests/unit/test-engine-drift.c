/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A foreign hand on assigned devices: seen once with its event, shown until it is over, left alone
 * until somebody adopts or restores it. Events that a program made up change nothing.
 */

#include "engine-fixture.h"

static void begin(World *w, char id[ASSIGNMENT_ID_MAX]) {
        AssignOptions o = persistent();

        world_init(w);
        world_settle(w);
        world_assign(w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_msg(w->answer.code == ERROR_NONE, "%s", w->answer.message);
        (void) string_copy(id, ASSIGNMENT_ID_MAX, w->answer.assignment);
        ck_assert_uint_eq(w->n_drift, 0);
        ck_assert_ptr_null(world_device(w, GPU)->drift);
        log_set_level(LOG_ERR);
}

/* As driverctl does: the override first, or else the kernel would not bind it. */
static void rebind(World *w, PciAddress a, const char *driver) {
        ck_assert_int_eq(host_sim_set_override(w->host, a, driver), 0);
        ck_assert_int_eq(host_sim_rebind(w->host, a, driver), 0);
        world_run(w, 20 * USEC_PER_SEC);
}

typedef int (*Verb)(Engine *e, const Caller *c, const char *device, EngineReply reply,
                    void *userdata, Error *err);

static ErrorCode do_verb(World *w, Verb verb, const char *device) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (verb(w->engine, &ROOT, device, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        else
                ck_assert_uint_eq(w->answer.n, 0);
        world_run(w, 20 * USEC_PER_SEC);
        ck_assert_uint_eq(w->answer.n, 1);
        return w->answer.code;
}

static bool shows(World *w, PciAddress a, const char *text) {
        char **drift = world_device(w, a)->drift;

        return drift && strstr(drift[strv_length(drift) - 1], text);
}

START_TEST(test_rebind_is_seen_once) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        unsigned n;

        begin(&w, id);
        rebind(&w, GPU, "nvidia");
        ck_assert_uint_ge(w.n_drift, 1);
        ck_assert_str_eq(world_device(&w, GPU)->drift[0], "driver: nvidia, expected vfio-pci");
        ck_assert_str_eq(world_device(&w, GPU)->drift[1],
                         "driver_override: nvidia, expected vfio-pci");
        ck_assert_ptr_null(world_device(&w, GPU_AUDIO)->drift);
        ck_assert(world_driver_is(&w, GPU, "nvidia")); /* nothing was written over it */
        n = w.n_drift;
        ck_assert_int_eq(engine_rescan(w.engine, &ROOT, world_reply, &w, NULL), 0);
        world_run(&w, 20 * USEC_PER_SEC);
        ck_assert_uint_eq(w.n_drift, n);
        /* Put right by the same hand, it is over. */
        rebind(&w, GPU, "vfio-pci");
        ck_assert_ptr_null(world_device(&w, GPU)->drift);
}
END_TEST

START_TEST(test_restart_sees_it) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        begin(&w, id);
        world_stop(&w);
        ck_assert_int_eq(host_sim_rebind(w.host, GPU, "nvidia"), 0);
        w.n_drift = 0;
        world_start(&w);
        world_run(&w, 20 * USEC_PER_SEC);
        ck_assert_uint_ge(w.n_drift, 1);
        ck_assert(shows(&w, GPU, "nvidia"));
}
END_TEST

START_TEST(test_synthetic_changes_nothing) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        unsigned changed;

        begin(&w, id);
        world_run(&w, 60 * USEC_PER_SEC);
        changed = w.n_changed;
        ck_assert_int_eq(host_sim_trigger(w.host, GPU), 0);
        ck_assert_int_eq(host_sim_trigger(w.host, GPU_AUDIO), 0);
        world_run(&w, 20 * USEC_PER_SEC);
        ck_assert_uint_eq(w.n_drift, 0);
        ck_assert_uint_eq(w.n_changed, changed);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
}
END_TEST

START_TEST(test_restore) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        begin(&w, id);
        rebind(&w, GPU, _i ? "" : "nvidia");
        ck_assert_int_eq(do_verb(&w, engine_restore, "0000:41:00.0"), ERROR_NONE);
        ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
        ck_assert_ptr_null(world_device(&w, GPU)->drift);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
        ck_assert_ptr_null(world_assignment(&w, id)->job);
        world_release(&w, &ALICE, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert(world_driver_is(&w, GPU, "nvidia"));
}
END_TEST

/* Every step that can fail leaves what the foreign hand made. */
static const StepType failing[] = { STEP_PROVE_UNHELD, STEP_UNBIND, STEP_SET_OVERRIDE, STEP_PROBE,
                                    STEP_VERIFY };

START_TEST(test_restore_fails) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        begin(&w, id);
        rebind(&w, GPU, "nvidia");
        ck_assert_int_eq(host_sim_inject(w.host, &(SimFault){ .device = GPU,
                                                              .step = failing[_i],
                                                              .times = 1,
                                                              .kind = SIM_FAULT_ERROR,
                                                              .error = EIO }),
                         0);
        ck_assert_int_ne(do_verb(&w, engine_restore, "0000:41:00.0"), ERROR_NONE);
        ck_assert(world_driver_is(&w, GPU, "nvidia"));
        ck_assert(shows(&w, GPU, "nvidia"));
        ck_assert_ptr_null(world_device(&w, GPU)->job);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
        ck_assert_int_eq(do_verb(&w, engine_restore, "0000:41:00.0"), ERROR_NONE);
        ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
}
END_TEST

/* Killed at any moment of it, the next daemon has the device one way or the other, and says
 * which. */
START_TEST(test_crash_while_restoring) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;

        begin(&w, id);
        rebind(&w, GPU, "nvidia");
        answer_reset(&w.answer);
        ck_assert_int_eq(engine_restore(w.engine, &ROOT, "0000:41:00.0", world_reply, &w, &err), 0);
        world_run(&w, (usec_t) _i * 50 * USEC_PER_MSEC);
        world_stop(&w);
        world_start(&w);
        world_run(&w, 120 * USEC_PER_SEC);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
        if (!world_driver_is(&w, GPU, "vfio-pci")) {
                ck_assert(world_driver_is(&w, GPU, "nvidia"));
                ck_assert(shows(&w, GPU, "nvidia"));
                ck_assert_int_eq(do_verb(&w, engine_restore, "0000:41:00.0"), ERROR_NONE);
        }
        ck_assert_ptr_null(world_device(&w, GPU)->drift);
}
END_TEST

START_TEST(test_adopt_ends_the_claim) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        begin(&w, id);
        rebind(&w, GPU, "nvidia");
        ck_assert_int_eq(do_verb(&w, engine_adopt, "0000:41:00.0"), ERROR_NONE);
        ck_assert_ptr_null(world_device(&w, GPU)->drift);
        /* The other function is still the owner's, and so is the group. */
        ck_assert_ptr_nonnull(world_assignment(&w, id));
        ck_assert(!plan_find_device(world_assignment(&w, id)->plan, GPU)->requested);
        ck_assert(plan_find_device(world_assignment(&w, id)->plan, GPU_AUDIO)->requested);
        rebind(&w, GPU_AUDIO, "snd_hda_intel");
        ck_assert_int_eq(do_verb(&w, engine_adopt, "0000:41:00.1"), ERROR_NONE);
        world_run(&w, 60 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(test_foreign_override) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        begin(&w, id);
        ck_assert_int_eq(host_sim_set_override(w.host, GPU, "nvidia"), 0);
        ck_assert_int_eq(engine_get_facts(w.engine, &ROOT, "0000:41:00.0", NULL, FACTS_REFRESH,
                                          world_reply, &w, NULL),
                         0);
        world_run(&w, 20 * USEC_PER_SEC);
        ck_assert(shows(&w, GPU, "driver_override: nvidia, expected vfio-pci"));
        ck_assert_int_eq(do_verb(&w, _i ? engine_restore : engine_adopt, "0000:41:00.0"),
                         ERROR_NONE);
        if (_i)
                ck_assert_ptr_null(world_device(&w, GPU)->drift);
        world_release(&w, &ALICE, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert(world_driver_is(&w, GPU, "nvidia"));
}
END_TEST

START_TEST(test_refusals) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        begin(&w, id);
        ck_assert_int_eq(do_verb(&w, engine_adopt, "0000:41:00.0"), ERROR_INVALID);
        ck_assert_int_eq(do_verb(&w, engine_restore, "0000:41:00.0"), ERROR_INVALID);
        ck_assert_int_eq(do_verb(&w, engine_restore, "0000:ff:00.0"), ERROR_NOT_FOUND);
        ck_assert_int_eq(do_verb(&w, engine_adopt, "0000:ff:00.0"), ERROR_NOT_FOUND);
}
END_TEST

static void add(TCase *tcase) {
        tcase_add_test(tcase, test_rebind_is_seen_once);
        tcase_add_test(tcase, test_restart_sees_it);
        tcase_add_test(tcase, test_synthetic_changes_nothing);
        tcase_add_loop_test(tcase, test_restore, 0, 2);
        ADD_TABLE(tcase, test_restore_fails, failing);
        tcase_add_loop_test(tcase, test_crash_while_restoring, 0, 30);
        tcase_add_test(tcase, test_adopt_ends_the_claim);
        tcase_add_loop_test(tcase, test_foreign_override, 0, 2);
        tcase_add_test(tcase, test_refusals);
}

UNIT_MAIN("engine-drift", add);
