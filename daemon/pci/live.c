/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Attributes that are kept as text, each with its state: those that only a worker may read, and
 * cached ones that the cold scan leaves out. Text is what the kernel prints, without its last
 * newline; anything that a terminal or JSON could choke on makes the fact unreadable.
 */

#include <assert.h>

#include "base/strutil.h"
#include "pci/facts.h"
#include "pci/text.h"

void pci_text_done(PciText *t) {
        free(t->text);
        *t = (PciText) {};
}

/* Valid UTF-8, of control characters only tabs and newlines. */
static bool text_is_clean(const char *text, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (((unsigned char)text[i] < ' ' && text[i] != '\n' && text[i] != '\t') ||
                    text[i] == 0x7f)
                        return false;
        return utf8_is_valid(text, n);
}

int pci_text_set(PciText *t, const char *text, int error) {
        char *copy;
        size_t n;

        pci_text_done(t);
        if (!text) {
                t->state = abs(error) == ENOENT ? FACT_ABSENT : FACT_UNREADABLE;
                return 0;
        }
        n = strnlen(text, PCI_ATTRIBUTE_TEXT_MAX + 1);
        if (n > PCI_ATTRIBUTE_TEXT_MAX || !text_is_clean(text, n)) {
                t->state = FACT_UNREADABLE;
                return -EBADMSG;
        }
        if (n > 0 && text[n - 1] == '\n')
                n--;
        copy = strndup(text, n);
        if (!copy)
                return -ENOMEM;
        *t = (PciText) { .state = FACT_PRESENT, .text = copy };
        return 0;
}

void pci_live_done(PciLive *l) {
        if (!l)
                return;
        for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                pci_text_done(&l->attributes[a]);
        pci_text_done(&l->vpd_serial);
}

int pci_live_set(PciLive *l, PciAttribute a, const char *text, int error) {
        assert(l);
        assert((unsigned) a < _PCI_ATTRIBUTE_MAX);
        return pci_text_set(&l->attributes[a], text, error);
}

const char *pci_live_override(const PciLive *l) {
        const PciText *t;

        assert(l);
        t = &l->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE];
        /* The kernel prints an unset one as printf() prints a null pointer. */
        if (t->state != FACT_PRESENT || isempty(t->text) || streq(t->text, "(null)"))
                return NULL;
        return t->text;
}
