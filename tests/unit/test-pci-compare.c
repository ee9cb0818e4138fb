/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pci/compare: recorded configuration spaces with one bit changed at a time: a bit that the table
 * says changes by itself makes no difference, any other bit that is read makes one. And what
 * hostile or dead hardware shows, base addresses against the kernel's, and the table of the manual.
 */

#include <fcntl.h>

#include "base/strutil.h"
#include "pci/compare.h"

#include "pci-image.h"
#include "unit.h"

static char *top_path(const char *name) {
        const char *top = getenv("top_srcdir");

        return strjoinf("%s/%s", top ? top : ".", name);
}

static const char *const recorded[] = { "nvme-sriov", "e1000e", "edu", "virtio-net-ats",
                                        "made-accelerator" };

static void load(const char *name, PciConfig *ret) {
        _cleanup_free_ char *relative = strjoinf("tests/data/config/%s.txt", name);
        _cleanup_free_ char *path = top_path(relative);
        static Image image;

        image_load(&image, path);
        (void) image_read(&image, ret);
}

static size_t differences(const PciConfig *a, const PciConfig *b) {
        PciComparison c = {};

        pci_config_compare(a, b, &c);
        return c.n + c.n_dropped;
}

START_TEST(equal_to_itself) {
        static PciConfig c;
        PciComparison found = {};
        _cleanup_free_ char *text = NULL;

        load(recorded[_i], &c);
        pci_config_compare(&c, &c, &found);
        ck_assert_uint_eq(found.n, 0);
        ck_assert_uint_gt(found.n_compared, 8);
        text = pci_comparison_to_string(&found);
        ck_assert_ptr_nonnull(strstr(text, "nothing differs in "));
}
END_TEST

static void flip(PciConfig *c, uint16_t offset, unsigned bit) {
        c->bytes[offset + bit / 8] ^= (uint8_t) (1U << bit % 8);
}

/* The mask of a dword, found by flipping each of its bits. */
static uint32_t mask_of(const PciConfig *c, uint16_t offset) {
        static PciConfig changed;
        uint32_t mask = 0;

        for (unsigned bit = 0; bit < 32; bit++) {
                changed = *c;
                flip(&changed, offset, bit);
                mask |= differences(c, &changed) > 0 ? UINT32_C(1) << bit : 0;
        }
        return mask;
}

/* Does another capability begin between the start of one and the offset? */
static bool is_others(const PciConfig *c, uint16_t start, uint16_t offset) {
        if ((start < PCI_CONFIG_SIZE) != (offset < PCI_CONFIG_SIZE))
                return true;
        for (unsigned id = 1; id < 0x40; id++) {
                uint16_t other = offset < PCI_CONFIG_SIZE
                                         ? pci_config_find(c, (uint8_t) id, 0)
                                         : pci_config_find_extended(c, (uint16_t) id, 0);

                if (other > start && other <= offset)
                        return true;
        }
        return false;
}

static const PciVolatile *row_of(const PciConfig *c, uint16_t offset) {
        for (size_t i = 0; i < pci_volatile_table_size; i++) {
                const PciVolatile *v = pci_volatile_table + i;
                uint16_t start = v->kind == 'c'   ? pci_config_find(c, (uint8_t) v->id, 0)
                                 : v->kind == 'e' ? pci_config_find_extended(c, v->id, 0)
                                                  : 0;

                if ((v->kind == 'h' || start > 0) && offset == start + v->offset &&
                    (v->kind == 'h' || !is_others(c, start, offset)))
                        return v;
        }
        return NULL;
}

START_TEST(each_row_lets_exactly_its_bits_change) {
        static PciConfig c;
        size_t rows = 0;

        load(recorded[_i], &c);
        for (uint16_t offset = 0; offset + 4U <= c.size; offset = (uint16_t) (offset + 4)) {
                const PciVolatile *v = pci_config_has(&c, offset, 4) ? row_of(&c, offset) : NULL;

                if (!v)
                        continue;
                rows++;
                ck_assert_msg(mask_of(&c, offset) == v->mask,
                              "%s at %03x: %08x, the table says %08x", v->name, offset,
                              mask_of(&c, offset), v->mask);
        }
        ck_assert_uint_gt(rows, 8);
}
END_TEST

/* Identity, Device Control, subsystem: what an owner or a broken card changes is seen. */
START_TEST(what_must_not_change_is_named) {
        static PciConfig was, is;
        PciComparison found = {};
        _cleanup_free_ char *text = NULL;
        uint16_t express;

        load("nvme-sriov", &was);
        is = was;
        express = pci_config_find(&was, 0x10, 0);
        ck_assert_uint_gt(express, 0);
        flip(&is, 0x00, 0);
        flip(&is, 0x2c, 5);
        flip(&is, (uint16_t) (express + 8), 11);
        pci_config_compare(&was, &is, &found);
        ck_assert_uint_eq(found.n, 3);
        text = pci_comparison_to_string(&found);
        ck_assert_ptr_nonnull(strstr(text, "header + 00h at 0x000 is 0x"));
        ck_assert_ptr_nonnull(strstr(text, "header + 2ch at 0x02c is 0x"));
        ck_assert_ptr_nonnull(strstr(text, "Device Status at 0x"));
}
END_TEST

START_TEST(what_does_not_answer_is_not_equal) {
        static PciConfig was, is;
        PciComparison found = {};
        _cleanup_free_ char *text = NULL;
        uint8_t ones[64];

        load(recorded[_i], &was);
        memset(ones, 0xff, sizeof(ones));
        pci_config_init(&is, was.size);
        ck_assert_int_eq(pci_config_set(&is, 0, ones, sizeof(ones)), 0);
        pci_config_compare(&was, &is, &found);
        ck_assert_uint_gt(found.n, 8);
        ck_assert(found.n_dropped == 0 || found.n == PCI_DIFFERENCES_MAX);
        text = pci_comparison_to_string(&found);
        ck_assert((strstr(text, " more") != NULL) == (found.n_dropped > 0));
        /* An empty reference has nothing to say. */
        pci_config_init(&was, 4096);
        ck_assert_uint_eq(differences(&was, &is), 0);
}
END_TEST

/* ---- base addresses ---- */

static const struct {
        uint32_t bars[6];
        const char *resource;
        size_t n;
        int r;
        const char *name;
} bars[] = {
        { { 0xfe000000 },
          "0x00000000fe000000 0x00000000fe003fff 0x0000000000040200\n",
          0,
          0,
          NULL },
        { { 0 }, "0x00000000fe000000 0x00000000fe003fff 0x0000000000040200\n", 1, 0, "BAR 0" },
        { { 0xfe00000c, 0x38 },
          "0x00000038fe000000 0x00000038fe003fff 0x000000000014220c\n"
          "0x0000000000000000 0x0000000000000000 0x0000000000000000\n",
          0,
          0,
          NULL },
        { { 0xfe00000c, 0x39 },
          "0x00000038fe000000 0x00000038fe003fff 0x000000000014220c\n",
          1,
          0,
          "BAR 0" },
        { { 0, 0xc041 },
          "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
          "0x000000000000c040 0x000000000000c05f 0x0000000000040101\n",
          0,
          0,
          NULL },
        { { 0, 0xc081 },
          "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
          "0x000000000000c040 0x000000000000c05f 0x0000000000040101\n",
          1,
          0,
          "BAR 1" },
        /* Not assigned: the kernel says only how large it is. */
        { { 0x1234 }, "0x0000000000000000 0x0000000000003fff 0x0000000020040200\n", 0, 0, NULL },
        { { 0 }, "", 0, 0, NULL },
        { { 0 }, "rubbish\n", 0, -EBADMSG, NULL },
        { { 0 }, "0xfe000000 0xfe003fff\n", 0, -EBADMSG, NULL },
        { { 0 }, "0xffffffffffffffffff 0x0 0x0\n", 0, -EBADMSG, NULL },
};

START_TEST(base_addresses_are_the_kernels) {
        Image image;
        PciConfig c;
        PciComparison found = {};

        image_init(&image, 256, 0);
        for (unsigned i = 0; i < 6; i++)
                image_put32(&image, 0x10 + 4 * i, bars[_i].bars[i]);
        (void) image_read(&image, &c);
        ck_assert_int_eq(pci_config_compare_bars(&c, bars[_i].resource, &found), bars[_i].r);
        ck_assert_uint_eq(found.n, bars[_i].n);
        if (bars[_i].name)
                ck_assert_str_eq(found.list[0].name, bars[_i].name);
}
END_TEST

/* Each row stands in the manual with its mask. */
START_TEST(the_manual_has_the_table) {
        _cleanup_free_ char *path = top_path("daemon/pciassignd.8.rst"), *text = NULL;

        ck_assert_int_ge(read_file_at(AT_FDCWD, path, 1U << 20, &text, NULL), 0);
        for (size_t i = 0; i < pci_volatile_table_size; i++) {
                const PciVolatile *v = pci_volatile_table + i;
                _cleanup_free_
                char *part = strjoinf("+ %02xh", v->offset), *mask = strjoinf(" %08x ", v->mask);
                bool there = false;

                for (const char *line = strstr(text, v->name); line && !there;
                     line = strstr(line + 1, v->name)) {
                        const char *begin = line;
                        _cleanup_free_ char *row = NULL;

                        while (begin > text && begin[-1] != '\n')
                                begin--;
                        row = strndup(begin, strcspn(begin, "\n"));
                        there = strstr(row, part) && strstr(row, mask) && strstr(row, v->why);
                }
                ck_assert_msg(there, "the manual has no row %s %s", part, v->name);
        }
}
END_TEST

static void add_tests(TCase *tcase) {
        ADD_TABLE(tcase, equal_to_itself, recorded);
        ADD_TABLE(tcase, each_row_lets_exactly_its_bits_change, recorded);
        tcase_add_test(tcase, what_must_not_change_is_named);
        ADD_TABLE(tcase, what_does_not_answer_is_not_equal, recorded);
        ADD_TABLE(tcase, base_addresses_are_the_kernels, bars);
        tcase_add_test(tcase, the_manual_has_the_table);
}

UNIT_MAIN("pci-compare", add_tests);
