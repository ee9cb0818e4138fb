/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Answers that more than one kind of work gives: what a worker said, with those who hold the
 * device, as an error; and the assignment that an earlier request with the same id made.
 */

#include <assert.h>

#include "engine/engine-private.h"

static void holders_to_details(const HostResult *result, Error *err) {
        _cleanup_json_ Json *j = json_new_object();
        Json *list = json_new_array();

        if (result->n_holders == 0) {
                (void) json_free(list);
                return;
        }
        for (size_t i = 0; i < result->n_holders; i++) {
                Json *one = json_new_object();

                (void) json_set_u64(one, "pid", result->holders[i].pid);
                (void) json_set_u64(one, "uid", result->holders[i].uid);
                (void) json_set_string(one, "command", result->holders[i].comm);
                (void) json_set_string(one, "unit", result->holders[i].unit);
                (void) json_set_string(one, "holds", result->holders[i].what);
                (void) json_append(list, one);
        }
        (void) json_set(j, "holders", list);
        error_take_details(err, json_to_text(j, false));
}

int engine_result_error(const HostResult *result, const char *context, Error *err) {
        int r = error_from_result(err, result, context);

        holders_to_details(result, err);
        return r;
}

static void answer_again(Task *t) {
        Assignment *a = inventory_assignment(t->engine->inventory, t->assignment);
        _cleanup_error_ Error err = ERROR_INIT;

        if (a)
                task_answer(t, &(EngineAnswer) { .assignment = a, .job = task_job(t) });
        else {
                (void) error_set(&err, ERROR_FAILED,
                                 "The assignment failed meanwhile; see its job");
                task_refuse(t, &err);
        }
        task_free(t);
}

/* An answer that does not wait for the job, or, with wait, one more that does. */
int engine_answer_for(Engine *e, const Caller *c, const Assignment *a, bool wait, EngineReply reply,
                      void *userdata) {
        Task *t;
        int r = task_new(e, c, reply, userdata, &t);

        if (r < 0)
                return r;
        (void) string_copy(t->assignment, sizeof(t->assignment), a->id);
        t->job = a->job ? a->job->id : 0;
        t->waits = wait && a->job;
        return t->waits ? 0 : task_answer_later(t, answer_again);
}

int engine_answer_earlier(Engine *e, const Caller *c, const AssignOptions *o, uint64_t hash,
                          EngineReply reply, void *userdata, Error *err) {
        Assignment *a = engine_find_request(e, c->uid, o->request_id);

        if (!a)
                return 0;
        if (a->request_hash != hash)
                return error_set(err, ERROR_INVALID,
                                 "request-id \"%s\" was used with other arguments", o->request_id);
        return engine_answer_for(e, c, a, !o->no_wait, reply, userdata) < 0
                       ? error_set(err, ERROR_FAILED, "Not enough memory")
                       : 1;
}
