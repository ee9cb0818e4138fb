/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The policy's methods of org.pciassign1.Manager. A text to check is bounded here and believed by
 * nobody; what is wrong with it is the answer, not an error. Reloading reads the same files as at
 * start, never what a client sends.
 */

#include <assert.h>

#include "bus/bus-private.h"
#include "policy/policy.h"

static int reply_json(Call *q, const char *json, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', json);
        return call_reply(q, TAKE_PTR(reply), r, err);
}

int manager_check_policy(Call *q, Error *err) {
        _cleanup_free_ char *json = NULL;
        const char *text;

        int r = sd_bus_message_read_basic(q->message, 's', &text);
        if (r < 0)
                return r;
        size_t n = strlen(text);
        if (n > POLICY_FILE_MAX)
                return error_set(err, ERROR_INVALID, "The text has %zu bytes, more than %u", n,
                                 POLICY_FILE_MAX);
        r = engine_check_policy(q->bus->engine, n > 0 ? text : NULL, n, err, &json);
        if (r < 0)
                return r;
        return reply_json(q, json, err);
}

int manager_reload_policy(Call *q, Error *err) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        int r = options_read_none(q->message, err);
        if (r < 0)
                return r;
        r = engine_reload_policy(q->bus->engine, err);
        if (r < 0)
                return r;
        r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 'o', "/"); /* it is done */
        return call_reply(q, TAKE_PTR(reply), r, err);
}

int manager_get_policy(Call *q, Error *err) {
        _cleanup_free_ char *json = engine_show_policy(q->bus->engine);

        if (!json)
                return error_set(err, ERROR_FAILED, "Not enough memory to show the policy");
        return reply_json(q, json, err);
}
