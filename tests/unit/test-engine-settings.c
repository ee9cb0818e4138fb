/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a rule sets of a device while it is assigned, and the way back: exactly what was there, or a
 * word about it. Each step with the kernel's refusals.
 */

#include "engine-fixture.h"
#include "engine/engine-policy.h"

static void set_policy(World *w, const char *settings) {
        _cleanup_free_
        char *text = strjoinf(
                "{ \"version\": 1, \"rules\": [ { \"name\": \"set\", \"match\": {}, %s } ] }",
                settings);
        PolicyText file = { .file = "test.json", .text = text, .size = strlen(text) };
        _cleanup_error_ Error err = ERROR_INIT;

        ck_assert_msg(engine_set_policy(w->engine, &file, 1, &err) >= 0, "%s: %s", err.message,
                      strempty(err.details));
}

/* What the kernel shows now of one fact. */
static void read_again(World *w, const char *device) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        ck_assert_int_eq(
                engine_get_facts(w->engine, &ROOT, device, NULL, true, world_reply, w, &err), 0);
        world_run(w, USEC_PER_SEC);
        ck_assert_uint_eq(w->answer.n, 1);
}

static char *shown(World *w, PciAddress a, StepType type) {
        Device *d = (Device *) world_device(w, a);

        switch (type) {
        case STEP_SET_D3COLD:
                return strdup(strempty(d->live->attributes[PCI_ATTRIBUTE_D3COLD_ALLOWED].text));
        case STEP_SET_NOSNOOP:
                return strdup(d->config->device_control & 0x800 ? "1" : "0");
        case STEP_SET_DOMAIN_TYPE:
                return strdup(d->group->facts.type);
        case STEP_RESIZE_BAR:
                return strjoinf("%llu",
                                (unsigned long long) pci_facts_resource(&d->facts, 1)->size >> 20);
        default:
                break;
        }
        return NULL;
}

typedef struct Setting {
        StepType type;
        const char *device, *rule, *before, *after;
} Setting;

#define ONE_NVME "0000:45:00.0"
#define ONE_GPU "0000:41:00.0"
static const Setting settings[] = {
        { STEP_SET_D3COLD, ONE_NVME, "\"d3cold\": \"off\"", "1", "0" },
        { STEP_SET_NOSNOOP, ONE_NVME, "\"no-snoop\": \"off\"", "1", "0" },
        { STEP_SET_DOMAIN_TYPE, ONE_NVME, "\"iommu\": { \"domain\": \"identity\" }", "DMA-FQ",
          "identity" },
        { STEP_SET_DOMAIN_TYPE, ONE_GPU,
          "\"group\": \"take-all\", \"iommu\": { \"domain\": \"dma\" }", "DMA-FQ", "DMA" },
        { STEP_RESIZE_BAR, ONE_GPU,
          "\"group\": \"take-all\", \"bars\": { \"1\": { \"size\": \"512M\" } }", "65536", "512" },
};

static PciAddress address_of(const Setting *s) {
        PciAddress a;

        ck_assert_int_eq(pci_address_parse(s->device, &a), 0);
        return a;
}

static void check(World *w, const Setting *s, const char *wanted) {
        _cleanup_free_ char *now = NULL;

        read_again(w, s->device);
        now = shown(w, address_of(s), s->type);
        ck_assert_msg(streq(now, wanted), "%s: %s, not %s", step_type_to_string(s->type), now,
                      wanted);
}

static const Step *find_step(World *w, StepType type) {
        const Plan *p = world_assignment(w, w->answer.assignment)->plan;

        for (size_t i = 0; i < p->n_steps; i++)
                if (p->steps[i].type == type)
                        return p->steps + i;
        return NULL;
}

START_TEST(set_and_taken_back) {
        const Setting *s = settings + _i;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];
        const Step *step;

        world_init(&w);
        world_settle(&w);
        set_policy(&w, s->rule);
        check(&w, s, s->before);
        world_assign(&w, &ROOT, one_device(s->device), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s %s", w.answer.message,
                      strempty(w.answer.details));
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        step = find_step(&w, s->type);
        ck_assert_ptr_nonnull(step);
        ck_assert_ptr_nonnull(step->undo);
        check(&w, s, s->after);
        /* What the rule says meanwhile does not change the way back, nor does a restart. */
        set_policy(&w, "\"assign\": \"allow\"");
        world_stop(&w);
        world_start(&w);
        w.n_settled = 0;
        world_settle(&w);
        world_release(&w, &ROOT, id);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        world_run(&w, USEC_PER_SEC);
        check(&w, s, s->before);
        ck_assert_uint_eq(world_n_assignments(&w), 0);
}
END_TEST

/* What is so already is no step. */
START_TEST(nothing_to_set) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_settle(&w);
        set_policy(
                &w,
                "\"d3cold\": \"on\", \"no-snoop\": \"on\", \"iommu\": { \"domain\": \"dma-fq\" }, "
                "\"bars\": { \"1\": { \"size\": \"max\" } }");
        world_assign(&w, &ROOT, one_device(ONE_NVME), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        for (StepType t = STEP_SET_D3COLD; t <= STEP_RESIZE_BAR; t++)
                ck_assert_ptr_null(find_step(&w, t));
}
END_TEST

static const struct {
        size_t setting;
        SimFaultKind kind;
        int error;
        ErrorCode code;
} refusals[] = {
        { 0, SIM_FAULT_ERROR, EIO, ERROR_FAILED },
        { 1, SIM_FAULT_NO_EFFECT, 0, ERROR_NOT_SUPPORTED },
        { 2, SIM_FAULT_ERROR, EPERM, ERROR_BUSY },
        { 2, SIM_FAULT_ERROR, EINVAL, ERROR_NOT_SUPPORTED },
        { 3, SIM_FAULT_NO_EFFECT, 0, ERROR_FAILED },
        { 4, SIM_FAULT_ERROR, ENOSPC, ERROR_NOT_SUPPORTED },
        { 4, SIM_FAULT_ERROR, 524, ERROR_NOT_SUPPORTED },
        { 4, SIM_FAULT_ERROR, EBUSY, ERROR_BUSY },
};

/* The kernel refuses: the assignment fails and everything is as before. */
START_TEST(refused_by_the_kernel) {
        const Setting *s = settings + refusals[_i].setting;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        SimFault f = { .device = address_of(s), .step = s->type, .kind = refusals[_i].kind,
                       .error = refusals[_i].error, .times = 1 };

        world_init(&w);
        world_settle(&w);
        set_policy(&w, s->rule);
        ck_assert_int_eq(host_sim_inject(w.host, &f), 0);
        world_assign(&w, &ROOT, one_device(s->device), OWNER, &o);
        ck_assert_msg(w.answer.code == refusals[_i].code, "%d: %s", (int) w.answer.code,
                      w.answer.message);
        world_run(&w, USEC_PER_SEC);
        check(&w, s, s->before);
        world_check_restored(&w);
}
END_TEST

/* A later step fails: what was set is undone. */
START_TEST(undone_with_the_plan) {
        const Setting *s = settings + _i;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        SimFault f = { .device = address_of(s), .step = STEP_TRIAL_ATTACH, .kind = SIM_FAULT_ERROR,
                       .error = EPERM, .times = 1 };

        world_init(&w);
        world_settle(&w);
        set_policy(&w, s->rule);
        ck_assert_int_eq(host_sim_inject(w.host, &f), 0);
        world_assign(&w, &ROOT, one_device(s->device), OWNER, &o);
        ck_assert_int_ne(w.answer.code, ERROR_NONE);
        world_run(&w, USEC_PER_SEC);
        check(&w, s, s->before);
        world_check_restored(&w);
}
END_TEST

/* Not taken back: the device goes home all the same. */
START_TEST(not_taken_back) {
        const Setting *s = settings + _i;
        _cleanup_world_ World w;
        AssignOptions o = persistent();
        char id[ASSIGNMENT_ID_MAX];
        const Job *job;
        SimFault f = {
                .device = address_of(s), .step = s->type, .kind = SIM_FAULT_NO_EFFECT, .times = 1
        };

        world_init(&w);
        world_settle(&w);
        set_policy(&w, s->rule);
        world_assign(&w, &ROOT, one_device(s->device), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        (void) string_copy(id, sizeof(id), w.answer.assignment);
        ck_assert_int_eq(host_sim_inject(w.host, &f), 0);
        world_release(&w, &ROOT, id);
        ck_assert_msg(w.answer.code == ERROR_NONE, "%s", w.answer.message);
        job = inventory_job(engine_inventory(w.engine), w.answer.job);
        ck_assert_ptr_nonnull(strstr(strempty(job->result.details), "not taken back"));
        world_run(&w, USEC_PER_SEC);
        check(&w, s, s->after);
        world_check_restored(&w);
}
END_TEST

START_TEST(a_size_that_cannot_be) {
        _cleanup_world_ World w;
        AssignOptions o = persistent();

        world_init(&w);
        world_settle(&w);
        set_policy(&w, "\"group\": \"take-all\", \"bars\": { \"1\": { \"size\": \"256M\" } }");
        world_assign(&w, &ROOT, one_device(ONE_GPU), OWNER, &o);
        ck_assert_msg(w.answer.code == ERROR_POLICY_DENIED, "%s", w.answer.message);
        world_check_restored(&w);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_loop_test(tcase, set_and_taken_back, 0, ELEMENTSOF(settings));
        tcase_add_test(tcase, nothing_to_set);
        tcase_add_loop_test(tcase, refused_by_the_kernel, 0, ELEMENTSOF(refusals));
        tcase_add_loop_test(tcase, undone_with_the_plan, 0, ELEMENTSOF(settings));
        tcase_add_loop_test(tcase, not_taken_back, 0, ELEMENTSOF(settings));
        tcase_add_test(tcase, a_size_that_cannot_be);
}

UNIT_MAIN("engine-settings", add_tests);
