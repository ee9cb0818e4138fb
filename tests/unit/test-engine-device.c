/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Work on devices that nobody owns, and everything that is only asked: resets, virtual functions,
 * facts, explanations, snapshots, doctor.
 */

#include <signal.h>
#include <sys/resource.h>

#include "engine-fixture.h"
#include "host/sim-private.h"

static void wait_answer(World *w) {
        for (unsigned i = 0; i < 1000 && w->answer.n == 0; i++)
                world_run(w, 100 * USEC_PER_MSEC);
        ck_assert_uint_eq(w->answer.n, 1);
}

static void set_vfs(World *w, const Caller *c, const char *device, uint32_t n) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_set_numvfs(w->engine, c, device, n, &(VfsOptions) {}, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        wait_answer(w);
}

static void reset_device(World *w, const Caller *c, const char *device) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_reset_device(w->engine, c, device, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        wait_answer(w);
}

START_TEST(virtual_functions_to_different_owners) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char first[ASSIGNMENT_ID_MAX];
        const Inventory *i;
        Device *vfs[2] = {};
        size_t n = 0;

        world_init(&w);
        world_settle(&w);
        set_vfs(&w, &ROOT, "0000:43:00.0", 4);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_run(&w, USEC_PER_SEC);
        i = engine_inventory(w.engine);
        for (size_t k = 0; k < i->n_devices; k++)
                if (i->sorted[k]->facts.is_vf &&
                    pci_address_equal(i->sorted[k]->facts.physfn, PF)) {
                        if (n < 2)
                                vfs[n] = i->sorted[k];
                        n++;
                }
        ck_assert_uint_eq(n, 4);
        world_assign(&w, &ALICE, one_device(PCI_ADDRESS_TEXT(vfs[0]->facts.address)), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s %s", w.answer.message,
                      strempty(w.answer.details));
        (void) string_copy(first, sizeof(first), w.answer.assignment);
        world_assign(&w, &BOB, one_device(PCI_ADDRESS_TEXT(vfs[1]->facts.address)), OTHER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);

        /* The PF under them is neither changed nor given away. */
        set_vfs(&w, &ROOT, "0000:43:00.0", 0);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        ck_assert_ptr_nonnull(strstr(w.answer.message, OWNER));
        world_assign(&w, &ROOT, one_device("0000:43:00.0"), "vm-3", &o);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        world_release(&w, &ROOT, first);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        set_vfs(&w, &ROOT, "0000:43:00.0", 0);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        ck_assert_ptr_nonnull(strstr(w.answer.message, OTHER));
}
END_TEST

static void set_vfs_for(World *w, uint32_t n, const char *driver) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_set_numvfs(w->engine, &ROOT, "0000:43:00.0", n,
                              &(VfsOptions){ .driver = driver }, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        wait_answer(w);
}

static size_t count_vfs(World *w, const char *driver) {
        const Inventory *i = engine_inventory(w->engine);
        size_t n = 0;

        for (size_t k = 0; k < i->n_devices; k++) {
                const Device *d = i->sorted[k];

                if (d->facts.is_vf && pci_address_equal(d->facts.physfn, PF))
                        n += streq(d->facts.driver, driver) && d->config && d->group;
        }
        return n;
}

static const char *autoprobe(World *w) {
        static char text[8];
        _cleanup_error_ Error err = ERROR_INIT;
        const Device *d = world_device(w, PF);

        answer_reset(&w->answer);
        ck_assert_int_eq(engine_get_facts(w->engine, &ROOT, "0000:43:00.0",
                                          (char *[]){ (char *) "sriov", NULL }, true, world_reply,
                                          w, &err),
                         0);
        wait_answer(w);
        ck_assert(string_copy(text, sizeof(text),
                              d->live->attributes[PCI_ATTRIBUTE_SRIOV_AUTOPROBE].text));
        return text;
}

/* When it answers, all of them are there, read, in groups, and nobody took them. */
START_TEST(virtual_functions_are_waited_for) {
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        set_vfs_for(&w, 4, NULL);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_uint_eq(count_vfs(&w, ""), 4);
        ck_assert_str_eq(autoprobe(&w), "1");
        set_vfs_for(&w, 2, "host");
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_uint_eq(count_vfs(&w, "mlx5_core"), 2);
        set_vfs_for(&w, 3, "vfio-pci");
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_uint_eq(count_vfs(&w, "vfio-pci"), 3);
        ck_assert_str_eq(autoprobe(&w), "1");
        ck_assert_ptr_null(world_device(&w, PF)->job);
        set_vfs_for(&w, 3, "../vfio");
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
}
END_TEST

static const struct {
        StepType step;
        SimFaultKind kind;
        int error;
        unsigned first; /* of the virtual functions; 0: the physical one */
        const char *driver;
        ErrorCode code;
} vfs_failures[] = {
        { STEP_SET_AUTOPROBE, SIM_FAULT_ERROR, EIO, 0, NULL, ERROR_FAILED },
        { STEP_AWAIT_VFS, SIM_FAULT_NO_EFFECT, 0, 0, NULL, ERROR_FAILED },
        { STEP_PROBE, SIM_FAULT_ERROR, EINVAL, 2, "vfio-pci", ERROR_FAILED },
        { STEP_PROBE, SIM_FAULT_NO_EFFECT, 0, 2, "vfio-pci", ERROR_FAILED },
        { STEP_SET_OVERRIDE, SIM_FAULT_ERROR, EIO, 3, "vfio-pci", ERROR_FAILED },
};

/* Whatever fails, the former number is there again, with the host's driver as before. */
START_TEST(virtual_functions_go_back) {
        _cleanup_world_ World w;
        SimFault f = { .device = PF, .step = vfs_failures[_i].step, .kind = vfs_failures[_i].kind,
                       .error = vfs_failures[_i].error, .times = 1 };

        f.device.function = (uint8_t) (vfs_failures[_i].first & 7);
        world_init(&w);
        world_settle(&w);
        set_vfs_for(&w, 2, "host");
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_int_eq(host_sim_inject(w.host, &f), 0);
        set_vfs_for(&w, 4, vfs_failures[_i].driver);
        ck_assert_msg(w.answer.code == vfs_failures[_i].code, "%d: %s", (int) w.answer.code,
                      w.answer.message);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(count_vfs(&w, "mlx5_core"), 2);
        ck_assert_uint_eq(count_vfs(&w, ""), 0);
        ck_assert_str_eq(autoprobe(&w), "1");
        ck_assert_ptr_null(world_device(&w, PF)->job);
}
END_TEST

/* The kernel does it all or not at all; the physical function's owner is asked nothing. */
START_TEST(virtual_functions_without_room) {
        _cleanup_world_ World w;
        SimFault f = { .device = PF,
                       .step = STEP_SET_NUMVFS,
                       .kind = SIM_FAULT_ERROR,
                       .error = ENOMEM,
                       .times = 1 };

        world_init(&w);
        world_settle(&w);
        ck_assert_int_eq(host_sim_inject(w.host, &f), 0);
        set_vfs_for(&w, 4, NULL);
        ck_assert_int_eq(w.answer.code, ERROR_FAILED);
        ck_assert_ptr_nonnull(strstr(w.answer.message, "room"));
        ck_assert_str_eq(autoprobe(&w), "1");
        ck_assert_uint_eq(count_vfs(&w, ""), 0);
}
END_TEST

START_TEST(virtual_functions_after_lost_events) {
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        host_sim_lose_events(w.host, 3);
        set_vfs_for(&w, 4, NULL);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_uint_eq(count_vfs(&w, ""), 4);
}
END_TEST

/* A held one would make the kernel wait with its lock of removals. */
START_TEST(held_virtual_functions_stay) {
        _cleanup_world_ World w;
        PciAddress vf = PF;

        vf.function = 3;
        world_init(&w);
        world_settle(&w);
        set_vfs_for(&w, 4, "vfio-pci");
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_int_eq(host_sim_hold(w.host, vf, 4242, "qemu"), 0);
        set_vfs_for(&w, 0, NULL);
        ck_assert_int_eq(w.answer.code, ERROR_BUSY);
        ck_assert_uint_eq(count_vfs(&w, "vfio-pci"), 4);
}
END_TEST

static void open_all(World *w, const Caller *c, const char *id) {
        OpenOptions o = { .device_fd = true, .container_fd = -EBADF, .iommufd = -EBADF };
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_open(w->engine, c, id, NULL, &o, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        wait_answer(w);
}

static void assign_one(World *w, const Caller *c, const char *device, const char *owner,
                       char id[ASSIGNMENT_ID_MAX]) {
        AssignOptions o = persistent();

        world_assign(w, c, one_device(device), owner, &o);
        (void) string_copy(id, ASSIGNMENT_ID_MAX, w->answer.assignment);
}

/* A physical function on VFIO, its virtual ones, and the token between them. */
START_TEST(virtual_functions_of_an_assigned_function) {
        char pf[ASSIGNMENT_ID_MAX], vf[ASSIGNMENT_ID_MAX], none[ASSIGNMENT_ID_MAX],
                token[VF_TOKEN_MAX];
        _cleanup_world_ World w;
        _cleanup_error_ Error err = ERROR_INIT;

        world_init(&w);
        sim_of(w.host)->vfio_sriov = true;
        world_settle(&w);
        assign_one(&w, &ALICE, "0000:43:00.0", OWNER, pf);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        set_vfs(&w, &BOB, "0000:43:00.0", 2);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        set_vfs(&w, &ALICE, "0000:43:00.0", 2);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);

        /* They are the same owner's or nobody's. */
        assign_one(&w, &BOB, "0000:43:00.2", OWNER, none);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        assign_one(&w, &ALICE, "0000:43:00.2", OTHER, none);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        assign_one(&w, &ALICE, "0000:43:00.2", OWNER, vf);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);

        /* The first open sets it, each further one shows it; a restart does not lose it. */
        open_all(&w, &ALICE, pf);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        (void) string_copy(token, sizeof(token), sim_device(sim_of(w.host), PF)->vf_token);
        ck_assert(vf_token_is_valid(token));
        world_stop(&w);
        world_start(&w);
        w.n_settled = 0;
        world_settle(&w);
        ck_assert_str_eq(world_assignment(&w, pf)->vf_token, token);
        open_all(&w, &ALICE, vf);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        answer_reset(&w.answer); /* closes what it gave */

        answer_reset(&w.answer);
        ck_assert_int_lt(engine_release(w.engine, &ALICE, pf, false, world_reply, &w, &err), 0);
        ck_assert_int_eq(err.code, ERROR_OWNED);
        world_release(&w, &ALICE, vf);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_release(&w, &ALICE, pf);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(count_vfs(&w, "") + count_vfs(&w, "vfio-pci"), 0);
        ck_assert(world_driver_is(&w, PF, "mlx5_core"));
}
END_TEST

static const char *const no_vf_tokens[] = {
        "", "x", "01234567-89ab-4def-a123-456789abcde", "01234567-89ab-4def-a123-456789abcdeff",
        "01234567-89AB-4def-a123-456789abcdef", "01234567089ab-4def-a123-456789abcdef",
        "01234567-89ab-4def-a123-456789abcde\n",
};

START_TEST(vf_tokens_are_uuids) {
        ck_assert(vf_token_is_valid("01234567-89ab-4def-a123-456789abcdef"));
        for (size_t i = 0; i < ELEMENTSOF(no_vf_tokens); i++)
                ck_assert_msg(!vf_token_is_valid(no_vf_tokens[i]), "%s", no_vf_tokens[i]);
}
END_TEST

START_TEST(a_physical_function_is_not_reset_under_owners) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_settle(&w);
        set_vfs_for(&w, 2, NULL);
        world_assign(&w, &ALICE, one_device("0000:43:00.2"), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        reset_device(&w, &ROOT, "0000:43:00.0");
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        ck_assert_ptr_nonnull(strstr(w.answer.message, "0000:43:00.2 to " OWNER));
        ck_assert_ptr_nonnull(strstr(strempty(w.answer.details), "vf-assigned"));
}
END_TEST

START_TEST(virtual_functions_change_through_zero) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        set_vfs(&w, &ROOT, "0000:43:00.0", 4);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_run(&w, USEC_PER_SEC);
        set_vfs(&w, &ROOT, "0000:43:00.0", 2);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_run(&w, USEC_PER_SEC);
        set_vfs(&w, &ROOT, "0000:43:00.0", 2); /* as it is */
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_assign(&w, &ROOT, one_device("0000:43:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_VIABLE);
        ck_assert_ptr_nonnull(strstr(w.answer.details, "vfs-enabled"));
        set_vfs(&w, &ROOT, "0000:43:00.0", 0);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_run(&w, USEC_PER_SEC);
        world_assign(&w, &ROOT, one_device("0000:43:00.0"), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        set_vfs(&w, &ALICE, "0000:43:00.0", 1);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        /* For its owner the VFIO driver makes some, where the host lets it. */
        set_vfs(&w, &ROOT, "0000:43:00.0", 1);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_SUPPORTED);
}
END_TEST

START_TEST(virtual_functions_refused) {
        _cleanup_world_ World w;

        world_init(&w);
        set_vfs(&w, &ROOT, "0000:43:00.0", 17);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        set_vfs(&w, &ROOT, "0000:41:00.0", 1);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_SUPPORTED);
        set_vfs(&w, &ROOT, "0000:ff:00.0", 1);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_FOUND);
}
END_TEST

START_TEST(one_removal_at_a_time) {
        SimFault hang = {
                .device = PF, .step = STEP_SET_NUMVFS, .kind = SIM_FAULT_HANG, .times = 1
        };
        _cleanup_world_ World w;

        world_init(&w);
        ck_assert_int_eq(host_sim_inject(w.host, &hang), 0);
        set_vfs(&w, &ROOT, "0000:43:00.0", 4);
        ck_assert_int_eq(w.answer.code, ERROR_STUCK);
        set_vfs(&w, &ROOT, "0000:63:00.0", 4);
        ck_assert_int_eq(w.answer.code, ERROR_STUCK);
        host_sim_clear_faults(w.host);
        world_run(&w, 300 * USEC_PER_SEC);
        set_vfs(&w, &ROOT, "0000:63:00.0", 4);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_int_eq(device_get_state(world_device(&w, PF)), DEVICE_HOST);
}
END_TEST

START_TEST(reset_only_what_nobody_needs) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        reset_device(&w, &ROOT, "0000:05:00.0");
        ck_assert_int_eq(w.answer.code, ERROR_HOST_CRITICAL);
        reset_device(&w, &ROOT, "0000:45:00.0"); /* bound to a host driver */
        ck_assert_int_eq(w.answer.code, ERROR_BUSY);
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        reset_device(&w, &BOB, "0000:45:00.0");
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);
        reset_device(&w, &ALICE, "0000:45:00.0");
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_int_eq(host_sim_hold(w.host, NVME, 4242, "qemu"), 0);
        reset_device(&w, &ALICE, "0000:45:00.0"); /* never under a holder */
        ck_assert_int_eq(w.answer.code, ERROR_BUSY);
}
END_TEST

/* ---- what is only asked ---- */

START_TEST(facts_by_topic) {
        char *topics[] = { (char *) "identity", (char *) "use", NULL },
             *wrong[] = { (char *) "colour", NULL };
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;

        world_init(&w);
        ck_assert_int_eq(engine_get_facts(w.engine, &ALICE, "0000:41:00.0", topics, false,
                                          world_reply, &w, &err),
                         0);
        ck_assert_uint_eq(w.answer.n, 0);
        wait_answer(&w);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_ptr_nonnull(strstr(w.answer.json, "\"identity\""));
        ck_assert_ptr_nonnull(strstr(w.answer.json, "read-at"));
        ck_assert_ptr_null(strstr(w.answer.json, "\"errors\""));
        answer_reset(&w.answer);
        ck_assert_int_eq(
                engine_get_facts(w.engine, &ALICE, "41:00.0", NULL, false, world_reply, &w, &err),
                0);
        ck_assert_uint_eq(w.answer.n, 0); /* known, and still not from inside the call */
        wait_answer(&w);
        ck_assert_ptr_nonnull(strstr(w.answer.json, "\"errors\""));
        ck_assert_int_eq(
                engine_get_facts(w.engine, &ALICE, "41:00.0", wrong, false, world_reply, &w, &err),
                -error_code_to_errno(ERROR_INVALID));
        ck_assert_int_eq(
                engine_get_facts(w.engine, &ALICE, "ff:00.0", NULL, false, world_reply, &w, &err),
                -error_code_to_errno(ERROR_NOT_FOUND));
}
END_TEST

START_TEST(explanation_is_an_answer) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;

        world_init(&w);
        ck_assert_int_eq(
                engine_explain(w.engine, &ALICE, "0000:05:00.0", OWNER, world_reply, &w, &err), 0);
        wait_answer(&w);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_ptr_nonnull(strstr(w.answer.json, "host-mount"));
        ck_assert_ptr_nonnull(strstr(w.answer.json, "proof"));
        ck_assert_ptr_nonnull(strstr(w.answer.json, "\"assignable\":false"));
        answer_reset(&w.answer);
        ck_assert_int_eq(
                engine_explain(w.engine, &ALICE, "0000:45:00.0", OWNER, world_reply, &w, &err), 0);
        wait_answer(&w);
        ck_assert_ptr_nonnull(strstr(w.answer.json, "\"assignable\":true"));
}
END_TEST

START_TEST(doctor_and_snapshot) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;

        world_init(&w);
        ck_assert_int_eq(engine_doctor(w.engine, &ALICE, world_reply, &w, &err), 0);
        wait_answer(&w);
        ck_assert_ptr_nonnull(strstr(w.answer.json, "\"checks\""));
        ck_assert_ptr_nonnull(strstr(w.answer.json, "interrupt-remapping"));
        answer_reset(&w.answer);
        ck_assert_int_eq(engine_snapshot(w.engine, &ROOT, true, world_reply, &w, &err), 0);
        wait_answer(&w);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_uint_eq(w.answer.n_fds, 1);
}
END_TEST

START_TEST(rescan_answers_at_its_end) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;

        world_init(&w);
        ck_assert_int_eq(engine_rescan(w.engine, &ROOT, world_reply, &w, &err), 0);
        wait_answer(&w);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_uint_eq(w.n_removed + w.n_added, 0);
}
END_TEST

/* ---- quotas, nonsense ---- */

START_TEST(quotas_are_held) {
        static const char *const free_nvmes[] = { "0000:45:00.0", "0000:65:00.0" };
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_stop(&w);
        w.options.max_assignments_per_uid = 1;
        world_start(&w);
        world_assign(&w, &ALICE, one_device(free_nvmes[0]), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_assign(&w, &ALICE, one_device(free_nvmes[1]), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_POLICY_DENIED);
        world_assign(&w, &BOB, one_device(free_nvmes[1]), OTHER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
}
END_TEST

START_TEST(nonsense_is_refused) {
        char *twice[] = { (char *) "0000:45:00.0", (char *) "45:00.0", NULL }, *none[] = { NULL };
        char *label[] = { (char *) "no-value", NULL };
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_assign(&w, &ALICE, twice, OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        world_assign(&w, &ALICE, none, OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), "", &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), "vm\033[2J", &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        o.driver = "../../evil";
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        o.driver = "nvme"; /* no VFIO driver */
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        o.driver = NULL;
        o.labels = label;
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        o.labels = NULL;
        o.token = "not a token";
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        o = (AssignOptions) ASSIGN_OPTIONS_INIT;
        o.lifetime = LIFETIME_PROCESS;
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

START_TEST(no_wait_answers_at_once) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        const Job *j;
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        o.no_wait = true;
        world_assign_begin(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) host_sim_run(w.host);
        ck_assert_uint_eq(w.answer.n, 1);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        j = inventory_job(engine_inventory(w.engine), w.answer.job);
        ck_assert_ptr_nonnull(j);
        ck_assert(!j->finished);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        world_run(&w, 30 * USEC_PER_SEC);
        j = inventory_job(engine_inventory(w.engine), w.answer.job);
        ck_assert(j->finished && j->state == JOB_DONE);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
        ck_assert_uint_eq(w.answer.n, 1);
        answer_reset(&w.answer);
        ck_assert_int_eq(engine_release(w.engine, &ALICE, id, true, world_reply, &w, &err), 0);
        (void) host_sim_run(w.host);
        ck_assert_uint_eq(w.answer.n, 1);
        world_run(&w, 30 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(cancel_undoes) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        const Assignment *a;
        HashmapIterator i = {};

        world_init(&w);
        world_assign_begin(&w, &ALICE, gpu_card(), OWNER, &o);
        world_run(&w, (usec_t) _i * 60 * USEC_PER_MSEC);
        a = hashmap_next(engine_inventory(w.engine)->assignments, &i);
        ck_assert_ptr_nonnull(a);
        if (!a->job) {
                ck_assert_int_eq(w.answer.code, ERROR_NONE);
                return; /* it was done by then */
        }
        ck_assert_int_eq(engine_cancel_job(w.engine, &BOB, a->job->id, &err),
                         -error_code_to_errno(ERROR_NOT_AUTHORIZED));
        ck_assert_int_eq(engine_cancel_job(w.engine, &ALICE, a->job->id, &err), 0);
        world_run(&w, 30 * USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 1);
        if (w.answer.code == ERROR_NONE) /* its last step was running */
                world_release(&w, &ALICE, w.answer.assignment);
        world_check_restored(&w);
}
END_TEST

/* ---- when it goes wrong below ---- */

START_TEST(full_disk_refuses_and_does_nothing) {
        struct rlimit limit = { 0, RLIM_INFINITY }, before;
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
        limit.rlim_max = before.rlim_max;
        ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        ck_assert_int_eq(w.answer.code, ERROR_FAILED);
        ck_assert_ptr_nonnull(strstr(w.answer.message, "nothing was done"));
        world_check_restored(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
}
END_TEST

START_TEST(release_outlasts_a_full_disk) {
        struct rlimit limit = { 0, RLIM_INFINITY }, before;
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        answer_reset(&w.answer);
        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
        limit.rlim_max = before.rlim_max;
        ck_assert(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        ck_assert_int_eq(engine_release(w.engine, &ALICE, id, false, world_reply, &w, &err), 0);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        ck_assert_uint_eq(w.answer.n, 0);
        ck_assert(world_driver_is(&w, GPU, "vfio-pci")); /* nothing without the journal */
        world_run(&w, 30 * USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 1);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_check_restored(&w);
}
END_TEST

/* Somebody unbinds a device that a VMM holds: reading some of its attributes blocks from then
 * on. */
START_TEST(poisoned_device_costs_itself) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_assign(&w, &ALICE, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_int_eq(host_sim_hold(w.host, NVME, 4242, "qemu"), 0);
        ck_assert_int_eq(host_sim_rebind(w.host, NVME, ""), 0); /* blocks in the model */
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(w.n_notices, 1);
        ck_assert_str_eq(w.last_notice, "RemovalRequested");

        answer_reset(&w.answer);
        ck_assert_int_eq(
                engine_explain(w.engine, &BOB, "0000:45:00.0", OTHER, world_reply, &w, &err), 0);
        wait_answer(&w);
        ck_assert_ptr_nonnull(strstr(w.answer.json, "stuck"));
        answer_reset(&w.answer);
        ck_assert_int_eq(
                engine_get_facts(w.engine, &BOB, "0000:45:00.0", NULL, true, world_reply, &w, &err),
                0);
        wait_answer(&w);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_assign(&w, &BOB, one_device("0000:65:00.0"), OTHER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_int_eq(host_sim_unhold(w.host, NVME), 0);
        world_run(&w, 10 * USEC_PER_SEC);
        ck_assert_uint_eq(w.n_drift, 1);
}
END_TEST

START_TEST(forced_with_reason) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        o.force = true;
        o.force_reason = "routes are moved next";
        world_assign(&w, &ROOT, one_device("0000:04:00.0"), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_release(&w, &ROOT, w.answer.assignment);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_test(tcase, virtual_functions_to_different_owners);
        tcase_add_test(tcase, virtual_functions_are_waited_for);
        tcase_add_loop_test(tcase, virtual_functions_go_back, 0, ELEMENTSOF(vfs_failures));
        tcase_add_test(tcase, virtual_functions_without_room);
        tcase_add_test(tcase, virtual_functions_after_lost_events);
        tcase_add_test(tcase, held_virtual_functions_stay);
        tcase_add_test(tcase, virtual_functions_of_an_assigned_function);
        tcase_add_test(tcase, vf_tokens_are_uuids);
        tcase_add_test(tcase, a_physical_function_is_not_reset_under_owners);
        tcase_add_test(tcase, virtual_functions_change_through_zero);
        tcase_add_test(tcase, virtual_functions_refused);
        tcase_add_test(tcase, one_removal_at_a_time);
        tcase_add_test(tcase, reset_only_what_nobody_needs);
        tcase_add_test(tcase, facts_by_topic);
        tcase_add_test(tcase, explanation_is_an_answer);
        tcase_add_test(tcase, doctor_and_snapshot);
        tcase_add_test(tcase, rescan_answers_at_its_end);
        tcase_add_test(tcase, quotas_are_held);
        tcase_add_test(tcase, nonsense_is_refused);
        tcase_add_test(tcase, no_wait_answers_at_once);
        tcase_add_test(tcase, full_disk_refuses_and_does_nothing);
        tcase_add_test(tcase, release_outlasts_a_full_disk);
        tcase_add_test(tcase, poisoned_device_costs_itself);
        tcase_add_test(tcase, forced_with_reason);
        tcase_add_loop_test(tcase, cancel_undoes, 0, 25);
}

UNIT_MAIN("engine-device", add_tests);
