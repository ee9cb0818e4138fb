/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Settings of the simulated kernel, with its refusals: D3cold, No Snoop, the domain type of an
 * IOMMU group (drivers/iommu/iommu.c, as of 6.5), resizable BARs (pci-sysfs.c), and who may take
 * virtual functions. What a file shows is what was written last, as in sysfs.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "base/strutil.h"
#include "host/sim-private.h"
#include "host/step-error.h"

int sim_await_vfs(SimJob *job, SimDevice *pf, const char *value) {
        uint32_t n;
        SimFault f;

        if (parse_u32(value, 10, UINT16_MAX, &n) < 0)
                return -EINVAL;
        if (sim_numvfs(pf) == n && !sim_step_fault(job, SIM_FAULT_NO_EFFECT, &f))
                return 0;
        (void) snprintf(job->finding, sizeof(job->finding), "virtual function 1 of %u is not there",
                        n);
        return -ETIMEDOUT;
}

static int set_flag(SimDevice *d, PciAttribute a, const char *value) {
        if (!streq(value, "0") && !streq(value, "1"))
                return -EINVAL;
        return sim_attribute(d, a) ? sim_attribute_set(d, a, value) : -ENOENT;
}

static int set_nosnoop(SimDevice *d, const char *value) {
        PciConfig *c = d->source.config;
        uint16_t offset = c ? pci_config_find(c, PCI_CAP_ID_EXP, 0) : 0;
        uint32_t v, bit = PCI_EXP_DEVCTL_NOSNOOP_EN;
        uint8_t bytes[4];

        if (!sim_device_answers(d))
                return -EIO;
        if (offset == 0)
                return -ENOENT;
        offset = (uint16_t) (offset + PCI_EXP_DEVCTL);
        v = pci_config_u32(c, offset);
        v = value[0] == '1' ? v | bit : v & ~bit;
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t) (v >> 8 * i);
        return pci_config_set(c, offset, bytes, sizeof(bytes));
}

/* Drivers that use the DMA API own the default domain; a VFIO driver does not until it is
 * opened. */
static bool group_has_owner(SimHost *h, uint32_t group) {
        for (size_t i = 0; i < h->n_devices; i++) {
                const SimDevice *d = h->sorted[i];

                if (d->has_group && d->group == group && d->driver[0] &&
                    !pci_driver_is_vfio(d->driver) && !pci_driver_is_group_neutral(d->driver))
                        return true;
        }
        return sim_group_is_held(h, group);
}

static int set_domain_type(SimDevice *d, const char *value) {
        SimGroup *g = d->has_group ? sim_group(d->host, d->group) : NULL;

        if (!g || !g->type)
                return -ENOENT;
        if (streq(g->type, value))
                return 0;
        if (!streq(value, "DMA") && !streq(value, "DMA-FQ") && !streq(value, "identity"))
                return -EINVAL;
        if (!(streq(g->type, "DMA") && streq(value, "DMA-FQ")) && group_has_owner(d->host, g->id))
                return -EPERM;
        return free_and_strdup(&g->type, value);
}

/* ---- BARs ---- */

static int line_of(const char *text, unsigned bar, const char **ret_line, size_t *ret_n) {
        for (; bar > 0; bar--) {
                text = strchr(text, '\n');
                if (!text)
                        return -ENOENT;
                text++;
        }
        *ret_line = text;
        *ret_n = strcspn(text, "\n");
        return 0;
}

static int bar_of(const SimDevice *d, unsigned bar, PciResource *ret) {
        PciFacts f;

        pci_facts_init(&f, d->source.address);
        sim_device_cold_facts(d, &f);
        *ret = *pci_facts_resource(&f, bar);
        pci_facts_done(&f);
        return ret->size > 0 ? 0 : -ENOENT;
}

/* The prefetchable (or other) window of the bridge above holds it, or there is no such window
 * known. */
static bool window_holds(const SimDevice *d, const PciResource *bar, uint64_t size) {
        PciFacts f;
        SimDevice *above;
        bool holds = true;

        pci_facts_init(&f, d->source.address);
        sim_device_cold_facts(d, &f);
        above = f.has_parent ? sim_device(d->host, f.parent) : NULL;
        pci_facts_done(&f);
        if (!above)
                return true;
        pci_facts_init(&f, above->source.address);
        sim_device_cold_facts(above, &f);
        for (unsigned i = PCI_RESOURCE_WINDOW_FIRST + 1; i < PCI_RESOURCE_MAX; i++) {
                const PciResource *w = pci_facts_resource(&f, i);

                if (w->size > 0 && bar->start >= w->start && bar->start - w->start < w->size)
                        holds = size <= w->size;
        }
        pci_facts_done(&f);
        return holds;
}

static int resize_bar(SimDevice *d, const char *value) {
        const char *resource = sim_attribute(d, PCI_ATTRIBUTE_RESOURCE), *line, *sizes;
        _cleanup_free_ char *text = NULL;
        unsigned bar, bit;
        PciResource now;
        uint64_t mask, size;
        size_t n;
        int r;

        r = step_parse_resize(value, &bar, &bit);
        if (r < 0)
                return r;
        sizes = sim_attribute(d, PCI_ATTRIBUTE_RESIZE_0 + bar);
        size = UINT64_C(1) << (20 + bit);
        if (!sizes || !resource || bar_of(d, bar, &now) < 0)
                return -ENOENT;
        if (now.size == size)
                return 0;
        if (d->driver[0] || sim_numvfs(d) > 0)
                return -EBUSY;
        if (parse_u64(sizes, 16, UINT64_MAX, &mask) < 0 || !(mask >> bit & 1))
                return -EINVAL;
        if (!window_holds(d, &now, size))
                return -ENOSPC;
        r = line_of(resource, bar, &line, &n);
        if (r < 0)
                return r;
        text = strjoinf("%.*s0x%016llx 0x%016llx 0x%016llx%s", (int) (line - resource), resource,
                        (unsigned long long) now.start, (unsigned long long) (now.start + size - 1),
                        (unsigned long long) now.flags, line + n);
        return text ? sim_attribute_set(d, PCI_ATTRIBUTE_RESOURCE, text) : -ENOMEM;
}

/* ---- all of them ---- */

int sim_setting_outcome(SimJob *job, const Step *s, int error) {
        if (error >= 0 || job->undoing || job->copy.plan->kind != PLAN_RELEASE ||
            !step_type_is_setting(s->type))
                return error;
        (void) snprintf(job->evidence, sizeof(job->evidence), "not taken back: %s",
                        error == -STEP_ERROR_READ_BACK ? "the write changed nothing"
                                                       : errno_text(error));
        return 0;
}

static int set(SimDevice *d, const Step *s, const char *value) {
        switch (s->type) {
        case STEP_SET_AUTOPROBE:
                return set_flag(d, PCI_ATTRIBUTE_SRIOV_AUTOPROBE, value);
        case STEP_SET_D3COLD:
                return set_flag(d, PCI_ATTRIBUTE_D3COLD_ALLOWED, value);
        case STEP_SET_NOSNOOP:
                return set_nosnoop(d, value);
        case STEP_SET_DOMAIN_TYPE:
                return set_domain_type(d, value);
        case STEP_RESIZE_BAR:
                return resize_bar(d, value);
        default:
                break;
        }
        return -EOPNOTSUPP;
}

int sim_setting(SimJob *job, SimDevice *d, const Step *s, const char *value) {
        SimFault f;
        int r;

        assert(job);
        assert(d);
        r = sim_step_fault(job, SIM_FAULT_NO_EFFECT, &f) ? -STEP_ERROR_READ_BACK : set(d, s, value);
        return sim_setting_outcome(job, s, r);
}
