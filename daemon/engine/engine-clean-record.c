/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The record of each cleaning: whose traces, when, each step with its time, outcome and what it
 * found, and what came of it. It is evidence for people, kept by the store; nothing is decided by
 * it.
 */

#include <assert.h>

#include "engine/engine-clean.h"
#include "pci/driver.h"

static const char *step_value(const Step *s) {
        if (s->type == STEP_HOOK)
                return s->expect;
        return isempty(s->value) ? NULL : s->value;
}

static Json *step_to_json(const Task *t, size_t i) {
        const Step *s = t->plan->steps + i;
        const StepNote *n = t->notes + i;
        Json *j = json_new_object();

        (void) json_set_string(j, "step", step_type_to_string(s->type));
        if (step_value(s))
                (void) json_set_string(j, "value", step_value(s));
        (void) json_set_string(j, "outcome",
                               n->ended == 0  ? "not-done"
                               : n->error < 0 ? "failed"
                                              : "done");
        if (n->ended > 0)
                (void) json_set_u64(j, "usec", n->ended - n->started);
        if (n->error < 0)
                (void) json_set_string(j, "error",
                                       strerrorname_np(-n->error) ? strerrorname_np(-n->error)
                                                                  : "other");
        if (n->evidence)
                (void) json_set_string(j, "evidence", n->evidence);
        return j;
}

static Json *steps_to_json(const Task *t, PciAddress a) {
        Json *list = json_new_array();

        for (size_t i = 0; t->notes && i < t->plan->n_steps; i++) {
                const Step *s = t->plan->steps + i;

                if (s->has_device && pci_address_equal(s->device, a) &&
                    (engine_clean_is_step(t->plan, i) || s->type == STEP_PROVE_UNHELD))
                        (void) json_append(list, step_to_json(t, i));
        }
        return list;
}

void engine_clean_record(Task *t, PciAddress a, const CleanSubject *s, const char *outcome,
                         const char *reason) {
        const PlanDevice *p = plan_find_device(t->plan, a);
        _cleanup_json_ Json *j = json_new_object();
        _cleanup_free_ char *text = NULL;
        int r;

        assert(s);
        assert(outcome);
        (void) json_set_u64(j, "at", now_realtime());
        (void) json_set_string(j, "outcome", outcome);
        if (reason)
                (void) json_set_string(j, "reason", reason);
        (void) json_set_string(j, "owner", s->owner);
        (void) json_set_u64(j, "uid", s->uid);
        (void) json_set_string(j, "assignment", s->assignment);
        (void) json_set_u64(j, "job", t->job);
        if (p) {
                (void) json_set_stringf(j, "identity", "%04x:%04x:%04x:%04x", p->vendor, p->device,
                                        p->subsystem_vendor, p->subsystem_device);
                (void) json_set_string(j, "driver_before", strempty(p->driver_before));
                (void) json_set_string(j, "override_before", strempty(p->override_before));
        }
        (void) json_set(j, "steps", steps_to_json(t, a));
        text = json_to_text(j, false);
        r = text ? store_add_cleaning(t->engine->store, PCI_ADDRESS_TEXT(a), text) : -ENOMEM;
        if (r < 0)
                (void) log_warning_errno(r, "Failed to keep the record of cleaning %s: %m",
                                         PCI_ADDRESS_TEXT(a));
}

/* ---- showing ---- */

static Json *cycles_to_json(Engine *e, const Device *d) {
        _cleanup_free_ char *text = NULL;
        Json *list = json_new_array();
        char *save = NULL;

        if (store_read_cleaning(e->store, PCI_ADDRESS_TEXT(d->facts.address), &text) < 0)
                return list;
        for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                Json *one = NULL;

                if (json_parse(line, strlen(line), JSON_LIMITS_DEFAULT, &one, NULL, NULL) >= 0)
                        (void) json_append(list, one);
        }
        return list;
}

Json *engine_clean_to_json(Engine *e, const Device *d) {
        Json *j = json_new_object();

        assert(e);
        assert(d);
        (void) json_set_string(j, "state",
                               d->quarantine    ? "quarantined"
                               : d->dirty_owner ? "dirty"
                                                : "clean");
        if (d->quarantine)
                (void) json_set_string(j, "quarantine", d->quarantine);
        if (d->dirty_owner) {
                (void) json_set_string(j, "last-owner", d->dirty_owner);
                (void) json_set_u64(j, "last-uid", d->dirty_uid);
        }
        (void) json_set_bool(j, "can-be-cleaned", engine_clean_can(e, d));
        (void) json_set(j, "cycles", cycles_to_json(e, d));
        return j;
}

static void take_driver(const Json *record, const char *key, char **to) {
        const char *text;

        if (json_get_string(record, key, &text) < 0 || (text[0] && !pci_driver_name_is_valid(text)))
                return;
        if (free_and_strdup(to, text) < 0)
                log_warning("Not enough memory for what a device was before");
}

void engine_clean_read_home(Engine *e, const Device *d, char **driver, char **override) {
        _cleanup_json_ Json *list = NULL;
        const Json *last;

        assert(driver);
        assert(override);
        list = cycles_to_json(e, d);
        last = json_length(list) > 0 ? json_at(list, json_length(list) - 1) : NULL;
        if (!last)
                return;
        take_driver(last, "driver_before", driver);
        take_driver(last, "override_before", override);
}

Json *engine_clean_quarantined_to_json(Engine *e, const Assignment *a) {
        Json *list = NULL;

        assert(e);
        assert(a);
        for (size_t i = 0; i < a->plan->n_devices; i++) {
                const Device *d = inventory_device(e->inventory, a->plan->devices[i].address);
                Json *one;

                if (!d || !d->quarantine)
                        continue;
                one = json_new_object();
                (void) json_set_string(one, "device", PCI_ADDRESS_TEXT(d->facts.address));
                (void) json_set_string(one, "reason", d->quarantine);
                if (!list)
                        list = json_new_array();
                (void) json_append(list, one);
        }
        return list;
}
