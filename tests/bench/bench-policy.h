/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What json-c alone takes to read a text; false if it does not. */

#include <stdbool.h>
#include <stddef.h>

bool floor_parse(const char *text, size_t n);
