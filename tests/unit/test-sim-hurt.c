/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What hurts, on the simulated host: steps that fail, take long, hang, do nothing or bind another
 * driver; holders; other tools; cards that come and go; lost events. After each the devices are
 * where they were, or where the report says.
 */

#include "sim-fixture.h"

#define LONG (3600 * USEC_PER_SEC)

static const PciAddress gpu_group[] = { { .bus = 0x41 }, { .bus = 0x41, .function = 1 } };

/* ---- faults in the way of steps ---- */

/* Steps of fixture_assign_plan() for the NVMe: 0 prove, 1 unbind, 2 override, 3 probe, 4 verify, 5
 * trial, 6 owner */
static const struct {
        StepType step;
        SimFaultKind kind;
        int error;
        HostOutcome outcome;
        int result;
        ErrorCode code;
        const char *steps;
} faults[] = {
        { STEP_PROVE_UNHELD, SIM_FAULT_ERROR, EBUSY, HOST_OUTCOME_ROLLED_BACK, -EBUSY, ERROR_BUSY,
          "+0 !0" },
        { STEP_UNBIND, SIM_FAULT_ERROR, EIO, HOST_OUTCOME_ROLLED_BACK, -EIO, ERROR_FAILED,
          "+0 =0 +1 !1 -1" },
        { STEP_UNBIND, SIM_FAULT_ERROR, EPERM, HOST_OUTCOME_ROLLED_BACK, -EPERM,
          ERROR_NOT_SUPPORTED, "+0 =0 +1 !1 -1" },
        { STEP_UNBIND, SIM_FAULT_NO_EFFECT, 0, HOST_OUTCOME_ROLLED_BACK, -EBADE, ERROR_FAILED,
          "+0 =0 +1 !1 -1" },
        { STEP_SET_OVERRIDE, SIM_FAULT_ERROR, EINVAL, HOST_OUTCOME_ROLLED_BACK, -EINVAL,
          ERROR_FAILED, "+0 =0 +1 =1 +2 !2 -2 -1" },
        { STEP_SET_OVERRIDE, SIM_FAULT_NO_EFFECT, 0, HOST_OUTCOME_ROLLED_BACK, -EBADE, ERROR_FAILED,
          "+0 =0 +1 =1 +2 !2 -2 -1" },
        { STEP_PROBE, SIM_FAULT_ERROR, EINVAL, HOST_OUTCOME_ROLLED_BACK, -EINVAL, ERROR_FAILED,
          "+0 =0 +1 =1 +2 =2 +3 !3 -3 -2 -1" },
        { STEP_PROBE, SIM_FAULT_NO_EFFECT, 0, HOST_OUTCOME_ROLLED_BACK, -EBADE, ERROR_FAILED,
          "+0 =0 +1 =1 +2 =2 +3 !3 -3 -2 -1" },
        { STEP_PROBE, SIM_FAULT_WRONG_DRIVER, 0, HOST_OUTCOME_ROLLED_BACK, -EBADE, ERROR_FAILED,
          "+0 =0 +1 =1 +2 =2 +3 !3 -3 -2 -1" },
        { STEP_TRIAL_ATTACH, SIM_FAULT_ERROR, EPERM, HOST_OUTCOME_ROLLED_BACK, -EPERM,
          ERROR_NOT_VIABLE, "+0 =0 +1 =1 +2 =2 +3 =3 +4 =4 +5 !5 -3 -2 -1" },
        { STEP_SET_NODE_OWNER, SIM_FAULT_ERROR, EPERM, HOST_OUTCOME_ROLLED_BACK, -EPERM,
          ERROR_NOT_SUPPORTED, "+0 =0 +1 =1 +2 =2 +3 =3 +4 =4 +5 =5 +6 !6 -6 -3 -2 -1" },
        { STEP_VERIFY, SIM_FAULT_DELAY, 0, HOST_OUTCOME_DONE, 0, ERROR_NONE,
          "+0 =0 +1 =1 +2 =2 +3 =3 +4 =4 +5 =5 +6 =6" },
};

START_TEST(step_fails) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;

        fixture_init(&f);
        p = fixture_assign_plan(&f, &a, 1);
        fixture_inject(&f, a, faults[_i].step, faults[_i].kind, faults[_i].error, USEC_PER_SEC);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, LONG);
        ck_assert_uint_eq(f.n_finished, 1);
        ck_assert_uint_eq(f.n_ended, 0);
        ck_assert_int_eq(f.outcome, faults[_i].outcome);
        ck_assert_int_eq(f.error, faults[_i].result);
        ck_assert_int_eq(f.code, faults[_i].code);
        ck_assert_str_eq(f.steps, faults[_i].steps);
        ck_assert_str_eq(DRIVER_OF(&f, a), f.outcome == HOST_OUTCOME_DONE ? "vfio-pci" : "nvme");
        ck_assert(!host_group_locked(f.host, p->devices[0].group));
        /* The thing, the reason and the remedy */
        ck_assert(f.error == 0 || (f.message[0] && strstr(f.message, "; ")));
}
END_TEST

START_TEST(undo_fails_too) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;

        fixture_init(&f);
        p = fixture_assign_plan(&f, &a, 1);
        /* The first probe is the plan's, the second the undoing of the unbind. */
        fixture_inject(&f, a, STEP_PROBE, SIM_FAULT_ERROR, EINVAL, 0);
        fixture_inject(&f, a, STEP_PROBE, SIM_FAULT_ERROR, EIO, 0);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, LONG);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_FAILED);
        ck_assert_int_eq(f.error, -EIO); /* what is left undone is the news */
        ck_assert_uint_eq(f.failed_step, 1);
        ck_assert_str_eq(f.steps, "+0 =0 +1 =1 +2 =2 +3 !3 -3 -2 !1");
        ck_assert_str_eq(DRIVER_OF(&f, a), "");
}
END_TEST

START_TEST(hang_is_unknown_until_it_ends) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;
        usec_t before;

        fixture_init(&f);
        p = fixture_assign_plan(&f, &a, 1);
        fixture_inject(&f, a, STEP_UNBIND, SIM_FAULT_HANG, 0, 0);
        before = host_sim_clock(f.host);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, 70 * USEC_PER_SEC);
        ck_assert_uint_eq(f.n_finished, 0);
        fixture_run(&f, LONG);
        ck_assert_uint_eq(f.n_finished, 1);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_UNKNOWN);
        ck_assert_int_eq(f.code, ERROR_STUCK);
        ck_assert_uint_ge(host_sim_clock(f.host) - before, 75 * USEC_PER_SEC);
        ck_assert(host_group_locked(f.host, p->devices[0].group));
        ck_assert_uint_eq(f.n_ended, 0);
        /* Its attributes wait for the driver's lock; the rest of the facts comes. */
        (void) fixture_submit(&f, &(HostRequest){ .type = HOST_REQUEST_READ,
                                                  .devices = &a,
                                                  .n_devices = 1,
                                                  .what = HOST_READ_LIVE | HOST_READ_CONFIG });
        fixture_run(&f, 0);
        ck_assert_int_eq(f.last.error, -ETIMEDOUT);
        ck_assert_uint_eq(f.last.what, HOST_READ_CONFIG);

        host_sim_clear_faults(f.host);
        fixture_run(&f, LONG);
        ck_assert_uint_eq(f.n_ended, 1);
        ck_assert(!host_group_locked(f.host, p->devices[0].group));
        ck_assert_str_eq(DRIVER_OF(&f, a), ""); /* the step ended; nothing followed it */
}
END_TEST

START_TEST(hang_after_the_caller_left) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;
        HostJob *job;

        fixture_init(&f);
        p = fixture_assign_plan(&f, &a, 1);
        fixture_inject(&f, a, STEP_UNBIND, SIM_FAULT_HANG, 0, 0);
        job = fixture_submit_plan(&f, p);
        fixture_run(&f, USEC_PER_SEC);
        host_detach(job);
        fixture_run(&f, LONG);
        ck_assert(host_group_locked(f.host, p->devices[0].group));
        host_sim_clear_faults(f.host);
        fixture_run(&f, LONG);
        ck_assert(!host_group_locked(f.host, p->devices[0].group));
        ck_assert_uint_eq(f.n_finished + f.n_ended, 0);
}
END_TEST

static const struct {
        SimFault fault;
        int r;
} injections[] = {
        { { .device = { .bus = 0x41 }, .step = STEP_UNBIND, .kind = SIM_FAULT_HANG }, 0 },
        { { .device = { .bus = 0x40 }, .step = STEP_UNBIND, .kind = SIM_FAULT_HANG }, -ENODEV },
        { { .device = { .bus = 0x41 }, .step = _STEP_TYPE_MAX, .kind = SIM_FAULT_HANG }, -EINVAL },
        { { .device = { .bus = 0x41 }, .step = _STEP_TYPE_INVALID, .kind = SIM_FAULT_HANG },
          -EINVAL },
        { { .device = { .bus = 0x41 }, .step = STEP_UNBIND, .kind = _SIM_FAULT_KIND_MAX },
          -EINVAL },
        { { .device = { .bus = 0x41 }, .step = STEP_UNBIND, .kind = SIM_FAULT_ERROR }, -EINVAL },
        { { .device = { .bus = 0x41 },
            .step = STEP_UNBIND,
            .kind = SIM_FAULT_ERROR,
            .error = -EIO },
          -EINVAL },
        { { .device = { .bus = 0x41 }, .step = STEP_UNBIND, .kind = SIM_FAULT_ERROR, .error = EIO },
          0 },
};

START_TEST(injection_is_checked) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        ck_assert_int_eq(host_sim_inject(f.host, &injections[_i].fault), injections[_i].r);
}
END_TEST

START_TEST(fault_kinds_have_names) {
        ck_assert_int_eq(sim_fault_kind_from_string("error"), SIM_FAULT_ERROR);
        ck_assert_int_eq(sim_fault_kind_from_string("hang"), SIM_FAULT_HANG);
        ck_assert_int_eq(sim_fault_kind_from_string("no-effect"), SIM_FAULT_NO_EFFECT);
        ck_assert_int_eq((int) sim_fault_kind_from_string("gremlin"), -EINVAL);
        ck_assert_int_eq((int) sim_fault_kind_from_string(NULL), -EINVAL);
}
END_TEST

/* ---- holders ---- */

START_TEST(holder_that_never_lets_go) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        fixture_assign(&f, gpu_group, 2);
        ck_assert_int_eq(host_sim_hold(f.host, GPU, 4711, "qemu"), 0);
        p = fixture_release_plan(&f, GPU, "nvidia", 3000);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, LONG);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(f.code, ERROR_BUSY);
        ck_assert_uint_eq(f.n_holders, 1);
        ck_assert_uint_eq(f.holder_pid, 4711);
        ck_assert_ptr_nonnull(strstr(f.message, "qemu, pid 4711"));
        ck_assert_str_eq(f.steps, "+0 !0");
        ck_assert_str_eq(f.events, ""); /* nothing was written */
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "vfio-pci");
}
END_TEST

START_TEST(release_that_was_done_is_done_again) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;

        fixture_init(&f);
        fixture_assign(&f, &a, 1);
        p = fixture_release_plan(&f, a, "nvme", 1000);
        for (unsigned i = 0; i < 2;
             i++) { /* the second one after a crash just before its outcome was recorded */
                fixture_reset(&f);
                (void) fixture_submit(&f, &(HostRequest) { .type = HOST_REQUEST_PLAN, .plan = p,
                                                           .plan_recovery = i > 0 });
                fixture_run(&f, LONG);
                ck_assert_msg(f.outcome == HOST_OUTCOME_DONE, "%s", f.message);
                ck_assert_str_eq(DRIVER_OF(&f, a), "nvme");
        }
        (void) fixture_submit(&f, &(HostRequest){ .type = HOST_REQUEST_READ,
                                                  .devices = &a,
                                                  .n_devices = 1,
                                                  .what = HOST_READ_LIVE });
        fixture_run(&f, 0);
        ck_assert_ptr_null(pci_live_override(f.last.live));
}
END_TEST

START_TEST(wait_for_holder_can_be_cancelled) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        HostJob *job;

        fixture_init(&f);
        fixture_assign(&f, gpu_group, 2);
        ck_assert_int_eq(host_sim_hold(f.host, GPU, 4711, "qemu"), 0);
        p = fixture_release_plan(&f, GPU, "nvidia", 60000);
        job = fixture_submit_plan(&f, p);
        fixture_run(&f, USEC_PER_SEC);
        host_cancel(job);
        fixture_run(&f, USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(f.error, -ECANCELED);
}
END_TEST

START_TEST(user_of_a_host_driver_is_a_holder) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;

        fixture_init(&f);
        ck_assert_int_eq(host_sim_hold(f.host, a, 99, "mkfs"), 0);
        p = fixture_assign_plan(&f, &a, 1);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, LONG);
        ck_assert_int_eq(f.code, ERROR_BUSY);
        ck_assert_ptr_nonnull(strstr(f.message, "/dev/nvme1n1"));
}
END_TEST

/* ---- other tools ---- */

START_TEST(foreign_rebind) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        ck_assert_int_eq(host_sim_rebind(f.host, NVME, "vfio-pci"), 0);
        ck_assert_str_eq(DRIVER_OF(&f, NVME), "nvme"); /* it takes its time */
        fixture_run(&f, LONG);
        ck_assert_str_eq(DRIVER_OF(&f, NVME), "vfio-pci");
        ck_assert_str_eq(f.events, "children 0000:45:00.0, unbind 0000:45:00.0, bind 0000:45:00.0");
        ck_assert_int_eq(host_sim_rebind(f.host, NVME, ""), 0);
        fixture_run(&f, LONG);
        ck_assert_str_eq(DRIVER_OF(&f, NVME), "");
        ck_assert_int_eq(host_sim_rebind(f.host, NVME, "../x"), -EINVAL);
        ck_assert_int_eq(host_sim_rebind(f.host, (PciAddress) { .bus = 0x40 }, "x"), -ENODEV);
}
END_TEST

START_TEST(foreign_unbind_of_a_held_device_waits) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        fixture_assign(&f, gpu_group, 2);
        fixture_open(&f, gpu_group, 1);
        ck_assert_int_eq(host_sim_rebind(f.host, GPU, "nvidia"), 0);
        fixture_run(&f, 600 * USEC_PER_SEC);
        ck_assert_str_eq(f.events,
                         "vfio-remove 0000:41:00.0"); /* the early sign, and then nothing */
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "vfio-pci");
        fixture_close_fds(&f);
        fixture_run(&f, LONG);
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "nvidia");
}
END_TEST

START_TEST(open_group_holds_its_other_functions) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        fixture_assign(&f, gpu_group, 2);
        fixture_open(&f, gpu_group, 1);
        ck_assert_int_eq(host_sim_rebind(f.host, GPU_AUDIO, "snd_hda_intel"), 0);
        fixture_run(&f, LONG);
        ck_assert_str_eq(f.events, "vfio-remove 0000:41:00.1");
        ck_assert_str_eq(DRIVER_OF(&f, GPU_AUDIO), "vfio-pci");
}
END_TEST

START_TEST(native_driver_cannot_enter_a_group_in_use) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        fixture_assign(&f, gpu_group, 2);
        ck_assert_int_eq(host_sim_rebind(f.host, GPU_AUDIO, ""), 0);
        fixture_run(&f, LONG);
        fixture_open(&f, gpu_group, 1);
        ck_assert_int_eq(host_sim_rebind(f.host, GPU_AUDIO, "snd_hda_intel"), 0);
        fixture_run(&f, LONG);
        ck_assert_str_eq(DRIVER_OF(&f, GPU_AUDIO), "");
}
END_TEST

START_TEST(orderly_removal_waits) {
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;

        fixture_init(&f);
        fixture_assign(&f, &a, 1);
        ck_assert_int_eq(host_sim_hold(f.host, a, 7, "vmm"), 0);
        ck_assert_int_eq(host_sim_remove(f.host, a), 0);
        fixture_run(&f, 600 * USEC_PER_SEC);
        ck_assert(fixture_has(&f, a));
        ck_assert_int_eq(host_sim_unhold(f.host, a), 0);
        fixture_run(&f, LONG);
        ck_assert(!fixture_has(&f, a));
        ck_assert_str_eq(f.events,
                         "vfio-remove 0000:45:00.0, unbind 0000:45:00.0, remove 0000:45:00.0");
        ck_assert_int_eq(host_sim_unhold(f.host, a), -ENOENT);
}
END_TEST

START_TEST(switch_goes_with_all_below) {
        _cleanup_fixture_ Fixture f;
        PciAddress upstream = { .bus = 0x3d };

        fixture_init(&f);
        ck_assert_int_eq(host_sim_remove(f.host, upstream), 0);
        fixture_run(&f, LONG);
        ck_assert(!fixture_has(&f, upstream));
        ck_assert(!fixture_has(&f, GPU));
        ck_assert(!fixture_has(&f, PF));
        ck_assert(fixture_has(&f, (PciAddress) { .bus = 0x61 }));
}
END_TEST

START_TEST(surprise_removal_mid_plan) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        p = fixture_assign_plan(&f, gpu_group, 2);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, 100 * USEC_PER_MSEC);
        ck_assert_int_eq(host_sim_surprise_remove(f.host, GPU), 0);
        fixture_run(&f, LONG);
        ck_assert_uint_eq(f.n_finished, 1);
        ck_assert_int_eq(f.error, -ENODEV);
        ck_assert_int_eq(f.code, ERROR_GONE);
        ck_assert(!fixture_has(&f, GPU));
        ck_assert(!host_group_locked(f.host, p->devices[0].group));
}
END_TEST

START_TEST(surprise_removal_of_a_held_device) {
        _cleanup_fixture_ Fixture f;
        PciAddress a = NVME;

        fixture_init(&f);
        fixture_assign(&f, &a, 1);
        fixture_open(&f, &a, 1);
        ck_assert_int_eq(host_sim_surprise_remove(f.host, a), 0);
        (void) fixture_submit(&f, &(HostRequest){ .type = HOST_REQUEST_READ,
                                                  .devices = &a,
                                                  .n_devices = 1,
                                                  .what = HOST_READ_CONFIG });
        fixture_run(&f, USEC_PER_SEC);
        ck_assert_uint_eq(f.last.config->liveness, PCI_LIVENESS_ABSENT);
        ck_assert(fixture_has(&f, a)); /* the kernel's object stays while somebody holds it */
        fixture_close_fds(&f);
        fixture_run(&f, LONG);
        ck_assert(!fixture_has(&f, a));
}
END_TEST

START_TEST(card_comes_back) {
        static const char card[] =
                "{\"address\":\"0000:45:00.0\",\"path\":"
                "\"pci0000:3c/0000:3c:01.0/0000:3d:00.0/0000:3e:05.0/0000:45:00.0\","
                "\"attributes\":{\"vendor\":\"0x144d\",\"device\":\"0xa824\",\"class\":"
                "\"0x010802\"},"
                "\"links\":{\"iommu_group\":\"500\",\"driver\":\"nvme\"}}";
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        ck_assert_int_lt(host_sim_add(f.host, card, strlen(card), &err), 0);
        ck_assert_int_eq(err.code, ERROR_INVALID); /* there already */
        ck_assert_int_eq(host_sim_surprise_remove(f.host, NVME), 0);
        fixture_run(&f, LONG);
        fixture_reset(&f);
        ck_assert_int_eq(host_sim_add(f.host, card, strlen(card), &err), 0);
        fixture_run(&f, LONG);
        ck_assert_str_eq(f.events, "add 0000:45:00.0, bind 0000:45:00.0");
        ck_assert_str_eq(DRIVER_OF(&f, NVME), "nvme");
        ck_assert_int_lt(host_sim_add(f.host, "{}", 2, &err), 0);
        ck_assert_int_lt(host_sim_add(f.host, "{", 1, &err), 0);
}
END_TEST

/* ---- events ---- */

START_TEST(lost_events_end_in_overflow) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        host_sim_lose_events(f.host, 2);
        ck_assert_int_eq(host_sim_rebind(f.host, NVME, "vfio-pci"), 0);
        fixture_run(&f, LONG);
        ck_assert_str_eq(f.events, "overflow -, bind 0000:45:00.0");
        ck_assert_uint_eq(f.n_overflows, 1);
}
END_TEST

START_TEST(synthetic_event) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        ck_assert_int_eq(host_sim_trigger(f.host, NVME), 0);
        fixture_run(&f, 0);
        ck_assert_uint_eq(f.n_synthetic, 1);
        ck_assert_int_eq(host_sim_trigger(f.host, (PciAddress) { .bus = 0x40 }), -ENODEV);
}
END_TEST

/* ---- errors and buttons ---- */

START_TEST(recovery_of_a_whole_card) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        ck_assert_int_eq(host_sim_error(f.host, gpu_group[0], SIM_ERROR_CORRECTABLE), 0);
        fixture_run(&f, LONG);
        ck_assert_uint_eq(f.n_events, 0); /* it only counts */
        ck_assert_int_eq(host_sim_error(f.host, gpu_group[0], SIM_ERROR_NON_FATAL), 0);
        fixture_run(&f, LONG);
        ck_assert_str_eq(f.events, "change 0000:41:00.0, change 0000:41:00.1, change 0000:41:00.0, "
                                   "change 0000:41:00.1");
        /* A function without a driver is told nothing, and makes the recovery of all fail. */
        ck_assert_int_eq(host_sim_rebind(f.host, gpu_group[1], ""), 0);
        fixture_run(&f, LONG);
        fixture_reset(&f);
        ck_assert_int_eq(host_sim_error(f.host, gpu_group[0], SIM_ERROR_NON_FATAL), 0);
        fixture_run(&f, LONG);
        ck_assert_str_eq(f.events, "change 0000:41:00.0, change 0000:41:00.0, change 0000:41:00.1");
        ck_assert_int_eq(host_sim_error(f.host, (PciAddress){ .bus = 0x40 }, SIM_ERROR_FATAL),
                         -ENODEV);
}
END_TEST

static PciLiveness liveness_now(Fixture *f, PciAddress a) {
        (void) fixture_submit(f, &(HostRequest) {
                                         .type = HOST_REQUEST_READ,
                                         .devices = &a,
                                         .n_devices = 1,
                                         .what = HOST_READ_CONFIG });
        fixture_run(f, 0);
        return f->last.config->liveness;
}

START_TEST(fatal_error_takes_the_link_down) {
        static const SimErrorKind kinds[] = { SIM_ERROR_FATAL, SIM_ERROR_DPC };
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        ck_assert_int_eq(host_sim_error(f.host, NVME, kinds[_i]), 0);
        ck_assert_uint_eq(liveness_now(&f, NVME), PCI_LIVENESS_ABSENT);
        fixture_run(&f, 10 * USEC_PER_SEC);
        ck_assert_uint_ne(liveness_now(&f, NVME), PCI_LIVENESS_ABSENT);
        ck_assert_str_eq(f.events, "change 0000:45:00.0, change 0000:45:00.0");
}
END_TEST

START_TEST(attention_button) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        ck_assert_int_eq(host_sim_press_attention(f.host, gpu_group[0]), 0);
        fixture_run(&f, 4 * USEC_PER_SEC);
        ck_assert_int_eq(host_sim_press_attention(f.host, gpu_group[0]), 0); /* not after all */
        fixture_run(&f, LONG);
        ck_assert(fixture_has(&f, gpu_group[0]));
        ck_assert(fixture_has(&f, gpu_group[1]));
        ck_assert_int_eq(host_sim_press_attention(f.host, gpu_group[1]), 0);
        fixture_run(&f, 6 * USEC_PER_SEC);
        ck_assert(!fixture_has(&f, gpu_group[0]));
        ck_assert(!fixture_has(&f, gpu_group[1]));
        ck_assert_int_eq(host_sim_press_attention(f.host, gpu_group[1]), -ENODEV);
}
END_TEST

/* ---- the clock ---- */

typedef struct Ring {
        Host *host;
        HostTimer *timer;
        usec_t at[4];
        unsigned n;
} Ring;

static void on_ring(void *userdata) {
        Ring *r = userdata;

        ck_assert_uint_lt(r->n, ELEMENTSOF(r->at));
        r->at[r->n++] = host_now(r->host);
        if (r->n < 3)
                ck_assert_int_eq(host_timer_set(r->timer, host_now(r->host) + 10), 0);
}

START_TEST(timers_follow_the_virtual_clock) {
        _cleanup_fixture_ Fixture f;
        Ring ring = {};
        usec_t t;

        fixture_init(&f);
        ring.host = f.host;
        t = host_now(f.host);
        ck_assert_int_eq(host_timer_new(f.host, on_ring, &ring, &ring.timer), 0);
        ck_assert_int_eq(host_timer_set(ring.timer, t + 100), 0);
        ck_assert_uint_eq(host_sim_next(f.host), t + 100);
        ck_assert_uint_eq(host_sim_run(f.host), 0);
        host_sim_advance(f.host, 115);
        ck_assert_uint_eq(ring.n, 2); /* at 100 and 110, each at its own time */
        ck_assert_uint_eq(ring.at[0], t + 100);
        ck_assert_uint_eq(ring.at[1], t + 110);
        ck_assert_uint_eq(host_now(f.host), t + 115);
        ck_assert_int_eq(host_timer_set(ring.timer, USEC_INFINITY), 0);
        ck_assert_uint_eq(host_sim_next(f.host), USEC_INFINITY);
        host_sim_advance(f.host, USEC_INFINITY);
        ck_assert_uint_eq(ring.n, 2);
        ck_assert_uint_eq(host_sim_clock(f.host), USEC_INFINITY - 1);
        host_timer_free(ring.timer);
}
END_TEST

static void add(TCase *tcase) {
        ADD_TABLE(tcase, step_fails, faults);
        tcase_add_test(tcase, undo_fails_too);
        tcase_add_test(tcase, hang_is_unknown_until_it_ends);
        tcase_add_test(tcase, hang_after_the_caller_left);
        ADD_TABLE(tcase, injection_is_checked, injections);
        tcase_add_test(tcase, fault_kinds_have_names);
        tcase_add_test(tcase, holder_that_never_lets_go);
        tcase_add_test(tcase, release_that_was_done_is_done_again);
        tcase_add_test(tcase, wait_for_holder_can_be_cancelled);
        tcase_add_test(tcase, user_of_a_host_driver_is_a_holder);
        tcase_add_test(tcase, foreign_rebind);
        tcase_add_test(tcase, foreign_unbind_of_a_held_device_waits);
        tcase_add_test(tcase, open_group_holds_its_other_functions);
        tcase_add_test(tcase, native_driver_cannot_enter_a_group_in_use);
        tcase_add_test(tcase, orderly_removal_waits);
        tcase_add_test(tcase, switch_goes_with_all_below);
        tcase_add_test(tcase, surprise_removal_mid_plan);
        tcase_add_test(tcase, surprise_removal_of_a_held_device);
        tcase_add_test(tcase, card_comes_back);
        tcase_add_test(tcase, lost_events_end_in_overflow);
        tcase_add_test(tcase, synthetic_event);
        tcase_add_test(tcase, recovery_of_a_whole_card);
        tcase_add_loop_test(tcase, fatal_error_takes_the_link_down, 0, 2);
        tcase_add_test(tcase, attention_button);
        tcase_add_test(tcase, timers_follow_the_virtual_clock);
}

UNIT_MAIN("sim-hurt", add);
