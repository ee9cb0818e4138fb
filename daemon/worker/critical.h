/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The proof that the host itself needs a function: disks under mounts and swap through partitions,
 * dm, md and NVMe multipath; disks that the kernel holds exclusively; NICs under routes and remote
 * storage through bond, bridge and VLAN; consoles; CXL memory in use. What each question needs is
 * read at its first use, once for a whole request.
 */

#include "host/sysfs.h"
#include "pci/facts.h"

typedef struct Critical Critical;

/* tree is borrowed and must outlive the result. Reads nothing yet. 0 or -ENOMEM. */
int critical_new(const SysTree *tree, Critical **ret);
Critical *critical_free(Critical *c);
DEFINE_CLEANUP(Critical *, critical_free);
/* Adds a reason with its proof to `use` for each way in which the host depends on function a,
 * judging by the children that `use` holds. What follows from the class alone is
 * pci_use_add_builtin_criticals()'s. When something could not be read, the function counts as
 * critical and the proof says what: an unknown is never taken for a no. 0 or -ENOMEM. */
int critical_add_to_use(Critical *c, PciAddress a, PciUse *use);
