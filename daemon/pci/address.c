/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The text form of a PCI address. Parsing accepts exactly what the kernel prints
 * ("%04x:%02x:%02x.%d"), in either case, with a domain of up to eight digits; nothing may stand
 * before or behind it, since these strings come from callers and become file names. Formatting cuts
 * device and function to their widths, so that it can never leave its buffer.
 * pci_address_parse(pci_address_format(a)) is a.
 */

#include "pci/address.h"
#include "pci/scan.h"

/* "BB:DD.F" */
static bool scan_bus_device_function(const char *s, PciAddress *ret) {
        const char *start = s;
        uint64_t bus, slot, function;

        if (!scan_hex(&s, 2, &bus) || s - start != 2 || *s++ != ':')
                return false;
        start = s;
        if (!scan_hex(&s, 2, &slot) || s - start != 2 || slot > 31 || *s++ != '.')
                return false;
        if (!scan_hex(&s, 1, &function) || function > 7 || *s != 0)
                return false;
        *ret = (PciAddress) {
                .bus = (uint8_t) bus,
                .slot = (uint8_t) slot,
                .function = (uint8_t) function,
        };
        return true;
}

int pci_address_parse(const char *s, PciAddress *ret) {
        const char *start = s;
        PciAddress a;
        uint64_t domain;

        if (!s || !scan_hex(&s, 8, &domain) || s - start < 4 || *s++ != ':')
                return -EINVAL;
        if (!scan_bus_device_function(s, &a))
                return -EINVAL;
        a.domain = (uint32_t) domain;
        *ret = a;
        return 0;
}

int pci_address_parse_short(const char *s, PciAddress *ret) {
        PciAddress a;

        if (!s)
                return -EINVAL;
        if (!scan_bus_device_function(s, &a))
                return pci_address_parse(s, ret);
        *ret = a;
        return 0;
}

const char *pci_address_format(PciAddress a, char buffer[PCI_ADDRESS_MAX]) {
        static const char digits[] = "0123456789abcdef";
        char *p = buffer;

        for (int shift = 28; shift >= 0; shift -= 4)
                if (shift < 16 || a.domain >> shift)
                        *p++ = digits[a.domain >> shift & 15];
        *p++ = ':';
        *p++ = digits[a.bus >> 4];
        *p++ = digits[a.bus & 15];
        *p++ = ':';
        *p++ = digits[a.slot >> 4 & 1];
        *p++ = digits[a.slot & 15];
        *p++ = '.';
        *p++ = digits[a.function & 7];
        *p = 0;
        return buffer;
}

uint64_t pci_address_key(PciAddress a) {
        return (uint64_t) a.domain << 16 | (uint64_t) a.bus << 8 | (uint64_t) (a.slot & 31) << 3 |
               (a.function & 7);
}

int pci_address_compare(PciAddress a, PciAddress b) {
        uint64_t x = pci_address_key(a), y = pci_address_key(b);

        return x < y ? -1 : x > y;
}
