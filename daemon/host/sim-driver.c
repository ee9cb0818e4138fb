/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Driver binding, reset and removal of the simulated kernel: what a write to sysfs does at the
 * moment it is done, with the kernel's errnos and events (drivers/base/bus.c, dd.c,
 * drivers/pci/pci-driver.c, drivers/vfio/vfio_main.c). How long it takes is the caller's business,
 * as is waiting: an operation that cannot go on because somebody holds the device returns
 * SIM_BLOCKED and is called again when that may have changed.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/sim-private.h"

#define BIND_MSEC 2U
#define FLR_MSEC 100U /* PCIe 6.6.2: a function may take 100 ms after FLR */
#define BUS_RESET_MSEC 1100U /* secondary bus reset: pulse, then 1 s until the first access */
#define PM_RESET_MSEC 20U

/* ---- which driver ---- */

static bool driver_exists(const SimDevice *d, const char *driver) {
        const Snapshot *s = d->host->snapshot;

        if (pci_driver_is_vfio(driver)) {
                char name[PCI_DRIVER_NAME_MAX];

                for (size_t i = 0; i < s->n_aliases && d->host->modules_loaded; i++)
                        if (pci_module_to_driver(s->aliases[i].module, name, sizeof(name)) >= 0 &&
                            streq(name, driver))
                                return true;
                return false;
        }
        return streq_ptr(d->native, driver) || streq(driver, "pci-stub") ||
               sim_driver_behaviour(d->host, driver);
}

const char *sim_probe_candidate(const SimDevice *d) {
        assert(d);
        /* With an override, only the driver of that name may match. */
        if (d->override[0])
                return driver_exists(d, d->override) ? d->override : "";
        if (d->is_vf) {
                SimDevice *pf = sim_device(d->host, d->physfn);
                const char *autoprobe =
                        pf ? sim_attribute(pf, PCI_ATTRIBUTE_SRIOV_AUTOPROBE) : NULL;

                if (autoprobe && streq(autoprobe, "0"))
                        return "";
        }
        return strempty(d->native);
}

usec_t sim_bind_time(const SimHost *h, const char *driver) {
        const SnapshotDriver *b = sim_driver_behaviour(h, driver);

        return (b ? b->bind_msec : BIND_MSEC) * USEC_PER_MSEC;
}

usec_t sim_unbind_time(const SimHost *h, const char *driver) {
        const SnapshotDriver *b = sim_driver_behaviour(h, driver);

        return (b ? b->unbind_msec : BIND_MSEC) * USEC_PER_MSEC;
}

/* ---- bind and unbind ---- */

static int set_driver(SimDevice *d, const char *driver) {
        char module[PCI_DRIVER_NAME_MAX];
        const char *text = NULL;

        (void) string_copy(d->driver, sizeof(d->driver), driver);
        if (driver[0] && streq_ptr(d->native, driver))
                text = d->native_module;
        else if (driver[0]) {
                for (size_t i = 0; i <= strlen(driver); i++)
                        module[i] = driver[i] == '-' ? '_' : driver[i];
                text = module;
        }
        if (sim_link_set(d, PCI_LINK_DRIVER, driver[0] ? driver : NULL) < 0)
                return -ENOMEM;
        return sim_link_set(d, PCI_LINK_MODULE, text);
}

static bool has_children(const SimDevice *d) {
        return d->source.use.n_children > 0 && d->children_driver &&
               streq(d->children_driver, d->driver);
}

static bool blocks(SimDevice *d) {
        if (!pci_driver_is_vfio(d->driver))
                return false;
        /* Since 6.6 the vfio-dev device goes before the wait for its user. */
        if (!d->told_removal)
                sim_emit(d->host, HOST_EVENT_VFIO_REMOVE, d);
        d->told_removal = true;
        return sim_device_is_held(d);
}

int sim_unbind(SimDevice *d, const char *driver) {
        int r;

        assert(d);
        if (d->driver[0] == 0 || (driver && !streq(driver, d->driver)))
                return -ENODEV;
        if (blocks(d))
                return SIM_BLOCKED;
        if (sim_numvfs(d) > 0) {
                r = sim_set_numvfs(
                        d, 0); /* remove() of native drivers and of vfio-pci disables them */
                if (r != 0)
                        return r;
        }
        d->told_removal = false;
        sim_device_restore(d); /* vfio_pci_core_disable() */
        if (has_children(d))
                sim_emit(d->host, HOST_EVENT_CHILDREN, d);
        r = set_driver(d, "");
        if (r < 0)
                return r;
        if (d->has_group && !sim_group_has_node(d->host, d->group)) {
                SimGroup *g = sim_group(d->host, d->group);

                g->node_uid = g->node_gid = 0; /* the node went; the next one is root's */
        }
        sim_emit(d->host, HOST_EVENT_UNBIND, d);
        return 0;
}

int sim_bind(SimDevice *d, const char *driver) {
        bool vfio;
        int r;

        assert(d);
        assert(driver);
        if (d->driver[0])
                return -EBUSY;
        if (d->dead || !driver_exists(d, driver))
                return -ENODEV;
        vfio = pci_driver_is_vfio(driver);
        if (!pci_driver_is_group_neutral(driver) && d->has_group &&
            sim_group_is_held(d->host, d->group))
                return -EBUSY; /* iommu_device_use_default_domain() */
        if (vfio && d->source.attributes[PCI_ATTRIBUTE_SECONDARY_BUS].text)
                return -EINVAL; /* header type 1 */
        if (vfio && sim_numvfs(d) > 0)
                return -EBUSY;
        r = set_driver(d, driver);
        if (r < 0)
                return r;
        d->told_removal = false;
        sim_emit(d->host, HOST_EVENT_BIND, d);
        if (has_children(d))
                sim_emit(d->host, HOST_EVENT_CHILDREN, d);
        return 0;
}

int sim_drivers_probe(SimDevice *d) {
        const char *driver;
        int r;

        assert(d);
        if (d->driver[0])
                return 0;
        driver = sim_probe_candidate(d);
        if (driver[0] == 0)
                return 0;
        r = sim_bind(d, driver);
        if (r == -ENODEV)
                return 0; /* no driver matched: not an error of the write */
        return r < 0 ? -EINVAL : 0; /* bus_rescan_devices_helper(): whatever probing said */
}

int sim_set_override(SimDevice *d, const char *driver) {
        assert(d);
        assert(driver);
        (void) string_copy(d->override, sizeof(d->override), driver);
        return sim_attribute_set(d, PCI_ATTRIBUTE_DRIVER_OVERRIDE, driver[0] ? driver : "(null)");
}

/* ---- reset ---- */

static bool has_method(const SimDevice *d, const char *method) {
        const char *methods = strempty(sim_attribute(d, PCI_ATTRIBUTE_RESET_METHOD));
        size_t n = strlen(method);

        for (const char *p = methods; *p;) {
                size_t k = strcspn(p, " \n");

                if (k > 0 && (n == 0 || (k == n && strncmp(p, method, n) == 0)))
                        return true;
                p += k + (p[k] != 0);
        }
        return false;
}

usec_t sim_reset_time(const SimDevice *d, const char *method) {
        const char *first =
                method[0] ? method : strempty(sim_attribute(d, PCI_ATTRIBUTE_RESET_METHOD));

        if (strncmp(first, "flr", 3) == 0)
                return FLR_MSEC * USEC_PER_MSEC;
        return (strncmp(first, "pm", 2) == 0 ? PM_RESET_MSEC : BUS_RESET_MSEC) * USEC_PER_MSEC;
}

int sim_reset(SimDevice *d, const char *method) {
        assert(d);
        assert(method);
        if (sim_device_is_held(d))
                return -EBUSY;
        if (!has_method(d, method))
                return method[0] ? -EINVAL : -ENOTTY;
        if (d->dead)
                return -ENOTTY;
        sim_device_restore(d);
        return 0;
}

/* ---- removal ---- */

static bool goes_with(const SimDevice *d, const SimDevice *removed) {
        const char *path = removed->source.path;

        if (d == removed)
                return false;
        if (d->is_vf && pci_address_equal(d->physfn, removed->source.address))
                return true;
        return path && d->source.path && strncmp(d->source.path, path, strlen(path)) == 0 &&
               d->source.path[strlen(path)] == '/';
}

/* Virtual functions first, then the deepest. */
static SimDevice *next_below(SimHost *h, const SimDevice *removed) {
        SimDevice *best = NULL;

        for (size_t i = 0; i < h->n_devices; i++) {
                SimDevice *d = h->sorted[i];

                if (!goes_with(d, removed))
                        continue;
                if (d->is_vf)
                        return d;
                if (!best ||
                    strlen(strempty(d->source.path)) >= strlen(strempty(best->source.path)))
                        best = d;
        }
        return best;
}

static int unplug_one(SimDevice *d) {
        SimHost *h = d->host;
        PciAddress a = d->source.address;
        int r;

        if (d->driver[0]) {
                r = sim_unbind(d, NULL);
                if (r != 0)
                        return r;
        }
        sim_device_remove(h, d);
        sim_emit_at(h, HOST_EVENT_REMOVE, a, false);
        return 0;
}

int sim_unplug(SimDevice *d) {
        SimDevice *below;
        int r;

        assert(d);
        while ((below = next_below(d->host, d))) {
                r = unplug_one(below);
                if (r != 0)
                        return r;
        }
        return unplug_one(d);
}
