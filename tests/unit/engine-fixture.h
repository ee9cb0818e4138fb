/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The real engine and the real journal over a simulated host without a loop. A crash is an engine
 * and a store freed in the middle of something; the next ones start over the same host and
 * directory.
 */

#include "base/log.h"
#include "engine/engine.h"
#include "sim-fixture.h"
#include "store/store.h"

#define OWNER "vm-1"
#define OTHER "vm-2"
#define ALICE ((Caller) { .uid = 1001, .bus_name = ":1.7", .manager = true })
#define BOB ((Caller) { .uid = 1002, .bus_name = ":1.8", .manager = true })
#define ROOT \
        ((Caller) { .uid = 0, .bus_name = ":1.1", .may_manage_others = true, .may_force = true })

typedef struct Answer { /* of the last request */
        unsigned n;
        ErrorCode code;
        char message[ERROR_MESSAGE_MAX];
        char *details, *json;
        char token[256];
        char assignment[ASSIGNMENT_ID_MAX];
        uint64_t job;
        size_t n_fds;
        int fds[16];
} Answer;

typedef struct World {
        Host *host;
        Store *store;
        Engine *engine;
        char *dir;
        EngineOptions options;
        Answer answer;
        unsigned n_changed, n_drift, n_settled, n_added, n_removed, n_notices;
        char last_notice[64];
} World;

static inline void world_device_changed(const Device *d _unused_, void *userdata) {
        ((World *) userdata)->n_changed++;
}

static inline void world_device_added(const Device *d _unused_, void *userdata) {
        ((World *) userdata)->n_added++;
}

static inline void world_device_removed(const Device *d _unused_, void *userdata) {
        ((World *) userdata)->n_removed++;
}

static inline void world_drift(const Device *d _unused_, const char *what _unused_,
                               const char *found _unused_, const char *expected _unused_,
                               void *userdata) {
        ((World *) userdata)->n_drift++;
}

static inline void world_settled(void *userdata) {
        ((World *) userdata)->n_settled++;
}

static inline void world_notice(const Assignment *a _unused_, const AssignmentNotice *n,
                                void *userdata) {
        World *w = userdata;

        w->n_notices++;
        (void) string_copy(w->last_notice, sizeof(w->last_notice), n->kind);
}

static inline void world_start(World *w) {
        static const EngineObserver observer = {
                .device_changed = world_device_changed,
                .device_added = world_device_added,
                .device_removed = world_device_removed,
                .drift = world_drift,
                .settled = world_settled,
                .assignment_notice = world_notice,
        };

        ck_assert_int_eq(store_open(w->dir, w->dir, &w->store), 0);
        ck_assert_int_eq(engine_new(NULL, w->host, w->store, &w->options, &w->engine), 0);
        engine_observe(w->engine, &observer, w);
        ck_assert_int_eq(engine_start(w->engine), 0);
}

static inline void world_stop(World *w) {
        w->engine = engine_free(w->engine);
        w->store = store_close(w->store);
}

static inline void world_init(World *w) {
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", getenv("top_srcdir"));
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_free_ char *text = NULL;
        size_t n;

        log_set_level(getenv("VERBOSE") ? LOG_DEBUG : LOG_ERR);
        *w = (World) { .options = { .simulated = true, .max_jobs = 64, .max_assignments = 64 } };
        w->dir = unit_make_dir();
        ck_assert_int_eq(read_file_at(AT_FDCWD, path, 16U << 20, &text, &n), 0);
        ck_assert_msg(host_sim_new(NULL, text, n, true, &err, &w->host) == 0, "%s", err.message);
        world_start(w);
}

static inline void answer_reset(Answer *a) {
        for (size_t i = 0; i < a->n_fds && i < ELEMENTSOF(a->fds); i++)
                (void) safe_close(a->fds[i]);
        free(a->details);
        free(a->json);
        *a = (Answer) {};
}

static inline void world_done(World *w) {
        world_stop(w);
        w->host = host_free(w->host);
        answer_reset(&w->answer);
        unit_remove_dir(w->dir);
}
#define _cleanup_world_ _cleanup_(world_done)

/* Lets the clock run until nothing is pending, or until `by` has passed. */
static inline void world_run(World *w, usec_t by) {
        Fixture f = { .host = w->host };

        fixture_run(&f, by);
}
#define FOREVER (3600 * USEC_PER_SEC)

static inline void world_settle(World *w) {
        ck_assert_int_eq(engine_settle(w->engine), 0);
        world_run(w, USEC_PER_SEC);
        ck_assert_uint_eq(w->n_settled, 1);
}

static inline void world_reply(const EngineAnswer *answer, const Error *error, void *userdata) {
        World *w = userdata;
        Answer *a = &w->answer;

        ck_assert(!answer != !error);
        a->n++;
        if (error) {
                a->code = error->code;
                (void) string_copy(a->message, sizeof(a->message), error->message);
                ck_assert_int_eq(free_and_strdup(&a->details, error->details), 0);
                return;
        }
        if (answer->assignment)
                (void) string_copy(a->assignment, sizeof(a->assignment), answer->assignment->id);
        if (answer->job)
                a->job = answer->job->id;
        ck_assert_int_eq(free_and_strdup(&a->json, answer->json), 0);
        (void) string_copy(a->token, sizeof(a->token), strempty(answer->token));
        for (size_t i = 0; i < answer->n_fds && i < ELEMENTSOF(a->fds); i++)
                a->fds[a->n_fds++] = fcntl(answer->fds[i].fd, F_DUPFD_CLOEXEC, 3);
}

/* Begins; an error that is returned counts as an answer. */
static inline void world_assign_begin(World *w, const Caller *c, char *const *devices,
                                      const char *owner, const AssignOptions *o) {
        _cleanup_error_ Error err = ERROR_INIT;

        answer_reset(&w->answer);
        if (engine_assign(w->engine, c, devices, owner, o, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        else
                ck_assert_uint_eq(w->answer.n, 0); /* never from inside the request */
}

static inline void world_assign(World *w, const Caller *c, char *const *devices, const char *owner,
                                const AssignOptions *o) {
        world_assign_begin(w, c, devices, owner, o);
        for (unsigned i = 0; i < 1000 && w->answer.n == 0; i++)
                world_run(w, 100 * USEC_PER_MSEC);
        ck_assert_uint_eq(w->answer.n, 1);
}

static inline void world_release(World *w, const Caller *c, const char *id) {
        _cleanup_error_ Error err = ERROR_INIT;
        char copy[ASSIGNMENT_ID_MAX];

        (void) string_copy(copy, sizeof(copy), id);
        answer_reset(&w->answer);
        if (engine_release(w->engine, c, copy, false, world_reply, w, &err) < 0)
                world_reply(NULL, &err, w);
        for (unsigned i = 0; i < 1000 && w->answer.n == 0; i++)
                world_run(w, 100 * USEC_PER_MSEC);
        ck_assert_uint_eq(w->answer.n, 1);
}

static inline const Device *world_device(World *w, PciAddress a) {
        return inventory_device(engine_inventory(w->engine), a);
}

static inline const Assignment *world_assignment(World *w, const char *id) {
        return inventory_assignment(engine_inventory(w->engine), id);
}

static inline size_t world_n_assignments(World *w) {
        return hashmap_size(engine_inventory(w->engine)->assignments);
}

static inline bool world_driver_is(World *w, PciAddress a, const char *driver) {
        Fixture f = { .host = w->host };

        return streq(DRIVER_OF(&f, a), driver);
}

/* Both functions of the GPU's card are as a host driver had them, in the kernel and in the model,
 * unowned. */
static inline void world_check_restored(World *w) {
        ck_assert(world_driver_is(w, GPU, "nvidia"));
        ck_assert(world_driver_is(w, GPU_AUDIO, "snd_hda_intel"));
        ck_assert_str_eq(world_device(w, GPU)->facts.driver, "nvidia");
        ck_assert_int_eq(device_get_state(world_device(w, GPU)), DEVICE_HOST);
        ck_assert_int_eq(device_get_state(world_device(w, GPU_AUDIO)), DEVICE_HOST);
        ck_assert_ptr_null(world_device(w, GPU)->group->assignment);
        ck_assert_ptr_null(world_device(w, GPU)->job);
        ck_assert_uint_eq(world_n_assignments(w), 0);
}

static inline char **gpu_card(void) {
        static char *both[] = { (char *) "0000:41:00.0", (char *) "0000:41:00.1", NULL };

        return both;
}

static inline char **one_device(const char *name) {
        static char *one[2];

        one[0] = (char *) name;
        one[1] = NULL;
        return one;
}

static inline AssignOptions persistent(void) {
        AssignOptions o = ASSIGN_OPTIONS_INIT;

        o.lifetime = LIFETIME_PERSISTENT;
        return o;
}
