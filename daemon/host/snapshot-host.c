/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The members of HOST.json that are not devices: platform, groups, IOMMUs, NUMA nodes, slots, VFIO
 * aliases and how drivers behave. Form only: what the texts mean is decoded by the pci layer.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/snapshot-private.h"

#define ALIASES_MAX 16384U
#define DRIVERS_MAX 4096U
#define IOMMUS_MAX 4096U
#define MATCHES_MAX 256U

/* ---- platform ---- */

static const SnapshotFlag flags[] = {
        { "iommu-present", offsetof(HostPlatform, iommu_present) },
        { "vfio-group", offsetof(HostPlatform, vfio_group) },
        { "vfio-container", offsetof(HostPlatform, vfio_container) },
        { "vfio-cdev", offsetof(HostPlatform, vfio_cdev) },
        { "iommufd", offsetof(HostPlatform, iommufd) },
        { "vfio-pci-available", offsetof(HostPlatform, vfio_pci_available) },
        { "vfio-pci-loaded", offsetof(HostPlatform, vfio_pci_loaded) },
        { "vfio-iommu-type1-loaded", offsetof(HostPlatform, vfio_iommu_type1_loaded) },
        { "interrupt-remapping", offsetof(HostPlatform, interrupt_remapping) },
        { "unsafe-interrupts", offsetof(HostPlatform, unsafe_interrupts) },
        { "noiommu-enabled", offsetof(HostPlatform, noiommu_enabled) },
        { "virtio-iommu-late", offsetof(HostPlatform, virtio_iommu_late) },
        { "secure-boot", offsetof(HostPlatform, secure_boot) },
        { "aer-native", offsetof(HostPlatform, aer_native) },
        { "tracefs", offsetof(HostPlatform, tracefs) },
};

const SnapshotFlag *snapshot_platform_flags(size_t *ret_n) {
        assert(ret_n);
        *ret_n = ELEMENTSOF(flags);
        return flags;
}

static int read_flags(SnapshotReader *r, const Json *j, HostPlatform *p) {
        for (size_t i = 0; i < ELEMENTSOF(flags); i++) {
                bool v = false;
                size_t before;
                int k;

                k = json_get_bool(j, flags[i].key, &v);
                if (k < 0) {
                        before = snapshot_enter(r, flags[i].key);
                        k = snapshot_expected(r, "true or false", json_get(j, flags[i].key));
                        snapshot_leave(r, before);
                        return k;
                }
                if (k > 0)
                        *((int8_t *) p + flags[i].offset) = v;
        }
        return 0;
}

static int check_platform_keys(SnapshotReader *r, const Json *j) {
        const char *keys[ELEMENTSOF(flags) + 7] = {
                "kernel", "cmdline", "lockdown", "vendor", "waiting-functions", "dma-entry-limit"
        };

        for (size_t i = 0; i < ELEMENTSOF(flags); i++)
                keys[6 + i] = flags[i].key;
        return snapshot_check_object(r, j, keys);
}

static int read_short_text(SnapshotReader *r, const Json *j, const char *key, char *buffer,
                           size_t size) {
        _cleanup_free_ char *s = NULL;
        int k;

        k = snapshot_get_name(r, j, key, size - 1, &s);
        if (k > 0)
                (void) string_copy(buffer, size, s);
        return k;
}

static int read_platform(SnapshotReader *r, const Json *j, HostPlatform *p) {
        uint64_t v = 0;
        int k;

        k = check_platform_keys(r, j);
        if (k >= 0)
                k = read_short_text(r, j, "kernel", p->kernel, sizeof(p->kernel));
        if (k >= 0)
                k = read_short_text(r, j, "lockdown", p->lockdown, sizeof(p->lockdown));
        if (k >= 0)
                k = read_short_text(r, j, "vendor", p->vendor, sizeof(p->vendor));
        if (k >= 0)
                k = snapshot_get_text(r, j, "cmdline", SNAPSHOT_TEXT_MAX, &p->cmdline);
        if (k >= 0)
                k = snapshot_get_number(r, j, "waiting-functions", SNAPSHOT_DEVICES_MAX, &v);
        if (k > 0)
                p->n_waiting = (uint32_t) v;
        if (k >= 0)
                k = snapshot_get_number(r, j, "dma-entry-limit", UINT64_MAX, &p->dma_entry_limit);
        return k < 0 ? k : read_flags(r, j, p);
}

/* ---- groups, iommus, nodes, slots ---- */

static int read_group(SnapshotReader *r, const Json *j, Snapshot *s) {
        static const char *const keys[] = { "id", "type", "reserved_regions", NULL };
        SnapshotGroup *g;
        uint64_t id = 0;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_number(r, j, "id", UINT32_MAX, &id);
        if (k < 0)
                return k;
        if (k == 0)
                return snapshot_invalid(r, "expected \"id\"");
        if (s->n_groups > 0 && s->groups[s->n_groups - 1].id >= id)
                return snapshot_invalid(r, "groups stand in ascending order of \"id\", each once");
        if (ARRAY_RESERVE_ONE(s->groups, s->n_groups, s->groups_allocated) < 0)
                return snapshot_out_of_memory(r);
        g = s->groups + s->n_groups++;
        *g = (SnapshotGroup) { .id = (uint32_t) id };
        k = snapshot_get_text(r, j, "type", PCI_ATTRIBUTE_TEXT_MAX, &g->type);
        if (k < 0)
                return k;
        return snapshot_get_text(r, j, "reserved_regions", SNAPSHOT_TEXT_MAX, &g->reserved_regions);
}

static int read_node(SnapshotReader *r, const Json *j, Snapshot *s) {
        static const char *const keys[] = { "id", "distance", NULL };
        SnapshotNode *node;
        uint64_t id = 0;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_number(r, j, "id", NUMA_NODES_MAX - 1, &id);
        if (k < 0)
                return k;
        if (k == 0)
                return snapshot_invalid(r, "expected \"id\"");
        if (s->n_nodes > 0 && s->nodes[s->n_nodes - 1].id >= id)
                return snapshot_invalid(r, "nodes stand in ascending order of \"id\", each once");
        if (ARRAY_RESERVE_ONE(s->nodes, s->n_nodes, s->nodes_allocated) < 0)
                return snapshot_out_of_memory(r);
        node = s->nodes + s->n_nodes++;
        *node = (SnapshotNode) { .id = (uint32_t) id };
        return snapshot_get_text(r, j, "distance", PCI_ATTRIBUTE_TEXT_MAX, &node->distance);
}

static int read_registers(SnapshotReader *r, const Json *j, SnapshotIommu *i) {
        static const char *const keys[] = { "cap", "ecap", "features", NULL };
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k >= 0)
                k = snapshot_get_text(r, j, "cap", PCI_ATTRIBUTE_TEXT_MAX, &i->cap);
        if (k >= 0)
                k = snapshot_get_text(r, j, "ecap", PCI_ATTRIBUTE_TEXT_MAX, &i->ecap);
        if (k >= 0)
                k = snapshot_get_text(r, j, "features", PCI_ATTRIBUTE_TEXT_MAX, &i->features);
        return k;
}

static int read_iommu(SnapshotReader *r, const Json *j, Snapshot *s) {
        static const char *const keys[] = { "name", "registers", NULL };
        const Json *registers;
        SnapshotIommu *i;
        size_t before;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        if (ARRAY_RESERVE_ONE(s->iommus, s->n_iommus, s->iommus_allocated) < 0)
                return snapshot_out_of_memory(r);
        i = s->iommus + s->n_iommus++;
        *i = (SnapshotIommu) {};
        k = read_short_text(r, j, "name", i->name, sizeof(i->name));
        if (k < 0)
                return k;
        if (k == 0)
                return snapshot_invalid(r, "expected \"name\"");
        registers = json_get(j, "registers");
        if (!registers)
                return 0;
        before = snapshot_enter(r, "registers");
        k = read_registers(r, registers, i);
        snapshot_leave(r, before);
        return k;
}

static int read_slot_attributes(SnapshotReader *r, const Json *j, SnapshotSlot *slot) {
        static const char *const keys[] = { "power", "attention", "latch", "adapter", NULL };
        char **texts[] = { &slot->power, &slot->attention, &slot->latch, &slot->adapter };
        int k;

        k = snapshot_check_object(r, j, keys);
        for (size_t i = 0; k >= 0 && i < ELEMENTSOF(texts); i++)
                k = snapshot_get_text(r, j, keys[i], PCI_ATTRIBUTE_TEXT_MAX, texts[i]);
        return k;
}

static int read_slot(SnapshotReader *r, const Json *j, Snapshot *s) {
        static const char *const keys[] = { "name", "address", "attributes", NULL };
        const Json *attributes;
        SnapshotSlot *slot;
        size_t before;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        if (ARRAY_RESERVE_ONE(s->slots, s->n_slots, s->slots_allocated) < 0)
                return snapshot_out_of_memory(r);
        slot = s->slots + s->n_slots++;
        *slot = (SnapshotSlot) {};
        k = snapshot_get_name(r, j, "name", SNAPSHOT_NAME_MAX, &slot->name);
        if (k < 0)
                return k;
        k = snapshot_get_name(r, j, "address", SNAPSHOT_NAME_MAX, &slot->address);
        if (k < 0)
                return k;
        if (!slot->name || !slot->address)
                return snapshot_invalid(r, "expected \"name\" and \"address\"");
        attributes = json_get(j, "attributes");
        if (!attributes)
                return 0;
        before = snapshot_enter(r, "attributes");
        k = read_slot_attributes(r, attributes, slot);
        snapshot_leave(r, before);
        return k;
}

/* ---- drivers ---- */

static int read_alias(SnapshotReader *r, const Json *j, Snapshot *s) {
        static const char *const keys[] = { "pattern", "module", NULL };
        SnapshotAlias *a;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        if (ARRAY_RESERVE_ONE(s->aliases, s->n_aliases, s->aliases_allocated) < 0)
                return snapshot_out_of_memory(r);
        a = s->aliases + s->n_aliases++;
        *a = (SnapshotAlias) {};
        k = snapshot_get_name(r, j, "pattern", SNAPSHOT_NAME_MAX, &a->pattern);
        if (k < 0)
                return k;
        k = snapshot_get_name(r, j, "module", SNAPSHOT_NAME_MAX, &a->module);
        if (k < 0)
                return k;
        return a->pattern && a->module ? 0
                                       : snapshot_invalid(r, "expected \"pattern\" and \"module\"");
}

static int read_matches(SnapshotReader *r, const Json *j, SnapshotDriver *d) {
        Json *array = NULL;
        size_t before;
        int k;

        k = snapshot_get_array(r, j, "match", MATCHES_MAX, &array);
        if (k <= 0)
                return k;
        before = snapshot_enter(r, "match");
        for (size_t i = 0; i < json_length(array); i++) {
                _cleanup_free_ char *text = NULL;
                size_t inner = snapshot_enter_index(r, i);

                k = snapshot_name(r, json_at(array, i), SNAPSHOT_NAME_MAX, &text);
                if (k < 0)
                        return k;
                if (strv_extend(&d->match, text) < 0)
                        return snapshot_out_of_memory(r);
                snapshot_leave(r, inner);
        }
        snapshot_leave(r, before);
        return 0;
}

static int read_driver(SnapshotReader *r, const char *name, const Json *j, Snapshot *s) {
        static const char *const keys[] = { "bind-msec", "unbind-msec", "match", NULL };
        uint64_t bind = 0, unbind = 0;
        SnapshotDriver *d;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        if (!pci_driver_name_is_valid(name))
                return snapshot_invalid(r, "expected the name of a driver");
        k = snapshot_get_number(r, j, "bind-msec", UINT32_MAX, &bind);
        if (k < 0)
                return k;
        k = snapshot_get_number(r, j, "unbind-msec", UINT32_MAX, &unbind);
        if (k < 0)
                return k;
        if (ARRAY_RESERVE_ONE(s->drivers, s->n_drivers, s->drivers_allocated) < 0)
                return snapshot_out_of_memory(r);
        d = s->drivers + s->n_drivers++;
        *d = (SnapshotDriver) { .bind_msec = (uint32_t) bind, .unbind_msec = (uint32_t) unbind };
        d->name = strdup(name);
        if (!d->name)
                return snapshot_out_of_memory(r);
        return read_matches(r, j, d);
}

static int read_drivers(SnapshotReader *r, const Json *j, Snapshot *s) {
        void *iterator = NULL;
        const char *key;
        Json *value;

        if (json_type(j) != JSON_OBJECT)
                return snapshot_expected(r, "an object of drivers", j);
        while (json_next(j, &iterator, &key, &value)) {
                size_t before = snapshot_enter(r, key);
                int k = s->n_drivers < DRIVERS_MAX
                                ? read_driver(r, key, value, s)
                                : snapshot_invalid(r, "more than %u drivers", DRIVERS_MAX);

                if (k < 0)
                        return k;
                snapshot_leave(r, before);
        }
        return 0;
}

/* ---- all ---- */

typedef int (*ReadElement)(SnapshotReader *r, const Json *j, Snapshot *s);

static int read_list(SnapshotReader *r, const Json *j, const char *key, size_t max,
                     ReadElement element, Snapshot *s) {
        Json *array = NULL;
        size_t before;
        int k;

        k = snapshot_get_array(r, j, key, max, &array);
        if (k <= 0)
                return k;
        before = snapshot_enter(r, key);
        for (size_t i = 0; i < json_length(array); i++) {
                size_t inner = snapshot_enter_index(r, i);

                k = element(r, json_at(array, i), s);
                if (k < 0)
                        return k;
                snapshot_leave(r, inner);
        }
        snapshot_leave(r, before);
        return 0;
}

static int read_platform_member(SnapshotReader *r, const Json *j, Snapshot *s) {
        return read_platform(r, j, &s->platform);
}

static int read_member(SnapshotReader *r, const Json *j, const char *key, ReadElement member,
                       Snapshot *s) {
        const Json *value = json_get(j, key);
        size_t before;
        int k;

        if (!value)
                return 0;
        before = snapshot_enter(r, key);
        k = member(r, value, s);
        snapshot_leave(r, before);
        return k;
}

int snapshot_read_host(SnapshotReader *r, const Json *j, Snapshot *s) {
        int k;

        k = read_member(r, j, "platform", read_platform_member, s);
        if (k >= 0)
                k = read_list(r, j, "groups", SNAPSHOT_DEVICES_MAX, read_group, s);
        if (k >= 0)
                k = read_list(r, j, "iommus", IOMMUS_MAX, read_iommu, s);
        if (k >= 0)
                k = read_list(r, j, "nodes", NUMA_NODES_MAX, read_node, s);
        if (k >= 0)
                k = read_list(r, j, "slots", SNAPSHOT_DEVICES_MAX, read_slot, s);
        if (k >= 0)
                k = read_list(r, j, "vfio-aliases", ALIASES_MAX, read_alias, s);
        if (k >= 0)
                k = read_member(r, j, "drivers", read_drivers, s);
        return k;
}
