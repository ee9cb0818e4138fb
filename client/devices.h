/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices, groups, assignments and jobs as the client's JSON shows them: stable keys, the manual
 * lists them. */

#include "bus.h"
#include "names.h"

/* Properties as the daemon gives them to an object with the keys of `list --json`. NULL on OOM. */
Json *device_to_json(const Json *properties, Names *names);
Json *group_to_json(const Json *properties);
Json *assignment_to_json(const Json *properties);
Json *job_to_json(const Json *properties);

/* Arrays of the above, sorted as the daemon sorts them. 0 or an exit code after complaining. */
int devices_list(sd_bus *bus, Names *names, Json **ret);
int assignments_list(sd_bus *bus, Json **ret);
/* All objects of one interface, by way of GetManagedObjects. */
int objects_list(sd_bus *bus, const char *interface, Json *(*convert)(const Json *),
                 const char *sort_key, Json **ret);

/* Text of a member for people: numbers printed, null and absent "", arrays joined by blanks.
 * malloc'd, never NULL. */
char *member_text(const Json *object, const char *key);
char *value_text(const Json *value);
/* The string or "". */
const char *member_string(const Json *object, const char *key);
bool member_bool(const Json *object, const char *key);
uint64_t member_u64(const Json *object, const char *key); /* 0 if absent */
