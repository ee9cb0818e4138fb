/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a request must pass before anything is read: its arguments, the quotas, and the claim on
 * whole IOMMU groups. The claim is taken in memory within the call, so of two requests for one
 * group, however they interleave, the second one is refused.
 */

#include <assert.h>

#include "engine/engine-private.h"
#include "pci/driver.h"

/* ---- arguments ---- */

static int check_owner(const char *owner, Error *err) {
        if (!owner || !string_is_safe(owner, OWNER_MAX - 1))
                return error_set(
                        err, ERROR_INVALID,
                        "The owner must be 1 to %u bytes of UTF-8 without control characters",
                        OWNER_MAX - 1);
        return 0;
}

static int check_texts(const AssignOptions *o, Error *err) {
        for (size_t i = 0; o->labels && o->labels[i]; i++) {
                if (i >= LABELS_MAX)
                        return error_set(err, ERROR_INVALID, "There are more than %u labels",
                                         LABELS_MAX);
                if (!string_is_safe(o->labels[i], LABEL_SIZE_MAX) || !strchr(o->labels[i], '='))
                        return error_set(err, ERROR_INVALID,
                                         "A label must be \"key=value\", at most %u bytes, without "
                                         "control characters",
                                         LABEL_SIZE_MAX);
        }
        if (o->request_id && !string_is_safe(o->request_id, REQUEST_ID_MAX))
                return error_set(err, ERROR_INVALID,
                                 "request-id must be 1 to %u bytes without control characters",
                                 REQUEST_ID_MAX);
        if (o->driver && (!pci_driver_name_is_valid(o->driver) || !pci_driver_is_vfio(o->driver)))
                return error_set(err, ERROR_INVALID,
                                 "driver must name a VFIO driver, such as vfio-pci");
        if (o->force && (!o->force_reason || !string_is_safe(o->force_reason, LABEL_SIZE_MAX)))
                return error_set(err, ERROR_INVALID,
                                 "force needs a reason, 1 to %u bytes of text, for the log",
                                 LABEL_SIZE_MAX);
        return 0;
}

static int check_user(const Caller *c, const AssignOptions *o, Error *err) {
        if (o->force && !c->may_force)
                return error_set(err, ERROR_NOT_AUTHORIZED, "The caller may not use force");
        if (o->uid != UID_UNSET && o->uid != c->uid && !c->may_manage_others)
                return error_set(err, ERROR_NOT_AUTHORIZED, "uid %u is not the caller's own uid %u",
                                 (unsigned) o->uid, (unsigned) c->uid);
        if (o->gid != GID_UNSET && !c->may_manage_others)
                return error_set(err, ERROR_NOT_AUTHORIZED,
                                 "gid may be given by administrators only");
        if (o->gid != GID_UNSET && o->uid == UID_UNSET)
                return error_set(err, ERROR_INVALID, "gid needs uid");
        return 0;
}

int engine_check_options(const Caller *c, const AssignOptions *o, Error *err) {
        int r;

        assert(c);
        assert(o);
        r = check_texts(o, err);
        if (r >= 0)
                r = check_user(c, o, err);
        if (r < 0)
                return r;
        if (o->lifetime == LIFETIME_PROCESS && o->pidfd < 0)
                return error_set(err, ERROR_INVALID, "Lifetime process needs a pidfd");
        if ((o->lifetime == LIFETIME_CONNECTION || o->lifetime < 0) && isempty(c->bus_name))
                return error_set(err, ERROR_INVALID,
                                 "Lifetime connection needs a client on the bus");
        if (o->memlock > 0 && o->pidfd < 0)
                return error_set(err, ERROR_INVALID,
                                 "memlock needs the pidfd of the process to raise it for");
        if (o->attach_within > 0 && (o->lifetime != LIFETIME_PERSISTENT &&
                                     o->lifetime != LIFETIME_CONNECTION && o->lifetime >= 0))
                return error_set(
                        err, ERROR_INVALID,
                        "attach-within has no meaning where a process is attached already");
        return 0;
}

static unsigned assignments_of(const Engine *e, uid_t uid) {
        unsigned n = 0;
        Assignment *a;

        HASHMAP_FOREACH(a, e->inventory->assignments)
                n += a->creator_uid == uid;
        return n;
}

int engine_check_quota(Engine *e, const Caller *c, Error *err) {
        const EngineOptions *o = &e->options;

        if (o->max_assignments > 0 && hashmap_size(e->inventory->assignments) >= o->max_assignments)
                return error_set(err, ERROR_POLICY_DENIED,
                                 "There are %u assignments, as many as max-assignments allows",
                                 o->max_assignments);
        if (o->max_assignments_per_uid > 0 &&
            assignments_of(e, c->uid) >= o->max_assignments_per_uid + PLANTED(QUOTA_OFF_BY_ONE))
                return error_set(
                        err, ERROR_POLICY_DENIED,
                        "uid %u has %u assignments, as many as max-assignments-per-uid allows",
                        (unsigned) c->uid, o->max_assignments_per_uid);
        return engine_check_job_quota(e, c, err);
}

/* ---- idempotence ---- */

static uint64_t hash_text(uint64_t h, const char *s) {
        return hash_bytes(h, strempty(s), strlen(strempty(s)) + 1);
}

uint64_t engine_request_hash(char *const *devices, const char *owner, const AssignOptions *o) {
        uint64_t h = hash_text(HASH_INIT, owner);
        const uint64_t numbers[] = {
                (uint64_t) o->lifetime, o->group,   o->force,         o->uid,        o->gid,
                o->by_node,             o->memlock, o->attach_within, o->pidfd >= 0,
        };

        assert(o);
        for (size_t i = 0; devices && devices[i]; i++)
                h = hash_text(h, devices[i]);
        for (size_t i = 0; o->labels && o->labels[i]; i++)
                h = hash_text(h, o->labels[i]);
        h = hash_text(h, o->driver);
        h = hash_text(h, o->force_reason);
        return hash_bytes(h, numbers, sizeof(numbers));
}

Assignment *engine_find_request(const Engine *e, uid_t uid, const char *request_id) {
        Assignment *a;

        if (!request_id || PLANTED(REQUEST_TWICE))
                return NULL;
        HASHMAP_FOREACH(a, e->inventory->assignments)
                if (a->creator_uid == uid && streq_ptr(a->request_id, request_id))
                        return a;
        return NULL;
}

/* ---- the request, resolved ---- */

Request *request_free(Request *r) {
        if (!r)
                return NULL;
        free(r->devices);
        free(r->owner);
        free(r->token);
        free(r->driver);
        free(r->node_owner);
        free(r->gids);
        (void) safe_close(r->pidfd);
        free(r);
        return NULL;
}

static int resolve_devices(Engine *e, char *const *devices, Request *q, Error *err) {
        size_t n = strv_length(devices);

        if (n == 0)
                return error_set(err, ERROR_INVALID, "No device is named");
        if (n > REQUEST_DEVICES_MAX)
                return error_set(err, ERROR_INVALID, "%zu devices are named, more than %u", n,
                                 REQUEST_DEVICES_MAX);
        q->devices = calloc(n, sizeof(PciAddress));
        if (!q->devices)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        for (size_t i = 0; i < n; i++) {
                Device *d;
                int r = inventory_resolve(e->inventory, devices[i], err, &d);

                if (r < 0)
                        return r;
                for (size_t k = 0; k < q->n_devices; k++)
                        if (pci_address_equal(q->devices[k], d->facts.address))
                                return error_set(err, ERROR_INVALID, "%s is named twice",
                                                 PCI_ADDRESS_TEXT(d->facts.address));
                q->devices[q->n_devices++] = d->facts.address;
        }
        return 0;
}

int request_new(Engine *e, char *const *devices, const char *owner, const AssignOptions *o,
                Error *err, Request **ret) {
        _cleanup_(request_freep) Request *q = calloc(1, sizeof(Request));
        int r;

        assert(e);
        assert(o);
        if (!q)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        q->pidfd = -EBADF;
        r = check_owner(owner, err);
        if (r >= 0)
                r = resolve_devices(e, devices, q, err);
        if (r < 0)
                return r;
        q->take_all = o->group == GROUP_TAKE_ALL;
        q->force = o->force;
        q->no_wait = o->no_wait;
        q->memlock = o->memlock;
        if (free_and_strdup(&q->owner, owner) < 0 || free_and_strdup(&q->token, o->token) < 0 ||
            free_and_strdup(&q->driver, o->driver) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        *ret = TAKE_PTR(q);
        return 0;
}

int request_set_caller(Request *q, const Caller *c, Lifetime lifetime, Error *err) {
        assert(q);
        assert(c);
        if (c->n_gids > 0) {
                q->gids = calloc(c->n_gids, sizeof(gid_t));
                if (!q->gids)
                        return error_set(err, ERROR_FAILED, "Not enough memory");
                memcpy(q->gids, c->gids, c->n_gids * sizeof(gid_t));
        }
        q->ask = (PolicyAsk) {
                .uid = c->uid,
                .gids = q->gids,
                .n_gids = c->n_gids,
                .manager = c->manager || c->uid == 0,
                .owner = q->owner,
                .lifetime = lifetime < 0 ? 0 : 1U << lifetime,
                .driver = q->driver,
        };
        return 0;
}

int request_asked_for(Engine *e, const Request *q, const Assignment *self, Error *err,
                      Device ***ret_devices, AskedFor *ret) {
        _cleanup_free_ Device **devices = calloc(q->n_devices, sizeof(Device *));

        if (!devices)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        for (size_t i = 0; i < q->n_devices; i++) {
                devices[i] = inventory_device(e->inventory, q->devices[i]);
                if (!devices[i])
                        return error_set(err, ERROR_GONE, "%s went away",
                                         PCI_ADDRESS_TEXT(q->devices[i]));
        }
        *ret = (AskedFor) {
                .devices = devices,
                .n_devices = q->n_devices,
                .take_all = q->take_all,
                .force = q->force,
                .driver = q->driver,
                .self = self,
                .choose_driver = true,
                .ask = &q->ask,
        };
        *ret_devices = TAKE_PTR(devices);
        return 0;
}

/* ---- claims ---- */

static int refuse_claim(const Device *d, const Assignment *by, Error *err) {
        _cleanup_json_ Json *j = json_new_object();
        Json *list = json_new_array(), *one = json_new_object();
        bool leaving =
                by && (by->state == ASSIGNMENT_RELEASING || by->state == ASSIGNMENT_CLEANING);
        BlockerCode code = !by || leaving ? BLOCKER_JOB : BLOCKER_OWNED;

        (void) json_set_string(one, "device", PCI_ADDRESS_TEXT(d->facts.address));
        (void) json_set_string(one, "code", blocker_to_string(code));
        (void) json_set_string(one, "remedy", blocker_remedy(code));
        if (leaving)
                (void) error_set(err, ERROR_BUSY,
                                 "%s is on its way back from %s; wait for its release",
                                 PCI_ADDRESS_TEXT(d->facts.address), by->owner);
        else if (by)
                (void) error_set(err, ERROR_OWNED,
                                 "%s belongs to %s: its IOMMU group has one owner at a time",
                                 PCI_ADDRESS_TEXT(d->facts.address), by->owner);
        else
                (void) error_set(err, ERROR_BUSY, "%s is being worked on by job %llu",
                                 PCI_ADDRESS_TEXT(d->facts.address),
                                 (unsigned long long) d->job->id);
        if (by)
                (void) json_set_string(one, "proof", by->owner);
        if (err)
                (void) json_set_string(one, "message", err->message);
        (void) json_append(list, one);
        (void) json_set(j, "blockers", list);
        if (d->group)
                (void) json_set_u64(j, "group", d->group->id);
        if (err)
                error_take_details(err, json_to_text(j, false));
        return -error_code_to_errno(by && !leaving ? ERROR_OWNED : ERROR_BUSY);
}

int engine_claim(Engine *e, Assignment *a, const Plan *plan, Error *err) {
        assert(e);
        assert(a);
        assert(plan);
        for (size_t i = 0; i < plan->n_devices; i++) {
                const Device *d = inventory_device(e->inventory, plan->devices[i].address);
                const Assignment *by;

                if (!d)
                        return error_set(err, ERROR_GONE, "%s went away",
                                         PCI_ADDRESS_TEXT(plan->devices[i].address));
                by = d->assignment ? d->assignment : d->group ? d->group->assignment : NULL;
                if ((by || d->job) && !PLANTED(CLAIM_WITHOUT_GROUP))
                        return refuse_claim(d, by, err);
        }
        for (size_t i = 0; i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);

                d->assignment = a;
                if (d->group)
                        d->group->assignment = a;
        }
        return 0;
}

/* Shows who has the devices, or that nobody has. */
static void tell_claim(Engine *e, const Plan *plan) {
        for (size_t i = 0; i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (!d)
                        continue;
                engine_update_verdicts(e, d, d);
                engine_device_changed(e, d);
                if (d->group && e->observer.group_changed)
                        e->observer.group_changed(d->group, e->observer_userdata);
        }
}

void engine_show_claim(Engine *e, const Assignment *a) {
        assert(a->plan);
        tell_claim(e, a->plan);
}

void engine_unclaim(Engine *e, Assignment *a) {
        assert(e);
        assert(a);
        for (size_t i = 0; a->plan && i < a->plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, a->plan->devices[i].address);
                Group *g = inventory_group(e->inventory, a->plan->devices[i].group);

                if (d && d->assignment == a) {
                        d->assignment = NULL;
                        strv_free(d->drift); /* there is nothing that it could differ from */
                        d->drift = NULL;
                }
                if (g && g->assignment == a)
                        g->assignment = NULL;
                if (d && d->group && d->group->assignment == a)
                        d->group->assignment = NULL;
        }
}

void engine_drop_assignment(Engine *e, Assignment *a) {
        _cleanup_(plan_freep) Plan *plan = NULL;

        assert(e);
        assert(a);
        owner_unwatch(e, a);
        engine_unclaim(e, a);
        if (e->observer.assignment_removed)
                e->observer.assignment_removed(a, e->observer_userdata);
        plan = TAKE_PTR(a->plan);
        inventory_remove_assignment(e->inventory, a);
        owner_watch_clients(e);
        if (!plan)
                return;
        tell_claim(e, plan);
        /* What was kept for the assignment's sake alone. */
        for (size_t i = 0; i < plan->n_devices; i++) {
                Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (d && d->gone)
                        engine_remove_device(e, d);
        }
}
