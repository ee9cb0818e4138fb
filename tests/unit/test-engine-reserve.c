/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reservations and what happens to them within a boot: a card that was swapped while the daemon was
 * down, before and after it was taken up, and the file of a released one that cannot be removed.
 */

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine-fixture.h"
#include "engine/engine-kept.h"
#include "host/state-dir.h"

#define ME ((Caller) { .uid = getuid(), .bus_name = ":1.7" })

static char *snapshot_text(void) {
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", getenv("top_srcdir"));
        char *text = NULL;
        size_t n;

        ck_assert_int_eq(read_file_at(AT_FDCWD, path, 16U << 20, &text, &n), 0);
        return text;
}

static char *gpu_json(bool other) {
        _cleanup_free_ char *text = snapshot_text();
        _cleanup_json_ Json *j = NULL;
        const Json *all;

        ck_assert_int_eq(json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &j, NULL, NULL), 0);
        all = json_get(j, "devices");
        for (size_t i = 0; i < json_length(all); i++) {
                char *one = NULL, *id;

                if (!streq(json_string(json_get(json_at(all, i), "address")), "0000:41:00.0"))
                        continue;
                one = json_to_text(json_at(all, i), false);
                id = strstr(one, "0x26b1");
                ck_assert_ptr_nonnull(id);
                if (other)
                        id[5] = '2';
                return one;
        }
        ck_abort_msg("no GPU");
}

static void put_card(World *w, bool other) {
        _cleanup_free_ char *json = gpu_json(other);
        _cleanup_error_ Error err = ERROR_INIT;

        (void) host_sim_surprise_remove(w->host, GPU);
        world_run(w, USEC_PER_SEC);
        ck_assert_msg(host_sim_add(w->host, json, strlen(json), &err) == 0, "%s", err.message);
        world_run(w, USEC_PER_SEC);
}

static void start_again(World *w) {
        w->n_settled = 0;
        world_start(w);
        world_settle(w);
}

static void reboot(World *w) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = snapshot_text();
        Host *fresh;

        ck_assert_int_eq(host_sim_new(NULL, text, strlen(text), true, &err, &fresh), 0);
        world_stop(w);
        host_sim_take_state(fresh, w->host);
        w->host = (host_free(w->host), fresh);
        unit_remove_dir(w->dir);
        w->dir = unit_make_dir();
        w->n_settled = 0;
        world_start(w);
}

static size_t n_files(World *w) {
        HostStateFile *files;
        size_t n;

        ck_assert_int_eq(host_state_files(w->host, &files, &n), 0);
        host_state_files_free(files, n);
        return n;
}

static const Assignment *reserved(World *w, const char *id) {
        const Assignment *a = world_assignment(w, id);

        ck_assert_ptr_nonnull(a);
        ck_assert_int_eq(a->state, ASSIGNMENT_RESERVED);
        return a;
}

static void assign_gpu(World *w, const Caller *c, int pidfd, char id[ASSIGNMENT_ID_MAX]) {
        AssignOptions o = persistent();

        o.pidfd = pidfd;
        world_settle(w);
        world_assign(w, c, gpu_card(), OWNER, &o);
        ck_assert_msg(w->answer.code == ERROR_NONE, "%s", w->answer.message);
        (void) string_copy(id, ASSIGNMENT_ID_MAX, w->answer.assignment);
}

static void attach(World *w, const char *id, int pidfd) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_attach(w->engine, &ME, id, pidfd, "", 0, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        world_run(w, USEC_PER_SEC);
        ck_assert_uint_eq(w->answer.n, 1);
}

/* It owns nothing, says what it lacks, and takes its own card when that is back. */
static void check_waits_for_its_card(World *w, const char *id) {
        const Assignment *a = reserved(w, id);
        _cleanup_free_ char *text = NULL;

        ck_assert(engine_reservation_waits(a));
        ck_assert_ptr_nonnull(a->missing);
        text = strv_join(a->missing, "; ");
        ck_assert_msg(text && strstr(text, "another card"), "%s", strempty(text));
        ck_assert_ptr_null(world_device(w, GPU)->assignment);
        ck_assert(!world_driver_is(w, GPU, "vfio-pci"));
        ck_assert(world_driver_is(w, GPU_AUDIO, "snd_hda_intel"));
        world_stop(w);
        start_again(w);
        ck_assert(engine_reservation_waits(reserved(w, id)));
        put_card(w, false);
        world_run(w, 120 * USEC_PER_SEC);
        a = reserved(w, id);
        free(text);
        text = strv_join(a->missing, "; ");
        ck_assert_msg(!engine_reservation_waits(a) && !a->missing, "%s", strempty(text));
        ck_assert_ptr_eq(world_device(w, GPU)->assignment, a);
        ck_assert(world_driver_is(w, GPU, "vfio-pci"));
        ck_assert(world_driver_is(w, GPU_AUDIO, "vfio-pci"));
}

/* ---- another card ---- */

/* 0: while no daemon was there, 1: and the process ended with it, 2: under the daemon's eyes. */
START_TEST(test_swapped_and_its_process_ends) {
        pid_t pid = fork();
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        int fd;

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                for (;;)
                        (void) pause();
        fd = (int) syscall(SYS_pidfd_open, pid, 0);
        world_init(&w);
        assign_gpu(&w, &ME, fd, id);
        if (_i < 2)
                world_stop(&w);
        put_card(&w, true);
        if (_i == 1) {
                ck_assert_int_eq(kill(pid, SIGKILL), 0);
                ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        }
        if (_i < 2)
                start_again(&w);
        if (_i != 1) {
                ck_assert_int_eq(world_assignment(&w, id)->state, ASSIGNMENT_LOST);
                ck_assert_int_eq(kill(pid, SIGKILL), 0);
                ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
                engine_poll_owners(w.engine);
        }
        world_run(&w, 120 * USEC_PER_SEC);
        (void) close(fd);
        fd = (int) syscall(SYS_pidfd_open, getpid(), 0);
        attach(&w, id, fd);
        ck_assert_int_eq(w.answer.code, ERROR_GONE);
        check_waits_for_its_card(&w, id);
        attach(&w, id, fd);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        (void) close(fd);
}
END_TEST

/* At any moment of taking it up after a reboot, and after that. */
START_TEST(test_swapped_while_taken_up) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        assign_gpu(&w, &ALICE, -EBADF, id);
        reboot(&w);
        ck_assert_int_eq(engine_settle(w.engine), 0);
        world_run(&w, (usec_t) _i * 20 * USEC_PER_MSEC);
        world_stop(&w);
        put_card(&w, true);
        start_again(&w);
        world_run(&w, 120 * USEC_PER_SEC);
        check_waits_for_its_card(&w, id);
        world_release(&w, &ALICE, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_run(&w, 10 * USEC_PER_SEC);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

/* ---- a file that cannot be removed ---- */

static const int failures[] = { ENOSPC, EIO, EROFS };

static void release_unsaved(World *w, const char *id) {
        const Job *job;

        host_sim_set_state_error(w->host, failures[0]);
        world_release(w, &ALICE, id);
        ck_assert_int_eq(w->answer.code, ERROR_NONE);
        job = inventory_job(engine_inventory(w->engine), w->answer.job);
        ck_assert_ptr_nonnull(job);
        ck_assert_ptr_nonnull(job->result.details);
        ck_assert_ptr_nonnull(strstr(job->result.details, "\"unsaved\""));
        world_check_restored(w);
        ck_assert_uint_eq(n_files(w), 3);
}

START_TEST(test_released_stays_released) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        assign_gpu(&w, &ALICE, -EBADF, id);
        release_unsaved(&w, id);
        for (unsigned i = 0; i < 3; i++) { /* whatever becomes of the daemon */
                host_sim_set_state_error(w.host, failures[_i]);
                world_stop(&w);
                start_again(&w);
                world_run(&w, 5 * USEC_PER_SEC);
                world_check_restored(&w);
                ck_assert_uint_eq(n_files(&w), 3);
        }
        host_sim_set_state_error(w.host, 0);
        world_run(&w, 120 * USEC_PER_SEC);
        ck_assert_uint_eq(n_files(&w), 2); /* that they are clean was not known to these daemons */
        world_stop(&w);
        start_again(&w);
        world_check_restored(&w);
}
END_TEST

/* The journal is gone with the boot, and the file is all that there is: reserved, as the job said,
 * and prepared before anybody gets it. */
START_TEST(test_revived_by_a_reboot) {
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        const Assignment *a;

        world_init(&w);
        assign_gpu(&w, &ALICE, -EBADF, id);
        release_unsaved(&w, id);
        reboot(&w);
        a = reserved(&w, id);
        ck_assert(engine_reservation_waits(a));
        world_settle(&w);
        world_run(&w, 60 * USEC_PER_SEC);
        (void) reserved(&w, id);
        ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
        world_release(&w, &ALICE, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_check_restored(&w);
        ck_assert_uint_eq(n_files(&w), 0);
}
END_TEST

static void add(TCase *tcase) {
        tcase_add_loop_test(tcase, test_swapped_and_its_process_ends, 0, 3);
        tcase_add_loop_test(tcase, test_swapped_while_taken_up, 0, 25);
        ADD_TABLE(tcase, test_released_stays_released, failures);
        tcase_add_test(tcase, test_revived_by_a_reboot);
}

UNIT_MAIN("engine-reserve", add);
