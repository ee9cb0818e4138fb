/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Requests for devices by what they are. The decision and the claim on its groups are made in one
 * iteration of the loop, from the facts as they are known, so two requests never choose the same
 * device. When the facts that are read after the claim speak against the set, the claim is given
 * back and the best set without the devices that stood in the way is taken. A plan claims nothing.
 */

#include <assert.h>
#include <fcntl.h>

#include "engine/engine-match.h"

#define ATTEMPTS_MAX 8U

typedef struct Select {
        Matching matching;
        AssignOptions options; /* what it points to is owned below */
        char *owner, *bus_name;
        char *request_id, *force_reason, *token, *driver;
        char **labels;
        gid_t *gids;
        PolicyAsk ask;
        int pidfd;
        uint64_t hash;
        bool plan;
        unsigned n_attempts;
} Select;

static void select_free(void *data) {
        Select *s = data;

        if (!s)
                return;
        want_filters_free(s->matching.filters, s->matching.n_filters);
        strv_free(s->matching.devices);
        strv_free(s->matching.tried);
        (void) json_free(s->matching.document);
        free(s->owner);
        free(s->bus_name);
        free(s->request_id);
        free(s->force_reason);
        free(s->token);
        free(s->driver);
        free(s->gids);
        strv_free(s->labels);
        (void) safe_close(s->pidfd);
        free(s);
}

static void select_freep(Select **s) {
        select_free(*s);
}

static int copy_options(Select *s, const Caller *c, const char *owner, const AssignOptions *o) {
        s->options = *o;
        s->pidfd = o->pidfd < 0 ? -EBADF : fcntl(o->pidfd, F_DUPFD_CLOEXEC, 3);
        if (o->pidfd >= 0 && s->pidfd < 0)
                return -errno;
        if (free_and_strdup(&s->owner, owner) < 0 ||
            free_and_strdup(&s->bus_name, c->bus_name) < 0 ||
            free_and_strdup(&s->request_id, o->request_id) < 0 ||
            free_and_strdup(&s->force_reason, o->force_reason) < 0 ||
            free_and_strdup(&s->token, o->token) < 0 ||
            free_and_strdup(&s->driver, o->driver) < 0 || strv_copy(o->labels, &s->labels) < 0)
                return -ENOMEM;
        s->gids = calloc(c->n_gids + 1, sizeof(gid_t));
        if (!s->gids)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_gids; i++)
                s->gids[i] = c->gids[i];
        s->ask = (PolicyAsk) {
                .uid = c->uid,
                .gids = s->gids,
                .n_gids = c->n_gids,
                .manager = c->manager || c->uid == 0,
                .owner = s->owner,
                .lifetime = 1U << MAX(o->lifetime, LIFETIME_CONNECTION),
                .driver = s->driver,
        };
        s->options.pidfd = s->pidfd;
        s->options.request_id = s->request_id;
        s->options.force_reason = s->force_reason;
        s->options.token = s->token;
        s->options.driver = s->driver;
        s->options.labels = s->labels;
        return 0;
}

/* The wants in place of names: the same request again is the same, whatever was chosen. */
static int hash_wants(Select *s, const char *owner, const AssignOptions *o) {
        _cleanup_strv_ char **texts = NULL;
        const Matching *m = &s->matching;

        for (size_t i = 0; i < m->n_filters; i++) {
                _cleanup_free_ char *text = want_describe(m->filters + i);

                if (!text || strv_extend(&texts, text) < 0)
                        return -ENOMEM;
        }
        if (strv_extend(&texts, m->same_numa_node ? "same-numa" : "") < 0 ||
            strv_extend(&texts, m->same_switch ? "same-switch" : "") < 0 ||
            strv_extend(&texts, m->clean_groups ? "clean-groups" : "") < 0)
                return -ENOMEM;
        s->hash = engine_request_hash(texts, owner, o);
        return 0;
}

static int select_new(const Caller *c, const MatchOptions *m, const char *owner,
                      const AssignOptions *o, Error *err, Select **ret) {
        _cleanup_(select_freep) Select *s = NULL;
        int r;

        if (o->force)
                return error_set(
                        err, ERROR_INVALID,
                        "force overrides what stands against a device that is named; name it");
        s = calloc(1, sizeof(Select));
        if (!s)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        s->pidfd = -EBADF;
        r = want_filters_new(m, err, &s->matching.filters);
        if (r < 0)
                return r;
        s->matching.n_filters = m->n_wants;
        s->matching.same_numa_node = m->same_numa_node;
        s->matching.same_switch = m->same_switch;
        s->matching.clean_groups = m->clean_groups;
        s->matching.take_all = o->group == GROUP_TAKE_ALL;
        if (copy_options(s, c, owner, o) < 0 || hash_wants(s, owner, o) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        s->matching.driver = s->driver;
        s->matching.ask = &s->ask;
        *ret = TAKE_PTR(s);
        return 0;
}

/* ---- what is told ---- */

static void refuse(Task *t, const Error *error) {
        _cleanup_error_ Error err = ERROR_INIT;

        (void) error_set(&err, error->code, "%s", error->message);
        if (error->details)
                error_take_details(&err, strdup(error->details));
        task_refuse(t, &err);
        task_free(t);
}

static void answer_plan(Task *t, Json *j, const char *token) {
        Select *s = t->data;
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = NULL;

        (void) json_set(j, "match", json_ref(s->matching.document));
        text = json_to_text(j, false);
        if (text)
                task_answer(t, &(EngineAnswer) { .json = text, .token = token });
        else {
                (void) error_set(&err, ERROR_FAILED, "Not enough memory for the answer");
                task_refuse(t, &err);
        }
        task_free(t);
}

/* No set: a plan says so, an assignment is refused. */
static void nothing_fits(Task *t, const Error *error) {
        Select *s = t->data;
        _cleanup_json_ Json *j = NULL;

        if (!s->plan || error->code == ERROR_FAILED) {
                refuse(t, error);
                return;
        }
        j = json_new_object();
        (void) json_set_bool(j, "assignable", false);
        (void) json_set(j, "blockers", json_new_array());
        (void) json_set(j, "groups", json_new_array());
        (void) json_set_string(j, "owner", s->owner);
        (void) json_set_string(j, "error", error_code_to_string(error->code));
        (void) json_set_string(j, "message", error->message);
        (void) json_set_null(j, "plan");
        (void) json_set_string(j, "token", "");
        answer_plan(t, j, "");
}

/* ---- attempts ---- */

static void decide(Task *t);

static bool is_worth_another(ErrorCode code) {
        switch (code) {
        case ERROR_NOT_VIABLE:
        case ERROR_HOST_CRITICAL:
        case ERROR_OWNED:
        case ERROR_BUSY:
        case ERROR_STUCK:
        case ERROR_GONE:
        case ERROR_QUARANTINED:
        case ERROR_POLICY_DENIED:
        case ERROR_NOT_SUPPORTED:
                return true;
        case ERROR_NONE:
        case ERROR_NOT_FOUND:
        case ERROR_INVALID:
        case ERROR_NOT_AUTHORIZED:
        case ERROR_PLAN_STALE:
        case ERROR_FAILED:
        case _ERROR_MAX:
                return false;
        }
        return false;
}

static int add_tried(Select *s, const char *address, const char *why) {
        int r = strv_extend(&s->matching.tried, address);

        return r < 0 ? r : strv_extend(&s->matching.tried, why);
}

/* The devices that the refusal names, or else all of the set. */
static int exclude(Select *s, const Error *error) {
        _cleanup_json_ Json *j = NULL;
        const Json *blockers;
        bool named = false;
        int r = 0;

        if (error->details)
                (void) json_parse(error->details, strlen(error->details), JSON_LIMITS_DEFAULT, &j,
                                  NULL, NULL);
        blockers = json_get(j, "blockers");
        for (size_t i = 0; i < json_length(blockers) && r >= 0; i++) {
                const char *device;

                if (json_get_string(json_at(blockers, i), "device", &device) <= 0 ||
                    !strv_contains(s->matching.devices, device))
                        continue;
                named = true;
                r = add_tried(s, device, error->message);
        }
        for (size_t i = 0; !named && s->matching.devices[i] && r >= 0; i++)
                r = add_tried(s, s->matching.devices[i], error->message);
        return r;
}

static void try_next(Task *t, const Error *error) {
        Select *s = t->data;

        if (!is_worth_another(error->code) || ++s->n_attempts >= ATTEMPTS_MAX ||
            exclude(s, error) < 0 || task_fire_at(t, host_now(t->engine->host), decide) < 0)
                refuse(t, error);
}

static void attempt_answered(const EngineAnswer *answer, const Error *error, void *userdata) {
        Task *t = userdata;
        Select *s = t->data;
        _cleanup_json_ Json *j = NULL;

        if (error) {
                try_next(t, error);
                return;
        }
        if (!s->plan) {
                task_answer(t, answer);
                task_free(t);
                return;
        }
        if (json_parse(answer->json, strlen(answer->json), JSON_LIMITS_DEFAULT, &j, NULL, NULL) < 0)
                j = json_new_object();
        answer_plan(t, j, answer->token);
}

static void decide(Task *t) {
        Engine *e = t->engine;
        Select *s = t->data;
        _cleanup_error_ Error err = ERROR_INIT;
        Caller c = t->caller;
        int r;

        c.bus_name = s->bus_name;
        c.gids = s->gids;
        if (!s->plan) {
                r = engine_answer_earlier(e, &c, &s->options, s->hash, attempt_answered, t, &err);
                if (r < 0)
                        refuse(t, &err);
                if (r != 0)
                        return;
        }
        r = engine_match(e, &s->matching, &err);
        if (r < 0) {
                nothing_fits(t, &err);
                return;
        }
        if (s->plan)
                r = engine_plan(e, &c, s->matching.devices, s->owner, &s->options, attempt_answered,
                                t, &err);
        else
                r = engine_assign_hashed(e, &c, s->matching.devices, s->owner, &s->options, s->hash,
                                         attempt_answered, t, &err);
        if (r < 0)
                try_next(t, &err);
}

static int begin(Engine *e, const Caller *c, Select *s, EngineReply reply, void *userdata,
                 Error *err) {
        Task *t;

        if (task_new(e, c, reply, userdata, &t) < 0) {
                select_free(s);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        t->data = s;
        t->data_free = select_free;
        if (task_fire_when_settled(t, decide) < 0) {
                task_free(t);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        return 0;
}

int engine_assign_matching(Engine *e, const Caller *c, const MatchOptions *m, const char *owner,
                           const AssignOptions *o, EngineReply reply, void *userdata, Error *err) {
        Select *s;
        int r;

        assert(e);
        assert(c);
        assert(m);
        assert(o);
        r = engine_check_options(c, o, err);
        if (r >= 0)
                r = engine_check_quota(e, c, err);
        if (r >= 0)
                r = select_new(c, m, owner, o, err, &s);
        return r < 0 ? r : begin(e, c, s, reply, userdata, err);
}

int engine_plan_matching(Engine *e, const Caller *c, const MatchOptions *m, const char *owner,
                         const AssignOptions *o, EngineReply reply, void *userdata, Error *err) {
        Select *s;
        int r;

        assert(e);
        assert(c);
        assert(m);
        assert(o);
        r = select_new(c, m, owner, o, err, &s);
        if (r < 0)
                return r;
        s->plan = true;
        return begin(e, c, s, reply, userdata, err);
}
