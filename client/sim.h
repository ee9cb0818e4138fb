/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus.h"

/* --daemon, or the pciassignd beside us (a build directory), or the installed one; malloc'd, never
 * NULL. */
char *client_find_daemon(const Arguments *a);
/* A private bus, a daemon over the machine of that file, and in them a->command or a shell. Its
 * exit status. */
int sim_run(const Arguments *a, const char *host);
