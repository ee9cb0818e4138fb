/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* PciText's own functions, inside this folder. */

#include "pci/facts.h"

void pci_text_done(PciText *t);
/* Text or, if NULL, the errno of the read: ENOENT is "n/a", any other "unreadable". 0, -EBADMSG,
 * -ENOMEM. */
int pci_text_set(PciText *t, const char *text, int error);
