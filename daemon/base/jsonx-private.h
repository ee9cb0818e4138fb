/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the JSON reader needs of the values it makes; inside this folder only. */

#include "base/jsonx.h"

/* n bytes of valid UTF-8 without a NUL; NULL on OOM. */
Json *json_new_string_n(const char *s, size_t n);
/* Adds a member and takes the value's reference: 0, -EEXIST where the object has the key,
 * -ENOMEM. */
int json_set_new(Json *object, const char *key, Json *value);
/* Drops the last element of an array that has one. */
void json_drop_last(Json *array);
