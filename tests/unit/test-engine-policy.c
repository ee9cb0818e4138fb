/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The engine under rules: files that turn bad between starts, verdicts that follow a reload, grants
 * by uid and group, limits between requests that wait, devices held by rule through failures, hangs
 * and crashes.
 */

#include <fcntl.h>
#include <sys/stat.h>

#include "engine-fixture.h"

#define ACCELERATOR ((PciAddress) { .bus = 0xd9 })
#define ALLOW_ALL "{\"version\":1}"
#define DENY_ALL "{\"version\":1,\"defaults\":{\"assign\":\"deny\"}}"
#define HOLD_NVME                                                                              \
        "{\"version\":1,\"rules\":[{\"name\":\"hold\",\"match\":{\"address\":\"0000:45:00.0\"}," \
        "\"present\":\"hold\"}]}"

/* The policy's only file; the world's directory is the root. */
static void put_policy(World *w, const char *text) {
        _cleanup_free_ char *folder = strjoinf("%s/etc/pciassignd/policy.d", w->dir);
        _cleanup_free_ char *path = strjoinf("%s/10.json", folder);

        ck_assert_int_eq(mkdir_p_at(AT_FDCWD, folder, 0755), 0);
        ck_assert_int_eq(write_file_atomic_at(AT_FDCWD, path, text, strlen(text), 0644, false), 0);
}

static void restart(World *w) {
        world_stop(w);
        w->n_settled = 0;
        world_start(w);
}

/* The engine starts again, by these rules. */
static void world_with(World *w, const char *text) {
        world_init(w);
        put_policy(w, text);
        w->options.config_root = w->dir;
        restart(w);
}

static int reload(World *w, Error *err) {
        return engine_reload_policy(w->engine, err);
}

static bool is_blocked(World *w, PciAddress a, const char *code) {
        return strv_contains(world_device(w, a)->blockers, code);
}

START_TEST(bad_files_at_start) {
        _cleanup_world_ World w = {};
        _cleanup_error_ Error err = ERROR_INIT;
        AssignOptions o = persistent();
        char kept[ASSIGNMENT_ID_MAX];

        world_with(&w, ALLOW_ALL);
        world_settle(&w);
        world_assign(&w, &ROOT, one_device("0000:45:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        (void) string_copy(kept, sizeof(kept), w.answer.assignment);
        put_policy(&w, "{\"version\":1,\n\"rules\":7}");
        restart(&w);
        world_settle(&w);
        ck_assert_int_eq(world_assignment(&w, kept)->state, ASSIGNMENT_ACTIVE);
        ck_assert_ptr_nonnull(strstr(world_assignment(&w, kept)->policy, "\"rule\""));
        ck_assert(is_blocked(&w, ACCELERATOR, "policy-unreadable"));
        world_assign(&w, &ROOT, one_device("0000:d9:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_POLICY_DENIED);
        ck_assert_ptr_nonnull(strstr(w.answer.message, "10.json:2:"));
        ck_assert_int_eq(reload(&w, &err), -error_code_to_errno(ERROR_INVALID));
        ck_assert_ptr_nonnull(strstr(err.details, "/rules"));
        world_release(&w, &ROOT, kept);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert(world_driver_is(&w, NVME, "nvme"));
        put_policy(&w, ALLOW_ALL);
        ck_assert_int_eq(reload(&w, NULL), 0);
        ck_assert_uint_eq(engine_policy_generation(w.engine), 2);
        world_run(&w, USEC_PER_SEC);
        ck_assert(!is_blocked(&w, ACCELERATOR, "policy-unreadable"));
        world_assign(&w, &ROOT, one_device("0000:d9:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
}
END_TEST

/* There are more groups than one slice takes. */
START_TEST(verdicts_follow_a_reload) {
        _cleanup_world_ World w = {};
        const Inventory *i;
        unsigned before;
        size_t n = 0;

        world_with(&w, ALLOW_ALL);
        world_settle(&w);
        put_policy(&w, DENY_ALL);
        before = w.n_changed;
        ck_assert_int_eq(reload(&w, NULL), 0);
        ck_assert_uint_eq(engine_policy_generation(w.engine), 2);
        ck_assert_uint_eq(w.n_changed, before); /* nothing within the call */
        world_run(&w, USEC_PER_SEC);
        i = engine_inventory(w.engine);
        for (size_t k = 0; k < i->n_devices; k++)
                n += strv_contains(i->sorted[k]->blockers, "policy-denied");
        ck_assert_uint_eq(n, i->n_devices);
        ck_assert_uint_ge(w.n_changed, before + n);
        before = w.n_changed;
        ck_assert_int_eq(reload(&w, NULL), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(engine_policy_generation(w.engine), 2);
        ck_assert_uint_eq(w.n_changed, before);
}
END_TEST

/* A device that leaves while verdicts are on their way, and a second reload before the first one's
 * are through. */
START_TEST(reloads_in_a_row) {
        _cleanup_world_ World w = {};

        world_with(&w, ALLOW_ALL);
        world_settle(&w);
        put_policy(&w, DENY_ALL);
        ck_assert_int_eq(reload(&w, NULL), 0);
        ck_assert_int_eq(host_sim_remove(w.host, NVME), 0);
        put_policy(&w, ALLOW_ALL);
        ck_assert_int_eq(reload(&w, NULL), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_ptr_null(world_device(&w, NVME));
        ck_assert(!is_blocked(&w, ACCELERATOR, "policy-denied"));
        ck_assert_uint_eq(engine_policy_generation(w.engine), 3);
}
END_TEST

static const gid_t two_groups[] = { 100, 200 };

static const struct {
        uid_t uid;
        size_t n_gids;
        bool manager;
        const char *owner;
        bool granted;
} grants[] = {
        { 1001, 0, false, "user-1", true },  { 1001, 0, false, "group-1", false },
        { 1002, 0, false, "user-1", false }, { 1002, 1, false, "group-1", false },
        { 1002, 2, false, "group-1", true }, { 1002, 2, false, "user-1", false },
        { 1003, 0, true, "user-1", true },   { 0, 0, false, "group-1", true },
        { 0, 0, false, "other", false },     { 1003, 0, true, "nobody", true },
        { 1001, 2, false, "nobody", false },
};

START_TEST(owners_by_uid_and_group) {
        _cleanup_world_ World w = {};
        AssignOptions o = persistent();
        Caller c = {
                .uid = grants[_i].uid,
                .bus_name = ":1.7",
                .gids = two_groups,
                .n_gids = grants[_i].n_gids,
                .manager = grants[_i].manager,
        };

        world_with(&w, "{\"version\":1,\"defaults\":{\"owners\":["
                       "{\"owner\":\"user-*\",\"users\":[1001]},"
                       "{\"owner\":\"group-*\",\"groups\":[200,300]},\"nobody\"]}}");
        world_settle(&w);
        world_assign(&w, &c, one_device("0000:45:00.0"), grants[_i].owner, &o);
        ck_assert_int_eq(w.answer.code, grants[_i].granted ? ERROR_NONE : ERROR_POLICY_DENIED);
        if (!grants[_i].granted) /* refused before anything was claimed */
                ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

/* Both wait for their facts: nothing of either rule was known when they were claimed. */
START_TEST(limit_between_waiting_requests) {
        _cleanup_world_ World w = {};
        AssignOptions o = persistent();
        unsigned n = 0;

        world_with(&w, "{\"version\":1,\"rules\":[{\"name\":\"one\",\"match\":{\"needs\":\"flr\"},"
                       "\"limit\":1}]}");
        world_assign_begin(&w, &ROOT, one_device("0000:45:00.0"), OWNER, &o);
        world_assign_begin(&w, &ROOT, one_device("0000:65:00.0"), OWNER, &o);
        for (unsigned i = 0; i < 100 && w.answer.n < 2; i++)
                world_run(&w, 100 * USEC_PER_MSEC);
        ck_assert_uint_eq(w.answer.n, 2);
        n += world_driver_is(&w, NVME, "vfio-pci");
        n += world_driver_is(&w, (PciAddress) { .bus = 0x65 }, "vfio-pci");
        ck_assert_uint_eq(n, 1);
        ck_assert_uint_eq(world_n_assignments(&w), 1);
        world_assign(&w, &ROOT, one_device("0000:a5:00.0"), OTHER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE); /* another owner's own limit */
}
END_TEST

/* ---- devices that nobody asked for ---- */

static const Job *hold_job(World *w) {
        const Job *j;

        HASHMAP_FOREACH(j, engine_inventory(w->engine)->jobs)
                if (j->kind == PLAN_HOLD)
                        return j;
        return NULL;
}

static void inject(World *w, StepType step, SimFaultKind kind) {
        SimFault f = { .device = NVME, .step = step, .kind = kind, .error = EIO, .times = 1 };

        ck_assert_int_eq(host_sim_inject(w->host, &f), 0);
}

START_TEST(held_at_start) {
        _cleanup_world_ World w = {};

        world_with(&w, HOLD_NVME);
        ck_assert_int_eq(engine_settle(w.engine), 0);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert(world_driver_is(&w, NVME, "vfio-pci"));
        ck_assert_int_eq(device_get_state(world_device(&w, NVME)), DEVICE_HELD);
        ck_assert_str_eq(world_device(&w, NVME)->held_from, "nvme");
        ck_assert_int_eq(hold_job(&w)->state, JOB_DONE);
        ck_assert(world_driver_is(&w, ACCELERATOR, "habanalabs"));
        restart(&w); /* as it shall be: nothing is done again */
        ck_assert_int_eq(engine_settle(w.engine), 0);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert_ptr_null(hold_job(&w));
        ck_assert_int_eq(device_get_state(world_device(&w, NVME)), DEVICE_HELD);
}
END_TEST

START_TEST(holding_fails) {
        _cleanup_world_ World w = {};

        world_with(&w, HOLD_NVME);
        inject(&w, STEP_PROBE, SIM_FAULT_ERROR);
        ck_assert_int_eq(engine_settle(w.engine), 0);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert_int_eq(hold_job(&w)->state, JOB_FAILED);
        ck_assert(world_driver_is(&w, NVME, "nvme"));
        ck_assert_int_eq(device_get_state(world_device(&w, NVME)), DEVICE_HOST);
        ck_assert_ptr_null(world_device(&w, NVME)->job);
        ck_assert_ptr_null(world_device(&w, NVME)->held_from);
}
END_TEST

START_TEST(holding_hangs) {
        _cleanup_world_ World w = {};
        AssignOptions o = persistent();

        world_with(&w, HOLD_NVME);
        inject(&w, STEP_UNBIND, SIM_FAULT_HANG);
        ck_assert_int_eq(engine_settle(w.engine), 0);
        world_run(&w, 300 * USEC_PER_SEC);
        ck_assert_int_eq(hold_job(&w)->state, JOB_STUCK);
        ck_assert_int_eq(device_get_state(world_device(&w, NVME)), DEVICE_STUCK);
        world_assign(&w, &ROOT, one_device("0000:d9:00.0"), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE); /* it costs that device alone */
        host_sim_clear_faults(w.host);
        world_run(&w, 300 * USEC_PER_SEC);
        ck_assert_int_eq(device_get_state(world_device(&w, NVME)), DEVICE_HELD);
        ck_assert_str_eq(world_device(&w, NVME)->held_from, "nvme");
        ck_assert_int_eq(hold_job(&w)->state, JOB_DONE);
}
END_TEST

/* A crash in the middle: done to its end by the next start. */
START_TEST(holding_survives_a_crash) {
        _cleanup_world_ World w = {};

        world_with(&w, HOLD_NVME);
        ck_assert_int_eq(engine_settle(w.engine), 0);
        for (unsigned i = 0; i < 10000 && !world_driver_is(&w, NVME, ""); i++)
                world_run(&w, USEC_PER_MSEC);
        ck_assert(world_driver_is(&w, NVME, ""));
        restart(&w);
        ck_assert_int_eq(engine_settle(w.engine), 0);
        world_run(&w, 300 * USEC_PER_SEC);
        ck_assert_int_eq(device_get_state(world_device(&w, NVME)), DEVICE_HELD);
        ck_assert_str_eq(world_device(&w, NVME)->held_from, "nvme");
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_test(tcase, bad_files_at_start);
        tcase_add_test(tcase, verdicts_follow_a_reload);
        tcase_add_test(tcase, reloads_in_a_row);
        ADD_TABLE(tcase, owners_by_uid_and_group, grants);
        tcase_add_test(tcase, limit_between_waiting_requests);
        tcase_add_test(tcase, held_at_start);
        tcase_add_test(tcase, holding_fails);
        tcase_add_test(tcase, holding_hangs);
        tcase_add_test(tcase, holding_survives_a_crash);
}

UNIT_MAIN("engine-policy", add_tests);
