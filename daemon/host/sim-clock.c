/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated host's time: a queue of tasks sorted by time, then by the order in which they were
 * armed, and a clock that either follows CLOCK_BOOTTIME or stands still until somebody moves it.
 * Whatever happens later in the model (a driver that takes its time, a uevent, a deadline, a timer
 * of the engine) is a task here, so nothing ever calls back from inside the call that started it.
 * With a loop, one time source or one deferred source stands for the queue.
 */

#include <assert.h>
#include <systemd/sd-event.h>
#include <time.h>

#include "host/sim-private.h"

#define RUN_MAX 1000000U /* of one host_sim_run(): more is a loop of the caller's */

struct HostTimer {
        Host *host; /* first: see host.c */
        SimTask task;
        void (*fire)(void *userdata);
        void *userdata;
};

usec_t sim_now(SimHost *h) {
        return h->frozen ? h->virtual_now : now_boottime();
}

static SimTask *first_task(SimHost *h) {
        return list_is_empty(&h->tasks) ? NULL : LIST_ENTRY(h->tasks.next, SimTask, link);
}

static void disable(struct sd_event_source *s) {
        if (s)
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

/* The sources exist already; switching them cannot fail for want of memory. */
static void arm_sources(SimHost *h) {
        SimTask *t = first_task(h);
        bool due;

        if (!h->event)
                return;
        due = t && t->at <= sim_now(h);
        if (!t || !due)
                disable(h->defer_source);
        if (!t || due || h->frozen || t->at == USEC_INFINITY)
                disable(h->time_source);
        if (due)
                (void) sd_event_source_set_enabled(h->defer_source, SD_EVENT_ONESHOT);
        else if (t && !h->frozen && t->at != USEC_INFINITY) {
                (void) sd_event_source_set_time(h->time_source, t->at);
                (void) sd_event_source_set_enabled(h->time_source, SD_EVENT_ONESHOT);
        }
}

void sim_task_disarm(SimHost *h, SimTask *t) {
        assert(h);
        assert(t);
        if (!list_is_linked(&t->link))
                return;
        list_unlink(&t->link);
        arm_sources(h);
}

void sim_task_arm(SimHost *h, SimTask *t, usec_t at) {
        ListLink *before;

        assert(h);
        assert(t);
        assert(t->run);
        if (list_is_linked(&t->link))
                list_unlink(&t->link);
        t->at = at;
        t->sequence = h->next_sequence++;
        for (before = h->tasks.previous; before != &h->tasks; before = before->previous)
                if (LIST_ENTRY(before, SimTask, link)->at <= at)
                        break;
        list_append(before->next, &t->link);
        arm_sources(h);
}

void sim_task_arm_now(SimHost *h, SimTask *t) {
        sim_task_arm(h, t, sim_now(h));
}

static void run_task(SimHost *h, SimTask *t) {
        if (h->frozen && t->at > h->virtual_now)
                h->virtual_now = t->at;
        list_unlink(&t->link);
        t->run(t->userdata);
}

/* Runs what is due at `until`. Tasks armed meanwhile belong to the next round when `one_round` is
 * set. */
static unsigned run_due(SimHost *h, usec_t until, bool one_round) {
        uint64_t end = h->next_sequence;
        unsigned n = 0;
        SimTask *t;

        while (n < RUN_MAX && (t = first_task(h)) && t->at <= until) {
                if (one_round && t->sequence >= end)
                        break;
                run_task(h, t);
                n++;
        }
        arm_sources(h);
        return n;
}

static int on_defer(struct sd_event_source *s _unused_, void *userdata) {
        SimHost *h = userdata;

        (void) run_due(h, sim_now(h), true);
        return 0;
}

static int on_time(struct sd_event_source *s _unused_, uint64_t usec _unused_, void *userdata) {
        SimHost *h = userdata;

        (void) run_due(h, sim_now(h), true);
        return 0;
}

int sim_clock_init(SimHost *h) {
        int r;

        assert(h);
        list_init(&h->tasks);
        if (!h->event)
                return 0;
        r = sd_event_add_time(h->event, &h->time_source, CLOCK_BOOTTIME, USEC_INFINITY, 1, on_time,
                              h);
        if (r < 0)
                return r;
        r = sd_event_add_defer(h->event, &h->defer_source, on_defer, h);
        if (r < 0)
                return r;
        disable(h->time_source);
        disable(h->defer_source);
        return 0;
}

void sim_clock_done(SimHost *h) {
        assert(h);
        while (!list_is_empty(&h->tasks))
                list_unlink(h->tasks.next);
        h->time_source = sd_event_source_disable_unref(h->time_source);
        h->defer_source = sd_event_source_disable_unref(h->defer_source);
        h->event = sd_event_unref(h->event);
}

/* ---- timers of the engine ---- */

static void timer_run(void *userdata) {
        HostTimer *t = userdata;

        t->fire(t->userdata);
}

int sim_timer_new(Host *host, void (*fire)(void *userdata), void *userdata, HostTimer **ret) {
        HostTimer *t = calloc(1, sizeof(*t));

        if (!t)
                return -ENOMEM;
        *t = (HostTimer) { .host = host, .fire = fire, .userdata = userdata };
        t->task.run = timer_run;
        t->task.userdata = t;
        *ret = t;
        return 0;
}

int sim_timer_set(HostTimer *t, usec_t at) {
        SimHost *h = sim_of(t->host);

        if (at == USEC_INFINITY)
                sim_task_disarm(h, &t->task);
        else
                sim_task_arm(h, &t->task, at);
        return 0;
}

void sim_timer_free(HostTimer *t) {
        sim_task_disarm(sim_of(t->host), &t->task);
        free(t);
}

void sim_timers_drop(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->tasks, link) {
                SimTask *t = LIST_ENTRY(link, SimTask, link);

                if (t->run == timer_run)
                        sim_timer_free(t->userdata);
        }
}

/* ---- who moves the clock ---- */

void host_sim_advance(Host *host, usec_t by) {
        SimHost *h = sim_of(host);
        usec_t target;

        assert(host_is_sim(host));
        if (!h->frozen) {
                h->virtual_now = now_boottime();
                h->frozen = true;
        }
        target = by > USEC_INFINITY - 1 - h->virtual_now ? USEC_INFINITY - 1 : h->virtual_now + by;
        (void) sim_handles_poll(h);
        (void) run_due(h, target, false);
        if (h->virtual_now < target)
                h->virtual_now = target;
        arm_sources(h);
}

usec_t host_sim_clock(Host *host) {
        assert(host_is_sim(host));
        return sim_now(sim_of(host));
}

unsigned host_sim_run(Host *host) {
        SimHost *h = sim_of(host);
        unsigned n = 0, k;

        assert(host_is_sim(host));
        do {
                k = sim_handles_poll(h) + run_due(h, sim_now(h), false);
                n += k;
        } while (k > 0 && n < RUN_MAX);
        return n;
}

bool host_sim_run_one(Host *host, usec_t until) {
        SimHost *h = sim_of(host);
        SimTask *t = first_task(h);

        assert(host_is_sim(host));
        if (!t || t->at > until)
                return sim_handles_poll(h) > 0;
        run_task(h, t);
        arm_sources(h);
        return true;
}

usec_t host_sim_next(Host *host) {
        SimTask *t;

        assert(host_is_sim(host));
        t = first_task(sim_of(host));
        return t ? t->at : USEC_INFINITY;
}
