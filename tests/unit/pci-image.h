/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Configuration space for tests: a device that answers reads, as a worker meets it, and the walk
 * that reads of it what the decoder wants. Images are built by hand or loaded from text as in
 * tests/data/config ("size N", then rows "OFFSET: 16 bytes", all in hex; what is left out is zero).
 */

#include <check.h>

#include "base/fdio.h"
#include "pci/config.h"

#define IMAGE_READS_MAX 2048U

typedef struct Image {
        uint8_t bytes[PCI_CONFIG_SIZE_EXTENDED];
        size_t size;
} Image;

static inline void image_put16(Image *i, size_t offset, uint16_t v) {
        ck_assert_uint_le(offset + 2, sizeof(i->bytes));
        i->bytes[offset] = (uint8_t) v;
        i->bytes[offset + 1] = (uint8_t) (v >> 8);
}

static inline void image_put32(Image *i, size_t offset, uint32_t v) {
        image_put16(i, offset, (uint16_t) v);
        image_put16(i, offset + 2, (uint16_t) (v >> 16));
}

/* A function with a header and a capability list that starts at `first` (0: none). */
static inline void image_init(Image *i, size_t size, uint8_t first) {
        *i = (Image) { .size = size };
        image_put32(i, 0x00, 0x10d38086);
        image_put16(i, 0x04, 0x0006);
        image_put16(i, 0x06, first ? 0x0010 : 0);
        image_put32(i, 0x08, 0x02000001);
        i->bytes[0x34] = first;
}

static inline void image_capability(Image *i, size_t offset, uint8_t id, uint8_t next) {
        i->bytes[offset] = id;
        i->bytes[offset + 1] = next;
}

static inline void image_extended(Image *i, size_t offset, uint16_t id, uint16_t next) {
        image_put32(i, offset, id | 1U << 16 | (uint32_t) next << 20);
}

/* A PCI Express capability (version 2) of a type at 0x40, ending the list. */
static inline void image_express(Image *i, unsigned type) {
        image_capability(i, 0x40, 0x10, 0);
        image_put16(i, 0x42, (uint16_t) (2 | type << 4));
}

/* Reads what is wanted until nothing is; the number of reads. Checks that each range is in the
 * image, whole dwords, and was not wanted before. */
static inline unsigned image_read(const Image *i, PciConfig *c) {
        size_t offset, n;
        unsigned reads = 0;

        pci_config_init(c, i->size);
        while (pci_config_want(c, &offset, &n)) {
                ck_assert_uint_lt(reads++, IMAGE_READS_MAX);
                ck_assert_uint_gt(n, 0);
                ck_assert_uint_eq(offset % 4, 0);
                ck_assert_uint_eq(n % 4, 0);
                ck_assert_uint_le(offset + n, i->size);
                ck_assert(!pci_config_has(c, offset, 4));
                ck_assert_int_eq(pci_config_set(c, offset, i->bytes + offset, n), 0);
        }
        return reads;
}

static inline void image_load(Image *i, const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        char line[256];

        ck_assert_msg(f, "cannot open %s", path);
        *i = (Image) {};
        while (fgets(line, sizeof(line), f)) {
                char *p = line;
                unsigned long offset;

                if (strncmp(line, "size ", 5) == 0)
                        i->size = strtoul(line + 5, NULL, 10);
                if (line[0] == '#' || line[strcspn(line, " :")] != ':')
                        continue;
                offset = strtoul(p, &p, 16);
                ck_assert_int_eq(*p++, ':');
                for (unsigned k = 0; k < 16; k++) {
                        ck_assert_uint_lt(offset + k, i->size);
                        i->bytes[offset + k] = (uint8_t) strtoul(p, &p, 16);
                }
        }
}
