/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PCI addresses: text that parses goes round, and what was refused leaves the output alone; eight
 * bytes taken as an address are printed as something that parses.
 */

#include <ctype.h>

#include "pci/address.h"

#include "fuzz.h"

static void check_text(const char *text) {
        const PciAddress untouched = { UINT32_MAX, 1, 2, 3 };
        PciAddress full = untouched, any = untouched, again;
        int r = pci_address_parse(text, &full), s = pci_address_parse_short(text, &any);

        fuzz_require(r == 0 || r == -EINVAL);
        fuzz_require(s == 0 || s == -EINVAL);
        fuzz_require(r == 0 || pci_address_equal(full, untouched));
        fuzz_require(s == 0 || pci_address_equal(any, untouched));
        if (r == 0)
                fuzz_require(s == 0 && pci_address_equal(full, any));
        if (s < 0)
                return;
        fuzz_require(any.slot <= 31 && any.function <= 7);
        fuzz_require(pci_address_parse(PCI_ADDRESS_TEXT(any), &again) == 0);
        fuzz_require(pci_address_equal(any, again) && pci_address_compare(any, again) == 0);
        /* Nothing but digits and separators: these strings become file names. */
        for (const char *p = text; *p; p++)
                fuzz_require(isxdigit((unsigned char) *p) || *p == ':' || *p == '.');
}

static void check_value(const uint8_t *data, size_t size) {
        PciAddress a = {}, again;

        memcpy(&a, data, MIN(size, sizeof(a)));
        fuzz_require(strlen(PCI_ADDRESS_TEXT(a)) < PCI_ADDRESS_MAX);
        fuzz_require(pci_address_parse(PCI_ADDRESS_TEXT(a), &again) == 0);
        fuzz_require(pci_address_key(a) == pci_address_key(again));
        fuzz_require(pci_address_compare(a, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_free_ char *text = fuzz_text(data, size);

        check_text(text);
        check_value(data, size);
        return 0;
}
