/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The registry: it owns devices, groups, assignments and jobs, and finds them by key in constant
 * time. Names that are not addresses (slot, label, child) are looked for by walking, which only a
 * person's request does. What a device was told by a worker is forgotten when other hardware shows
 * up at its address.
 */

#include <assert.h>
#include <limits.h>

#include "base/strutil.h"
#include "model/model-private.h"

int inventory_new(Inventory **ret) {
        assert(ret);

        _cleanup_(inventory_freep) Inventory *i = calloc(1, sizeof(Inventory));
        if (!i)
                return -ENOMEM;
        i->devices = hashmap_new_u64();
        i->groups = hashmap_new_u64();
        i->assignments = hashmap_new_string();
        i->jobs = hashmap_new_u64();
        if (!i->devices || !i->groups || !i->assignments || !i->jobs)
                return -ENOMEM;
        i->next_job = 1;
        *ret = TAKE_PTR(i);
        return 0;
}

Inventory *inventory_free(Inventory *i) {
        if (!i)
                return NULL;
        for (size_t n = 0; n < i->n_devices; n++)
                device_free(i->sorted[n]);
        free(i->sorted);
        Group *g;
        if (i->groups)
                HASHMAP_FOREACH(g, i->groups)
                        group_free(g);
        Assignment *a;
        if (i->assignments)
                HASHMAP_FOREACH(a, i->assignments)
                        assignment_free(a);
        Job *j;
        if (i->jobs)
                HASHMAP_FOREACH(j, i->jobs)
                        job_free(j);
        hashmap_free(i->devices);
        hashmap_free(i->groups);
        hashmap_free(i->assignments);
        hashmap_free(i->jobs);
        free(i->iommus);
        for (size_t n = 0; n < i->n_slots; n++)
                pci_slot_facts_done(&i->slots[n]);
        free(i->slots);
        numa_nodes_done(&i->nodes);
        free(i);
        return NULL;
}

Device *inventory_device(const Inventory *i, PciAddress a) {
        assert(i);
        return hashmap_get_u64(i->devices, pci_address_key(a));
}

Group *inventory_group(const Inventory *i, uint32_t id) {
        assert(i);
        return hashmap_get_u64(i->groups, id);
}

Assignment *inventory_assignment(const Inventory *i, const char *id) {
        assert(i);
        return id ? hashmap_get(i->assignments, id) : NULL;
}

Job *inventory_job(const Inventory *i, uint64_t id) {
        assert(i);
        return hashmap_get_u64(i->jobs, id);
}

const PciSlotFacts *inventory_slot(const Inventory *i, PciAddress a) {
        assert(i);

        for (size_t n = 0; n < i->n_slots; n++)
                if (pci_slot_facts_matches(&i->slots[n], a))
                        return &i->slots[n];
        return NULL;
}

const IommuFacts *inventory_iommu(const Inventory *i, const char *name) {
        assert(i);

        for (size_t n = 0; !isempty(name) && n < i->n_iommus; n++)
                if (streq(i->iommus[n].name, name))
                        return &i->iommus[n];
        return NULL;
}

void inventory_view(const Inventory *i, const Device *d, PciView *ret) {
        const Device *physfn;

        assert(i);
        assert(d);
        assert(ret);

        device_view(d, ret);
        ret->group = d->group ? &d->group->facts : NULL;
        ret->iommu = inventory_iommu(i, d->facts.iommu);
        ret->nodes = &i->nodes;
        ret->slot = inventory_slot(i, d->facts.address);
        if (!ret->slot)
                ret->slot = &pci_slot_none;
        /* PASID, PRI and the need for a VF token are the physical function's to say. */
        physfn = d->facts.is_vf ? inventory_device(i, d->facts.physfn) : NULL;
        if (physfn) {
                ret->physfn = &physfn->facts;
                ret->physfn_config = physfn->config;
        }
}

/* ---- names ---- */

static bool device_has_child(const Device *d, const char *name) {
        for (size_t n = 0; n < d->use.n_children; n++)
                if (streq(d->use.children[n].name, name))
                        return true;
        return false;
}

static bool device_has_name(const Inventory *i, const Device *d, const char *name) {
        const PciSlotFacts *slot = inventory_slot(i, d->facts.address);
        if (slot && streq(slot->name, name))
                return true;
        if (d->live && streq_ptr(d->live->attributes[PCI_ATTRIBUTE_LABEL].text, name))
                return true;
        return device_has_child(d, name);
}

#define CANDIDATES_SHOWN 8U

int inventory_resolve(const Inventory *i, const char *name, Error *err, Device **ret) {
        assert(i);
        assert(name);
        assert(ret);

        if (!string_is_safe(name, NAME_MAX))
                return error_set(err, ERROR_INVALID,
                                 "A device name must be 1 to %d bytes of printable UTF-8; give an "
                                 "address, slot, "
                                 "label or a child's name",
                                 NAME_MAX);
        PciAddress address;
        if (pci_address_parse_short(name, &address) >= 0) {
                Device *d = inventory_device(i, address);
                if (!d)
                        return error_set(err, ERROR_NOT_FOUND,
                                         "There is no PCI function %s; see the list of devices",
                                         PCI_ADDRESS_TEXT(address));
                *ret = d;
                return 0;
        }

        _cleanup_strbuf_ StrBuf names = {};
        Device *found = NULL;
        size_t count = 0;
        for (size_t n = 0; n < i->n_devices; n++) {
                if (!device_has_name(i, i->sorted[n], name))
                        continue;
                if (count < CANDIDATES_SHOWN)
                        strbuf_addf(&names, "%s%s", count > 0 ? ", " : "",
                                    PCI_ADDRESS_TEXT(i->sorted[n]->facts.address));
                found = i->sorted[n];
                count++;
        }
        if (count == 0)
                return error_set(err, ERROR_NOT_FOUND,
                                 "Nothing is called \"%s\": no address, slot, label or child of a "
                                 "PCI function",
                                 name);
        if (count > 1)
                return error_set(err, ERROR_INVALID,
                                 "\"%s\" means %zu functions (%s%s); name one by its address", name,
                                 count, strempty(names.data),
                                 count > CANDIDATES_SHOWN ? ", …" : "");
        *ret = found;
        return 0;
}

/* ---- devices and groups ---- */

/* Where the address is, or belongs. Scans come in order, so the end is tried first. */
static size_t sorted_position(const Inventory *i, PciAddress a) {
        size_t low = 0, high = i->n_devices;

        if (high > 0 && pci_address_compare(i->sorted[high - 1]->facts.address, a) < 0)
                return high;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (pci_address_compare(i->sorted[middle]->facts.address, a) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static int inventory_insert(Inventory *i, Device *d) {
        if (ARRAY_RESERVE_ONE(i->sorted, i->n_devices, i->devices_allocated) < 0)
                return -ENOMEM;
        int r = hashmap_put_u64(i->devices, pci_address_key(d->facts.address), d);
        if (r < 0)
                return r;
        size_t at = sorted_position(i, d->facts.address);
        memmove(i->sorted + at + 1, i->sorted + at, (i->n_devices - at) * sizeof(Device *));
        i->sorted[at] = d;
        i->n_devices++;
        return 0;
}

static void inventory_take_out(Inventory *i, Device *d) {
        size_t at = sorted_position(i, d->facts.address);
        assert(at < i->n_devices && i->sorted[at] == d);
        i->n_devices--;
        memmove(i->sorted + at, i->sorted + at + 1, (i->n_devices - at) * sizeof(Device *));
        (void) hashmap_remove_u64(i->devices, pci_address_key(d->facts.address));
}

int inventory_relink(Inventory *i, Device *d) {
        assert(i);
        assert(d);

        if (d->facts.link_state[PCI_LINK_IOMMU_GROUP] != FACT_PRESENT) {
                group_unlink(d);
                return 0;
        }
        if (d->group && d->group->id == d->facts.iommu_group)
                return 0;
        Group *g = inventory_group(i, d->facts.iommu_group);
        if (!g) {
                int r = group_new(d->facts.iommu_group, &g);
                if (r < 0)
                        return r;
                r = hashmap_put_u64(i->groups, g->id, g);
                if (r < 0) {
                        group_free(g);
                        return r;
                }
        }
        group_unlink(d);
        group_link(g, d);
        return 0;
}

static bool same_hardware(const PciFacts *a, const PciFacts *b) {
        return a->vendor == b->vendor && a->device == b->device &&
               a->subsystem_vendor == b->subsystem_vendor &&
               a->subsystem_device == b->subsystem_device && a->class_code == b->class_code &&
               a->revision == b->revision;
}

int inventory_put_device(Inventory *i, PciFacts *facts, PciUse *use, usec_t now, Device **ret) {
        assert(i);
        assert(facts);

        Device *d = inventory_device(i, facts->address);
        if (!d) {
                d = calloc(1, sizeof(Device));
                if (!d)
                        return -ENOMEM;
                d->facts.address = facts->address;
                int r = inventory_insert(i, d);
                if (r < 0) {
                        free(d);
                        return r;
                }
        } else if (!same_hardware(&d->facts, facts))
                device_forget_readings(d);

        pci_facts_done(&d->facts);
        d->facts = *facts;
        *facts = (PciFacts) {};
        d->facts_at = now;
        if (use) {
                pci_use_done(&d->use);
                d->use = *use;
                *use = (PciUse) {};
                d->use_at = now;
        }
        d->gone = false;
        d->generation++;
        i->generation++;
        int r = inventory_relink(i, d);
        if (r < 0)
                return r;
        if (ret)
                *ret = d;
        return 0;
}

void inventory_remove_device(Inventory *i, Device *d) {
        assert(i);
        assert(d);

        inventory_take_out(i, d);
        device_free(d);
        i->generation++;
}

void inventory_drop_group(Inventory *i, Group *g) {
        assert(i);
        assert(g);
        assert(g->n_devices == 0);

        (void) hashmap_remove_u64(i->groups, g->id);
        group_free(g);
        i->generation++;
}

/* ---- assignments and jobs ---- */

int inventory_add_assignment(Inventory *i, Assignment *a) {
        assert(i);
        assert(a);

        int r = hashmap_put(i->assignments, a->id, a);
        if (r >= 0)
                i->generation++;
        return r;
}

void inventory_remove_assignment(Inventory *i, Assignment *a) {
        assert(i);
        assert(a);

        /* Its plan names every device and group that may point to it: the cost does not grow with
         * the host. */
        for (size_t n = 0; a->plan && n < a->plan->n_devices; n++) {
                const PlanDevice *planned = &a->plan->devices[n];
                Device *d = inventory_device(i, planned->address);
                if (d && d->assignment == a)
                        d->assignment = NULL;
                Group *g = inventory_group(i, planned->group);
                if (g && g->assignment == a)
                        g->assignment = NULL;
        }
        (void) hashmap_remove(i->assignments, a->id);
        assignment_free(a);
        i->generation++;
}

int inventory_add_job(Inventory *i, Job *j) {
        assert(i);
        assert(j);

        int r = hashmap_put_u64(i->jobs, i->next_job, j);
        if (r < 0)
                return r;
        j->id = i->next_job++;
        i->generation++;
        return 0;
}

void inventory_remove_job(Inventory *i, Job *j) {
        assert(i);
        assert(j);

        for (size_t n = 0; j->plan && n < j->plan->n_devices; n++) {
                Device *d = inventory_device(i, j->plan->devices[n].address);
                if (d && d->job == j)
                        d->job = NULL;
        }
        Assignment *a = inventory_assignment(i, j->assignment);
        if (a && a->job == j)
                a->job = NULL;
        (void) hashmap_remove_u64(i->jobs, j->id);
        job_free(j);
        i->generation++;
}
