/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated device in the clean-room: power control, the order of reset methods, a
 * configuration space that does not answer for a while after a reset (all-ones, or Request Retry
 * Status), the reference and the comparison. A hook is only said to have run: programs of an
 * administrator are not started for a machine that does not exist.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/sim-private.h"
#include "host/step-error.h"
#include "pci/compare.h"

#define ALTERED_BIT 0x0800U /* Device Control: Enable No Snoop */

/* ---- does it answer? ---- */

bool sim_device_answers(const SimDevice *d) {
        assert(d);
        return !d->dead && sim_now(d->host) >= d->silent_until;
}

static void end_silence(void *userdata) {
        sim_jobs_wake(userdata);
}

void sim_device_silence(SimDevice *d, bool rrs, usec_t time) {
        assert(d);
        d->silent_until = time > 0 ? sim_now(d->host) + time : USEC_INFINITY;
        d->silent_rrs = rrs;
        d->silence.run = end_silence;
        d->silence.userdata = d->host;
        if (time > 0)
                sim_task_arm(d->host, &d->silence, d->silent_until);
}

void sim_device_read(const SimDevice *d, size_t offset, size_t n, uint8_t *ret) {
        assert(d);
        assert(ret);
        for (size_t i = 0; i < n; i++)
                ret[i] = sim_device_answers(d) ? pci_config_u8(d->source.config, offset + i) : 0xff;
        /* Only a read that begins with the Vendor ID is answered with 0001h (PCIe 2.3.2). */
        if (!sim_device_answers(d) && !d->dead && d->silent_rrs && offset == 0 && n >= 2) {
                ret[0] = 0x01;
                ret[1] = 0x00;
        }
}

static void read_image(const SimDevice *d, PciConfig *ret) {
        size_t offset, n;

        pci_config_init(ret, d->source.config->size);
        while (pci_config_want(ret, &offset, &n)) {
                uint8_t bytes[PCI_CONFIG_SIZE_EXTENDED];

                sim_device_read(d, offset, MIN(n, sizeof(bytes)), bytes);
                if (pci_config_set(ret, offset, bytes, MIN(n, sizeof(bytes))) < 0)
                        break;
        }
}

/* ---- what a reset may leave ---- */

static void alter(SimDevice *d) {
        uint16_t offset = pci_config_find(d->source.config, 0x10, 0);
        uint32_t v;
        uint8_t bytes[4];

        offset = offset > 0 ? (uint16_t) (offset + 8) : 0x2c;
        v = pci_config_u32(d->source.config, offset) ^ ALTERED_BIT;
        for (size_t i = 0; i < sizeof(bytes); i++)
                bytes[i] = (uint8_t) (v >> 8 * i);
        (void) pci_config_set(d->source.config, offset, bytes, sizeof(bytes)); /* was read there */
}

int sim_reset_step(SimJob *job, SimDevice *d, const char *method) {
        SimFault f;
        int r;

        r = sim_reset(d, method);
        if (r < 0)
                return r;
        if (sim_step_fault(job, SIM_FAULT_ALL_ONES, &f))
                sim_device_silence(d, false, f.delay);
        else if (sim_step_fault(job, SIM_FAULT_RRS, &f))
                sim_device_silence(d, true, f.delay);
        if (d->source.config && sim_step_fault(job, SIM_FAULT_ALTERED, &f))
                alter(d);
        return 0;
}

/* ---- power and methods ---- */

int sim_hold_power(SimDevice *d, const char *value) {
        assert(d);
        if (!streq(value, "on") && !streq(value, "auto"))
                return -EINVAL;
        return sim_attribute_set(d, PCI_ATTRIBUTE_POWER_CONTROL, value);
}

static bool is_supported(const char *list, const char *word, size_t n) {
        while (*list) {
                size_t k = strcspn(list, " ");

                if (k == n && strncmp(list, word, n) == 0)
                        return true;
                list += k + (list[k] != 0);
        }
        return false;
}

int sim_set_reset_method(SimDevice *d, const char *value) {
        const char *now = sim_attribute(d, PCI_ATTRIBUTE_RESET_METHOD);

        assert(value);
        if (!now)
                return -ENOENT;
        if (!d->reset_methods && free_and_strdup(&d->reset_methods, now) < 0)
                return -ENOMEM;
        for (const char *p = value; *p;) {
                size_t n = strcspn(p, " ");

                if (n > 0 && !is_supported(d->reset_methods, p, n))
                        return -EINVAL;
                p += n + (p[n] != 0);
        }
        return sim_attribute_set(d, PCI_ATTRIBUTE_RESET_METHOD, value);
}

/* ---- reference ---- */

static int check_answer(SimJob *job, const SimDevice *d) {
        if (sim_device_answers(d))
                return 0;
        (void) string_copy(job->finding, sizeof(job->finding),
                           d->silent_rrs ? "it is not-ready" : "it is absent");
        return -EIO;
}

int sim_take_reference(SimJob *job, SimDevice *d) {
        int r = check_answer(job, d);

        if (r < 0 || !d->source.config)
                return r;
        if (!d->reference)
                d->reference = malloc(sizeof(PciConfig));
        if (!d->reference)
                return -ENOMEM;
        read_image(d, d->reference);
        return 0;
}

int sim_compare_config(SimJob *job, SimDevice *d) {
        _cleanup_free_ PciConfig *found = malloc(sizeof(PciConfig));
        _cleanup_free_ char *text = NULL;
        PciComparison c = {};
        int r = check_answer(job, d);

        if (r < 0 || !d->source.config)
                return r;
        if (!found)
                return -ENOMEM;
        read_image(d, found);
        if (d->reference)
                pci_config_compare(d->reference, found, &c);
        text = d->reference ? pci_comparison_to_string(&c) : strdup("no reference of it is kept");
        (void) string_copy(job->evidence, sizeof(job->evidence),
                           strempty(text)); /* cut: it is for people */
        if (c.n == 0)
                return 0;
        (void) string_copy(job->finding, sizeof(job->finding), strempty(text));
        return -STEP_ERROR_READ_BACK;
}

int sim_hook(SimJob *job, const Step *s) {
        SimFault f;
        bool not_mine = sim_step_fault(job, SIM_FAULT_NO_EFFECT, &f);

        (void) snprintf(job->evidence, sizeof(job->evidence), "%s",
                        not_mine ? "not mine" : "simulated");
        return isempty(s->expect) || isempty(s->value) ? -EINVAL : 0;
}
