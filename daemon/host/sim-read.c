/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a worker reads, from the simulated kernel: configuration space dword by dword as the decoder
 * wants it, the attributes that only a worker may read, groups, slots, platform, and the whole host
 * as a snapshot. A device whose driver's lock is taken (an unbind that waits) does not give its
 * attributes, as on a real host.
 */

#include <assert.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/sim-private.h"

static PciConfigFacts *read_config(const SimDevice *d) {
        _cleanup_free_ PciConfig *image = calloc(1, sizeof(*image));
        PciConfigFacts *facts = calloc(1, sizeof(*facts));
        const PciConfig *stored = d->source.config;
        size_t offset, n;

        if (!image || !facts) {
                free(facts);
                return NULL;
        }
        pci_config_init(image, stored->size);
        while (pci_config_want(image, &offset, &n)) {
                uint8_t bytes[PCI_CONFIG_SIZE_EXTENDED];

                assert(n <= sizeof(bytes));
                sim_device_read(d, offset, n, bytes);
                if (pci_config_set(image, offset, bytes, n) < 0)
                        break;
        }
        pci_config_decode(image, facts);
        return facts;
}

static PciLive *read_live(const SimDevice *d) {
        PciLive *live = calloc(1, sizeof(*live));
        int r = 0;

        if (!live)
                return NULL;
        for (PciAttribute a = 0; a < _PCI_ATTRIBUTE_MAX && r != -ENOMEM; a++)
                if (!pci_attribute_is_cold(a))
                        r = pci_live_set(live, a, d->source.attributes[a].text,
                                         d->source.attributes[a].error
                                                 ? d->source.attributes[a].error
                                                 : ENOENT);
        return live;
}

static void read_vpd(const SimDevice *d, PciLive *live) {
        live->vpd_serial.state = d->source.vpd_serial ? FACT_PRESENT : FACT_ABSENT;
        if (!d->source.vpd_serial)
                return;
        live->vpd_serial.text = strdup(d->source.vpd_serial);
        if (!live->vpd_serial.text)
                live->vpd_serial.state = FACT_UNREADABLE;
}

static bool has_critical(const PciUse *use, const PciCritical *c) {
        for (size_t i = 0; i < use->n_criticals; i++)
                if (use->criticals[i].code == c->code && streq(use->criticals[i].proof, c->proof))
                        return true;
        return false;
}

/* Recorded proofs hold while the driver does under which they were recorded. */
static int add_criticals(const SimDevice *d, PciUse *use) {
        int r;

        if (d->source.use.n_criticals == 0 || !streq(strempty(d->children_driver), d->driver))
                return 0;
        for (size_t i = 0; i < d->source.use.n_criticals; i++) {
                const PciCritical *c = d->source.use.criticals + i;

                if (has_critical(use, c))
                        continue;
                r = pci_use_add_critical(use, c->code, c->proof);
                if (r < 0)
                        return r;
        }
        return 0;
}

static PciUse *read_use(const SimDevice *d, bool holders) {
        _cleanup_(pci_facts_done) PciFacts f = {};
        PciUse *use = calloc(1, sizeof(*use));
        int r;

        if (!use)
                return NULL;
        pci_facts_init(&f, d->source.address);
        sim_device_cold_facts(d, &f);
        r = sim_device_children(d, use);
        if (r >= 0)
                r = pci_use_add_builtin_criticals(use, &f);
        if (r >= 0)
                r = add_criticals(d, use);
        if (r >= 0 && holders)
                r = sim_device_holders(d, use);
        if (r < 0) {
                pci_use_done(use);
                free(use);
                return NULL;
        }
        return use;
}

static void facts_done(HostDeviceFacts *f) {
        free(f->config);
        if (f->live)
                pci_live_done(f->live);
        free(f->live);
        if (f->use)
                pci_use_done(f->use);
        free(f->use);
}

static void read_device(SimJob *job, PciAddress a) {
        HostDeviceFacts f = { .address = a };
        unsigned what = job->request.what;
        SimDevice *d = sim_device(sim_of(job->host), a);

        if (!d)
                f.error = -ENODEV;
        if (d && what & HOST_READ_CONFIG && d->source.config && (f.config = read_config(d)))
                f.what |= HOST_READ_CONFIG;
        if (d && what & (HOST_READ_LIVE | HOST_READ_VPD)) {
                if (d->busy > 0)
                        f.error = -ETIMEDOUT;
                else if ((f.live = read_live(d))) {
                        f.what |= what & (HOST_READ_LIVE | HOST_READ_VPD);
                        if (what & HOST_READ_VPD)
                                read_vpd(d, f.live);
                }
        }
        if (d && what & (HOST_READ_USE | HOST_READ_HOLDERS) &&
            (f.use = read_use(d, what & HOST_READ_HOLDERS)))
                f.what |= what & (HOST_READ_USE | HOST_READ_HOLDERS);
        if (!job->detached && job->callbacks.device)
                job->callbacks.device((HostJob *) job, &f, job->userdata);
        facts_done(&f);
}

static void read_group(SimJob *job, uint32_t id) {
        SimGroup *g = sim_group(sim_of(job->host), id);
        IommuGroupFacts f = { .id = id };

        (void) iommu_group_facts_set_type(&f, g ? g->type : NULL, ENOENT);
        (void) iommu_group_facts_set_regions(&f, g ? g->reserved_regions : NULL, ENOENT);
        if (!job->detached && job->callbacks.group)
                job->callbacks.group((HostJob *) job, &f, job->userdata);
        iommu_group_facts_done(&f);
}

static bool slot_is_wanted(const SimJob *job, const PciSlotFacts *s) {
        for (size_t i = 0; i < job->request.n_devices; i++)
                if (pci_slot_facts_matches(s, job->request.devices[i]))
                        return true;
        return job->request.n_devices == 0;
}

static void read_slots(SimJob *job) {
        const Snapshot *s = sim_of(job->host)->snapshot;

        for (size_t i = 0; i < s->n_slots; i++) {
                const SnapshotSlot *in = s->slots + i;
                PciSlotFacts f;

                if (pci_slot_facts_init(&f, in->name, in->address) < 0)
                        continue;
                (void) pci_slot_facts_set(&f, "power", in->power, ENOENT);
                (void) pci_slot_facts_set(&f, "attention", in->attention, ENOENT);
                (void) pci_slot_facts_set(&f, "latch", in->latch, ENOENT);
                (void) pci_slot_facts_set(&f, "adapter", in->adapter, ENOENT);
                if (slot_is_wanted(job, &f) && !job->detached && job->callbacks.slot)
                        job->callbacks.slot((HostJob *) job, &f, job->userdata);
                pci_slot_facts_done(&f);
        }
}

static void read_groups(SimJob *job) {
        const HostRequest *q = &job->request;
        Hashmap *seen = hashmap_new_u64();

        for (size_t i = 0; i < q->n_devices; i++) {
                SimDevice *d = sim_device(sim_of(job->host), q->devices[i]);

                if (d && d->has_group && seen && hashmap_put_u64(seen, d->group, job) >= 0)
                        read_group(job, d->group);
        }
        for (size_t i = 0; i < q->n_groups; i++)
                if (!seen || !hashmap_get_u64(seen, q->groups[i]))
                        read_group(job, q->groups[i]);
        hashmap_free(seen);
}

void sim_read(SimJob *job) {
        assert(job);
        for (size_t i = 0; i < job->request.n_devices; i++)
                read_device(job, job->request.devices[i]);
        if (job->request.what & HOST_READ_GROUP)
                read_groups(job);
        if (job->request.what & HOST_READ_SLOT)
                read_slots(job);
}

void sim_platform(SimJob *job) {
        const HostPlatform *from = &sim_of(job->host)->snapshot->platform;
        HostPlatform p = *from;

        assert(job);
        p.cmdline = from->cmdline ? strdup(from->cmdline) : NULL;
        p.vfio_pci_loaded = sim_of(job->host)->modules_loaded;
        if (!job->detached && job->callbacks.platform)
                job->callbacks.platform((HostJob *) job, &p, job->userdata);
        host_platform_done(&p);
}

/* ---- the whole host ---- */

typedef struct Borrowed { /* a snapshot whose texts are the simulated kernel's own */
        Snapshot s;
        PciUse *uses;
} Borrowed;

static void borrowed_done(Borrowed *b) {
        for (size_t i = 0; i < b->s.n_devices && b->uses; i++)
                pci_use_done(b->uses + i);
        free(b->uses);
        free(b->s.devices);
        free(b->s.groups);
}

static int compare_groups(const void *a, const void *b) {
        uint32_t x = ((const SnapshotGroup *) a)->id, y = ((const SnapshotGroup *) b)->id;

        return (x > y) - (x < y);
}

static int borrow(SimHost *h, Borrowed *b) {
        SimGroup *g;
        int r;

        b->s = *h->snapshot;
        b->s.platform.vfio_pci_loaded = h->modules_loaded;
        b->s.n_devices = b->s.n_groups = 0;
        b->s.devices = calloc(h->n_devices + 1, sizeof(SnapshotDevice));
        b->s.groups = calloc(hashmap_size(h->groups) + 1, sizeof(SnapshotGroup));
        b->uses = calloc(h->n_devices + 1, sizeof(PciUse));
        if (!b->s.devices || !b->s.groups || !b->uses)
                return -ENOMEM;
        for (size_t i = 0; i < h->n_devices; i++) {
                SnapshotDevice *d = b->s.devices + i;

                b->s.n_devices++;
                *d = h->sorted[i]->source;
                r = sim_device_holders(h->sorted[i], b->uses + i);
                if (r < 0)
                        return r;
                d->use.holders = b->uses[i].holders;
                d->use.n_holders = b->uses[i].n_holders;
        }
        HASHMAP_FOREACH(g, h->groups)
                b->s.groups[b->s.n_groups++] =
                        (SnapshotGroup){ g->id, g->type, g->reserved_regions };
        if (b->s.n_groups > 1)
                qsort(b->s.groups, b->s.n_groups, sizeof(SnapshotGroup), compare_groups);
        return 0;
}

static int memory_file(const char *text) {
        _cleanup_close_ int fd = memfd_create("snapshot", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = loop_write(fd, text, strlen(text));
        if (r < 0)
                return r;
        if (lseek(fd, 0, SEEK_SET) < 0 ||
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
                return -errno;
        return TAKE_FD(fd);
}

int sim_snapshot(SimJob *job) {
        _cleanup_(borrowed_done) Borrowed b = {};
        HostFd f = { .kind = HOST_FD_SNAPSHOT };
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ Json *j = NULL;
        int r;

        assert(job);
        r = borrow(sim_of(job->host), &b);
        if (r >= 0)
                r = snapshot_to_json(&b.s, job->request.redact, &j);
        if (r < 0)
                return r;
        text = json_to_text(j, false);
        if (!text)
                return -ENOMEM;
        f.fd = memory_file(text);
        if (f.fd < 0)
                return f.fd;
        if (!job->detached && job->callbacks.fd)
                job->callbacks.fd((HostJob *) job, &f, job->userdata);
        (void) safe_close(f.fd);
        return 0;
}
