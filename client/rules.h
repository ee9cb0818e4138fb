/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is printed of rules. */

#include "output.h"

/* "gpu-pool (FILE:LINE)", "defaults (FILE:LINE)" or "built in"; malloc'd, never NULL. name: the
 * member that holds the rule's name. */
char *rule_text(const Json *rule, const char *name);
/* The policy in force, as GetPolicy gives it: an exit code. */
int print_policy(const Json *j);
/* The walk of an explanation: which rule holds, and on what each one before it failed; then the
 * settings that are not as they are built in. */
void print_walk(const Json *walk);
