/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The number of virtual functions. The kernel changes it only from or to 0, all or nothing, and
 * waits for ever for whoever holds one, so each is proven unheld first. New ones are kept from host
 * drivers while they are made, unless the host shall have them; then the work waits until each of
 * them is in the inventory with its facts and its group (events tell, a deadline ends it), and
 * gives them the driver that was asked for. What fails on the way leads back to the former number.
 * Nothing is done while one of them is assigned.
 */

#include <assert.h>

#include "engine/engine-device.h"
#include "pci/driver.h"

#define OWNERS_SHOWN 8U
#define UNHELD_TIMEOUT_MSEC 1000U

static bool is_vf_of(const Device *d, PciAddress pf) {
        return d->facts.is_vf && !d->gone && pci_address_equal(d->facts.physfn, pf);
}

#define FOREACH_VF(e, pf, d)                                                                      \
        for (size_t i_##d = 0; i_##d < (e)->inventory->n_devices; i_##d++)                        \
                if (d = (e)->inventory->sorted[i_##d], is_vf_of(d, pf))

ssize_t engine_vfs_members(Engine *e, const Device *d, bool family, PciAddress **ret) {
        PciAddress *members;
        const Device *vf;
        size_t n = 1;

        assert(e);
        assert(d);
        assert(ret);
        if (family)
                FOREACH_VF(e, d->facts.address, vf)
                        n++;
        members = calloc(n, sizeof(PciAddress));
        if (!members)
                return -ENOMEM;
        n = 0;
        members[n++] = d->facts.address;
        if (family)
                FOREACH_VF(e, d->facts.address, vf)
                        members[n++] = vf->facts.address;
        *ret = members;
        return (ssize_t) n;
}

/* ---- verdict ---- */

static Json *owner_blocker(const Device *vf) {
        Json *one = json_new_object();

        (void) json_set_string(one, "device", PCI_ADDRESS_TEXT(vf->facts.address));
        (void) json_set_string(one, "code", blocker_to_string(BLOCKER_VF_OWNED));
        (void) json_set_string(one, "proof", vf->assignment->owner);
        (void) json_set_string(one, "remedy", blocker_remedy(BLOCKER_VF_OWNED));
        return one;
}

int engine_vfs_check_owners(Engine *e, const Device *pf, const Assignment *self, Error *err) {
        _cleanup_strbuf_ StrBuf names = {};
        _cleanup_json_ Json *details = NULL;
        Json *list = json_new_array();
        const Device *vf;
        size_t n = 0;

        assert(e);
        assert(pf);
        FOREACH_VF(e, pf->facts.address, vf) {
                if (!vf->assignment || vf->assignment == self)
                        continue;
                if (n++ < OWNERS_SHOWN)
                        strbuf_addf(&names, "%s%s to %s", names.size > 0 ? ", " : "",
                                    PCI_ADDRESS_TEXT(vf->facts.address), vf->assignment->owner);
                (void) json_append(list, owner_blocker(vf));
        }
        if (n == 0) {
                (void) json_free(list);
                return 0;
        }
        if (n > OWNERS_SHOWN)
                strbuf_addf(&names, " and %zu more", n - OWNERS_SHOWN);
        (void) error_set(err, ERROR_OWNED,
                         "Virtual functions of %s are assigned (%s); release them first",
                         PCI_ADDRESS_TEXT(pf->facts.address), strempty(names.data));
        details = json_new_object();
        (void) json_set(details, "blockers", list);
        if (err)
                error_take_details(err, json_to_text(details, false));
        return -error_code_to_errno(ERROR_OWNED);
}

static int check_family(Engine *e, const Device *pf, Error *err) {
        const Device *vf;
        size_t n = 0;
        int r = engine_vfs_check_owners(e, pf, NULL, err);

        if (r < 0)
                return r;
        FOREACH_VF(e, pf->facts.address, vf) {
                n++;
                if (vf->use.n_criticals > 0)
                        return error_set(err, ERROR_HOST_CRITICAL,
                                         "%s, a virtual function, is needed by the host (%s)",
                                         PCI_ADDRESS_TEXT(vf->facts.address),
                                         vf->use.criticals[0].proof);
                if (vf->job && vf->job != pf->job)
                        return error_set(err, ERROR_BUSY,
                                         "%s, a virtual function, is being worked on by job %llu",
                                         PCI_ADDRESS_TEXT(vf->facts.address),
                                         (unsigned long long) vf->job->id);
        }
        if (n >= PLAN_DEVICES_MAX)
                return error_set(err, ERROR_NOT_SUPPORTED,
                                 "%s has %zu virtual functions; fewer than %u can be proven unheld",
                                 PCI_ADDRESS_TEXT(pf->facts.address), n, PLAN_DEVICES_MAX);
        return 0;
}

static int current_vfs(const Device *d, Error *err, uint32_t *ret) {
        const PciText *text = d->live ? d->live->attributes + PCI_ATTRIBUTE_SRIOV_NUMVFS : NULL;

        if (!text || text->state != FACT_PRESENT || parse_u32(text->text, 10, UINT16_MAX, ret) < 0)
                return error_set(err, ERROR_NOT_SUPPORTED,
                                 "%s does not say how many virtual functions it has",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        return 0;
}

/* ---- plans ---- */

static int add_step(Engine *e, Plan *plan, StepType type, const char *value, const char *undo) {
        Step *s = plan_add_device_step(plan, type, plan->devices);

        if (!s)
                return -ENOMEM;
        s->timeout_msec = e->options.step_timeout_msec;
        return step_set(s, value, undo, type == STEP_AWAIT_VFS ? NULL : value);
}

static int add_number(Engine *e, Plan *plan, uint32_t value, uint32_t undo) {
        char after[16], before[16];

        (void) snprintf(after, sizeof(after), "%u", value);
        (void) snprintf(before, sizeof(before), "%u", undo);
        return add_step(e, plan, STEP_SET_NUMVFS, after, before);
}

static int add_vfs(Engine *e, const Device *pf, Plan *plan) {
        Device *vf;
        int r = 0;

        FOREACH_VF(e, pf->facts.address, vf) {
                AskedFor asked = {};

                if (r < 0)
                        break;
                r = engine_plan_devices(&asked, &vf, 1, plan);
        }
        return r;
}

/* Disabling one that is held would wait with the lock of all removals. */
static int add_proofs(Plan *plan) {
        for (size_t i = 1; i < plan->n_devices; i++) {
                Step *s = plan_add_device_step(plan, STEP_PROVE_UNHELD, plan->devices + i);

                if (!s)
                        return -ENOMEM;
                s->timeout_msec = UNHELD_TIMEOUT_MSEC;
        }
        return 0;
}

static int add_creation(Engine *e, const DeviceWork *w, const Device *d, Plan *plan) {
        const char *before = d->live->attributes[PCI_ATTRIBUTE_SRIOV_AUTOPROBE].text;
        const char *wanted = streq(w->driver, "host") ? "1" : "0";
        bool changes = before && !streq(before, wanted);
        char number[16];
        int r = 0;

        (void) snprintf(number, sizeof(number), "%u", w->n_vfs);
        if (changes)
                r = add_step(e, plan, STEP_SET_AUTOPROBE, wanted, before);
        if (r >= 0)
                r = add_number(e, plan, w->n_vfs, 0);
        if (r >= 0)
                r = add_step(e, plan, STEP_AWAIT_VFS, number, NULL);
        if (r >= 0 && changes)
                r = add_step(e, plan, STEP_SET_AUTOPROBE, before, wanted);
        return r;
}

int engine_vfs_plan(Engine *e, DeviceWork *w, Device *d, Plan *plan, Error *err) {
        int r;

        assert(e);
        assert(w);
        assert(plan);
        assert(plan->n_devices == 1);
        r = current_vfs(d, err, &w->from);
        if (r < 0 || w->from == w->n_vfs)
                return r;
        r = check_family(e, d, err);
        if (r < 0)
                return r;
        if (w->from > 0) {
                r = add_vfs(e, d, plan);
                if (r >= 0)
                        r = add_proofs(plan);
                if (r >= 0)
                        r = add_number(e, plan, 0, w->from);
        }
        if (r >= 0 && w->n_vfs > 0)
                r = add_creation(e, w, d, plan);
        return r < 0 ? error_set(err, ERROR_FAILED, "Not enough memory for a plan") : 0;
}

/* ---- what follows ---- */

static void end_well(Task *t) {
        engine_job_finish(t->engine, task_job(t), JOB_DONE, NULL);
        task_free(t);
}

static int next_plan(Task *t, Device *d, Error *err) {
        AskedFor asked = {};

        t->plan = plan_free(t->plan);
        t->plan = plan_new(PLAN_SET_NUMVFS);
        if (!t->plan || engine_random_id(t->plan->id) < 0 ||
            engine_plan_devices(&asked, &d, 1, t->plan) < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory for a plan");
        return 0;
}

/* Back to the former number. The error of the caller is the job's in the end. */
static void go_back(Task *t, Error *error) {
        Engine *e = t->engine;
        DeviceWork *w = t->data;
        Device *d = inventory_device(e->inventory, w->address);
        _cleanup_error_ Error err = ERROR_INIT;
        int r = d ? 0 : error_set(&err, ERROR_GONE, "%s went away", PCI_ADDRESS_TEXT(w->address));

        t->look = NULL;
        error_move(&w->error, error);
        w->phase = VFS_BACK;
        if (r >= 0)
                r = next_plan(t, d, &err);
        if (r >= 0 && (add_vfs(e, d, t->plan) < 0 || add_proofs(t->plan) < 0 ||
                       add_number(e, t->plan, 0, w->n_vfs) < 0 ||
                       (w->from > 0 && add_number(e, t->plan, w->from, 0) < 0)))
                r = error_set(&err, ERROR_FAILED, "Not enough memory for a plan");
        if (r >= 0)
                r = engine_work_run(t, &err);
        if (r < 0)
                engine_vfs_finished(t, &err);
}

static void came_back(Task *t, Error *err) {
        DeviceWork *w = t->data;

        if (err)
                (void) log_warning(
                        "Virtual functions of %s: the former number, %u, could not be set: %s",
                        PCI_ADDRESS_TEXT(w->address), w->from, err->message);
        engine_work_fail(t, &w->error);
}

static int add_driver(Engine *e, const DeviceWork *w, Device *vf, Plan *plan) {
        AskedFor asked = {};
        PlanDevice *p;
        Step *s;
        int r;

        r = engine_plan_devices(&asked, &vf, 1, plan);
        if (r < 0)
                return r;
        p = plan->devices + plan->n_devices - 1;
        if (free_and_strdup(&p->driver, w->driver) < 0)
                return -ENOMEM;
        s = plan_add_device_step(plan, STEP_SET_OVERRIDE, p);
        r = s ? step_set(s, w->driver, p->override_before, w->driver) : -ENOMEM;
        if (r >= 0) {
                s = plan_add_device_step(plan, STEP_PROBE, p);
                r = s ? step_set(s, NULL, w->driver, w->driver) : -ENOMEM;
        }
        if (r >= 0) {
                s = plan_add_device_step(plan, STEP_VERIFY, p);
                r = s ? step_set(s, NULL, NULL, w->driver) : -ENOMEM;
        }
        return r;
}

/* Those that are free: whoever was assigned one at once has it with a driver of its own. */
static void give_drivers(Task *t, Device *pf) {
        Engine *e = t->engine;
        DeviceWork *w = t->data;
        _cleanup_error_ Error err = ERROR_INIT;
        Device *vf;
        int r;

        w->phase = VFS_DRIVERS;
        r = next_plan(t, pf, &err);
        if (r >= 0)
                FOREACH_VF(e, w->address, vf)
                        if (r >= 0 && !vf->assignment && !vf->job && !vf->facts.driver[0])
                                r = add_driver(e, w, vf, t->plan);
        if (r < 0)
                (void) error_set(&err, ERROR_FAILED, "Not enough memory for a plan");
        else if (t->plan->n_steps == 0) {
                end_well(t);
                return;
        } else {
                engine_mark_job(e, t->plan, task_job(t));
                r = engine_work_run(t, &err);
        }
        if (r < 0)
                go_back(t, &err);
}

static bool is_complete(const Device *vf, const Device *pf) {
        return (vf->config || vf->read_error < 0) && (vf->group || !pf->group);
}

static void look(Task *t) {
        Engine *e = t->engine;
        DeviceWork *w = t->data;
        Device *pf = inventory_device(e->inventory, w->address);
        const Device *vf;
        uint32_t n = 0;

        if (!pf)
                return; /* the deadline tells */
        FOREACH_VF(e, w->address, vf)
                n += is_complete(vf, pf);
        if (n < w->n_vfs)
                return;
        t->look = NULL;
        (void) host_timer_set(t->timer, USEC_INFINITY);
        if (streq(w->driver, "none") || streq(w->driver, "host"))
                end_well(t);
        else
                give_drivers(t, pf);
}

static void deadline(Task *t) {
        Engine *e = t->engine;
        DeviceWork *w = t->data;
        _cleanup_error_ Error err = ERROR_INIT;
        const Device *vf;
        uint32_t n = 0;

        if (!t->look)
                return;
        FOREACH_VF(e, w->address, vf)
                n++;
        (void) error_set(
                &err, ERROR_FAILED,
                "%u of %u virtual functions of %s appeared in %u s; their number is %u again", n,
                w->n_vfs, PCI_ADDRESS_TEXT(w->address), e->options.step_timeout_msec / 1000,
                w->from);
        go_back(t, &err);
}

static void first_look(Task *t) {
        usec_t until =
                host_now(t->engine->host) + t->engine->options.step_timeout_msec * USEC_PER_MSEC;
        _cleanup_error_ Error err = ERROR_INIT;

        t->look = look;
        if (task_fire_at(t, until, deadline) < 0) {
                (void) error_set(&err, ERROR_FAILED,
                                 "Not enough memory to wait for virtual functions");
                go_back(t, &err);
        } else
                look(t);
}

void engine_vfs_finished(Task *t, Error *err) {
        DeviceWork *w = t->data;

        switch (w->phase) {
        case VFS_SET:
                if (err)
                        engine_work_fail(t, err);
                else if (w->n_vfs == 0)
                        end_well(t);
                else {
                        w->phase = VFS_WAIT;
                        first_look(t);
                }
                return;
        case VFS_DRIVERS:
                if (err)
                        go_back(t, err);
                else
                        end_well(t);
                return;
        case VFS_WAIT: /* no plan runs then */
        case VFS_BACK:
                came_back(t, err);
                return;
        }
}

/* ---- the request ---- */

/* Its owner may, where the VFIO driver makes them (vfio_pci.enable_sriov). */
static bool may_change(const Caller *c, const Device *d) {
        return !d->assignment ||
               (pci_driver_is_vfio(d->facts.driver) && d->assignment->state == ASSIGNMENT_ACTIVE &&
                (c->may_manage_others || engine_caller_owns(d->assignment, c->uid)));
}

static int check_request(const Caller *c, const Device *d, uint32_t n, const char *driver,
                         Error *err) {
        const char *name = PCI_ADDRESS_TEXT(d->facts.address);

        if (d->facts.state[PCI_ATTRIBUTE_SRIOV_TOTALVFS] != FACT_PRESENT)
                return error_set(err, ERROR_NOT_SUPPORTED, "%s has no SR-IOV", name);
        if (n > d->facts.sriov_totalvfs)
                return error_set(err, ERROR_INVALID,
                                 "%s can have %u virtual functions at most, not %u", name,
                                 d->facts.sriov_totalvfs, n);
        if (!pci_driver_name_is_valid(driver))
                return error_set(err, ERROR_INVALID,
                                 "driver must be \"none\", \"host\" or the name of a driver");
        if (n >= PLAN_DEVICES_MAX && !streq(driver, "none") && !streq(driver, "host"))
                return error_set(err, ERROR_INVALID,
                                 "A driver can be given to fewer than %u virtual functions at once",
                                 PLAN_DEVICES_MAX);
        if (!may_change(c, d))
                return error_set(err, ERROR_OWNED, "%s is assigned to %s", name,
                                 d->assignment->owner);
        return 0;
}

int engine_set_numvfs(Engine *e, const Caller *c, const char *device, uint32_t n,
                      const VfsOptions *o, EngineReply reply, void *userdata, Error *err) {
        const char *driver;
        DeviceWork w;
        Device *d;
        int r;

        assert(e);
        assert(c);
        assert(device);
        assert(o);
        driver = o->driver ? o->driver : "none";
        r = inventory_resolve(e->inventory, device, err, &d);
        if (r >= 0)
                r = check_request(c, d, n, driver, err);
        if (r < 0)
                return r;
        if (engine_removal_is_blocked(e))
                return error_set(
                        err, ERROR_STUCK,
                        "Another removal has not come back, and the kernel has one lock for all");
        w = (DeviceWork) { .kind = PLAN_SET_NUMVFS, .address = d->facts.address, .n_vfs = n };
        (void) string_copy(w.driver, sizeof(w.driver), driver);
        return engine_begin_work(e, c, d, &w, o->no_wait, reply, userdata, err);
}
