/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The arguments that Assign and Plan share. */

#include "bus.h"

typedef struct AssignExtra {
        const char *lifetime; /* NULL: as --lifetime says, else persistent */
        int pidfd;            /* -EBADF none; borrowed */
        bool by_node, no_wait;
} AssignExtra;

/* A new message for Assign or Plan with devices, owner and options. 0 or an exit code. */
int assign_new_call(sd_bus *bus, const char *method, const Arguments *a, char *const *devices,
                    const AssignExtra *x, sd_bus_message **ret);
/* --owner, or the user's name. malloc'd. */
char *assign_owner(const Arguments *a);
/* "assign 0000:41:00.0 0000:42:00.0": for complaints; escaped, malloc'd. */
char *describe_words(const char *verb, char *const *words, size_t n);
