/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pci/attribute, pci/facts: the tables, and text of attributes and links as facts. What is
 * truncated, too long, or no number at all makes its fact unreadable and leaves nothing of an
 * earlier value.
 */

#include "base/strutil.h"
#include "pci/facts.h"

#include "unit.h"

static const PciAddress some = { 0, 1, 0, 0 };

START_TEST(attribute_paths_go_round) {
        for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++) {
                const char *path = pci_attribute_path((PciAttribute) a);

                ck_assert_int_eq(pci_attribute_from_path(path), (int) a);
                ck_assert(path[0] != '/' && !strstr(path, ".."));
                /* What may block or wake a device is never in the daemon's own scan. */
                if (pci_attribute_is_cold((PciAttribute) a))
                        ck_assert_int_eq(pci_attribute_reader((PciAttribute) a), PCI_READER_CACHED);
                ck_assert_int_le(pci_attribute_scope((PciAttribute) a), PCI_SCOPE_BRIDGE);
        }
        for (unsigned l = 0; l < _PCI_LINK_MAX; l++)
                ck_assert_int_eq(pci_link_from_path(pci_link_path((PciLink) l)), (int) l);
        ck_assert_int_eq(pci_attribute_from_path("uevent"), _PCI_ATTRIBUTE_INVALID);
        ck_assert_int_eq(pci_attribute_from_path(""), _PCI_ATTRIBUTE_INVALID);
        ck_assert_int_eq(pci_attribute_from_path(NULL), _PCI_ATTRIBUTE_INVALID);
        ck_assert_int_eq(pci_link_from_path("subsystem"), _PCI_LINK_INVALID);
        ck_assert_int_eq(pci_link_from_path(NULL), _PCI_LINK_INVALID);
        ck_assert_int_eq(pci_attribute_reader(PCI_ATTRIBUTE_DRIVER_OVERRIDE), PCI_READER_WORKER);
        ck_assert_int_eq(pci_attribute_reader(PCI_ATTRIBUTE_SRIOV_NUMVFS), PCI_READER_WORKER);
        ck_assert_int_eq(pci_attribute_reader(PCI_ATTRIBUTE_CURRENT_LINK_SPEED), PCI_READER_WORKER);
}
END_TEST

static const struct {
        PciAttribute attribute;
        const char *text;
        bool good;
        int64_t value;
} numbers[] = {
        { PCI_ATTRIBUTE_VENDOR, "0x8086", true, 0x8086 },
        { PCI_ATTRIBUTE_VENDOR, "0x8086\n", true, 0x8086 },
        { PCI_ATTRIBUTE_VENDOR, "8086", true, 0x8086 },
        { PCI_ATTRIBUTE_VENDOR, "0xffff", true, 0xffff },
        { PCI_ATTRIBUTE_VENDOR, "0x10000", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "0x00008086", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "0x", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "\n", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "0x8086 ", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, " 0x8086", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "0x8086\n\n", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "0x80g6", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "-1", false, 0 },
        { PCI_ATTRIBUTE_VENDOR, "(null)", false, 0 },
        { PCI_ATTRIBUTE_DEVICE, "0x10d3", true, 0x10d3 },
        { PCI_ATTRIBUTE_SUBSYSTEM_VENDOR, "0x1028", true, 0x1028 },
        { PCI_ATTRIBUTE_SUBSYSTEM_DEVICE, "0x0001", true, 1 },
        { PCI_ATTRIBUTE_CLASS, "0x010802", true, 0x010802 },
        { PCI_ATTRIBUTE_CLASS, "0x1000000", false, 0 },
        { PCI_ATTRIBUTE_REVISION, "0xa1", true, 0xa1 },
        { PCI_ATTRIBUTE_REVISION, "0x100", false, 0 },
        { PCI_ATTRIBUTE_NUMA_NODE, "0", true, 0 },
        { PCI_ATTRIBUTE_NUMA_NODE, "-1", true, -1 },
        { PCI_ATTRIBUTE_NUMA_NODE, "32767", true, 32767 },
        { PCI_ATTRIBUTE_NUMA_NODE, "32768", false, -1 },
        { PCI_ATTRIBUTE_NUMA_NODE, "-2", false, -1 },
        { PCI_ATTRIBUTE_NUMA_NODE, "-", false, -1 },
        { PCI_ATTRIBUTE_NUMA_NODE, "--1", false, -1 },
        { PCI_ATTRIBUTE_NUMA_NODE, "0x1", false, -1 },
        { PCI_ATTRIBUTE_NUMA_NODE, "99999999999999999999999", false, -1 },
        { PCI_ATTRIBUTE_BOOT_VGA, "1", true, 1 },
        { PCI_ATTRIBUTE_BOOT_VGA, "0\n", true, 0 },
        { PCI_ATTRIBUTE_BOOT_VGA, "2", false, 0 },
        { PCI_ATTRIBUTE_BOOT_VGA, "yes", false, 0 },
        { PCI_ATTRIBUTE_SRIOV_TOTALVFS, "65535", true, 65535 },
        { PCI_ATTRIBUTE_SRIOV_TOTALVFS, "65536", false, 0 },
        { PCI_ATTRIBUTE_WAITING_FOR_SUPPLIER, "1", true, 1 },
};

static int64_t value_of(const PciFacts *f, PciAttribute a) {
        switch (a) {
        case PCI_ATTRIBUTE_VENDOR:
                return f->vendor;
        case PCI_ATTRIBUTE_DEVICE:
                return f->device;
        case PCI_ATTRIBUTE_SUBSYSTEM_VENDOR:
                return f->subsystem_vendor;
        case PCI_ATTRIBUTE_SUBSYSTEM_DEVICE:
                return f->subsystem_device;
        case PCI_ATTRIBUTE_CLASS:
                return f->class_code;
        case PCI_ATTRIBUTE_REVISION:
                return f->revision;
        case PCI_ATTRIBUTE_NUMA_NODE:
                return f->numa_node;
        case PCI_ATTRIBUTE_BOOT_VGA:
                return f->boot_vga;
        case PCI_ATTRIBUTE_SRIOV_TOTALVFS:
                return f->sriov_totalvfs;
        case PCI_ATTRIBUTE_WAITING_FOR_SUPPLIER:
                return f->waiting_for_supplier;
        default:
                ck_abort_msg("no such number");
        }
}

START_TEST(number_is_taken_whole_or_unreadable) {
        PciAttribute a = numbers[_i].attribute;
        PciFacts f;

        pci_facts_init(&f, some);
        ck_assert_int_eq(f.state[a], FACT_UNREAD);
        ck_assert_int_eq(pci_facts_set_attribute(&f, a, numbers[_i].text, 0),
                         numbers[_i].good ? 0 : -EBADMSG);
        ck_assert_int_eq(f.state[a], numbers[_i].good ? FACT_PRESENT : FACT_UNREADABLE);
        ck_assert_int_eq(value_of(&f, a), numbers[_i].value);
        pci_facts_done(&f);
}
END_TEST

/* Every held attribute, once it had a value, goes back to the initial one when the next read
 * fails. */
START_TEST(a_failed_read_leaves_nothing_behind) {
        static const struct {
                const char *text;
                int error;
                FactState state;
        } reads[] = {
                { NULL, ENOENT, FACT_ABSENT },     { NULL, -ENOENT, FACT_ABSENT },
                { NULL, EIO, FACT_UNREADABLE },    { NULL, ENODEV, FACT_UNREADABLE },
                { NULL, EACCES, FACT_UNREADABLE }, { "?", 0, FACT_UNREADABLE },
        };
        static const char *const lines =
                "0x1000 0x1fff 0x40200\n0x0 0x0 0x0\n0x0 0x0 0x0\n0x0 0x0 0x0\n0x0 0x0 0x0\n"
                "0x0 0x0 0x0\n0x0 0x0 0x0\n";

        for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                for (size_t i = 0; i < ELEMENTSOF(reads); i++) {
                        PciFacts f, initial;
                        const char *good = a == PCI_ATTRIBUTE_RESOURCE       ? lines
                                           : a == PCI_ATTRIBUTE_RESET_METHOD ? "flr bus"
                                                                             : "1";

                        pci_facts_init(&f, some);
                        pci_facts_init(&initial, some);
                        ck_assert_int_eq(pci_facts_set_attribute(&f, (PciAttribute) a, good, 0), 0);
                        if (f.state[a] == FACT_UNREAD)
                                continue; /* held as text elsewhere */
                        ck_assert_int_eq(f.state[a], FACT_PRESENT);
                        ck_assert(!pci_facts_equal(&f, &initial));
                        (void) pci_facts_set_attribute(&f, (PciAttribute) a, reads[i].text,
                                                       reads[i].error);
                        ck_assert_int_eq(f.state[a], reads[i].state);
                        f.state[a] = FACT_UNREAD;
                        ck_assert(pci_facts_equal(&f, &initial));
                        pci_facts_done(&f);
                }
}
END_TEST

#define NONE "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
#define NONE6 NONE NONE NONE NONE NONE NONE

static const struct {
        const char *what, *text;
        bool good;
        unsigned n, index;
        PciResource at;
} resources[] = {
        { "7 lines",
          "0x00000000fe000000 0x00000000fe01ffff 0x0000000000040200\n" NONE6,
          true,
          7,
          0,
          { 0xfe000000, 0x20000, 0x40200 } },
        { "no newline at the end",
          NONE6 "0x00000000000c0000 0x00000000000dffff 0x0000000000000212",
          true,
          7,
          6,
          { 0xc0000, 0x20000, 0x212 } },
        { "13 lines",
          NONE6 NONE
          "0x0000380000000000 0x00003800000fffff 0x000000000014220c\n" NONE NONE NONE NONE NONE,
          true,
          13,
          7,
          { UINT64_C(0x380000000000), 0x100000, 0x14220c } },
        { "17 lines of a bridge",
          NONE6 NONE NONE6 NONE
          "0x00000000fe000000 0x00000000fe0fffff 0x0000000000200200\n" NONE NONE,
          true,
          17,
          14,
          { 0xfe000000, 0x100000, 0x200200 } },
        { "11 lines of a bridge without SR-IOV in the kernel",
          NONE6 NONE NONE "0x00000000fe000000 0x00000000fe0fffff 0x0000000000200200\n" NONE NONE,
          true,
          17,
          14,
          { 0xfe000000, 0x100000, 0x200200 } },
        { "more lines than we know",
          NONE6 NONE6 NONE6 "0x1 0x2 0x200\n",
          true,
          17,
          16,
          { 0, 0, 0 } },
        { "no room",
          "0x0000000000000000 0x0000000000ffffff 0x0000000020040200\n" NONE6,
          true,
          7,
          0,
          { 0, 0x1000000, 0x20040200 } },
        { "a window that is off",
          "0x0000000000001000 0x0000000000000fff 0x0000000000000101\n" NONE6,
          true,
          7,
          0,
          { 0, 0, 0x101 } },
        { "the last byte of all",
          "0xffffffffffffffff 0xffffffffffffffff 0x200\n" NONE6,
          true,
          7,
          0,
          { UINT64_MAX, 1, 0x200 } },
        { "2^64 bytes", "0x0000000000000000 0xffffffffffffffff 0x200\n" NONE6, false, 0, 0, {} },
        { "ends before it starts",
          "0x0000000000002000 0x0000000000001000 0x200\n" NONE6,
          false,
          0,
          0,
          {} },
        { "flags beyond 32 bits", "0x1000 0x1fff 0x100000000\n" NONE6, false, 0, 0, {} },
        { "17 digits", "0x10000000000000000 0x1fff 0x200\n" NONE6, false, 0, 0, {} },
        { "6 lines", NONE6, false, 0, 0, {} },
        { "empty", "", false, 0, 0, {} },
        { "an empty line", NONE6 "\n", false, 0, 0, {} },
        { "cut in a number", NONE6 "0x0000000000000000 0x00000", false, 0, 0, {} },
        { "cut behind a blank", NONE6 "0x0000000000000000 ", false, 0, 0, {} },
        { "two blanks", NONE6 "0x0  0x0 0x0\n", false, 0, 0, {} },
        { "four numbers", NONE6 "0x0 0x0 0x0 0x0\n", false, 0, 0, {} },
        { "words", "none\n", false, 0, 0, {} },
};

START_TEST(resource_lines_are_decoded) {
        PciFacts f;

        pci_facts_init(&f, some);
        ck_assert_msg(pci_facts_set_attribute(&f, PCI_ATTRIBUTE_RESOURCE, resources[_i].text, 0) ==
                              (resources[_i].good ? 0 : -EBADMSG),
                      "%s", resources[_i].what);
        ck_assert_uint_eq(f.n_resources, resources[_i].n);
        ck_assert_uint_eq(pci_facts_resource(&f, resources[_i].index)->start,
                          resources[_i].at.start);
        ck_assert_uint_eq(pci_facts_resource(&f, resources[_i].index)->size, resources[_i].at.size);
        ck_assert_uint_eq(pci_facts_resource(&f, resources[_i].index)->flags,
                          resources[_i].at.flags);
        if (resources[_i].n == PCI_RESOURCE_MAX)
                for (unsigned i = PCI_RESOURCE_VF_FIRST; i < PCI_RESOURCE_WINDOW_FIRST; i++)
                        ck_assert_uint_eq(pci_facts_resource(&f, i)->size, 0);
        pci_facts_done(&f);
}
END_TEST

START_TEST(every_cut_of_resource_text_is_safe) {
        static const char text[] = NONE6 NONE NONE6;
        PciFacts f;

        pci_facts_init(&f, some);
        for (size_t n = 0; n < sizeof(text); n++) {
                _cleanup_free_ char *cut =
                        strndup(text, n); /* on the heap, where a read beyond is seen */

                (void) pci_facts_set_attribute(&f, PCI_ATTRIBUTE_RESOURCE, cut, 0);
                ck_assert_uint_le(f.n_resources, PCI_RESOURCE_MAX);
        }
        pci_facts_done(&f);
}
END_TEST

static const struct {
        PciLink link;
        const char *target;
        bool good;
} link_cases[] = {
        { PCI_LINK_DRIVER, "vfio-pci", true },
        { PCI_LINK_DRIVER, "some driver 2.0", true },
        { PCI_LINK_DRIVER, "", false },
        { PCI_LINK_DRIVER, "../x", false },
        { PCI_LINK_DRIVER, "x\ny", false },
        { PCI_LINK_DRIVER, "x\033[2J", false },
        { PCI_LINK_DRIVER, "a-name-of-sixty-three-characters-is-the-longest-that-fits-in-here",
          false },
        { PCI_LINK_IOMMU_GROUP, "0", true },
        { PCI_LINK_IOMMU_GROUP, "4294967295", true },
        { PCI_LINK_IOMMU_GROUP, "4294967296", false },
        { PCI_LINK_IOMMU_GROUP, "-1", false },
        { PCI_LINK_IOMMU_GROUP, "", false },
        { PCI_LINK_IOMMU_GROUP, "1a", false },
        { PCI_LINK_IOMMU, "dmar0", true },
        { PCI_LINK_IOMMU, "smmu3.0x0000000012345678", true },
        { PCI_LINK_IOMMU, "a-name-that-is-far-too-long-for-an-iommu", false },
        { PCI_LINK_PHYSFN, "0000:01:00.0", true },
        { PCI_LINK_PHYSFN, "01:00.0", false },
        { PCI_LINK_MODULE, "vfio_pci", true },
};

START_TEST(link_is_taken_whole_or_unreadable) {
        PciLink l = link_cases[_i].link;
        PciFacts f, initial;

        pci_facts_init(&f, some);
        pci_facts_init(&initial, some);
        ck_assert_int_eq(pci_facts_set_link(&f, l, link_cases[_i].target, 0),
                         link_cases[_i].good ? 0 : -EBADMSG);
        ck_assert_int_eq(f.link_state[l], link_cases[_i].good ? FACT_PRESENT : FACT_UNREADABLE);
        ck_assert_int_eq(f.is_vf, link_cases[_i].good && l == PCI_LINK_PHYSFN);
        /* gone again */
        ck_assert_int_eq(pci_facts_set_link(&f, l, NULL, ENOENT), 0);
        ck_assert_int_eq(f.link_state[l], FACT_ABSENT);
        f.link_state[l] = FACT_UNREAD;
        ck_assert(pci_facts_equal(&f, &initial));
        ck_assert_int_eq(pci_facts_set_link(&f, l, NULL, EIO), 0);
        ck_assert_int_eq(f.link_state[l], FACT_UNREADABLE);
}
END_TEST

static const struct {
        const char *address, *path, *parent, *port_path;
        int r;
} paths[] = {
        { "0000:00:1f.3", "pci0000:00/0000:00:1f.3", NULL, "0000:00/1f.3", 0 },
        { "0000:41:00.0", "pci0000:40/0000:40:03.1/0000:41:00.0", "0000:40:03.1",
          "0000:40/03.1/00.0", 0 },
        { "0000:44:00.1", "pci0000:40/0000:40:03.1/0000:41:00.0/0000:42:01.0/0000:44:00.1",
          "0000:42:01.0", "0000:40/03.1/00.0/01.0/00.1", 0 },
        { "10000:e0:01.0", "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:01.0", NULL,
          "0000:00/0e.0/10000:e0/01.0", 0 },
        { "10000:e1:00.0", "pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:01.0/10000:e1:00.0",
          "10000:e0:01.0", "0000:00/0e.0/10000:e0/01.0/00.0", 0 },
        { "0000:01:00.0", "platform/40000000.pcie/pci0000:00/0000:00:01.0/0000:01:00.0",
          "0000:00:01.0", "0000:00/01.0/00.0", 0 },
        { "0000:01:00.0", "pci0000:00/0000:00:01.0/0000:02:00.0", NULL, "", -EBADMSG },
        { "0000:01:00.0", "", NULL, "", -EBADMSG },
        { "0000:01:00.0", "/pci0000:00/0000:01:00.0", NULL, "", -EBADMSG },
        { "0000:01:00.0", "pci0000:00//0000:01:00.0", NULL, "", -EBADMSG },
        { "0000:01:00.0", "pci0000:00/0000:01:00.0/", NULL, "", -EBADMSG },
        { "0000:01:00.0", "pci0000:00/../0000:01:00.0", NULL, "", -EBADMSG },
        { "0000:01:00.0", "pci0000:00/./0000:01:00.0", NULL, "", -EBADMSG },
        { "0000:01:00.0", "pci0000:00/0000:01:00.0/vfio-dev", NULL, "", -EBADMSG },
        { "0000:01:00.0", "pci0000:00/\x01/0000:01:00.0", NULL, "", -EBADMSG },
};

START_TEST(the_place_follows_from_the_path) {
        _cleanup_free_ char *port_path = NULL;
        PciAddress a, parent;
        PciFacts f;

        ck_assert_int_eq(pci_address_parse(paths[_i].address, &a), 0);
        pci_facts_init(&f, a);
        ck_assert_int_eq(pci_facts_set_path(&f, paths[_i].path), paths[_i].r);
        ck_assert_int_eq(f.has_parent, paths[_i].parent != NULL);
        if (paths[_i].parent) {
                ck_assert_int_eq(pci_address_parse(paths[_i].parent, &parent), 0);
                ck_assert(pci_address_equal(f.parent, parent));
        }
        port_path = pci_facts_port_path(&f);
        ck_assert_str_eq(port_path, paths[_i].port_path);
        pci_facts_done(&f);
        ck_assert_ptr_null(f.path);
}
END_TEST

START_TEST(a_path_of_any_length_is_refused_or_kept) {
        for (size_t depth = 1; depth < 200; depth++) {
                _cleanup_strbuf_ StrBuf path = {};
                PciFacts f;

                strbuf_add(&path, "pci0000:00");
                for (size_t i = 0; i < depth; i++)
                        strbuf_add(&path, "/0000:01:00.0");
                pci_facts_init(&f, some);
                if (pci_facts_set_path(&f, path.data) >= 0)
                        ck_assert_str_eq(f.path, path.data);
                else
                        ck_assert(strlen(path.data) > 1000);
                pci_facts_done(&f);
        }
}
END_TEST

START_TEST(copies_are_deep_and_equal) {
        PciFacts f, copy, empty;

        pci_facts_init(&f, some);
        ck_assert_int_eq(pci_facts_set_path(&f, "pci0000:00/0000:00:01.0/0000:01:00.0"), 0);
        ck_assert_int_eq(pci_facts_set_attribute(&f, PCI_ATTRIBUTE_RESOURCE,
                                                 "0x1000 0x1fff 0x40200\n" NONE6, 0),
                         0);
        ck_assert_int_eq(pci_facts_set_link(&f, PCI_LINK_DRIVER, "nvme", 0), 0);
        ck_assert_int_eq(pci_facts_copy(&f, &copy), 0);
        ck_assert(pci_facts_equal(&f, &copy));
        ck_assert_ptr_ne(f.path, copy.path);
        copy.kept[0].flags ^= 1;
        ck_assert(!pci_facts_equal(&f, &copy));
        pci_facts_done(&copy);
        pci_facts_init(&empty, some);
        ck_assert(pci_facts_equal(&copy, &empty));
        ck_assert_int_eq(pci_facts_copy(&empty, &copy), 0);
        ck_assert(pci_facts_equal(&copy, &empty));
        pci_facts_done(&f);
        pci_facts_done(NULL);
}
END_TEST

START_TEST(kinds_follow_from_classes) {
        static const struct {
                uint32_t class_code;
                PciKind kind;
                bool bridge;
        } cases[] = {
                { 0x010802, PCI_KIND_NVME, false },     { 0x010601, PCI_KIND_STORAGE, false },
                { 0x020000, PCI_KIND_NIC, false },      { 0x020700, PCI_KIND_NIC, false },
                { 0x030000, PCI_KIND_GPU, false },      { 0x030200, PCI_KIND_GPU, false },
                { 0x040300, PCI_KIND_AUDIO, false },    { 0x050210, PCI_KIND_CXL_MEMORY, false },
                { 0x050000, PCI_KIND_SYSTEM, false },   { 0x060000, PCI_KIND_HOST_BRIDGE, true },
                { 0x060100, PCI_KIND_ISA, true },       { 0x060400, PCI_KIND_BRIDGE, true },
                { 0x060401, PCI_KIND_BRIDGE, true },    { 0x068000, PCI_KIND_BRIDGE, false },
                { 0x080600, PCI_KIND_SYSTEM, false },   { 0x080700, PCI_KIND_SYSTEM, false },
                { 0x080501, PCI_KIND_STORAGE, false },  { 0x0c0330, PCI_KIND_USB, false },
                { 0x0c0500, PCI_KIND_SMBUS, false },    { 0x0c0400, PCI_KIND_STORAGE, false },
                { 0x0c0600, PCI_KIND_NIC, false },      { 0x120000, PCI_KIND_ACCELERATOR, false },
                { 0x000000, PCI_KIND_OTHER, false },    { 0xff0000, PCI_KIND_OTHER, false },
                { 0xffffff, PCI_KIND_OTHER, false },    { 0x110000, PCI_KIND_OTHER, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PciFacts f;

                pci_facts_init(&f, some);
                f.class_code = cases[i].class_code;
                ck_assert_int_eq(pci_kind_from_class(cases[i].class_code), cases[i].kind);
                ck_assert_int_eq(pci_facts_is_bridge(&f), cases[i].bridge);
        }
        for (unsigned k = 0; k < _PCI_KIND_MAX; k++)
                for (unsigned m = 0; m < k; m++)
                        ck_assert_str_ne(pci_kind_to_string((PciKind) k),
                                         pci_kind_to_string((PciKind) m));
        for (unsigned t = 0; t < 256; t++)
                ck_assert_ptr_nonnull(pcie_type_to_string((PcieType) t));
        for (unsigned s = 0; s <= _FACT_STATE_MAX; s++)
                ck_assert_ptr_nonnull(fact_state_to_string((FactState) s));
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_test(tcase, attribute_paths_go_round);
        ADD_TABLE(tcase, number_is_taken_whole_or_unreadable, numbers);
        tcase_add_test(tcase, a_failed_read_leaves_nothing_behind);
        ADD_TABLE(tcase, resource_lines_are_decoded, resources);
        tcase_add_test(tcase, every_cut_of_resource_text_is_safe);
        ADD_TABLE(tcase, link_is_taken_whole_or_unreadable, link_cases);
        ADD_TABLE(tcase, the_place_follows_from_the_path, paths);
        tcase_add_test(tcase, a_path_of_any_length_is_refused_or_kept);
        tcase_add_test(tcase, copies_are_deep_and_equal);
        tcase_add_test(tcase, kinds_follow_from_classes);
}

UNIT_MAIN("pci-facts", add_tests);
