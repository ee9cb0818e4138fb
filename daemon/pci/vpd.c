/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Vital Product Data (PCI Local Bus Specification 3.0, appendix I): a chain of resources, large
 * ones (tag bit 7, a 16-bit length) and small ones (length in the tag), of which VPD-R holds fields
 * of a two-character keyword, a length byte and data. Cards in the field carry VPD that is
 * all-ones, all-zeros, cut short or plainly wrong; what was found before the damage counts, and
 * nothing is read beyond the bytes at hand.
 */

#include <assert.h>

#include "base/strutil.h"
#include "pci/facts.h"

#define VPD_LARGE 0x80
#define VPD_TAG_END 0x0f    /* small */
#define VPD_TAG_ID 0x82     /* large: identifier string */
#define VPD_TAG_READ 0x90   /* large: VPD-R */
#define VPD_TAG_WRITE 0x91  /* large: VPD-W */

/* A serial number as text: blanks around it cut, every byte printable ASCII. */
static int serial_from_field(const uint8_t *data, size_t n, char **ret) {
        char *copy;

        while (n > 0 && (data[n - 1] == ' ' || data[n - 1] == 0))
                n--;
        while (n > 0 && data[0] == ' ') {
                data++;
                n--;
        }
        if (n == 0)
                return -ENODATA;
        for (size_t i = 0; i < n; i++)
                if (data[i] < ' ' || data[i] > '~')
                        return -EBADMSG;
        copy = strndup((const char *) data, n);
        if (!copy)
                return -ENOMEM;
        *ret = copy;
        return 0;
}

static int serial_from_fields(const uint8_t *data, size_t n, char **ret) {
        size_t i = 0;

        while (n - i >= 3) {
                size_t length = data[i + 2];

                if (length > n - i - 3)
                        return -EBADMSG;
                if (data[i] == 'S' && data[i + 1] == 'N')
                        return serial_from_field(data + i + 3, length, ret);
                i += 3 + length;
        }
        return -ENODATA;
}

int pci_vpd_serial(const uint8_t *data, size_t n, char **ret) {
        size_t i = 0;

        assert(data || n == 0);
        assert(ret);
        while (i < n) {
                size_t header, length;
                uint8_t tag = data[i];

                if (tag & VPD_LARGE) {
                        if (n - i < 3)
                                return -EBADMSG;
                        header = 3;
                        length = data[i + 1] | (size_t) data[i + 2] << 8;
                        if (tag != VPD_TAG_ID && tag != VPD_TAG_READ && tag != VPD_TAG_WRITE)
                                return -EBADMSG;
                } else {
                        header = 1;
                        length = tag & 7;
                        if (tag >> 3 == VPD_TAG_END)
                                return -ENODATA;
                        if (tag == 0)
                                return i == 0 ? -ENODATA : -EBADMSG;
                }
                if (length > n - i - header)
                        return -EBADMSG;
                if (tag == VPD_TAG_READ) {
                        int r = serial_from_fields(data + i + header, length, ret);

                        if (r != -ENODATA)
                                return r;
                }
                i += header + length;
        }
        return -ENODATA;
}
