/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A whole host as raw text and bytes: its memory, and the top of the reader of HOST.json. Devices
 * are kept sorted by address, each address once. A file that is wrong anywhere is refused as a
 * whole; nothing is guessed.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/snapshot-private.h"

#define DEPTH_MAX 12U

Snapshot *snapshot_new(void) {
        Snapshot *s = calloc(1, sizeof(*s));
        const SnapshotFlag *flags;
        size_t n;

        if (!s)
                return NULL;
        flags = snapshot_platform_flags(&n);
        for (size_t i = 0; i < n; i++)
                *((int8_t *) &s->platform + flags[i].offset) = -1;
        return s;
}

void snapshot_device_done(SnapshotDevice *d) {
        assert(d);
        free(d->path);
        for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                free(d->attributes[a].text);
        for (unsigned l = 0; l < _PCI_LINK_MAX; l++)
                free(d->links[l].text);
        free(d->config);
        pci_use_done(&d->use);
        free(d->vpd_serial);
        *d = (SnapshotDevice) {};
}

static void free_lists(Snapshot *s) {
        for (size_t i = 0; i < s->n_groups; i++) {
                free(s->groups[i].type);
                free(s->groups[i].reserved_regions);
        }
        free(s->groups);
        for (size_t i = 0; i < s->n_iommus; i++) {
                free(s->iommus[i].cap);
                free(s->iommus[i].ecap);
                free(s->iommus[i].features);
        }
        free(s->iommus);
        for (size_t i = 0; i < s->n_slots; i++) {
                free(s->slots[i].name);
                free(s->slots[i].address);
                free(s->slots[i].power);
                free(s->slots[i].attention);
                free(s->slots[i].latch);
                free(s->slots[i].adapter);
        }
        free(s->slots);
        for (size_t i = 0; i < s->n_nodes; i++)
                free(s->nodes[i].distance);
        free(s->nodes);
        for (size_t i = 0; i < s->n_aliases; i++) {
                free(s->aliases[i].pattern);
                free(s->aliases[i].module);
        }
        free(s->aliases);
        for (size_t i = 0; i < s->n_drivers; i++) {
                free(s->drivers[i].name);
                strv_free(s->drivers[i].match);
        }
        free(s->drivers);
}

Snapshot *snapshot_free(Snapshot *s) {
        if (!s)
                return NULL;
        for (size_t i = 0; i < s->n_devices; i++)
                snapshot_device_done(s->devices + i);
        free(s->devices);
        free_lists(s);
        host_platform_done(&s->platform);
        free(s);
        return NULL;
}

SnapshotDevice *snapshot_add_device(Snapshot *s, PciAddress a) {
        size_t at;

        assert(s);
        if (s->n_devices >= SNAPSHOT_DEVICES_MAX ||
            ARRAY_RESERVE_ONE(s->devices, s->n_devices, s->devices_allocated) < 0)
                return NULL;
        for (at = s->n_devices; at > 0 && pci_address_compare(s->devices[at - 1].address, a) > 0;)
                at--;
        memmove(s->devices + at + 1, s->devices + at, (s->n_devices - at) * sizeof(s->devices[0]));
        s->n_devices++;
        s->devices[at] = (SnapshotDevice) { .address = a };
        return s->devices + at;
}

static int compare_devices(const void *a, const void *b) {
        return pci_address_compare(((const SnapshotDevice *) a)->address,
                                   ((const SnapshotDevice *) b)->address);
}

/* The elements of the file may stand in any order; sorting once keeps a shuffled file from costing
 * n² moves. */
static int read_devices(SnapshotReader *r, const Json *array, Snapshot *s) {
        size_t before = snapshot_enter(r, "devices");
        int k;

        for (size_t i = 0; i < json_length(array); i++) {
                size_t inner = snapshot_enter_index(r, i);

                if (ARRAY_RESERVE_ONE(s->devices, s->n_devices, s->devices_allocated) < 0)
                        return snapshot_out_of_memory(r);
                k = snapshot_read_device(r, json_at(array, i), s->devices + s->n_devices);
                if (k < 0)
                        return k;
                s->n_devices++;
                snapshot_leave(r, inner);
        }
        if (s->n_devices > 1)
                qsort(s->devices, s->n_devices, sizeof(s->devices[0]), compare_devices);
        for (size_t i = 1; i < s->n_devices; i++)
                if (pci_address_equal(s->devices[i - 1].address, s->devices[i].address))
                        return snapshot_invalid(r, "%s stands here twice",
                                                PCI_ADDRESS_TEXT(s->devices[i].address));
        snapshot_leave(r, before);
        return 0;
}

static int check_version(SnapshotReader *r, const Json *j) {
        uint64_t version = 0;
        size_t before;
        int k;

        k = snapshot_get_number(r, j, "version", UINT32_MAX, &version);
        if (k < 0)
                return k;
        if (k == 0)
                return snapshot_invalid(r,
                                        "expected \"version\": this is not a snapshot of a host");
        if (version == SNAPSHOT_VERSION)
                return 0;
        before = snapshot_enter(r, "version");
        k = snapshot_invalid(
                r, "version %llu is not known, only %u; use the program that wrote the file",
                (unsigned long long) version, SNAPSHOT_VERSION);
        snapshot_leave(r, before);
        return k;
}

static int read_all(SnapshotReader *r, const Json *j, Snapshot *s) {
        static const char *const keys[] = { "version",      "taken",   "platform", "devices",
                                            "groups",       "iommus",  "nodes",    "slots",
                                            "vfio-aliases", "drivers", NULL };
        _cleanup_free_ char *taken = NULL;
        Json *devices = NULL;
        int k;

        if (json_type(j) != JSON_OBJECT)
                return snapshot_expected(r, "an object", j);
        k = check_version(r, j);
        if (k < 0)
                return k;
        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_name(r, j, "taken", 64, &taken);
        if (k < 0)
                return k;
        k = snapshot_get_array(r, j, "devices", SNAPSHOT_DEVICES_MAX, &devices);
        if (k < 0)
                return k;
        if (k == 0)
                return snapshot_invalid(r, "expected \"devices\"");
        k = read_devices(r, devices, s);
        return k < 0 ? k : snapshot_read_host(r, j, s);
}

int snapshot_parse(const char *text, size_t n, Error *err, Snapshot **ret) {
        _cleanup_(snapshot_freep) Snapshot *s = NULL;
        SnapshotReader r = { .err = err };
        unsigned line = 0, column = 0;
        _cleanup_json_ Json *j = NULL;
        int k;

        assert(text || n == 0);
        assert(ret);
        k = json_parse(text, n, (JsonLimits){ SNAPSHOT_SIZE_MAX, DEPTH_MAX, false }, &j, &line,
                       &column);
        if (k == -ENOMEM)
                return snapshot_out_of_memory(&r);
        if (k == -E2BIG)
                return error_set(err, ERROR_INVALID,
                                 "line %u, column %u: larger than %u MiB, or nested deeper than %u",
                                 line, column, SNAPSHOT_SIZE_MAX >> 20, DEPTH_MAX);
        if (k < 0)
                return error_set(err, ERROR_INVALID, "line %u, column %u: not valid JSON", line,
                                 column);
        s = snapshot_new();
        if (!s)
                return snapshot_out_of_memory(&r);
        k = read_all(&r, j, s);
        if (k < 0)
                return k;
        *ret = TAKE_PTR(s);
        return 0;
}
