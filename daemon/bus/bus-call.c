/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A method call on its way: who asks (asked of the bus once per connection), may they (by uid, by
 * ownership, or asked of polkit), then the handler. After each wait the call starts again from the
 * top, with everything looked up anew: the device, the assignment and its owner may have changed
 * meanwhile. A request owns its message; a caller that has left gets no reply, and an answer that
 * the engine still owes finds a request that only waits to be freed.
 */

#include <assert.h>
#include <inttypes.h>

#include "base/log.h"
#include "bus/bus-private.h"

/* Of all users that are not privileged. Each holds a message of the caller's. */
#define REQUESTS_MAX 4096U
/* A bus refuses more than 128 calls of one connection that have not been answered. */
#define POLKIT_QUESTIONS_MAX 100U
#define REFUSALS_LOGGED_MAX 20U
#define REFUSALS_WINDOW (10U * USEC_PER_SEC)

int call_new(Bus *b, sd_bus_message *m, const GateRow *row, Call **ret) {
        assert(b);
        assert(m);
        assert(row);
        assert(ret);

        Call *q = calloc(1, sizeof(Call));
        if (!q)
                return -ENOMEM;
        *q = (Call) {
                .bus = b,
                .message = sd_bus_message_ref(m),
                .row = row,
                .uid = UID_UNSET,
                .watch_epoch = b->watch_active ? b->watch_epoch : 0,
        };
        list_append(&b->calls, &q->link);
        *ret = q;
        return 0;
}

static void call_stop_asking(Call *q) {
        q->slot = sd_bus_slot_unref(q->slot);
        if (q->stage != CALL_POLKIT)
                return;
        q->stage = CALL_CREDENTIALS;
        q->bus->n_asking--;
        (void) client_watch_update(q->bus); /* at worst one match too many stays */
}

Call *call_free(Call *q) {
        if (!q)
                return NULL;
        call_stop_asking(q);
        list_unlink(&q->link);
        if (q->counted)
                q->bus->n_counted--;
        sd_bus_message_unref(q->message);
        sd_bus_message_unref(q->reply);
        free(q->identity);
        q->gids = gids_unref(q->gids);
        free(q->data);
        free(q);
        return NULL;
}

size_t bus_count_calls(const Bus *b, uid_t uid) {
        size_t n = 0;

        LIST_FOREACH(&b->calls, link) {
                const Call *q = LIST_ENTRY(link, Call, link);
                n += q->counted && q->uid == uid;
        }
        return n;
}

void bus_drop_calls(Bus *b, const char *name) {
        assert(b);
        assert(name);

        LIST_FOREACH(&b->calls, link) {
                Call *q = LIST_ENTRY(link, Call, link);
                if (!streq_ptr(sd_bus_message_get_sender(q->message), name))
                        continue;
                q->gone = true;
                if (q->stage != CALL_ENGINE) /* nobody holds a pointer to it */
                        call_free(q);
        }
}

/* ---- replies ---- */

static void call_send(Call *q, sd_bus_message *reply) {
        int r = 0;

        if (!q->gone && sd_bus_message_get_expect_reply(q->message) > 0)
                r = sd_bus_send(NULL, reply, NULL);
        if (r < 0)
                (void) log_debug_errno(r, "Failed to reply to %s: %m",
                                       sd_bus_message_get_sender(q->message));
        call_free(q);
}

/* What lower layers return without a word in the error table. */
static void error_from_errno(int r, Error *err) {
        if (err->code != ERROR_NONE)
                return;
        if (r == -EBADMSG ||
            r == -ENXIO) /* of the message reader: the arguments are not what they should be */
                (void) error_set(
                        err, ERROR_INVALID,
                        "The arguments cannot be read; see org.pciassign1(5) for their types");
        else if (r == -ENOMEM)
                (void) error_set(err, ERROR_FAILED, "Out of memory; try again");
        else
                (void) error_set(err, ERROR_FAILED,
                                 "The daemon could not do it (error %d); its journal may say why",
                                 -r);
}

/* Anybody can be refused as often as he likes: the journal hears of the first few, and then of how
 * many. */
static void log_refusal(Call *q, const char *why) {
        usec_t now = now_boottime();
        Bus *b = q->bus;

        if (now - b->refusals_since >= REFUSALS_WINDOW) {
                if (b->n_refusals > REFUSALS_LOGGED_MAX)
                        log_notice("%u more refusals were not logged",
                                   b->n_refusals - REFUSALS_LOGGED_MAX);
                b->refusals_since = now;
                b->n_refusals = 0;
        }
        if (++b->n_refusals > REFUSALS_LOGGED_MAX)
                return;
        (void) log_context(&(LogContext){ .message_id = MESSAGE_DENIED }, LOG_NOTICE, 0,
                           "Refused %s to user %" PRIu32 ": %s", q->row->member, (uint32_t) q->uid,
                           why);
}

void call_fail(Call *q, const Error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

        assert(q);
        assert(error);

        if (error->code == ERROR_NOT_AUTHORIZED)
                log_refusal(q, error->message);
        if (format_error(q->message, error, &m) < 0) {
                (void) log_warning("Failed to make an error reply: out of memory");
                call_free(q);
                return;
        }
        call_send(q, m);
}

static void call_fail_errno(Call *q, int r, Error *err) {
        error_from_errno(r, err);
        call_fail(q, err);
}

int call_new_reply(Call *q, sd_bus_message **ret) {
        return sd_bus_message_new_method_return(q->message, ret);
}

int call_reply(Call *q, sd_bus_message *reply, int r, Error *err _unused_) {
        if (r < 0) {
                sd_bus_message_unref(reply);
                return r;
        }
        assert(!q->reply);
        q->reply = reply; /* sent by call_run() */
        return 1;
}

void call_finish(Call *q, sd_bus_message *reply, int r) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = reply;
        _cleanup_error_ Error err = ERROR_INIT;

        assert(q);

        if (r < 0)
                call_fail_errno(q, r, &err);
        else
                call_send(q, m);
}

void call_finish_if_present(Call *q, sd_bus_message *reply, int r) {
        bool watched = q->bus->watch_active && q->watch_epoch == q->bus->watch_epoch;

        assert(q);

        if (r < 0 || (watched && !q->gone)) {
                call_finish(q, reply, r);
                return;
        }
        q->reply = reply;
        q->stage = CALL_PRESENCE;
        r = client_ask_presence(q);
        if (r < 0) {
                (void) log_warning_errno(r, "Failed to ask whether %s is still connected: %m",
                                         sd_bus_message_get_sender(q->message));
                call_finish(q, TAKE_PTR(q->reply), 0);
        }
}

void call_engine_job(const EngineAnswer *answer, const Error *error, void *userdata) {
        Call *q = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (error) {
                call_fail(q, error);
                return;
        }
        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 'o', bus_path_running_job(answer->job).text);
        call_finish(q, TAKE_PTR(reply), r);
}

void call_engine_json(const EngineAnswer *answer, const Error *error, void *userdata) {
        Call *q = userdata;
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;

        if (error) {
                call_fail(q, error);
                return;
        }
        int r = call_new_reply(q, &reply);
        if (r >= 0)
                r = sd_bus_message_append_basic(reply, 's', answer->json);
        call_finish(q, TAKE_PTR(reply), r);
}

/* ---- the way ---- */

int call_find(Call *q, ObjectKind kind, Error *err, void **ret) {
        const char *path = sd_bus_message_get_path(q->message);
        void *object = bus_find(q->bus, kind, path);

        if (!object)
                return error_set(err, ERROR_NOT_FOUND, "There is no object %s any more",
                                 string_is_safe(path, BUS_PATH_MAX) ? path : "of that path");
        *ret = object;
        return 0;
}

void call_caller(const Call *q, Caller *ret) {
        *ret = (Caller) {
                .uid = q->uid,
                .bus_name = q->identity,
                .gids = q->gids ? q->gids->ids : NULL,
                .n_gids = q->gids ? q->gids->n : 0,
                .manager = q->privileged,
                .pid = q->pid,
                .may_manage_others = call_is_granted(q, ACTION_MANAGE_OTHERS),
                .may_force = call_is_granted(q, ACTION_FORCE),
        };
}

bool call_is_granted(const Call *q, GateAction action) {
        return q->privileged || (q->granted & (1U << action));
}

int call_require(Call *q, GateAction action, Error *err) {
        assert(q);

        if (action == ACTION_NONE || call_is_granted(q, action))
                return 1;
        if (q->bus->n_asking >= POLKIT_QUESTIONS_MAX)
                return error_set(
                        err, ERROR_BUSY,
                        "%u questions to polkit are pending, which is the limit; try again",
                        POLKIT_QUESTIONS_MAX);
        q->stage = CALL_POLKIT;
        q->asking = action;
        q->bus->n_asking++;
        /* First the match, then the question: so the bus tells that the caller has left before
         * polkit can answer. */
        int r = client_watch_update(q->bus);
        if (r >= 0)
                r = polkit_ask(q, action);
        if (r < 0) {
                call_stop_asking(q);
                return error_set(err, ERROR_NOT_AUTHORIZED,
                                 "polkit cannot be asked for %s%s: error %d", POLKIT_ACTION_PREFIX,
                                 gate_action_to_string(action), -r);
        }
        return 0;
}

static bool call_is_owners(Call *q) {
        const char *path = sd_bus_message_get_path(q->message);

        if (streq(q->row->interface, BUS_INTERFACE_ASSIGNMENT)) {
                const Assignment *a = bus_find(q->bus, OBJECT_ASSIGNMENT, path);
                return a && engine_caller_owns(a, q->uid);
        }
        if (streq(q->row->interface, BUS_INTERFACE_JOB)) {
                const Job *j = bus_find(q->bus, OBJECT_JOB, path);
                return j && j->creator_uid == q->uid;
        }
        return false;
}

/* Every request with a known caller counts from here on, until it is answered. */
static int call_admit(Call *q, Error *err) {
        Bus *b = q->bus;
        unsigned max = b->options.max_requests_per_uid;

        if (q->counted)
                return 0;
        if (!q->privileged && bus_count_calls(b, q->uid) >= max)
                return error_set(err, ERROR_BUSY,
                                 "User %" PRIu32
                                 " has %u requests pending, which is the limit; wait "
                                 "until one is answered",
                                 (uint32_t) q->uid, max);
        if (!q->privileged && b->n_counted >= REQUESTS_MAX)
                return error_set(err, ERROR_BUSY,
                                 "%u requests are pending, which is the limit; try again",
                                 REQUESTS_MAX);
        q->counted = true;
        b->n_counted++;
        return 0;
}

static int call_authorise(Call *q, Error *err) {
        int r = call_admit(q, err);
        if (r < 0)
                return r;
        if (q->row->action == ACTION_NONE || ((q->row->flags & GATE_OWNER) && call_is_owners(q)))
                return 1;
        return call_require(q, q->row->action, err);
}

static int call_run(Call *q, Error *err) {
        if (!(q->row->flags & GATE_PUBLIC)) {
                int r = call_authorise(q, err);
                if (r <= 0)
                        return r;
        }
        /* The engine checks nothing of the message: it has been read once before if polkit was
         * asked. */
        int r = sd_bus_message_rewind(q->message, true);
        if (r < 0)
                return r;
        q->stage = CALL_ENGINE;
        r = q->row->handler(q, err);
        if (r > 0)
                call_send(q, q->reply);
        return r < 0 ? r : 0;
}

void call_advance(Call *q) {
        _cleanup_error_ Error err = ERROR_INIT;
        int r;

        assert(q);

        if (!(q->row->flags & GATE_PUBLIC) && !q->have_credentials)
                r = client_ask(q);
        else
                r = call_run(q, &err);
        if (r < 0)
                call_fail_errno(q, r, &err);
}
