/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the files of the model share: enum string tables, and linking. */

#include "model/model.h"

/* Makes NAME_to_string() (NULL outside the table) and NAME_from_string() (-EINVAL for what is not
 * in it). */
#define DEFINE_STRING_TABLE(type, name, table)                       \
        const char *name##_to_string(type v) {                       \
                if ((int) v < 0 || (size_t) v >= ELEMENTSOF(table))  \
                        return NULL;                                 \
                return (table)[v];                                   \
        }                                                            \
        type name##_from_string(const char *s) {                     \
                if (s)                                               \
                        for (size_t n = 0; n < ELEMENTSOF(table); n++) \
                                if (streq((table)[n], s))            \
                                        return (type) n;             \
                return (type) -EINVAL;                               \
        }                                                            \
        struct string_table_needs_a_semicolon_##name

Device *device_free(Device *d);
/* Forgets all that was read of the hardware behind the address. */
void device_forget_readings(Device *d);

int group_new(uint32_t id, Group **ret);
Group *group_free(Group *g); /* its devices stay, without a group */
/* Keeps the members sorted by address. */
void group_link(Group *g, Device *d);
void group_unlink(Device *d);
