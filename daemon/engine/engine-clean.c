/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is done to a device between two owners. Nobody holds it by then: that was proven by the same
 * plan, whose worker has the group's lock, so nothing open is ever reset. The order: powered, reset
 * by the rule's methods in their order (which the kernel itself tries one after the other),
 * awaited, compared with the reference of before its owner had it, and then the administrator's
 * hooks. A device that nothing can reset, or that its rule leaves alone, is not clean afterwards:
 * it goes back to its last owner or to nobody.
 */

#include "engine/engine-clean.h"

#include <assert.h>

#include "engine/engine-kept.h"
#include "pci/driver.h"

#define HOOK_TIMEOUT_MSEC 30000U

bool engine_clean_can(Engine *e, const Device *d) {
        assert(e);
        assert(d);
        return d->facts.reset_method[0] && !d->no_reset && !engine_rule(e, d)->settings.reset.none;
}

bool engine_clean_is_needed(const Device *d, uid_t uid, const char *owner) {
        assert(d);
        return d->dirty_owner && (d->dirty_uid != uid || !streq_ptr(d->dirty_owner, owner));
}

static int add(Plan *plan, StepType type, const PlanDevice *p, uint32_t timeout,
               const char *const text[3]) {
        Step *s = plan_add_device_step(plan, type, p);

        if (!s)
                return -ENOMEM;
        s->timeout_msec = timeout;
        return step_set(s, text[0], text[1], text[2]);
}
#define TEXT(value, undo, expect) ((const char *const[3]) { (value), (undo), (expect) })

/* ---- reset ---- */

static bool has_word(const char *list, const char *word) {
        size_t n = strlen(word);

        while (*list) {
                size_t k = strcspn(list, " ");

                if (k == n && strncmp(list, word, n) == 0)
                        return true;
                list += k + (list[k] != 0);
        }
        return false;
}

/* The rule's methods that the device has, in the rule's order; "" the kernel's order is as good. */
static int choose_methods(const PolicyReset *r, const Device *d, char **ret) {
        _cleanup_strbuf_ StrBuf b = {};
        _cleanup_free_ char *text = NULL;

        for (size_t i = 0; i < r->n; i++)
                if (has_word(d->facts.reset_method, r->methods[i]))
                        strbuf_addf(&b, "%s%s", b.size > 0 ? " " : "", r->methods[i]);
        text = strbuf_steal(&b);
        if (!text)
                return -ENOMEM;
        if (streq(text, d->facts.reset_method))
                text[0] = 0;
        *ret = TAKE_PTR(text);
        return 0;
}

static int add_ready(Plan *plan, const PlanDevice *p, const PolicySettings *s) {
        return add(plan, STEP_AWAIT_READY, p,
                   (uint32_t) MIN(s->ready_timeout / USEC_PER_MSEC, UINT32_MAX / 2),
                   TEXT(NULL, NULL, NULL));
}

static int add_reset(Engine *e, Plan *plan, const PlanDevice *p, const Device *d,
                     const PolicySettings *s) {
        uint32_t timeout = e->options.step_timeout_msec;
        _cleanup_free_ char *methods = NULL;
        int r = choose_methods(&s->reset, d, &methods);

        if (r >= 0 && methods[0])
                r = add(plan, STEP_SET_RESET_METHOD, p, timeout,
                        TEXT(methods, d->facts.reset_method, methods));
        if (r >= 0)
                r = PLANTED(FORGET_RESET) ? 0
                                          : add(plan, STEP_RESET, p, timeout, TEXT("", NULL, NULL));
        if (r >= 0 && methods[0])
                r = add(plan, STEP_SET_RESET_METHOD, p, timeout,
                        TEXT(d->facts.reset_method, NULL, d->facts.reset_method));
        if (r >= 0)
                r = add_ready(plan, p, s);
        return r < 0 ? r : add(plan, STEP_COMPARE_CONFIG, p, timeout, TEXT(NULL, NULL, NULL));
}

/* ---- hooks ---- */

static Json *device_to_json(const PlanDevice *p, const Device *d) {
        Json *j = json_new_object();

        (void) json_set_string(j, "address", PCI_ADDRESS_TEXT(p->address));
        (void) json_set_stringf(j, "vendor", "%04x", p->vendor);
        (void) json_set_stringf(j, "device", "%04x", p->device);
        (void) json_set_stringf(j, "subsystem_vendor", "%04x", p->subsystem_vendor);
        (void) json_set_stringf(j, "subsystem_device", "%04x", p->subsystem_device);
        (void) json_set_stringf(j, "class", "%06x", d->facts.class_code);
        (void) json_set_string(j, "kind",
                               pci_kind_to_string(pci_kind_from_class(d->facts.class_code)));
        (void) json_set_string(j, "driver", d->facts.driver);
        (void) json_set_u64(j, "iommu_group", p->group);
        (void) json_set_bool(j, "requested", p->requested);
        return j;
}

static char *hook_input(const PlanDevice *p, const Device *d, const PolicyRule *rule,
                        const CleanSubject *s) {
        _cleanup_json_ Json *j = json_new_object();

        (void) json_set_string(j, "event", s->event);
        (void) json_set(j, "device", device_to_json(p, d));
        (void) json_set_stringf(j, "node", "/dev/vfio/%u", p->group);
        (void) json_set_string(j, "owner", s->owner);
        (void) json_set_u64(j, "uid", s->uid);
        (void) json_set_string(j, "assignment", s->assignment);
        (void) json_set(j, "rule", engine_policy_rule_to_json(rule));
        return json_to_text(j, false);
}

int engine_clean_add_hooks(Engine *e, Plan *plan, const PlanDevice *p, const CleanSubject *s) {
        const Device *d = inventory_device(e->inventory, p->address);
        const PolicyRule *rule;
        int r = 0;

        assert(s);
        if (!d)
                return 0;
        rule = engine_rule(e, d);
        for (size_t i = 0; i < rule->settings.hooks.n && r >= 0; i++) {
                _cleanup_free_ char *input = hook_input(p, d, rule, s);

                r = input ? add(plan, STEP_HOOK, p, HOOK_TIMEOUT_MSEC,
                                TEXT(input, NULL, rule->settings.hooks.names[i]))
                          : -ENOMEM;
        }
        return r;
}

int engine_clean_add(Engine *e, Plan *plan, const PlanDevice *p, const CleanSubject *s) {
        const Device *d;
        int r = 0;

        assert(e);
        assert(plan);
        assert(p);
        d = inventory_device(e->inventory, p->address);
        if (!d)
                return 0;
        if (engine_clean_can(e, d)) {
                /* A VFIO driver lets an idle device sleep: "auto" is what it set. */
                r = add(plan, STEP_HOLD_POWER, p, e->options.step_timeout_msec,
                        TEXT("on", "auto", "on"));
                if (r >= 0)
                        r = add_reset(e, plan, p, d, &engine_rule(e, d)->settings);
        } else /* not clean, but no host driver shall meet a dead one */
                r = add_ready(plan, p, &engine_rule(e, d)->settings);
        return r < 0 ? r : engine_clean_add_hooks(e, plan, p, s);
}

/* ---- before and after an owner ---- */

static const CleanSubject *subject_of(const AskedFor *asked, const char *event, CleanSubject *ret) {
        *ret = (CleanSubject){
                .owner = strempty(asked->self  ? asked->self->owner
                                  : asked->ask ? asked->ask->owner
                                               : NULL),
                .uid = asked->self  ? asked->self->creator_uid
                       : asked->ask ? asked->ask->uid
                                    : UID_UNSET,
                .assignment = asked->self ? asked->self->id : "",
                .event = event,
        };
        return ret;
}

int engine_clean_add_questions(Engine *e, const AskedFor *asked, Plan *plan) {
        CleanSubject s;
        int r = 0;

        assert(e);
        assert(asked);
        assert(plan);
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                r = engine_clean_add_hooks(e, plan, plan->devices + i,
                                           subject_of(asked, "before-assign", &s));
        return r;
}

int engine_clean_add_power(Engine *e, Plan *plan, const PlanDevice *p) {
        const Device *d = inventory_device(e->inventory, p->address);
        const PciText *now =
                d && d->live ? d->live->attributes + PCI_ATTRIBUTE_POWER_CONTROL : NULL;

        if (!now || now->state != FACT_PRESENT || streq(now->text, "on") ||
            streq(p->driver, p->driver_before))
                return 0;
        return add(plan, STEP_HOLD_POWER, p, e->options.step_timeout_msec,
                   TEXT("on", now->text, "on"));
}

int engine_clean_add_before(Engine *e, const AskedFor *asked, Plan *plan, const PlanDevice *p) {
        const Device *d = inventory_device(e->inventory, p->address);
        CleanSubject s, last;
        int r = 0;

        (void) subject_of(asked, "clean", &s);
        /* What the same owner left is measured by the reference of before it had it at first. */
        if (d && d->dirty_owner && !engine_clean_is_needed(d, s.uid, s.owner))
                return 0;
        if (d && d->dirty_owner) {
                last = (CleanSubject) { d->dirty_owner, d->dirty_uid, "", "clean" };
                r = engine_clean_add(e, plan, p, &last);
        }
        return r < 0 ? r
                     : add(plan, STEP_TAKE_REFERENCE, p, e->options.step_timeout_msec,
                           TEXT(NULL, NULL, NULL));
}

static const char *power_before(const Plan *made, PciAddress a) {
        for (size_t i = 0; made && i < made->n_steps; i++) {
                const Step *s = made->steps + i;

                if (s->type == STEP_HOLD_POWER && pci_address_equal(s->device, a))
                        return s->undo; /* the first is of before all */
        }
        return NULL;
}

int engine_clean_add_power_back(Engine *e, const Plan *made, Plan *plan, const PlanDevice *p) {
        const char *before = power_before(made, p->address);
        bool stays = !made || streq(strempty(p->driver), strempty(p->driver_before));

        assert(e);
        assert(plan);
        if (stays && !before && engine_clean_plan_cleans(plan, p->address))
                before = "auto"; /* of a VFIO driver */
        if (!before)
                return 0;
        return add(plan, STEP_HOLD_POWER, p, e->options.step_timeout_msec,
                   TEXT(before, NULL, before));
}

int engine_clean_add_home(Engine *e, Plan *plan, const PlanDevice *p) {
        uint32_t timeout = e->options.step_timeout_msec;
        int r;

        assert(plan);
        assert(p);
        if (streq(p->driver_before, p->driver))
                return engine_clean_add_power_back(e, NULL, plan, p); /* it stays, held */
        r = add(plan, STEP_UNBIND, p, timeout, TEXT(p->driver, p->driver, NULL));
        if (r >= 0)
                r = add(plan, STEP_SET_OVERRIDE, p, timeout,
                        TEXT(p->override_before, p->driver, p->override_before));
        return r < 0 || !p->driver_before[0]
                       ? r
                       : add(plan, STEP_PROBE, p, timeout, TEXT(NULL, "", ""));
}

/* ---- what came of it ---- */

bool engine_clean_plan_cleans(const Plan *plan, PciAddress a) {
        assert(plan);
        for (size_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].type == STEP_COMPARE_CONFIG &&
                    pci_address_equal(plan->steps[i].device, a))
                        return true;
        return false;
}

/* Hooks that are asked before anything else refuse; the device has nothing to do with it. */
static bool is_question(const Plan *plan, size_t step) {
        for (size_t i = 0; i < step; i++)
                if (plan->steps[i].type == STEP_PROVE_UNHELD)
                        return false;
        return plan->steps[step].type == STEP_HOOK;
}

bool engine_clean_is_step(const Plan *plan, size_t i) {
        const Step *s = plan->steps + i, *next = s + 1;

        assert(i < plan->n_steps);
        if (s->type != STEP_HOLD_POWER)
                return step_is_cleaning(s);
        /* Power is held for more than that. */
        return i + 1 < plan->n_steps &&
               (next->type == STEP_RESET || next->type == STEP_SET_RESET_METHOD) &&
               pci_address_equal(s->device, next->device);
}

/* The kernel lists methods that were there once: of a slot whose hot-plug driver has left, for
 * example. */
bool engine_clean_cannot_reset(Engine *e, const Plan *plan, const HostResult *result) {
        const Step *s;
        Device *d;

        assert(plan);
        assert(result);
        if (result->failed_step >= plan->n_steps ||
            (result->error != -ENOTTY && result->error != -EINVAL))
                return false;
        s = plan->steps + result->failed_step;
        d = s->type == STEP_RESET ? inventory_device(e->inventory, s->device) : NULL;
        if (!d || engine_rule(e, d)->settings.reset.n > 0)
                return false; /* a rule that names methods demands them */
        d->no_reset = true;
        (void) log_context(
                &(LogContext){ .message_id = MESSAGE_RESET, .device = PCI_ADDRESS_TEXT(s->device) },
                LOG_WARNING, 0, "No reset method of %s works (%s)", PCI_ADDRESS_TEXT(s->device),
                d->facts.reset_method);
        engine_update_verdicts(e, d, NULL);
        return true;
}

bool engine_clean_failed(const Plan *plan, const HostResult *result, PciAddress *ret) {
        assert(plan);
        assert(result);
        assert(ret);
        if (result->failed_step >= plan->n_steps ||
            !engine_clean_is_step(plan, result->failed_step) ||
            is_question(plan, result->failed_step))
                return false;
        if (result->error == -EBUSY || result->error == -ENODEV || result->error == -ESTALE ||
            result->error == -ECANCELED || result->n_holders > 0)
                return false;
        *ret = plan->steps[result->failed_step].device;
        return true;
}

/* Whose traces they are is known best by the mark. */
static void record(Task *t, const Device *d, const CleanSubject *s, const char *outcome,
                   const char *reason) {
        CleanSubject of = *s;

        if (d->dirty_owner) {
                of.owner = d->dirty_owner;
                of.uid = d->dirty_uid;
        }
        engine_clean_record(t, d->facts.address, &of, outcome, reason);
}

void engine_clean_quarantine(Task *t, PciAddress failed, const CleanSubject *s,
                             const char *reason) {
        const PlanDevice *p = plan_find_device(t->plan, failed);
        Engine *e = t->engine;

        assert(s);
        for (size_t i = 0; p && i < t->plan->n_devices; i++) {
                const PlanDevice *one = t->plan->devices + i;
                Device *d = inventory_device(e->inventory, one->address);

                if (!d || one->group != p->group || d->quarantine)
                        continue;
                record(t, d, s, "quarantined", reason);
                engine_quarantine(e, d, reason);
        }
}

/* Its last step of cleaning was done. */
static bool was_cleaned(const Task *t, const HostResult *result, PciAddress a) {
        size_t last = SIZE_MAX;

        for (size_t i = 0; i < t->plan->n_steps; i++)
                if (step_is_cleaning(t->plan->steps + i) && !is_question(t->plan, i) &&
                    t->plan->steps[i].has_device && pci_address_equal(t->plan->steps[i].device, a))
                        last = i;
        if (last == SIZE_MAX || !engine_clean_plan_cleans(t->plan, a))
                return false;
        return result->outcome == HOST_OUTCOME_DONE ||
               (last < t->n_notes && t->notes[last].ended > 0 && t->notes[last].error == 0);
}

/* Writes its record where there is something to tell. */
static bool settle_one(Task *t, const HostResult *result, const CleanSubject *s, const Device *d) {
        if (was_cleaned(t, result, d->facts.address)) {
                record(t, d, s, "verified", NULL);
                return true;
        }
        if (result->outcome == HOST_OUTCOME_DONE && t->plan->kind == PLAN_RELEASE)
                record(t, d, s, "dirty",
                       d->no_reset ? "no reset method of it works"
                       : d->facts.reset_method[0]
                               ? "its rule says not to reset it, or no VFIO driver had it any more"
                               : "it has no reset method");
        return false;
}

void engine_clean_settle(Task *t, const HostResult *result, const CleanSubject *s, bool still) {
        bool cleaned[PLAN_DEVICES_MAX] = {};
        Engine *e = t->engine;

        assert(result);
        assert(s);
        for (size_t i = 0; i < t->plan->n_devices && result->outcome != HOST_OUTCOME_UNKNOWN; i++) {
                const Device *d = inventory_device(e->inventory, t->plan->devices[i].address);

                if (d && !d->quarantine && d->dirty_owner)
                        cleaned[i] = settle_one(t, result, s, d);
        }
        engine_kept_take(e, t->plan, result);
        if (still || (t->plan->kind == PLAN_ASSIGN && result->outcome == HOST_OUTCOME_DONE))
                return;
        for (size_t i = 0; i < t->plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, t->plan->devices[i].address);

                if (cleaned[i] && d && d->dirty_owner && engine_kept_set_clean(e, d) < 0)
                        log_error("Not enough memory to note that %s is clean",
                                  PCI_ADDRESS_TEXT(d->facts.address));
        }
}
