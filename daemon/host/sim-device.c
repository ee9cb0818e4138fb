/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated kernel's tables of functions and IOMMU groups, and their sysfs texts. A device
 * keeps the raw texts of its snapshot; what changes (driver, override, VF count) is written back
 * into them, so that reading always goes through the same decoders as on a real host.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/sim-private.h"

/* ---- texts ---- */

const char *sim_attribute(const SimDevice *d, PciAttribute a) {
        assert(d);
        return d->source.attributes[a].text;
}

int sim_attribute_set(SimDevice *d, PciAttribute a, const char *text) {
        assert(d);
        d->source.attributes[a].error = 0;
        return free_and_strdup(&d->source.attributes[a].text, text);
}

int sim_link_set(SimDevice *d, PciLink l, const char *text) {
        assert(d);
        d->source.links[l].error = 0;
        return free_and_strdup(&d->source.links[l].text, text);
}

void sim_device_cold_facts(const SimDevice *d, PciFacts *f) {
        assert(d);
        assert(f);
        /* Malformed text is a fact of its own, kept in f; so is a path that cannot be copied. */
        if (d->source.path)
                (void) pci_facts_set_path(f, d->source.path);
        for (PciLink l = 0; l < _PCI_LINK_MAX; l++)
                (void) pci_facts_set_link(f, l, d->source.links[l].text,
                                          d->source.links[l].error ? d->source.links[l].error
                                                                   : ENOENT);
        for (PciAttribute a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                if (pci_attribute_is_cold(a))
                        (void) pci_facts_set_attribute(f, a, d->source.attributes[a].text,
                                                       d->source.attributes[a].error
                                                               ? d->source.attributes[a].error
                                                               : ENOENT);
}

int sim_device_children(const SimDevice *d, PciUse *use) {
        int r;

        assert(d);
        assert(use);
        if (!d->children_driver || !streq(d->children_driver, d->driver))
                return 0;
        for (size_t i = 0; i < d->source.use.n_children; i++) {
                r = pci_use_add_child(use, d->source.use.children[i].subsystem,
                                      d->source.use.children[i].name);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* ---- drivers by themselves ---- */

const SnapshotDriver *sim_driver_behaviour(const SimHost *h, const char *name) {
        assert(h);
        for (size_t i = 0; i < h->snapshot->n_drivers; i++)
                if (streq(h->snapshot->drivers[i].name, name))
                        return h->snapshot->drivers + i;
        return NULL;
}

static bool behaviour_matches(const SnapshotDriver *b, const char *key) {
        for (char *const *m = b->match; m && *m; m++)
                if (glob_matches(*m, key))
                        return true;
        return false;
}

const char *sim_match_driver(const SimHost *h, const SimDevice *d) {
        _cleanup_(pci_facts_done) PciFacts f = {};
        char key[32];

        assert(h);
        assert(d);
        pci_facts_init(&f, d->source.address);
        sim_device_cold_facts(d, &f);
        (void) snprintf(key, sizeof(key), "%04x:%04x:%06x", f.vendor, f.device, f.class_code);
        for (size_t i = 0; i < h->snapshot->n_drivers; i++)
                if (behaviour_matches(h->snapshot->drivers + i, key))
                        return h->snapshot->drivers[i].name;
        return NULL;
}

/* ---- groups ---- */

SimGroup *sim_group(SimHost *h, uint32_t id) {
        assert(h);
        return hashmap_get_u64(h->groups, id);
}

static SimGroup *group_free(SimGroup *g) {
        if (g) {
                free(g->type);
                free(g->reserved_regions);
                free(g);
        }
        return NULL;
}
DEFINE_CLEANUP(SimGroup *, group_free);

static int group_put(SimHost *h, uint32_t id, const char *type, const char *regions) {
        _cleanup_(group_freep) SimGroup *g = calloc(1, sizeof(*g));
        int r;

        if (!g || free_and_strdup(&g->type, type) < 0 ||
            free_and_strdup(&g->reserved_regions, regions) < 0)
                return -ENOMEM;
        g->id = id;
        r = hashmap_put_u64(h->groups, id, g);
        if (r < 0)
                return r;
        (void) TAKE_PTR(g);
        return 0;
}

int sim_group_new(SimHost *h, const SimGroup *like, uint32_t *ret_id) {
        uint32_t id = 0;
        int r;

        assert(h);
        assert(ret_id);
        while (sim_group(h, id))
                id++;
        r = group_put(h, id, like ? like->type : "DMA-FQ",
                      like ? like->reserved_regions : "0x00000000fee00000 0x00000000feefffff msi");
        if (r < 0)
                return r;
        *ret_id = id;
        return 0;
}

void sim_groups_free(SimHost *h) {
        SimGroup *g;

        assert(h);
        if (!h->groups)
                return;
        HASHMAP_FOREACH(g, h->groups)
                group_free(g);
        h->groups = hashmap_free(h->groups);
}

static int join_group(SimHost *h, SimDevice *d) {
        const char *text = d->source.links[PCI_LINK_IOMMU_GROUP].text;
        int r;

        if (!text || parse_u32(text, 10, UINT32_MAX, &d->group) < 0)
                return 0; /* no IOMMU, or a text that the decoder calls unreadable */
        if (!sim_group(h, d->group)) {
                r = group_put(h, d->group, NULL, NULL);
                if (r < 0)
                        return r;
        }
        d->has_group = true;
        sim_group(h, d->group)->n_devices++;
        return 0;
}

static void leave_group(SimHost *h, SimDevice *d) {
        SimGroup *g;

        if (!d->has_group)
                return;
        d->has_group = false;
        g = sim_group(h, d->group);
        if (--g->n_devices == 0) /* the number is free for the next one */
                group_free(hashmap_remove_u64(h->groups, d->group));
}

/* ---- functions ---- */

SimDevice *sim_device(SimHost *h, PciAddress a) {
        assert(h);
        return hashmap_get_u64(h->devices, pci_address_key(a));
}

SimDevice *sim_device_free(SimDevice *d) {
        if (!d)
                return NULL;
        snapshot_device_done(&d->source);
        free(d->native);
        free(d->native_module);
        free(d->children_driver);
        free(d->reset_methods);
        free(d->reference);
        if (d->host)
                sim_task_disarm(d->host, &d->silence);
        free(d);
        return NULL;
}

static int read_driver(SimHost *h, SimDevice *d) {
        const char *driver = d->source.links[PCI_LINK_DRIVER].text;
        const char *override = d->source.attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].text;
        const char *native;

        (void) string_copy(d->driver, sizeof(d->driver), strempty(driver));
        if (override && !streq(override, "(null)"))
                (void) string_copy(d->override, sizeof(d->override), override);
        native =
                d->driver[0] && !pci_driver_is_vfio(d->driver) ? d->driver : sim_match_driver(h, d);
        if (free_and_strdup(&d->native, native) < 0 ||
            (streq_ptr(native, driver) &&
             free_and_strdup(&d->native_module, d->source.links[PCI_LINK_MODULE].text) < 0))
                return -ENOMEM;
        /* Recorded children belong to the driver that was bound; those of an unbound function show
         * up with its own. */
        return free_and_strdup(&d->children_driver, d->driver[0] ? d->driver : native);
}

/* Who held it on the recorded host holds it here. */
static int read_holders(SimDevice *d) {
        PciUse recorded = d->source.use;
        int r = 0;

        d->source.use.holders = NULL;
        d->source.use.n_holders = 0;
        for (size_t i = 0; i < recorded.n_holders && r >= 0; i++)
                r = sim_hold_foreign(d, recorded.holders + i);
        free(recorded.holders);
        return r;
}

static int insert_sorted(SimHost *h, SimDevice *d) {
        size_t at = h->n_devices;

        if (ARRAY_RESERVE_ONE(h->sorted, h->n_devices, h->devices_allocated) < 0)
                return -ENOMEM;
        while (at > 0 &&
               pci_address_compare(h->sorted[at - 1]->source.address, d->source.address) > 0)
                at--;
        memmove(h->sorted + at + 1, h->sorted + at, (h->n_devices - at) * sizeof(h->sorted[0]));
        h->sorted[at] = d;
        h->n_devices++;
        return 0;
}

int sim_device_add(SimHost *h, SnapshotDevice *source, SimDevice **ret) {
        _cleanup_(sim_device_freep) SimDevice *d = NULL;
        SimDevice *added;
        int r;

        assert(h);
        assert(source);
        if (sim_device(h, source->address))
                return -EEXIST;
        d = calloc(1, sizeof(*d));
        if (!d)
                return -ENOMEM;
        d->host = h;
        d->source = *source;
        *source = (SnapshotDevice) {};
        d->is_vf = d->source.links[PCI_LINK_PHYSFN].text &&
                   pci_address_parse(d->source.links[PCI_LINK_PHYSFN].text, &d->physfn) >= 0;
        r = read_driver(h, d);
        if (r < 0)
                return r;
        r = hashmap_put_u64(h->devices, pci_address_key(d->source.address), d);
        if (r < 0)
                return r;
        r = insert_sorted(h, d);
        if (r < 0) {
                (void) hashmap_remove_u64(h->devices, pci_address_key(d->source.address));
                return r;
        }
        added = TAKE_PTR(d);
        r = join_group(h, added);
        if (r >= 0)
                r = read_holders(added);
        if (r < 0) {
                sim_device_remove(h, added);
                return r;
        }
        if (ret)
                *ret = added;
        return 0;
}

void sim_device_remove(SimHost *h, SimDevice *d) {
        size_t at = 0;

        assert(h);
        assert(d);
        sim_handles_drop_device(h, d->source.address);
        leave_group(h, d);
        (void) hashmap_remove_u64(h->devices, pci_address_key(d->source.address));
        while (h->sorted[at] != d)
                at++;
        h->n_devices--;
        memmove(h->sorted + at, h->sorted + at + 1, (h->n_devices - at) * sizeof(h->sorted[0]));
        sim_device_free(d);
}

int sim_devices_take(SimHost *h) {
        Snapshot *s = h->snapshot;
        int r;

        for (size_t i = 0; i < s->n_groups; i++) {
                r = group_put(h, s->groups[i].id, s->groups[i].type, s->groups[i].reserved_regions);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < s->n_devices; i++) {
                r = sim_device_add(h, s->devices + i, NULL);
                if (r < 0)
                        return r;
        }
        return 0;
}
