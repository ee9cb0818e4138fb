/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pci/address: what is an address and what is not, and that text and value go round.
 */

#include "pci/address.h"

#include "unit.h"

static const struct {
        const char *text;
        int r, r_short;
        PciAddress address;
        const char *canonical;
} cases[] = {
        { "0000:00:00.0", 0, 0, { 0, 0, 0, 0 }, "0000:00:00.0" },
        { "0000:41:1f.7", 0, 0, { 0, 0x41, 31, 7 }, "0000:41:1f.7" },
        { "0000:AB:0C.1", 0, 0, { 0, 0xab, 12, 1 }, "0000:ab:0c.1" },
        { "10000:e1:00.0", 0, 0, { 0x10000, 0xe1, 0, 0 }, "10000:e1:00.0" },
        { "ffffffff:ff:1f.7", 0, 0, { UINT32_MAX, 0xff, 31, 7 }, "ffffffff:ff:1f.7" },
        { "00010000:00:00.0", 0, 0, { 0x10000, 0, 0, 0 }, "10000:00:00.0" },
        { "41:00.0", -EINVAL, 0, { 0, 0x41, 0, 0 }, "0000:41:00.0" },
        { "00:1f.3", -EINVAL, 0, { 0, 0, 31, 3 }, "0000:00:1f.3" },
        { NULL, -EINVAL, -EINVAL, {}, NULL },
        { "", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:00.8", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:20.0", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:00", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:00.", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:00.0 ", -EINVAL, -EINVAL, {}, NULL },
        { " 0000:00:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:00.0\n", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:00.00", -EINVAL, -EINVAL, {}, NULL },
        { "000:00:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "100000000:00:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "0000:0:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "0000:000:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:0.0", -EINVAL, -EINVAL, {}, NULL },
        { "0000:g0:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "0x00:00:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "-000:00:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "0000:00:00.0/../../x", -EINVAL, -EINVAL, {}, NULL },
        { "../0000:00:00.0", -EINVAL, -EINVAL, {}, NULL },
        { "1:41:00.0", -EINVAL, -EINVAL, {}, NULL },
};

START_TEST(address_is_parsed_whole_or_refused) {
        const PciAddress untouched = { 1, 2, 3, 4 };
        PciAddress a = untouched;

        ck_assert_int_eq(pci_address_parse(cases[_i].text, &a), cases[_i].r);
        ck_assert(pci_address_equal(a, cases[_i].r < 0 ? untouched : cases[_i].address));
        a = untouched;
        ck_assert_int_eq(pci_address_parse_short(cases[_i].text, &a), cases[_i].r_short);
        ck_assert(pci_address_equal(a, cases[_i].r_short < 0 ? untouched : cases[_i].address));
        if (cases[_i].canonical)
                ck_assert_str_eq(PCI_ADDRESS_TEXT(cases[_i].address), cases[_i].canonical);
}
END_TEST

START_TEST(address_goes_round) {
        static const uint32_t domains[] = { 0, 1, 0xfff, 0xffff, 0x10000, 0xabcdef0, UINT32_MAX };

        for (size_t d = 0; d < ELEMENTSOF(domains); d++)
                for (unsigned bus = 0; bus < 256; bus += 5)
                        for (unsigned devfn = 0; devfn < 256; devfn++) {
                                PciAddress a = { domains[d], (uint8_t) bus, (uint8_t) (devfn >> 3),
                                                 (uint8_t) (devfn & 7) };
                                PciAddress b = {};

                                ck_assert_int_eq(pci_address_parse(PCI_ADDRESS_TEXT(a), &b), 0);
                                ck_assert(pci_address_equal(a, b));
                                ck_assert_int_eq(pci_address_compare(a, b), 0);
                        }
}
END_TEST

START_TEST(addresses_are_ordered) {
        static const PciAddress ordered[] = {
                { 0, 0, 0, 0 },
                { 0, 0, 0, 1 },
                { 0, 0, 1, 0 },
                { 0, 0, 31, 7 },
                { 0, 1, 0, 0 },
                { 0, 255, 31, 7 },
                { 1, 0, 0, 0 },
                { 0xffff, 255, 31, 7 },
                { 0x10000, 0, 0, 0 },
                { UINT32_MAX, 0, 0, 0 },
                { UINT32_MAX, 255, 31, 7 },
        };

        for (size_t i = 0; i < ELEMENTSOF(ordered); i++)
                for (size_t k = 0; k < ELEMENTSOF(ordered); k++) {
                        int expected = i < k ? -1 : i > k;

                        ck_assert_int_eq(pci_address_compare(ordered[i], ordered[k]), expected);
                        ck_assert_int_eq(pci_address_key(ordered[i]) == pci_address_key(ordered[k]),
                                         i == k);
                }
}
END_TEST

/* A structure that somebody filled with nonsense must not write beyond its text. */
START_TEST(formatting_stays_in_its_buffer) {
        PciAddress a = { UINT32_MAX, 255, 255, 255 };

        ck_assert_str_eq(PCI_ADDRESS_TEXT(a), "ffffffff:ff:1f.7");
}
END_TEST

static void add_tests(TCase *tcase) {
        ADD_TABLE(tcase, address_is_parsed_whole_or_refused, cases);
        tcase_add_test(tcase, address_goes_round);
        tcase_add_test(tcase, addresses_are_ordered);
        tcase_add_test(tcase, formatting_stays_in_its_buffer);
}

UNIT_MAIN("pci-address", add_tests);
