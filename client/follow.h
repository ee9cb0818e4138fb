/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Watching a job until it is done, its steps shown as they happen. */

#include "bus.h"

/* Should a call be made with no-wait, and its job followed? On a terminal, where somebody looks. */
bool follow_is_wanted(const Arguments *a);
/* path "/": done already. 0, or the exit code of how the job ended after complaining. */
int follow_job(sd_bus *bus, const char *path, const char *what);
/* After a call that returns (… o job): follow it, or with --no-wait say its number; otherwise it is
 * done. */
int follow_or_name_job(sd_bus *bus, const Arguments *a, const char *path, const char *what);
