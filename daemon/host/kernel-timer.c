/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The clock and the timers of the kernel host: CLOCK_BOOTTIME on the event loop. A timer is one
 * source that is armed and disarmed; an unarmed one wakes nobody.
 */

#include <assert.h>
#include <time.h>

#include "host/kernel-private.h"

#define TIMER_ACCURACY_USEC 1U /* "at once" is asked for as well: sd-event would wait for company */

struct HostTimer {
        Host *host; /* first */
        sd_event_source *source;
        void (*fire)(void *userdata);
        void *userdata;
};

usec_t kernel_now(Host *h) {
        return now_boottime();
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata) {
        HostTimer *t = userdata;

        t->fire(t->userdata); /* may free t */
        return 0;
}

int kernel_timer_new(Host *h, void (*fire)(void *userdata), void *userdata, HostTimer **ret) {
        HostTimer *t = calloc(1, sizeof(HostTimer));
        int r;

        if (!t)
                return -ENOMEM;
        t->host = h;
        t->fire = fire;
        t->userdata = userdata;
        r = sd_event_add_time(kernel_host(h)->event, &t->source, CLOCK_BOOTTIME, USEC_INFINITY,
                              TIMER_ACCURACY_USEC, on_timer, t);
        if (r >= 0)
                r = sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
        if (r < 0) {
                kernel_timer_free(t);
                return r;
        }
        *ret = t;
        return 0;
}

int kernel_timer_set(HostTimer *t, usec_t at) {
        int r;

        if (at == USEC_INFINITY)
                return sd_event_source_set_enabled(t->source, SD_EVENT_OFF);
        r = sd_event_source_set_time(t->source, at);
        return r < 0 ? r : sd_event_source_set_enabled(t->source, SD_EVENT_ONESHOT);
}

void kernel_timer_free(HostTimer *t) {
        sd_event_source_disable_unref(t->source);
        free(t);
}
