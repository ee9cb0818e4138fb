/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What outlives a reboot, over the real engine: dirt, quarantine and reservations before and after,
 * hardware that moved, went or was exchanged, a state directory that is full, damaged or
 * unreadable. A reboot is a fresh host with the files of the old one and an empty runtime
 * directory.
 */

#include "engine-fixture.h"
#include "engine/engine-kept.h"
#include "host/state-dir.h"

#define ACCELERATOR ((PciAddress) { .bus = 0xd9 })

static char *snapshot_text(void) {
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", getenv("top_srcdir"));
        char *text = NULL;
        size_t n;

        ck_assert_int_eq(read_file_at(AT_FDCWD, path, 16U << 20, &text, &n), 0);
        return text;
}

/* Every `from` becomes `to`. */
static char *replaced(const char *text, const char *from, const char *to) {
        _cleanup_strbuf_ StrBuf b = {};
        const char *p;

        while ((p = strstr(text, from))) {
                strbuf_add_n(&b, text, (size_t) (p - text));
                strbuf_add(&b, to);
                text = p + strlen(from);
        }
        strbuf_add(&b, text);
        return strbuf_steal(&b);
}

static Host *host_of(const char *text) {
        _cleanup_error_ Error err = ERROR_INIT;
        Host *h;

        ck_assert_msg(host_sim_new(NULL, text, strlen(text), true, &err, &h) == 0, "%s",
                      err.message);
        return h;
}

/* Another kernel, and /run is empty. */
static void reboot_on(World *w, const char *text) {
        Host *fresh = host_of(text);

        world_stop(w);
        host_sim_take_state(fresh, w->host);
        w->host = (host_free(w->host), fresh);
        unit_remove_dir(w->dir);
        w->dir = unit_make_dir();
        w->n_settled = w->n_notices = w->n_drift = 0;
        world_start(w);
}

static void reboot(World *w) {
        _cleanup_free_ char *text = snapshot_text();

        reboot_on(w, text);
}

static void assign_gpu(World *w, const Caller *c, const char *owner, const AssignOptions *o) {
        world_assign(w, c, gpu_card(), owner, o);
        ck_assert_msg(w->answer.code == ERROR_NONE, "%s", w->answer.message);
}

static size_t n_files(World *w) {
        HostStateFile *files;
        size_t n;

        ck_assert_int_eq(host_state_files(w->host, &files, &n), 0);
        host_state_files_free(files, n);
        return n;
}

static AssignOptions connected(void) {
        AssignOptions o = ASSIGN_OPTIONS_INIT;

        return o;
}

/* ---- dirt ---- */

START_TEST(test_assigned_is_dirty_until_clean) {
        _cleanup_world_ World w;
        AssignOptions o = connected();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_settle(&w);
        assign_gpu(&w, &ALICE, OWNER, &o);
        ck_assert_str_eq(world_device(&w, GPU)->dirty_owner, OWNER);
        ck_assert_uint_eq(world_device(&w, GPU)->dirty_uid, ALICE.uid);
        ck_assert_str_eq(world_device(&w, GPU_AUDIO)->dirty_owner, OWNER);
        ck_assert_uint_eq(n_files(&w), 2);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        world_release(&w, &ALICE, id);
        world_run(&w, 10 * USEC_PER_SEC);
        ck_assert_ptr_null(world_device(&w, GPU)->dirty_owner);
        ck_assert_uint_eq(n_files(&w), 0);
        world_check_restored(&w);
}
END_TEST

/* A connection's assignment does not survive; that it was never cleaned does. */
START_TEST(test_dirt_over_a_reboot) {
        _cleanup_world_ World w;
        AssignOptions o = connected();

        world_init(&w);
        world_settle(&w);
        assign_gpu(&w, &ALICE, OWNER, &o);
        reboot(&w);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
        world_settle(&w);
        ck_assert_str_eq(world_device(&w, GPU)->dirty_owner, OWNER);
        if (_i == 0) { /* its last owner takes it as it is */
                assign_gpu(&w, &ALICE, OWNER, &o);
                ck_assert_uint_eq(world_device(&w, GPU)->dirty_uid, ALICE.uid);
                return;
        }
        /* The owner is the pair: for another one it is cleaned first, or refused. */
        world_assign(&w, &BOB, gpu_card(), OWNER, &o);
        if (w.answer.code == ERROR_NONE)
                ck_assert_uint_eq(world_device(&w, GPU)->dirty_uid, BOB.uid);
        else
                ck_assert_uint_eq(world_device(&w, GPU)->dirty_uid, ALICE.uid);
}
END_TEST

START_TEST(test_rolled_back_is_not_dirty) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_settle(&w);
        ck_assert_int_eq(host_sim_inject(w.host, &(SimFault){ .device = GPU,
                                                              .step = STEP_TRIAL_ATTACH,
                                                              .times = 1,
                                                              .kind = SIM_FAULT_ERROR,
                                                              .error = EPERM }),
                         0);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_ne(w.answer.code, ERROR_NONE);
        ck_assert_ptr_null(world_device(&w, GPU)->dirty_owner);
        ck_assert_uint_eq(n_files(&w), 0);
        world_check_restored(&w);
}
END_TEST

/* ---- a directory that fails ---- */

static const int failures[] = { ENOSPC, EROFS, EDQUOT, EIO, EACCES };

START_TEST(test_full_directory) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];

        world_init(&w);
        world_settle(&w);
        assign_gpu(&w, &ALICE, OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        host_sim_set_state_error(w.host, failures[_i]);
        /* New work is refused, with where and why; nothing was touched. */
        world_assign(&w, &BOB, one_device("0000:d9:00.0"), OTHER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_FAILED);
        ck_assert_ptr_nonnull(strstr(w.answer.message, "state directory"));
        ck_assert_ptr_nonnull(strstr(w.answer.message, strerrorname_np(failures[_i])));
        ck_assert_ptr_nonnull(engine_kept_trouble(w.engine));
        ck_assert_ptr_null(world_device(&w, ACCELERATOR)->assignment);
        ck_assert_ptr_null(world_device(&w, ACCELERATOR)->dirty_owner);
        /* A release goes on, and is written when that is possible again. */
        log_set_level(LOG_ERR);
        world_release(&w, &ALICE, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_check_restored(&w);
        ck_assert_uint_eq(n_files(&w), 3);
        host_sim_set_state_error(w.host, 0);
        world_run(&w, 120 * USEC_PER_SEC);
        ck_assert_uint_eq(n_files(&w), 0);
        ck_assert_ptr_null(engine_kept_trouble(w.engine));
        assign_gpu(&w, &BOB, OTHER, &o);
}
END_TEST

/* ---- reservations ---- */

static const Assignment *reserved(World *w, const char *id) {
        const Assignment *a = world_assignment(w, id);

        ck_assert_ptr_nonnull(a);
        ck_assert_int_eq(a->state, ASSIGNMENT_RESERVED);
        ck_assert_str_eq(a->owner, OWNER);
        ck_assert_uint_eq(a->creator_uid, ALICE.uid);
        return a;
}

static void reserve_gpu(World *w, char id[ASSIGNMENT_ID_MAX]) {
        AssignOptions o = persistent();
        char *labels[] = { (char *) "cluster=a", NULL };

        o.labels = labels;
        o.request_id = "r-1";
        assign_gpu(w, &ALICE, OWNER, &o);
        (void) string_copy(id, ASSIGNMENT_ID_MAX, w->answer.assignment);
}

START_TEST(test_reservation_over_a_reboot) {
        char *labels[] = { (char *) "cluster=a", NULL };
        AssignOptions o = persistent(), other = connected();
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        const Assignment *a;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        for (unsigned boots = 0; boots < 3; boots++) {
                reboot(&w);
                a = reserved(&w, id);
                ck_assert_ptr_eq(world_device(&w, GPU)->assignment,
                                 a); /* before anything was read */
                world_assign(&w, &BOB, gpu_card(), OTHER, &other);
                ck_assert_int_eq(w.answer.code, ERROR_OWNED);
                world_settle(&w);
                world_run(&w, 5 * USEC_PER_SEC);
                a = reserved(&w, id);
                ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
                ck_assert(world_driver_is(&w, GPU_AUDIO, "vfio-pci"));
                ck_assert_ptr_null(a->missing);
                ck_assert_str_eq(a->labels[0], "cluster=a");
                ck_assert(!engine_reservation_waits(a));
        }
        /* The same request is the same assignment. */
        o.labels = labels;
        o.request_id = "r-1";
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_str_eq(w.answer.assignment, id);
        /* A daemon that is killed after that knows it from its journal. */
        world_stop(&w);
        world_start(&w);
        (void) reserved(&w, id);
        world_release(&w, &ALICE, id);
        world_run(&w, 10 * USEC_PER_SEC);
        world_check_restored(&w);
        reboot(&w);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
        ck_assert_uint_eq(n_files(&w), 0);
}
END_TEST

static void open_it(World *w, const char *id) {
        OpenOptions o = { .container_fd = -EBADF, .iommufd = -EBADF };
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_open(w->engine, &ALICE, id, NULL, &o, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        world_run(w, 5 * USEC_PER_SEC);
        ck_assert_uint_eq(w->answer.n, 1);
}

START_TEST(test_opening_wakes) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        reboot(&w);
        open_it(&w, id);
        ck_assert_int_eq(w.answer.code, ERROR_GONE); /* not prepared yet */
        world_settle(&w);
        world_run(&w, 5 * USEC_PER_SEC);
        open_it(&w, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_uint_gt(w.answer.n_fds, 0);
        ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_ACTIVE);
}
END_TEST

/* Bus numbers changed: what counts is the port. */
START_TEST(test_renumbered) {
        _cleanup_free_
        char *text = snapshot_text(), *moved = replaced(text, "0000:41:00.", "0000:47:00.");
        const PciAddress there = { .bus = 0x47 };
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        reboot_on(&w, moved);
        world_settle(&w);
        world_run(&w, 5 * USEC_PER_SEC);
        ck_assert_ptr_eq(world_device(&w, there)->assignment, reserved(&w, id));
        ck_assert(world_driver_is(&w, there, "vfio-pci"));
        ck_assert_str_eq(world_device(&w, there)->dirty_owner, OWNER);
}
END_TEST

/* Another card in the slot is nobody's, and told; the reservation stays. */
START_TEST(test_another_card) {
        _cleanup_free_ char *text = snapshot_text(), *other = replaced(text, "0x26b1", "0x26b2");
        AssignOptions o = connected();
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        const Assignment *a;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        reboot_on(&w, other);
        world_settle(&w);
        world_run(&w, 60 * USEC_PER_SEC);
        a = reserved(&w, id);
        ck_assert(engine_reservation_waits(a));
        ck_assert_ptr_nonnull(a->missing);
        ck_assert_ptr_nonnull(strstr(a->missing[0], "another card"));
        ck_assert_uint_gt(w.n_drift, 0);
        ck_assert_uint_gt(w.n_notices, 0);
        ck_assert_str_eq(w.last_notice, "Lost");
        ck_assert_ptr_null(world_device(&w, GPU)->assignment);
        ck_assert(world_driver_is(&w, GPU, "nvidia") || world_driver_is(&w, GPU, ""));
        ck_assert_ptr_null(world_device(&w, GPU)->dirty_owner);
        world_assign(&w, &BOB, gpu_card(), OTHER, &o);
        /* Its audio function may still be the old one's in name; the card is not refused as
         * owned. */
        ck_assert_int_ne(w.answer.code, ERROR_OWNED);
        reboot(&w);
        world_settle(&w);
        world_run(&w, 5 * USEC_PER_SEC);
        ck_assert(!engine_reservation_waits(reserved(&w, id)));
}
END_TEST

static char *without_gpu_json(char **ret_gpu, char **ret_audio);

/* Missing hardware is shown and waited for, and taken when it is plugged in again. */
START_TEST(test_missing_and_back) {
        _cleanup_free_ char *gpu = NULL, *audio = NULL, *text = without_gpu_json(&gpu, &audio);
        _cleanup_error_ Error err = ERROR_INIT;
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        const Assignment *a;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        reboot_on(&w, text);
        world_settle(&w);
        a = reserved(&w, id);
        ck_assert_ptr_nonnull(a->missing);
        ck_assert_ptr_nonnull(strstr(a->missing[0], "not there"));
        ck_assert_uint_gt(w.n_notices, 0);
        ck_assert_int_eq(host_sim_add(w.host, gpu, strlen(gpu), &err), 0);
        ck_assert_int_eq(host_sim_add(w.host, audio, strlen(audio), &err), 0);
        world_run(&w, 60 * USEC_PER_SEC);
        a = reserved(&w, id);
        ck_assert_ptr_null(a->missing);
        ck_assert(!engine_reservation_waits(a));
        ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
}
END_TEST

/* A reservation can be given up without its hardware. */
START_TEST(test_released_without_hardware) {
        _cleanup_free_ char *gpu = NULL, *audio = NULL, *text = without_gpu_json(&gpu, &audio);
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        reboot_on(&w, text);
        world_settle(&w);
        world_release(&w, &ALICE, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
        ck_assert_uint_eq(n_files(&w), 2); /* the cards are dirty wherever they are */
}
END_TEST

/* What prevents it is told, and it is tried again. */
START_TEST(test_not_prepared) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        const Assignment *a;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        reboot(&w);
        ck_assert_int_eq(host_sim_inject(w.host, &(SimFault){ .device = GPU,
                                                              .step = STEP_PROBE,
                                                              .times = 1,
                                                              .kind = SIM_FAULT_ERROR,
                                                              .error = EIO }),
                         0);
        world_settle(&w);
        world_run(&w, 5 * USEC_PER_SEC);
        a = reserved(&w, id);
        ck_assert(engine_reservation_waits(a));
        ck_assert_ptr_nonnull(a->missing);
        world_run(&w, 60 * USEC_PER_SEC);
        a = reserved(&w, id);
        ck_assert(!engine_reservation_waits(a));
        ck_assert_ptr_null(a->missing);
}
END_TEST

/* Killed at any moment of taking up, the next daemon of the same boot has it reserved in the
 * end. */
START_TEST(test_crash_while_preparing) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        reserve_gpu(&w, id);
        reboot(&w);
        ck_assert_int_eq(engine_settle(w.engine), 0);
        world_run(&w, (usec_t) _i * 20 * USEC_PER_MSEC);
        world_stop(&w);
        w.n_settled = 0;
        world_start(&w);
        (void) reserved(&w, id);
        world_settle(&w);
        world_run(&w, 120 * USEC_PER_SEC);
        ck_assert(!engine_reservation_waits(reserved(&w, id)));
        ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
        world_release(&w, &ALICE, id);
        world_run(&w, 10 * USEC_PER_SEC);
        ck_assert(world_driver_is(&w, GPU, "nvidia"));
        ck_assert_uint_eq(n_files(&w), 0);
}
END_TEST

/* A journal of another boot says nothing about this one's kernel. */
START_TEST(test_journal_of_another_boot) {
        _cleanup_free_ char *text = snapshot_text();
        AssignOptions o = connected();
        Host *fresh = host_of(text);
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        assign_gpu(&w, &ALICE, OWNER, &o);
        world_stop(&w);
        host_sim_take_state(fresh, w.host);
        w.host = (host_free(w.host), fresh);
        world_start(&w);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
        ck_assert(world_driver_is(&w, GPU, "nvidia"));
        ck_assert_str_eq(world_device(&w, GPU)->dirty_owner, OWNER);
}
END_TEST

/* ---- quarantine, damage ---- */

START_TEST(test_quarantine_over_a_reboot) {
        _cleanup_world_ World w;

        world_init(&w);
        world_settle(&w);
        ck_assert_int_eq(
                engine_kept_set_quarantine(w.engine, (Device *) world_device(&w, GPU), "made bad"),
                0);
        world_run(&w, USEC_PER_SEC);
        reboot(&w);
        ck_assert_str_eq(world_device(&w, GPU)->quarantine, "made bad");
        world_settle(&w);
        ck_assert_int_eq(device_get_state(world_device(&w, GPU)), DEVICE_QUARANTINED);
        ck_assert_int_eq(
                engine_kept_set_quarantine(w.engine, (Device *) world_device(&w, GPU), NULL), 0);
        world_run(&w, USEC_PER_SEC);
        ck_assert_ptr_null(world_device(&w, GPU)->quarantine);
        ck_assert_uint_eq(n_files(&w), 0);
}
END_TEST

/* Nothing is guessed of a damaged file: its device is nobody's until somebody looked. */
START_TEST(test_damaged_file) {
        AssignOptions o = connected();
        _cleanup_world_ World w;
        HostStateFile *files;
        size_t n;

        world_init(&w);
        world_settle(&w);
        assign_gpu(&w, &ALICE, OWNER, &o);
        ck_assert_int_eq(host_state_files(w.host, &files, &n), 0);
        for (size_t i = 0; i < n; i++)
                ck_assert_int_eq(host_sim_put_state(w.host, files[i].name,
                                                    _i ? "" : "{\"crc32c\":\"00000000\",}"),
                                 0);
        host_state_files_free(files, n);
        log_set_level(LOG_ERR);
        reboot(&w);
        world_settle(&w);
        ck_assert_int_eq(world_device(&w, GPU)->quarantine == NULL, _i);
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code == ERROR_QUARANTINED, !_i);
}
END_TEST

/* ---- hardware as JSON ---- */

static char *without_gpu_json(char **ret_gpu, char **ret_audio) {
        _cleanup_free_ char *text = snapshot_text();
        _cleanup_json_ Json *j = NULL;
        Json *devices = json_new_array();
        const Json *all;

        ck_assert_int_eq(json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &j, NULL, NULL), 0);
        all = json_get(j, "devices");
        for (size_t i = 0; i < json_length(all); i++) {
                Json *one = json_at(all, i);
                const char *address = json_string(json_get(one, "address"));

                if (streq(address, "0000:41:00.0"))
                        *ret_gpu = json_to_text(one, false);
                else if (streq(address, "0000:41:00.1"))
                        *ret_audio = json_to_text(one, false);
                else
                        ck_assert_int_eq(json_append(devices, json_ref(one)), 0);
        }
        ck_assert_int_eq(json_set(j, "devices", devices), 0);
        return json_to_text(j, false);
}

static void add(TCase *tcase) {
        tcase_add_test(tcase, test_assigned_is_dirty_until_clean);
        tcase_add_loop_test(tcase, test_dirt_over_a_reboot, 0, 2);
        tcase_add_test(tcase, test_rolled_back_is_not_dirty);
        ADD_TABLE(tcase, test_full_directory, failures);
        tcase_add_test(tcase, test_reservation_over_a_reboot);
        tcase_add_test(tcase, test_opening_wakes);
        tcase_add_test(tcase, test_renumbered);
        tcase_add_test(tcase, test_another_card);
        tcase_add_test(tcase, test_missing_and_back);
        tcase_add_test(tcase, test_released_without_hardware);
        tcase_add_test(tcase, test_not_prepared);
        tcase_add_loop_test(tcase, test_crash_while_preparing, 0, 25);
        tcase_add_test(tcase, test_journal_of_another_boot);
        tcase_add_test(tcase, test_quarantine_over_a_reboot);
        tcase_add_loop_test(tcase, test_damaged_file, 0, 2);
}

UNIT_MAIN("engine-kept", add);
