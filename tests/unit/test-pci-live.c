/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pci/live, pci/vpd, pci/use, pci/slot, pci/iommu, pci/driver: the smaller decoders, table by
 * table.
 */

#include "base/strutil.h"
#include "pci/driver.h"
#include "pci/iommu.h"
#include "pci/slot.h"

#include "unit.h"

static const PciAddress some = { 0, 1, 0, 0 };

START_TEST(text_is_kept_clean_or_not_at_all) {
        static const struct {
                const char *text;
                int error;
                FactState state;
                const char *kept;
        } cases[] = {
                { "active", 0, FACT_PRESENT, "active" },  { "active\n", 0, FACT_PRESENT, "active" },
                { "", 0, FACT_PRESENT, "" },              { "a\nb\n\n", 0, FACT_PRESENT, "a\nb\n" },
                { "8.0 GT/s PCIe", 0, FACT_PRESENT, "8.0 GT/s PCIe" },
                { NULL, ENOENT, FACT_ABSENT, NULL },      { NULL, EINVAL, FACT_UNREADABLE, NULL },
                { "\033[2J", 0, FACT_UNREADABLE, NULL },  { "\xff\xfe", 0, FACT_UNREADABLE, NULL },
                { "a\177", 0, FACT_UNREADABLE, NULL },
        };
        PciLive l = {};

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const PciText *t = &l.attributes[PCI_ATTRIBUTE_RUNTIME_STATUS];

                ck_assert_int_eq(pci_live_set(&l, PCI_ATTRIBUTE_RUNTIME_STATUS, cases[i].text,
                                              cases[i].error),
                                 cases[i].text && !cases[i].kept ? -EBADMSG : 0);
                ck_assert_int_eq(t->state, cases[i].state);
                ck_assert_pstr_eq(t->text, cases[i].kept);
        }
        pci_live_done(&l);
        pci_live_done(NULL);
}
END_TEST

START_TEST(long_text_is_malformed) {
        _cleanup_free_ char *text = malloc(PCI_ATTRIBUTE_TEXT_MAX + 2);
        PciLive l = {};

        memset(text, 'x', PCI_ATTRIBUTE_TEXT_MAX + 1);
        text[PCI_ATTRIBUTE_TEXT_MAX + 1] = 0;
        ck_assert_int_eq(pci_live_set(&l, PCI_ATTRIBUTE_LABEL, text, 0), -EBADMSG);
        ck_assert_int_eq(l.attributes[PCI_ATTRIBUTE_LABEL].state, FACT_UNREADABLE);
        ck_assert_int_eq(pci_live_set(&l, PCI_ATTRIBUTE_LABEL, text + 1, 0), 0);
        ck_assert_uint_eq(strlen(l.attributes[PCI_ATTRIBUTE_LABEL].text), PCI_ATTRIBUTE_TEXT_MAX);
        pci_live_done(&l);
}
END_TEST

START_TEST(an_unset_override_is_none) {
        static const struct {
                const char *text, *override;
        } cases[] = { { "(null)\n", NULL },
                      { "\n", NULL },
                      { "", NULL },
                      { "vfio-pci\n", "vfio-pci" },
                      { NULL, NULL } };
        PciLive l = {};

        ck_assert_ptr_null(pci_live_override(&l));
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                ck_assert_int_eq(
                        pci_live_set(&l, PCI_ATTRIBUTE_DRIVER_OVERRIDE, cases[i].text, ENOENT), 0);
                ck_assert_pstr_eq(pci_live_override(&l), cases[i].override);
        }
        pci_live_done(&l);
}
END_TEST

#define BYTES(s) s, sizeof(s) - 1

static const struct {
        const char *what, *data;
        size_t n;
        int r;
        const char *serial;
} vpds[] = {
        { "damage behind the serial",
          BYTES("\x90\x0a\0SN\x04"
                "1234RV\x09\x78"),
          0, "1234" },
        { "damage before it",
          BYTES("\x90\x0a\0RV\x09SN\x04"
                "1234\x78"),
          -EBADMSG, NULL },
        { "name, part, serial",
          BYTES("\x82\x03\0abc\x90\x0c\0PN\x02xySN\x04"
                "1234\x78"),
          0, "1234" },
        { "serial first",
          BYTES("\x90\x07\0SN\x04"
                "A-1 \x78"),
          0, "A-1" },
        { "padded with NULs",
          BYTES("\x90\x07\0SN\x04"
                "A1\0\0\x78"),
          0, "A1" },
        { "blank serial", BYTES("\x90\x07\0SN\x04    \x78"), -ENODATA, NULL },
        { "serial with control characters", BYTES("\x90\x07\0SN\x04\033[2J\x78"), -EBADMSG, NULL },
        { "no serial", BYTES("\x90\x05\0PN\x02xy\x78"), -ENODATA, NULL },
        { "in VPD-W only",
          BYTES("\x91\x07\0SN\x04"
                "1234\x78"),
          -ENODATA, NULL },
        { "end first",
          BYTES("\x78\x90\x07\0SN\x04"
                "1234"),
          -ENODATA, NULL },
        { "empty", BYTES(""), -ENODATA, NULL },
        { "zeros", BYTES("\0\0\0\0"), -ENODATA, NULL },
        { "all-ones", BYTES("\xff\xff\xff\xff"), -EBADMSG, NULL },
        { "resource longer than the data",
          BYTES("\x90\xff\x7fSN\x04"
                "1234"),
          -EBADMSG, NULL },
        { "field longer than the resource",
          BYTES("\x90\x07\0SN\x05"
                "1234\x78"),
          -EBADMSG, NULL },
        { "cut in a header", BYTES("\x90\x07"), -EBADMSG, NULL },
        { "cut in a small resource", BYTES("\x0f"), -EBADMSG, NULL },
        { "a field cut in its keyword", BYTES("\x90\x02\0SN\x78"), -ENODATA, NULL },
        { "zero in the middle", BYTES("\x82\x01\0a\0\0"), -EBADMSG, NULL },
};

START_TEST(vpd_gives_a_serial_or_a_reason) {
        _cleanup_free_ uint8_t *exact = malloc(MAX(vpds[_i].n, (size_t) 1));
        _cleanup_free_ char *serial = NULL;
        int r;

        memcpy(exact, vpds[_i].data,
               vpds[_i].n); /* no byte behind it, so that a read beyond is seen */
        r = pci_vpd_serial(exact, vpds[_i].n, &serial);
        ck_assert_msg(r == vpds[_i].r, "%s: %d", vpds[_i].what, r);
        ck_assert_pstr_eq(serial, vpds[_i].serial);
}
END_TEST

START_TEST(use_lists_are_bounded_and_have_no_doubles) {
        PciHolder holder = { .pid = 1, .uid = 2, .comm = "bad\033name", .what = "/dev/vfio/1" };
        PciUse u = {};
        char name[32];

        ck_assert_int_eq(pci_use_add_child(&u, "net", "eth0"), 0);
        ck_assert_int_eq(pci_use_add_child(&u, "net", "eth0"), 0);
        ck_assert_uint_eq(u.n_children, 1);
        ck_assert_int_eq(pci_use_add_child(&u, "", "eth0"), -EINVAL);
        ck_assert_int_eq(pci_use_add_child(&u, "net", NULL), -EINVAL);
        ck_assert_int_eq(pci_use_add_child(&u, "net", "a\nb"), -EINVAL);
        ck_assert_int_eq(pci_use_add_child(&u, "a-subsystem-with-a-long-name", "x"), -EINVAL);
        for (unsigned i = 0; i < 2 * PCI_USE_MAX; i++) {
                (void) snprintf(name, sizeof(name), "eth%u", i);
                ck_assert_int_eq(pci_use_add_child(&u, "net", name), 0);
                holder.pid = i;
                ck_assert_int_eq(pci_use_add_holder(&u, &holder), 0);
                ck_assert_int_eq(pci_use_add_critical(&u, PCI_CRITICAL_MOUNT, name), 0);
                ck_assert_int_eq(pci_use_add_critical(&u, PCI_CRITICAL_MOUNT, name), 0);
        }
        ck_assert_uint_eq(u.n_children, PCI_USE_MAX);
        ck_assert_uint_eq(u.n_holders, PCI_USE_MAX);
        ck_assert_uint_eq(u.n_criticals, PCI_USE_MAX);
        ck_assert_str_eq(u.children[PCI_USE_MAX - 1].name, "and more");
        ck_assert_str_eq(u.holders[PCI_USE_MAX - 1].what, "and more");
        ck_assert_str_eq(u.criticals[PCI_USE_MAX - 1].proof, "and more");
        ck_assert_str_eq(u.holders[0].comm, "bad?name");
        ck_assert_int_eq(pci_use_add_critical(&u, _PCI_CRITICAL_MAX, "x"), -EINVAL);
        pci_use_done(&u);
        ck_assert_ptr_null(u.children);
        pci_use_done(NULL);
}
END_TEST

static const struct {
        uint32_t class_code;
        bool boot_vga;
        const char *reset_method;
        int code; /* -1: none */
        const char *proof;
} builtins[] = {
        { 0x060000, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → host bridge" },
        { 0x060400, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → PCI bridge" },
        { 0x060400, false, "bus", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → PCI bridge" },
        { 0x060100, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → ISA bridge" },
        { 0x0c0500, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → SMBus controller" },
        { 0x080600, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → system peripheral" },
        { 0x050000, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → memory controller" },
        { 0x068000, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → bridge" },
        { 0x068000, false, "flr bus", -1, NULL }, /* NVSwitch */
        { 0x088000, false, "flr", -1, NULL },     /* DSA */
        { 0x088000, false, "", PCI_CRITICAL_CHIPSET, "0000:01:00.0 → system peripheral" },
        { 0x030000, true, "", PCI_CRITICAL_CONSOLE, "0000:01:00.0 → boot VGA" },
        { 0x030000, false, "", -1, NULL },
        { 0x020000, false, "flr", -1, NULL },
        { 0x050210, false, "", -1, NULL },
        { 0x120000, false, "flr", -1, NULL },
};

START_TEST(chipset_functions_are_host_critical) {
        PciUse u = {};
        PciFacts f;

        pci_facts_init(&f, some);
        f.class_code = builtins[_i].class_code;
        f.boot_vga = builtins[_i].boot_vga;
        (void) string_copy(f.reset_method, sizeof(f.reset_method), builtins[_i].reset_method);
        ck_assert_int_eq(pci_use_add_builtin_criticals(&u, &f), 0);
        ck_assert_uint_eq(u.n_criticals, builtins[_i].code >= 0);
        if (builtins[_i].code >= 0) {
                ck_assert_int_eq((int) u.criticals[0].code, builtins[_i].code);
                ck_assert_str_eq(u.criticals[0].proof, builtins[_i].proof);
        }
        pci_use_done(&u);
}
END_TEST

START_TEST(critical_codes_go_round) {
        for (unsigned c = 0; c < _PCI_CRITICAL_MAX; c++)
                ck_assert_int_eq(
                        (int) pci_critical_from_string(pci_critical_to_string((PciCriticalCode) c)),
                        (int) c);
        ck_assert_int_lt((int) pci_critical_from_string("nothing"), 0);
        ck_assert_int_lt((int) pci_critical_from_string(NULL), 0);
}
END_TEST

START_TEST(slots_are_mapped_by_address) {
        static const struct {
                const char *name, *address;
                int r;
                bool has_device;
        } cases[] = {
                { "5", "0000:01:00", 0, true },        { "5-1", "0000:01:00\n", 0, true },
                { "5", "0000:01", 0, false },          { "5", "10000:e1:1f", 0, true },
                { "5", "0000:01:20", -EBADMSG, false }, { "5", "0000:01:00.0", -EBADMSG, false },
                { "5", "0000", -EBADMSG, false },      { "5", "", -EBADMSG, false },
                { "", "0000:01:00", -EBADMSG, false }, { "../5", "0000:01:00", -EBADMSG, false },
                { "a-slot-name-that-is-far-too-long-to-be-one", "0000:01:00", -EBADMSG, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PciSlotFacts s;

                ck_assert_int_eq(pci_slot_facts_init(&s, cases[i].name, cases[i].address),
                                 cases[i].r);
                if (cases[i].r < 0)
                        continue;
                ck_assert_int_eq(s.has_device, cases[i].has_device);
                ck_assert_int_eq(pci_slot_facts_matches(&s, (PciAddress) { 0, 1, 0, 3 }),
                                 i <= 1);
                ck_assert(!pci_slot_facts_matches(&s, (PciAddress) { 0, 2, 0, 0 }));
                ck_assert_int_eq(pci_slot_facts_set(&s, "power", "1\n", 0), 0);
                ck_assert_str_eq(s.power.text, "1");
                ck_assert_int_eq(pci_slot_facts_set(&s, "power", "on", 0), -EBADMSG);
                ck_assert_int_eq(s.power.state, FACT_UNREADABLE);
                ck_assert_int_eq(pci_slot_facts_set(&s, "attention", NULL, EINVAL), 0);
                ck_assert_int_eq(s.attention.state, FACT_UNREADABLE);
                ck_assert_int_eq(pci_slot_facts_set(&s, "latch", NULL, ENOENT), 0);
                ck_assert_int_eq(s.latch.state, FACT_ABSENT);
                ck_assert_int_eq(pci_slot_facts_set(&s, "test", "1", 0), -EINVAL);
                pci_slot_facts_done(&s);
        }
        pci_slot_facts_done(NULL);
}
END_TEST

static const struct {
        const char *text;
        int r;
        size_t n;
        bool direct;
} regions[] = {
        { "", 0, 0, false },
        { "0x00000000fee00000 0x00000000feefffff msi\n", 0, 1, false },
        { "0x00000000000e0000 0x00000000000fffff direct\n0x00000000fee00000 0x00000000feefffff "
          "msi\n",
          0, 2, true },
        { "0x1 0x2 direct-relaxable", 0, 1, false },
        { "0x1 0x2 reserved\n0x0 0xffffffffffffffff reserved\n", 0, 2, false },
        { "0x2 0x1 reserved\n", -EBADMSG, 0, false },
        { "0x1 0x2 unheard-of\n", -EBADMSG, 0, false },
        { "0x1 0x2 \n", -EBADMSG, 0, false },
        { "0x1 0x2\n", -EBADMSG, 0, false },
        { "0x1 0x2 msi \n", -EBADMSG, 0, false },
        { "0x1 0x2 direct", 0, 1, true },
        { "\n", -EBADMSG, 0, false },
        { "direct\n", -EBADMSG, 0, false },
};

START_TEST(reserved_regions_are_decoded) {
        IommuGroupFacts g = { .id = 7 };

        ck_assert_int_eq(iommu_group_facts_set_regions(&g, regions[_i].text, 0), regions[_i].r);
        ck_assert_int_eq(g.regions_state, regions[_i].r < 0 ? FACT_UNREADABLE : FACT_PRESENT);
        ck_assert_uint_eq(g.n_regions, regions[_i].n);
        ck_assert_int_eq(iommu_group_facts_has_direct(&g), regions[_i].direct);
        ck_assert_int_eq(iommu_group_facts_set_regions(&g, NULL, ENOENT), 0);
        ck_assert_int_eq(g.regions_state, FACT_ABSENT);
        ck_assert_uint_eq(g.n_regions, 0);
        iommu_group_facts_done(&g);
        ck_assert_uint_eq(g.id, 7);
}
END_TEST

START_TEST(regions_and_types_are_bounded) {
        IommuGroupFacts g = {};

        for (unsigned lines = IOMMU_REGIONS_MAX; lines <= IOMMU_REGIONS_MAX + 1; lines++) {
                _cleanup_strbuf_ StrBuf text = {};

                for (unsigned i = 0; i < lines; i++)
                        strbuf_addf(&text, "0x%x 0x%x reserved\n", i, i);
                ck_assert_int_eq(iommu_group_facts_set_regions(&g, text.data, 0),
                                 lines <= IOMMU_REGIONS_MAX ? 0 : -EBADMSG);
        }
        ck_assert_int_eq(iommu_group_facts_set_type(&g, "DMA-FQ\n", 0), 0);
        ck_assert_str_eq(g.type, "DMA-FQ");
        ck_assert_int_eq(iommu_group_facts_set_type(&g, "a-type-too-long-to-be-one", 0), -EBADMSG);
        ck_assert_str_eq(g.type, "");
        ck_assert_int_eq(g.type_state, FACT_UNREADABLE);
        ck_assert_int_eq(iommu_group_facts_set_type(&g, NULL, EACCES), 0);
        ck_assert_int_eq(g.type_state, FACT_UNREADABLE);
        iommu_group_facts_done(&g);
        iommu_group_facts_done(NULL);
}
END_TEST

static const struct {
        const char *name, *attribute, *text;
        IommuKind kind;
        int remapping, snoop, pasid, pri, ats;
} iommus[] = {
        { "dmar0", "ecap", "f050da", IOMMU_KIND_INTEL, 1, 1, 0, 0, 0 },
        { "dmar1", "ecap", "10020000004\n", IOMMU_KIND_INTEL, 0, 0, 1, 1, 1 },
        { "dmar2", "ecap", "0xzz", IOMMU_KIND_INTEL, -ENODATA, -ENODATA, -ENODATA, -ENODATA,
          -ENODATA },
        { "ivhd0", "features", "12", IOMMU_KIND_AMD, 1, 1, 1, 1, -ENODATA },
        { "ivhd0", "features", "0:12", IOMMU_KIND_AMD, 1, 1, 1, 1, -ENODATA },
        { "ivhd0", "features", "12:0", IOMMU_KIND_AMD, 1, 1, 0, 0, -ENODATA },
        { "ivhd0", "cap", "1000000", IOMMU_KIND_AMD, 1, 1, -ENODATA, -ENODATA, 1 },
        { "ivhd0", "cap", "0", IOMMU_KIND_AMD, 1, 1, -ENODATA, -ENODATA, 0 },
        { "virtio3", "ecap", NULL, IOMMU_KIND_VIRTIO, -ENODATA, 0, 0, 0, 0 },
        { "smmu3.0x0000000009050000", "ecap", NULL, IOMMU_KIND_ARM_SMMU, -ENODATA, -ENODATA,
          -ENODATA, -ENODATA, -ENODATA },
        { "riscv-iommu@1000", "ecap", NULL, IOMMU_KIND_RISCV, -ENODATA, -ENODATA, -ENODATA,
          -ENODATA, -ENODATA },
        { "s390-iommu.00000001", "ecap", NULL, IOMMU_KIND_S390, -ENODATA, -ENODATA, -ENODATA,
          -ENODATA, -ENODATA },
        { "", "ecap", NULL, IOMMU_KIND_UNKNOWN, -ENODATA, -ENODATA, -ENODATA, -ENODATA, -ENODATA },
};

START_TEST(iommus_tell_what_they_can) {
        IommuFacts i;

        iommu_facts_init(&i, iommus[_i].name);
        ck_assert_int_eq(i.kind, iommus[_i].kind);
        (void) iommu_facts_set_register(&i, iommus[_i].attribute, iommus[_i].text, ENOENT);
        ck_assert_int_eq(iommu_facts_interrupt_remapping(&i), iommus[_i].remapping);
        ck_assert_int_eq(iommu_facts_snoop_control(&i), iommus[_i].snoop);
        ck_assert_int_eq(iommu_facts_pasid(&i), iommus[_i].pasid);
        ck_assert_int_eq(iommu_facts_pri(&i), iommus[_i].pri);
        ck_assert_int_eq(iommu_facts_ats(&i), iommus[_i].ats);
        ck_assert_int_eq(iommu_facts_set_register(&i, "version", "1:0", 0), -EINVAL);
}
END_TEST

START_TEST(driver_names_are_judged) {
        static const struct {
                const char *name;
                bool valid, vfio, neutral;
        } cases[] = {
                { "vfio-pci", true, true, true },         { "mlx5_vfio_pci", true, true, true },
                { "hisi-acc-vfio-pci", true, true, true }, { "pcieport", true, false, true },
                { "pci-stub", true, false, true },        { "nvme", true, false, false },
                { "", false, false, false },              { NULL, false, false, false },
                { "a/b", false, false, false },           { "a b", false, false, false },
                { "..", false, false, false },            { "vfio-pci\n", false, false, false },
                { "not-vfio-pcix", true, false, false },  { "_vfio_pci", true, false, false },
                { "abcdefghijklmnopqrstuvwxyz012345", true, false, false },
                { "abcdefghijklmnopqrstuvwxyz0123456", false, false, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                ck_assert_int_eq(pci_driver_name_is_valid(cases[i].name), cases[i].valid);
                ck_assert_int_eq(pci_driver_is_vfio(cases[i].name), cases[i].vfio);
                ck_assert_int_eq(pci_driver_is_group_neutral(cases[i].name), cases[i].neutral);
        }
}
END_TEST

START_TEST(the_alias_with_the_fewest_wildcards_wins) {
        static const PciModuleAlias aliases[] = {
                { "vfio_pci:v*d*sv*sd*bc*sc*i*", "vfio_pci" },
                { "vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*", "mlx5_vfio_pci" },
                { "vfio_pci:v000015B3d*sv*sd*bc*sc*i*", "other" },
                { "pci:v000015B3d0000101Esv*sd*bc02sc00i00", "mlx5_core" },
                { NULL, "broken" },
        };
        char modalias[PCI_MODALIAS_MAX], driver[32];
        PciFacts f;

        pci_facts_init(&f, some);
        f.vendor = 0x15b3;
        f.device = 0x101e;
        f.subsystem_vendor = 0x15b3;
        f.class_code = 0x020000;
        ck_assert_str_eq(pci_vfio_modalias(&f, modalias),
                         "vfio_pci:v000015B3d0000101Esv000015B3sd00000000bc02sc00i00");
        ck_assert_int_eq(pci_vfio_choose(&f, aliases, ELEMENTSOF(aliases)), 1);
        f.device = 0x1017;
        ck_assert_int_eq(pci_vfio_choose(&f, aliases, ELEMENTSOF(aliases)), 2);
        f.vendor = 0x8086;
        ck_assert_int_eq(pci_vfio_choose(&f, aliases, ELEMENTSOF(aliases)), 0);
        ck_assert_int_eq(pci_vfio_choose(&f, aliases + 1, 2), -ENOENT);
        ck_assert_int_eq(pci_vfio_choose(&f, NULL, 0), -ENOENT);
        memset(&f.vendor, 0xff, sizeof(f.vendor));
        f.class_code = UINT32_MAX;
        ck_assert_uint_lt(strlen(pci_vfio_modalias(&f, modalias)), PCI_MODALIAS_MAX);

        ck_assert_int_eq(pci_module_to_driver("vfio_pci", driver, sizeof(driver)), 0);
        ck_assert_str_eq(driver, "vfio-pci");
        ck_assert_int_eq(pci_module_to_driver("vfio-pci", driver, sizeof(driver)), 0);
        ck_assert_str_eq(driver, "vfio-pci");
        ck_assert_int_eq(pci_module_to_driver("mlx5-vfio-pci", driver, sizeof(driver)), 0);
        ck_assert_str_eq(driver, "mlx5_vfio_pci");
        ck_assert_int_eq(pci_module_to_driver("mlx5_vfio_pci", driver, 4), -ENAMETOOLONG);
        ck_assert_int_eq(pci_module_to_driver("../x", driver, sizeof(driver)), -EINVAL);
        ck_assert_int_eq(pci_module_to_driver("", driver, sizeof(driver)), -EINVAL);
        ck_assert_int_eq(pci_module_to_driver(NULL, driver, sizeof(driver)), -EINVAL);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_test(tcase, text_is_kept_clean_or_not_at_all);
        tcase_add_test(tcase, long_text_is_malformed);
        tcase_add_test(tcase, an_unset_override_is_none);
        ADD_TABLE(tcase, vpd_gives_a_serial_or_a_reason, vpds);
        tcase_add_test(tcase, use_lists_are_bounded_and_have_no_doubles);
        ADD_TABLE(tcase, chipset_functions_are_host_critical, builtins);
        tcase_add_test(tcase, critical_codes_go_round);
        tcase_add_test(tcase, slots_are_mapped_by_address);
        ADD_TABLE(tcase, reserved_regions_are_decoded, regions);
        tcase_add_test(tcase, regions_and_types_are_bounded);
        ADD_TABLE(tcase, iommus_tell_what_they_can, iommus);
        tcase_add_test(tcase, driver_names_are_judged);
        tcase_add_test(tcase, the_alias_with_the_fewest_wildcards_wins);
}

UNIT_MAIN("pci-live", add_tests);
