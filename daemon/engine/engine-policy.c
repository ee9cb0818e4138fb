/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The policy in force and the rule that holds for a device. A rule sees a device as the host had
 * it: while a VFIO driver has it, the driver that it had before counts, so that being assigned does
 * not make another rule match. The policy is never NULL: without files it is what is built in.
 */

#include "engine/engine-policy.h"

#include <assert.h>

#include "pci/driver.h"

/* A rule that selects by driver means the host's, also while a VFIO driver has the device. */
static const char *host_driver(const Device *d) {
        const Assignment *a = d->assignment;
        const PlanDevice *p =
                a && a->plan ? plan_find_device(a->plan, d->facts.address) : NULL;

        if (p && !isempty(p->driver_before) && !pci_driver_is_vfio(p->driver_before))
                return p->driver_before;
        if (!isempty(d->held_from) && (!d->facts.driver[0] || pci_driver_is_vfio(d->facts.driver)))
                return d->held_from;
        return d->facts.driver[0] ? d->facts.driver : NULL;
}

void engine_policy_subject(Engine *e, const Device *d, char **ret_port_path, PolicySubject *ret) {
        const PciSlotFacts *slot;
        const Device *pf;
        char *path;

        assert(e);
        assert(d);
        assert(ret_port_path);
        assert(ret);
        /* Without rules nobody looks at it. Out of memory: such a selector does not match. */
        path = policy_n_rules(e->policy) > 0 ? pci_facts_port_path(&d->facts) : NULL;
        slot = inventory_slot(e->inventory, d->facts.address);
        pf = d->facts.is_vf ? inventory_device(e->inventory, d->facts.physfn) : NULL;
        *ret = (PolicySubject) {
                .facts = &d->facts,
                .config = d->config,
                .physfn_config = pf ? pf->config : NULL,
                .port_path = path,
                .slot = slot ? slot->name : NULL,
                .label = d->live ? d->live->attributes[PCI_ATTRIBUTE_LABEL].text : NULL,
                .driver = host_driver(d),
        };
        *ret_port_path = path;
}

const PolicyRule *engine_rule(Engine *e, const Device *d) {
        _cleanup_free_ char *path = NULL;
        PolicySubject s;

        engine_policy_subject(e, d, &path, &s);
        return policy_match(e->policy, &s);
}

static bool precedes(const Assignment *a, const Assignment *b) {
        return a->created_at != b->created_at ? a->created_at < b->created_at
                                              : strcmp(a->id, b->id) < 0;
}

/* Of several that wait for their facts what came first counts for those behind it; what has got its
 * plan counts for all, since it may have been decided before the facts of an earlier one were
 * in. */
static bool counts_for(const Assignment *a, const Assignment *self) {
        return !self || a->state != ASSIGNMENT_PREPARING || (a->plan && a->plan->n_steps > 0) ||
               precedes(a, self);
}

static uint32_t count_devices(Engine *e, const PolicyRule *rule, const Assignment *a) {
        uint32_t n = 0;

        for (size_t i = 0; a->plan && i < a->plan->n_devices; i++) {
                const PlanDevice *p = a->plan->devices + i;
                const Device *d = p->requested ? inventory_device(e->inventory, p->address) : NULL;

                n += d && d->assignment == a && engine_rule(e, d) == rule;
        }
        return n;
}

uint32_t engine_policy_count_owned(Engine *e, const PolicyRule *rule, const PolicyAsk *ask,
                                   const Assignment *self) {
        const Assignment *a;
        uint32_t n = 0;

        assert(e);
        assert(rule);
        assert(ask);
        HASHMAP_FOREACH(a, e->inventory->assignments)
                if (a != self && a->creator_uid == ask->uid && streq_ptr(a->owner, ask->owner) &&
                    counts_for(a, self))
                        n += count_devices(e, rule, a);
        return n;
}

/* ---- rules in JSON ---- */

Json *engine_policy_rule_to_json(const PolicyRule *rule) {
        Json *j = json_new_object();

        assert(rule);
        (void) json_set_string(j, "name", rule->name);
        (void) json_set_string(j, "file", rule->file);
        (void) json_set_u64(j, "line", rule->line);
        (void) json_set_string(j, "pointer", rule->pointer);
        return j;
}

/* Out of `rule "gpu-pool" (FILE:LINE, /rules/0/ats)`: the value may stand elsewhere than its
 * rule. */
static bool split_origin(char *proof, const char **ret_file, unsigned *ret_line,
                         const char **ret_pointer) {
        size_t n = strlen(proof);
        char *open = strrchr(proof, '('), *comma, *colon;
        uint32_t line;

        if (!open || n == 0 || proof[n - 1] != ')')
                return false;
        proof[n - 1] = 0;
        comma = strrchr(open, ',');
        if (!comma || comma[1] != ' ')
                return false;
        *comma = 0;
        colon = strrchr(open, ':');
        if (!colon || parse_u32(colon + 1, 10, UINT32_MAX, &line) < 0)
                return false;
        *colon = 0;
        *ret_file = open + 1;
        *ret_line = line;
        *ret_pointer = comma + 2;
        return true;
}

void engine_policy_add_origin(const PolicyRule *rule, const char *proof, Json *j) {
        _cleanup_free_ char *text = proof ? strdup(proof) : NULL;
        const char *file, *pointer;
        unsigned line;

        assert(rule);
        if (!text || !split_origin(text, &file, &line, &pointer)) {
                file = rule->file;
                line = rule->line;
                pointer = rule->pointer;
        }
        (void) json_set_string(j, "rule", rule->name);
        (void) json_set_string(j, "file", file);
        (void) json_set_u64(j, "line", line);
        (void) json_set_string(j, "pointer", pointer);
}

/* ---- its life ---- */

int engine_policy_init(Engine *e) {
        PolicyProblems none = {}; /* what is built in has no problems */

        assert(e);
        assert(!e->policy);
        return policy_compile(NULL, 0, NULL, &none, &e->policy);
}

void engine_policy_done(Engine *e) {
        assert(e);
        e->policy = policy_free(e->policy);
        e->verdict_timer = host_timer_free(e->verdict_timer);
        free(e->policy_refusal);
}

uint64_t engine_policy_generation(const Engine *e) {
        assert(e);
        return e->policy_generation;
}
