/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pci/config: the image, what is wanted of it, and what is decoded. Broken hardware is the ordinary
 * case here: lists that loop or leave their range, all-ones at any depth, Request Retry Status,
 * images cut at every length.
 */

#include "pci/facts.h"

#include "pci-image.h"
#include "unit.h"

static void decode(const Image *i, PciConfigFacts *f) {
        PciConfig c;

        (void) image_read(i, &c);
        pci_config_decode(&c, f);
}

START_TEST(only_whole_dwords_are_stored) {
        static const struct {
                size_t offset, n, first, end; /* dword-aligned bytes that become valid */
                int r;
        } cases[] = {
                { 0, 4, 0, 4, 0 },
                { 0, 3, 0, 0, 0 },
                { 1, 7, 4, 8, 0 },
                { 2, 9, 4, 8, 0 },
                { 252, 4, 252, 256, 0 },
                { 253, 3, 0, 0, 0 },
                { 256, 0, 0, 0, 0 },
                { 256, 4, 0, 0, -ERANGE },
                { 254, 4, 0, 0, -ERANGE },
                { SIZE_MAX, 4, 0, 0, -ERANGE },
                { 4, SIZE_MAX, 0, 0, -ERANGE },
                { 0, 256, 0, 256, 0 },
        };
        uint8_t data[256];

        for (size_t i = 0; i < sizeof(data); i++)
                data[i] = (uint8_t) (i + 1);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PciConfig c;

                pci_config_init(&c, 256);
                ck_assert_int_eq(pci_config_set(&c, cases[i].offset, data, cases[i].n), cases[i].r);
                for (size_t at = 0; at < 256; at++) {
                        bool there = at >= cases[i].first && at < cases[i].end;

                        ck_assert_int_eq(pci_config_has(&c, at, 1), there);
                        ck_assert_uint_eq(pci_config_u8(&c, at),
                                          there ? data[at - cases[i].offset] : 0xff);
                }
        }
}
END_TEST

START_TEST(sizes_are_bounded) {
        static const struct {
                size_t size;
                uint16_t kept;
        } cases[] = { { 0, 0 }, { 3, 0 }, { 64, 64 }, { 66, 64 }, { 256, 256 }, { 4096, 4096 },
                      { 4097, 4096 }, { 65536, 4096 }, { SIZE_MAX, 4096 } };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PciConfigFacts f;
                PciConfig c;

                pci_config_init(&c, cases[i].size);
                ck_assert_uint_eq(c.size, cases[i].kept);
                ck_assert(!pci_config_has(&c, cases[i].kept, 1));
                ck_assert(!pci_config_has(&c, SIZE_MAX, 4));
                ck_assert_uint_eq(pci_config_u32(&c, cases[i].kept), UINT32_MAX);
                pci_config_decode(&c, &f);
                ck_assert_int_eq(f.liveness, PCI_LIVENESS_UNKNOWN);
                ck_assert(f.incomplete);
        }
}
END_TEST

START_TEST(values_are_little_endian) {
        static const uint8_t data[] = { 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88 };
        PciConfig c;

        pci_config_init(&c, 64);
        ck_assert_int_eq(pci_config_set(&c, 0, data, sizeof(data)), 0);
        ck_assert_uint_eq(pci_config_u8(&c, 3), 0x44);
        ck_assert_uint_eq(pci_config_u16(&c, 2), 0x4433);
        ck_assert_uint_eq(pci_config_u32(&c, 4), 0x88776655);
        ck_assert_uint_eq(pci_config_u32(&c, 2), 0x66554433);
        ck_assert_uint_eq(pci_config_u32(&c, 6), 0xffff8877); /* half of it was never read */
}
END_TEST

static const struct {
        uint32_t id, command;
        PciLiveness liveness;
        const char *name;
} liveness_cases[] = {
        { 0x10d38086, 0x00100006, PCI_LIVENESS_ALIVE, "alive" },
        { 0xffffffff, 0xffffffff, PCI_LIVENESS_ABSENT, "absent" },
        { 0xffffffff, 0x00100000, PCI_LIVENESS_ALIVE, "alive" }, /* a VF */
        { 0xffff0001, 0xffffffff, PCI_LIVENESS_RRS, "not-ready" },
        { 0x12340001, 0x00000000, PCI_LIVENESS_RRS, "not-ready" },
};

START_TEST(liveness_is_told_from_two_registers) {
        Image image = { .size = 4096 };
        PciConfigFacts f;
        PciConfig c;

        memset(image.bytes, 0xff, sizeof(image.bytes));
        image_put32(&image, 0, liveness_cases[_i].id);
        image_put32(&image, 4, liveness_cases[_i].command);
        /* A function that is not there is asked for nothing but its header. */
        if (liveness_cases[_i].liveness != PCI_LIVENESS_ALIVE)
                ck_assert_uint_eq(image_read(&image, &c), 1);
        else
                (void) image_read(&image, &c);
        ck_assert_int_eq(pci_config_liveness(&c), liveness_cases[_i].liveness);
        ck_assert_str_eq(pci_liveness_to_string(liveness_cases[_i].liveness),
                         liveness_cases[_i].name);
        pci_config_decode(&c, &f);
        ck_assert_int_eq(f.liveness, liveness_cases[_i].liveness);
        ck_assert_uint_eq(f.n_caps, 0);
        ck_assert_uint_eq(f.n_extended_caps, 0);
        ck_assert(!f.has_aer && !f.has_acs && !f.has_sriov && !f.flr && !f.has_pasid);
        ck_assert_int_eq(f.pcie_type, PCIE_NONE);
}
END_TEST

typedef struct ListCase {
        const char *what;
        struct { uint8_t at, id, next; } caps[6];
        uint8_t first;
        unsigned n;
        bool truncated;
} ListCase;

static const ListCase lists[] = {
        { "none", { { 0 } }, 0, 0, false },
        { "one", { { 0x40, 5, 0 } }, 0x40, 1, false },
        { "three, out of order",
          { { 0x80, 5, 0x40 }, { 0x40, 1, 0xf8 }, { 0xf8, 9, 0 } },
          0x80,
          3,
          false },
        { "low bits of pointers are ignored",
          { { 0x40, 5, 0x53 }, { 0x50, 1, 3 } },
          0x42,
          2,
          false },
        { "loop on itself", { { 0x40, 5, 0x40 } }, 0x40, 1, true },
        { "loop of two", { { 0x40, 5, 0x50 }, { 0x50, 1, 0x40 } }, 0x40, 2, true },
        { "loop behind the first",
          { { 0x40, 5, 0x50 }, { 0x50, 1, 0x60 }, { 0x60, 9, 0x50 } },
          0x40,
          3,
          true },
        { "into the header", { { 0x40, 5, 0x3c } }, 0x40, 1, true },
        { "starts in the header", { { 0 } }, 0x10, 0, true },
        { "all-ones at the start", { { 0x40, 0xff, 0xff } }, 0x40, 0, true },
        { "all-ones later", { { 0x40, 5, 0x50 }, { 0x50, 0xff, 0xff } }, 0x40, 1, true },
        { "a null one is passed over", { { 0x40, 0, 0x50 }, { 0x50, 5, 0 } }, 0x40, 1, false },
        { "the last dword", { { 0xfc, 5, 0 } }, 0xfc, 1, false },
};

START_TEST(capability_lists_end) {
        const ListCase *k = &lists[_i];
        PciConfigFacts f;
        Image image;

        image_init(&image, 256, k->first);
        for (size_t i = 0; i < ELEMENTSOF(k->caps) && k->caps[i].at; i++)
                image_capability(&image, k->caps[i].at, k->caps[i].id, k->caps[i].next);
        decode(&image, &f);
        ck_assert_msg(f.n_caps == k->n && f.truncated == k->truncated, "%s: %u, %d", k->what,
                      f.n_caps, f.truncated);
        ck_assert(!f.incomplete);
}
END_TEST

START_TEST(a_list_of_all_offsets_is_bounded) {
        PciConfigFacts f;
        PciConfig c;
        Image image;

        image_init(&image, 256, 0x40);
        for (unsigned at = 0x40; at < 0x100; at += 4)
                image_capability(&image, at, 9, (uint8_t) (at + 4));
        ck_assert_uint_le(image_read(&image, &c), PCI_CONFIG_WALK_MAX + 1);
        pci_config_decode(&c, &f);
        ck_assert_uint_eq(f.n_caps, PCI_CAPS_MAX);
        ck_assert(f.truncated);
        ck_assert_uint_eq(pci_config_find(&c, 9, PCI_CONFIG_WALK_MAX - 1), 0xfc);
        ck_assert_uint_eq(pci_config_find(&c, 9, PCI_CONFIG_WALK_MAX), 0);
        ck_assert_uint_eq(pci_config_find(&c, 8, 0), 0);
}
END_TEST

START_TEST(an_extended_list_of_all_offsets_is_bounded) {
        PciConfigFacts f;
        PciConfig c;
        Image image;

        image_init(&image, 4096, 0);
        for (unsigned at = 0x100; at < 0x1000; at += 4)
                image_extended(&image, at, 0xbeef, (uint16_t) (at + 4 < 0x1000 ? at + 4 : 0x100));
        ck_assert_uint_le(image_read(&image, &c), PCI_CONFIG_EXTENDED_MAX + 1);
        pci_config_decode(&c, &f);
        ck_assert_uint_eq(f.n_extended_caps, PCI_EXTENDED_CAPS_MAX);
        ck_assert(f.truncated);
        ck_assert_uint_eq(pci_config_find_extended(&c, 0xbeef, 3), 0x10c);
}
END_TEST

static const struct {
        const char *what;
        uint32_t headers[3]; /* at 100h, 140h, 180h */
        unsigned n;
        bool truncated;
} extended_lists[] = {
        { "empty", { 0 }, 0, false },
        { "all-ones", { 0xffffffff }, 0, true },
        { "one", { 0x00010003 }, 1, false },
        { "two", { 0x14010001, 0x00010003 }, 2, false },
        { "loop", { 0x14010001, 0x10010003 }, 2, true },
        { "below its range", { 0x0f010001 }, 1, true },
        { "a null one leads on", { 0x14010000, 0x00010003 }, 1, false },
        { "low bits are ignored", { 0x14310001, 0x00010003 }, 2, false },
        { "the end of the range", { 0xffc10001 }, 1, false },
};

START_TEST(extended_lists_end) {
        PciConfigFacts f;
        Image image;

        image_init(&image, 4096, 0x40);
        image_express(&image, PCIE_ENDPOINT);
        for (unsigned i = 0; i < 3; i++)
                image_put32(&image, 0x100 + 0x40 * i, extended_lists[_i].headers[i]);
        decode(&image, &f);
        /* A DSN or AER without a register in it is there, and broken or empty blocks do not
         * count as such. */
        ck_assert_msg(f.n_extended_caps == extended_lists[_i].n &&
                              f.truncated == extended_lists[_i].truncated,
                      "%s: %u, %d", extended_lists[_i].what, f.n_extended_caps, f.truncated);
}
END_TEST

/* Extended space is never looked at in an image of 256 bytes, nor caps behind 64. */
START_TEST(short_images_are_not_read_beyond) {
        PciConfigFacts f;
        PciConfig c;
        Image image;

        image_init(&image, 64, 0x40);
        ck_assert_uint_eq(image_read(&image, &c), 1);
        pci_config_decode(&c, &f);
        ck_assert(f.incomplete);
        ck_assert_uint_eq(f.n_caps, 0);
        image_init(&image, 256, 0x40);
        image_express(&image, PCIE_ENDPOINT);
        (void) image_read(&image, &c);
        pci_config_decode(&c, &f);
        ck_assert(!f.incomplete && !f.truncated);
        ck_assert_int_eq(f.pcie_type, PCIE_ENDPOINT);
        ck_assert_uint_eq(pci_config_find_extended(&c, 1, 0), 0);
}
END_TEST

/* A PCI Express capability whose registers would lie beyond 256 must not be decoded from
 * extended space. */
START_TEST(a_capability_stays_in_its_space) {
        PciConfigFacts f;
        PciConfig c;
        Image image;

        image_init(&image, 4096, 0xfc);
        image_capability(&image, 0xfc, 0x10, 0);
        image_put16(&image, 0xfe, 0x0042);
        image_put32(&image, 0x100, 0x00010003);
        image_put32(&image, 0x104, 0x10000000);
        (void) image_read(&image, &c);
        pci_config_decode(&c, &f);
        ck_assert(f.truncated);
        ck_assert(!f.flr);
        ck_assert_int_eq(f.pcie_type, PCIE_NONE);
}
END_TEST

/* Each capability whose registers read all-ones is left out, and the picture is said to have
 * holes. */
START_TEST(a_function_that_vanishes_supports_nothing) {
        static const uint16_t ids[] = {
                0x01, 0x03, 0x0d, 0x0f, 0x10, 0x13, 0x15, 0x1b, 0x1d, 0x23
        };

        for (size_t i = 0; i < ELEMENTSOF(ids); i++) {
                PciConfigFacts f;
                Image image;

                image_init(&image, 4096, 0x40);
                image_express(&image, PCIE_ENDPOINT);
                memset(image.bytes + 0x104, 0xff, sizeof(image.bytes) - 0x104);
                image_extended(&image, 0x100, ids[i], 0);
                decode(&image, &f);
                ck_assert_msg(f.truncated, "capability %x", ids[i]);
                ck_assert(!f.has_aer && !f.has_dsn && !f.has_acs && !f.has_ats && !f.has_sriov);
                ck_assert(!f.has_pri && !f.has_pasid && !f.has_dpc && !f.n_rebar && !f.n_dvsec);
        }
}
END_TEST

START_TEST(every_cut_of_an_image_is_decoded) {
        Image whole;

        image_init(&whole, 4096, 0x40);
        image_express(&whole, PCIE_ROOT_PORT);
        image_put16(&whole, 0x42, 0x0142);
        image_extended(&whole, 0x100, 0x01, 0x140);
        image_extended(&whole, 0x140, 0x0d, 0xff0);
        image_extended(&whole, 0xff0, 0x1d, 0);
        for (size_t size = 0; size <= 4100; size++) {
                PciConfigFacts f;
                Image cut = whole;

                cut.size = size & ~(size_t) 3;
                decode(&cut, &f);
                ck_assert_uint_le(f.size, 4096);
                if (size >= 4096)
                        ck_assert(f.has_aer && f.has_aer_root && f.has_acs && f.has_dpc &&
                                  !f.truncated);
        }
}
END_TEST

START_TEST(express_registers_depend_on_the_type) {
        static const struct {
                unsigned type;
                bool link, slot, root;
        } cases[] = {
                { PCIE_ENDPOINT, true, false, false },
                { PCIE_LEGACY_ENDPOINT, true, false, false },
                { PCIE_ROOT_PORT, true, true, true },
                { PCIE_UPSTREAM_PORT, true, false, false },
                { PCIE_DOWNSTREAM_PORT, true, true, false },
                { PCIE_TO_PCI_BRIDGE, true, false, false },
                { PCIE_RC_ENDPOINT, false, false, false },
                { PCIE_RC_EVENT_COLLECTOR, false, false, true },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PciConfigFacts f;
                Image image;

                image_init(&image, 256, 0x40);
                image_express(&image, cases[i].type);
                image.bytes[0x43] |= 1; /* Slot Implemented */
                image_put32(&image, 0x44, 0x10000000);
                image_put16(&image, 0x48, 0x2810);
                image_put32(&image, 0x4c, 0x00180c83);
                image_put16(&image, 0x52, 0x2083);
                image_put32(&image, 0x54, 0x0028007f);
                image_put16(&image, 0x5a, 0x0040);
                image_put32(&image, 0x5c, 0x00010010);
                image_put32(&image, 0x64, 0x00200000);
                decode(&image, &f);
                ck_assert_int_eq(f.pcie_type, (int) cases[i].type);
                ck_assert(f.flr);
                ck_assert_uint_eq(f.device_control, 0x2810);
                ck_assert_uint_eq(f.device_capabilities2, 0x00200000);
                ck_assert_uint_eq(f.link_capabilities, cases[i].link ? 0x00180c83 : 0);
                ck_assert_uint_eq(f.link_status, cases[i].link ? 0x2083 : 0);
                ck_assert_int_eq(f.slot_implemented, cases[i].slot);
                ck_assert_uint_eq(f.slot_capabilities, cases[i].slot ? 0x0028007f : 0);
                ck_assert_uint_eq(f.physical_slot, cases[i].slot ? 5 : 0);
                ck_assert_uint_eq(f.root_control, cases[i].root ? 0x10 : 0);
                ck_assert_uint_eq(f.root_capabilities, cases[i].root ? 1 : 0);
                ck_assert(!f.truncated && !f.incomplete);
        }
}
END_TEST

START_TEST(resizable_bars_are_decoded) {
        PciConfigFacts f;
        Image image;

        image_init(&image, 4096, 0);
        image_extended(&image, 0x100, 0x15, 0);
        image_put32(&image, 0x104, 0x0003fff0);
        image_put32(&image, 0x108, 0x00000840); /* two BARs; BAR 0, 256 MiB */
        image_put32(&image, 0x10c, 0x00000070);
        image_put32(&image, 0x110, 0x00000002); /* BAR 2, 1 MiB */
        decode(&image, &f);
        ck_assert_uint_eq(f.n_rebar, 2);
        ck_assert_uint_eq(f.rebar[0].bar, 0);
        ck_assert_uint_eq(f.rebar[0].size_exponent, 28);
        ck_assert_uint_eq(f.rebar[0].sizes, 0x3fff);
        ck_assert_uint_eq(f.rebar[1].bar, 2);
        ck_assert_uint_eq(f.rebar[1].size_exponent, 20);
        ck_assert_uint_eq(f.rebar[1].sizes, 7);
        /* seven of them, one with an index that no BAR has */
        image_put32(&image, 0x108, 0x000000e7);
        decode(&image, &f);
        ck_assert_uint_le(f.n_rebar, PCI_REBAR_MAX);
        ck_assert(f.truncated);
}
END_TEST

START_TEST(designated_vendor_capabilities_are_decoded) {
        PciConfigFacts f;
        Image image;

        image_init(&image, 4096, 0);
        for (unsigned i = 0; i < PCI_DVSEC_MAX + 2; i++) {
                unsigned at = 0x100 + 0x40 * i;

                image_extended(&image, at, 0x23,
                               (uint16_t) (i == PCI_DVSEC_MAX + 1 ? 0 : at + 0x40));
                image_put32(&image, at + 4, i == 3 ? 0x01801e2c : 0x03811e98);
                image_put32(&image, at + 8, i == 0 ? 0x00050000 : i == 1 ? 7 : 3);
                image_put32(&image, at + 12, i == 0 ? 4 : 0x00060000);
        }
        decode(&image, &f);
        ck_assert_uint_eq(f.n_dvsec, PCI_DVSEC_MAX);
        ck_assert(f.truncated && f.is_cxl && f.is_ccix);
        ck_assert_uint_eq(f.cxl_capabilities, 5);
        ck_assert_uint_eq(f.cxl_control, 4);
        ck_assert_uint_eq(f.cxl_flexbus_status, 6);
        ck_assert_uint_eq(f.dvsec[1].vendor, 0x1e98);
        ck_assert_uint_eq(f.dvsec[1].id, 7);
        ck_assert_uint_eq(f.dvsec[1].revision, 1);
}
END_TEST

START_TEST(the_first_of_doubles_counts) {
        PciConfigFacts f;
        Image image;

        image_init(&image, 4096, 0x40);
        image_express(&image, PCIE_ENDPOINT);
        image_capability(&image, 0x40, 0x10, 0x80);
        image_capability(&image, 0x80, 0x10, 0);
        image_put16(&image, 0x82, 0x0092);
        image_extended(&image, 0x100, 0x0d, 0x140);
        image_put32(&image, 0x104, 0x001d005f);
        image_extended(&image, 0x140, 0x0d, 0);
        image_put32(&image, 0x144, 0x00000001);
        decode(&image, &f);
        ck_assert_int_eq(f.pcie_type, PCIE_ENDPOINT);
        ck_assert_uint_eq(f.acs_capabilities, 0x5f);
        ck_assert_uint_eq(f.acs_control, 0x1d);
        ck_assert_uint_eq(f.n_caps, 2);
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_test(tcase, only_whole_dwords_are_stored);
        tcase_add_test(tcase, sizes_are_bounded);
        tcase_add_test(tcase, values_are_little_endian);
        ADD_TABLE(tcase, liveness_is_told_from_two_registers, liveness_cases);
        ADD_TABLE(tcase, capability_lists_end, lists);
        tcase_add_test(tcase, a_list_of_all_offsets_is_bounded);
        tcase_add_test(tcase, an_extended_list_of_all_offsets_is_bounded);
        ADD_TABLE(tcase, extended_lists_end, extended_lists);
        tcase_add_test(tcase, short_images_are_not_read_beyond);
        tcase_add_test(tcase, a_capability_stays_in_its_space);
        tcase_add_test(tcase, a_function_that_vanishes_supports_nothing);
        tcase_add_test(tcase, every_cut_of_an_image_is_decoded);
        tcase_add_test(tcase, express_registers_depend_on_the_type);
        tcase_add_test(tcase, resizable_bars_are_decoded);
        tcase_add_test(tcase, designated_vendor_capabilities_are_decoded);
        tcase_add_test(tcase, the_first_of_doubles_counts);
}

UNIT_MAIN("pci-config", add_tests);
