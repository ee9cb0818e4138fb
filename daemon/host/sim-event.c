/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The simulated kernel's uevents: emitted in the order of what happens, delivered from the loop,
 * numbered like the kernel's. Losing some ends in one overflow, as a full socket does.
 */

#include <assert.h>

#include "host/sim-private.h"

typedef struct SimEvent {
        ListLink link;
        SimHost *host;
        SimTask task;
        HostEvent event;
} SimEvent;

static void deliver(void *userdata) {
        SimEvent *e = userdata;
        SimHost *h = e->host;
        HostEvent event = e->event;

        list_unlink(&e->link);
        free(e);
        if (h->handler)
                h->handler(&event, h->handler_userdata);
}

static void send_event(SimHost *h, const HostEvent *event) {
        SimEvent *e = calloc(1, sizeof(*e));

        if (!e) /* lost, as in the kernel; the next event says so */
                h->lost = true;
        if (!e)
                return;
        *e = (SimEvent) { .host = h, .event = *event };
        e->task.run = deliver;
        e->task.userdata = e;
        list_append(&h->events, &e->link);
        sim_task_arm_now(h, &e->task);
}

static void emit(SimHost *h, HostEvent event) {
        event.seqnum = ++h->seqnum;
        if (h->lose > 0 && --h->lose > 0)
                return;
        if (h->lost) { /* this one is the last that is lost */
                h->lost = false;
                send_event(h, &(HostEvent) { .type = HOST_EVENT_OVERFLOW, .device_online = -1 });
                return;
        }
        send_event(h, &event);
}

void sim_emit_at(SimHost *h, HostEventType type, PciAddress a, bool synthetic) {
        assert(h);
        emit(h, (HostEvent) {
                .type = type,
                .has_address = true,
                .address = a,
                .synthetic = synthetic,
                .device_online = -1,
        });
}

/* what: static text */
void sim_emit_error(SimHost *h, const SimDevice *d, const char *what, bool online) {
        assert(h);
        assert(d);
        emit(h, (HostEvent) {
                .type = HOST_EVENT_CHANGE,
                .has_address = true,
                .address = d->source.address,
                .error_event = what,
                .device_online = online,
        });
}

void sim_emit(SimHost *h, HostEventType type, const SimDevice *d) {
        assert(d);
        sim_emit_at(h, type, d->source.address, false);
}

void host_sim_lose_events(Host *host, unsigned n) {
        assert(host_is_sim(host));
        sim_of(host)->lose = n;
        sim_of(host)->lost = n > 0;
}

bool host_sim_loses_events(Host *host) {
        assert(host_is_sim(host));
        return sim_of(host)->lost;
}

int host_sim_trigger(Host *host, PciAddress a) {
        assert(host_is_sim(host));
        if (!sim_device(sim_of(host), a))
                return -ENODEV;
        sim_emit_at(sim_of(host), HOST_EVENT_CHANGE, a, true);
        return 0;
}

void sim_events_free(SimHost *h) {
        assert(h);
        LIST_FOREACH(&h->events, link) {
                SimEvent *e = LIST_ENTRY(link, SimEvent, link);

                sim_task_disarm(h, &e->task);
                list_unlink(link);
                free(e);
        }
}
