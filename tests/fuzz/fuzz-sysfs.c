/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Text of sysfs. The first byte chooses the parser, the second what of it (which attribute, which
 * link), the rest is the text. Invariants: a parser returns only the errors that it documents, a
 * fact's state says what happened, a failed parse leaves nothing of an earlier value, and what was
 * accepted can be shown.
 */

#include "pci/driver.h"
#include "pci/iommu.h"
#include "pci/slot.h"

#include "fuzz.h"

#define ALIASES_MAX 64U

static const PciAddress some = { 0, 1, 2, 3 };

/* By pointer, since the call that gives r sets the state: arguments have no order. */
static void check_state(int r, const uint8_t *state) {
        fuzz_require(r == 0 || r == -EBADMSG);
        fuzz_require(*state == (r < 0 ? FACT_UNREADABLE : FACT_PRESENT));
}

static void show_all(const PciView *v) {
        for (unsigned t = 0; t < _PCI_TOPIC_MAX; t++) {
                _cleanup_json_ Json *j = pci_topic_to_json(v, (PciTopic) t);
                _cleanup_free_ char *text = json_to_text(j, false);

                fuzz_require(text);
        }
}

static void fuzz_attribute(uint8_t which, const char *text) {
        PciAttribute a = (PciAttribute) (which % _PCI_ATTRIBUTE_MAX);
        PciFacts f, initial, copy;
        PciLive live = {};
        PciUse use = {};
        PciView v = { .facts = &f, .live = &live, .use = &use };
        int r;

        pci_facts_init(&f, some);
        pci_facts_init(&initial, some);
        r = pci_facts_set_attribute(&f, a, text, 0);
        if (f.state[a] == FACT_UNREAD) /* not held */
                fuzz_require(r == 0 && pci_facts_equal(&f, &initial));
        else
                check_state(r, &f.state[a]);
        fuzz_require(f.n_resources <= PCI_RESOURCE_MAX);
        for (unsigned i = 0; i < f.n_resources; i++)
                fuzz_require(pci_facts_resource(&f, i)->size == 0 ||
                             pci_facts_resource(&f, i)->start +
                                             (pci_facts_resource(&f, i)->size - 1) >=
                                     pci_facts_resource(&f, i)->start);
        check_state(pci_live_set(&live, a, text, 0), &live.attributes[a].state);
        if (pci_live_override(&live))
                fuzz_require(pci_live_override(&live)[0]);
        fuzz_require(pci_use_add_builtin_criticals(&use, &f) == 0);
        show_all(&v);
        fuzz_require(pci_facts_copy(&f, &copy) == 0 && pci_facts_equal(&f, &copy));
        pci_facts_done(&copy);
        fuzz_require(pci_facts_set_attribute(&f, a, NULL, ENOENT) == 0);
        f.state[a] = FACT_UNREAD;
        fuzz_require(pci_facts_equal(&f, &initial));
        pci_live_done(&live);
        pci_use_done(&use);
}

static void fuzz_link(uint8_t which, const char *text) {
        PciLink l = (PciLink) (which % _PCI_LINK_MAX);
        PciFacts f, initial;
        PciView v = { .facts = &f };

        pci_facts_init(&f, some);
        pci_facts_init(&initial, some);
        check_state(pci_facts_set_link(&f, l, text, 0), &f.link_state[l]);
        fuzz_require(f.is_vf == (l == PCI_LINK_PHYSFN && f.link_state[l] == FACT_PRESENT));
        fuzz_require(!strchr(f.driver, '/') && !strchr(f.module, '/') && !strchr(f.iommu, '/'));
        show_all(&v);
        fuzz_require(pci_facts_set_link(&f, l, NULL, -ENOENT) == 0);
        f.link_state[l] = FACT_UNREAD;
        fuzz_require(pci_facts_equal(&f, &initial));
}

static void fuzz_path(uint8_t which, const char *text) {
        _cleanup_free_ char *path = NULL, *port_path = NULL;
        PciFacts f;
        PciView v = { .facts = &f };
        int r;

        /* An address of its own behind the text, so that some paths are good. */
        fuzz_require(asprintf(&path, "%s%s", text, which & 1 ? "/0000:01:02.3" : "") >= 0);
        pci_facts_init(&f, some);
        r = pci_facts_set_path(&f, path);
        fuzz_require(r == 0 || r == -EBADMSG);
        fuzz_require((r == 0) == (f.path != NULL));
        fuzz_require(!f.has_parent || f.path);
        fuzz_require(r < 0 || (!strstr(f.path, "/../") && f.path[0] != '/'));
        port_path = pci_facts_port_path(&f);
        fuzz_require(port_path && (r < 0) == (port_path[0] == 0));
        show_all(&v);
        pci_facts_done(&f);
}

static void fuzz_group(uint8_t which, const char *text) {
        IommuGroupFacts g = {};
        PciFacts f;
        PciView v = { .facts = &f, .group = &g };

        pci_facts_init(&f, some);
        if (which & 1)
                check_state(iommu_group_facts_set_type(&g, text, 0), &g.type_state);
        check_state(iommu_group_facts_set_regions(&g, text, 0), &g.regions_state);
        fuzz_require(g.n_regions <= IOMMU_REGIONS_MAX);
        fuzz_require(g.regions_state == FACT_PRESENT || !iommu_group_facts_has_direct(&g));
        for (size_t i = 0; i < g.n_regions; i++)
                fuzz_require(g.regions[i].start <= g.regions[i].end &&
                             (unsigned) g.regions[i].type < _IOMMU_REGION_MAX);
        show_all(&v);
        iommu_group_facts_done(&g);
}

static void fuzz_iommu(uint8_t which, const char *text) {
        static const char *const names[] = { "dmar0", "ivhd0", "virtio0", "smmu3.0x1", "" };
        static const char *const registers[] = { "cap", "ecap", "features" };
        static int (*const abilities[])(const IommuFacts *) = {
                iommu_facts_interrupt_remapping, iommu_facts_snoop_control, iommu_facts_pasid,
                iommu_facts_pri, iommu_facts_ats,
        };
        IommuFacts i;
        PciFacts f;
        PciView v = { .facts = &f, .iommu = &i };
        int r;

        iommu_facts_init(&i, which & 0x80 ? text : names[which % ELEMENTSOF(names)]);
        r = iommu_facts_set_register(&i, registers[which / 8 % ELEMENTSOF(registers)], text, 0);
        fuzz_require(r == 0 || r == -EBADMSG);
        for (size_t k = 0; k < ELEMENTSOF(abilities); k++) {
                r = abilities[k](&i);
                fuzz_require(r == 0 || r == 1 || r == -ENODATA);
        }
        pci_facts_init(&f, some);
        show_all(&v);
}

static void fuzz_slot(uint8_t which, const char *text) {
        static const char *const names[] = { "power", "attention", "latch", "adapter" };
        PciSlotFacts s;
        PciFacts f;
        PciView v = { .facts = &f, .slot = &s };
        int r;

        pci_facts_init(&f, some);
        r = pci_slot_facts_init(&s, text, "0000:01:02");
        fuzz_require(r == 0 || r == -EBADMSG);
        r = pci_slot_facts_init(&s, "7", text);
        fuzz_require(r == 0 || r == -EBADMSG);
        if (r < 0)
                fuzz_require(pci_slot_facts_init(&s, "7", "0000:01:02") == 0);
        (void) pci_slot_facts_matches(&s, some);
        r = pci_slot_facts_set(&s, names[which % ELEMENTSOF(names)], text, 0);
        fuzz_require(r == 0 || r == -EBADMSG);
        (void) pci_slot_facts_set(&s, text, "1", 0);
        show_all(&v);
        pci_slot_facts_done(&s);
}

static void fuzz_vpd(const uint8_t *data, size_t size) {
        _cleanup_free_ uint8_t *exact = malloc(MAX(size, (size_t) 1));
        _cleanup_free_ char *serial = NULL;
        int r;

        fuzz_require(exact);
        if (size > 0)
                memcpy(exact, data, size);
        r = pci_vpd_serial(exact, size, &serial);
        fuzz_require(r == 0 || r == -ENODATA || r == -EBADMSG);
        fuzz_require((r == 0) == (serial != NULL));
        for (const char *p = serial; p && *p; p++)
                fuzz_require(*p >= ' ' && *p <= '~');
        fuzz_require(!serial || (serial[0] && strlen(serial) <= 255));
}

/* Each line a pattern. */
static void fuzz_alias(uint8_t which, char *text) {
        char modalias[PCI_MODALIAS_MAX], driver[33];
        PciModuleAlias aliases[ALIASES_MAX];
        char *saved = NULL;
        PciFacts f;
        size_t n = 0;
        int r;

        pci_facts_init(&f, some);
        f.vendor = which;
        f.class_code = UINT32_C(0x01010101) * which;
        fuzz_require(strlen(pci_vfio_modalias(&f, modalias)) < PCI_MODALIAS_MAX);
        r = pci_module_to_driver(text, driver, sizeof(driver));
        fuzz_require(r == 0 || r == -EINVAL);
        if (r == 0)
                fuzz_require(pci_driver_name_is_valid(driver) && strlen(driver) == strlen(text));
        if (pci_driver_is_vfio(text))
                fuzz_require(pci_driver_is_group_neutral(text));
        for (char *p = strtok_r(text, "\n", &saved); p && n < ALIASES_MAX;
             p = strtok_r(NULL, "\n", &saved))
                aliases[n++] = (PciModuleAlias) { .pattern = p, .module = "x" };
        r = pci_vfio_choose(&f, aliases, n);
        fuzz_require(r == -ENOENT || (r >= 0 && (size_t) r < n));
}

static void fuzz_use(uint8_t which, const char *text) {
        PciHolder h = { .pid = which };
        PciUse u = {};
        PciFacts f;
        PciView v = { .facts = &f, .use = &u };
        int r;

        pci_facts_init(&f, some);
        r = pci_use_add_child(&u, "net", text);
        fuzz_require(r == 0 || r == -EINVAL);
        r = pci_use_add_child(&u, text, "x");
        fuzz_require(r == 0 || r == -EINVAL);
        memcpy(h.comm, text, MIN(strlen(text), sizeof(h.comm)));
        memcpy(h.what, text, MIN(strlen(text), sizeof(h.what)));
        fuzz_require(pci_use_add_holder(&u, &h) == 0);
        fuzz_require(
                pci_use_add_critical(&u, (PciCriticalCode) (which % _PCI_CRITICAL_MAX), text) == 0);
        show_all(&v);
        pci_use_done(&u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = NULL;

        if (size < 2)
                return 0;
        text = fuzz_text(data + 2, size - 2);
        switch (data[0] % 10) {
        case 0:
        case 1:
                fuzz_attribute(data[1], text);
                break;
        case 2:
                fuzz_link(data[1], text);
                break;
        case 3:
                fuzz_path(data[1], text);
                break;
        case 4:
                fuzz_group(data[1], text);
                break;
        case 5:
                fuzz_iommu(data[1], text);
                break;
        case 6:
                fuzz_slot(data[1], text);
                break;
        case 7:
                fuzz_vpd(data + 2, size - 2);
                break;
        case 8:
                fuzz_alias(data[1], text);
                break;
        case 9:
                fuzz_use(data[1], text);
                break;
        }
        return 0;
}
