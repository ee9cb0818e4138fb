/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Building, copying and searching plans. A plan owns its strings; arrays grow, so a pointer to an
 * element is good until the next one is added. Nothing here reads the system: a plan says what
 * shall be written, others write it.
 */

#include "plan/plan.h"

#include <assert.h>

#include "base/strutil.h"

static const char *const step_types[_STEP_TYPE_MAX] = {
        [STEP_PROVE_UNHELD] = "prove-unheld",
        [STEP_UNBIND] = "unbind",
        [STEP_SET_OVERRIDE] = "set-override",
        [STEP_PROBE] = "probe",
        [STEP_SET_NODE_OWNER] = "set-node-owner",
        [STEP_TRIAL_ATTACH] = "trial-attach",
        [STEP_RESET] = "reset",
        [STEP_AWAIT_READY] = "await-ready",
        [STEP_SET_NUMVFS] = "set-numvfs",
        [STEP_VERIFY] = "verify",
        [STEP_HOLD_POWER] = "hold-power",
        [STEP_SET_RESET_METHOD] = "set-reset-method",
        [STEP_TAKE_REFERENCE] = "take-reference",
        [STEP_COMPARE_CONFIG] = "compare-config",
        [STEP_HOOK] = "hook",
        [STEP_COMMIT_STATE] = "commit-state",
        [STEP_SET_AUTOPROBE] = "set-autoprobe",
        [STEP_AWAIT_VFS] = "await-vfs",
        [STEP_SET_D3COLD] = "set-d3cold",
        [STEP_SET_NOSNOOP] = "set-nosnoop",
        [STEP_SET_DOMAIN_TYPE] = "set-domain-type",
        [STEP_RESIZE_BAR] = "resize-bar",
};

static const char *const plan_kinds[_PLAN_KIND_MAX] = {
        [PLAN_ASSIGN] = "assign",
        [PLAN_RELEASE] = "release",
        [PLAN_RESET] = "reset",
        [PLAN_SET_NUMVFS] = "set-numvfs",
        [PLAN_CLEAN] = "clean",
        [PLAN_RECORD] = "record",
        [PLAN_HOLD] = "hold",
};

const char *step_type_to_string(StepType t) {
        return (int) t >= 0 && t < _STEP_TYPE_MAX ? step_types[t] : NULL;
}

StepType step_type_from_string(const char *s) {
        if (!s)
                return _STEP_TYPE_INVALID;
        for (size_t i = 0; i < ELEMENTSOF(step_types); i++)
                if (streq(step_types[i], s))
                        return (StepType) i;
        return _STEP_TYPE_INVALID;
}

bool step_type_is_removal(StepType t) {
        return t == STEP_SET_NUMVFS;
}

bool step_type_is_setting(StepType t) {
        return t == STEP_SET_D3COLD || t == STEP_SET_NOSNOOP || t == STEP_SET_DOMAIN_TYPE ||
               t == STEP_RESIZE_BAR;
}

int step_parse_resize(const char *value, unsigned *ret_bar, unsigned *ret_size) {
        uint32_t size;

        assert(value);
        assert(ret_bar);
        assert(ret_size);
        if (value[0] < '0' || value[0] > '5' || value[1] != '=' ||
            parse_u32(value + 2, 10, 43, &size) < 0)
                return -EINVAL;
        *ret_bar = (unsigned) (value[0] - '0');
        *ret_size = size;
        return 0;
}

const char *plan_kind_to_string(PlanKind k) {
        return (int) k >= 0 && k < _PLAN_KIND_MAX ? plan_kinds[k] : NULL;
}

Plan *plan_new(PlanKind kind) {
        Plan *p = calloc(1, sizeof(Plan));

        if (p)
                p->kind = kind;
        return p;
}

static void plan_device_done(PlanDevice *d) {
        free(d->driver);
        free(d->driver_before);
        free(d->override_before);
        free(d->used_by);
}

static void step_done(Step *s) {
        free(s->value);
        free(s->undo);
        free(s->expect);
}

void plan_clear_steps(Plan *p) {
        assert(p);
        for (size_t i = 0; i < p->n_steps; i++)
                step_done(p->steps + i);
        p->n_steps = 0;
}

void plan_drop_step(Plan *p) {
        assert(p);
        assert(p->n_steps > 0);
        step_done(p->steps + --p->n_steps);
}

Plan *plan_free(Plan *p) {
        if (!p)
                return NULL;
        for (size_t i = 0; i < p->n_devices; i++)
                plan_device_done(p->devices + i);
        for (size_t i = 0; i < p->n_steps; i++)
                step_done(p->steps + i);
        free(p->devices);
        free(p->steps);
        free(p);
        return NULL;
}

PlanDevice *plan_add_device(Plan *p, PciAddress a) {
        PlanDevice *d;

        assert(p);
        if (p->n_devices >= PLAN_DEVICES_MAX ||
            ARRAY_RESERVE_ONE(p->devices, p->n_devices, p->devices_allocated) < 0)
                return NULL;
        d = p->devices + p->n_devices++;
        *d = (PlanDevice) { .address = a };
        return d;
}

Step *plan_add_step(Plan *p, StepType t, uint32_t group) {
        Step *s;

        assert(p);
        if (p->n_steps >= PLAN_STEPS_MAX ||
            ARRAY_RESERVE_ONE(p->steps, p->n_steps, p->steps_allocated) < 0)
                return NULL;
        s = p->steps + p->n_steps++;
        *s = (Step) { .type = t, .group = group, .timeout_msec = PLAN_STEP_TIMEOUT_DEFAULT_MSEC };
        return s;
}

Step *plan_add_device_step(Plan *p, StepType t, const PlanDevice *d) {
        Step *s;

        assert(d);
        s = plan_add_step(p, t, d->group);
        if (s) {
                s->device = d->address;
                s->has_device = true;
        }
        return s;
}

bool step_is_cleaning(const Step *s) {
        assert(s);
        return s->type == STEP_RESET || s->type == STEP_AWAIT_READY ||
               s->type == STEP_COMPARE_CONFIG || s->type == STEP_HOOK ||
               s->type == STEP_SET_RESET_METHOD;
}

int step_set(Step *s, const char *value, const char *undo, const char *expect) {
        assert(s);
        if (free_and_strdup(&s->value, value) < 0 || free_and_strdup(&s->undo, undo) < 0 ||
            free_and_strdup(&s->expect, expect) < 0)
                return -ENOMEM;
        return 0;
}

const char *step_undo_value(const Step *s) {
        assert(s);
        switch (s->type) {
        case STEP_UNBIND:
                return s->undo ? s->undo : s->value;
        case STEP_PROBE:
                return s->undo ? s->undo : strempty(s->expect);
        case STEP_SET_NODE_OWNER:
                return s->undo ? s->undo : "0:0";
        case STEP_SET_OVERRIDE:
        case STEP_SET_NUMVFS:
        case STEP_SET_AUTOPROBE:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
        case STEP_HOLD_POWER:
        case STEP_SET_RESET_METHOD:
        case STEP_COMMIT_STATE:
                return s->undo;
        case STEP_PROVE_UNHELD:
        case STEP_TRIAL_ATTACH:
        case STEP_RESET:
        case STEP_AWAIT_READY:
        case STEP_VERIFY:
        case STEP_TAKE_REFERENCE:
        case STEP_COMPARE_CONFIG:
        case STEP_HOOK:
        case STEP_AWAIT_VFS:
        case _STEP_TYPE_MAX:
        case _STEP_TYPE_INVALID:
                return NULL;
        }
        return NULL;
}

static int plan_copy_device(const PlanDevice *from, Plan *to) {
        PlanDevice *d = plan_add_device(to, from->address);

        if (!d)
                return -ENOMEM;
        d->group = from->group;
        d->vendor = from->vendor;
        d->device = from->device;
        d->subsystem_vendor = from->subsystem_vendor;
        d->subsystem_device = from->subsystem_device;
        d->requested = from->requested;
        if (free_and_strdup(&d->driver, from->driver) < 0 ||
            free_and_strdup(&d->driver_before, from->driver_before) < 0 ||
            free_and_strdup(&d->override_before, from->override_before) < 0 ||
            free_and_strdup(&d->used_by, from->used_by) < 0)
                return -ENOMEM;
        return 0;
}

int plan_copy(const Plan *p, Plan **ret) {
        _cleanup_(plan_freep) Plan *copy = NULL;
        int r;

        assert(p);
        assert(ret);
        copy = plan_new(p->kind);
        if (!copy)
                return -ENOMEM;
        memcpy(copy->id, p->id, sizeof(copy->id));
        for (size_t i = 0; i < p->n_devices; i++) {
                r = plan_copy_device(p->devices + i, copy);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < p->n_steps; i++) {
                const Step *from = p->steps + i;
                Step *s = plan_add_step(copy, from->type, from->group);

                if (!s)
                        return -ENOMEM;
                s->device = from->device;
                s->has_device = from->has_device;
                s->timeout_msec = from->timeout_msec;
                r = step_set(s, from->value, from->undo, from->expect);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(copy);
        return 0;
}

const PlanDevice *plan_find_device(const Plan *p, PciAddress a) {
        assert(p);
        for (size_t i = 0; i < p->n_devices; i++)
                if (pci_address_equal(p->devices[i].address, a))
                        return p->devices + i;
        return NULL;
}

static int compare_u32(const void *a, const void *b) {
        uint32_t x = *(const uint32_t *) a, y = *(const uint32_t *) b;

        return x < y ? -1 : x > y;
}

int plan_groups(const Plan *p, uint32_t **ret, size_t *ret_n) {
        _cleanup_free_ uint32_t *groups = NULL;
        size_t n = 0, distinct = 0;

        assert(p);
        assert(ret);
        assert(ret_n);
        groups = calloc(p->n_devices + p->n_steps + 1, sizeof(uint32_t));
        if (!groups)
                return -ENOMEM;
        for (size_t i = 0; i < p->n_devices; i++)
                groups[n++] = p->devices[i].group;
        for (size_t i = 0; i < p->n_steps; i++)
                if (p->steps[i].type != STEP_COMMIT_STATE)
                        groups[n++] = p->steps[i].group;
        qsort(groups, n, sizeof(uint32_t), compare_u32);
        for (size_t i = 0; i < n; i++)
                if (distinct == 0 || groups[distinct - 1] != groups[i])
                        groups[distinct++] = groups[i];
        *ret = TAKE_PTR(groups);
        *ret_n = distinct;
        return 0;
}

bool plan_has_removal(const Plan *p) {
        assert(p);
        for (size_t i = 0; i < p->n_steps; i++)
                if (step_type_is_removal(p->steps[i].type))
                        return true;
        return false;
}
