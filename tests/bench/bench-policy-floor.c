/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The floor of loading a policy: json-c's own parser over the same bytes, its tree built and freed
 * and nothing done with it. In a file of its own, since its names and ours do not go together.
 */

#include "bench-policy.h"

#include <json-c/json_object.h>
#include <json-c/json_tokener.h>

bool floor_parse(const char *text, size_t n) {
        struct json_tokener *t = json_tokener_new();
        struct json_object *j = t ? json_tokener_parse_ex(t, text, (int) n) : NULL;
        bool good = j;

        (void) json_object_put(j);
        if (t)
                json_tokener_free(t);
        return good;
}
