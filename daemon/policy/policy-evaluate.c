/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a rule says against giving a member of a group away, added to the member's verdict beside
 * what safety says. Nothing here allocates or fails. A fact that was not read refuses nothing by
 * itself: safety refuses on ignorance. What is "required" must be proven, though.
 *
 * A parked member goes to the owner of the group with it, who can open it. So it is refused where
 * its own rule denies it, names owners and not this one, or denies ATS; what a rule says of a
 * request (lifetime, limit, driver, sizes) does not concern it.
 */

#include <assert.h>

#include "policy/policy-private.h"

typedef struct Question {
        const PolicyRule *rule;
        const PolicyAsk *ask;
        const VerdictQuestion *q;
        size_t i;
        Verdict *v;
} Question;

static void refuse(const Question *a, BlockerCode code, PolicyKey key) {
        const char *origin = a->rule->origins[key];

        verdict_add(a->v, a->q, code, a->i, origin ? origin : "built in");
}

static bool has_id(const gid_t *ids, size_t n, gid_t id) {
        for (size_t i = 0; i < n; i++)
                if (ids[i] == id)
                        return true;
        return false;
}

/* Does the grant name the caller? */
static bool grants_to(const PolicyOwner *o, const PolicyAsk *ask) {
        for (size_t i = 0; i < o->n_uids; i++)
                if (o->uids[i] == ask->uid)
                        return true;
        for (size_t i = 0; i < ask->n_gids; i++)
                if (has_id(o->gids, o->n_gids, ask->gids[i]))
                        return true;
        return false;
}

bool policy_may_own(const PolicySettings *s, const PolicyAsk *ask) {
        if (!s->owners.set)
                return ask->manager;
        for (size_t i = 0; i < s->owners.n; i++)
                if (glob_matches(s->owners.items[i].glob, ask->owner) &&
                    (ask->manager || grants_to(s->owners.items + i, ask)))
                        return true;
        return false;
}

static void check_permission(const Question *a, bool parked) {
        const PolicySettings *s = &a->rule->settings;

        if (s->assign == POLICY_ASSIGN_DENY)
                refuse(a, BLOCKER_POLICY_DENIED, POLICY_KEY_ASSIGN);
        if (!a->ask->owner || (parked && !s->owners.set))
                return;
        if (!policy_may_own(s, a->ask))
                refuse(a, BLOCKER_POLICY_OWNER, POLICY_KEY_OWNERS);
}

static void check_request(const Question *a) {
        const PolicySettings *s = &a->rule->settings;
        const PolicyAsk *ask = a->ask;

        if (ask->owner && s->limit != UINT32_MAX &&
            (uint64_t) ask->n_owned + ask->n_asked > s->limit)
                refuse(a, BLOCKER_POLICY_LIMIT, POLICY_KEY_LIMIT);
        if (ask->lifetime & ~s->lifetimes)
                refuse(a, BLOCKER_POLICY_LIFETIME, POLICY_KEY_LIFETIME);
        if (s->driver && ask->driver && !streq(s->driver, ask->driver))
                refuse(a, BLOCKER_POLICY_DRIVER, POLICY_KEY_DRIVER);
}

/* Other members that the owner gets with this one; *ret_parked: those that nobody asked for. */
static size_t count_mates(const Question *a, size_t *ret_parked) {
        size_t n = 0;

        *ret_parked = 0;
        for (size_t k = 0; k < a->q->n_members; k++) {
                VerdictRole role = verdict_role(a->q->members + k);

                if (k == a->i || role == VERDICT_ROLE_IGNORED)
                        continue;
                n++;
                if (role == VERDICT_ROLE_PARKED && verdict_needs_parking(a->q->members + k))
                        (*ret_parked)++;
        }
        return n;
}

static void check_group(const Question *a) {
        const PolicySettings *s = &a->rule->settings;
        size_t n, parked;

        if (s->group != POLICY_GROUP_REFUSE && !s->p2p_deny)
                return;
        n = count_mates(a, &parked);
        if (s->group == POLICY_GROUP_REFUSE && parked > 0)
                refuse(a, BLOCKER_POLICY_GROUP, POLICY_KEY_GROUP);
        if (s->p2p_deny && n > 0)
                refuse(a, BLOCKER_POLICY_P2P, POLICY_KEY_P2P);
}

static void check_iommu(const Question *a) {
        const PolicySettings *s = &a->rule->settings;
        const IommuFacts *iommu = a->q->iommu;
        int remapping;

        if (s->iommu_domain && a->q->group && a->q->group->type_state == FACT_ABSENT)
                refuse(a, BLOCKER_POLICY_IOMMU, POLICY_KEY_IOMMU_DOMAIN);
        if (s->coherent_required && (!iommu || iommu_facts_snoop_control(iommu) != 1))
                refuse(a, BLOCKER_POLICY_COHERENCY, POLICY_KEY_IOMMU_COHERENT);
        if (!s->remapping_required)
                return;
        /* Where it is not known, VFIO itself demands it, unless it was told not to. */
        remapping = iommu ? iommu_facts_interrupt_remapping(iommu) : -ENODATA;
        if (a->q->no_remapping || remapping == 0 || (remapping < 0 && a->q->unsafe_interrupts))
                refuse(a, BLOCKER_POLICY_REMAPPING, POLICY_KEY_IOMMU_REMAPPING);
}

static void check_ats(const Question *a) {
        const PciConfigFacts *config = a->q->members[a->i].config;

        /* The device decides whether it sends translated requests; ats_control is the guest's
         * driver's and the IOMMU's to write. */
        if (a->rule->settings.ats_deny && config && config->has_ats)
                refuse(a, BLOCKER_POLICY_ATS, POLICY_KEY_ATS);
}

/* Can BAR i be had with this size: is it so now, or among what the Resizable BAR capability lists
 * (PCIe 7.8.6.2: bit k is 2^(20+k) bytes)? */
static bool bar_can_be(const VerdictMember *m, unsigned i, uint64_t size) {
        if (size == UINT64_MAX || pci_facts_resource(m->facts, i)->size == size)
                return true;
        for (unsigned k = 0; k < m->config->n_rebar; k++) {
                if (m->config->rebar[k].bar != i)
                        continue;
                for (unsigned bit = 0; bit < 32; bit++)
                        if (m->config->rebar[k].sizes & UINT32_C(1) << bit &&
                            size == UINT64_C(1) << (20 + bit))
                                return true;
        }
        return false;
}

static bool has_unassigned(const PciFacts *f) {
        for (unsigned i = 0; i < PCI_RESOURCE_ROM; i++) {
                const PciResource *r = pci_facts_resource(f, i);

                if (r->size > 0 && (r->flags & PCI_RESOURCE_UNSET || r->start == 0))
                        return true;
        }
        return false;
}

static void check_bars(const Question *a) {
        const PolicySettings *s = &a->rule->settings;
        const VerdictMember *m = a->q->members + a->i;

        for (unsigned i = 0; i < ELEMENTSOF(s->bars); i++)
                if (s->bars[i].size > 0 && m->config && !bar_can_be(m, i, s->bars[i].size))
                        refuse(a, BLOCKER_POLICY_BAR, POLICY_KEY_BAR_0 + i);
        if (s->bars_unassigned_deny && has_unassigned(m->facts))
                refuse(a, BLOCKER_POLICY_BAR, POLICY_KEY_BARS_UNASSIGNED);
}

/* Is the word in the blank-separated list? */
static bool list_has(const char *list, const char *word) {
        size_t n = strlen(word);

        for (const char *p = list; (p = strstr(p, word)); p += n)
                if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
                        return true;
        return false;
}

static void check_reset(const Question *a) {
        const PolicySettings *s = &a->rule->settings;
        const PciFacts *f = a->q->members[a->i].facts;

        if (s->reset.n == 0 || f->state[PCI_ATTRIBUTE_RESET_METHOD] == FACT_UNREAD)
                return;
        for (size_t i = 0; i < s->reset.n; i++)
                if (list_has(f->reset_method, s->reset.methods[i]))
                        return;
        refuse(a, BLOCKER_POLICY_RESET, POLICY_KEY_CLEAN_RESET);
}

void policy_evaluate(const PolicyRule *rule, const PolicyAsk *ask, const VerdictQuestion *q,
                     size_t i, Verdict *v) {
        const Question a = { rule, ask, q, i, v };
        VerdictRole role;

        assert(rule);
        assert(ask);
        assert(q);
        assert(i < q->n_members);
        assert(v);
        role = verdict_role(q->members + i);
        if (role == VERDICT_ROLE_IGNORED)
                return;
        check_permission(&a, role == VERDICT_ROLE_PARKED);
        check_ats(&a);
        if (role == VERDICT_ROLE_PARKED)
                return;
        check_request(&a);
        check_group(&a);
        check_iommu(&a);
        check_bars(&a);
        check_reset(&a);
}
