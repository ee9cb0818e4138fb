/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Seeded random sequences of calls, faults, holders and crashes over the real engine and journal.
 * After each step no group has two owners and what was acknowledged is there; at the end everything
 * can be given back, and then the host is as it was before. ENGINE_SEED=N runs one sequence; its
 * number is the loop index of a failure.
 */

#include "engine-fixture.h"

#define SEQUENCES 150
#define STEPS 60

static const char *const names[] = {
        "0000:41:00.0", "0000:41:00.1", "0000:42:00.0", "0000:42:00.1", "0000:45:00.0",
        "0000:65:00.0", "0000:61:00.0", "0000:03:00.0", "0000:05:00.0",
};

typedef struct Random {
        World w;
        uint64_t state;
        char acknowledged[64][ASSIGNMENT_ID_MAX]; /* active as far as their owners know */
        size_t n_acknowledged;
        bool foreign; /* other hands rebind and remove too: then only consistency can be asked
                       * for */
        char trace[16384];
} Random;

static uint64_t next_random(Random *r) {
        r->state ^= r->state << 13;
        r->state ^= r->state >> 7;
        r->state ^= r->state << 17;
        return r->state;
}

static unsigned pick(Random *r, unsigned n) {
        return (unsigned) (next_random(r) % n);
}

static _printf_(2, 3) void note(Random *r, const char *format, ...) {
        size_t n = strlen(r->trace);
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(r->trace + n, sizeof(r->trace) - n, format, ap);
        va_end(ap);
}

static PciAddress address_of(const char *name) {
        PciAddress a;

        ck_assert_int_eq(pci_address_parse(name, &a), 0);
        return a;
}

/* ---- answers ---- */

static void on_assign(const EngineAnswer *answer, const Error *error, void *userdata) {
        Random *r = userdata;

        if (answer && answer->assignment && answer->assignment->state == ASSIGNMENT_ACTIVE &&
            !answer->assignment->release_wanted && r->n_acknowledged < ELEMENTSOF(r->acknowledged))
                (void) string_copy(r->acknowledged[r->n_acknowledged++], ASSIGNMENT_ID_MAX,
                                   answer->assignment->id);
}

static void on_other(const EngineAnswer *answer _unused_, const Error *error _unused_,
                     void *userdata _unused_) {
}

static void forget_acknowledged(Random *r, const char *id) {
        for (size_t i = 0; i < r->n_acknowledged; i++)
                if (streq(r->acknowledged[i], id)) {
                        memmove(r->acknowledged[i], r->acknowledged[i + 1],
                                (r->n_acknowledged - i - 1) * sizeof(r->acknowledged[0]));
                        r->n_acknowledged--;
                        return;
                }
}

/* ---- steps ---- */

static void do_assign(Random *r) {
        const Caller callers[] = { ALICE, BOB, ROOT };
        char *devices[3] = { (char *) names[pick(r, ELEMENTSOF(names))] };
        AssignOptions o = ASSIGN_OPTIONS_INIT;
        const Caller *c = callers + pick(r, ELEMENTSOF(callers));
        _cleanup_error_ Error err = ERROR_INIT;

        if (pick(r, 2))
                devices[1] = (char *) names[pick(r, ELEMENTSOF(names))];
        o.lifetime = pick(r, 2) ? LIFETIME_PERSISTENT : LIFETIME_CONNECTION;
        o.group = pick(r, 3) ? GROUP_TAKE_ALL : GROUP_ONLY_REQUESTED;
        o.by_node = pick(r, 2);
        o.no_wait = pick(r, 4) == 0;
        (void) engine_assign(r->w.engine, c, devices, pick(r, 2) ? OWNER : OTHER, &o, on_assign, r,
                             &err);
        note(r, "assign %s %s: %s\n", devices[0], strempty(devices[1]), err.message);
}

static const Assignment *random_assignment(Random *r) {
        const Assignment *a, *found = NULL;
        unsigned n = 0;

        HASHMAP_FOREACH(a, engine_inventory(r->w.engine)->assignments)
                if (pick(r, ++n) == 0)
                        found = a;
        return found;
}

static void do_release(Random *r) {
        const Assignment *a = random_assignment(r);
        _cleanup_error_ Error err = ERROR_INIT;

        if (!a)
                return;
        note(r, "release %.8s (%s)\n", a->id, assignment_state_to_string(a->state));
        forget_acknowledged(r, a->id);
        (void) engine_release(r->w.engine, &ROOT, a->id, pick(r, 2), on_other, r, &err);
}

static void do_client_gone(Random *r) {
        const char *name = pick(r, 2) ? ":1.7" : ":1.8";
        const Assignment *a;

        note(r, "gone %s\n", name);
        HASHMAP_FOREACH(a, engine_inventory(r->w.engine)->assignments)
                if (streq_ptr(a->bus_name, name))
                        forget_acknowledged(r, a->id);
        engine_client_gone(r->w.engine, name);
}

static void do_cancel(Random *r) {
        const Assignment *a = random_assignment(r);
        _cleanup_error_ Error err = ERROR_INIT;

        if (!a || !a->job)
                return;
        note(r, "cancel %llu\n", (unsigned long long) a->job->id);
        (void) engine_cancel_job(r->w.engine, &ROOT, a->job->id, &err);
}

static void do_hold(Random *r) {
        const char *name = names[pick(r, ELEMENTSOF(names))];

        note(r, "hold %s\n", name);
        (void) host_sim_hold(r->w.host, address_of(name), 4242, "qemu");
}

static void do_unhold(Random *r) {
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                (void) host_sim_unhold(r->w.host, address_of(names[i]));
        note(r, "unhold all\n");
}

static void do_fault(Random *r) {
        static const StepType steps[] = {
                STEP_PROVE_UNHELD, STEP_UNBIND, STEP_SET_OVERRIDE,
                STEP_PROBE,        STEP_VERIFY, STEP_TRIAL_ATTACH,
        };
        static const int errors[] = { EBUSY, EIO, EINVAL, ENOMEM, EPERM };
        SimFault f = {
                .device = address_of(names[pick(r, ELEMENTSOF(names))]),
                .step = steps[pick(r, ELEMENTSOF(steps))],
                .kind = pick(r, 4) == 0 ? SIM_FAULT_HANG
                        : pick(r, 3)    ? SIM_FAULT_ERROR
                                        : SIM_FAULT_DELAY,
                .error = errors[pick(r, ELEMENTSOF(errors))],
                .delay = (usec_t) pick(r, 100) * USEC_PER_SEC,
                .times = 1,
        };

        note(r, "fault %s kind %d of %s\n", step_type_to_string(f.step), (int) f.kind,
             PCI_ADDRESS_TEXT(f.device));
        (void) host_sim_inject(r->w.host, &f);
}

static void do_crash(Random *r) {
        note(r, "crash\n");
        world_stop(&r->w);
        if (pick(r, 2))
                world_run(&r->w, (usec_t) pick(r, 500) * USEC_PER_MSEC);
        world_start(&r->w);
        if (pick(r, 2))
                (void) engine_settle(r->w.engine);
}

static void do_run(Random *r) {
        static const usec_t spans[] = { 0, 10, 100, 1000, 30000 };
        usec_t by = spans[pick(r, ELEMENTSOF(spans))] * USEC_PER_MSEC;

        note(r, "run %llu ms\n", (unsigned long long) (by / USEC_PER_MSEC));
        world_run(&r->w, by);
}

static void do_events(Random *r) {
        note(r, "lose events\n");
        host_sim_lose_events(r->w.host, 1 + pick(r, 5));
}

static void do_rebind(Random *r) {
        const char *name = names[pick(r, ELEMENTSOF(names))];
        const Device *d = world_device(&r->w, address_of(name));
        static const char *const drivers[] = { "", "vfio-pci", "nvidia", "nvme" };
        const char *driver = drivers[pick(r, ELEMENTSOF(drivers))];

        if (!r->foreign || !d)
                return;
        note(r, "rebind %s to \"%s\"\n", name, driver);
        (void) host_sim_rebind(r->w.host, address_of(name), driver);
}

static void do_remove(Random *r) {
        const char *name = names[pick(r, ELEMENTSOF(names))];

        if (!r->foreign || pick(r, 8))
                return;
        note(r, "remove %s\n", name);
        (void) (pick(r, 2) ? host_sim_surprise_remove : host_sim_remove)(r->w.host,
                                                                         address_of(name));
}

static void do_ask(Random *r) {
        AssignOptions o = ASSIGN_OPTIONS_INIT;
        _cleanup_error_ Error err = ERROR_INIT;
        char **device = one_device(names[pick(r, ELEMENTSOF(names))]);

        if (pick(r, 2))
                (void) engine_plan(r->w.engine, &ALICE, device, OWNER, &o, on_other, r, &err);
        else
                (void) engine_get_facts(r->w.engine, &ALICE, device[0], NULL, pick(r, 2), on_other,
                                        r, &err);
}

static void (*const actions[])(Random *r) = {
        do_assign, do_assign, do_assign, do_release, do_release, do_client_gone, do_cancel,
        do_hold,   do_unhold, do_fault,  do_run,     do_run,     do_run,         do_run,
        do_run,    do_crash,  do_events, do_ask,     do_rebind,  do_rebind,      do_remove,
};

/* ---- invariants ---- */

static void check_one_owner(Random *r) {
        const Inventory *i = engine_inventory(r->w.engine);

        for (size_t k = 0; k < i->n_devices; k++) {
                const Device *d = i->sorted[k];

                if (!d->assignment)
                        continue;
                ck_assert_msg(inventory_assignment(i, d->assignment->id) == d->assignment,
                              "dangling owner\n%s", r->trace);
                ck_assert_msg(!d->group || d->group->assignment == d->assignment,
                              "two owners of group %u\n%s", d->group ? d->group->id : 0, r->trace);
        }
}

/* What an owner was told stays, until he or his bus connection gives it back. */
static void check_acknowledged(Random *r) {
        for (size_t i = 0; i < r->n_acknowledged; i++) {
                const Assignment *a = world_assignment(&r->w, r->acknowledged[i]);

                ck_assert_msg(a != NULL, "lost %.8s\n%s", r->acknowledged[i], r->trace);
                if (r->foreign)
                        continue;
                ck_assert_msg(a->state == ASSIGNMENT_ACTIVE, "%.8s is %s\n%s", a->id,
                              assignment_state_to_string(a->state), r->trace);
                for (size_t k = 0; k < a->plan->n_devices; k++)
                        ck_assert_msg(world_driver_is(&r->w, a->plan->devices[k].address,
                                                      a->plan->devices[k].driver),
                                      "%.8s lost its driver\n%s", a->id, r->trace);
        }
}

static void give_everything_back(Random *r) {
        do_unhold(r);
        host_sim_clear_faults(r->w.host);
        world_run(&r->w, 400 * USEC_PER_SEC);
        r->n_acknowledged = 0;
        for (unsigned i = 0; i < 100 && world_n_assignments(&r->w) > 0; i++) {
                do_release(r);
                world_run(&r->w, 60 * USEC_PER_SEC);
        }
        world_run(&r->w, 400 * USEC_PER_SEC);
}

static void check_restored(Random *r, char drivers[][PCI_DRIVER_NAME_MAX]) {
        const Assignment *a = random_assignment(r);

        ck_assert_msg(world_n_assignments(&r->w) == 0, "%.8s stays %s\n%s", a ? a->id : "",
                      a ? assignment_state_to_string(a->state) : "", r->trace);
        for (size_t i = 0; i < ELEMENTSOF(names) && !r->foreign; i++) {
                const Device *d = world_device(&r->w, address_of(names[i]));

                ck_assert_msg(world_driver_is(&r->w, d->facts.address, drivers[i]),
                              "%s is not on %s\n%s", names[i], drivers[i], r->trace);
                ck_assert_msg(streq(d->facts.driver, drivers[i]), "%s: thought to be on \"%s\"\n%s",
                              names[i], d->facts.driver, r->trace);
                ck_assert_msg(!d->assignment && !d->job && !d->stuck && !d->quarantine,
                              "%s is not free\n%s", names[i], r->trace);
        }
}

static void check_nothing_left(Random *r) {
        const Inventory *i = engine_inventory(r->w.engine);
        const Job *j;

        HASHMAP_FOREACH(j, i->jobs)
                ck_assert_msg(j->finished, "job %llu goes on\n%s", (unsigned long long) j->id,
                              r->trace);
        for (size_t k = 0; k < i->n_devices; k++)
                ck_assert_msg(!i->sorted[k]->job && !i->sorted[k]->assignment &&
                                      !i->sorted[k]->stuck,
                              "%s is not free\n%s", PCI_ADDRESS_TEXT(i->sorted[k]->facts.address),
                              r->trace);
}

static void run_sequence(uint64_t seed, bool foreign) {
        char drivers[ELEMENTSOF(names)][PCI_DRIVER_NAME_MAX];
        Random *r = calloc(1, sizeof(Random));

        ck_assert_ptr_nonnull(r);
        r->foreign = foreign;
        r->state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
        world_init(&r->w);
        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                (void) string_copy(drivers[i], sizeof(drivers[i]),
                                   world_device(&r->w, address_of(names[i]))->facts.driver);
        for (unsigned i = 0; i < STEPS; i++) {
                actions[pick(r, ELEMENTSOF(actions))](r);
                check_one_owner(r);
                check_acknowledged(r);
        }
        give_everything_back(r);
        check_restored(r, drivers);
        check_nothing_left(r);
        world_done(&r->w);
        free(r);
}

static bool seed_of(int i, uint64_t *ret) {
        const char *seed = getenv("ENGINE_SEED");

        *ret = (uint64_t) i;
        return !seed || (i == 0 && parse_u64(seed, 10, UINT64_MAX, ret) >= 0);
}

START_TEST(alone_with_the_kernel) {
        uint64_t seed;

        if (seed_of(_i, &seed))
                run_sequence(seed, false);
}
END_TEST

START_TEST(among_other_hands) {
        uint64_t seed;

        if (seed_of(_i, &seed))
                run_sequence(seed, true);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_loop_test(tcase, alone_with_the_kernel, 0, SEQUENCES);
        tcase_add_loop_test(tcase, among_other_hands, 0, SEQUENCES);
}

UNIT_MAIN("engine-random", add_tests);
