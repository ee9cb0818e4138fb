/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A plan for people and for programs: one line for each step, and the JSON that `pciassignctl plan
 * --json` shows. The keys are part of the interface. Both are made from the same plan that is run,
 * so they cannot promise anything else.
 */

#include <assert.h>

#include "base/strutil.h"
#include "plan/plan.h"

/* Both ways: what is written and what undoing writes. */
static char *describe_setting(const Step *s, const char *address, const char *value) {
        unsigned bar, size;

        switch (s->type) {
        case STEP_SET_AUTOPROBE:
                return strjoinf("let drivers %stake new virtual functions of %s by themselves",
                                streq(value, "0") ? "not " : "", address);
        case STEP_SET_D3COLD:
                return strjoinf("%s D3cold for %s", streq(value, "0") ? "forbid" : "allow",
                                address);
        case STEP_SET_NOSNOOP:
                return strjoinf("turn No Snoop of %s %s", address,
                                streq(value, "0") ? "off" : "on");
        case STEP_SET_DOMAIN_TYPE:
                return strjoinf("set the domain type of group %u to %s", s->group, value);
        case STEP_RESIZE_BAR:
                if (step_parse_resize(value, &bar, &size) < 0)
                        break;
                return strjoinf("resize BAR %u of %s to %llu MiB", bar, address, 1ULL << size);
        default: /* the rest is no setting */
                break;
        }
        return strdup("");
}

static char *describe_device(const Step *s, const char *address) {
        switch (s->type) {
        case STEP_PROVE_UNHELD:
                return strjoinf("prove that nobody holds %s", address);
        case STEP_UNBIND:
                return strjoinf("unbind %s from %s", address, strempty(s->value));
        case STEP_SET_OVERRIDE:
                return isempty(s->value)
                               ? strjoinf("clear the driver override of %s", address)
                               : strjoinf("set the driver override of %s to %s", address, s->value);
        case STEP_PROBE:
                return isempty(s->expect)
                               ? strjoinf("let the kernel choose a driver for %s", address)
                               : strjoinf("bind %s to %s", address, s->expect);
        case STEP_SET_NODE_OWNER:
                return strjoinf("give the VFIO node of group %u to %s", s->group,
                                strempty(s->value));
        case STEP_TRIAL_ATTACH:
                return strjoinf("try group %u in an IOMMU container", s->group);
        case STEP_RESET:
                return isempty(s->value) ? strjoinf("reset %s", address) :
                                           strjoinf("reset %s by %s", address, s->value);
        case STEP_AWAIT_READY:
                return strjoinf("wait until %s answers", address);
        case STEP_SET_NUMVFS:
                return strjoinf("set the number of virtual functions of %s to %s", address,
                                strempty(s->value));
        case STEP_VERIFY:
                return isempty(s->expect) ? strjoinf("verify %s in group %u", address, s->group)
                                          : strjoinf("verify %s on %s in group %u", address,
                                                     s->expect, s->group);
        case STEP_HOLD_POWER:
                return streq(strempty(s->value), "on")
                               ? strjoinf("keep %s powered", address)
                               : strjoinf("set the power control of %s to %s", address,
                                          strempty(s->value));
        case STEP_SET_RESET_METHOD:
                return strjoinf("set the reset methods of %s to %s", address, strempty(s->value));
        case STEP_TAKE_REFERENCE:
                return strjoinf("keep the configuration of %s as reference", address);
        case STEP_COMPARE_CONFIG:
                return strjoinf("compare the configuration of %s with the reference", address);
        case STEP_HOOK:
                return strjoinf("run hook %s for %s", strempty(s->expect), address);
        case STEP_COMMIT_STATE:
                return isempty(s->expect)
                               ? strjoinf("remove %s from the state directory", strempty(s->value))
                               : strjoinf("record %s in the state directory", strempty(s->value));
        case STEP_AWAIT_VFS:
                return strjoinf("wait for %s virtual functions of %s", strempty(s->value), address);
        case STEP_SET_AUTOPROBE:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
                return describe_setting(s, address, strempty(s->value));
        case _STEP_TYPE_MAX:
        case _STEP_TYPE_INVALID:
                break;
        }
        return strdup("");
}

char *step_describe(const Step *s) {
        assert(s);
        return describe_device(s, PCI_ADDRESS_TEXT(s->device));
}

char *step_describe_undo(const Step *s) {
        const char *undo, *address;

        assert(s);
        undo = step_undo_value(s);
        address = PCI_ADDRESS_TEXT(s->device);
        if (!undo)
                return strdup("");
        switch (s->type) {
        case STEP_UNBIND:
                return strjoinf("bind %s to %s", address, undo);
        case STEP_SET_OVERRIDE:
                return undo[0] ? strjoinf("set the driver override of %s to %s", address, undo) :
                                 strjoinf("clear the driver override of %s", address);
        case STEP_PROBE:
                return undo[0] ? strjoinf("unbind %s from %s", address, undo)
                               : strjoinf("unbind %s", address);
        case STEP_SET_NODE_OWNER:
                return strjoinf("give the VFIO node of group %u to %s", s->group, undo);
        case STEP_SET_NUMVFS:
                return strjoinf("set the number of virtual functions of %s to %s", address, undo);
        case STEP_HOLD_POWER:
                return strjoinf("set the power control of %s to %s", address, undo);
        case STEP_SET_RESET_METHOD:
                return strjoinf("set the reset methods of %s to %s", address, undo);
        case STEP_COMMIT_STATE:
                return undo[0] ? strjoinf("put %s of the state directory back as it was",
                                          strempty(s->value))
                               : strjoinf("remove %s from the state directory", strempty(s->value));
        case STEP_SET_AUTOPROBE:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
                return describe_setting(s, address, undo);
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
                break;
        }
        return strdup("");
}

static Json *device_to_json(const PlanDevice *d) {
        Json *j = json_new_object();

        (void) json_set_string(j, "address", PCI_ADDRESS_TEXT(d->address));
        (void) json_set_u64(j, "iommu_group", d->group);
        (void) json_set_stringf(j, "vendor", "%04x", d->vendor);
        (void) json_set_stringf(j, "device", "%04x", d->device);
        (void) json_set_stringf(j, "subsystem_vendor", "%04x", d->subsystem_vendor);
        (void) json_set_stringf(j, "subsystem_device", "%04x", d->subsystem_device);
        (void) json_set_bool(j, "requested", d->requested);
        (void) json_set_string(j, "driver", d->driver);
        (void) json_set_string(j, "driver_before", strempty(d->driver_before));
        (void) json_set_string(j, "override_before", strempty(d->override_before));
        (void) json_set_string(j, "used_by", strempty(d->used_by));
        return j;
}

static Json *step_to_json(const Step *s) {
        _cleanup_free_ char *text = step_describe(s), *undo = step_describe_undo(s);
        Json *j = json_new_object();

        (void) json_set_string(j, "type", step_type_to_string(s->type));
        if (s->has_device)
                (void) json_set_string(j, "device", PCI_ADDRESS_TEXT(s->device));
        (void) json_set_u64(j, "iommu_group", s->group);
        (void) json_set_string(j, "value", s->value);
        /* Serial numbers and owners are not for everybody who may read a plan. */
        (void) json_set_string(j, "expect", s->type == STEP_COMMIT_STATE ? NULL : s->expect);
        (void) json_set_u64(j, "timeout_msec", s->timeout_msec);
        (void) json_set_string(j, "description", text);
        (void) json_set_string(j, "undo", undo);
        return j;
}

Json *plan_to_json(const Plan *p) {
        Json *j, *devices, *steps;

        assert(p);
        j = json_new_object();
        devices = json_new_array();
        steps = json_new_array();
        for (size_t i = 0; i < p->n_devices; i++)
                (void) json_append(devices, device_to_json(p->devices + i));
        for (size_t i = 0; i < p->n_steps; i++)
                (void) json_append(steps, step_to_json(p->steps + i));
        (void) json_set_string(j, "kind", plan_kind_to_string(p->kind));
        (void) json_set_string(j, "id", p->id);
        (void) json_set(j, "devices", devices);
        (void) json_set(j, "steps", steps);
        return j;
}
