/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a rule wants of a device that is assigned: D3cold, No Snoop, the IOMMU domain type of its
 * group, the size of its BARs. Only what differs from the facts becomes a step, each with what was
 * there before as its undo; a release writes exactly that back, in reverse. The kernel resizes a
 * BAR only while no driver has the function, and changes a domain type only while no host driver
 * has a member of the group, so the steps stand between unbinding and binding.
 *
 * No Snoop in Device Control is a pre-open default: the guest can write it back. What D3cold and
 * the domain type are worth is in policy-keys.c.
 */

#include "engine/engine-settings.h"

#include <assert.h>
#include <linux/pci_regs.h>

#include "engine/engine-policy.h"
#include "pci/driver.h"

static int add_step(Engine *e, Plan *plan, StepType type, const PlanDevice *p, const char *value,
                    const char *undo) {
        Step *s = plan_add_device_step(plan, type, p);

        if (!s)
                return -ENOMEM;
        s->timeout_msec = e->options.step_timeout_msec;
        return step_set(s, value, undo, value);
}

/* ---- what differs ---- */

static const char *switch_text(PolicySwitch s) {
        return s == POLICY_SWITCH_LEAVE ? NULL : s == POLICY_SWITCH_OFF ? "0" : "1";
}

/* The text to write, with what is there now; NULL: nothing to do. */
static const char *wanted_d3cold(const PolicySettings *s, const Device *d, const char **ret_now) {
        const PciText *now = d->live ? d->live->attributes + PCI_ATTRIBUTE_D3COLD_ALLOWED : NULL;
        const char *wanted = switch_text(s->d3cold);

        if (!wanted || !now || now->state != FACT_PRESENT || streq(now->text, wanted))
                return NULL; /* without the attribute the platform has no D3cold */
        *ret_now = streq(now->text, "0") ? "0" : "1";
        return wanted;
}

static const char *wanted_nosnoop(const PolicySettings *s, const Device *d, const char **ret_now) {
        const char *wanted = switch_text(s->no_snoop);
        bool now;

        if (!wanted || !d->config || d->config->pcie_type == PCIE_NONE)
                return NULL;
        now = d->config->device_control & PCI_EXP_DEVCTL_NOSNOOP_EN;
        if (now == (wanted[0] == '1'))
                return NULL;
        *ret_now = now ? "1" : "0";
        return wanted;
}

static const char *wanted_domain(const PolicySettings *s, const Device *d, const char **ret_now) {
        const IommuGroupFacts *g = d->group ? &d->group->facts : NULL;

        if (!s->iommu_domain || !g || g->type_state != FACT_PRESENT ||
            streq(g->type, s->iommu_domain))
                return NULL;
        *ret_now = g->type;
        return s->iommu_domain;
}

static unsigned exponent_of(uint64_t size) {
        unsigned n = 0;

        while (n < 63 && UINT64_C(1) << n < size)
                n++;
        return n;
}

/* The kernel's number of the size wanted (2^(20+n) bytes): 1 if it differs, 0 if not. */
static int wanted_size(const PolicySettings *s, const Device *d, unsigned bar, Error *err,
                       unsigned *ret_wanted, unsigned *ret_now) {
        uint64_t now = pci_facts_resource(&d->facts, bar)->size, size = s->bars[bar].size;
        uint32_t sizes = 0;

        for (unsigned i = 0; d->config && i < d->config->n_rebar; i++)
                if (d->config->rebar[i].bar == bar)
                        sizes = d->config->rebar[i].sizes;
        if (!s->bars[bar].set || size == 0 || now == size || (size == UINT64_MAX && sizes == 0))
                return 0;
        if (size == UINT64_MAX)
                size = UINT64_C(1) << (20 + 31 - __builtin_clz(sizes));
        if (size < 1U << 20 || exponent_of(size) > 51 || !(sizes >> (exponent_of(size) - 20) & 1))
                return error_set(
                        err, ERROR_NOT_SUPPORTED,
                        "BAR %u of %s is %llu bytes and cannot be %llu, as its rule demands", bar,
                        PCI_ADDRESS_TEXT(d->facts.address), (unsigned long long) now,
                        (unsigned long long) size);
        *ret_wanted = exponent_of(size) - 20;
        *ret_now = MAX(exponent_of(now), 20U) - 20;
        return now != size;
}

bool engine_settings_wanted(Engine *e, const Plan *plan) {
        assert(e);
        assert(plan);
        for (size_t i = 0; i < plan->n_devices; i++) {
                const Device *d = inventory_device(e->inventory, plan->devices[i].address);
                const PolicySettings *s = d ? &engine_rule(e, d)->settings : NULL;
                const char *now;
                bool bars = false;

                if (!s || !plan->devices[i].requested)
                        continue;
                for (unsigned b = 0; b < ELEMENTSOF(s->bars); b++)
                        bars = bars || s->bars[b].set;
                if (bars || wanted_d3cold(s, d, &now) || wanted_nosnoop(s, d, &now) ||
                    wanted_domain(s, d, &now))
                        return true;
        }
        return false;
}

/* ---- the way there ---- */

static const PlanDevice *first_of_group(const Plan *plan, uint32_t group) {
        for (size_t i = 0; i < plan->n_devices; i++)
                if (plan->devices[i].group == group)
                        return plan->devices + i;
        return NULL;
}

static bool has_domain_step(const Plan *plan, uint32_t group) {
        for (size_t i = 0; i < plan->n_steps; i++)
                if (plan->steps[i].type == STEP_SET_DOMAIN_TYPE && plan->steps[i].group == group)
                        return true;
        return false;
}

static int add_bars(Engine *e, const PolicySettings *s, const Device *d, const PlanDevice *p,
                    Plan *plan, Error *err) {
        for (unsigned bar = 0; bar < ELEMENTSOF(s->bars); bar++) {
                unsigned wanted = 0, now = 0;
                char value[16], undo[16];
                int r = wanted_size(s, d, bar, err, &wanted, &now);

                if (r < 0)
                        return r;
                if (r == 0)
                        continue;
                if (streq(p->driver, p->driver_before))
                        return error_set(err, ERROR_NOT_SUPPORTED,
                                         "BAR %u of %s has to be resized as its rule demands, but "
                                         "%s has it; "
                                         "unbind it first",
                                         bar, PCI_ADDRESS_TEXT(p->address), p->driver_before);
                (void) snprintf(value, sizeof(value), "%u=%u", bar, wanted);
                (void) snprintf(undo, sizeof(undo), "%u=%u", bar, now);
                if (add_step(e, plan, STEP_RESIZE_BAR, p, value, undo) < 0)
                        return error_set(err, ERROR_FAILED, "Not enough memory for a plan");
        }
        return 0;
}

static int add_device(Engine *e, const PlanDevice *p, Plan *plan, Error *err) {
        const Device *d = inventory_device(e->inventory, p->address);
        const PolicySettings *s = d ? &engine_rule(e, d)->settings : NULL;
        const char *value, *now;
        int r = 0;

        if (!s)
                return error_set(err, ERROR_GONE, "%s went away", PCI_ADDRESS_TEXT(p->address));
        value = wanted_d3cold(s, d, &now);
        if (value)
                r = add_step(e, plan, STEP_SET_D3COLD, p, value, now);
        value = r >= 0 ? wanted_domain(s, d, &now) : NULL;
        if (value && !has_domain_step(plan, p->group))
                r = add_step(e, plan, STEP_SET_DOMAIN_TYPE, first_of_group(plan, p->group), value,
                             now);
        value = r >= 0 ? wanted_nosnoop(s, d, &now) : NULL;
        if (value)
                r = add_step(e, plan, STEP_SET_NOSNOOP, p, value, now);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory for a plan");
        return add_bars(e, s, d, p, plan, err);
}

int engine_settings_add(Engine *e, Plan *plan, Error *err) {
        size_t before;
        int r = 0;

        assert(e);
        assert(plan);
        before = plan->n_steps;
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                if (plan->devices[i].requested)
                        r = add_device(e, plan->devices + i, plan, err);
        return r < 0 ? r : plan->n_steps > before;
}

/* ---- and back ---- */

int engine_settings_add_back(Engine *e, const Plan *made, Plan *plan, const PlanDevice *p) {
        assert(e);
        assert(made);
        assert(plan);
        assert(p);
        for (size_t i = made->n_steps; i > 0; i--) {
                const Step *s = made->steps + i - 1;
                int r;

                if (!step_type_is_setting(s->type) || !s->has_device || !s->undo ||
                    !pci_address_equal(s->device, p->address))
                        continue;
                r = add_step(e, plan, s->type, p, s->undo, NULL);
                if (r < 0)
                        return r;
        }
        return 0;
}

void engine_settings_refresh(Engine *e, const Plan *plan) {
        PciAddress last = {};
        bool any = false;

        assert(e);
        assert(plan);
        for (size_t i = 0; i < plan->n_steps; i++) {
                const Step *s = plan->steps + i;

                if (!step_type_is_setting(s->type) || (any && pci_address_equal(last, s->device)))
                        continue;
                last = s->device;
                any = true;
                /* No event tells of a resized BAR. */
                if ((s->type == STEP_RESIZE_BAR && engine_add_device(e, s->device) < 0) ||
                    engine_want_read(e, s->device) < 0)
                        log_warning("Failed to read %s again", PCI_ADDRESS_TEXT(s->device));
        }
}
