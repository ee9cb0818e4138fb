/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From the inventory to the verdict: collects the plain facts of a group into a question, and turns
 * verdicts into what is shown (Device.blockers, Group.viable) and into the details of a refusal. It
 * decides nothing itself; policy/ does. Cost depends on the group, never on the number of functions
 * of the host.
 */

#include <assert.h>

#include "engine/engine-clean.h"
#include "engine/engine-policy.h"
#include "engine/engine-private.h"
#include "pci/driver.h"

void group_question_done(GroupQuestion *q) {
        assert(q);
        free(q->members);
        free(q->drivers);
        free(q->devices);
        free(q->rules);
        free(q->asks);
        strv_free(q->texts);
        *q = (GroupQuestion) {};
}

static _printf_(2, 3) const char *question_text(GroupQuestion *q, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        size_t n = strv_length(q->texts);
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&text, format, ap) < 0)
                text = NULL;
        va_end(ap);
        if (!text || strv_extend(&q->texts, text) < 0)
                return "another owner"; /* out of memory: less said is better than nothing */
        return q->texts[n];
}

static bool asked_for(const AskedFor *asked, const Device *d) {
        for (size_t i = 0; i < asked->n_devices; i++)
                if (asked->devices[i] == d)
                        return true;
        return false;
}

/* Enabled virtual functions, as far as config space was read: SR-IOV Control bit 0 is VF Enable. */
static unsigned enabled_vfs(const Device *d) {
        const PciText *live = d->live ? d->live->attributes + PCI_ATTRIBUTE_SRIOV_NUMVFS : NULL;
        uint32_t n;

        if (live && live->state == FACT_PRESENT && parse_u32(live->text, 10, UINT16_MAX, &n) >= 0 &&
            d->live_at >= d->config_at)
                return n;
        if (d->config && d->config->has_sriov && d->config->sriov_control & 1)
                return d->config->sriov_num_vfs;
        return 0;
}

/* The i-th VF: its Routing ID is the PF's + First VF Offset + i × VF Stride (PCIe 9.2.1.2). */
static const Device *virtual_function(const Engine *e, const Device *pf, unsigned i) {
        PciAddress a = pf->facts.address;
        uint32_t rid = ((uint32_t) a.bus << 8) + ((uint32_t) a.slot << 3) + a.function +
                       pf->config->sriov_offset + i * pf->config->sriov_stride;

        if (rid > UINT16_MAX)
                return NULL;
        a.bus = (uint8_t) (rid >> 8);
        a.slot = (uint8_t) ((rid >> 3) & 31);
        a.function = (uint8_t) (rid & 7);
        return inventory_device(e->inventory, a);
}

static const char *vf_owner(Engine *e, const Device *pf, unsigned n, GroupQuestion *q) {
        for (unsigned i = 0; pf->config && i < n; i++) {
                const Device *vf = virtual_function(e, pf, i);

                if (vf && vf->assignment)
                        return question_text(q, "%s is assigned to %s",
                                             PCI_ADDRESS_TEXT(vf->facts.address),
                                             vf->assignment->owner);
        }
        return NULL;
}

/* With the VF token of its owner, whose the virtual ones may be as well. */
static bool is_same_owner(const Assignment *a, const PolicyAsk *ask) {
        return ask && ask->owner && a->creator_uid == ask->uid && streq_ptr(a->owner, ask->owner);
}

static const char *pf_owner(Engine *e, const Device *vf, const AskedFor *asked, GroupQuestion *q) {
        const Device *pf =
                vf->facts.is_vf ? inventory_device(e->inventory, vf->facts.physfn) : NULL;

        if (!pf || !pf->assignment || pf->assignment == asked->self ||
            is_same_owner(pf->assignment, asked->ask))
                return NULL;
        return question_text(q, "%s is assigned to %s", PCI_ADDRESS_TEXT(pf->facts.address),
                             pf->assignment->owner);
}

static const char *other_owner(const Device *d, const AskedFor *asked) {
        const Assignment *a = d->assignment ? d->assignment
                              : d->group    ? d->group->assignment
                                            : NULL;

        return a && a != asked->self ? a->owner : NULL;
}

static const char *running_job(const Device *d, const AskedFor *asked, GroupQuestion *q) {
        if (!d->job || !asked->choose_driver || (asked->self && asked->self->job == d->job))
                return NULL;
        return question_text(q, "%s, job %llu", plan_kind_to_string(d->job->kind),
                             (unsigned long long) d->job->id);
}

static void choose_driver(Engine *e, const Device *d, const AskedFor *asked,
                          const PolicyRule *rule, PlannedDriver *ret) {
        if (asked->driver)
                (void) string_copy(ret->name, sizeof(ret->name), asked->driver);
        else if (rule->settings.driver)
                (void) string_copy(ret->name, sizeof(ret->name), rule->settings.driver);
        else if (host_choose_driver(e->host, &d->facts, ret->name, sizeof(ret->name)) < 0)
                ret->name[0] = 0;
}

/* What was asked for with (uid, owner) under this rule before, and now. */
static PolicyAsk ask_about(Engine *e, const AskedFor *asked, const PolicyRule *rule) {
        PolicyAsk ask = asked->ask ? *asked->ask : (PolicyAsk) { .manager = true };

        if (!ask.owner || rule->settings.limit == UINT32_MAX)
                return ask;
        ask.n_owned =
                engine_policy_count_owned(e, rule, &ask, asked->claiming ? NULL : asked->self);
        for (size_t i = 0; i < asked->n_devices; i++)
                ask.n_asked += engine_rule(e, asked->devices[i]) == rule;
        return ask;
}

/* Of a device that is somebody's, that it is says enough; one that can be cleaned is, before
 * another gets it. */
static const char *dirty_for(Engine *e, const Device *d, const AskedFor *asked) {
        const PolicyAsk *ask = asked->ask;

        if (!d->dirty_owner || (d->assignment && d->assignment != asked->self) ||
            engine_clean_can(e, d))
                return NULL;
        return ask && ask->owner && !engine_clean_is_needed(d, ask->uid, ask->owner)
                       ? NULL
                       : d->dirty_owner;
}

static void fill_member(Engine *e, const AskedFor *asked, GroupQuestion *q, size_t i) {
        const Device *d = q->devices[i];
        unsigned n_vfs = enabled_vfs(d);

        q->rules[i] = engine_rule(e, d);
        q->asks[i] = ask_about(e, asked, q->rules[i]);
        if (asked->choose_driver)
                choose_driver(e, d, asked, q->rules[i], q->drivers + i);
        q->members[i] = (VerdictMember) {
                .facts = &d->facts,
                .use = &d->use,
                .config = d->config,
                .use_read = d->config != NULL, /* a worker reads both together */
                .requested = asked_for(asked, d),
                .stuck = d->stuck,
                .gone = d->gone,
                .read_error = d->read_error,
                .quarantine = d->quarantine,
                .dirty = dirty_for(e, d, asked),
                .owner = other_owner(d, asked),
                .job = running_job(d, asked, q),
                .driver = q->drivers[i].name[0] ? q->drivers[i].name : NULL,
                .driver_known = asked->choose_driver,
                .n_vfs = n_vfs,
                .vf_owner = vf_owner(e, d, n_vfs, q),
                .pf_owner = pf_owner(e, d, asked, q),
        };
}

int group_question(Engine *e, const Device *anchor, const AskedFor *asked, GroupQuestion *ret) {
        _cleanup_question_ GroupQuestion q = {};
        size_t n = anchor->group ? anchor->group->n_devices : 1, k = 0;

        assert(e);
        assert(asked);
        assert(ret);
        q.members = calloc(n, sizeof(VerdictMember));
        q.drivers = calloc(n, sizeof(PlannedDriver));
        q.devices = calloc(n, sizeof(Device *));
        q.rules = calloc(n, sizeof(PolicyRule *));
        q.asks = calloc(n, sizeof(PolicyAsk));
        if (!q.members || !q.drivers || !q.devices || !q.rules || !q.asks)
                return -ENOMEM;
        if (anchor->group)
                LIST_FOREACH(&anchor->group->devices, link)
                        q.devices[k++] = LIST_ENTRY(link, Device, in_group);
        else
                q.devices[k++] = inventory_device(e->inventory, anchor->facts.address);
        assert(k == n);
        for (size_t i = 0; i < n; i++)
                fill_member(e, asked, &q, i);
        q.question = (VerdictQuestion) {
                .members = q.members,
                .n_members = n,
                .group = anchor->group ? &anchor->group->facts : NULL,
                .iommu = inventory_iommu(e->inventory, anchor->facts.iommu),
                .force = asked->force,
                .no_remapping = e->platform_read && e->platform.interrupt_remapping == 0,
                .unsafe_interrupts = e->platform_read && e->platform.unsafe_interrupts == 1,
        };
        q.take_all = asked->take_all;
        *ret = q;
        q = (GroupQuestion) {};
        return 0;
}

static bool rules_take_all(const GroupQuestion *q) {
        for (size_t i = 0; i < q->question.n_members; i++)
                if (q->members[i].requested &&
                    q->rules[i]->settings.group == POLICY_GROUP_TAKE_ALL)
                        return true;
        return false;
}

static void evaluate_rules(const Engine *e, const GroupQuestion *q, size_t i, Verdict *v) {
        if (e->policy_refusal && v->role == VERDICT_ROLE_REQUESTED)
                verdict_add(v, &q->question, BLOCKER_POLICY_UNREADABLE, i, e->policy_refusal);
        policy_evaluate(q->rules[i], q->asks + i, &q->question, i, v);
}

void group_question_evaluate(const Engine *e, GroupQuestion *q, size_t i, Verdict *ret) {
        assert(e);
        assert(q);
        q->question.take_all = q->take_all || rules_take_all(q);
        verdict_evaluate(&q->question, i, ret);
        evaluate_rules(e, q, i, ret);
}

/* ---- what is shown all the time ---- */

static uint64_t blocker_mask(const Verdict *v) {
        uint64_t mask = 0;

        for (size_t i = 0; i < v->n_blockers; i++)
                mask |= UINT64_C(1) << v->blockers[i].code;
        return mask;
}

static bool shows(const Device *d, uint64_t mask) {
        size_t n = 0;

        for (BlockerCode c = 0; c < _BLOCKER_MAX; c++) {
                if (!(mask & UINT64_C(1) << c))
                        continue;
                if (!d->blockers || !d->blockers[n] || !streq(d->blockers[n], blocker_to_string(c)))
                        return false;
                n++;
        }
        return !d->blockers || !d->blockers[n];
}

static int show(Device *d, uint64_t mask) {
        _cleanup_strv_ char **v = NULL;

        for (BlockerCode c = 0; c < _BLOCKER_MAX; c++)
                if (mask & UINT64_C(1) << c && strv_extend(&v, blocker_to_string(c)) < 0)
                        return -ENOMEM;
        strv_free(d->blockers);
        d->blockers = TAKE_PTR(v);
        return 0;
}

/* What stands against giving away a whole group, whoever has it now. */
#define TRANSIENT_BLOCKERS                                                             \
        (UINT64_C(1) << BLOCKER_OWNED | UINT64_C(1) << BLOCKER_JOB | UINT64_C(1) << BLOCKER_BUSY)

typedef struct Shown {
        uint64_t alone;  /* asked for by itself */
        uint64_t parked; /* a mate of what is asked for */
} Shown;

static int evaluate_shown(Engine *e, const Device *anchor, GroupQuestion *q, Shown **ret) {
        Shown *shown;
        Verdict v;

        shown = calloc(q->question.n_members, sizeof(Shown));
        if (!shown)
                return -ENOMEM;
        for (size_t i = 0; i < q->question.n_members; i++) {
                group_question_evaluate(e, q, i, &v);
                shown[i].parked = blocker_mask(&v);
                q->members[i].requested = true;
                group_question_evaluate(e, q, i, &v);
                shown[i].alone = blocker_mask(&v);
                q->members[i].requested = false;
        }
        *ret = shown;
        return 0;
}

static void update_group_verdicts(Engine *e, const Device *anchor, const Device *reported,
                                  bool quiet) {
        _cleanup_question_ GroupQuestion q = {};
        _cleanup_free_ Shown *shown = NULL;
        Group *g = anchor->group;
        bool viable = g != NULL;
        uint64_t all = 0, twice = 0;
        size_t n;

        if (group_question(e, anchor, &(AskedFor) {}, &q) < 0 ||
            evaluate_shown(e, anchor, &q, &shown) < 0) {
                log_warning("Not enough memory for the verdict of %s",
                            PCI_ADDRESS_TEXT(anchor->facts.address));
                return;
        }
        n = q.question.n_members;
        /* A mate's blocker counts: twice says that two members have it, so that any member has a
         * mate with it. */
        for (size_t i = 0; i < n; i++) {
                twice |= all & shown[i].parked;
                all |= shown[i].parked;
                if (shown[i].parked & ~(TRANSIENT_BLOCKERS | UINT64_C(1) << BLOCKER_GROUP_MEMBER))
                        viable = false;
        }
        for (size_t i = 0; i < n; i++) {
                uint64_t mates = twice | (all & ~shown[i].parked), mask;
                Device *d = q.devices[i];

                if (q.rules[i]->settings.group == POLICY_GROUP_TAKE_ALL)
                        mates &= ~(UINT64_C(1) << BLOCKER_GROUP_MEMBER);
                mask = shown[i].alone | mates;

                if (shows(d, mask))
                        continue;
                if (show(d, mask) < 0)
                        log_warning("Not enough memory for the verdict of %s",
                                    PCI_ADDRESS_TEXT(d->facts.address));
                else if (d != reported && !quiet)
                        engine_device_changed(e, d);
        }
        if (g && g->viable != viable) {
                g->viable = viable;
                if (!quiet && e->observer.group_changed)
                        e->observer.group_changed(g, e->observer_userdata);
        }
}

void engine_update_verdicts(Engine *e, Device *anchor, const Device *reported) {
        assert(e);
        assert(anchor);
        update_group_verdicts(e, anchor, reported, false);
}

void engine_update_all_verdicts(Engine *e) {
        assert(e);
        for (size_t i = 0; i < e->inventory->n_devices; i++) {
                Device *d = e->inventory->sorted[i];

                if (!d->group || d->group->devices.next == &d->in_group)
                        update_group_verdicts(e, d, NULL, true);
        }
}

/* ---- a request's verdict ---- */

static Json *blocker_to_json(const GroupQuestion *g, const Blocker *b) {
        const VerdictQuestion *q = &g->question;
        _cleanup_free_ char *message = blocker_describe(q, b);
        Json *j = json_new_object();

        (void) json_set_string(j, "device", PCI_ADDRESS_TEXT(q->members[b->about].facts->address));
        (void) json_set_string(j, "code", blocker_to_string(b->code));
        (void) json_set_string(j, "message", message);
        (void) json_set_string(j, "remedy", blocker_remedy(b->code));
        if (b->proof)
                (void) json_set_string(j, "proof", b->proof);
        if (b->forced)
                (void) json_set_bool(j, "forced", true);
        if (blocker_to_error(b->code) == ERROR_POLICY_DENIED)
                engine_policy_add_origin(g->rules[b->about], b->proof, j);
        return j;
}

static Json *member_to_json(const GroupQuestion *q, size_t i, const Verdict *v) {
        const VerdictMember *m = q->members + i;
        Json *j = json_new_object(), *list = json_new_array();

        (void) json_set_string(j, "device", PCI_ADDRESS_TEXT(m->facts->address));
        (void) json_set_string(j, "role", verdict_role_to_string(v->role));
        (void) json_set_string(j, "driver", m->facts->driver);
        if (m->driver)
                (void) json_set_string(j, "vfio-driver", m->driver);
        (void) json_set_bool(j, "assignable", verdict_is_clean(v));
        for (size_t k = 0; k < v->n_blockers; k++)
                (void) json_append(list, blocker_to_json(q, v->blockers + k));
        (void) json_set(j, "blockers", list);
        (void) json_set(j, "rule", engine_policy_rule_to_json(q->rules[i]));
        return j;
}

typedef struct Check {
        Json *groups, *blockers;
        BlockerCode first;
        char *message; /* of the first by precedence */
        unsigned n;
} Check;

static void take_verdict(Check *c, const GroupQuestion *q, const Verdict *v) {
        const Blocker *first = verdict_first(v);

        for (size_t k = 0; k < v->n_blockers; k++) {
                if (v->blockers[k].forced)
                        continue;
                (void) json_append(c->blockers, blocker_to_json(q, v->blockers + k));
                c->n++;
        }
        if (first && (!c->message || first->code < c->first)) {
                free(c->message);
                c->message = blocker_describe(&q->question, first);
                c->first = first->code;
        }
}

static void check_member(const Engine *e, Check *c, GroupQuestion *q, size_t i, Json *members) {
        Verdict v;

        group_question_evaluate(e, q, i, &v);
        (void) json_append(members, member_to_json(q, i, &v));
        take_verdict(c, q, &v);
}

static int check_group(Engine *e, const Device *anchor, const AskedFor *asked, Check *c) {
        _cleanup_question_ GroupQuestion q = {};
        Json *j, *members;
        int r;

        r = group_question(e, anchor, asked, &q);
        if (r < 0)
                return r;
        j = json_new_object();
        members = json_new_array();
        if (anchor->group)
                (void) json_set_u64(j, "group", anchor->group->id);
        else
                (void) json_set_null(j, "group");
        for (size_t i = 0; i < q.question.n_members; i++)
                check_member(e, c, &q, i, members);
        (void) json_set(j, "members", members);
        return json_append(c->groups, j);
}

static bool group_seen(const AskedFor *asked, size_t i) {
        for (size_t k = 0; k < i; k++)
                if (asked->devices[k] == asked->devices[i] ||
                    (asked->devices[i]->group &&
                     asked->devices[k]->group == asked->devices[i]->group))
                        return true;
        return false;
}

/* r < 0: memory ran out. Puts what was found into j. */
static int check_done(Check *c, Json *j, int r, Error *err) {
        (void) json_set_bool(j, "assignable", c->n == 0);
        (void) json_set(j, "blockers", c->blockers);
        if (c->groups)
                (void) json_set(j, "groups", c->groups);
        if (r < 0)
                (void) error_set(err, ERROR_FAILED, "Not enough memory for the verdict");
        else if (c->n > 0) {
                r = error_set(err, blocker_to_error(c->first), "%s: %s", strempty(c->message),
                              blocker_remedy(c->first));
                if (err)
                        error_take_details(err, PLANTED(REFUSE_WITHOUT_REASON)
                                                        ? NULL
                                                        : json_to_text(j, false));
        }
        free(c->message);
        return r;
}

int engine_check(Engine *e, const AskedFor *asked, Error *err, Json **ret) {
        Check c = { .first = _BLOCKER_MAX };
        _cleanup_json_ Json *j = json_new_object();
        int r = 0;

        assert(e);
        assert(asked);
        c.groups = json_new_array();
        c.blockers = json_new_array();
        for (size_t i = 0; i < asked->n_devices && r >= 0; i++)
                if (!group_seen(asked, i))
                        r = check_group(e, asked->devices[i], asked, &c);
        r = check_done(&c, j, r, err);
        if (ret)
                *ret = TAKE_PTR(j);
        return r;
}

static int check_rules_of(Engine *e, const Device *d, const AskedFor *asked, Check *c) {
        _cleanup_question_ GroupQuestion q = {};
        int r = group_question(e, d, asked, &q);

        for (size_t i = 0; r >= 0 && i < q.question.n_members; i++) {
                Verdict v = { .role = VERDICT_ROLE_REQUESTED };

                if (q.devices[i] != d)
                        continue;
                evaluate_rules(e, &q, i, &v);
                take_verdict(c, &q, &v);
        }
        return r;
}

int engine_check_rules(Engine *e, const AskedFor *asked, Error *err) {
        Check c = { .first = _BLOCKER_MAX };
        _cleanup_json_ Json *j = json_new_object();
        int r = 0;

        assert(e);
        assert(asked);
        c.blockers = json_new_array();
        for (size_t i = 0; i < asked->n_devices && r >= 0; i++)
                if (asked->devices[i]->config) /* without, another rule may match */
                        r = check_rules_of(e, asked->devices[i], asked, &c);
        return check_done(&c, j, r, err);
}
