/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * polkit, always asynchronous. The subject is the caller's unique bus name, never a process id,
 * which can be raced. Only a plain "is authorised" grants: a challenge, an error, no answer in
 * time, a malformed answer and an absent polkit all refuse. The request owns the call; when the
 * request goes, the answer is not listened to any more.
 */

#include <assert.h>

#include "bus/bus-private.h"

#define POLKIT_NAME "org.freedesktop.PolicyKit1"
#define POLKIT_PATH "/org/freedesktop/PolicyKit1/Authority"
#define POLKIT_INTERFACE "org.freedesktop.PolicyKit1.Authority"
#define POLKIT_ALLOW_INTERACTION UINT32_C(1)
/* Somebody may be typing a password. */
#define POLKIT_INTERACTIVE_TIMEOUT (120U * USEC_PER_SEC)

static int refuse(Call *q, bool challenge, const char *why, Error *err) {
        const char *action = gate_action_to_string(q->asking);

        int r = error_set(err, ERROR_NOT_AUTHORIZED, "%s needs the authorisation %s%s: %s",
                          q->row->member, POLKIT_ACTION_PREFIX, action, why);
        error_take_details(err,
                           strjoinf("{\"action\":\"%s%s\",\"challenge\":%s}", POLKIT_ACTION_PREFIX,
                                    action, challenge ? "true" : "false"));
        return r;
}

static int read_answer(Call *q, sd_bus_message *m, Error *err) {
        int authorised, challenge;

        if (sd_bus_message_is_method_error(m, NULL) > 0) {
                const sd_bus_error *e = sd_bus_message_get_error(m);
                if (sd_bus_error_has_names(e, SD_BUS_ERROR_SERVICE_UNKNOWN,
                                           SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                        return refuse(q, false,
                                      "polkit is not running; ask as root or as a member of the "
                                      "group " SERVICE_GROUP,
                                      err);
                return refuse(q, false, "polkit did not answer", err);
        }
        if (sd_bus_message_enter_container(m, 'r', "bba{ss}") <= 0 ||
            sd_bus_message_read(m, "bb", &authorised, &challenge) <= 0)
                return refuse(q, false, "polkit's answer is malformed", err);
        if (authorised)
                return 0;
        if (challenge)
                return refuse(q, true, "a password must be given, which the call did not allow",
                              err);
        return refuse(q, false, "the administrator's rules refuse it", err);
}

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Call *q = userdata;
        _cleanup_error_ Error err = ERROR_INIT;

        assert(q->stage == CALL_POLKIT);
        q->stage = CALL_CREDENTIALS;
        q->bus->n_asking--;
        q->slot = sd_bus_slot_unref(q->slot);
        (void) client_watch_update(q->bus);

        if (read_answer(q, m, &err) < 0) {
                call_fail(q, &err);
                return 0;
        }
        q->granted |= 1U << q->asking;
        call_advance(q);
        return 0;
}

static int make_question(Call *q, GateAction action, bool interactive, sd_bus_message **ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_free_
        char *name = strjoinf("%s%s", POLKIT_ACTION_PREFIX, gate_action_to_string(action));

        if (!name)
                return -ENOMEM;
        int r = sd_bus_message_new_method_call(q->bus->bus, &m, POLKIT_NAME, POLKIT_PATH,
                                               POLKIT_INTERFACE, "CheckAuthorization");
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "(sa{sv})s", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(q->message), name);
        if (r < 0)
                return r;
        r = sd_bus_message_open_container(m, 'a', "{ss}");
        if (r < 0)
                return r;
        r = q->row->details(q, m);
        if (r < 0)
                return r;
        r = sd_bus_message_close_container(m);
        if (r < 0)
                return r;
        r = sd_bus_message_append(m, "us", interactive ? POLKIT_ALLOW_INTERACTION : 0, "");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

int polkit_ask(Call *q, GateAction action) {
        assert(q);
        assert(!q->slot);

        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        bool interactive = sd_bus_message_get_allow_interactive_authorization(q->message) > 0;
        usec_t timeout = q->bus->options.polkit_timeout;

        int r = make_question(q, action, interactive, &m);
        if (r < 0)
                return r;
        return sd_bus_call_async(q->bus->bus, &q->slot, m, on_answer, q,
                                 interactive ? MAX(timeout, POLKIT_INTERACTIVE_TIMEOUT) : timeout);
}
