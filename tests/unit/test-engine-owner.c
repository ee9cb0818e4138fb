/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Owners that are processes: proven to be the caller's, watched, handed over by Attach, found again
 * after a restart; and assignments that outlive theirs in reservation.
 */

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "engine-fixture.h"
#include "engine/engine-policy.h"

#define ME ((Caller) { .uid = getuid(), .bus_name = ":1.7" })
#define STRANGER ((Caller) { .uid = getuid() + 4711, .bus_name = ":1.9" })

typedef struct Vmm {
        pid_t pid;
        int fd;
} Vmm;

static Vmm vmm_start(void) {
        Vmm v = { .pid = fork() };

        ck_assert_int_ge(v.pid, 0);
        if (v.pid == 0)
                for (;;)
                        (void) pause();
        v.fd = (int) syscall(SYS_pidfd_open, v.pid, 0);
        ck_assert_int_ge(v.fd, 0);
        return v;
}

static void vmm_kill(Vmm *v) {
        if (v->pid <= 0)
                return;
        ck_assert_int_eq(kill(v->pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(v->pid, NULL, 0), v->pid);
        v->pid = 0;
}

static void vmm_done(Vmm *v) {
        vmm_kill(v);
        v->fd = safe_close(v->fd);
}
#define _cleanup_vmm_ _cleanup_(vmm_done)

static AssignOptions process_options(const Vmm *v) {
        AssignOptions o = ASSIGN_OPTIONS_INIT;

        o.lifetime = LIFETIME_PROCESS;
        o.pidfd = v->fd;
        return o;
}

static void attach(World *w, const Caller *c, const char *id, int pidfd, const char *uid) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_attach(w->engine, c, id, pidfd, uid, 0, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        world_run(w, USEC_PER_SEC);
        ck_assert_uint_eq(w->answer.n, 1);
}

static AssignmentState state_of(World *w, const char *id) {
        const Assignment *a = world_assignment(w, id);

        return a ? a->state : _ASSIGNMENT_STATE_INVALID;
}

START_TEST(process_death_releases) {
        _cleanup_vmm_ Vmm v = vmm_start();
        AssignOptions o = process_options(&v);
        _cleanup_world_ World w;

        world_init(&w);
        world_assign(&w, &ME, gpu_card(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        engine_poll_owners(w.engine);
        world_run(&w, USEC_PER_SEC);
        ck_assert_uint_eq(world_n_assignments(&w), 1);
        vmm_kill(&v);
        engine_poll_owners(w.engine);
        world_run(&w, 30 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(process_must_be_the_callers) {
        _cleanup_vmm_ Vmm v = vmm_start();
        AssignOptions o = process_options(&v);
        _cleanup_world_ World w;
        int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

        world_init(&w);
        world_assign(&w, &STRANGER, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_AUTHORIZED);
        o.pidfd = null;
        world_assign(&w, &ME, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        vmm_kill(&v);
        o.pidfd = v.fd;
        world_assign(&w, &ME, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_INVALID); /* it has ended */
        (void) close(null);
        world_check_restored(&w);
}
END_TEST

START_TEST(uid_must_be_the_callers) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        o.uid = 4242;
        world_assign(&w, &ALICE, gpu_card(), OWNER, &o);
        ck_assert_int_eq(w.answer.code, ERROR_NOT_AUTHORIZED);
        world_assign(&w, &ROOT, gpu_card(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
}
END_TEST

START_TEST(attach_hands_over) {
        _cleanup_vmm_ Vmm v = vmm_start();
        AssignOptions o = ASSIGN_OPTIONS_INIT;
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        o.attach_within = 30 * USEC_PER_SEC;
        world_assign(&w, &ME, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        attach(&w, &ME, id, v.fd, "");
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_int_eq(world_assignment(&w, id)->lifetime, LIFETIME_PROCESS);
        engine_client_gone(w.engine, ":1.7"); /* not the client's any more */
        world_run(&w, 60 * USEC_PER_SEC);      /* and nobody waits for anybody to attach */
        ck_assert_int_eq(state_of(&w, id), ASSIGNMENT_ACTIVE);
        vmm_kill(&v);
        engine_poll_owners(w.engine);
        world_run(&w, 30 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(persistent_rests_in_reservation) {
        _cleanup_vmm_ Vmm first = vmm_start(), second = vmm_start();
        AssignOptions o = persistent(), other = persistent();
        _cleanup_free_ char *uid = strjoinf("%u", (unsigned) getuid());
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        o.pidfd = first.fd;
        o.uid = getuid();
        world_assign(&w, &ME, gpu_card(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        vmm_kill(&first);
        engine_poll_owners(w.engine);
        world_run(&w, 30 * USEC_PER_SEC);
        ck_assert_int_eq(state_of(&w, id), ASSIGNMENT_RESERVED);
        ck_assert(world_driver_is(&w, GPU, "vfio-pci"));
        world_assign(&w, &BOB, gpu_card(), OTHER, &other);
        ck_assert_int_eq(w.answer.code, ERROR_OWNED);

        world_stop(&w); /* a reservation outlives the daemon */
        world_start(&w);
        ck_assert_int_eq(state_of(&w, id), ASSIGNMENT_RESERVED);
        attach(&w, &ME, id, second.fd, uid);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        ck_assert_int_eq(state_of(&w, id), ASSIGNMENT_ACTIVE);
        world_release(&w, &ME, id);
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
        world_check_restored(&w);
}
END_TEST

START_TEST(reservation_can_be_released) {
        _cleanup_vmm_ Vmm v = vmm_start();
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        o.pidfd = v.fd;
        world_assign(&w, &ME, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        vmm_kill(&v);
        engine_poll_owners(w.engine);
        world_run(&w, (usec_t) _i * 20 * USEC_PER_MSEC); /* also while it is on its way to rest */
        world_release(&w, &ME, id);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_run(&w, 30 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(restart_finds_the_process) {
        _cleanup_vmm_ Vmm v = vmm_start();
        AssignOptions o = process_options(&v);
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        world_assign(&w, &ME, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        world_stop(&w);
        world_start(&w);
        ck_assert_int_eq(state_of(&w, id), ASSIGNMENT_ACTIVE);
        ck_assert_int_ge(world_assignment(&w, id)->pidfd, 0);
        world_stop(&w);
        vmm_kill(&v); /* while nobody watched */
        world_start(&w);
        world_run(&w, 30 * USEC_PER_SEC);
        world_check_restored(&w);
}
END_TEST

START_TEST(attach_needs_an_own_active_assignment) {
        _cleanup_vmm_ Vmm v = vmm_start();
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;

        world_init(&w);
        attach(&w, &ME, "00000000000000000000000000000000", v.fd, "");
        ck_assert_int_eq(w.answer.code, ERROR_NOT_FOUND);
        world_assign(&w, &ROOT, gpu_card(), OWNER, &o);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        attach(&w, &STRANGER, id, v.fd, "");
        ck_assert_int_eq(w.answer.code, ERROR_NOT_AUTHORIZED);
        attach(&w, &ROOT, id, v.fd, "not-a-uid");
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        attach(&w, &ROOT, id, -EBADF, "");
        ck_assert_int_eq(w.answer.code, ERROR_INVALID);
        attach(&w, &ROOT, id, v.fd, "");
        ck_assert_int_eq(w.answer.code, ERROR_NONE);
}
END_TEST

/* ---- a release that waits too long ---- */

static const struct {
        const char *release;  /* of the rule */
        bool declared;        /* the process is the owner, not merely found */
        bool deaf;            /* to being asked */
        bool ends;
} forces[] = {
        { "{ \"grace\": \"3s\", \"then\": \"end\" }", true, false, true },
        { "{ \"grace\": \"3s\", \"then\": \"end\" }", true, true, true },
        { "{ \"grace\": \"3s\", \"then\": \"end\" }", false, false, false },
        { "{ \"grace\": \"3s\", \"then\": \"wait\" }", true, false, false },
};

START_TEST(only_the_declared_process_is_ended) {
        _cleanup_free_
        char *text = strjoinf("{ \"version\": 1, \"rules\": [ { \"name\": \"r\", \"match\": {}, "
                              "\"release\": %s } ] }",
                              forces[_i].release);
        PolicyText file = { .file = "test.json", .text = text, .size = strlen(text) };
        _cleanup_vmm_ Vmm v = { .fd = -EBADF };
        AssignOptions o = persistent();
        _cleanup_error_ Error err = ERROR_INIT;
        char id[ASSIGNMENT_ID_MAX];
        _cleanup_world_ World w;
        Job *j;

        /* The child inherits it, and must not inherit what the test's runner does. */
        ck_assert(signal(SIGTERM, forces[_i].deaf ? SIG_IGN : SIG_DFL) != SIG_ERR);
        v = vmm_start();
        world_init(&w);
        ck_assert_msg(engine_set_policy(w.engine, &file, 1, &err) >= 0, "%s: %s", err.message,
                      strempty(err.details));
        world_settle(&w);
        if (forces[_i].declared)
                o.pidfd = v.fd;
        world_assign(&w, &ROOT, gpu_card(), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        ck_assert_int_eq(host_sim_hold(w.host, GPU, (uint32_t) v.pid, "vmm"), 0);
        answer_reset(&w.answer);
        ck_assert_int_ge(engine_release(w.engine, &ROOT, id, false, world_reply, &w, &err), 0);
        world_run(&w, 2 * USEC_PER_SEC);
        ck_assert_int_eq(waitpid(v.pid, NULL, WNOHANG), 0); /* within its grace */
        j = world_assignment(&w, id)->job;
        ck_assert_int_eq(j->state, JOB_WAITING);
        ck_assert_ptr_nonnull(strstr(j->result.message, "vmm")); /* who holds on is named */
        ck_assert_ptr_nonnull(strstr(strempty(j->result.details), "\"pid\""));
        world_run(&w, 60 * USEC_PER_SEC);
        if (forces[_i].ends) {
                ck_assert_int_eq(waitpid(v.pid, NULL, 0), v.pid);
                v.pid = 0;
        } else
                ck_assert_int_eq(waitpid(v.pid, NULL, WNOHANG), 0);
        ck_assert_uint_eq(w.answer.n, 0); /* it waits for the proof all the same */
        ck_assert_int_eq(host_sim_unhold(w.host, GPU), 0);
        world_run(&w, 60 * USEC_PER_SEC);
        ck_assert_uint_eq(w.answer.n, 1);
        world_check_restored(&w);
}
END_TEST

static void add_tests(TCase *tcase) {
        ADD_TABLE(tcase, only_the_declared_process_is_ended, forces);
        tcase_add_test(tcase, process_death_releases);
        tcase_add_test(tcase, process_must_be_the_callers);
        tcase_add_test(tcase, uid_must_be_the_callers);
        tcase_add_test(tcase, attach_hands_over);
        tcase_add_test(tcase, persistent_rests_in_reservation);
        tcase_add_loop_test(tcase, reservation_can_be_released, 0, 20);
        tcase_add_test(tcase, restart_finds_the_process);
        tcase_add_test(tcase, attach_needs_an_own_active_assignment);
}

UNIT_MAIN("engine-owner", add_tests);
