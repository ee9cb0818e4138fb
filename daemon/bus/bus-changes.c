/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What has been shown of each object, as one hash per property that can change, and what has
 * changed since: the engine only says "changed", and PropertiesChanged carries exactly the
 * properties whose value differs. Changes are collected and signalled once per turn of the event
 * loop, in slices, in the order in which they began; what is signalled at once (a removal, an
 * owner's notice) is preceded by what is pending of its object. Objects that the bus could not have
 * shown yet are announced in the same turn. The progress of a running job is for people to watch
 * and costs the job itself time, so it is told a few times a second only.
 */

#include <assert.h>
#include <systemd/sd-event.h>

#include "base/log.h"
#include "bus/bus-private.h"

#define FLUSH_SLICE 64U
#define PROGRESS_USEC (100 * USEC_PER_MSEC)

typedef struct Shadow {
        const void *object;
        ListLink link;      /* in Bus.dirty or Bus.progress */
        uint8_t kind;
        bool in_progress;   /* in Bus.progress */
        bool announced;     /* clients have been told that it exists */
        uint32_t hashes[];  /* of the properties that change, in their order */
} Shadow;

static size_t changing_count(const ObjectClass *c) {
        size_t count = 0;
        for (size_t n = 0; n < c->n_properties; n++)
                count += c->properties[n].changes;
        return count;
}

static uint32_t property_hash(Bus *b, const Property *p, const void *object) {
        Sink s = SINK_HASH;
        p->get(&s, b, object);
        return (uint32_t) (s.hash ^ (s.hash >> 32));
}

static void shadow_remember(Bus *b, Shadow *shadow) {
        const ObjectClass *c = object_class(shadow->kind);
        for (size_t n = 0, k = 0; n < c->n_properties; n++)
                if (c->properties[n].changes)
                        shadow->hashes[k++] = property_hash(b, &c->properties[n], shadow->object);
}

static Shadow *shadow_find(Bus *b, const void *object) {
        return hashmap_get_u64(b->shadows, (uint64_t) (uintptr_t) object);
}

static int shadow_add(Bus *b, ObjectKind kind, const void *object, bool announced, Shadow **ret) {
        Shadow *s =
                calloc(1, sizeof(Shadow) + changing_count(object_class(kind)) * sizeof(uint32_t));
        if (!s)
                return -ENOMEM;
        s->object = object;
        s->kind = (uint8_t) kind;
        s->announced = announced;
        int r = hashmap_put_u64(b->shadows, (uint64_t) (uintptr_t) object, s);
        if (r < 0) {
                free(s);
                return r;
        }
        if (announced)
                shadow_remember(b, s);
        *ret = s;
        return 0;
}

static void shadow_drop(Bus *b, Shadow *s) {
        list_unlink(&s->link);
        (void) hashmap_remove_u64(b->shadows, (uint64_t) (uintptr_t) s->object);
        free(s);
}

/* ---- signalling ---- */

static int announce(Bus *b, Shadow *s) {
        BusPath path = bus_path_object(s->kind, s->object);

        int r = sd_bus_emit_interfaces_added(b->bus, path.text, object_class(s->kind)->interface,
                                             NULL);
        if (r < 0)
                return r;
        s->announced = true;
        shadow_remember(b, s);
        if (s->kind != OBJECT_JOB)
                return 0;
        return sd_bus_emit_signal(b->bus, BUS_PATH, BUS_INTERFACE_MANAGER, "JobNew", "o",
                                  path.text);
}

static int signal_changes(Bus *b, Shadow *s) {
        const ObjectClass *c = object_class(s->kind);
        const char *names[PROPERTIES_MAX + 1];
        size_t count = 0;

        for (size_t n = 0, k = 0; n < c->n_properties; n++) {
                if (!c->properties[n].changes)
                        continue;
                uint32_t hash = property_hash(b, &c->properties[n], s->object);
                if (hash != s->hashes[k])
                        names[count++] = c->properties[n].name;
                s->hashes[k++] = hash;
        }
        if (count == 0)
                return 0;
        names[count] = NULL;
        return sd_bus_emit_properties_changed_strv(b->bus, bus_path_object(s->kind, s->object).text,
                                                   c->interface, (char **) names);
}

static void shadow_flush(Bus *b, Shadow *s) {
        list_unlink(&s->link);
        s->in_progress = false;
        int r = s->announced ? signal_changes(b, s) : announce(b, s);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to signal a change of %s: %m",
                                         bus_path_object(s->kind, s->object).text);
}

static int on_flush(struct sd_event_source *source, void *userdata) {
        Bus *b = userdata;

        for (unsigned n = 0; n < FLUSH_SLICE && !list_is_empty(&b->dirty); n++)
                shadow_flush(b, LIST_ENTRY(b->dirty.next, Shadow, link));
        if (list_is_empty(&b->dirty))
                return 0;
        return sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static void mark(Bus *b, Shadow *s) {
        if (!b->flush) /* not on a bus yet: there is nobody to tell */
                return;
        if (s->in_progress)
                list_unlink(&s->link);
        s->in_progress = false;
        if (!list_is_linked(&s->link))
                list_append(&b->dirty, &s->link);
        int r = sd_event_source_set_enabled(b->flush, SD_EVENT_ONESHOT);
        if (r < 0)
                (void) log_error_errno(r, "Failed to schedule signals: %m");
}

static int on_progress(struct sd_event_source *source, uint64_t usec, void *userdata) {
        Bus *b = userdata;

        LIST_FOREACH(&b->progress, link) {
                Shadow *s = LIST_ENTRY(link, Shadow, link);

                mark(b, s);
        }
        return 0;
}

/* Nothing but its progress has changed. */
static void mark_progress(Bus *b, Shadow *s) {
        if (!b->flush || list_is_linked(&s->link))
                return;
        int r = 0;
        if (list_is_empty(&b->progress)) {
                r = sd_event_source_set_time_relative(b->progress_timer, PROGRESS_USEC);
                if (r >= 0)
                        r = sd_event_source_set_enabled(b->progress_timer, SD_EVENT_ONESHOT);
        }
        if (r < 0) {
                mark(b, s);
                return;
        }
        s->in_progress = true;
        list_append(&b->progress, &s->link);
}

static void object_added(Bus *b, ObjectKind kind, const void *object) {
        Shadow *s = shadow_find(b, object);

        if (!s && shadow_add(b, kind, object, !b->flush, &s) < 0) {
                (void) log_error("Failed to announce %s: out of memory",
                                 bus_path_object(kind, object).text);
                return;
        }
        mark(b, s);
}

static void object_changed(Bus *b, ObjectKind kind, const void *object) {
        Shadow *s = shadow_find(b, object);
        if (s)
                mark(b, s);
        else
                object_added(b, kind, object);
}

/* The object is still there: sd-bus looks it up while it makes the signal. */
static void object_removed(Bus *b, ObjectKind kind, const void *object) {
        Shadow *s = shadow_find(b, object);
        int r = 0;

        if (!s)
                return;
        if (s->announced && b->flush)
                r = sd_bus_emit_interfaces_removed(b->bus, bus_path_object(kind, object).text,
                                                   object_class(kind)->interface, NULL);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to signal that %s is gone: %m",
                                         bus_path_object(kind, object).text);
        shadow_drop(b, s);
}

/* What is pending of an object goes out now, so that a signal about it does not overtake it. */
static void flush_object(Bus *b, const void *object) {
        Shadow *s = shadow_find(b, object);
        if (s && list_is_linked(&s->link))
                shadow_flush(b, s);
}

/* ---- the engine's reports ---- */

static void on_device_added(const Device *d, void *userdata) {
        object_added(userdata, OBJECT_DEVICE, d);
}

static void on_device_removed(const Device *d, void *userdata) {
        object_removed(userdata, OBJECT_DEVICE, d);
}

static void on_device_changed(const Device *d, void *userdata) {
        object_changed(userdata, OBJECT_DEVICE, d);
}

static void on_group_added(const Group *g, void *userdata) {
        object_added(userdata, OBJECT_GROUP, g);
}

static void on_group_removed(const Group *g, void *userdata) {
        object_removed(userdata, OBJECT_GROUP, g);
}

static void on_group_changed(const Group *g, void *userdata) {
        object_changed(userdata, OBJECT_GROUP, g);
}

static void on_assignment_added(const Assignment *a, void *userdata) {
        object_added(userdata, OBJECT_ASSIGNMENT, a);
}

static void on_assignment_removed(const Assignment *a, void *userdata) {
        flush_object(userdata, a); /* its last state is seen before it goes */
        object_removed(userdata, OBJECT_ASSIGNMENT, a);
}

static void on_assignment_changed(const Assignment *a, void *userdata) {
        object_changed(userdata, OBJECT_ASSIGNMENT, a);
}

static int emit_removal_requested(Bus *b, BusPath path, const AssignmentNotice *n) {
        _cleanup_json_ Json *details = NULL;
        const char *reason = "", *text = strempty(n->details);
        uint64_t deadline = 0;

        if (json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &details, NULL, NULL) >= 0) {
                (void) json_get_string(details, "reason",
                                       &reason); /* stays "" where it is not said */
                (void) json_get_u64(details, "deadline", UINT64_MAX, &deadline);
        }
        return sd_bus_emit_signal(b->bus, path.text, BUS_INTERFACE_ASSIGNMENT, n->kind, "tsst",
                                  n->number, strempty(n->device), reason, deadline);
}

static int emit_quarantined(Bus *b, BusPath path, const AssignmentNotice *n) {
        _cleanup_json_ Json *details = NULL;
        const char *reason = "", *text = strempty(n->details);

        if (json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &details, NULL, NULL) >= 0)
                (void) json_get_string(details, "reason",
                                       &reason); /* stays "" where it is not said */
        return sd_bus_emit_signal(b->bus, path.text, BUS_INTERFACE_ASSIGNMENT, n->kind, "tss",
                                  n->number, strempty(n->device), reason);
}

static void on_assignment_notice(const Assignment *a, const AssignmentNotice *n, void *userdata) {
        BusPath path = bus_path_assignment(a->id);
        Bus *b = userdata;
        int r;

        if (!b->flush)
                return;
        object_changed(b, OBJECT_ASSIGNMENT, a); /* PendingEvents */
        flush_object(b, a);
        if (streq(n->kind, "Lost"))
                r = sd_bus_emit_signal(b->bus, path.text, BUS_INTERFACE_ASSIGNMENT, n->kind, "ts",
                                       n->number, strempty(n->device));
        else if (streq(n->kind, "Quarantined"))
                r = emit_quarantined(b, path, n);
        else if (streq(n->kind, "RemovalRequested"))
                r = emit_removal_requested(b, path, n);
        else {
                log_warning("A notice \"%s\" has no signal; GetEvents has it", n->kind);
                return;
        }
        if (r < 0)
                (void) log_warning_errno(r, "Failed to tell the owner of %s: %m", a->id);
}

static void on_job_added(const Job *j, void *userdata) {
        object_added(userdata, OBJECT_JOB, j);
}

static void on_job_changed(const Job *j, void *userdata) {
        Bus *b = userdata;
        Shadow *s = shadow_find(b, j);

        if (s && s->announced && j->state == JOB_RUNNING && !j->finished)
                mark_progress(b, s);
        else
                object_changed(b, OBJECT_JOB, j);
        if (!j->finished || !b->flush)
                return;
        flush_object(b, j);
        int r = sd_bus_emit_signal(b->bus, BUS_PATH, BUS_INTERFACE_MANAGER, "JobRemoved", "os",
                                   bus_path_job(j->id).text, job_state_to_string(j->state));
        if (r < 0)
                (void) log_warning_errno(r, "Failed to signal the end of job %llu: %m",
                                         (unsigned long long) j->id);
}

static void on_job_removed(const Job *j, void *userdata) {
        object_removed(userdata, OBJECT_JOB, j);
}

static void on_drift(const Device *d, const char *what, const char *found, const char *expected,
                     void *userdata) {
        Bus *b = userdata;

        if (!b->flush)
                return;
        flush_object(b, d);
        int r = sd_bus_emit_signal(b->bus, BUS_PATH, BUS_INTERFACE_MANAGER, "Drift", "oa{sv}",
                                   bus_path_device(d->facts.address).text, 3, "what", "s", what,
                                   "found", "s", found, "expected", "s", expected);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to signal drift: %m");
}

static void on_settled(void *userdata) {
        Bus *b = userdata;

        if (!b->flush)
                return;
        int r = sd_bus_emit_properties_changed(b->bus, BUS_PATH, BUS_INTERFACE_MANAGER, "Settled",
                                               NULL);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to signal that all facts are read: %m");
}

static void on_policy_changed(void *userdata) {
        Bus *b = userdata;

        if (!b->flush)
                return;
        int r = sd_bus_emit_properties_changed(b->bus, BUS_PATH, BUS_INTERFACE_MANAGER,
                                               "PolicyGeneration", NULL);
        if (r < 0)
                (void) log_warning_errno(r, "Failed to signal that the policy changed: %m");
}

static void on_watch_clients(bool needed, void *userdata) {
        Bus *b = userdata;

        b->watch_wanted = needed;
        int r = client_watch_update(b);
        if (r < 0)
                (void) log_error_errno(r, "Failed to watch clients: %m");
}

const EngineObserver bus_observer = {
        .device_added = on_device_added,
        .device_removed = on_device_removed,
        .device_changed = on_device_changed,
        .group_added = on_group_added,
        .group_removed = on_group_removed,
        .group_changed = on_group_changed,
        .assignment_added = on_assignment_added,
        .assignment_removed = on_assignment_removed,
        .assignment_changed = on_assignment_changed,
        .assignment_notice = on_assignment_notice,
        .job_added = on_job_added,
        .job_changed = on_job_changed,
        .job_removed = on_job_removed,
        .drift = on_drift,
        .settled = on_settled,
        .policy_changed = on_policy_changed,
        .watch_clients = on_watch_clients,
};

/* ---- start and stop ---- */

static int shadow_all(Bus *b, ObjectKind kind, const Hashmap *map) {
        void *object;
        Shadow *s;

        HASHMAP_FOREACH(object, map) {
                int r = shadow_add(b, kind, object, true, &s);
                if (r < 0)
                        return r;
        }
        return 0;
}

int bus_changes_start(Bus *b) {
        assert(b);

        const Inventory *i = engine_inventory(b->engine);
        const Hashmap *maps[] = { NULL, i->devices, i->groups, i->assignments, i->jobs };

        b->shadows = hashmap_new_u64();
        if (!b->shadows)
                return -ENOMEM;
        for (ObjectKind k = OBJECT_DEVICE; k < _OBJECT_KIND_MAX; k++) {
                int r = shadow_all(b, k, maps[k]);
                if (r < 0)
                        return r;
        }
        int r = sd_event_add_time_relative(b->event, &b->progress_timer, CLOCK_MONOTONIC, 0,
                                           PROGRESS_USEC / 10, on_progress, b);
        if (r < 0)
                return r;
        r = sd_event_source_set_enabled(b->progress_timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        r = sd_event_add_defer(b->event, &b->flush, on_flush, b);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(b->flush, SD_EVENT_OFF);
}

void bus_changes_stop(Bus *b) {
        void *s;

        b->flush = sd_event_source_disable_unref(b->flush);
        b->progress_timer = sd_event_source_disable_unref(b->progress_timer);
        if (!b->shadows)
                return;
        HASHMAP_FOREACH(s, b->shadows)
                free(s);
        b->shadows = hashmap_free(b->shadows);
}
