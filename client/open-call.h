/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Assignment.Open: descriptors for a launch. */

#include "bus.h"
#include "launch.h"

/* Opens the devices of l->addresses. 0 or an exit code. The descriptors are ours to close:
 * launch_close(). */
int open_call(sd_bus *bus, const Arguments *a, const char *assignment, unsigned kinds,
              const char *what, Launch *l);
