/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Plan and Explain: the whole decision of an Assign, on facts read afresh, with nothing written and
 * nothing claimed. A refusal is an answer here.
 */

#include <assert.h>

#include "engine/engine-policy.h"
#include "engine/engine-private.h"

#define ASK_WHAT (HOST_READ_CONFIG | HOST_READ_LIVE | HOST_READ_USE | HOST_READ_GROUP)

static void request_data_free(void *data) {
        (void) request_free(data);
}

/* Whom a reset takes along: opening and releasing reset the device. */
static void add_surroundings(Engine *e, const Plan *plan, Json *j) {
        Json *devices = json_get(j, "devices");

        for (size_t i = 0; i < plan->n_devices && i < json_length(devices); i++) {
                const Device *d = inventory_device(e->inventory, plan->devices[i].address);
                Json *one = json_at(devices, i);
                _cleanup_strv_ char **hits = NULL;
                char method[PCI_RESET_METHODS_MAX] = "";

                if (d)
                        (void) inventory_reset_hits(e->inventory, d, method, &hits);
                (void) json_set_string(one, "reset_method", method);
                (void) json_set_strv(one, "reset_also_hits", hits);
        }
}

static int add_plan(Engine *e, const Request *q, const AskedFor *asked, bool assignable, Json *j,
                    char token[TOKEN_MAX], Error *err) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_ASSIGN);
        _cleanup_free_ Device **members = NULL;
        Json *shown;
        size_t n;
        int r;

        if (!plan || engine_plan_members(e, asked, &members, &n) < 0 ||
            engine_plan_devices(asked, members, n, plan) < 0)
                return error_set(err, ERROR_FAILED, "The plan could not be made");
        engine_token(e, asked, q->owner, members, n, token);
        if (!assignable)
                return json_set_null(j, "plan");
        r = engine_plan_assign(e, asked, q->node_owner, plan, err);
        if (r < 0)
                return r;
        shown = plan_to_json(plan);
        add_surroundings(e, plan, shown);
        return json_set(j, "plan", shown);
}

static void ask_answer(Task *t) {
        Engine *e = t->engine;
        const Request *q = t->data;
        _cleanup_free_ Device **devices = NULL;
        _cleanup_error_ Error err = ERROR_INIT, refusal = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        _cleanup_json_ Json *j = NULL;
        char token[TOKEN_MAX] = "";
        AskedFor asked;
        bool assignable;

        if (request_asked_for(e, q, NULL, &err, &devices, &asked) < 0) {
                task_refuse(t, &err);
                return;
        }
        assignable = engine_check(e, &asked, &refusal, &j) >= 0;
        (void) json_set_string(j, "owner", q->owner);
        (void) json_set(j, "policy",
                        q->plan_only ? engine_policy_of(e, &asked)
                                     : engine_policy_explain(e, asked.devices[0], asked.ask));
        if (!assignable) {
                (void) json_set_string(j, "error", error_code_to_string(refusal.code));
                (void) json_set_string(j, "message", refusal.message);
        }
        if (q->plan_only) {
                if (add_plan(e, q, &asked, assignable, j, token, &err) < 0 &&
                    err.code != ERROR_NONE) {
                        task_refuse(t, &err);
                        return;
                }
                (void) json_set_string(j, "token", token);
        }
        text = json_to_text(j, false);
        if (!text) {
                (void) error_set(&err, ERROR_FAILED, "Not enough memory for the answer");
                task_refuse(t, &err);
                return;
        }
        task_answer(t, &(EngineAnswer) { .json = text, .token = token });
}

static void facts_finished(Task *t, const HostResult *result) {
        _cleanup_error_ Error err = ERROR_INIT;

        /* A device that cannot be read is a blocker of the verdict; only a worker that failed as a
         * whole is an error. */
        if (result->outcome == HOST_OUTCOME_DONE || result->outcome == HOST_OUTCOME_UNKNOWN)
                ask_answer(t);
        else {
                (void) error_from_result(&err, result, "Reading the facts");
                task_refuse(t, &err);
        }
        if (result->outcome != HOST_OUTCOME_UNKNOWN)
                task_free(t);
}

static void facts_known(Task *t) {
        ask_answer(t);
        task_free(t);
}

/* Members that are stuck are not read: that would block too, and the verdict says it. */
static int ask(Engine *e, const Caller *c, Request *q, EngineReply reply, void *userdata,
               Error *err) {
        _cleanup_free_ Device **devices = NULL, **members = NULL;
        _cleanup_free_ PciAddress *to_read = NULL;
        AskedFor asked;
        size_t n, k = 0;
        Task *t;
        int r;

        r = request_asked_for(e, q, NULL, err, &devices, &asked);
        if (r >= 0 && engine_plan_members(e, &asked, &members, &n) < 0)
                r = error_set(err, ERROR_NOT_SUPPORTED, "The IOMMU groups have too many members");
        if (r >= 0 && (task_new(e, c, reply, userdata, &t) < 0))
                r = error_set(err, ERROR_FAILED, "Not enough memory");
        if (r < 0) {
                (void) request_free(q);
                return r;
        }
        t->data = q;
        t->data_free = request_data_free;
        to_read = calloc(n + 1, sizeof(PciAddress));
        for (size_t i = 0; to_read && i < n; i++)
                if (!members[i]->stuck && !members[i]->gone)
                        to_read[k++] = members[i]->facts.address;
        if (!to_read)
                r = -ENOMEM;
        else if (k == 0)
                r = task_fire_at(t, host_now(e->host), facts_known);
        else
                r = task_read(t, to_read, k, ASK_WHAT, facts_finished);
        if (r >= 0)
                return 0;
        task_free(t);
        return error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again");
}

int engine_plan(Engine *e, const Caller *c, char *const *devices, const char *owner,
                const AssignOptions *o, EngineReply reply, void *userdata, Error *err) {
        _cleanup_(request_freep) Request *q = NULL;
        AssignOptions options;
        int r;

        assert(e);
        assert(c);
        assert(o);
        options = *o;
        /* How long it would live does not change the plan; what would not be authorised does. */
        options.lifetime = LIFETIME_PERSISTENT;
        options.attach_within = 0;
        if (options.memlock > 0 && options.pidfd < 0)
                options.memlock = 0;
        r = engine_check_options(c, &options, err);
        if (r >= 0)
                r = request_new(e, devices, owner, &options, err, &q);
        if (r >= 0)
                r = request_set_caller(q, c, o->lifetime, err);
        if (r < 0)
                return r;
        q->plan_only = true;
        if (o->uid != UID_UNSET || o->by_node) {
                q->node_owner =
                        strjoinf("%u:%u", (unsigned) (o->uid != UID_UNSET ? o->uid : c->uid),
                                 o->gid != GID_UNSET ? (unsigned) o->gid : 0U);
                if (!q->node_owner)
                        return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        return ask(e, c, TAKE_PTR(q), reply, userdata, err);
}

int engine_explain(Engine *e, const Caller *c, const char *device, const char *owner,
                   EngineReply reply, void *userdata, Error *err) {
        char *devices[] = { (char *) device, NULL };
        AssignOptions o = ASSIGN_OPTIONS_INIT;
        _cleanup_(request_freep) Request *q = NULL;
        int r;

        assert(e);
        assert(c);
        assert(device);
        r = request_new(e, devices, owner, &o, err, &q);
        if (r >= 0)
                r = request_set_caller(q, c, _LIFETIME_INVALID, err);
        if (r < 0)
                return r;
        return ask(e, c, TAKE_PTR(q), reply, userdata, err);
}
