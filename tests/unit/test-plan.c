/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Plans: names of steps and kinds, building within limits, what undoing writes, text and JSON.
 */

#include "base/strutil.h"
#include "plan/plan.h"
#include "unit.h"

static PciAddress address(const char *s) {
        PciAddress a;

        ck_assert_int_eq(pci_address_parse(s, &a), 0);
        return a;
}

START_TEST(test_names) {
        for (int t = 0; t < _STEP_TYPE_MAX; t++) {
                ck_assert_ptr_nonnull(step_type_to_string((StepType) t));
                ck_assert_int_eq(step_type_from_string(step_type_to_string((StepType) t)), t);
        }
        for (int k = 0; k < _PLAN_KIND_MAX; k++)
                ck_assert_ptr_nonnull(plan_kind_to_string((PlanKind) k));
        ck_assert_ptr_null(step_type_to_string(_STEP_TYPE_MAX));
        ck_assert_ptr_null(step_type_to_string(_STEP_TYPE_INVALID));
        ck_assert_ptr_null(plan_kind_to_string(_PLAN_KIND_MAX));
        ck_assert_int_eq(step_type_from_string("unbinds"), _STEP_TYPE_INVALID);
        ck_assert_int_eq(step_type_from_string(""), _STEP_TYPE_INVALID);
        ck_assert_int_eq(step_type_from_string(NULL), _STEP_TYPE_INVALID);
}
END_TEST

static const struct {
        StepType type;
        const char *value, *undo, *expect;
        const char *undo_value; /* NULL: nothing is undone */
        const char *text, *undo_text;
} cases[] = {
        { STEP_PROVE_UNHELD, NULL, NULL, NULL, NULL, "prove that nobody holds 0000:41:00.0", "" },
        { STEP_UNBIND, "nvidia", NULL, NULL, "nvidia", "unbind 0000:41:00.0 from nvidia",
          "bind 0000:41:00.0 to nvidia" },
        { STEP_UNBIND, "vfio-pci", "nvidia", NULL, "nvidia", "unbind 0000:41:00.0 from vfio-pci",
          "bind 0000:41:00.0 to nvidia" },
        { STEP_SET_OVERRIDE, "vfio-pci", "", NULL, "",
          "set the driver override of 0000:41:00.0 to vfio-pci",
          "clear the driver override of 0000:41:00.0" },
        { STEP_SET_OVERRIDE, "", "vfio-pci", NULL, "vfio-pci",
          "clear the driver override of 0000:41:00.0",
          "set the driver override of 0000:41:00.0 to vfio-pci" },
        { STEP_SET_OVERRIDE, "x", NULL, NULL, NULL, "set the driver override of 0000:41:00.0 to x",
          "" },
        { STEP_PROBE, NULL, NULL, "vfio-pci", "vfio-pci", "bind 0000:41:00.0 to vfio-pci",
          "unbind 0000:41:00.0 from vfio-pci" },
        { STEP_PROBE, NULL, NULL, "", "", "let the kernel choose a driver for 0000:41:00.0",
          "unbind 0000:41:00.0" },
        { STEP_SET_NODE_OWNER, "107:108", NULL, NULL, "0:0",
          "give the VFIO node of group 12 to 107:108", "give the VFIO node of group 12 to 0:0" },
        { STEP_TRIAL_ATTACH, NULL, NULL, NULL, NULL, "try group 12 in an IOMMU container", "" },
        { STEP_RESET, "flr", NULL, NULL, NULL, "reset 0000:41:00.0 by flr", "" },
        { STEP_RESET, NULL, NULL, NULL, NULL, "reset 0000:41:00.0", "" },
        { STEP_AWAIT_READY, NULL, NULL, NULL, NULL, "wait until 0000:41:00.0 answers", "" },
        { STEP_SET_NUMVFS, "4", "0", NULL, "0",
          "set the number of virtual functions of 0000:41:00.0 to 4",
          "set the number of virtual functions of 0000:41:00.0 to 0" },
        { STEP_VERIFY, NULL, NULL, "vfio-pci", NULL, "verify 0000:41:00.0 on vfio-pci in group 12",
          "" },
        { STEP_VERIFY, NULL, NULL, NULL, NULL, "verify 0000:41:00.0 in group 12", "" },
        { STEP_SET_AUTOPROBE, "0", "1", NULL, "1",
          "let drivers not take new virtual functions of 0000:41:00.0 by themselves",
          "let drivers take new virtual functions of 0000:41:00.0 by themselves" },
        { STEP_AWAIT_VFS, "4", NULL, NULL, NULL, "wait for 4 virtual functions of 0000:41:00.0",
          "" },
        { STEP_SET_D3COLD, "0", "1", NULL, "1", "forbid D3cold for 0000:41:00.0",
          "allow D3cold for 0000:41:00.0" },
        { STEP_SET_NOSNOOP, "0", "1", NULL, "1", "turn No Snoop of 0000:41:00.0 off",
          "turn No Snoop of 0000:41:00.0 on" },
        { STEP_SET_DOMAIN_TYPE, "DMA", "identity", NULL, "identity",
          "set the domain type of group 12 to DMA", "set the domain type of group 12 to identity" },
        { STEP_RESIZE_BAR, "1=13", "1=8", NULL, "1=8", "resize BAR 1 of 0000:41:00.0 to 8192 MiB",
          "resize BAR 1 of 0000:41:00.0 to 256 MiB" },
};

START_TEST(test_step) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN);
        _cleanup_free_ char *text = NULL, *undo = NULL;
        PlanDevice *d = plan_add_device(p, address("0000:41:00.0"));
        Step *s;

        d->group = 12;
        s = plan_add_device_step(p, cases[_i].type, d);
        ck_assert_ptr_nonnull(s);
        ck_assert(s->has_device && s->group == 12);
        ck_assert_uint_eq(s->timeout_msec, PLAN_STEP_TIMEOUT_DEFAULT_MSEC);
        ck_assert_int_eq(step_set(s, cases[_i].value, cases[_i].undo, cases[_i].expect), 0);
        ck_assert(streq_ptr(step_undo_value(s), cases[_i].undo_value));
        text = step_describe(s);
        undo = step_describe_undo(s);
        ck_assert_str_eq(text, cases[_i].text);
        ck_assert_str_eq(undo, cases[_i].undo_text);
}
END_TEST

START_TEST(test_limits) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN);

        for (unsigned i = 0; i < PLAN_DEVICES_MAX; i++)
                ck_assert_ptr_nonnull(plan_add_device(p, (PciAddress) { .bus = (uint8_t) i }));
        ck_assert_ptr_null(plan_add_device(p, (PciAddress) {}));
        for (unsigned i = 0; i < PLAN_STEPS_MAX; i++)
                ck_assert_ptr_nonnull(plan_add_step(p, STEP_TRIAL_ATTACH, i));
        ck_assert_ptr_null(plan_add_step(p, STEP_TRIAL_ATTACH, 0));
        ck_assert_uint_eq(p->n_devices, PLAN_DEVICES_MAX);
        ck_assert_uint_eq(p->n_steps, PLAN_STEPS_MAX);
}
END_TEST

START_TEST(test_groups) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_RELEASE);
        _cleanup_free_ uint32_t *groups = NULL;
        size_t n = 99;

        ck_assert_int_eq(plan_groups(p, &groups, &n), 0);
        ck_assert_uint_eq(n, 0);
        free(TAKE_PTR(groups));
        plan_add_device(p, address("0000:01:00.0"))->group = 9;
        plan_add_device(p, address("0000:02:00.0"))->group = 3;
        (void) plan_add_step(p, STEP_TRIAL_ATTACH, 9);
        (void) plan_add_step(p, STEP_SET_NODE_OWNER, 4);
        ck_assert(!plan_has_removal(p));
        (void) plan_add_step(p, STEP_SET_NUMVFS, 3);
        ck_assert(plan_has_removal(p));
        ck_assert_int_eq(plan_groups(p, &groups, &n), 0);
        ck_assert_uint_eq(n, 3);
        ck_assert(groups[0] == 3 && groups[1] == 4 && groups[2] == 9);
        ck_assert_ptr_eq(plan_find_device(p, address("0000:02:00.0")), p->devices + 1);
        ck_assert_ptr_null(plan_find_device(p, address("0000:02:00.1")));
}
END_TEST

START_TEST(test_copy_and_json) {
        _cleanup_(plan_freep) Plan *p = plan_new(PLAN_ASSIGN), *copy = NULL;
        _cleanup_json_ Json *a = NULL, *b = NULL;
        _cleanup_free_ char *text_a = NULL, *text_b = NULL;
        PlanDevice *d = plan_add_device(p, address("10000:e1:00.0"));

        (void) string_copy(p->id, sizeof(p->id), "0123456789abcdef0123456789abcdef");
        *d = (PlanDevice){
                .address = d->address, .group = 5, .vendor = 0x10de, .device = 1, .requested = true
        };
        ck_assert_int_eq(free_and_strdup(&d->driver, "vfio-pci"), 0);
        ck_assert_int_eq(free_and_strdup(&d->used_by, "drm card1"), 0);
        ck_assert_int_eq(
                step_set(plan_add_device_step(p, STEP_UNBIND, d), "nouveau", "nouveau", NULL), 0);
        ck_assert_int_eq(plan_copy(p, &copy), 0);
        a = plan_to_json(p);
        b = plan_to_json(copy);
        text_a = json_to_text(a, false);
        text_b = json_to_text(b, false);
        ck_assert_str_eq(text_a, text_b);
        ck_assert_str_eq(json_string(json_get(a, "kind")), "assign");
        ck_assert_str_eq(json_string(json_get(json_at(json_get(a, "devices"), 0), "address")),
                         "10000:e1:00.0");
        ck_assert_str_eq(json_string(json_get(json_at(json_get(a, "steps"), 0), "undo")),
                         "bind 10000:e1:00.0 to nouveau");
}
END_TEST

static void add(TCase *tcase) {
        tcase_add_test(tcase, test_names);
        ADD_TABLE(tcase, test_step, cases);
        tcase_add_test(tcase, test_limits);
        tcase_add_test(tcase, test_groups);
        tcase_add_test(tcase, test_copy_and_json);
}

UNIT_MAIN("plan", add);
