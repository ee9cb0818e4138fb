/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The main job over a simulated host: from a request to an active assignment and back to exactly
 * what was there, and every way in which it may be refused, fail half-way, hang, or find the daemon
 * started anew.
 */

#include "engine-fixture.h"

/* ---- the thin path ---- */

START_TEST(assign_open_release) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
        ck_assert(world_driver_is(&w, GPU, "vfio-pci") &&
                  world_driver_is(&w, GPU_AUDIO, "vfio-pci"));
        ck_assert_int_eq(device_get_state(world_device(&w, GPU)), DEVICE_ASSIGNED);

        answer_reset(&w.answer);
        ck_assert_int_eq(engine_open(w.engine, &ALICE, id, NULL,
                                     &(OpenOptions) { .device_fd = true,
                                                     .container_fd = -EBADF,
                                                     .iommufd = -EBADF },
                                     world_reply, &w, &err),
                         0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_uint_ge(w.answer.n_fds, 3); /* container, group, devices */
        ck_assert(host_sim_is_held(w.host, GPU));
        answer_reset(&w.answer);
        (void) host_sim_run(w.host);
        ck_assert(!host_sim_is_held(w.host, GPU)); /* no copy was kept */

        world_release(&w, &ALICE, id);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_check_restored(&w);
}
END_TEST

START_TEST(settles_and_shows_verdicts) {
        _cleanup_world_ World w;

        world_init(&w);
        ck_assert(!engine_is_settled(w.engine));
        ck_assert(strv_contains(world_device(&w, NVME)->blockers, "not-read-yet"));
        world_settle(&w);
        ck_assert_ptr_null(world_device(&w, NVME)->blockers);
        ck_assert(world_device(&w, NVME)->group->viable);
        ck_assert(strv_contains(world_device(&w, BOOT_DISK)->blockers, "host-mount"));
        ck_assert(!world_device(&w, BOOT_DISK)->group->viable);
        ck_assert(strv_contains(world_device(&w, GPU)->blockers, "group-member"));
        ck_assert(world_device(&w, GPU)->group->viable);
}
END_TEST

/* ---- refusals ---- */

static const struct {
        const char *device;
        ErrorCode code;
        const char *blocker;
} refused[] = {
        { "0000:41:00.0", ERROR_NOT_VIABLE, "group-member" },
        { "0000:05:00.0", ERROR_HOST_CRITICAL, "host-mount" },
        { "0000:04:00.0", ERROR_HOST_CRITICAL, "host-route" },
        { "0000:02:00.0", ERROR_HOST_CRITICAL, "host-console" },
        { "0000:00:1f.4", ERROR_HOST_CRITICAL, "host-chipset" },
        { "0000:79:00.0", ERROR_HOST_CRITICAL, "host-memory" },
        { "0000:00:1c.0", ERROR_HOST_CRITICAL, "not-an-endpoint" },
};

START_TEST(refused_with_data) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_assign(&w, &ALICE, one_device(refused[_i].device), OWNER, &o);
        ck_assert_msg(w.answer.code == refused[_i].code, "%s: %s",
                      error_code_to_string(w.answer.code), w.answer.message);
        ck_assert_ptr_nonnull(w.answer.details);
        ck_assert_ptr_nonnull(strstr(w.answer.details, refused[_i].blocker));
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

START_TEST(group_alone_refused_together_granted) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_assign(&w, &ALICE, one_device("0000:41:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_VIABLE);
        ck_assert_ptr_nonnull(strstr(w.answer.message, "0000:41:00.1"));
        ck_assert_ptr_nonnull(strstr(w.answer.message, "take-all"));
        world_check_restored(&w);
        o.group = GROUP_TAKE_ALL;
        world_assign(&w, &ALICE, one_device("0000:41:00.0"), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert(world_driver_is(&w, GPU_AUDIO, "vfio-pci")); /* parked */
        ck_assert_int_eq(device_get_state(world_device(&w, GPU_AUDIO)), DEVICE_ASSIGNED);
        world_release(&w, &ALICE, w.answer.assignment);
        world_check_restored(&w);
}
END_TEST

START_TEST(second_owner_is_refused_at_every_moment) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        _cleanup_error_ Error err = ERROR_INIT;

        world_init(&w);
        world_assign_begin(&w, &ALICE, gpu_card(), OWNER, &o);
        for (unsigned i = 0; i < 100 && w.answer.n == 0; i++) {
                int r = engine_assign(w.engine, &BOB,
                                      one_device(i % 2 ? "0000:41:00.0" : "0000:41:00.1"), OTHER,
                                      &o, world_reply, &w, &err);

                ck_assert_int_eq(r, -error_code_to_errno(ERROR_OWNED));
                world_run(&w, 20 * USEC_PER_MSEC);
        }
        ck_assert_uint_eq(w.answer.n, 1);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_int_eq(
                engine_assign(w.engine, &BOB, gpu_card(), OTHER, &o, world_reply, &w, &err),
                -error_code_to_errno(ERROR_OWNED));
        ck_assert_ptr_nonnull(strstr(err.message, OWNER));
        ck_assert_ptr_nonnull(err.details);
}
END_TEST

START_TEST(force_needs_right_and_reason) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        o.force = true;
        world_assign(&w, &ROOT, one_device("0000:04:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        o.force_reason = "moving the routes away next";
        world_assign(&w, &ALICE, one_device("0000:04:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_AUTHORIZED);
        /* What the kernel refuses is not to be forced. */
        world_assign(&w, &ROOT, one_device("0000:00:1c.0"), OWNER, &o);
        ck_assert_int_ne(w.answer.code, ERROR_NONE);
}
END_TEST

START_TEST(others_may_not_touch) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_error_ Error err = ERROR_INIT;

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        world_release(&w, &BOB, id);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_AUTHORIZED);
        ck_assert_int_eq(engine_open(w.engine, &BOB, id, NULL,
                                     &(OpenOptions) { .container_fd = -EBADF, .iommufd = -EBADF },
                                     world_reply, &w, &err),
                         -error_code_to_errno(ERROR_NOT_AUTHORIZED));
        world_release(&w, &ROOT, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
}
END_TEST

/* ---- requests twice ---- */

START_TEST(request_id_is_idempotent) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        o.request_id = "req-1";
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_str_eq(w.answer.assignment, id);
        world_stop(&w); /* and after a restart */
        world_start(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_str_eq(w.answer.assignment, id);
        world_assign(&w, &ALICE, gpu_card(), OTHER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        world_assign(&w, &BOB, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED); /* an id is the caller's own */
}
END_TEST

START_TEST(token_is_compare_and_swap) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char token[256];
        _cleanup_error_ Error err = ERROR_INIT;

        world_init(&w);
        ck_assert_int_eq(
                engine_plan(w.engine, &ALICE, gpu_card(), OWNER, &o, world_reply, &w, &err), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 1);
        ck_assert_ptr_nonnull(strstr(w.answer.json, "unbind"));
        (void) string_copy(token, sizeof(token), w.answer.token);
        ck_assert_uint_gt(strlen(token), 32);
        world_check_restored(&w); /* a plan does nothing */

        ck_assert_int_eq(host_sim_rebind(w.host, GPU_AUDIO, ""), 0);
        world_run(&w, USEC_PER_SEC);
        o.token = token;
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_PLAN_STALE);
        ck_assert_ptr_nonnull(strstr(w.answer.details, "driver"));
        ck_assert_int_eq(host_sim_rebind(w.host, GPU_AUDIO, "snd_hda_intel"), 0);
        world_run(&w, USEC_PER_SEC);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s %s", w.answer.message,
                      strempty(w.answer.details));
}
END_TEST

/* ---- failures ---- */

static const struct {
        PciAddress device;
        StepType step;
        SimFaultKind kind;
        int error;
} failures[] = {
        { { .bus = 0x41 }, STEP_PROVE_UNHELD, SIM_FAULT_ERROR, EBUSY },
        { { .bus = 0x41 }, STEP_UNBIND, SIM_FAULT_ERROR, EIO },
        { { .bus = 0x41 }, STEP_SET_OVERRIDE, SIM_FAULT_ERROR, EINVAL },
        { { .bus = 0x41 }, STEP_PROBE, SIM_FAULT_ERROR, ENOMEM },
        { { .bus = 0x41 }, STEP_PROBE, SIM_FAULT_NO_EFFECT, 0 },
        { { .bus = 0x41 }, STEP_PROBE, SIM_FAULT_WRONG_DRIVER, 0 },
        { { .bus = 0x41 }, STEP_VERIFY, SIM_FAULT_ERROR, EIO },
        { { .bus = 0x41, .function = 1 }, STEP_PROVE_UNHELD, SIM_FAULT_ERROR, EBUSY },
        { { .bus = 0x41, .function = 1 }, STEP_UNBIND, SIM_FAULT_ERROR, EIO },
        { { .bus = 0x41, .function = 1 }, STEP_SET_OVERRIDE, SIM_FAULT_ERROR, EIO },
        { { .bus = 0x41, .function = 1 }, STEP_PROBE, SIM_FAULT_ERROR, EIO },
        { { .bus = 0x41, .function = 1 }, STEP_VERIFY, SIM_FAULT_ERROR, EIO },
        { { .bus = 0x41 }, STEP_TRIAL_ATTACH, SIM_FAULT_ERROR, EPERM },
};

static void inject(World *w, PciAddress a, StepType step, SimFaultKind kind, int error) {
        SimFault fault = { .device = a, .step = step, .kind = kind, .error = error, .times = 1 };

        ck_assert_int_eq(host_sim_inject(w->host, &fault), 0);
}

START_TEST(rolled_back_at_every_step) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        inject(&w, failures[_i].device, failures[_i].step, failures[_i].kind, failures[_i].error);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_ne(w.answer.code, ERROR_NONE);
        world_run(&w, 10 * USEC_PER_SEC);
        world_check_restored(&w);
        world_assign(&w, &BOB, gpu_card(), OTHER,
                     &o); /* and nothing of it stands in the next one's way */
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
}
END_TEST

static const StepType hanging[] = { STEP_UNBIND, STEP_SET_OVERRIDE, STEP_PROBE };

START_TEST(hang_is_stuck_until_it_ends) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        inject(&w, GPU, hanging[_i], SIM_FAULT_HANG, 0);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_STUCK);
        ck_assert_int_eq(device_get_state(world_device(&w, GPU)), DEVICE_STUCK);
        /* Others go on meanwhile; this one is refused. */
        world_assign(&w, &BOB, one_device("0000:45:00.0"), OTHER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_release(&w, &BOB, w.answer.assignment);
        world_assign(&w, &BOB, gpu_card(), OTHER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        host_sim_clear_faults(w.host);
        world_run(&w, 300 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(release_waits_for_the_holder) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        const Job *j;
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        ck_assert_int_eq(host_sim_hold(w.host, GPU, 4242, "qemu"), 0);
        answer_reset(&w.answer);
        ck_assert_int_eq(engine_release(w.engine, &ALICE, id, false, world_reply, &w, &err), 0);
        world_run(&w, 120 * USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 0);
        j = world_assignment(&w, id)->job;
        ck_assert_ptr_nonnull(j);
        ck_assert_int_eq(j->state, JOB_WAITING);
        ck_assert_ptr_nonnull(j->result.details);
        ck_assert_ptr_nonnull(strstr(j->result.details, "4242"));
        ck_assert(world_driver_is(&w, GPU, "vfio-pci")); /* nothing was unbound under its hands */
        ck_assert_int_eq(host_sim_unhold(w.host, GPU), 0);
        world_run(&w, 15 * USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 1);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_check_restored(&w);
}
END_TEST

START_TEST(release_survives_a_hang) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        inject(&w, GPU, STEP_UNBIND, SIM_FAULT_HANG, 0);
        world_release(&w, &ALICE, id);
        ck_assert_int_eq(w.answer.code, ERROR_STUCK);
        host_sim_clear_faults(w.host);
        world_run(&w, 300 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(differences_are_listed) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];
        const Job *j;

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        inject(&w, GPU, STEP_PROBE, SIM_FAULT_NO_EFFECT, 0);
        world_release(&w, &ALICE, id);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        j = inventory_job(engine_inventory(w.engine), w.answer.job);
        ck_assert_ptr_nonnull(j->result.details);
        ck_assert_ptr_nonnull(strstr(j->result.details, "was nvidia"));
        ck_assert(world_driver_is(&w, GPU, ""));
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

/* ---- owners ---- */

START_TEST(client_gone_releases) {
        _cleanup_world_ World w;
        AssignOptions o = ASSIGN_OPTIONS_INIT;

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        engine_client_gone(w.engine, ":1.99");
        world_run(&w, 10 * USEC_PER_SEC);
        ck_assert_uint_eq(world_n_assignments(&w), 1);
        engine_client_gone(w.engine, ":1.7");
        world_run(&w, 10 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

/* The client leaves after each slice of the assign. */
START_TEST(client_gone_at_any_moment) {
        _cleanup_world_ World w;
        AssignOptions o = ASSIGN_OPTIONS_INIT;

        world_init(&w);
        world_assign_begin(&w, &ALICE, gpu_card(), OWNER, &o);
        world_run(&w, (usec_t) _i * 50 * USEC_PER_MSEC);
        engine_client_gone(w.engine, ":1.7");
        world_run(&w, 60 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(release_while_preparing) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        const Assignment *a;
        HashmapIterator i = {};

        world_init(&w);
        world_assign_begin(&w, &ALICE, gpu_card(), OWNER, &o);
        world_run(&w, (usec_t) _i * 50 * USEC_PER_MSEC);
        a = hashmap_next(engine_inventory(w.engine)->assignments, &i);
        ck_assert_ptr_nonnull(a);
        ck_assert_int_eq(engine_release(w.engine, &ALICE, a->id, false, world_reply, &w, &err), 0);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 2); /* of the assign and of the release */
        world_check_restored(&w);
}
END_TEST

START_TEST(attach_within_expires) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        o.attach_within = 30 * USEC_PER_SEC;
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_run(&w, 20 * USEC_PER_SEC);
        ck_assert_uint_eq(world_n_assignments(&w), 1);
        world_run(&w, 60 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

/* ---- restarts ---- */

START_TEST(active_survives_restart) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        world_stop(&w);
        world_start(&w);
        ck_assert_ptr_nonnull(world_assignment(&w, id));
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
        ck_assert_str_eq(world_assignment(&w, id)->owner, OWNER);
        ck_assert_int_eq(device_get_state(world_device(&w, GPU)), DEVICE_ASSIGNED);
        ck_assert_uint_eq(w.n_drift, 0);
        world_assign(&w, &BOB, gpu_card(), OTHER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        world_release(&w, &ALICE, id);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_check_restored(&w);
}
END_TEST

#define CRASH_POINTS 60
#define CRASH_SLICE (25 * USEC_PER_MSEC)

/* A crash in each slice of an assign: afterwards either all of it or nothing of it is there. */
START_TEST(crash_during_assign) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        bool acknowledged;

        world_init(&w);
        world_assign_begin(&w, &ALICE, gpu_card(), OWNER, &o);
        world_run(&w, (usec_t) _i * CRASH_SLICE);
        acknowledged = w.answer.n > 0 && w.answer.code == ERROR_NONE;
        world_stop(&w);
        world_run(&w, 1 * USEC_PER_MSEC);
        world_start(&w);
        world_run(&w, 60 * USEC_PER_SEC);
        if (acknowledged) {
                ck_assert_uint_eq(world_n_assignments(&w), 1);
                ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
                world_release(&w, &ALICE, w.answer.assignment);
        }
        world_check_restored(&w);
}
END_TEST

START_TEST(crash_during_release) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        ck_assert_int_eq(engine_release(w.engine, &ALICE, id, false, world_reply, &w, &err), 0);
        world_run(&w, (usec_t) _i * CRASH_SLICE);
        world_stop(&w);
        world_run(&w, 1 * USEC_PER_MSEC);
        world_start(&w);
        world_run(&w, 60 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

/* ---- the kernel changes by itself ---- */

START_TEST(foreign_rebind_is_drift) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        unsigned changed;

        world_init(&w);
        world_settle(&w);
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(w.n_drift, 0);
        changed = w.n_changed;
        ck_assert_int_eq(host_sim_rebind(w.host, NVME, ""), 0);
        world_run(&w, 20 * USEC_PER_MSEC);
        ck_assert_uint_eq(w.n_drift, 1);
        /* One report for one event, and one for the driver override, which is looked at after
         * drift. */
        ck_assert_uint_eq(w.n_changed, changed + 2);
        ck_assert(world_driver_is(&w, NVME, "")); /* and left alone */
        ck_assert_int_eq(host_sim_trigger(w.host, NVME), 0);
        world_run(&w, 20 * USEC_PER_MSEC);
        ck_assert_uint_eq(w.n_changed, changed + 2); /* a synthetic event changes nothing */
}
END_TEST

START_TEST(surprise_removal_is_lost) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        ck_assert_int_eq(host_sim_surprise_remove(w.host, NVME), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_LOST);
        ck_assert_str_eq(w.last_notice, "Lost");
        ck_assert_int_eq(device_get_state(world_device(&w, NVME)), DEVICE_GONE);
        world_release(&w, &ALICE, id);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
        ck_assert_ptr_null(world_device(&w, NVME));
}
END_TEST

START_TEST(overflow_is_read_again) {
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        host_sim_lose_events(w.host, 1000);
        ck_assert_int_eq(host_sim_rebind(w.host, GPU, ""), 0);
        ck_assert_int_eq(host_sim_surprise_remove(w.host, NVME), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_str_eq(world_device(&w, GPU)->facts.driver, "nvidia"); /* not known yet */
        host_sim_lose_events(w.host, 1);
        ck_assert_int_eq(host_sim_rebind(w.host, RAID, ""), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_str_eq(world_device(&w, GPU)->facts.driver, "");
        ck_assert_ptr_null(world_device(&w, NVME));
        ck_assert_uint_eq(w.n_removed, 1);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_test(tcase, assign_open_release);
        tcase_add_test(tcase, settles_and_shows_verdicts);
        ADD_TABLE(tcase, refused_with_data, refused);
        tcase_add_test(tcase, group_alone_refused_together_granted);
        tcase_add_test(tcase, second_owner_is_refused_at_every_moment);
        tcase_add_test(tcase, force_needs_right_and_reason);
        tcase_add_test(tcase, others_may_not_touch);
        tcase_add_test(tcase, request_id_is_idempotent);
        tcase_add_test(tcase, token_is_compare_and_swap);
        ADD_TABLE(tcase, rolled_back_at_every_step, failures);
        ADD_TABLE(tcase, hang_is_stuck_until_it_ends, hanging);
        tcase_add_test(tcase, release_waits_for_the_holder);
        tcase_add_test(tcase, release_survives_a_hang);
        tcase_add_test(tcase, differences_are_listed);
        tcase_add_test(tcase, client_gone_releases);
        tcase_add_loop_test(tcase, client_gone_at_any_moment, 0, 40);
        tcase_add_loop_test(tcase, release_while_preparing, 0, 40);
        tcase_add_test(tcase, attach_within_expires);
        tcase_add_test(tcase, active_survives_restart);
        tcase_add_loop_test(tcase, crash_during_assign, 0, CRASH_POINTS);
        tcase_add_loop_test(tcase, crash_during_release, 0, CRASH_POINTS);
        tcase_add_test(tcase, foreign_rebind_is_drift);
        tcase_add_test(tcase, surprise_removal_is_lost);
        tcase_add_test(tcase, overflow_is_read_again);
}

UNIT_MAIN("engine", add_tests);
