/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Hot-plug slots. A slot's name is the physical slot number or ACPI's _SUN, made unique by the
 * kernel with "-1", "-2"; only its address says which functions stand in it.
 */

#include <assert.h>

#include "base/strutil.h"
#include "pci/scan.h"
#include "pci/slot.h"
#include "pci/text.h"

const PciSlotFacts pci_slot_none = {
        .power.state = FACT_ABSENT,
        .attention.state = FACT_ABSENT,
        .latch.state = FACT_ABSENT,
        .adapter.state = FACT_ABSENT,
};

int pci_slot_facts_init(PciSlotFacts *s, const char *name, const char *address_text) {
        PciSlotFacts slot = {};
        uint64_t domain, bus, device = 0;
        const char *p = address_text;

        assert(s);
        assert(name);
        assert(address_text);
        if (!scan_name(name, slot.name, sizeof(slot.name)))
                return -EBADMSG;
        if (!scan_hex(&p, 8, &domain) || *p++ != ':' || !scan_hex(&p, 2, &bus))
                return -EBADMSG;
        if (*p == ':') {
                p++;
                if (!scan_hex(&p, 2, &device) || device > 31)
                        return -EBADMSG;
                slot.has_device = true;
        }
        if (!scan_end(p))
                return -EBADMSG;
        slot.domain = (uint32_t) domain;
        slot.bus = (uint8_t) bus;
        slot.device = (uint8_t) device;
        *s = slot;
        return 0;
}

void pci_slot_facts_done(PciSlotFacts *s) {
        if (!s)
                return;
        pci_text_done(&s->power);
        pci_text_done(&s->attention);
        pci_text_done(&s->latch);
        pci_text_done(&s->adapter);
}

int pci_slot_facts_set(PciSlotFacts *s, const char *attribute, const char *text, int error) {
        uint64_t v;
        PciText *t;
        int r;

        assert(s);
        assert(attribute);
        t = streq(attribute, "power")       ? &s->power
            : streq(attribute, "attention") ? &s->attention
            : streq(attribute, "latch")     ? &s->latch
            : streq(attribute, "adapter")   ? &s->adapter
                                            : NULL;
        if (!t)
                return -EINVAL;
        r = pci_text_set(t, text, error);
        if (r < 0 || t->state != FACT_PRESENT || scan_whole_decimal(t->text, UINT8_MAX, &v))
                return r;
        pci_text_done(t);
        t->state = FACT_UNREADABLE;
        return -EBADMSG;
}

bool pci_slot_facts_matches(const PciSlotFacts *s, PciAddress a) {
        assert(s);
        return s->has_device && s->domain == a.domain && s->bus == a.bus && s->device == a.slot;
}
