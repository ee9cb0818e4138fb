/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One step of a plan, or its undoing, on the simulated kernel: what the worker would write, the
 * faults that were put in its way, and the reading back of what should have changed. Undoing a step
 * is an operation of another kind (undoing an unbind is a probe), and faults belong to operations.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/sim-private.h"
#include "host/step-error.h"

#define WRONG_DRIVER "pci-stub"
#define CONTAINER_MSEC 3U

static Step *current_step(SimJob *job) {
        return job->copy.plan->steps + job->step;
}

static bool is_redo(const SimJob *job) {
        return job->request.plan_recovery && !job->undoing;
}

/* What the kernel is asked to do. */
static StepType operation(const Step *s, bool undo) {
        if (!undo)
                return s->type;
        if (s->type == STEP_UNBIND)
                return STEP_PROBE;
        return s->type == STEP_PROBE ? STEP_UNBIND : s->type;
}

/* ---- faults ---- */

static bool fault_is_here(SimHost *h, const SimFault *f, const Step *s) {
        SimDevice *d;

        if (s->has_device)
                return pci_address_equal(f->device, s->device);
        d = sim_device(h, f->device);
        return d && d->has_group && d->group == s->group;
}

bool sim_step_fault(SimJob *job, SimFaultKind kind, SimFault *ret) {
        SimHost *h = sim_of(job->host);
        const Step *s = current_step(job);

        for (size_t i = 0; i < h->n_faults; i++) {
                SimFault *f = h->faults + i;

                if (f->kind != kind || f->step != operation(s, job->undoing) ||
                    !fault_is_here(h, f, s))
                        continue;
                *ret = *f;
                if (f->times == 1) {
                        h->n_faults--;
                        memmove(f, f + 1, (h->n_faults - i) * sizeof(*f));
                } else if (f->times > 1)
                        f->times--;
                return true;
        }
        return false;
}

/* ---- how long ---- */

usec_t sim_step_time(SimJob *job) {
        SimHost *h = sim_of(job->host);
        const Step *s = current_step(job);
        SimDevice *d = s->has_device ? sim_device(h, s->device) : NULL;
        usec_t time = 0;
        SimFault f;

        switch (operation(s, job->undoing)) {
        case STEP_UNBIND:
                time = d ? sim_unbind_time(h, d->driver) : 0;
                break;
        case STEP_PROBE:
                time = d && !d->driver[0] ? sim_bind_time(h, sim_probe_candidate(d)) : 0;
                break;
        case STEP_RESET:
                time = d ? sim_reset_time(d, strempty(s->value)) : 0;
                break;
        case STEP_TRIAL_ATTACH:
                time = CONTAINER_MSEC * USEC_PER_MSEC;
                break;
        case STEP_SET_NUMVFS: /* drivers/pci/iov.c: 100 ms after enabling, 1 s after disabling */
                time = streq(strempty(job->undoing ? step_undo_value(s) : s->value), "0")
                               ? USEC_PER_SEC
                               : 100 * USEC_PER_MSEC;
                break;
        case STEP_COMMIT_STATE:
        case STEP_PROVE_UNHELD:
        case STEP_SET_OVERRIDE:
        case STEP_SET_NODE_OWNER:
        case STEP_AWAIT_READY:
        case STEP_VERIFY:
        case STEP_HOLD_POWER:
        case STEP_SET_RESET_METHOD:
        case STEP_TAKE_REFERENCE:
        case STEP_COMPARE_CONFIG:
        case STEP_HOOK:
        case STEP_SET_AUTOPROBE:
        case STEP_AWAIT_VFS:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
        case _STEP_TYPE_MAX:
        case _STEP_TYPE_INVALID:
                break;
        }
        return sim_step_fault(job, SIM_FAULT_DELAY, &f) ? time + f.delay : time;
}

bool sim_step_waits_in_worker(const Step *s, bool undo) {
        assert(s);
        return !undo && (s->type == STEP_PROVE_UNHELD || s->type == STEP_AWAIT_READY);
}

/* ---- the steps ---- */

static int parse_owner(const char *text, uint32_t *ret_uid, uint32_t *ret_gid) {
        const char *colon = strchr(text, ':');
        uint64_t uid;
        int r;

        if (!colon)
                return -EINVAL;
        r = parse_u64_n(text, (size_t) (colon - text), 10, UINT32_MAX - 1, &uid);
        if (r < 0)
                return r;
        r = parse_u32(colon + 1, 10, UINT32_MAX - 1, ret_gid);
        if (r < 0)
                return r;
        *ret_uid = (uint32_t) uid;
        return 0;
}

static int set_node_owner(SimHost *h, uint32_t group, const char *owner) {
        SimGroup *g = sim_group(h, group);
        uint32_t uid, gid;
        int r;

        r = parse_owner(owner, &uid, &gid);
        if (r < 0)
                return r;
        if (!g || !sim_group_has_node(
                          h, group)) /* a node that went with its driver is nobody's any more */
                return uid == 0 && gid == 0 ? 0 : -ENOENT;
        g->node_uid = uid;
        g->node_gid = gid;
        return 0;
}

static bool is_use_of_host(PciCriticalCode c) {
        return c != PCI_CRITICAL_CONSOLE && c != PCI_CRITICAL_CHIPSET;
}

/* By a trial open of the group's node: one look, or as long as the step may take. */
static int prove_vfio(SimDevice *d) {
        SimGroup *g = d->has_group ? sim_group(d->host, d->group) : NULL;

        if (g) /* nobody else may open it from here on */
                g->node_uid = g->node_gid = 0;
        return (g && sim_group_is_held(d->host, d->group)) || sim_device_is_held(d) ? SIM_BLOCKED
                                                                                    : 0;
}

/* As in the worker's step_prove_override(). */
static int prove_override(SimJob *job, const SimDevice *d) {
        const Plan *p = job->copy.plan;

        for (size_t i = 0; p->kind == PLAN_ASSIGN && i < p->n_steps; i++) {
                const Step *o = p->steps + i;

                if (o->type != STEP_SET_OVERRIDE ||
                    !pci_address_equal(o->device, d->source.address) ||
                    streq(d->override, strempty(o->undo)) || streq(d->override, strempty(o->value)))
                        continue;
                (void) snprintf(job->finding, sizeof(job->finding), "its driver_override is %s",
                                d->override[0] ? d->override : "none");
                return -ESTALE;
        }
        return 0;
}

static int prove_unheld(SimJob *job, SimDevice *d) {
        int r = prove_override(job, d);

        if (r < 0)
                return r;
        if (pci_driver_is_vfio(d->driver))
                return prove_vfio(d);
        for (size_t i = 0; i < d->source.use.n_criticals; i++) {
                const PciCritical *c = d->source.use.criticals + i;

                if (!d->driver[0] || !is_use_of_host(c->code))
                        continue;
                (void) string_copy(job->finding, sizeof(job->finding), c->proof);
                return -ENOTBLK;
        }
        return sim_device_is_held(d) ? -EBUSY : 0;
}

static int read_back_driver(SimJob *job, const SimDevice *d, const char *expect) {
        if (streq(d->driver, expect))
                return 0;
        job->has_found = string_copy(job->found, sizeof(job->found), d->driver);
        return -STEP_ERROR_READ_BACK;
}

static int unbind(SimJob *job, SimDevice *d, const char *driver) {
        SimFault f;
        int r;

        if (is_redo(job) && !streq(d->driver, driver))
                return 0; /* not on it any more: nothing is left to do */
        if (!streq(d->driver, driver)) {
                (void) read_back_driver(job, d, driver);
                return -ENODEV;
        }
        /* The worker never starts an unbind that would wait for a user. */
        if (pci_driver_is_vfio(driver) && prove_vfio(d) != 0)
                return -EBUSY;
        if (!sim_step_fault(job, SIM_FAULT_NO_EFFECT, &f)) {
                r = sim_unbind(d, driver);
                if (r != 0)
                        return r;
        }
        return read_back_driver(job, d, "");
}

static int probe(SimJob *job, SimDevice *d, const char *expect) {
        SimFault f;
        int r = 0;

        if (is_redo(job) && d->driver[0] && (isempty(expect) || streq(d->driver, expect)))
                return 0;
        if (sim_step_fault(job, SIM_FAULT_WRONG_DRIVER, &f))
                (void) sim_bind(d, WRONG_DRIVER);
        else if (!sim_step_fault(job, SIM_FAULT_NO_EFFECT, &f))
                r = sim_drivers_probe(d);
        if (r < 0)
                return r;
        return isempty(expect) ? 0 : read_back_driver(job, d, expect);
}

/* before, may_leave: as in the worker's steps.c. */
static int set_override(SimJob *job, SimDevice *d, const char *driver, const char *before,
                        bool may_leave) {
        SimFault f;

        if (before && !streq(d->override, driver) && !streq(d->override, before)) {
                (void) snprintf(job->finding, sizeof(job->finding), "it is %s",
                                d->override[0] ? d->override : "none");
                return may_leave ? 0 : -ESTALE;
        }
        if (sim_step_fault(job, SIM_FAULT_NO_EFFECT, &f))
                return streq(d->override, driver) ? 0 : -STEP_ERROR_READ_BACK;
        return sim_set_override(d, driver);
}

static int set_numvfs(SimJob *job, SimDevice *d, const char *value) {
        uint32_t n;
        SimFault f;
        int r;

        r = parse_u32(value, 10, UINT16_MAX, &n);
        if (r < 0)
                return r;
        if (!sim_step_fault(job, SIM_FAULT_NO_EFFECT, &f)) {
                r = sim_set_numvfs(d, n);
                if (r != 0)
                        return r;
        }
        return sim_numvfs(d) == n ? 0 : -STEP_ERROR_READ_BACK;
}

static void tell_override(SimJob *job, const SimDevice *d) {
        PciLive live = {};
        HostDeviceFacts f = { .address = d->source.address, .live = &live };

        (void) pci_live_set(&live, PCI_ATTRIBUTE_DRIVER_OVERRIDE, d->override, 0);
        if (!job->detached && job->callbacks.device)
                job->callbacks.device((HostJob *) job, &f, job->userdata);
        pci_live_done(&live);
}

static int verify(SimJob *job, SimDevice *d, const Step *s) {
        int r;

        if (d->has_group && d->group != s->group) {
                (void) snprintf(job->finding, sizeof(job->finding), "it is in group %u", d->group);
                return -STEP_ERROR_READ_BACK;
        }
        r = s->expect ? read_back_driver(job, d, s->expect) : 0;
        if (r >= 0 && job->copy.plan->kind == PLAN_RELEASE)
                tell_override(job, d);
        return r;
}

static int trial_attach(SimJob *job) {
        const Plan *p = job->copy.plan;
        _cleanup_free_ uint32_t *groups = NULL;
        size_t n = 0;
        int r;

        r = plan_groups(p, &groups, &n);
        for (size_t i = 0; i < n && r >= 0; i++)
                r = sim_group_attach_error(sim_of(job->host), groups[i], job->finding,
                                           sizeof(job->finding));
        return r;
}

/* The identity is checked before each write, since an address may be another card's by now. */
static int check_identity(SimJob *job, SimDevice *d, PciAddress a) {
        const PlanDevice *p = plan_find_device(job->copy.plan, a);
        PciFacts f;
        bool same;

        if (!p)
                return 0;
        pci_facts_init(&f, a);
        sim_device_cold_facts(d, &f);
        same = f.vendor == p->vendor && f.device == p->device &&
               f.subsystem_vendor == p->subsystem_vendor &&
               f.subsystem_device == p->subsystem_device;
        pci_facts_done(&f);
        return same ? 0 : -ESTALE;
}

static int run_forward(SimJob *job, SimDevice *d, const Step *s) {
        switch (s->type) {
        case STEP_PROVE_UNHELD:
                return prove_unheld(job, d);
        case STEP_UNBIND:
                return unbind(job, d, s->value);
        case STEP_SET_OVERRIDE:
                return set_override(job, d, strempty(s->value), s->undo,
                                    job->copy.plan->kind == PLAN_RELEASE);
        case STEP_PROBE:
                return probe(job, d, s->expect);
        case STEP_SET_NODE_OWNER:
                return set_node_owner(sim_of(job->host), s->group, strempty(s->value));
        case STEP_TRIAL_ATTACH:
                return trial_attach(job);
        case STEP_RESET:
                return sim_reset_step(job, d, strempty(s->value));
        case STEP_AWAIT_READY:
                return sim_device_answers(d) ? 0 : SIM_BLOCKED;
        case STEP_SET_NUMVFS:
                return set_numvfs(job, d, strempty(s->value));
        case STEP_VERIFY:
                return verify(job, d, s);
        case STEP_HOLD_POWER:
                return sim_hold_power(d, strempty(s->value));
        case STEP_SET_RESET_METHOD:
                return sim_set_reset_method(d, strempty(s->value));
        case STEP_TAKE_REFERENCE:
                return sim_take_reference(job, d);
        case STEP_COMPARE_CONFIG:
                return sim_compare_config(job, d);
        case STEP_HOOK:
                return sim_hook(job, s);
        case STEP_COMMIT_STATE:
                return sim_state_commit(sim_of(job->host), strempty(s->value), strempty(s->expect));
        case STEP_AWAIT_VFS:
                return sim_await_vfs(job, d, strempty(s->value));
        case STEP_SET_AUTOPROBE:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
                return sim_setting(job, d, s, strempty(s->value));
        case _STEP_TYPE_MAX:
        case _STEP_TYPE_INVALID:
                break;
        }
        return -EOPNOTSUPP;
}

static int run_undo(SimJob *job, SimDevice *d, const Step *s) {
        const char *to = step_undo_value(s);
        int r;

        assert(to);
        switch (s->type) {
        case STEP_UNBIND: /* what another hand bound meanwhile stays */
                return d->driver[0] ? 0 : probe(job, d, to);
        case STEP_PROBE: /* of its own failure, whatever came of it goes */
                if (!d->driver[0] ||
                    (to[0] && !streq(d->driver, to) && job->step != job->failed_probe))
                        return 0;
                return unbind(job, d, d->driver);
        case STEP_SET_OVERRIDE:
                return set_override(job, d, to, strempty(s->value), true);
        case STEP_SET_NODE_OWNER:
                r = set_node_owner(sim_of(job->host), s->group, to);
                return r == -ENOENT ? 0 : r; /* no node, no owner */
        case STEP_SET_NUMVFS:
                return set_numvfs(job, d, to);
        case STEP_HOLD_POWER:
                return sim_hold_power(d, to);
        case STEP_SET_RESET_METHOD:
                return sim_set_reset_method(d, to);
        case STEP_COMMIT_STATE:
                return sim_state_undo(sim_of(job->host), strempty(s->value), to,
                                      job->why.failed_step == job->step);
        case STEP_SET_AUTOPROBE:
        case STEP_SET_D3COLD:
        case STEP_SET_NOSNOOP:
        case STEP_SET_DOMAIN_TYPE:
        case STEP_RESIZE_BAR:
                return sim_setting(job, d, s, to);
        case STEP_PROVE_UNHELD:
        case STEP_TRIAL_ATTACH:
        case STEP_RESET:
        case STEP_AWAIT_READY:
        case STEP_VERIFY:
        case STEP_TAKE_REFERENCE:
        case STEP_COMPARE_CONFIG:
        case STEP_HOOK:
        case STEP_AWAIT_VFS:
        case _STEP_TYPE_MAX:
        case _STEP_TYPE_INVALID:
                break;
        }
        return 0;
}

int sim_step_run(SimJob *job) {
        const Step *s = current_step(job);
        SimDevice *d = NULL;
        SimFault f;
        int r;

        assert(job);
        job->finding[0] = job->evidence[0] = 0;
        job->has_found = false;
        if (s->has_device) {
                d = sim_device(sim_of(job->host), s->device);
                if (!d || (d->dead && s->type != STEP_AWAIT_READY))
                        return -ENODEV;
                r = check_identity(job, d, s->device);
                if (r < 0)
                        return r;
        } else if (s->type != STEP_SET_NODE_OWNER && s->type != STEP_TRIAL_ATTACH &&
                   s->type != STEP_COMMIT_STATE)
                return -EINVAL; /* a step on a device without one */
        if (sim_step_fault(job, SIM_FAULT_ERROR, &f))
                return sim_setting_outcome(job, s, -f.error);
        return job->undoing ? run_undo(job, d, s) : run_forward(job, d, s);
}

/* ---- failures ---- */

void sim_step_explain(SimJob *job, int error) {
        const Step *s = current_step(job);
        SimDevice *d = s->has_device ? sim_device(sim_of(job->host), s->device) : NULL;
        StepFailure f = {
                .step = s,
                .undo = job->undoing,
                .error = error,
                .found = job->has_found ? job->found : NULL,
                .detail = job->finding[0] ? job->finding : NULL,
        };

        if (s->type == STEP_COMMIT_STATE) {
                (void) snprintf(job->finding, sizeof(job->finding), "%.100s: %s",
                                sim_state_directory(job->host), strempty(strerrorname_np(-error)));
                f.detail = job->finding;
        }
        pci_use_done(&job->holders);
        if (d && error == -EBUSY && sim_device_holders(d, &job->holders) >= 0) {
                f.holders = job->holders.holders;
                f.n_holders = job->holders.n_holders;
        }
        step_failure_explain(&f, &job->result);
}
