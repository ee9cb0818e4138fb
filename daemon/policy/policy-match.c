/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which rule holds for a device: the first whose conditions all hold, else the defaults. The index
 * gives a few ascending lists of rules that can match; they are walked together in order of rules.
 * A fact that is not known matches nothing. Nothing here allocates or fails.
 */

#include <assert.h>

#include "policy/policy-private.h"

#define AF_CAP_FLR 0x02U /* Advanced Features Capabilities, byte 3 bit 1 */
#define LISTS_MAX (_POLICY_INDEX_MAX + 1U)

static uint64_t needs_of(const PolicySubject *s) {
        const PciConfigFacts *c = s->config;
        /* A VF has neither: they stand in its PF (PCIe 9.3.7.10 and 10.5.2). */
        const PciConfigFacts *shared = s->facts->is_vf ? s->physfn_config : c;

        assert(c);
        return (shared && shared->has_pasid ? POLICY_NEED_PASID : 0) |
               (shared && shared->has_pri ? POLICY_NEED_PRI : 0) |
               (c->has_ats ? POLICY_NEED_ATS : 0) |
               (c->flr || (c->has_af && c->af_capabilities & AF_CAP_FLR) ? POLICY_NEED_FLR : 0) |
               (c->has_acs ? POLICY_NEED_ACS : 0) | (c->has_aer ? POLICY_NEED_AER : 0) |
               (c->has_msi ? POLICY_NEED_MSI : 0) | (c->has_msix ? POLICY_NEED_MSIX : 0) |
               (c->has_sriov ? POLICY_NEED_SRIOV : 0) | (c->n_rebar > 0 ? POLICY_NEED_REBAR : 0) |
               (c->has_dsn ? POLICY_NEED_DSN : 0) | (c->is_cxl ? POLICY_NEED_CXL : 0) |
               (c->is_ccix ? POLICY_NEED_CCIX : 0);
}

static uint64_t role_of(const PciFacts *f) {
        if (f->is_vf)
                return POLICY_SRIOV_VF;
        return f->sriov_totalvfs > 0 ? POLICY_SRIOV_PF : POLICY_SRIOV_NONE;
}

bool policy_fact_number(const PolicySubject *s, PolicySelector selector, uint64_t *ret) {
        const PciFacts *f = s->facts;

        switch (selector) {
        case POLICY_SELECTOR_VENDOR:
                *ret = f->vendor;
                return true;
        case POLICY_SELECTOR_DEVICE:
                *ret = f->device;
                return true;
        case POLICY_SELECTOR_CLASS:
                *ret = f->class_code;
                return true;
        case POLICY_SELECTOR_KIND:
                *ret = pci_kind_from_class(f->class_code);
                return true;
        case POLICY_SELECTOR_NUMA_NODE:
                *ret = (uint64_t) (int64_t) f->numa_node;
                return true;
        case POLICY_SELECTOR_SRIOV:
                *ret = role_of(f);
                return true;
        case POLICY_SELECTOR_SUBSYSTEM_VENDOR:
                *ret = f->subsystem_vendor;
                return true;
        case POLICY_SELECTOR_SUBSYSTEM_DEVICE:
                *ret = f->subsystem_device;
                return true;
        case POLICY_SELECTOR_NEEDS:
                if (!s->config)
                        return false;
                *ret = needs_of(s);
                return true;
        case POLICY_SELECTOR_DSN:
                if (!s->config || !s->config->has_dsn)
                        return false;
                *ret = s->config->dsn;
                return true;
        case POLICY_SELECTOR_ADDRESS:
                *ret = pci_address_key(f->address);
                return true;
        case POLICY_SELECTOR_DRIVER:
        case POLICY_SELECTOR_SLOT:
        case POLICY_SELECTOR_LABEL:
        case POLICY_SELECTOR_PORT_PATH:
        case _POLICY_SELECTOR_MAX:
        case _POLICY_SELECTOR_INVALID:
                break;
        }
        return false;
}

const char *policy_fact_text(const PolicySubject *s, PolicySelector selector,
                             char buffer[PCI_ADDRESS_MAX]) {
        if (selector == POLICY_SELECTOR_ADDRESS)
                return pci_address_format(s->facts->address, buffer);
        if (selector == POLICY_SELECTOR_DRIVER)
                return s->driver;
        if (selector == POLICY_SELECTOR_SLOT)
                return s->slot;
        return selector == POLICY_SELECTOR_LABEL ? s->label : s->port_path;
}

static bool is_cxl(const PolicySubject *s) {
        return s->config && s->config->is_cxl;
}

/* A subject's numbers, each looked for once however many rules ask. */
typedef struct Seen {
        const PolicySubject *subject;
        unsigned asked, known; /* bits by PolicySelector */
        uint64_t numbers[_POLICY_SELECTOR_MAX];
} Seen;

static bool seen_number(Seen *seen, PolicySelector selector, uint64_t *ret) {
        unsigned bit;

        assert(selector >= 0);
        bit = 1U << selector;
        if (!(seen->asked & bit)) {
                seen->asked |= bit;
                if (policy_fact_number(seen->subject, selector, seen->numbers + selector))
                        seen->known |= bit;
        }
        if (!(seen->known & bit))
                return false;
        *ret = seen->numbers[selector];
        return true;
}

static bool alternative_holds(const PolicyCondition *c, size_t i, Seen *seen) {
        const PolicyAlternative *a = c->alternatives + i;
        char buffer[PCI_ADDRESS_MAX];
        const char *text;
        uint64_t number;

        if (a->glob) {
                text = policy_fact_text(seen->subject, c->selector, buffer);
                return text && glob_matches(a->glob, text);
        }
        if (c->selector == POLICY_SELECTOR_KIND && a->value == POLICY_KIND_CXL)
                return is_cxl(seen->subject);
        return seen_number(seen, c->selector, &number) && (number & a->mask) == a->value;
}

static bool condition_holds(const PolicyCondition *c, Seen *seen) {
        for (size_t i = 0; i < c->n; i++)
                if (alternative_holds(c, i, seen))
                        return true;
        return false;
}

bool policy_condition_holds(const PolicyCondition *c, const PolicySubject *s) {
        Seen seen = { .subject = s };

        assert(c);
        assert(s);
        return condition_holds(c, &seen);
}

static bool matches(const PolicyCompiled *c, Seen *seen) {
        for (size_t i = 0; i < c->n_conditions; i++)
                if (!condition_holds(c->conditions + i, seen))
                        return false;
        return true;
}

typedef struct Cursor {
        const uint32_t *next, *end;
} Cursor;

typedef struct Cursors {
        Cursor items[LISTS_MAX];
        size_t n;
} Cursors;

static void add_list(Cursors *c, const PolicyIndex *index, const PolicyList *l) {
        if (l && l->n > 0)
                c->items[c->n++] = (Cursor) { index->numbers + l->first,
                                              index->numbers + l->first + l->n };
}

static void add_key(Cursors *c, const PolicyIndex *index, PolicyIndexKind kind, uint64_t value) {
        add_list(c, index, policy_index_find(index, policy_index_key(kind, value)));
}

/* The next rule of all lists; SIZE_MAX at the end. */
static size_t next_rule(Cursors *c) {
        size_t first = 0;

        for (size_t i = 1; i < c->n; i++)
                if (*c->items[i].next < *c->items[first].next)
                        first = i;
        if (c->n == 0)
                return SIZE_MAX;
        size_t rule = *c->items[first].next++;
        if (c->items[first].next == c->items[first].end)
                c->items[first] = c->items[--c->n];
        return rule;
}

const PolicyRule *policy_match(const Policy *p, const PolicySubject *s) {
        Seen seen = { .subject = s };
        const PciFacts *f;
        uint64_t kind = PCI_KIND_OTHER;
        Cursors c = {};
        size_t i;

        assert(p);
        assert(s);
        assert(s->facts);
        f = s->facts;
        add_key(&c, &p->index, POLICY_INDEX_ADDRESS, pci_address_key(f->address));
        add_key(&c, &p->index, POLICY_INDEX_VENDOR_DEVICE, (uint64_t) f->vendor << 16 | f->device);
        add_key(&c, &p->index, POLICY_INDEX_VENDOR, f->vendor);
        add_key(&c, &p->index, POLICY_INDEX_CLASS, f->class_code >> 16);
        (void) seen_number(&seen, POLICY_SELECTOR_KIND, &kind); /* a class has always one */
        add_key(&c, &p->index, POLICY_INDEX_KIND, kind);
        if (is_cxl(s))
                add_key(&c, &p->index, POLICY_INDEX_CXL, 0);
        add_list(&c, &p->index, &p->index.any);
        while ((i = next_rule(&c)) != SIZE_MAX)
                if (matches(p->rules[i], &seen))
                        return &p->rules[i]->rule;
        return &p->defaults;
}
