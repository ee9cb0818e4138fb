/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Errors of the simulated PCI Express: counters, and the kernel's own recovery with its uevents, as
 * drivers/pci/pcie/ aer.c, dpc.c and err.c do it. A correctable error only counts. An uncorrectable
 * one has every function below the port above it told; a function without a driver that knows
 * errors makes the recovery of all of them fail. A fatal one, and containment by the port (DPC),
 * also take the link down for a while, and leave a function of VFIO with its BARs at 0 until it is
 * reset or closed, although the kernel calls that a success.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "base/strutil.h"
#include "host/sim-private.h"
#include "pci/driver.h"

#define DRIVERS_MSEC 5U      /* what the drivers' callbacks take */
#define BUS_RESET_MSEC 1100U /* secondary bus reset: pulse, then 1 s until the first access */
#define CONTAINMENT_MSEC \
        2100U /* link inactive, the port's end of containment, link up, device ready */
#define ATTENTION_SEC 5U

static const char *const error_kinds[_SIM_ERROR_KIND_MAX] = {
        [SIM_ERROR_CORRECTABLE] = "correctable",
        [SIM_ERROR_NON_FATAL] = "non-fatal",
        [SIM_ERROR_FATAL] = "fatal",
        [SIM_ERROR_DPC] = "dpc",
};

SimErrorKind sim_error_kind_from_string(const char *s) {
        for (unsigned i = 0; s && i < ELEMENTSOF(error_kinds); i++)
                if (streq(error_kinds[i], s))
                        return (SimErrorKind) i;
        return -EINVAL;
}

/* ---- counters ---- */

/* The last number of the text, which is the total, one up. Silent where the function has no such
 * attribute. */
static int count(SimDevice *d, PciAttribute a) {
        const char *text = sim_attribute(d, a), *digits;
        _cleanup_free_ char *grown = NULL;
        uint64_t n;
        size_t k;

        if (!text)
                return 0;
        k = strlen(text);
        while (k > 0 && text[k - 1] == '\n')
                k--;
        digits = text + k;
        while (digits > text && digits[-1] >= '0' && digits[-1] <= '9')
                digits--;
        if (parse_u64_n(digits, (size_t) (text + k - digits), 10, UINT64_MAX - 1, &n) < 0)
                return 0;
        grown = strjoinf("%.*s%llu", (int) (digits - text), text, (unsigned long long) n + 1);
        return grown ? sim_attribute_set(d, a, grown) : -ENOMEM;
}

/* ---- BARs that nobody restored ---- */

static void write_bars(SimDevice *d, const uint8_t bars[SIM_BARS_SIZE]) {
        if (d->source.config)
                (void) pci_config_set(d->source.config, PCI_BASE_ADDRESS_0, bars,
                                      SIM_BARS_SIZE); /* was read there */
}

static void lose_bars(SimDevice *d) {
        static const uint8_t nothing[SIM_BARS_SIZE];

        if (d->bars_lost || !d->source.config)
                return;
        for (size_t i = 0; i < SIM_BARS_SIZE; i++)
                d->bars[i] = pci_config_u8(d->source.config, PCI_BASE_ADDRESS_0 + i);
        d->bars_lost = true;
        write_bars(d, nothing);
}

void sim_device_restore(SimDevice *d) {
        assert(d);
        if (d->bars_lost)
                write_bars(d, d->bars);
        d->bars_lost = false;
}

/* ---- recovery ---- */

typedef struct SimRecovery { /* on its way to its end */
        ListLink link;
        SimHost *host;
        SimTask task;
        PciAddress reporter;
        bool frozen;
} SimRecovery;

static void recovery_free(SimRecovery *r) {
        sim_task_disarm(r->host, &r->task);
        list_unlink(&r->link);
        free(r);
}

/* Below the port above the reporter; of a function of a root bus, itself alone. */
static bool is_affected(const SimDevice *d, const SimDevice *reporter) {
        const char *path = reporter->source.path, *slash = path ? strrchr(path, '/') : NULL;

        if (d == reporter)
                return true;
        if (!slash || !strchr(path, '/') || strchr(path, '/') == slash || !d->source.path)
                return false;
        return strncmp(d->source.path, path, (size_t) (slash - path) + 1) == 0;
}

static bool knows_errors(const SimDevice *d) {
        return d->driver[0] && !streq(d->driver, "pci-stub");
}

static void begin(SimDevice *reporter, bool frozen, usec_t silence) {
        SimHost *h = reporter->host;

        for (size_t i = 0; i < h->n_devices; i++) {
                SimDevice *d = h->sorted[i];

                if (!is_affected(d, reporter))
                        continue;
                if (knows_errors(d))
                        sim_emit_error(h, d, "BEGIN_RECOVERY", false);
                if (frozen)
                        sim_device_silence(d, false, silence);
                if (frozen && pci_driver_is_vfio(d->driver))
                        lose_bars(d);
        }
}

static void end(void *userdata) {
        SimRecovery *r = userdata;
        SimHost *h = r->host;
        SimDevice *reporter = sim_device(h, r->reporter);
        bool recovered = reporter != NULL;

        for (size_t i = 0; i < h->n_devices && recovered; i++)
                recovered = !is_affected(h->sorted[i], reporter) || knows_errors(h->sorted[i]);
        for (size_t i = 0; i < h->n_devices && reporter; i++)
                if (is_affected(h->sorted[i], reporter))
                        sim_emit_error(h, h->sorted[i],
                                       recovered ? "SUCCESSFUL_RECOVERY" : "FAILED_RECOVERY",
                                       recovered);
        recovery_free(r);
}

/* The port above counts what it was told; a fatal error is not read from the endpoint any more. */
static int count_at_port(SimDevice *reporter, PciAttribute a) {
        SimHost *h = reporter->host;
        const char *path = strempty(reporter->source.path);

        for (size_t i = 0; i < h->n_devices; i++) {
                const char *above = h->sorted[i]->source.path;

                if (above && h->sorted[i] != reporter && strncmp(path, above, strlen(above)) == 0 &&
                    path[strlen(above)] == '/' && sim_attribute(h->sorted[i], a))
                        return count(h->sorted[i], a);
        }
        return 0;
}

int host_sim_error(Host *host, PciAddress a, SimErrorKind kind) {
        SimHost *h = sim_of(host);
        bool frozen = kind == SIM_ERROR_FATAL || kind == SIM_ERROR_DPC;
        usec_t time = kind == SIM_ERROR_DPC ? CONTAINMENT_MSEC
                      : frozen              ? BUS_RESET_MSEC
                                            : DRIVERS_MSEC;
        SimRecovery *r;
        SimDevice *d;
        int k;

        assert(host_is_sim(host));
        d = sim_device(h, a);
        if (!d || d->dead)
                return -ENODEV;
        if (kind == SIM_ERROR_CORRECTABLE) {
                k = count(d, PCI_ATTRIBUTE_AER_CORRECTABLE);
                return k < 0 ? k : count_at_port(d, PCI_ATTRIBUTE_AER_ROOT_CORRECTABLE);
        }
        k = frozen ? count_at_port(d, PCI_ATTRIBUTE_AER_ROOT_FATAL)
                   : count(d, PCI_ATTRIBUTE_AER_NONFATAL);
        if (k >= 0 && !frozen)
                k = count_at_port(d, PCI_ATTRIBUTE_AER_ROOT_NONFATAL);
        r = k >= 0 ? calloc(1, sizeof(*r)) : NULL;
        if (!r)
                return -ENOMEM;
        *r = (SimRecovery) { .host = h, .reporter = a, .frozen = frozen };
        r->task.run = end;
        r->task.userdata = r;
        list_append(&h->recoveries, &r->link);
        time *= USEC_PER_MSEC;
        begin(d, frozen, time);
        sim_task_arm(h, &r->task, sim_now(h) + time);
        return 0;
}

void sim_recoveries_free(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->recoveries, link)
                recovery_free(LIST_ENTRY(link, SimRecovery, link));
}

/* ---- the attention button ---- */

int host_sim_press_attention(Host *host, PciAddress a) {
        SimHost *h = sim_of(host);
        bool cancelled = false;
        int r = -ENODEV;

        assert(host_is_sim(host));
        for (size_t i = h->n_devices; i > 0;
             i--) { /* the last function first, as the kernel removes them */
                PciAddress other = h->sorted[i - 1]->source.address;

                if (other.domain != a.domain || other.bus != a.bus || other.slot != a.slot)
                        continue;
                r = sim_remove_later(h->sorted[i - 1], sim_now(h) + ATTENTION_SEC * USEC_PER_SEC,
                                     &cancelled);
                if (r < 0)
                        break;
        }
        return r;
}
