/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The engine's own life, and the few places through which every change of what is shown goes: a
 * device, an assignment's state, a notice to the owner. Observers are told after the change; they
 * read, they never call back into a request.
 */

#include "engine/engine.h"

#include <assert.h>
#include <sys/random.h>

#include "engine/engine-kept.h"
#include "engine/engine-policy.h"

int engine_new(struct sd_event *event, Host *host, Store *store, const EngineOptions *options,
               Engine **ret) {
        _cleanup_(engine_freep) Engine *e = NULL;
        int r;

        assert(host);
        assert(store);
        assert(options);
        assert(ret);
        e = calloc(1, sizeof(Engine));
        if (!e)
                return -ENOMEM;
        list_init(&e->tasks);
        list_init(&e->queue);
        list_init(&e->owners);
        e->event = event;
        e->host = host;
        e->store = store;
        e->options = *options;
        if (e->options.step_timeout_msec == 0)
                e->options.step_timeout_msec = PLAN_STEP_TIMEOUT_DEFAULT_MSEC;
        e->wanted = hashmap_new_u64();
        r = e->wanted ? inventory_new(&e->inventory) : -ENOMEM;
        if (r >= 0)
                r = engine_policy_init(e);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(e);
        return 0;
}

static void ignore_event(const HostEvent *event, void *userdata) {
}

Engine *engine_free(Engine *e) {
        if (!e)
                return NULL;
        if (e->listening)
                (void) host_start(e->host, ignore_event,
                                  NULL); /* the host may live on; it fails no second time */
        LIST_FOREACH(&e->tasks, link)
                task_free(LIST_ENTRY(link, Task, link));
        owner_free_all(e);
        e->resync = resync_free(e->resync);
        host_timer_free(e->queue_timer);
        host_timer_free(e->read_timer);
        for (size_t i = 0; i < e->n_restored; i++) {
                free(e->restored[i].name);
                (void) safe_close(e->restored[i].fd);
        }
        free(e->restored);
        free(e->to_read);
        hashmap_free(e->wanted);
        host_platform_done(&e->platform);
        engine_kept_done(e);
        host_timer_free(e->reserve_timer);
        engine_policy_done(e);
        inventory_free(e->inventory);
        free(e);
        return NULL;
}

void engine_observe(Engine *e, const EngineObserver *observer, void *userdata) {
        assert(e);
        e->observer = observer ? *observer : (EngineObserver) {};
        e->observer_userdata = userdata;
}

const Inventory *engine_inventory(const Engine *e) {
        assert(e);
        return e->inventory;
}

Host *engine_host(const Engine *e) {
        assert(e);
        return e->host;
}

bool engine_is_settled(const Engine *e) {
        assert(e);
        return e->settled;
}

bool engine_caller_owns(const Assignment *a, uid_t uid) {
        assert(a);
        return uid == 0 || uid == a->creator_uid ||
               (a->user_uid != UID_UNSET && uid == a->user_uid);
}

int engine_find_owned(Engine *e, const Caller *c, const char *id, Error *err, Assignment **ret) {
        Assignment *a = id ? inventory_assignment(e->inventory, id) : NULL;

        if (!a)
                return error_set(err, ERROR_NOT_FOUND,
                                 "There is no such assignment; see pciassignctl list");
        if (!c->may_manage_others && !engine_caller_owns(a, c->uid))
                return error_set(err, ERROR_NOT_AUTHORIZED,
                                 "Assignment %s belongs to uid %u; only its creator, its user and "
                                 "administrators may do "
                                 "this",
                                 a->id, (unsigned) a->creator_uid);
        *ret = a;
        return 0;
}

int engine_random_id(char ret[ASSIGNMENT_ID_MAX]) {
        uint8_t bytes[16];

        if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t) sizeof(bytes))
                return errno > 0 ? -errno : -EIO;
        for (size_t i = 0; i < sizeof(bytes); i++)
                (void) snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
        return 0;
}

/* ---- changes ---- */

void engine_device_changed(Engine *e, Device *d) {
        assert(d);
        d->generation++;
        e->inventory->generation++;
        if (e->observer.device_changed)
                e->observer.device_changed(d, e->observer_userdata);
}

void engine_assignment_changed(Engine *e, Assignment *a) {
        assert(a);
        e->inventory->generation++;
        if (e->observer.assignment_changed)
                e->observer.assignment_changed(a, e->observer_userdata);
}

bool engine_step(Engine *e, Assignment *a, AssignmentEvent event) {
        AssignmentState from, to;

        assert(e);
        assert(a);
        from = a->state;
        to = assignment_next(from, event);
        if ((int) to < 0) {
                log_error("Bug: assignment %s is %s and cannot take the event %s", a->id,
                          assignment_state_to_string(from), assignment_event_to_string(event));
                return false;
        }
        assignment_set_state(a, to);
        (void) log_context(&(LogContext) { .assignment = a->id, .owner = a->owner }, LOG_DEBUG, 0,
                           "Assignment %s: %s → %s → %s", a->id, assignment_state_to_string(from),
                           assignment_event_to_string(event), assignment_state_to_string(to));
        engine_assignment_changed(e, a);
        return true;
}

void engine_audit(const Assignment *a, const char *message_id, int level, const char *format, ...) {
        char text[512];
        va_list ap;

        assert(a);
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        (void) log_context(
                &(LogContext) { .message_id = message_id, .assignment = a->id, .owner = a->owner },
                level, 0, "%s", text);
}

void engine_notice(Engine *e, Assignment *a, const char *kind, PciAddress device,
                   const char *details) {
        const AssignmentNotice *n;
        int r;

        assert(a);
        if (PLANTED(LOSE_NOTICE))
                return;
        r = assignment_add_notice(a, host_now(e->host), kind, PCI_ADDRESS_TEXT(device), details,
                                  &n);
        if (r < 0) {
                (void) log_error_errno(r, "Failed to keep a notice for assignment %s: %m", a->id);
                return;
        }
        engine_assignment_changed(e, a);
        if (e->observer.assignment_notice)
                e->observer.assignment_notice(a, n, e->observer_userdata);
}

int engine_refresh_device(Engine *e, Device *d) {
        char driver[PCI_DRIVER_NAME_MAX];
        const Group *group;
        int r;

        assert(e);
        assert(d);
        (void) string_copy(driver, sizeof(driver), d->facts.driver);
        group = d->group;
        r = host_refresh(e->host, &d->facts, HOST_REFRESH_LINKS);
        if (r == -ENODEV) {
                engine_remove_device(e, d);
                return r;
        }
        if (r < 0)
                return r;
        d->facts_at = host_now(e->host);
        r = inventory_relink(e->inventory, d);
        if (r < 0)
                return r;
        if (streq(driver, d->facts.driver) && group == d->group)
                return 0;
        engine_update_verdicts(e, d, d);
        engine_device_changed(e, d);
        return 0;
}

void engine_refresh_plan(Engine *e, const Plan *plan) {
        assert(plan);
        for (size_t i = 0; i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);
                int r = d ? engine_refresh_device(e, d) : 0;

                if (r < 0 && r != -ENODEV)
                        (void) log_warning_errno(r, "Failed to read %s again: %m",
                                                 PCI_ADDRESS_TEXT(plan->devices[i].address));
        }
}

int engine_acknowledge(Engine *e, const Caller *c, const char *assignment, uint64_t number,
                       Error *err) {
        Assignment *a;
        int r;

        assert(e);
        assert(c);
        r = engine_find_owned(e, c, assignment, err, &a);
        if (r < 0)
                return r;
        if (number == 0 || number >= a->next_notice || number + EVENTS_MAX < a->next_notice)
                return error_set(err, ERROR_INVALID,
                                 "There is no event %llu of this assignment; the last one is %llu",
                                 (unsigned long long) number,
                                 (unsigned long long) a->next_notice - 1);
        for (size_t i = 0; i < EVENTS_MAX; i++)
                if (a->notices[i].number != 0 && a->notices[i].number <= number)
                        a->notices[i].acknowledged = true;
        engine_assignment_changed(e, a);
        r = store_assignment(e->store, a);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "The acknowledgement could not be recorded: %s",
                                 strerrordesc_np(-r));
        return 0;
}

int engine_cancel_job(Engine *e, const Caller *c, uint64_t job, Error *err) {
        Job *j;

        assert(e);
        assert(c);
        j = inventory_job(e->inventory, job);
        if (!j)
                return error_set(err, ERROR_NOT_FOUND, "There is no job %llu",
                                 (unsigned long long) job);
        if (!c->may_manage_others && c->uid != 0 && c->uid != j->creator_uid)
                return error_set(err, ERROR_NOT_AUTHORIZED, "Job %llu belongs to uid %u",
                                 (unsigned long long) job, (unsigned) j->creator_uid);
        if (j->finished)
                return error_set(err, ERROR_INVALID, "Job %llu has finished",
                                 (unsigned long long) job);
        if (j->kind == PLAN_RELEASE)
                return error_set(err, ERROR_INVALID,
                                 "A release cannot be cancelled: the device is on its way back");
        LIST_FOREACH(&e->tasks, link) {
                Task *t = LIST_ENTRY(link, Task, link);

                if (t->job != job || t->waits)
                        continue;
                if (t->stuck)
                        return error_set(err, ERROR_STUCK,
                                         "Job %llu waits for a kernel operation that cannot be "
                                         "cancelled",
                                         (unsigned long long) job);
                t->cancelled = true;
                if (t->host_job)
                        host_cancel(t->host_job);
        }
        return 0;
}
