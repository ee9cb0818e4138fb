/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the daemon reads by itself, from the simulated kernel: the same facts as the kernel host's
 * scan gives, through the same decoders. Nothing here waits or changes anything.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/sim-private.h"

struct HostScan {
        Host *host; /* first: see host.c */
        PciAddress *addresses; /* as they were at the start */
        size_t n, next;
};

int sim_scan_begin(Host *host, HostScan **ret) {
        SimHost *h = sim_of(host);
        HostScan *s = calloc(1, sizeof(*s));

        if (!s)
                return -ENOMEM;
        s->host = host;
        s->addresses = calloc(MAX(h->n_devices, (size_t) 1), sizeof(PciAddress));
        if (!s->addresses) {
                free(s);
                return -ENOMEM;
        }
        for (; s->n < h->n_devices; s->n++)
                s->addresses[s->n] = h->sorted[s->n]->source.address;
        *ret = s;
        return 0;
}

void sim_scan_end(HostScan *s) {
        free(s->addresses);
        free(s);
}

static int read_one(const SimDevice *d, PciFacts *ret, PciUse *ret_use) {
        _cleanup_(pci_facts_done) PciFacts f = {};
        _cleanup_(pci_use_done) PciUse use = {};
        int r;

        pci_facts_init(&f, d->source.address);
        sim_device_cold_facts(d, &f);
        r = sim_device_children(d, &use);
        if (r >= 0)
                r = pci_use_add_builtin_criticals(&use, &f);
        if (r < 0)
                return r;
        *ret = f;
        *ret_use = use;
        f = (PciFacts) {};
        use = (PciUse) {};
        return 0;
}

int sim_scan_next(HostScan *s, PciFacts *ret, PciUse *ret_use) {
        while (s->next < s->n) {
                SimDevice *d = sim_device(sim_of(s->host), s->addresses[s->next++]);
                int r;

                if (!d)
                        continue;
                r = read_one(d, ret, ret_use);
                return r < 0 ? r : 1;
        }
        return 0;
}

int sim_refresh(Host *host, PciFacts *facts, HostRefresh what) {
        SimDevice *d = sim_device(sim_of(host), facts->address);

        if (!d)
                return -ENODEV;
        if (what == HOST_REFRESH_COLD) {
                sim_device_cold_facts(d, facts);
                return 0;
        }
        for (PciLink l = 0; l < _PCI_LINK_MAX; l++)
                (void) pci_facts_set_link(facts, l, d->source.links[l].text,
                                          d->source.links[l].error ? d->source.links[l].error
                                                                   : ENOENT);
        return 0;
}

/* "0x10de" */
static uint16_t hexadecimal(const SimDevice *d, PciAttribute a) {
        const char *text = strempty(sim_attribute(d, a));
        uint64_t v;

        return strlen(text) > 2 && parse_u64(text + 2, 16, UINT16_MAX, &v) >= 0 ? (uint16_t) v : 0;
}

bool host_sim_look(Host *host, PciAddress a, SimLook *ret) {
        const SimDevice *d;

        assert(host_is_sim(host));
        assert(ret);
        d = sim_device(sim_of(host), a);
        if (!d)
                return false;
        *ret = (SimLook) {
                .driver = d->driver,
                .override = d->override,
                .vendor = hexadecimal(d, PCI_ATTRIBUTE_VENDOR),
                .device = hexadecimal(d, PCI_ATTRIBUTE_DEVICE),
                .group = d->has_group ? d->group : UINT32_MAX,
        };
        return true;
}

int sim_read_children(Host *host, PciAddress a, PciUse *ret_use) {
        SimDevice *d = sim_device(sim_of(host), a);
        PciUse use = {};
        int r;

        if (!d)
                return -ENODEV;
        r = sim_device_children(d, &use);
        if (r < 0) {
                pci_use_done(&use);
                return r;
        }
        *ret_use = use;
        return 0;
}

int sim_iommus(Host *host, IommuFacts **ret, size_t *ret_n) {
        const Snapshot *s = sim_of(host)->snapshot;
        IommuFacts *array = calloc(MAX(s->n_iommus, (size_t) 1), sizeof(*array));

        if (!array)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_iommus; i++) {
                const SnapshotIommu *in = s->iommus + i;

                iommu_facts_init(array + i, in->name);
                (void) iommu_facts_set_register(array + i, "cap", in->cap, ENOENT);
                if (in->features)
                        (void) iommu_facts_set_register(array + i, "features", in->features, 0);
                else
                        (void) iommu_facts_set_register(array + i, "ecap", in->ecap, ENOENT);
        }
        *ret = array;
        *ret_n = s->n_iommus;
        return 0;
}

int sim_slots(Host *host, PciSlotFacts **ret, size_t *ret_n) {
        const Snapshot *s = sim_of(host)->snapshot;
        PciSlotFacts *array = calloc(MAX(s->n_slots, (size_t) 1), sizeof(*array));
        size_t n = 0;

        if (!array)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_slots; i++)
                if (pci_slot_facts_init(array + n, s->slots[i].name, s->slots[i].address) >= 0)
                        n++; /* else a slot without a sane address: nothing can be told of it */
        *ret = array;
        *ret_n = n;
        return 0;
}

int sim_nodes(Host *host, NumaNodes *ret) {
        const Snapshot *s = sim_of(host)->snapshot;
        NumaNodes nodes = { .list = calloc(s->n_nodes + 1, sizeof(NumaNode)) };

        if (!nodes.list)
                return -ENOMEM;
        for (; nodes.n < s->n_nodes; nodes.n++) {
                nodes.list[nodes.n].id = s->nodes[nodes.n].id;
                /* Malformed text is a fact of its own. */
                (void) numa_node_set_distances(nodes.list + nodes.n, s->nodes[nodes.n].distance,
                                               ENOENT);
        }
        *ret = nodes;
        return 0;
}

int sim_choose_driver(Host *host, const PciFacts *f, char *buffer, size_t size) {
        const Snapshot *s = sim_of(host)->snapshot;
        _cleanup_free_
        PciModuleAlias *aliases = calloc(MAX(s->n_aliases, (size_t) 1), sizeof(PciModuleAlias));
        int i;

        if (!aliases)
                return -ENOMEM;
        for (size_t k = 0; k < s->n_aliases; k++)
                aliases[k] = (PciModuleAlias) { s->aliases[k].pattern, s->aliases[k].module };
        i = pci_vfio_choose(f, aliases, s->n_aliases);
        if (i < 0)
                return i;
        return pci_module_to_driver(aliases[i].module, buffer, size);
}
