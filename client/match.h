/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* --match: devices by what they are. */

#include "bus.h"

/* Appends the wants, a(a{sv}u). 0, an exit code after complaining, or a negative errno. */
int match_append_wants(sd_bus_message *m, const Arguments *a);
/* The options that go with them. */
int match_append_options(sd_bus_message *m, const Arguments *a);
/* The "match" document of a plan or a refusal, for people. */
void match_print(const Json *match);
