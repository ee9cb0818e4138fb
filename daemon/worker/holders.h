/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who has device nodes open: there is no kernel interface for it but every process's descriptor
 * table. Slow; on request. */

#include "host/sysfs.h"
#include "pci/facts.h"

typedef struct HolderQuestion {
        const char *node;  /* "/dev/vfio/12", or NULL */
        PciAddress device; /* VFIO device descriptors of this function as well (fdinfo, kernel 6.18
                              and newer) */
        bool has_device;
        PciUse *use;       /* answers are added here */
} HolderQuestion;

/* One pass over /proc answers all questions. Processes that may not be looked at are passed over;
 * this process itself is left out. 0, -ENOMEM, or what opening /proc gave. */
int holders_find(const SysTree *tree, const HolderQuestion *questions, size_t n);
