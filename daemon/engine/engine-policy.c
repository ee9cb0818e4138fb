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
