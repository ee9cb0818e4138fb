/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Kept state in memory, and the steps that change it. The truth about a file is its text: a change
 * is made by writing down what shall be kept, and memory follows by reading that text as a restart
 * would. So what is refused here and what would be refused after a reboot are the same. Nothing is
 * overwritten whose content is not known: a device whose file is damaged is quarantined until
 * somebody looked at it.
 */

#include "engine/engine-kept.h"

#include <assert.h>
#include <time.h>

/* ---- look-ups ---- */

static KeptDevice *find(Engine *e, const DeviceIdentity *identity) {
        for (size_t i = 0; i < e->kept.n_devices; i++)
                if (device_identity_matches(&e->kept.devices[i].identity, identity))
                        return e->kept.devices + i;
        return NULL;
}

const KeptDevice *engine_kept_of(Engine *e, const Device *d) {
        DeviceIdentity identity;
        const KeptDevice *kept;

        assert(e);
        assert(d);
        if (e->kept.n_devices == 0 || device_identity_of(d, &identity) < 0)
                return NULL;
        kept = find(e, &identity);
        device_identity_done(&identity);
        return kept;
}

/* The file of this hardware is there and cannot be read: what it said may be anything. */
static char *damaged_file(Engine *e, const Device *d) {
        DeviceIdentity identity;
        char name[STATE_NAME_MAX];
        char *reason = NULL;

        if (!e->kept.damaged || device_identity_of(d, &identity) < 0)
                return NULL;
        if (kept_device_name(&identity, name) && strv_contains(e->kept.damaged, name))
                reason = strjoinf("what is kept about it cannot be read: %s/%s",
                                  host_state_directory(e->host), name);
        device_identity_done(&identity);
        return reason;
}

bool engine_kept_match(Engine *e, Device *d) {
        _cleanup_free_ char *damaged = NULL;
        const KeptDevice *kept;
        const char *reason, *owner;

        assert(e);
        assert(d);
        damaged = damaged_file(e, d);
        kept = engine_kept_of(e, d);
        reason = damaged ? damaged : kept ? kept->quarantine : NULL;
        owner = kept ? kept->dirty_owner : NULL;
        if (streq_ptr(d->quarantine, reason) && streq_ptr(d->dirty_owner, owner) &&
            (!owner || d->dirty_uid == kept->dirty_uid))
                return false;
        d->dirty_uid = owner ? kept->dirty_uid : 0;
        if (free_and_strdup(&d->dirty_owner, owner) < 0 ||
            free_and_strdup(&d->quarantine, reason) < 0) {
                log_error("Not enough memory to quarantine %s", PCI_ADDRESS_TEXT(d->facts.address));
                return false;
        }
        return true;
}

int engine_kept_check(Engine *e, Error *err) {
        assert(e);
        if (e->kept_unread >= 0)
                return 0;
        return error_set(err, ERROR_FAILED,
                         "What is kept about devices in %s cannot be read: %s; mend it and restart "
                         "the service. "
                         "Releases still work",
                         host_state_directory(e->host), strerrordesc_np(-e->kept_unread));
}

/* ---- memory follows the files ---- */

static KeptDevice *find_by_name(Engine *e, const char *name) {
        for (size_t i = 0; i < e->kept.n_devices; i++) {
                char other[STATE_NAME_MAX];

                if (kept_device_name(&e->kept.devices[i].identity, other) && streq(other, name))
                        return e->kept.devices + i;
        }
        return NULL;
}

static void forget(Engine *e, const char *name) {
        KeptState *s = &e->kept;
        KeptDevice *d = find_by_name(e, name);

        if (d) {
                kept_device_done(d);
                *d = s->devices[--s->n_devices];
        }
        for (size_t i = 0; i < s->n_reservations; i++) {
                char other[STATE_NAME_MAX];

                kept_reservation_name(s->reservations[i].id, other);
                if (!streq(other, name))
                        continue;
                kept_reservation_done(s->reservations + i);
                s->reservations[i] = s->reservations[--s->n_reservations];
                return;
        }
}

static int remember(Engine *e, const char *name, const char *text) {
        char **damaged = NULL;

        forget(e, name);
        /* Written anew, it is damaged no more. */
        for (char **n = e->kept.damaged; n && *n; n++)
                if (!streq(*n, name) && strv_extend(&damaged, *n) < 0) {
                        strv_free(damaged);
                        return -ENOMEM;
                }
        strv_free(e->kept.damaged);
        e->kept.damaged = damaged;
        return isempty(text) ? 0 : kept_state_add(&e->kept, name, text, strlen(text));
}

bool engine_kept_failed(const Plan *plan, const HostResult *result) {
        assert(plan);
        assert(result);
        return result->outcome != HOST_OUTCOME_DONE && result->failed_step < plan->n_steps &&
               plan->steps[result->failed_step].type == STEP_COMMIT_STATE;
}

void engine_kept_note(Engine *e, const Plan *plan, const HostResult *result) {
        bool committed = false;

        for (size_t i = 0; i < plan->n_steps; i++)
                committed |= plan->steps[i].type == STEP_COMMIT_STATE;
        if (engine_kept_failed(plan, result)) {
                if (!streq_ptr(e->kept_trouble, result->message))
                        log_error("%s", result->message);
                if (free_and_strdup(&e->kept_trouble, result->message) < 0)
                        log_error(
                                "Not enough memory to remember that kept state cannot be written");
        } else if (committed && result->outcome == HOST_OUTCOME_DONE)
                (void) free_and_strdup(&e->kept_trouble, NULL); /* frees: cannot fail */
}

const char *engine_kept_trouble(const Engine *e) {
        assert(e);
        return e->kept_trouble;
}

void engine_kept_apply(Engine *e, const Plan *plan, HostOutcome outcome) {
        bool undone = outcome == HOST_OUTCOME_ROLLED_BACK;
        bool unsure = outcome == HOST_OUTCOME_FAILED || outcome == HOST_OUTCOME_UNKNOWN;

        assert(e);
        assert(plan);
        for (size_t k = 0; k < plan->n_steps; k++) {
                const Step *s = plan->steps + (undone ? plan->n_steps - 1 - k : k);
                const char *text = undone ? s->undo : s->expect;

                if (s->type != STEP_COMMIT_STATE)
                        continue;
                /* How far it came is not known: what may still be on disk is still kept, so that
                 * the next plan removes it, and does not come back with the next start. */
                if (unsure && isempty(text) && !isempty(s->undo))
                        text = s->undo;
                if (!text)
                        continue;
                if (remember(e, strempty(s->value), text) < 0)
                        log_error("Not enough memory for what is kept in %s", strempty(s->value));
        }
        for (size_t i = 0; i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (d && engine_kept_match(e, d))
                        engine_device_changed(e, d);
        }
}

void engine_kept_take(Engine *e, const Plan *plan, const HostResult *result) {
        assert(result);
        engine_kept_note(e, plan, result);
        engine_kept_apply(e, plan, result->outcome);
}

int engine_kept_text(Engine *e, const char *name, char **ret) {
        _cleanup_free_ char *same = NULL;
        const KeptDevice *d = find_by_name(e, name);

        for (size_t i = 0; i < e->kept.n_reservations; i++) {
                char other[STATE_NAME_MAX];

                kept_reservation_name(e->kept.reservations[i].id, other);
                if (streq(other, name))
                        return kept_reservation_to_file(e->kept.reservations + i, &same, ret);
        }
        if (d)
                return kept_device_to_file(d, &same, ret);
        *ret = NULL;
        return 0;
}

/* ---- steps ---- */

/* The text that the file will have when the plan's steps so far are done. */
static const char *planned_text(const Plan *plan, const char *name) {
        for (size_t i = plan->n_steps; i-- > 0;)
                if (plan->steps[i].type == STEP_COMMIT_STATE &&
                    streq(strempty(plan->steps[i].value), name))
                        return strempty(plan->steps[i].expect);
        return NULL;
}

static int add_commit(Engine *e, Plan *plan, uint32_t group, const char *name, const char *before,
                      const char *after) {
        Step *s;

        if (streq(strempty(before), strempty(after)))
                return 0;
        s = plan_add_step(plan, STEP_COMMIT_STATE, group);
        if (!s)
                return -ENOMEM;
        s->timeout_msec = e->options.step_timeout_msec;
        return step_set(s, name, strempty(before), strempty(after));
}

/* What is kept about a device, to be changed: a copy, of what the plan will have made of it. */
static int kept_for(Engine *e, const Plan *plan, const Device *d, KeptDevice *ret) {
        _cleanup_(device_identity_done) DeviceIdentity identity = {};
        const KeptDevice *kept;
        char name[STATE_NAME_MAX];
        const char *planned;
        int r;

        r = device_identity_of(d, &identity);
        if (r < 0)
                return r;
        kept = find(e, &identity);
        (void) kept_device_name(kept ? &kept->identity : &identity, name); /* it always fits */
        planned = plan ? planned_text(plan, name) : NULL;
        if (planned && planned[0])
                return kept_device_parse(planned, strlen(planned), ret);
        if (kept && !planned)
                return kept_device_copy(kept, ret);
        *ret = (KeptDevice) {};
        return device_identity_copy(kept ? &kept->identity : &identity, &ret->identity);
}

static uint64_t now_for_people(void) {
        struct timespec ts;

        return clock_gettime(CLOCK_REALTIME, &ts) < 0 ? 0 : (uint64_t) ts.tv_sec * USEC_PER_SEC +
                                                                    (uint64_t) ts.tv_nsec / 1000;
}

typedef struct Change {
        bool dirt, quarantine;     /* which of the two */
        const char *owner, *reason; /* NULL: none any more */
        uid_t uid;
} Change;

static int change(KeptDevice *kept, const Change *c) {
        const char *owner = c->dirt ? c->owner : kept->dirty_owner;
        const char *reason = c->quarantine ? c->reason : kept->quarantine;
        uid_t uid = c->dirt ? c->uid : kept->dirty_uid;

        if (streq_ptr(owner, kept->dirty_owner) && streq_ptr(reason, kept->quarantine) &&
            (!owner || uid == kept->dirty_uid))
                return 0;
        kept->since = now_for_people();
        kept->dirty_uid = owner ? uid : 0;
        if (c->dirt && free_and_strdup(&kept->dirty_owner, owner) < 0)
                return -ENOMEM;
        return c->quarantine ? free_and_strdup(&kept->quarantine, reason) : 0;
}

static int add_change(Engine *e, Plan *plan, const Device *d, const Change *c) {
        _cleanup_free_ char *name = NULL, *before = NULL, *after = NULL, *same = NULL;
        _cleanup_(kept_device_done) KeptDevice kept = {};
        int r;

        assert(e);
        assert(plan);
        assert(d);
        r = kept_for(e, plan, d, &kept);
        if (r >= 0)
                r = kept_device_to_file(&kept, &name, &before);
        if (r >= 0)
                r = change(&kept, c);
        if (r >= 0)
                r = kept_device_to_file(&kept, &same, &after);
        if (r < 0)
                return r;
        return add_commit(e, plan, d->group ? d->group->id : 0, name, before, after);
}

int engine_kept_add_dirty(Engine *e, Plan *plan, const Device *d, uid_t uid, const char *owner) {
        assert(owner);
        return add_change(e, plan, d, &(Change) { .dirt = true, .owner = owner, .uid = uid });
}

int engine_kept_add_clean(Engine *e, Plan *plan, const Device *d) {
        return add_change(e, plan, d, &(Change) { .dirt = true });
}

int engine_kept_add_quarantine(Engine *e, Plan *plan, const Device *d, const char *reason) {
        return add_change(e, plan, d, &(Change) { .quarantine = true, .reason = reason });
}

/* ---- reservations ---- */

static int add_reserved_device(Engine *e, const PlanDevice *p, KeptReservation *kept) {
        const Device *d = inventory_device(e->inventory, p->address);
        int r;

        if (!d)
                return -ENODEV;
        r = device_identity_of(d, kept->devices + kept->n_devices);
        if (r < 0)
                return r;
        kept->n_devices++;
        kept->n_requested += p->requested;
        return strv_extend(&kept->drivers, strempty(p->driver));
}

static int reservation_of(Engine *e, const Assignment *a, const Plan *plan, KeptReservation *kept) {
        int r = 0;

        (void) string_copy(kept->id, sizeof(kept->id), a->id); /* of the same size */
        kept->creator_uid = a->creator_uid;
        kept->user_uid = a->user_uid;
        kept->user_gid = a->user_gid;
        kept->request_hash = a->request_hash;
        kept->by_node = a->by_node;
        kept->force = a->force;
        kept->memlock = a->memlock;
        if (free_and_strdup(&kept->owner, a->owner) < 0 ||
            strv_copy(a->labels, &kept->labels) < 0 ||
            free_and_strdup(&kept->request_id, a->request_id) < 0 ||
            free_and_strdup(&kept->force_reason, a->force_reason) < 0)
                return -ENOMEM;
        kept->devices = calloc(MAX(plan->n_devices, (size_t) 1), sizeof(DeviceIdentity));
        if (!kept->devices)
                return -ENOMEM;
        for (unsigned requested = 2; requested-- > 0;)
                for (size_t i = 0; r >= 0 && i < plan->n_devices; i++)
                        if (plan->devices[i].requested == (requested == 1))
                                r = add_reserved_device(e, plan->devices + i, kept);
        return r;
}

static const KeptReservation *find_reservation(const Engine *e, const char *id) {
        for (size_t i = 0; i < e->kept.n_reservations; i++)
                if (streq(e->kept.reservations[i].id, id))
                        return e->kept.reservations + i;
        return NULL;
}

int engine_kept_add_reservation(Engine *e, Plan *plan, const Assignment *a) {
        _cleanup_(kept_reservation_done) KeptReservation kept = {};
        _cleanup_free_ char *name = NULL, *text = NULL, *before_name = NULL, *before = NULL;
        const KeptReservation *old;
        int r;

        assert(e);
        assert(plan);
        assert(a);
        old = find_reservation(e, a->id);
        r = reservation_of(e, a, plan, &kept);
        if (r >= 0)
                r = kept_reservation_to_file(&kept, &name, &text);
        if (r >= 0 && old)
                r = kept_reservation_to_file(old, &before_name, &before);
        if (r < 0)
                return r;
        return add_commit(e, plan, plan->n_devices > 0 ? plan->devices[0].group : 0, name, before,
                          text);
}

int engine_kept_add_unreserve(Engine *e, Plan *plan, const char *id) {
        const KeptReservation *old;
        _cleanup_free_ char *name = NULL, *before = NULL;
        int r;

        assert(e);
        assert(plan);
        assert(id);
        old = find_reservation(e, id);
        if (!old)
                return 0;
        r = kept_reservation_to_file(old, &name, &before);
        if (r < 0)
                return r;
        return add_commit(e, plan, plan->n_devices > 0 ? plan->devices[0].group : 0, name, before,
                          "");
}

/* ---- the start ---- */

static void tell_problems(Engine *e) {
        for (char **p = e->kept.problems; p && *p; p++)
                log_error("%s/%s", host_state_directory(e->host), *p);
}

int engine_kept_load(Engine *e) {
        HostStateFile *files = NULL;
        size_t n = 0;
        int r;

        assert(e);
        r = host_state_files(e->host, &files, &n);
        if (r < 0) {
                e->kept_unread = r;
                (void) log_error_errno(r,
                                       "Failed to read what is kept in %s; nothing is assigned "
                                       "until it is mended: %m",
                                       host_state_directory(e->host));
                return r == -ENOMEM ? r : 0;
        }
        for (size_t i = 0; r >= 0 && i < n; i++)
                r = files[i].error < 0
                            ? kept_state_add_error(&e->kept, files[i].name, files[i].error)
                            : kept_state_add(&e->kept, files[i].name, files[i].text, files[i].size);
        host_state_files_free(files, n);
        tell_problems(e);
        return r;
}

void engine_kept_done(Engine *e) {
        assert(e);
        kept_state_done(&e->kept);
        free(e->kept_trouble);
        strv_free(e->kept_unsaved);
}
