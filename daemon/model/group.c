/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An IOMMU group: the unit of ownership. It knows its members, sorted by address; a device is in
 * one group at most, and the back link (Device.group) and the list always agree.
 */

#include <assert.h>

#include "model/model-private.h"

int group_new(uint32_t id, Group **ret) {
        assert(ret);

        Group *g = calloc(1, sizeof(Group));
        if (!g)
                return -ENOMEM;
        g->id = g->facts.id = id;
        list_init(&g->devices);
        *ret = g;
        return 0;
}

Group *group_free(Group *g) {
        if (!g)
                return NULL;
        LIST_FOREACH(&g->devices, link)
                group_unlink(LIST_ENTRY(link, Device, in_group));
        iommu_group_facts_done(&g->facts);
        free(g);
        return NULL;
}

void group_link(Group *g, Device *d) {
        assert(g);
        assert(d);
        assert(!d->group);

        /* Scans come in order: the place is nearly always the end. */
        ListLink *after = g->devices.previous;
        while (after != &g->devices &&
               pci_address_compare(LIST_ENTRY(after, Device, in_group)->facts.address,
                                   d->facts.address) > 0)
                after = after->previous;
        list_append(after->next, &d->in_group);
        d->group = g;
        g->n_devices++;
}

void group_unlink(Device *d) {
        assert(d);

        if (!d->group)
                return;
        list_unlink(&d->in_group);
        d->group->n_devices--;
        d->group = NULL;
}
