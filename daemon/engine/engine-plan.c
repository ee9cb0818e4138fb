/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Facts to plans. Everything is proven unheld before the first write; then each function goes its
 * way (unbind, override, probe), is verified, the groups are tried, and last of all the node gets
 * its owner, so that nobody opens it in between. The way back undoes only what is still as the plan
 * made it: what a foreign hand changed is left and reported.
 */

#include <assert.h>

#include "engine/engine-clean.h"
#include "engine/engine-kept.h"
#include "engine/engine-policy.h"
#include "engine/engine-settings.h"
#include "pci/driver.h"

#define UNHELD_TIMEOUT_MSEC 2000U

static int compare_devices(const void *a, const void *b) {
        return pci_address_compare((*(Device *const *) a)->facts.address,
                                   (*(Device *const *) b)->facts.address);
}

static bool is_requested(const AskedFor *asked, const Device *d) {
        for (size_t i = 0; i < asked->n_devices; i++)
                if (asked->devices[i] == d)
                        return true;
        return false;
}

static bool is_parked(const Device *d) {
        return verdict_role(&(VerdictMember) { .facts = &d->facts }) == VERDICT_ROLE_PARKED;
}

static bool contains(Device *const *members, size_t n, const Device *d) {
        for (size_t i = 0; i < n; i++)
                if (members[i] == d)
                        return true;
        return false;
}

static int add_group(const AskedFor *asked, Device *anchor, Device **members, size_t *n) {
        if (!anchor->group) {
                members[(*n)++] = anchor;
                return 0;
        }
        LIST_FOREACH(&anchor->group->devices, link) {
                Device *d = LIST_ENTRY(link, Device, in_group);

                if (!is_requested(asked, d) && !is_parked(d))
                        continue;
                if (*n >= PLAN_DEVICES_MAX)
                        return -E2BIG;
                members[(*n)++] = d;
        }
        return 0;
}

int engine_plan_members(Engine *e, const AskedFor *asked, Device ***ret, size_t *ret_n) {
        _cleanup_free_ Device **members = calloc(PLAN_DEVICES_MAX + 1, sizeof(Device *));
        size_t n = 0;
        int r;

        assert(e);
        assert(asked);
        assert(ret);
        assert(ret_n);
        if (!members)
                return -ENOMEM;
        for (size_t i = 0; i < asked->n_devices; i++) {
                if (contains(members, n, asked->devices[i]))
                        continue;
                r = add_group(asked, asked->devices[i], members, &n);
                if (r < 0)
                        return r;
        }
        qsort(members, n, sizeof(Device *), compare_devices);
        *ret = TAKE_PTR(members);
        *ret_n = n;
        return 0;
}

static char *used_by(const Device *d) {
        _cleanup_strbuf_ StrBuf b = {};

        for (size_t i = 0; i < d->use.n_children && i < 8; i++)
                strbuf_addf(&b, "%s%s %s", i > 0 ? ", " : "", d->use.children[i].subsystem,
                            d->use.children[i].name);
        return strbuf_steal(&b);
}

static int fill_device(PlanDevice *p, const Device *d, bool requested) {
        p->group = d->group ? d->group->id : 0;
        p->vendor = d->facts.vendor;
        p->device = d->facts.device;
        p->subsystem_vendor = d->facts.subsystem_vendor;
        p->subsystem_device = d->facts.subsystem_device;
        p->requested = requested;
        free(p->used_by);
        p->used_by = used_by(d);
        if (free_and_strdup(&p->driver_before, d->facts.driver) < 0 ||
            free_and_strdup(&p->override_before,
                            d->live ? strempty(pci_live_override(d->live)) : "") < 0 ||
            free_and_strdup(&p->driver, strempty(p->driver)) < 0 || !p->used_by)
                return -ENOMEM;
        return 0;
}

int engine_plan_devices(const AskedFor *asked, Device *const *members, size_t n, Plan *plan) {
        assert(asked);
        assert(plan);
        for (size_t i = 0; i < n; i++) {
                PlanDevice *p = plan_add_device(plan, members[i]->facts.address);
                int r = p ? fill_device(p, members[i], is_requested(asked, members[i])) : -ENOMEM;

                if (r < 0)
                        return r;
        }
        return 0;
}

bool plan_device_is(const PlanDevice *p, const PciFacts *f) {
        assert(p);
        assert(f);
        if (PLANTED(RESERVE_BY_ADDRESS))
                return true;
        return p->vendor == f->vendor && p->device == f->device &&
               p->subsystem_vendor == f->subsystem_vendor &&
               p->subsystem_device == f->subsystem_device;
}

/* ---- steps ---- */

static int add_step(Step *s, uint32_t timeout, const char *value, const char *undo,
                    const char *expect) {
        if (!s)
                return -ENOMEM;
        s->timeout_msec = timeout;
        return step_set(s, value, undo, expect);
}

static int add_unbind(Engine *e, Plan *plan, const PlanDevice *p) {
        if (streq(p->driver, p->driver_before) || !p->driver_before[0])
                return 0;
        return add_step(plan_add_device_step(plan, STEP_UNBIND, p), e->options.step_timeout_msec,
                        p->driver_before, p->driver_before, NULL);
}

static int add_rebind(Engine *e, Plan *plan, const PlanDevice *p) {
        uint32_t timeout = e->options.step_timeout_msec;
        int r;

        if (streq(p->driver, p->driver_before))
                return 0;
        r = add_step(plan_add_device_step(plan, STEP_SET_OVERRIDE, p), timeout, p->driver,
                     p->override_before, p->driver);
        if (r < 0)
                return r;
        return add_step(plan_add_device_step(plan, STEP_PROBE, p), timeout, NULL, p->driver,
                        p->driver);
}

static int add_bind(Engine *e, Plan *plan, const PlanDevice *p) {
        int r = add_unbind(e, plan, p);

        return r < 0 ? r : add_rebind(e, plan, p);
}

/* One after the other; but what a rule sets of them wants all of them unbound. */
static int add_binds(Engine *e, Plan *plan, Error *err) {
        int r = 0;

        if (!engine_settings_wanted(e, plan)) {
                for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                        r = add_bind(e, plan, plan->devices + i);
                return r;
        }
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                r = add_unbind(e, plan, plan->devices + i);
        if (r >= 0)
                r = engine_settings_add(e, plan, err);
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                r = add_rebind(e, plan, plan->devices + i);
        return r;
}

/* What an administrator passed over with a reason would only be found again by the proof. */
static bool is_passed_over(Engine *e, const AskedFor *asked, const PlanDevice *p) {
        const Device *d = inventory_device(e->inventory, p->address);

        return asked->force && d && d->use.n_criticals > 0 && !pci_driver_is_vfio(d->facts.driver);
}

static int add_proofs(Engine *e, const AskedFor *asked, Plan *plan) {
        int r = 0;

        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                if (!is_passed_over(e, asked, plan->devices + i))
                        r = add_step(
                                plan_add_device_step(plan, STEP_PROVE_UNHELD, plan->devices + i),
                                UNHELD_TIMEOUT_MSEC, NULL, NULL, NULL);
        return r;
}

static int add_node_owner(Engine *e, Plan *plan, const char *from, const char *to) {
        _cleanup_free_ uint32_t *groups = NULL;
        size_t n = 0;
        int r;

        r = plan_groups(plan, &groups, &n);
        for (size_t i = 0; i < n && r >= 0; i++)
                r = add_step(plan_add_step(plan, STEP_SET_NODE_OWNER, groups[i]),
                             e->options.step_timeout_msec, to, from, to);
        return r;
}

static int choose_drivers(Engine *e, const AskedFor *asked, Plan *plan, Error *err) {
        for (size_t i = 0; i < plan->n_devices; i++) {
                PlanDevice *p = plan->devices + i;
                const Device *d = inventory_device(e->inventory, p->address);
                char name[PCI_DRIVER_NAME_MAX];
                int r;

                if (!d)
                        return error_set(err, ERROR_GONE, "%s went away",
                                         PCI_ADDRESS_TEXT(p->address));
                r = fill_device(p, d, p->requested);
                if (r < 0)
                        return error_set(err, ERROR_FAILED, "Not enough memory for a plan");
                if (asked->driver && p->requested)
                        (void) string_copy(name, sizeof(name), asked->driver);
                else if (engine_rule(e, d)->settings.driver)
                        (void) string_copy(name, sizeof(name), engine_rule(e, d)->settings.driver);
                else {
                        r = host_choose_driver(e->host, &d->facts, name, sizeof(name));
                        if (r < 0)
                                return error_set(err, ERROR_NOT_SUPPORTED,
                                                 "%s has no VFIO driver on this host",
                                                 PCI_ADDRESS_TEXT(p->address));
                }
                /* A parked function rests on any VFIO driver; it need not move from one to
                 * another. */
                if (!p->requested && pci_driver_is_vfio(d->facts.driver))
                        (void) string_copy(name, sizeof(name), d->facts.driver);
                if (free_and_strdup(&p->driver, name) < 0)
                        return error_set(err, ERROR_FAILED, "Not enough memory for a plan");
        }
        return 0;
}

/* What must outlive a reboot is written before anything is done to the hardware. */
static int add_kept(Engine *e, const AskedFor *asked, Plan *plan) {
        const PolicyAsk *ask = asked->ask;
        int r = 0;

        for (size_t i = 0; ask && ask->owner && i < plan->n_devices && r >= 0; i++) {
                const Device *d = inventory_device(e->inventory, plan->devices[i].address);

                r = d ? engine_kept_add_dirty(e, plan, d, ask->uid, ask->owner) : -ENODEV;
        }
        if (r >= 0 && asked->self && asked->self->lifetime == LIFETIME_PERSISTENT)
                r = engine_kept_add_reservation(e, plan, asked->self);
        return r;
}

static int add_assign_steps(Engine *e, const AskedFor *asked, const char *node_owner, Plan *plan,
                            Error *err) {
        int r = add_kept(e, asked, plan);

        if (r >= 0)
                r = engine_clean_add_questions(e, asked, plan);
        if (r >= 0)
                r = add_proofs(e, asked, plan);
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                r = engine_clean_add_power(e, plan, plan->devices + i);
        if (r >= 0)
                r = add_binds(e, plan, err);
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                r = add_step(plan_add_device_step(plan, STEP_VERIFY, plan->devices + i),
                             e->options.step_timeout_msec, NULL, NULL, plan->devices[i].driver);
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++)
                r = engine_clean_add_before(e, asked, plan, plan->devices + i);
        if (r >= 0 && plan->n_devices > 0)
                r = add_step(plan_add_step(plan, STEP_TRIAL_ATTACH, plan->devices[0].group),
                             e->options.step_timeout_msec, NULL, NULL, NULL);
        if (r >= 0 && node_owner)
                r = add_node_owner(e, plan, "0:0", node_owner);
        return r;
}

int engine_plan_assign(Engine *e, const AskedFor *asked, const char *node_owner, Plan *plan,
                       Error *err) {
        int r;

        assert(e);
        assert(asked);
        assert(plan);
        r = choose_drivers(e, asked, plan, err);
        if (r < 0)
                return r;
        r = engine_random_id(plan->id);
        if (r >= 0)
                r = add_assign_steps(e, asked, node_owner, plan, err);
        if (r < 0 && err && err->code != ERROR_NONE)
                return r;
        if (r < 0)
                return error_set(err, ERROR_FAILED, "The plan could not be made: %s",
                                 strerrordesc_np(-r));
        return 0;
}

/* ---- the way back ---- */

static int copy_devices(const Plan *made, Plan *plan) {
        for (size_t i = 0; i < made->n_devices; i++) {
                const PlanDevice *from = made->devices + i;
                PlanDevice *to = plan_add_device(plan, from->address);

                if (!to)
                        return -ENOMEM;
                *to = *from;
                to->driver = to->driver_before = to->override_before = to->used_by = NULL;
                if (free_and_strdup(&to->driver, strempty(from->driver)) < 0 ||
                    free_and_strdup(&to->driver_before, strempty(from->driver_before)) < 0 ||
                    free_and_strdup(&to->override_before, strempty(from->override_before)) < 0 ||
                    free_and_strdup(&to->used_by, strempty(from->used_by)) < 0)
                        return -ENOMEM;
        }
        return 0;
}

/* The devices that are there and still the same hardware. */
static int copy_present(Engine *e, const Plan *made, Plan *plan) {
        int r = copy_devices(made, plan);
        size_t kept = 0;

        if (r < 0)
                return r;
        for (size_t i = 0; i < plan->n_devices; i++) {
                PlanDevice *p = plan->devices + i, swap;
                const Device *d = inventory_device(e->inventory, p->address);

                if (!d || d->gone || !plan_device_is(p, &d->facts))
                        continue;
                swap = plan->devices[kept];
                plan->devices[kept++] = *p;
                *p = swap;
        }
        for (size_t i = kept; i < plan->n_devices; i++) {
                PlanDevice *p = plan->devices + i;

                free(p->driver);
                free(p->driver_before);
                free(p->override_before);
                free(p->used_by);
        }
        plan->n_devices = kept;
        return 0;
}

/* Back to the former driver. What binds then is compared afterwards: a driver that would not come
 * back is no reason to take the device away from the host again. */
static int add_restore_from(Engine *e, const Plan *made, Plan *plan, const PlanDevice *p,
                            const char *now) {
        uint32_t timeout = e->options.step_timeout_msec;
        const char *override = p->override_before;
        int r = 0;

        if (PLANTED(RESTORE_WRONG_DRIVER))
                override = "pci-stub";
        else if (PLANTED(FORGET_OVERRIDE))
                override = p->driver_before;

        if (streq(p->driver, p->driver_before) || isempty(p->driver))
                return engine_settings_add_back(e, made, plan, p);
        if (now[0] && !streq(now, p->driver))
                return 0; /* a foreign hand bound it elsewhere */
        if (now[0])
                r = add_step(plan_add_device_step(plan, STEP_UNBIND, p), timeout, now, now, NULL);
        if (r >= 0)
                r = engine_settings_add_back(e, made, plan, p);
        if (r >= 0)
                r = add_step(plan_add_device_step(plan, STEP_SET_OVERRIDE, p), timeout,
                             override, p->driver, override);
        if (r >= 0 && p->driver_before[0])
                r = add_step(plan_add_device_step(plan, STEP_PROBE, p), timeout, NULL, "", "");
        return r;
}

static int add_restore(Engine *e, const Plan *made, Plan *plan, const PlanDevice *p) {
        const Device *d = inventory_device(e->inventory, p->address);

        return add_restore_from(e, made, plan, p, d ? d->facts.driver : "");
}

/* A quarantined one stays where it is; of the others every trace of its owner goes. */
static int add_cleaning(Engine *e, const Assignment *a, Plan *plan) {
        const CleanSubject subject = {
                .owner = strempty(a->owner),
                .uid = a->creator_uid,
                .assignment = a->id,
                .event = "clean",
        };
        int r = 0;

        for (size_t i = 0; i < plan->n_devices && r >= 0; i++) {
                const Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (!d->quarantine && d->dirty_owner && pci_driver_is_vfio(d->facts.driver))
                        r = engine_clean_add(e, plan, plan->devices + i, &subject);
        }
        return r;
}

static int back_begin(Engine *e, const Assignment *a, Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_RELEASE);
        bool node_owned = a->by_node || a->user_uid != UID_UNSET;
        const Plan *made = a->plan;
        int r;

        if (!plan)
                return -ENOMEM;
        r = engine_random_id(plan->id);
        if (r >= 0)
                r = copy_present(e, made, plan);
        if (r >= 0 && node_owned)
                r = add_node_owner(e, plan, "0:0", "0:0");
        for (size_t i = 0; i < plan->n_devices && r >= 0; i++) {
                const Device *d = inventory_device(e->inventory, plan->devices[i].address);

                if (pci_driver_is_vfio(d->facts.driver))
                        r = add_step(
                                plan_add_device_step(plan, STEP_PROVE_UNHELD, plan->devices + i),
                                UNHELD_TIMEOUT_MSEC, NULL, NULL, NULL);
        }
        if (r >= 0)
                r = add_cleaning(e, a, plan);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

static bool is_quarantined(Engine *e, const PlanDevice *p) {
        const Device *d = inventory_device(e->inventory, p->address);

        return d && d->quarantine;
}

int engine_plan_release(Engine *e, const Assignment *a, Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = NULL;
        int r;

        assert(e);
        assert(a);
        assert(ret);
        r = back_begin(e, a, &plan);
        for (size_t i = 0; r >= 0 && i < plan->n_devices; i++) {
                if (is_quarantined(e, plan->devices + i))
                        continue;
                r = add_restore(e, a->plan, plan, plan->devices + i);
                if (r >= 0)
                        r = engine_clean_add_power_back(e, a->plan, plan, plan->devices + i);
        }
        for (size_t i = 0; r >= 0 && i < plan->n_devices; i++)
                r = add_step(plan_add_device_step(plan, STEP_VERIFY, plan->devices + i),
                             e->options.step_timeout_msec, NULL, NULL, NULL);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

int engine_plan_rest(Engine *e, const Assignment *a, Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = NULL;
        int r;

        assert(e);
        assert(a);
        assert(ret);
        r = back_begin(e, a, &plan);
        for (size_t i = 0; r >= 0 && i < plan->n_devices; i++)
                r = engine_clean_add_power_back(e, NULL, plan, plan->devices + i);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}

int engine_plan_clean(Engine *e, const Device *d, const CleanSubject *s, Plan *plan) {
        PlanDevice *p = plan->devices;
        char name[PCI_DRIVER_NAME_MAX];
        bool bound = pci_driver_is_vfio(d->facts.driver);
        int r;

        assert(e);
        assert(plan->n_devices == 1);
        r = bound ? 0 : host_choose_driver(e->host, &d->facts, name, sizeof(name));
        if (r < 0 || free_and_strdup(&p->driver, bound ? d->facts.driver : name) < 0)
                return r < 0 ? r : -ENOMEM;
        if (bound) /* by what a release left there */
                engine_clean_read_home(e, d, &p->driver_before, &p->override_before);
        r = add_step(plan_add_device_step(plan, STEP_PROVE_UNHELD, p), UNHELD_TIMEOUT_MSEC, NULL,
                     NULL, NULL);
        if (r >= 0 && !bound)
                r = add_bind(e, plan, p);
        if (r >= 0)
                r = engine_clean_add(e, plan, p, s);
        if (r >= 0 && bound)
                r = engine_clean_add_home(e, plan, p);
        else if (r >= 0)
                r = add_restore_from(e, plan, plan, p, p->driver);
        if (r < 0)
                return r;
        return add_step(plan_add_device_step(plan, STEP_VERIFY, p), e->options.step_timeout_msec,
                        NULL, NULL, NULL);
}

int engine_plan_node_owner(Engine *e, const Plan *made, const char *from, const char *to,
                           Plan **ret) {
        _cleanup_(plan_freep) Plan *plan = plan_new(PLAN_ASSIGN);
        int r;

        assert(e);
        assert(made);
        assert(from);
        assert(to);
        assert(ret);
        if (!plan)
                return -ENOMEM;
        r = engine_random_id(plan->id);
        if (r >= 0)
                r = copy_devices(made, plan);
        if (r >= 0)
                r = add_node_owner(e, plan, from, to);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(plan);
        return 0;
}
