/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reservations after a reboot. The kernel has forgotten them, the state directory has not: each
 * becomes an assignment again, reserved, with the id, owner, labels and request id that it had. Its
 * hardware is looked for by place and identity, never by address, and taken in memory at once so
 * that nobody else gets it meanwhile; when all of it is there and a worker has read who it is, a
 * plan like any other prepares it, and it rests until somebody attaches. Hardware that is missing,
 * or another card in its place, is told and waited for: the reservation stays.
 */

#include <assert.h>

#include "engine/engine-kept.h"

#define RETRY_USEC (30 * USEC_PER_SEC)

/* ---- who it is ---- */

static const KeptReservation *find_kept(const Engine *e, const char *id) {
        for (size_t i = 0; i < e->kept.n_reservations; i++)
                if (streq(e->kept.reservations[i].id, id))
                        return e->kept.reservations + i;
        return NULL;
}

bool engine_reservation_is_kept(const Engine *e, const char *id) {
        assert(e);
        assert(id);
        return e->kept_unread < 0 || find_kept(e, id);
}

bool engine_reservation_waits(const Assignment *a) {
        assert(a);
        return a->state == ASSIGNMENT_RESERVED && a->plan && !a->plan->id[0];
}

static char *describe(const DeviceIdentity *i) {
        return strjoinf("%s %04x:%04x%s%s", strempty(i->port_path), i->vendor, i->device,
                        i->vpd_serial ? " serial " : "", strempty(i->vpd_serial));
}

typedef struct Search {
        Device *found;  /* the hardware */
        Device *other;  /* what is in its place instead */
} Search;

static bool has_ids(const Device *d, const DeviceIdentity *i) {
        return d->facts.vendor == i->vendor && d->facts.device == i->device &&
               d->facts.subsystem_vendor == i->subsystem_vendor &&
               d->facts.subsystem_device == i->subsystem_device;
}

/* In two walks, since an identity has to be put together: who has the IDs, and only then who has
 * the place. */
static int search(Engine *e, const DeviceIdentity *wanted, Search *ret) {
        *ret = (Search) {};
        for (unsigned walk = 0; walk < 2 && !ret->found; walk++)
                for (size_t i = 0; i < e->inventory->n_devices && !ret->found; i++) {
                        Device *d = e->inventory->sorted[i];
                        _cleanup_(device_identity_done) DeviceIdentity identity = {};
                        int r;

                        if (d->gone || (walk == 0 && !has_ids(d, wanted)))
                                continue;
                        r = device_identity_of(d, &identity);
                        if (r < 0)
                                return r;
                        if (walk == 0 && device_identity_matches(wanted, &identity))
                                ret->found = d;
                        else if (walk == 1 && device_identity_same_place(wanted, &identity))
                                ret->other = d;
                }
        return 0;
}

/* ---- what is told ---- */

static void tell(Engine *e, Assignment *a, const DeviceIdentity *wanted, const Device *other) {
        _cleanup_json_ Json *j = json_new_object();
        _cleanup_free_ char *who = describe(wanted), *text = NULL, *details = NULL;
        const AssignmentNotice *n;

        (void) json_set_string(j, "reason", other ? "another-card" : "missing");
        (void) json_set_string(j, "hardware", who);
        if (other)
                (void) json_set_string(j, "found", PCI_ADDRESS_TEXT(other->facts.address));
        details = json_to_text(j, false);
        text = other ? strjoinf("%s is not there; another card, %s, is in its place", strempty(who),
                                PCI_ADDRESS_TEXT(other->facts.address))
                     : strjoinf("%s is not there", strempty(who));
        if (!text || strv_contains(a->missing, text))
                return; /* told before */
        if (strv_extend(&a->missing, text) < 0)
                log_warning("Not enough memory for what reservation %s lacks", a->id);
        engine_audit(a, MESSAGE_DEVICE_ERROR, LOG_WARNING, "Reserved for %s: %s", a->owner, text);
        if (assignment_add_notice(a, host_now(e->host), "Lost", who, details, &n) >= 0 &&
            e->observer.assignment_notice)
                e->observer.assignment_notice(a, n, e->observer_userdata);
}

static void tell_other_card(Engine *e, const Assignment *a, const DeviceIdentity *wanted,
                            Device *other) {
        _cleanup_(device_identity_done) DeviceIdentity identity = {};
        _cleanup_free_ char *found = NULL, *expected = describe(wanted);

        if (device_identity_of(other, &identity) >= 0)
                found = describe(&identity);
        engine_report_drift(e, other, a, "identity", strempty(found), strempty(expected));
}

/* ---- taking it ---- */

void engine_reservation_let_go(Engine *e, Assignment *a) {
        _cleanup_(plan_freep) Plan *before = NULL;
        Plan *nothing = plan_new(PLAN_ASSIGN);

        assert(e);
        assert(a);
        engine_unclaim(e, a);
        if (!nothing) { /* what it names stays shown; it is not applied */
                a->plan->id[0] = 0;
                return;
        }
        before = a->plan;
        a->plan = nothing;
        for (size_t i = 0; before && i < before->n_devices; i++) {
                Device *d = inventory_device(e->inventory, before->devices[i].address);

                if (!d)
                        continue;
                engine_update_verdicts(e, d, d);
                engine_device_changed(e, d);
                if (d->gone && !d->assignment) /* it was kept for the reservation's sake */
                        engine_remove_device(e, d);
        }
}

static int retry_later(Engine *e);

void engine_reservation_failed(Engine *e, Assignment *a, const Error *err) {
        _cleanup_free_ char *text = NULL;

        assert(a);
        a->job = NULL;
        engine_reservation_let_go(e, a);
        if (err && err->code != ERROR_NONE) {
                a->retry_at = host_now(e->host) + RETRY_USEC;
                text = strjoinf("could not be prepared: %s", err->message);
                if (text && !strv_contains(a->missing, text) && strv_extend(&a->missing, text) < 0)
                        log_warning("Not enough memory for why reservation %s waits", a->id);
                engine_audit(a, MESSAGE_DENIED, LOG_WARNING,
                             "Reserved for %s, and not prepared: %s", a->owner, err->message);
        }
        engine_assignment_changed(e, a);
        if (a->release_wanted)
                (void) engine_begin_release(e, a, NULL, false, "asked for meanwhile");
        else if (retry_later(e) < 0)
                log_error(
                        "Failed to arm a timer; reservation %s is tried again with the next change",
                        a->id);
}

void engine_reservation_applied(Engine *e, Assignment *a) {
        assert(a);
        strv_free(a->missing);
        a->missing = NULL;
        engine_audit(a, MESSAGE_RECOVERED, LOG_NOTICE, "Reserved for %s again", a->owner);
        engine_assignment_changed(e, a);
}

/* Finds all hardware; what is not there is told. 1: all is there, 0: not, -ENOMEM. */
static int find_hardware(Engine *e, Assignment *a, const KeptReservation *kept, Device **devices) {
        bool all = true;

        for (size_t i = 0; i < kept->n_requested; i++) {
                Search s;
                int r = search(e, kept->devices + i, &s);

                if (r < 0)
                        return r;
                devices[i] = s.found;
                if (s.found)
                        continue;
                all = false;
                if (e->settled || s.other)
                        tell(e, a, kept->devices + i, s.other);
                if (s.other)
                        tell_other_card(e, a, kept->devices + i, s.other);
        }
        return all;
}

static int claim(Engine *e, Assignment *a, const AskedFor *asked) {
        _cleanup_free_ Device **members = NULL;
        _cleanup_error_ Error err = ERROR_INIT;
        Plan *plan;
        size_t n;
        int r;

        r = engine_plan_members(e, asked, &members, &n);
        if (r < 0)
                return r;
        plan = plan_new(PLAN_ASSIGN);
        r = plan ? engine_plan_devices(asked, members, n, plan) : -ENOMEM;
        if (r < 0) {
                plan_free(plan);
                return r;
        }
        r = engine_claim(e, a, plan, &err);
        if (r < 0) {
                plan_free(plan);
                return -EBUSY;
        }
        plan_free(a->plan);
        a->plan = plan;
        engine_show_claim(e, a);
        return 0;
}

/* Who it is, is known; how it is, the plan looks at afresh. */
static bool all_read(Engine *e, Device *const *devices, size_t n) {
        bool all = true;

        for (size_t i = 0; i < n; i++) {
                if (devices[i]->config && !devices[i]->stuck)
                        continue;
                all = false;
                if (!devices[i]->stuck)
                        (void) engine_want_read(
                                e, devices[i]->facts.address); /* else the timer comes again */
        }
        return all;
}

/* Still the same hardware, now that more is known of it. */
static bool still_claimed(const Assignment *a, Device *const *devices, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (devices[i]->assignment != a)
                        return false;
        return true;
}

static int try_one(Engine *e, Assignment *a) {
        const KeptReservation *kept = find_kept(e, a->id);
        _cleanup_free_ Device **devices = NULL;
        AskedFor asked;
        int r;

        if (!kept || a->job || host_now(e->host) < a->retry_at)
                return 0;
        devices = calloc(kept->n_requested, sizeof(Device *));
        if (!devices)
                return -ENOMEM;
        r = find_hardware(e, a, kept, devices);
        if (r <= 0) {
                if (a->plan->n_devices > 0)
                        engine_reservation_let_go(e, a);
                return r;
        }
        asked = (AskedFor){
                .devices = devices, .n_devices = kept->n_requested, .take_all = true, .self = a
        };
        if (!still_claimed(a, devices, kept->n_requested)) {
                engine_reservation_let_go(e, a);
                r = claim(e, a, &asked);
                if (r < 0)
                        return r == -EBUSY ? retry_later(e) : r;
        }
        if (!e->settled)
                return 0;
        if (!all_read(e, devices, kept->n_requested))
                return retry_later(e);
        return engine_assign_again(e, a, kept, devices);
}

/* By fresh facts, so that no serial number is missing any more. */
int engine_reservation_check(Engine *e, const Assignment *a, Error *err) {
        const KeptReservation *kept = find_kept(e, a->id);

        assert(a);
        for (size_t i = 0; kept && i < kept->n_requested; i++) {
                Search s;

                if (search(e, kept->devices + i, &s) < 0)
                        return error_set(err, ERROR_FAILED, "Not enough memory");
                if (!s.found || s.found->assignment != a)
                        return error_set(err, ERROR_GONE,
                                         "The reserved hardware is not there any more");
        }
        return 0;
}

bool engine_reservation_is_there(Engine *e, const Assignment *a) {
        assert(a);
        for (size_t i = 0; a->plan && i < a->plan->n_devices; i++) {
                const PlanDevice *p = a->plan->devices + i;
                const Device *d = inventory_device(e->inventory, p->address);

                if (!d || d->gone || !plan_device_is(p, &d->facts))
                        return false;
        }
        return true;
}

int engine_reservation_check_rest(Engine *e, const Assignment *a, Error *err) {
        assert(a);
        if (engine_reservation_waits(a))
                return error_set(
                        err, ERROR_GONE,
                        "Assignment %s is reserved, and its hardware is not there or not ready: %s",
                        a->id, a->missing ? a->missing[0] : "it is being looked for");
        if (!engine_reservation_is_there(e, a))
                return error_set(err, ERROR_GONE, "The hardware of assignment %s is not there any "
                                 "more; release it", a->id);
        for (size_t i = 0; i < a->plan->n_devices; i++) {
                const PlanDevice *p = a->plan->devices + i;
                const Device *d = inventory_device(e->inventory, p->address);

                if (p->requested && !streq(d->facts.driver, strempty(p->driver)))
                        return error_set(err, ERROR_BUSY,
                                         "%s is on %s, not on %s any more: somebody rebound it; "
                                         "release it",
                                         PCI_ADDRESS_TEXT(p->address),
                                         d->facts.driver[0] ? d->facts.driver : "no driver",
                                         strempty(p->driver));
        }
        return 0;
}

/* Without the steps that compare: it is not at its end, and this tells its plan from a release's
 * after a crash (engine-recover.c). */
int engine_reservation_plan_back(Engine *e, const Assignment *a, Plan **ret) {
        Plan *plan;
        int r = engine_plan_release(e, a, &plan);

        if (r < 0)
                return r;
        while (plan->n_steps > 0 && plan->steps[plan->n_steps - 1].type == STEP_VERIFY)
                plan_drop_step(plan);
        *ret = plan;
        return 0;
}

/* ---- when ---- */

void engine_reservations_try(Engine *e) {
        Assignment *a;

        assert(e);
        if (e->kept.n_reservations == 0 || !e->started)
                return;
        HASHMAP_FOREACH(a, e->inventory->assignments) {
                int r = engine_reservation_waits(a) ? try_one(e, a) : 0;

                if (r < 0)
                        (void) log_warning_errno(
                                r, "Failed to look for what reservation %s is about: %m", a->id);
        }
}

static void retry(void *userdata) {
        engine_reservations_try(userdata);
}

static int retry_later(Engine *e) {
        int r = e->reserve_timer ? 0 : host_timer_new(e->host, retry, e, &e->reserve_timer);

        return r < 0 ? r : host_timer_set(e->reserve_timer, host_now(e->host) + RETRY_USEC);
}

/* ---- the start ---- */

static int revive(Engine *e, const KeptReservation *kept) {
        _cleanup_(assignment_freep) Assignment *a = NULL;
        int r;

        r = assignment_new(&a);
        if (r < 0)
                return r;
        (void) string_copy(a->id, sizeof(a->id), kept->id); /* of the same size */
        a->creator_uid = kept->creator_uid;
        a->user_uid = kept->user_uid;
        a->user_gid = kept->user_gid;
        a->lifetime = LIFETIME_PERSISTENT;
        a->request_hash = kept->request_hash;
        a->by_node = kept->by_node;
        a->force = kept->force;
        a->memlock = kept->memlock;
        a->created_at = host_now(e->host);
        a->plan = plan_new(PLAN_ASSIGN);
        if (!a->plan || free_and_strdup(&a->owner, kept->owner) < 0 ||
            strv_copy(kept->labels, &a->labels) < 0 ||
            free_and_strdup(&a->request_id, kept->request_id) < 0 ||
            free_and_strdup(&a->force_reason, kept->force_reason) < 0)
                return -ENOMEM;
        assignment_set_state(a, ASSIGNMENT_RESERVED);
        r = inventory_add_assignment(e->inventory, a);
        if (r < 0)
                return r;
        engine_audit(a, MESSAGE_RECOVERED, LOG_NOTICE, "Reserved for %s before the reboot",
                     a->owner);
        (void) TAKE_PTR(a);
        return 0;
}

int engine_reservations_load(Engine *e) {
        int r = 0;

        assert(e);
        for (size_t i = 0; i < e->kept.n_reservations && r >= 0; i++)
                if (!inventory_assignment(e->inventory, e->kept.reservations[i].id))
                        r = revive(e, e->kept.reservations + i);
        if (r >= 0)
                engine_reservations_try(e);
        return r;
}
