/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus.h"

/* A private bus, a daemon over the machine of that file, and in them a->command or a shell. Its exit status. */
int sim_run(const Arguments *a, const char *host);
