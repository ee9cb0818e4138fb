/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One PCI function as the daemon knows it. Its state is never stored: gone, stuck, quarantined and
 * assigned follow from what is recorded beside the facts, in this order of precedence; whether the
 * host or VFIO has it follows from the bound driver. Nothing here reads anything.
 */

#include <assert.h>

#include "base/strutil.h"
#include "model/model-private.h"
#include "pci/driver.h"

static const char *const device_state_table[_DEVICE_STATE_MAX] = {
        [DEVICE_HOST] = "host",
        [DEVICE_AVAILABLE] = "available",
        [DEVICE_ASSIGNED] = "assigned",
        [DEVICE_HELD] = "held",
        [DEVICE_QUARANTINED] = "quarantined",
        [DEVICE_STUCK] = "stuck",
        [DEVICE_GONE] = "gone",
};
DEFINE_STRING_TABLE(DeviceState, device_state, device_state_table);

static const char *const device_health_table[_HEALTH_MAX] = {
        [HEALTH_HEALTHY] = "healthy",
        [HEALTH_DEGRADED] = "degraded",
        [HEALTH_RECOVERING] = "recovering",
        [HEALTH_FAILED] = "failed",
};
DEFINE_STRING_TABLE(DeviceHealth, device_health, device_health_table);

DeviceState device_get_state(const Device *d) {
        assert(d);

        if (d->gone)
                return DEVICE_GONE;
        if (d->stuck)
                return DEVICE_STUCK;
        if (d->quarantine)
                return DEVICE_QUARANTINED;
        if (d->assignment)
                return DEVICE_ASSIGNED;
        if (isempty(d->facts.driver))
                return DEVICE_AVAILABLE;
        return pci_driver_is_vfio(d->facts.driver) ? DEVICE_HELD : DEVICE_HOST;
}

void device_view(const Device *d, PciView *ret) {
        assert(d);
        assert(ret);

        *ret = (PciView) {
                .facts = &d->facts,
                .config = d->config,
                .live = d->live,
                .use = d->use_at > 0 ? &d->use : NULL,
                .vpd_serial = d->vpd_serial,
        };
}

void device_forget_readings(Device *d) {
        d->config = (free(d->config), NULL);
        if (d->live) {
                pci_live_done(d->live);
                d->live = (free(d->live), NULL);
        }
        d->vpd_serial = (free(d->vpd_serial), NULL);
        d->config_at = d->live_at = 0;
        d->read_error = 0;
}

Device *device_free(Device *d) {
        if (!d)
                return NULL;
        group_unlink(d);
        device_forget_readings(d);
        pci_facts_done(&d->facts);
        pci_use_done(&d->use);
        strv_free(d->blockers);
        free(d->quarantine);
        free(d->held_from);
        free(d->dirty_owner);
        strv_free(d->drift);
        free(d);
        return NULL;
}
