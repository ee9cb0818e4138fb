/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The model: every cell of the assignment machine against its picture in dbus/, every enum table
 * both ways, the derived state of a device, groups, names, notices.
 */

#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "model/model.h"
#include "unit.h"

static PciAddress address(const char *s) {
        PciAddress a;
        ck_assert_int_eq(pci_address_parse(s, &a), 0);
        return a;
}

/* ---- the machine ---- */

static const struct {
        AssignmentState from;
        AssignmentEvent event;
        AssignmentState to;
} expected[] = {
        { ASSIGNMENT_PREPARING, ASSIGNMENT_EVENT_PREPARED, ASSIGNMENT_ACTIVE },
        { ASSIGNMENT_PREPARING, ASSIGNMENT_EVENT_PREPARE_FAILED, ASSIGNMENT_FAILED },
        { ASSIGNMENT_PREPARING, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_LOST },
        { ASSIGNMENT_ACTIVE, ASSIGNMENT_EVENT_RELEASE, ASSIGNMENT_RELEASING },
        { ASSIGNMENT_ACTIVE, ASSIGNMENT_EVENT_ATTACH, ASSIGNMENT_ACTIVE },
        { ASSIGNMENT_ACTIVE, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_LOST },
        { ASSIGNMENT_RELEASING, ASSIGNMENT_EVENT_UNHELD, ASSIGNMENT_CLEANING },
        { ASSIGNMENT_RELEASING, ASSIGNMENT_EVENT_RESTORE_FAILED, ASSIGNMENT_FAILED },
        { ASSIGNMENT_RELEASING, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_RELEASING },
        { ASSIGNMENT_CLEANING, ASSIGNMENT_EVENT_CLEANED, ASSIGNMENT_RELEASED },
        { ASSIGNMENT_CLEANING, ASSIGNMENT_EVENT_REST, ASSIGNMENT_RESERVED },
        { ASSIGNMENT_CLEANING, ASSIGNMENT_EVENT_RESTORE_FAILED, ASSIGNMENT_FAILED },
        { ASSIGNMENT_CLEANING, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_CLEANING },
        { ASSIGNMENT_RESERVED, ASSIGNMENT_EVENT_RELEASE, ASSIGNMENT_RELEASING },
        { ASSIGNMENT_RESERVED, ASSIGNMENT_EVENT_ATTACH, ASSIGNMENT_PREPARING },
        { ASSIGNMENT_RESERVED, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_LOST },
        { ASSIGNMENT_RECOVERING, ASSIGNMENT_EVENT_RELEASE, ASSIGNMENT_RELEASING },
        { ASSIGNMENT_RECOVERING, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_LOST },
        { ASSIGNMENT_REMOVING, ASSIGNMENT_EVENT_RELEASE, ASSIGNMENT_RELEASING },
        { ASSIGNMENT_REMOVING, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_LOST },
        { ASSIGNMENT_LOST, ASSIGNMENT_EVENT_PREPARED, ASSIGNMENT_LOST },
        { ASSIGNMENT_LOST, ASSIGNMENT_EVENT_PREPARE_FAILED, ASSIGNMENT_FAILED },
        { ASSIGNMENT_LOST, ASSIGNMENT_EVENT_RELEASE, ASSIGNMENT_RELEASING },
        { ASSIGNMENT_LOST, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_LOST },
        { ASSIGNMENT_FAILED, ASSIGNMENT_EVENT_RELEASE, ASSIGNMENT_RELEASING },
        { ASSIGNMENT_FAILED, ASSIGNMENT_EVENT_DEVICE_LOST, ASSIGNMENT_FAILED },
};

START_TEST(machine_has_exactly_these_transitions) {
        AssignmentState s = (AssignmentState) _i;
        for (int e = ASSIGNMENT_EVENT_PREPARED; e < _ASSIGNMENT_EVENT_MAX; e++) {
                AssignmentState want = _ASSIGNMENT_STATE_INVALID;
                for (size_t n = 0; n < ELEMENTSOF(expected); n++)
                        if (expected[n].from == s && (int) expected[n].event == e)
                                want = expected[n].to;
                ck_assert_msg(assignment_next(s, (AssignmentEvent) e) == want, "%s × %s",
                              assignment_state_to_string(s),
                              assignment_event_to_string((AssignmentEvent) e));
        }
}
END_TEST

START_TEST(machine_refuses_what_is_outside) {
        ck_assert_int_eq(assignment_next(_ASSIGNMENT_STATE_MAX, ASSIGNMENT_EVENT_PREPARED),
                         _ASSIGNMENT_STATE_INVALID);
        ck_assert_int_eq(assignment_next(_ASSIGNMENT_STATE_INVALID, ASSIGNMENT_EVENT_PREPARED),
                         _ASSIGNMENT_STATE_INVALID);
        ck_assert_int_eq(assignment_next(ASSIGNMENT_ACTIVE, _ASSIGNMENT_EVENT_MAX),
                         _ASSIGNMENT_STATE_INVALID);
        /* A state mistaken for an event is caught. */
        ck_assert_int_eq(assignment_next(ASSIGNMENT_ACTIVE, (AssignmentEvent) ASSIGNMENT_RELEASING),
                         _ASSIGNMENT_STATE_INVALID);
}
END_TEST

static char *machine_picture(void) {
        _cleanup_strbuf_ StrBuf b = {};

        strbuf_add(&b, "// The life of an assignment: the table in daemon/model/assignment.c, "
                       "printed by its test.\n"
                       "digraph assignment {\n");
        for (int s = 0; s < _ASSIGNMENT_STATE_MAX; s++)
                strbuf_addf(&b, "        \"%s\";\n",
                            assignment_state_to_string((AssignmentState) s));
        for (int s = 0; s < _ASSIGNMENT_STATE_MAX; s++)
                for (int e = ASSIGNMENT_EVENT_PREPARED; e < _ASSIGNMENT_EVENT_MAX; e++) {
                        AssignmentState to =
                                assignment_next((AssignmentState) s, (AssignmentEvent) e);
                        if (to >= 0)
                                strbuf_addf(&b, "        \"%s\" -> \"%s\" [label=\"%s\"];\n",
                                            assignment_state_to_string((AssignmentState) s),
                                            assignment_state_to_string(to),
                                            assignment_event_to_string((AssignmentEvent) e));
                }
        strbuf_add(&b, "}\n");
        return strbuf_steal(&b);
}

START_TEST(machine_is_its_picture) {
        const char *top = getenv("top_srcdir");
        _cleanup_free_ char *path = strjoinf("%s/dbus/assignment-states.dot", top ? top : ".");
        _cleanup_free_ char *want = machine_picture(), *got = NULL;
        size_t n;

        int r = read_file_at(AT_FDCWD, path, 65536, &got, &n);
        ck_assert_msg(r >= 0 && streq(got, want), "%s should be:\n%s", path, want);
}
END_TEST

/* ---- enum tables ---- */

#define ROUND_TRIP(name, first, max)                                                      \
        START_TEST(name##_round_trip) {                                                   \
                for (int v = (first); v < (int) (max); v++) {                             \
                        const char *s = name##_to_string(v);                              \
                        ck_assert_ptr_nonnull(s);                                         \
                        ck_assert_int_eq((int) name##_from_string(s), v);                 \
                        for (int w = (first); w < v; w++)                                 \
                                ck_assert_str_ne(s, name##_to_string(w));                 \
                }                                                                         \
                ck_assert_ptr_null(name##_to_string(max));                                \
                ck_assert_ptr_null(name##_to_string(-EINVAL));                            \
                ck_assert_int_eq((int) name##_from_string("no such name"), -EINVAL);      \
                ck_assert_int_eq((int) name##_from_string(""), -EINVAL);                  \
                ck_assert_int_eq((int) name##_from_string(NULL), -EINVAL);                \
        }                                                                                 \
        END_TEST

ROUND_TRIP(device_state, 0, _DEVICE_STATE_MAX)
ROUND_TRIP(device_health, 0, _HEALTH_MAX)
ROUND_TRIP(assignment_state, 0, _ASSIGNMENT_STATE_MAX)
ROUND_TRIP(assignment_event, ASSIGNMENT_EVENT_PREPARED, _ASSIGNMENT_EVENT_MAX)
ROUND_TRIP(lifetime, 0, _LIFETIME_MAX)
ROUND_TRIP(job_state, 0, _JOB_STATE_MAX)
ROUND_TRIP(step_state, 0, _STEP_STATE_MAX)

/* ---- a small host ---- */

typedef struct Fixture {
        Inventory *inventory;
} Fixture;
static Fixture f;

static Device *put(const char *where, int group, const char *driver, const char *child) {
        PciFacts facts = {};
        PciUse use = {};
        Device *d;

        pci_facts_init(&facts, address(where));
        facts.vendor = 0x8086;
        (void) string_copy(facts.driver, sizeof(facts.driver), driver);
        if (group >= 0) {
                facts.iommu_group = (uint32_t) group;
                facts.link_state[PCI_LINK_IOMMU_GROUP] = FACT_PRESENT;
        }
        if (child)
                ck_assert_int_eq(pci_use_add_child(&use, "net", child), 0);
        ck_assert_int_eq(inventory_put_device(f.inventory, &facts, &use, 5, &d), 0);
        ck_assert_ptr_null(facts.path);
        return d;
}

static void setup(void) {
        ck_assert_int_eq(inventory_new(&f.inventory), 0);
        (void) put("0000:41:00.1", 12, "snd_hda_intel", NULL);
        (void) put("0000:41:00.0", 12, "nvidia", "card1");
        (void) put("0000:01:00.0", 3, "igb", "ens3");
        (void) put("10000:e1:00.0", -1, "", NULL);
        (void) put("0000:01:00.1", 4, "vfio-pci", "twin");
        (void) put("0000:02:00.0", 5, "igb", "twin");

        f.inventory->slots = calloc(2, sizeof(PciSlotFacts));
        ck_assert_ptr_nonnull(f.inventory->slots);
        ck_assert_int_eq(pci_slot_facts_init(&f.inventory->slots[0], "7", "0000:02:00"), 0);
        ck_assert_int_eq(pci_slot_facts_init(&f.inventory->slots[1], "GPU1", "0000:41:00"), 0);
        f.inventory->n_slots = 2;

        Device *d = inventory_device(f.inventory, address("10000:e1:00.0"));
        d->live = calloc(1, sizeof(PciLive));
        ck_assert_ptr_nonnull(d->live);
        ck_assert_int_eq(pci_live_set(d->live, PCI_ATTRIBUTE_LABEL, "Onboard NVMe", 0), 0);
}

static void teardown(void) {
        f.inventory = inventory_free(f.inventory);
}

START_TEST(devices_stand_in_order) {
        static const char *const order[] = { "0000:01:00.0", "0000:01:00.1", "0000:02:00.0",
                                             "0000:41:00.0", "0000:41:00.1", "10000:e1:00.0" };
        ck_assert_uint_eq(f.inventory->n_devices, ELEMENTSOF(order));
        for (size_t n = 0; n < ELEMENTSOF(order); n++)
                ck_assert_str_eq(PCI_ADDRESS_TEXT(f.inventory->sorted[n]->facts.address), order[n]);
}
END_TEST

static const struct {
        const char *name;
        ErrorCode code;
        const char *found, *message;
} names[] = {
        { "0000:41:00.0", ERROR_NONE, "0000:41:00.0", NULL },
        { "41:00.0", ERROR_NONE, "0000:41:00.0", NULL },
        { "10000:e1:00.0", ERROR_NONE, "10000:e1:00.0", NULL },
        { "e1:00.0", ERROR_NOT_FOUND, NULL, "0000:e1:00.0" },
        { "0001:41:00.0", ERROR_NOT_FOUND, NULL, "0001:41:00.0" },
        { "ens3", ERROR_NONE, "0000:01:00.0", NULL },
        { "card1", ERROR_NONE, "0000:41:00.0", NULL },
        { "7", ERROR_NONE, "0000:02:00.0", NULL },
        { "Onboard NVMe", ERROR_NONE, "10000:e1:00.0", NULL },
        { "GPU1", ERROR_INVALID, NULL, "0000:41:00.0, 0000:41:00.1" },
        { "twin", ERROR_INVALID, NULL, "0000:01:00.1, 0000:02:00.0" },
        { "nothing", ERROR_NOT_FOUND, NULL, "nothing" },
        { "", ERROR_INVALID, NULL, NULL },
        { "a\nb", ERROR_INVALID, NULL, NULL },
        { "\xff\xfe", ERROR_INVALID, NULL, NULL },
        { "../../etc/passwd", ERROR_NOT_FOUND, NULL, NULL },
};

START_TEST(names_resolve) {
        _cleanup_error_ Error err = ERROR_INIT;
        Device *d = NULL;

        int r = inventory_resolve(f.inventory, names[_i].name, &err, &d);
        ck_assert_int_eq(err.code, names[_i].code);
        ck_assert_int_eq(r, -error_code_to_errno(names[_i].code));
        if (names[_i].found)
                ck_assert_str_eq(PCI_ADDRESS_TEXT(d->facts.address), names[_i].found);
        else
                ck_assert_ptr_null(d);
        if (names[_i].message)
                ck_assert_msg(strstr(err.message, names[_i].message), "%s", err.message);
}
END_TEST

START_TEST(a_huge_name_is_refused) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *s = malloc(65537);
        Device *d = NULL;

        ck_assert_ptr_nonnull(s);
        memset(s, 'a', 65536);
        s[65536] = 0;
        ck_assert_int_lt(inventory_resolve(f.inventory, s, &err, &d), 0);
        ck_assert_int_eq(err.code, ERROR_INVALID);
        ck_assert_uint_lt(strlen(err.message), 300);
}
END_TEST

START_TEST(groups_follow_the_facts) {
        Group *g = inventory_group(f.inventory, 12);
        Device *d = inventory_device(f.inventory, address("0000:41:00.1"));

        ck_assert_uint_eq(g->n_devices, 2);
        ck_assert_ptr_eq(LIST_ENTRY(g->devices.next, Device, in_group),
                         inventory_device(f.inventory, address("0000:41:00.0")));
        ck_assert_ptr_null(inventory_device(f.inventory, address("10000:e1:00.0"))->group);

        d->facts.iommu_group = 99;
        ck_assert_int_eq(inventory_relink(f.inventory, d), 0);
        ck_assert_uint_eq(g->n_devices, 1);
        ck_assert_ptr_eq(d->group, inventory_group(f.inventory, 99));

        d->facts.link_state[PCI_LINK_IOMMU_GROUP] = FACT_ABSENT;
        ck_assert_int_eq(inventory_relink(f.inventory, d), 0);
        ck_assert_ptr_null(d->group);
        inventory_drop_group(f.inventory, inventory_group(f.inventory, 99));
        ck_assert_ptr_null(inventory_group(f.inventory, 99));
}
END_TEST

START_TEST(removing_a_device_unlinks_it) {
        size_t n = f.inventory->n_devices;
        inventory_remove_device(f.inventory,
                                inventory_device(f.inventory, address("0000:41:00.0")));
        ck_assert_uint_eq(f.inventory->n_devices, n - 1);
        ck_assert_uint_eq(inventory_group(f.inventory, 12)->n_devices, 1);
        ck_assert_ptr_null(inventory_device(f.inventory, address("0000:41:00.0")));
}
END_TEST

START_TEST(other_hardware_forgets_what_was_read) {
        Device *d = inventory_device(f.inventory, address("10000:e1:00.0"));
        PciFacts facts = {};

        ck_assert_int_eq(pci_facts_copy(&d->facts, &facts), 0);
        ck_assert_int_eq(inventory_put_device(f.inventory, &facts, NULL, 6, NULL), 0);
        ck_assert_ptr_nonnull(d->live);
        ck_assert_uint_eq(d->use_at, 5);

        ck_assert_int_eq(pci_facts_copy(&d->facts, &facts), 0);
        facts.device = 0x1234;
        ck_assert_int_eq(inventory_put_device(f.inventory, &facts, NULL, 7, NULL), 0);
        ck_assert_ptr_null(d->live);
        ck_assert_uint_eq(d->facts_at, 7);
}
END_TEST

START_TEST(device_state_follows_the_facts) {
        Device *d = inventory_device(f.inventory, address("0000:01:00.0"));
        Assignment a = {};

        ck_assert_int_eq(device_get_state(d), DEVICE_HOST);
        d->facts.driver[0] = 0;
        ck_assert_int_eq(device_get_state(d), DEVICE_AVAILABLE);
        (void) string_copy(d->facts.driver, sizeof(d->facts.driver), "vfio-pci");
        ck_assert_int_eq(device_get_state(d), DEVICE_HELD);
        d->assignment = &a;
        ck_assert_int_eq(device_get_state(d), DEVICE_ASSIGNED);
        d->assignment = NULL;
        d->quarantine = strdup("dirty");
        ck_assert_int_eq(device_get_state(d), DEVICE_QUARANTINED);
        d->stuck = true;
        ck_assert_int_eq(device_get_state(d), DEVICE_STUCK);
        d->gone = true;
        ck_assert_int_eq(device_get_state(d), DEVICE_GONE);
}
END_TEST

START_TEST(a_view_has_group_and_slot) {
        PciView v;
        inventory_view(f.inventory, inventory_device(f.inventory, address("0000:41:00.1")), &v);
        ck_assert_uint_eq(v.group->id, 12);
        ck_assert_str_eq(v.slot->name, "GPU1");
        ck_assert_ptr_nonnull(v.use);
        ck_assert_ptr_null(v.config);
        inventory_view(f.inventory, inventory_device(f.inventory, address("0000:01:00.0")), &v);
        ck_assert_ptr_eq(v.slot, &pci_slot_none);
}
END_TEST

/* ---- assignments and jobs ---- */

START_TEST(assignment_lists_its_devices) {
        Assignment *a;
        _cleanup_strv_ char **asked = NULL, **all = NULL, **none = NULL;

        ck_assert_int_eq(assignment_new(&a), 0);
        ck_assert_int_eq(a->state, ASSIGNMENT_PREPARING);
        ck_assert(string_copy(a->id, sizeof(a->id), "0123456789abcdef0123456789abcdef"));
        ck_assert_int_eq(assignment_devices(a, true, &none), 0);
        ck_assert_uint_eq(strv_length(none), 0);

        a->plan = plan_new(PLAN_ASSIGN);
        ck_assert_ptr_nonnull(a->plan);
        PlanDevice *one = plan_add_device(a->plan, address("0000:41:00.0"));
        ck_assert_ptr_nonnull(one);
        one->requested = true;
        one->group = 12;
        PlanDevice *two = plan_add_device(a->plan, address("0000:41:00.1"));
        ck_assert_ptr_nonnull(two);
        two->group = 12;
        ck_assert_int_eq(assignment_devices(a, false, &asked), 0);
        ck_assert_int_eq(assignment_devices(a, true, &all), 0);
        ck_assert_uint_eq(strv_length(asked), 1);
        ck_assert_str_eq(asked[0], "0000:41:00.0");
        ck_assert_uint_eq(strv_length(all), 2);

        /* In the inventory, and out again: nothing points to it any more. */
        ck_assert_int_eq(inventory_add_assignment(f.inventory, a), 0);
        ck_assert_int_eq(inventory_add_assignment(f.inventory, a), -EEXIST);
        ck_assert_ptr_eq(inventory_assignment(f.inventory, "0123456789abcdef0123456789abcdef"), a);
        Device *d = inventory_device(f.inventory, address("0000:41:00.1"));
        d->assignment = d->group->assignment = a;
        inventory_remove_assignment(f.inventory, a);
        ck_assert_ptr_null(d->assignment);
        ck_assert_ptr_null(d->group->assignment);
        ck_assert_ptr_null(inventory_assignment(f.inventory, "0123456789abcdef0123456789abcdef"));
}
END_TEST

START_TEST(notices_are_numbered_kept_and_bounded) {
        _cleanup_(assignment_freep) Assignment *a = NULL;
        const AssignmentNotice *n;

        ck_assert_int_eq(assignment_new(&a), 0);
        ck_assert_int_eq(assignment_acknowledge(a, 1), -ENOENT);
        ck_assert_ptr_null(assignment_get_notice(a, 0));
        for (unsigned k = 1; k <= EVENTS_MAX + 3; k++) {
                ck_assert_int_eq(assignment_add_notice(a, k, "Lost", "0000:41:00.0", NULL, &n), 0);
                ck_assert_uint_eq(n->number, k);
        }
        ck_assert_ptr_null(assignment_get_notice(a, 3));
        ck_assert_uint_eq(assignment_get_notice(a, 4)->at, 4);
        ck_assert_uint_eq(assignment_count_pending(a), EVENTS_MAX);
        ck_assert_int_eq(assignment_acknowledge(a, 0), -ENOENT);
        ck_assert_int_eq(assignment_acknowledge(a, EVENTS_MAX + 4), -ENOENT);
        ck_assert_int_eq(assignment_acknowledge(a, EVENTS_MAX + 1), 0);
        ck_assert_uint_eq(assignment_count_pending(a), 2);
}
END_TEST

START_TEST(jobs_get_numbers_and_steps) {
        Job *j;

        ck_assert_int_eq(job_new(PLAN_ASSIGN, 1000, &j), 0);
        ck_assert_int_eq(inventory_add_job(f.inventory, j), 0);
        ck_assert_uint_eq(j->id, 1);
        ck_assert_ptr_eq(inventory_job(f.inventory, 1), j);

        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN);
        ck_assert_ptr_nonnull(p);
        PlanDevice *d = plan_add_device(p, address("0000:41:00.0"));
        ck_assert_ptr_nonnull(d);
        ck_assert_ptr_nonnull(plan_add_device_step(p, STEP_UNBIND, d));
        ck_assert_ptr_nonnull(plan_add_device_step(p, STEP_PROBE, d));
        ck_assert_int_eq(job_set_plan(j, p), 0);
        ck_assert_uint_eq(j->plan->n_steps, 2);
        ck_assert_int_eq(j->step_states[1], STEP_PENDING);

        Device *device = inventory_device(f.inventory, address("0000:41:00.0"));
        device->job = j;
        inventory_remove_job(f.inventory, j);
        ck_assert_ptr_null(device->job);
        ck_assert_ptr_null(inventory_job(f.inventory, 1));
        ck_assert_int_eq(job_new(PLAN_RESET, 0, &j), 0);
        ck_assert_int_eq(inventory_add_job(f.inventory, j), 0);
        ck_assert_uint_eq(j->id, 2);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_loop_test(tcase, machine_has_exactly_these_transitions, 0, _ASSIGNMENT_STATE_MAX);
        tcase_add_test(tcase, machine_refuses_what_is_outside);
        tcase_add_test(tcase, machine_is_its_picture);

        tcase_add_test(tcase, device_state_round_trip);
        tcase_add_test(tcase, device_health_round_trip);
        tcase_add_test(tcase, assignment_state_round_trip);
        tcase_add_test(tcase, assignment_event_round_trip);
        tcase_add_test(tcase, lifetime_round_trip);
        tcase_add_test(tcase, job_state_round_trip);
        tcase_add_test(tcase, step_state_round_trip);

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, devices_stand_in_order);
        ADD_TABLE(tcase, names_resolve, names);
        tcase_add_test(tcase, a_huge_name_is_refused);
        tcase_add_test(tcase, groups_follow_the_facts);
        tcase_add_test(tcase, removing_a_device_unlinks_it);
        tcase_add_test(tcase, other_hardware_forgets_what_was_read);
        tcase_add_test(tcase, device_state_follows_the_facts);
        tcase_add_test(tcase, a_view_has_group_and_slot);
        tcase_add_test(tcase, assignment_lists_its_devices);
        tcase_add_test(tcase, notices_are_numbered_kept_and_bounded);
        tcase_add_test(tcase, jobs_get_numbers_and_steps);
}

UNIT_MAIN("model", add_tests);
