/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated host does what the kernel and a worker do: the same facts, plans step by step on a
 * virtual clock, users who hold devices, descriptors that are seen when they close, virtual
 * functions, uevents in the kernel's order.
 */

#include "sim-fixture.h"

static const PciAddress gpu_group[] = { { .bus = 0x41 }, { .bus = 0x41, .function = 1 } };

/* ---- facts ---- */

START_TEST(scan_gives_every_function_once) {
        _cleanup_fixture_ Fixture f;
        PciAddress last = {};
        HostScan *scan = NULL;
        PciFacts facts;
        PciUse use;
        size_t n = 0, n_critical = 0;
        int r;

        fixture_init(&f);
        ck_assert_int_eq(host_scan_begin(f.host, &scan), 0);
        while ((r = host_scan_next(scan, &facts, &use)) > 0) {
                ck_assert(n == 0 || pci_address_compare(last, facts.address) < 0);
                last = facts.address;
                ck_assert_int_eq(facts.link_state[PCI_LINK_IOMMU_GROUP], FACT_PRESENT);
                ck_assert_int_eq(facts.state[PCI_ATTRIBUTE_VENDOR], FACT_PRESENT);
                ck_assert_int_eq(facts.state[PCI_ATTRIBUTE_DRIVER_OVERRIDE], FACT_UNREAD);
                n_critical += use.n_criticals > 0;
                n++;
                pci_facts_done(&facts);
                pci_use_done(&use);
        }
        ck_assert_int_eq(r, 0);
        host_scan_end(scan);
        ck_assert_uint_gt(n, 70);
        ck_assert_uint_gt(n_critical, 30); /* bridges */
}
END_TEST

START_TEST(read_gives_what_only_workers_see) {
        static const PciAddress devices[] = { { .bus = 0x05 }, { .bus = 0x41 } };
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        (void) fixture_submit(&f, &(HostRequest){ .type = HOST_REQUEST_READ,
                                                  .devices = devices,
                                                  .n_devices = 2,
                                                  .what = HOST_READ_CONFIG | HOST_READ_LIVE |
                                                          HOST_READ_USE | HOST_READ_GROUP |
                                                          HOST_READ_SLOT | HOST_READ_VPD });
        fixture_run(&f, 0);
        ck_assert_uint_eq(f.n_finished, 1);
        ck_assert_uint_eq(f.n_devices, 2);
        ck_assert_uint_eq(f.n_groups, 2);
        ck_assert_uint_eq(f.n_slots, 1); /* the GPU's; the boot disk has none */
        ck_assert_int_eq(f.last.error, 0);
        ck_assert_uint_eq(f.last.config->liveness, PCI_LIVENESS_ALIVE);
        ck_assert(f.last.config->has_aer && f.last.config->has_dsn && f.last.config->flr);
        ck_assert_uint_eq(f.last.config->n_rebar, 1);
        ck_assert_ptr_null(pci_live_override(f.last.live));
        ck_assert_str_eq(f.last.live->attributes[PCI_ATTRIBUTE_LABEL].text, "GPU1");
        ck_assert_int_eq(f.last.live->vpd_serial.state, FACT_PRESENT);
        ck_assert_uint_eq(f.last.use->n_children, 2);
        ck_assert_str_eq(f.group.type, "DMA-FQ");
}
END_TEST

START_TEST(boot_disk_has_its_proof) {
        _cleanup_fixture_ Fixture f;
        PciAddress a = BOOT_DISK;

        fixture_init(&f);
        (void) fixture_submit(&f, &(HostRequest){ .type = HOST_REQUEST_READ,
                                                  .devices = &a,
                                                  .n_devices = 1,
                                                  .what = HOST_READ_USE });
        fixture_run(&f, 0);
        ck_assert_uint_eq(f.last.use->n_criticals, 3);
        ck_assert_str_eq(f.last.use->criticals[1].proof,
                         "0000:05:00.0 → nvme0n1 → nvme0n1p2 → vg0-root → /");
}
END_TEST

START_TEST(snapshot_replays) {
        _cleanup_fixture_ Fixture f;
        _cleanup_free_ char *text = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        HostScan *first = NULL, *second = NULL;
        Host *again = NULL;
        PciFacts a, b;
        PciUse ua, ub;
        size_t n, k = 0;

        fixture_init(&f);
        (void) fixture_submit(&f, &(HostRequest) { .type = HOST_REQUEST_SNAPSHOT });
        fixture_run(&f, 0);
        ck_assert_uint_eq(f.n_fds, 1);
        ck_assert_int_eq(f.fds[0].kind, HOST_FD_SNAPSHOT);
        text = calloc(1, 16U << 20);
        ck_assert_ptr_nonnull(text);
        n = (size_t) loop_pread(f.fds[0].fd, text, (16U << 20) - 1, 0);
        ck_assert_msg(host_sim_new(NULL, text, n, true, &err, &again) == 0, "%s", err.message);
        ck_assert_int_eq(host_scan_begin(f.host, &first), 0);
        ck_assert_int_eq(host_scan_begin(again, &second), 0);
        while (host_scan_next(first, &a, &ua) > 0) {
                ck_assert_int_eq(host_scan_next(second, &b, &ub), 1);
                ck_assert_msg(pci_facts_equal(&a, &b), "%s differs", PCI_ADDRESS_TEXT(a.address));
                ck_assert_uint_eq(ua.n_children, ub.n_children);
                ck_assert_uint_eq(ua.n_criticals, ub.n_criticals);
                pci_facts_done(&a);
                pci_facts_done(&b);
                pci_use_done(&ua);
                pci_use_done(&ub);
                k++;
        }
        ck_assert_int_eq(host_scan_next(second, &b, &ub), 0);
        ck_assert_uint_gt(k, 70);
        host_scan_end(first);
        host_scan_end(second);
        host_free(again);
}
END_TEST

static const struct {
        PciAddress device;
        const char *driver;
} variants[] = {
        { { .bus = 0x41 }, "vfio-pci" },
        { { .bus = 0xc3, .function = 2 }, "mlx5_vfio_pci" },
        { { .bus = 0xc3 }, "vfio-pci" },
};

START_TEST(variant_drivers) {
        _cleanup_fixture_ Fixture f;
        char driver[PCI_DRIVER_NAME_MAX];
        PciFacts facts;

        fixture_init(&f);
        facts = fixture_facts(&f, variants[_i].device);
        ck_assert_int_eq(host_choose_driver(f.host, &facts, driver, sizeof(driver)), 0);
        ck_assert_str_eq(driver, variants[_i].driver);
        pci_facts_done(&facts);
}
END_TEST

/* ---- plans ---- */

START_TEST(assign_and_release) {
        _cleanup_(plan_freep) Plan *assign = NULL, *release = NULL;
        _cleanup_fixture_ Fixture f;
        PciUse use = {};
        usec_t before, took;

        fixture_init(&f);
        assign = fixture_assign_plan(&f, gpu_group, 1);
        assign->n_steps -= 2; /* alone it is not viable: no trial, no owner */
        before = host_sim_clock(f.host);
        (void) fixture_submit_plan(&f, assign);
        assign->n_steps += 2; /* the host has its copy; ours is freed whole */
        ck_assert(host_group_locked(f.host, assign->devices[0].group));
        fixture_run(&f, 3600 * USEC_PER_SEC);
        took = host_sim_clock(f.host) - before;
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_DONE);
        ck_assert_str_eq(f.steps, "+0 =0 +1 =1 +2 =2 +3 =3 +4 =4");
        ck_assert_str_eq(f.events, "children 0000:41:00.0, unbind 0000:41:00.0, bind 0000:41:00.0");
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "vfio-pci");
        ck_assert(!host_group_locked(f.host, assign->devices[0].group));
        /* 900 ms to leave nvidia, 8 ms to bind vfio-pci */
        ck_assert_uint_eq(took, 908 * USEC_PER_MSEC);
        ck_assert_int_eq(host_read_children(f.host, GPU, &use), 0);
        ck_assert_uint_eq(use.n_children, 0);

        fixture_reset(&f);
        release = fixture_release_plan(&f, GPU, "nvidia", 1000);
        (void) fixture_submit_plan(&f, release);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_DONE);
        ck_assert_str_eq(f.events,
                         "vfio-remove 0000:41:00.0, unbind 0000:41:00.0, bind 0000:41:00.0, "
                         "children 0000:41:00.0");
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "nvidia");
        ck_assert_int_eq(host_read_children(f.host, GPU, &use), 0);
        ck_assert_uint_eq(use.n_children, 2);
        pci_use_done(&use);
}
END_TEST

START_TEST(group_is_viable_only_together) {
        _cleanup_(plan_freep) Plan *alone = NULL, *together = NULL;
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        alone = fixture_assign_plan(&f, gpu_group, 1);
        (void) fixture_submit_plan(&f, alone);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(f.error, -EPERM);
        ck_assert_int_eq(f.code, ERROR_NOT_VIABLE);
        ck_assert_ptr_nonnull(strstr(f.message, "0000:41:00.1 is on snd_hda_intel"));
        ck_assert_str_eq(f.steps, "+0 =0 +1 =1 +2 =2 +3 =3 +4 =4 +5 !5 -3 -2 -1");
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "nvidia");

        fixture_reset(&f);
        together = fixture_assign_plan(&f, gpu_group, 2);
        (void) fixture_submit_plan(&f, together);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_msg(f.outcome == HOST_OUTCOME_DONE, "%s", f.message);
        ck_assert_str_eq(DRIVER_OF(&f, GPU_AUDIO), "vfio-pci");
}
END_TEST

START_TEST(direct_region_is_refused) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = RAID;

        fixture_init(&f);
        p = fixture_assign_plan(&f, &a, 1);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(f.error, -EINVAL);
        ck_assert_int_eq(f.code, ERROR_NOT_VIABLE);
        ck_assert_str_eq(DRIVER_OF(&f, a), "megaraid_sas");
}
END_TEST

START_TEST(disk_in_use_is_refused) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        PciAddress a = BOOT_DISK;

        fixture_init(&f);
        p = fixture_assign_plan(&f, &a, 1);
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(f.code, ERROR_HOST_CRITICAL);
        ck_assert_ptr_nonnull(strstr(f.message, "/boot/efi"));
        ck_assert_uint_eq(f.failed_step, 0);
        ck_assert_str_eq(f.events, "");
}
END_TEST

START_TEST(another_card_at_the_address) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        p = fixture_assign_plan(&f, gpu_group, 1);
        p->devices[0].device ^= 1;
        (void) fixture_submit_plan(&f, p);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.code, ERROR_PLAN_STALE);
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "nvidia");
}
END_TEST

START_TEST(one_job_a_group) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        HostJob *other = NULL;

        fixture_init(&f);
        p = fixture_assign_plan(&f, gpu_group, 2);
        (void) fixture_submit_plan(&f, p);
        ck_assert_int_eq(host_submit(f.host, &(HostRequest){ .type = HOST_REQUEST_PLAN, .plan = p },
                                     &fixture_callbacks, &f, &other),
                         -EAGAIN);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(f.n_finished, 1);
        ck_assert_int_eq(host_submit(f.host, &(HostRequest){ .type = HOST_REQUEST_PLAN, .plan = p },
                                     &fixture_callbacks, &f, &other),
                         0);
        fixture_run(&f, 3600 * USEC_PER_SEC);
}
END_TEST

START_TEST(cancel_undoes) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        HostJob *job;

        fixture_init(&f);
        p = fixture_assign_plan(&f, gpu_group, 2);
        job = fixture_submit_plan(&f, p);
        fixture_run(&f, 100 * USEC_PER_MSEC); /* inside of the unbind */
        ck_assert_str_eq(f.steps, "+0 =0 +1");
        host_cancel(job);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(f.error, -ECANCELED);
        ck_assert_str_eq(f.steps, "+0 =0 +1 =1 -1");
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "nvidia");
}
END_TEST

START_TEST(detached_stops_after_its_step) {
        _cleanup_(plan_freep) Plan *p = NULL;
        _cleanup_fixture_ Fixture f;
        HostJob *job;

        fixture_init(&f);
        p = fixture_assign_plan(&f, gpu_group, 2);
        job = fixture_submit_plan(&f, p);
        fixture_run(&f, 100 * USEC_PER_MSEC);
        host_detach(job);
        ck_assert(host_group_locked(f.host, p->devices[0].group));
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(f.n_finished, 0);
        ck_assert_str_eq(f.steps, "+0 =0 +1");
        ck_assert_str_eq(DRIVER_OF(&f, GPU), ""); /* the unbind ended, nothing was undone */
        ck_assert(!host_group_locked(f.host, p->devices[0].group));

        /* The next daemon finds by the facts what was done, and undoes that. */
        (void) fixture_submit(
                &f, &(HostRequest){ .type = HOST_REQUEST_PLAN, .plan = p, .plan_recovery = true });
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_ROLLED_BACK);
        ck_assert_int_eq(f.error, 0);
        ck_assert_str_eq(DRIVER_OF(&f, GPU), "nvidia");
        ck_assert_str_eq(DRIVER_OF(&f, GPU_AUDIO), "snd_hda_intel");
}
END_TEST

/* ---- handing over ---- */

START_TEST(open_and_close) {
        _cleanup_(plan_freep) Plan *release = NULL;
        _cleanup_fixture_ Fixture f;
        unsigned kinds[_HOST_FD_KIND_MAX] = {};

        fixture_init(&f);
        fixture_assign(&f, gpu_group, 2);
        fixture_open(&f, gpu_group, 2);
        ck_assert_msg(f.outcome == HOST_OUTCOME_DONE, "%s", f.message);
        for (size_t i = 0; i < f.n_fds; i++)
                kinds[f.fds[i].kind]++;
        ck_assert_uint_eq(kinds[HOST_FD_CONTAINER], 1);
        ck_assert_uint_eq(kinds[HOST_FD_GROUP], 1);
        ck_assert_uint_eq(kinds[HOST_FD_DEVICE], 2);
        ck_assert(host_sim_is_held(f.host, GPU));
        ck_assert(host_sim_is_held(f.host, GPU_AUDIO));

        /* A copy that lies in somebody's socket still counts. */
        int copy = fcntl(f.fds[1].fd, F_DUPFD_CLOEXEC, 3);

        fixture_close_fds(&f);
        (void) host_sim_run(f.host);
        ck_assert(host_sim_is_held(f.host, GPU));
        release = fixture_release_plan(&f, GPU, "nvidia", 1000);
        (void) fixture_submit_plan(&f, release);
        fixture_run(&f, 500 * USEC_PER_MSEC);
        ck_assert_uint_eq(f.n_finished, 1); /* OPEN's: the release still waits */
        (void) close(copy);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(f.n_finished, 2);
        ck_assert_msg(f.outcome == HOST_OUTCOME_DONE, "%s", f.message);
        ck_assert(!host_sim_is_held(f.host, GPU));
}
END_TEST

START_TEST(group_opens_once) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        fixture_assign(&f, gpu_group, 2);
        fixture_open(&f, gpu_group, 1);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_DONE);
        fixture_open(&f, gpu_group + 1, 1);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_FAILED);
        ck_assert_int_eq(f.code, ERROR_BUSY);
}
END_TEST

START_TEST(open_needs_vfio) {
        _cleanup_fixture_ Fixture f;

        fixture_init(&f);
        fixture_open(&f, gpu_group, 1);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_FAILED);
        ck_assert_int_eq(f.code, ERROR_NOT_VIABLE);
        ck_assert_uint_eq(f.n_fds, 0);
}
END_TEST

/* ---- virtual functions ---- */

static Plan *numvfs_plan(Fixture *f, const char *n, const char *undo) {
        Plan *p = plan_new(PLAN_SET_NUMVFS);
        PlanDevice *d;

        ck_assert_ptr_nonnull(p);
        d = fixture_plan_device(f, p, PF, "");
        fixture_step(plan_add_device_step(p, STEP_SET_NUMVFS, d), n, undo, NULL, 75000);
        return p;
}

START_TEST(virtual_functions) {
        _cleanup_(plan_freep) Plan *two = NULL, *three = NULL, *none = NULL, *many = NULL;
        PciAddress vf = { .bus = 0x43, .function = 2 };
        _cleanup_fixture_ Fixture f;
        PciFacts facts;

        fixture_init(&f);
        two = numvfs_plan(&f, "2", "0");
        (void) fixture_submit_plan(&f, two);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_msg(f.outcome == HOST_OUTCOME_DONE, "%s", f.message);
        ck_assert_str_eq(
                f.events,
                "add 0000:43:00.2, change 0000:43:00.2, bind 0000:43:00.2, "
                "add 0000:43:00.3, change 0000:43:00.3, bind 0000:43:00.3, change 0000:43:00.0");
        facts = fixture_facts(&f, vf);
        ck_assert(facts.is_vf && pci_address_equal(facts.physfn, PF));
        ck_assert_str_eq(facts.driver, "mlx5_core");
        ck_assert_uint_eq(facts.device, 0x101e);
        ck_assert_uint_eq(pci_facts_resource(&facts, 0)->size, 2U << 20);
        ck_assert_uint_ne(facts.iommu_group, two->devices[0].group);
        pci_facts_done(&facts);
        (void) fixture_submit(&f, &(HostRequest){ .type = HOST_REQUEST_READ,
                                                  .devices = &vf,
                                                  .n_devices = 1,
                                                  .what = HOST_READ_CONFIG });
        fixture_run(&f, 0);
        ck_assert_int_eq(f.last.config->liveness, PCI_LIVENESS_ALIVE);

        fixture_reset(&f);
        three = numvfs_plan(&f, "3", "2");
        (void) fixture_submit_plan(&f, three);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.error, -EBUSY);
        fixture_reset(&f);
        many = numvfs_plan(&f, "17", "2");
        (void) fixture_submit_plan(&f, many);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.error, -ERANGE);
        ck_assert_int_eq(f.code, ERROR_INVALID);

        fixture_reset(&f);
        none = numvfs_plan(&f, "0", "2");
        (void) fixture_submit_plan(&f, none);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_DONE);
        ck_assert(!fixture_has(&f, vf));
}
END_TEST

START_TEST(held_virtual_function_blocks_their_removal) {
        _cleanup_(plan_freep) Plan *one = NULL, *none = NULL, *elsewhere = NULL;
        PciAddress vf = { .bus = 0x43, .function = 2 };
        _cleanup_fixture_ Fixture f;
        HostJob *job = NULL;

        fixture_init(&f);
        one = numvfs_plan(&f, "1", "0");
        (void) fixture_submit_plan(&f, one);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        fixture_assign(&f, &vf, 1);
        ck_assert_int_eq(host_sim_hold(f.host, vf, 4711, "qemu"), 0);
        none = numvfs_plan(&f, "0", "1");
        none->steps[0].timeout_msec = 5000;
        (void) fixture_submit_plan(&f, none);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_int_eq(f.outcome, HOST_OUTCOME_UNKNOWN);
        ck_assert_int_eq(f.code, ERROR_STUCK);
        /* The host has one removal lock. */
        elsewhere = plan_new(PLAN_SET_NUMVFS);
        fixture_step(plan_add_device_step(
                             elsewhere, STEP_SET_NUMVFS,
                             fixture_plan_device(&f, elsewhere, (PciAddress){ .bus = 0x63 }, "")),
                     "1", "0", NULL, 75000);
        ck_assert_int_eq(host_submit(f.host,
                                     &(HostRequest){ .type = HOST_REQUEST_PLAN, .plan = elsewhere },
                                     &fixture_callbacks, &f, &job),
                         -EAGAIN);
        ck_assert_int_eq(host_sim_unhold(f.host, vf), 0);
        fixture_run(&f, 3600 * USEC_PER_SEC);
        ck_assert_uint_eq(f.n_ended, 1);
        ck_assert(!fixture_has(&f, vf));
}
END_TEST

static void add(TCase *tcase) {
        tcase_add_test(tcase, scan_gives_every_function_once);
        tcase_add_test(tcase, read_gives_what_only_workers_see);
        tcase_add_test(tcase, boot_disk_has_its_proof);
        tcase_add_test(tcase, snapshot_replays);
        ADD_TABLE(tcase, variant_drivers, variants);
        tcase_add_test(tcase, assign_and_release);
        tcase_add_test(tcase, group_is_viable_only_together);
        tcase_add_test(tcase, direct_region_is_refused);
        tcase_add_test(tcase, disk_in_use_is_refused);
        tcase_add_test(tcase, another_card_at_the_address);
        tcase_add_test(tcase, one_job_a_group);
        tcase_add_test(tcase, cancel_undoes);
        tcase_add_test(tcase, detached_stops_after_its_step);
        tcase_add_test(tcase, open_and_close);
        tcase_add_test(tcase, group_opens_once);
        tcase_add_test(tcase, open_needs_vfio);
        tcase_add_test(tcase, virtual_functions);
        tcase_add_test(tcase, held_virtual_function_blocks_their_removal);
}

UNIT_MAIN("sim", add);
