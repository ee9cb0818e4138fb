/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Virtual functions of the simulated kernel (drivers/pci/iov.c): all or nothing, made with
 * everything that sysfs would show of them, each in an IOMMU group of its own, taken by the host's
 * driver at once unless autoprobe is off.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "base/strutil.h"
#include "host/sim-private.h"

#define VF_BARS 6U

static uint32_t number(const SimDevice *d, PciAttribute a) {
        const char *text = sim_attribute(d, a);
        uint32_t v;

        return text && parse_u32(text, 10, UINT16_MAX, &v) >= 0 ? v : 0;
}

uint32_t sim_numvfs(const SimDevice *pf) {
        assert(pf);
        return pf->is_vf ? 0 : number(pf, PCI_ATTRIBUTE_SRIOV_NUMVFS);
}

/* Routing ID of the i-th one: PF's + First VF Offset + i × VF Stride; it may lie on a following
 * bus. */
static int vf_address(const SimDevice *pf, uint32_t i, PciAddress *ret) {
        PciAddress a = pf->source.address;
        uint32_t id = ((uint32_t) a.bus << 8 | (uint32_t) a.slot << 3 | a.function) +
                      number(pf, PCI_ATTRIBUTE_SRIOV_OFFSET) +
                      i * number(pf, PCI_ATTRIBUTE_SRIOV_STRIDE);

        if (id > UINT16_MAX)
                return -ENOMEM; /* "no bus number for the VFs" */
        a.bus = (uint8_t) (id >> 8);
        a.slot = id >> 3 & 0x1f;
        a.function = id & 7;
        *ret = a;
        return 0;
}

static char *vf_path(const SimDevice *pf, PciAddress a) {
        const char *slash = pf->source.path ? strrchr(pf->source.path, '/') : NULL;

        return slash ? strjoinf("%.*s/%s", (int) (slash - pf->source.path), pf->source.path,
                                PCI_ADDRESS_TEXT(a))
                     : strdup(PCI_ADDRESS_TEXT(a));
}

/* The i-th share of each VF BAR; a VF has no ROM and no windows. */
static char *vf_resource(const SimDevice *pf, uint32_t i) {
        _cleanup_(pci_facts_done) PciFacts f = {};
        _cleanup_strbuf_ StrBuf b = {};
        uint32_t total = MAX(number(pf, PCI_ATTRIBUTE_SRIOV_TOTALVFS), 1U);

        pci_facts_init(&f, pf->source.address);
        sim_device_cold_facts(pf, &f);
        for (unsigned k = 0; k < PCI_RESOURCE_WINDOW_FIRST; k++) {
                const PciResource *bar = pci_facts_resource(&f, PCI_RESOURCE_VF_FIRST + k);
                bool there = k < VF_BARS && bar->size > 0;
                uint64_t size = there ? bar->size / total : 0,
                         start = there ? bar->start + i * size : 0;

                strbuf_addf(&b, "%s0x%016llx 0x%016llx 0x%016llx", k > 0 ? "\n" : "",
                            (unsigned long long) start,
                            (unsigned long long) (there ? start + size - 1 : 0),
                            (unsigned long long) (there ? bar->flags : 0));
        }
        return strbuf_steal(&b);
}

/* IDs read all-ones in a VF; the PCI Express capability says FLR. */
static PciConfig *vf_config(void) {
        enum { EXPRESS = 0x40 };
        PciConfig *c = calloc(1, sizeof(*c));
        uint8_t image[0x7c] = { 0xff, 0xff, 0xff, 0xff, [PCI_STATUS] = PCI_STATUS_CAP_LIST };
        uint8_t none[4] = {};

        if (!c)
                return NULL;
        image[PCI_CAPABILITY_LIST] = EXPRESS;
        image[EXPRESS] = PCI_CAP_ID_EXP;
        image[EXPRESS + PCI_EXP_FLAGS] = 2;
        image[EXPRESS + PCI_EXP_DEVCAP + 3] = PCI_EXP_DEVCAP_FLR >> 24;
        pci_config_init(c, PCI_CONFIG_SIZE_EXTENDED);
        (void) pci_config_set(c, 0, image, sizeof(image));
        (void) pci_config_set(c, PCI_CONFIG_SIZE, none, sizeof(none));
        return c;
}

static const PciAttribute inherited[] = {
        PCI_ATTRIBUTE_VENDOR,      PCI_ATTRIBUTE_SUBSYSTEM_VENDOR, PCI_ATTRIBUTE_SUBSYSTEM_DEVICE,
        PCI_ATTRIBUTE_CLASS,       PCI_ATTRIBUTE_REVISION,         PCI_ATTRIBUTE_NUMA_NODE,
        PCI_ATTRIBUTE_POWER_STATE, PCI_ATTRIBUTE_RUNTIME_STATUS,   PCI_ATTRIBUTE_POWER_CONTROL,
};

static const struct {
        PciAttribute attribute;
        const char *text;
} fixed[] = {
        { PCI_ATTRIBUTE_RESET_METHOD, "flr" },
        { PCI_ATTRIBUTE_ARI_ENABLED, "1" },
        { PCI_ATTRIBUTE_ENABLE, "0" },
        { PCI_ATTRIBUTE_DRIVER_OVERRIDE, "(null)" },
};

static int set_text(SnapshotDevice *v, PciAttribute a, const char *text) {
        return free_and_strdup(&v->attributes[a].text, text);
}

static int fill_vf(const SimDevice *pf, uint32_t i, SnapshotDevice *v) {
        _cleanup_free_ char *resource = vf_resource(pf, i), *device = NULL;
        int r = 0;

        v->path = vf_path(pf, v->address);
        v->config = vf_config();
        device = strjoinf("0x%s", strempty(sim_attribute(pf, PCI_ATTRIBUTE_SRIOV_VF_DEVICE)));
        if (!v->path || !v->config || !resource || !device)
                return -ENOMEM;
        for (size_t k = 0; k < ELEMENTSOF(inherited) && r >= 0; k++)
                r = set_text(v, inherited[k], sim_attribute(pf, inherited[k]));
        for (size_t k = 0; k < ELEMENTSOF(fixed) && r >= 0; k++)
                r = set_text(v, fixed[k].attribute, fixed[k].text);
        if (r >= 0)
                r = set_text(v, PCI_ATTRIBUTE_DEVICE, device);
        if (r >= 0)
                r = set_text(v, PCI_ATTRIBUTE_RESOURCE, resource);
        if (r >= 0)
                r = free_and_strdup(&v->links[PCI_LINK_PHYSFN].text,
                                    PCI_ADDRESS_TEXT(pf->source.address));
        if (r >= 0)
                r = free_and_strdup(&v->links[PCI_LINK_IOMMU].text,
                                    pf->source.links[PCI_LINK_IOMMU].text);
        return r;
}

static int set_group(SimDevice *pf, SnapshotDevice *v) {
        char text[16];
        uint32_t id;
        int r;

        if (!pf->has_group)
                return 0;
        r = sim_group_new(pf->host, sim_group(pf->host, pf->group), &id);
        if (r < 0)
                return r;
        (void) snprintf(text, sizeof(text), "%u", id);
        return free_and_strdup(&v->links[PCI_LINK_IOMMU_GROUP].text, text);
}

static int add_vf(SimDevice *pf, uint32_t i) {
        SnapshotDevice v = {};
        SimDevice *added = NULL;
        int r;

        r = vf_address(pf, i, &v.address);
        if (r < 0)
                return r;
        r = fill_vf(pf, i, &v);
        if (r >= 0)
                r = set_group(pf, &v);
        if (r >= 0)
                r = sim_device_add(pf->host, &v, &added);
        snapshot_device_done(&v);
        if (r < 0)
                return r;
        if (pci_driver_is_vfio(pf->driver))
                return sim_set_override(added,
                                        pf->driver); /* vfio_pci_bus_notifier() captures them */
        if (!added->native && pf->driver[0])
                r = free_and_strdup(&added->native, pf->driver);
        return r;
}

static SimDevice *last_vf(SimDevice *pf) {
        SimHost *h = pf->host;

        for (size_t i = h->n_devices; i > 0; i--)
                if (h->sorted[i - 1]->is_vf &&
                    pci_address_equal(h->sorted[i - 1]->physfn, pf->source.address))
                        return h->sorted[i - 1];
        return NULL;
}

/* While one is held, the writer waits with the PF's lock; those after it are gone already. */
static int disable(SimDevice *pf) {
        SimDevice *vf;
        int r;

        while ((vf = last_vf(pf))) {
                r = sim_unplug(vf);
                if (r != 0)
                        return r;
        }
        return sim_attribute_set(pf, PCI_ATTRIBUTE_SRIOV_NUMVFS, "0");
}

static int enable(SimDevice *pf, uint32_t n) {
        char text[16];
        PciAddress a;
        int r;

        for (uint32_t i = 0; i < n; i++) {
                r = vf_address(pf, i, &a);
                if (r >= 0 && sim_device(pf->host, a))
                        r = -ENOMEM;
                if (r >= 0)
                        r = add_vf(pf, i);
                if (r < 0) {
                        (void) disable(pf); /* all or nothing */
                        return r;
                }
                sim_emit_at(pf->host, HOST_EVENT_ADD, a, false);
                sim_emit_at(pf->host, HOST_EVENT_CHANGE, a, false);
                /* A driver that declines leaves the VF unbound, which is no error of the write. */
                (void) sim_drivers_probe(sim_device(pf->host, a));
        }
        (void) snprintf(text, sizeof(text), "%u", n);
        r = sim_attribute_set(pf, PCI_ATTRIBUTE_SRIOV_NUMVFS, text);
        if (r >= 0)
                sim_emit(pf->host, HOST_EVENT_CHANGE, pf);
        return r;
}

int sim_set_numvfs(SimDevice *pf, uint32_t n) {
        uint32_t now;

        assert(pf);
        if (pf->is_vf || !sim_attribute(pf, PCI_ATTRIBUTE_SRIOV_NUMVFS))
                return -ENOENT;
        now = sim_numvfs(pf);
        if (n > number(pf, PCI_ATTRIBUTE_SRIOV_TOTALVFS))
                return -ERANGE;
        if (n == now)
                return 0;
        if (!pf->driver[0] || (pci_driver_is_vfio(pf->driver) && !pf->host->vfio_sriov))
                return -ENOENT; /* no sriov_configure() */
        if (n == 0)
                return disable(pf);
        return now > 0 ? -EBUSY : enable(pf, n);
}
