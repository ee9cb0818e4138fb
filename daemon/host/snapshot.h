/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * HOST.json: a whole host as raw text and bytes, written by `pciassignctl snapshot`, loaded by
 * --simulate. It holds what the kernel said, not what was decoded, so that loading it decodes the
 * same facts.
 *
 * { "version": 1, "taken": "2026-11-22T19:00:00Z",
 *   "platform": { "kernel": "6.1.0-41-amd64", "cmdline": "…", "lockdown": "none", "vendor":
 * "GenuineIntel", "vfio-group": true, "vfio-container": true, "vfio-cdev": false, "iommufd": false,
 * … }, "devices": [ { "address": "0000:41:00.0", "path": "pci0000:40/0000:40:01.1/0000:41:00.0",
 *                  "attributes": { "vendor": "0x10de", "resource": "0x… …\n…", "sriov_numvfs": {
 * "error": "EIO" } }, "links": { "driver": "nvidia", "iommu_group": "12", "iommu": "dmar0" },
 *                  "config": "de10b825…"  (hex; or { "size": 4096, "ranges": { "0": "de10…", "256":
 * "…" } }), "children": [ { "subsystem": "drm", "name": "card1" } ], "critical": [ { "code":
 * "mount", "proof": "…" } ], "holders": [ { "pid": 812, "uid": 107, "comm": "qemu", "unit": "…",
 * "what": "/dev/vfio/12" } ], "vpd-serial": "…" } ], "groups": [ { "id": 12, "type": "DMA-FQ",
 * "reserved_regions": "0x… 0x… msi" } ], "iommus": [ { "name": "dmar0", "registers": { "cap": "…",
 * "ecap": "…" } } ], "nodes": [ { "id": 0, "distance": "10 21" } ], "slots": [ { "name": "3",
 * "address": "0000:41:00", "attributes": { "power": "1" } } ], "vfio-aliases": [ { "pattern":
 * "vfio_pci:v*d*…", "module": "vfio-pci" } ], "drivers": { "nvidia": { "unbind-msec": 900, "match":
 * [ "10de:*:03*" ] } } }
 *
 * An attribute that is not there is absent; one that could not be read is an object with "error".
 * Unknown keys are errors, so that a newer file is refused instead of misread. "drivers" says how
 * the simulated host's drivers behave: how long they take, and, as "VENDOR:DEVICE:CLASS" globs (hex
 * digits), which functions they would take by themselves; a function that was recorded on its own
 * driver goes back to that one without it.
 */

#include "base/errors.h"
#include "base/jsonx.h"
#include "host/host.h"

#define SNAPSHOT_VERSION 1U
#define SNAPSHOT_SIZE_MAX (256U << 20)
#define SNAPSHOT_DEVICES_MAX 65536U

typedef struct SnapshotDevice {
        PciAddress address;
        char *path;
        struct {
                char *text;
                int error;
        } attributes[_PCI_ATTRIBUTE_MAX]; /* text NULL and error 0: absent */
        struct {
                char *text;
                int error;
        } links[_PCI_LINK_MAX]; /* errors are positive errno */
        PciConfig *config;      /* NULL: none */
        int config_error;
        PciUse use;        /* children, holders, criticals */
        char *vpd_serial;
} SnapshotDevice;

typedef struct SnapshotGroup {
        uint32_t id;
        char *type, *reserved_regions;
} SnapshotGroup;

typedef struct SnapshotIommu {
        char name[PCI_IOMMU_NAME_MAX];
        char *cap, *ecap, *features; /* NULL: absent */
} SnapshotIommu;

typedef struct SnapshotNode {
        uint32_t id;
        char *distance; /* NULL: absent */
} SnapshotNode;

typedef struct SnapshotSlot {
        char *name, *address, *power, *attention, *latch, *adapter;
} SnapshotSlot;

typedef struct SnapshotAlias {
        char *pattern, *module;
} SnapshotAlias;

typedef struct SnapshotDriver { /* how the simulated host's driver behaves */
        char *name;
        uint32_t bind_msec, unbind_msec;
        char **match; /* strv of globs over "vvvv:dddd:cccccc" */
} SnapshotDriver;

typedef struct Snapshot {
        HostPlatform platform;
        SnapshotDevice *devices; size_t n_devices, devices_allocated; /* sorted by address */
        SnapshotGroup *groups; size_t n_groups, groups_allocated;
        SnapshotIommu *iommus; size_t n_iommus, iommus_allocated;
        SnapshotNode *nodes; size_t n_nodes, nodes_allocated; /* by id, each once */
        SnapshotSlot *slots; size_t n_slots, slots_allocated;
        SnapshotAlias *aliases; size_t n_aliases, aliases_allocated;
        SnapshotDriver *drivers; size_t n_drivers, drivers_allocated;
} Snapshot;

/* err names the JSON pointer, what was found and what was expected. */
int snapshot_parse(const char *text, size_t n, Error *err, Snapshot **ret);
/* One element of "devices". */
int snapshot_parse_device(const Json *j, Error *err, SnapshotDevice *ret);
Snapshot *snapshot_new(void);
Snapshot *snapshot_free(Snapshot *s);
DEFINE_CLEANUP(Snapshot *, snapshot_free);
SnapshotDevice *snapshot_add_device(Snapshot *s, PciAddress a); /* NULL on OOM */
void snapshot_device_done(SnapshotDevice *d);
/* redact: serial numbers (DSN, VPD), holders' names, labels, cmdline values are replaced by stable
 * placeholders. */
int snapshot_to_json(const Snapshot *s, bool redact, Json **ret);
