/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * From wants to the best set of devices that may be had now: which functions satisfy a want, which
 * of those the verdict lets go (each IOMMU group is asked once), which sets of them are best
 * (model/choose.h), and of these the first that passes the whole verdict as a request by name
 * would. The document tells all of it: the ranking with its reasons, and what was left out with
 * the blocker. Nothing is read and nothing is claimed here.
 */

#include "engine/engine-match.h"

#include <assert.h>

#define SHOWN_MAX 64U  /* of candidates, and of those left out */

typedef struct Gather {
        Engine *e;
        Matching *m;
        size_t n;               /* functions of the host, all arrays below are of this size */
        uint32_t *wants;        /* of each function, by place in Inventory.sorted */
        uint8_t *free;          /* nothing stands against it */
        uint8_t *needed;        /* its group cannot be had without asking for it */
        uint8_t *waits;         /* only somebody else's having it stands against it */
        uint8_t *seen;
        ChooseGroup *groups;    /* by place of the group's first member */
        ChooseCandidate *candidates;
        bool *candidate_needed;
        size_t *place_of;       /* of each candidate */
        size_t n_candidates;
        Json *left_out;
        size_t n_left_out;
} Gather;

static void gather_done(Gather *g) {
        free(g->wants);
        free(g->free);
        free(g->needed);
        free(g->waits);
        free(g->seen);
        free(g->groups);
        free(g->candidates);
        free(g->candidate_needed);
        free(g->place_of);
        (void) json_free(g->left_out);
}

static int gather_init(Engine *e, Matching *m, Gather *g) {
        size_t n = e->inventory->n_devices;

        *g = (Gather) { .e = e, .m = m, .n = n };
        g->wants = calloc(n + 1, sizeof(uint32_t));
        g->free = calloc(n + 1, 1);
        g->needed = calloc(n + 1, 1);
        g->waits = calloc(n + 1, 1);
        g->seen = calloc(n + 1, 1);
        g->groups = calloc(n + 1, sizeof(ChooseGroup));
        g->left_out = json_new_array();
        return g->wants && g->free && g->needed && g->waits && g->seen && g->groups && g->left_out
                       ? 0
                       : -ENOMEM;
}

/* The place in Inventory.sorted; it is there. */
static size_t place_of(const Engine *e, const Device *d) {
        size_t low = 0, high = e->inventory->n_devices;

        while (low + 1 < high) {
                size_t middle = (low + high) / 2;

                if (pci_address_compare(e->inventory->sorted[middle]->facts.address,
                                        d->facts.address) <= 0)
                        low = middle;
                else
                        high = middle;
        }
        return low;
}

static const Device *first_member(const Device *d) {
        return d->group ? LIST_ENTRY(d->group->devices.next, Device, in_group) : d;
}

/* ---- who may be had ---- */

static void leave_out(Gather *g, const Device *d, const char *code, const char *message,
                      const char *remedy) {
        Json *one;

        if (g->n_left_out++ >= SHOWN_MAX)
                return;
        one = json_new_object();
        (void) json_set_string(one, "device", PCI_ADDRESS_TEXT(d->facts.address));
        (void) json_set_string(one, "code", code);
        (void) json_set_string(one, "message", message);
        (void) json_set_string(one, "remedy", remedy);
        (void) json_append(g->left_out, one);
}

static void leave_out_for(Gather *g, const Device *d, const VerdictQuestion *q, const Blocker *b) {
        _cleanup_free_ char *message = b ? blocker_describe(q, b) : NULL;

        leave_out(g, d, b ? blocker_to_string(b->code) : "failed",
                  b ? strempty(message) : "has more blockers than can be looked at",
                  b ? blocker_remedy(b->code) : "see pciassignctl explain");
}

/* The first blocker that no consent of the caller takes away; as a mate, asking for it would. */
static const Blocker *first_hard(const Verdict *v) {
        for (size_t i = 0; i < v->n_blockers; i++)
                if (!v->blockers[i].forced && v->blockers[i].code != BLOCKER_GROUP_MEMBER)
                        return v->blockers + i;
        return NULL;
}

static bool is_temporary(const Blocker *b) {
        ErrorCode code = blocker_to_error(b->code);

        return code == ERROR_OWNED || code == ERROR_BUSY;
}

typedef struct Mates { /* verdicts of a group's members as mates of somebody asked for */
        Verdict *verdicts;
        const Verdict *hard; /* one that no consent takes away */
        size_t n_hard;
        bool consent;        /* a rule of one that may be asked for consents for the caller */
} Mates;

static bool is_hard(const Verdict *v) {
        return first_hard(v) || v->n_dropped > 0;
}

static void judge_mates(Gather *g, GroupQuestion *q, Mates *m) {
        ChooseGroup *group = g->groups + place_of(g->e, q->devices[0]);

        for (size_t i = 0; i < q->question.n_members; i++) {
                Verdict *v = m->verdicts + i;

                group_question_evaluate(g->e, q, i, v);
                if (is_hard(v)) {
                        m->hard = v;
                        m->n_hard++;
                }
                group->n_members += v->role == VERDICT_ROLE_PARKED;
                m->consent = m->consent || (g->wants[place_of(g->e, q->devices[i])] &&
                                            q->rules[i]->settings.group == POLICY_GROUP_TAKE_ALL);
        }
        for (size_t i = 0; i < q->question.n_members; i++) {
                bool needed =
                        !m->consent && verdict_first(m->verdicts + i) && !is_hard(m->verdicts + i);

                g->needed[place_of(g->e, q->devices[i])] = needed;
                group->n_needed += needed;
        }
}

/* One that satisfies a want, as asked for. What it would be refused for alone because of its mates'
 * consent is for the set to say. */
static void judge_member(Gather *g, GroupQuestion *q, size_t i, const Mates *m) {
        size_t at = place_of(g->e, q->devices[i]);
        bool own = is_hard(m->verdicts + i);
        const Blocker *b;
        Verdict v;

        q->members[i].requested = true;
        group_question_evaluate(g->e, q, i, &v);
        q->members[i].requested = false;
        b = verdict_first(&v);
        if (!b && m->n_hard > own)
                b = first_hard(m->hard);
        g->free[at] = !b && v.n_dropped == 0 && m->n_hard == own;
        g->waits[at] = b && is_temporary(b);
        if (!g->free[at])
                leave_out_for(g, q->devices[i], &q->question, b);
}

static int judge_group(Gather *g, GroupQuestion *q) {
        _cleanup_free_ Verdict *verdicts = calloc(q->question.n_members, sizeof(Verdict));
        Mates m = { .verdicts = verdicts };

        if (!verdicts)
                return -ENOMEM;
        judge_mates(g, q, &m);
        for (size_t i = 0; i < q->question.n_members; i++)
                if (g->wants[place_of(g->e, q->devices[i])])
                        judge_member(g, q, i, &m);
        return 0;
}

/* What an earlier attempt could not have is no candidate any more. */
static void leave_out_tried(Gather *g) {
        for (size_t i = 0; g->m->tried && g->m->tried[i] && g->m->tried[i + 1]; i += 2) {
                PciAddress a;
                const Device *d = pci_address_parse(g->m->tried[i], &a) < 0
                                          ? NULL
                                          : inventory_device(g->e->inventory, a);
                size_t at = d ? place_of(g->e, d) : 0;

                if (!d || !g->free[at])
                        continue;
                g->free[at] = 0;
                g->waits[at] = 1;
                leave_out(g, d, blocker_to_string(BLOCKER_BUSY), g->m->tried[i + 1],
                          blocker_remedy(BLOCKER_BUSY));
        }
}

static int judge(Gather *g, const Device *d) {
        _cleanup_question_ GroupQuestion q = {};
        AskedFor asked = {
                .take_all = g->m->take_all,
                .driver = g->m->driver,
                .choose_driver = true,
                .ask = g->m->ask,
        };
        size_t home = place_of(g->e, first_member(d));
        int r;

        if (g->seen[home])
                return 0;
        g->seen[home] = 1;
        if (d->group && d->group->n_devices > PLAN_DEVICES_MAX) {
                leave_out(g, d, "group-too-large", "shares its IOMMU group with too many functions",
                          "choose a device of a smaller group");
                return 0; /* none of its members is free */
        }
        r = group_question(g->e, d, &asked, &q);
        return r < 0 ? r : judge_group(g, &q);
}

/* A group whose other members have to be asked for, but satisfy no want, cannot be had. */
static void demand_mates(Gather *g) {
        Device *const *sorted = g->e->inventory->sorted;

        for (size_t i = 0; i < g->n; i++) {
                const Device *d = sorted[i], *missing = NULL;

                if (!g->free[i] || !d->group ||
                    g->groups[place_of(g->e, first_member(d))].n_needed == 0)
                        continue;
                LIST_FOREACH(&d->group->devices, link) {
                        const Device *mate = LIST_ENTRY(link, Device, in_group);
                        size_t at = place_of(g->e, mate);

                        if (g->needed[at] && !(g->wants[at] && g->free[at]) && !missing)
                                missing = mate;
                }
                if (missing) {
                        _cleanup_free_ char *message =
                                strjoinf("%s shares the IOMMU group and is not wanted",
                                         PCI_ADDRESS_TEXT(missing->facts.address));

                        g->seen[i] = 2;
                        leave_out(g, d, blocker_to_string(BLOCKER_GROUP_MEMBER), strempty(message),
                                  blocker_remedy(BLOCKER_GROUP_MEMBER));
                }
        }
        for (size_t i = 0; i < g->n; i++)
                if (g->seen[i] == 2)
                        g->free[i] = 0;
}

/* ---- the question ---- */

static void fill_candidate(Gather *g, size_t place) {
        const Device *d = g->e->inventory->sorted[place], *above;
        ChooseCandidate *c = g->candidates + g->n_candidates;
        uint32_t chain[CHOOSE_DEPTH_MAX];
        unsigned n = 0, depth = 0;

        *c = (ChooseCandidate) {
                .address = d->facts.address,
                .wants = g->wants[place],
                .group = (uint32_t) place_of(g->e, first_member(d)),
                .taken = d->facts.driver[0] && device_get_state(d) == DEVICE_HOST,
                .numa_node = d->facts.numa_node,
        };
        /* From the function up; the uppermost ones count, in a ring. */
        for (above = d; above->facts.has_parent && depth < 64; depth++) {
                above = inventory_device(g->e->inventory, above->facts.parent);
                if (!above)
                        break;
                chain[n++ % CHOOSE_DEPTH_MAX] = (uint32_t) place_of(g->e, above);
        }
        c->n_above = (uint8_t) MIN(n, CHOOSE_DEPTH_MAX);
        for (unsigned i = 0; i < c->n_above; i++)
                c->above[i] = chain[(n - 1 - i) % CHOOSE_DEPTH_MAX];
        g->candidate_needed[g->n_candidates] = g->needed[place];
        g->place_of[g->n_candidates++] = place;
}

static int gather(Gather *g) {
        Device *const *sorted = g->e->inventory->sorted;
        size_t n = 0;
        int r = 0;

        for (size_t i = 0; i < g->n; i++)
                for (size_t w = 0; w < g->m->n_filters; w++)
                        if (want_matches(g->m->filters + w, g->e->inventory, sorted[i]))
                                g->wants[i] |= UINT32_C(1) << w;
        for (size_t i = 0; i < g->n && r >= 0; i++)
                if (g->wants[i])
                        r = judge(g, sorted[i]);
        if (r < 0)
                return r;
        leave_out_tried(g);
        demand_mates(g);
        for (size_t i = 0; i < g->n; i++)
                n += g->free[i];
        g->candidates = calloc(n + 1, sizeof(ChooseCandidate));
        g->candidate_needed = calloc(n + 1, sizeof(bool));
        g->place_of = calloc(n + 1, sizeof(size_t));
        if (!g->candidates || !g->candidate_needed || !g->place_of)
                return -ENOMEM;
        for (size_t i = 0; i < g->n; i++)
                if (g->free[i])
                        fill_candidate(g, i);
        return 0;
}

/* ---- the answer ---- */

static Json *reasons_of(const Gather *g, const ChooseSet *s) {
        Json *j = json_new_array();
        _cleanup_free_ char *near = NULL, *mates = NULL, *taken = NULL;

        if (s->n_picks == 1)
                near = strdup("one function");
        else if (s->near == CHOOSE_SAME_SWITCH || s->near == CHOOSE_SAME_ROOT_PORT)
                near = strjoinf(
                        "all below %s %s", s->near == CHOOSE_SAME_SWITCH ? "bridge" : "root port",
                        PCI_ADDRESS_TEXT(g->e->inventory->sorted[s->bridge]->facts.address));
        else if (s->one_node && s->numa_node >= 0)
                near = strjoinf("all on NUMA node %d", (int) s->numa_node);
        else
                near = strdup(s->one_node ? "no NUMA node is known of any"
                                          : "on several NUMA nodes");
        if (s->n_mates == 0)
                mates = strdup("clean groups: nothing is taken along");
        else
                mates = strjoinf("%u other members of the groups are taken along", s->n_mates);
        taken = strjoinf("%u of %zu are with a host driver now", s->n_taken, s->n_picks);
        (void) json_append_string(j, strempty(mates));
        (void) json_append_string(j, strempty(near));
        (void) json_append_string(j, strempty(taken));
        return j;
}

static Json *set_to_json(const Gather *g, const ChooseSet *s) {
        Json *j = json_new_object(), *devices = json_new_array();

        for (size_t i = 0; i < s->n_picks; i++) {
                const Device *d = g->e->inventory->sorted[g->place_of[s->picks[i]]];
                Json *one = json_new_object();

                (void) json_set_string(one, "device", PCI_ADDRESS_TEXT(d->facts.address));
                (void) json_set_u64(one, "want", s->wants[i] + 1U);
                (void) json_append(devices, one);
        }
        (void) json_set(j, "devices", devices);
        (void) json_set_u64(j, "mates", s->n_mates);
        (void) json_set_string(j, "near", choose_near_to_string(s->near));
        if (s->bridge != CHOOSE_NO_BRIDGE)
                (void) json_set_string(
                        j, "bridge",
                        PCI_ADDRESS_TEXT(g->e->inventory->sorted[s->bridge]->facts.address));
        else
                (void) json_set_null(j, "bridge");
        if (s->one_node)
                (void) json_set_i64(j, "numa_node", s->numa_node);
        else
                (void) json_set_null(j, "numa_node");
        (void) json_set_u64(j, "taken", s->n_taken);
        (void) json_set(j, "reasons", reasons_of(g, s));
        return j;
}

static Json *wants_to_json(const Gather *g) {
        Json *list = json_new_array();

        for (size_t w = 0; w < g->m->n_filters; w++) {
                _cleanup_free_ char *text = want_describe(g->m->filters + w);
                Json *one = json_new_object();
                uint32_t n = 0, n_free = 0;

                for (size_t i = 0; i < g->n; i++) {
                        n += g->wants[i] >> w & 1;
                        n_free += (g->wants[i] >> w & 1) && g->free[i];
                }
                (void) json_set_string(one, "want", strempty(text));
                (void) json_set_u64(one, "count", g->m->filters[w].count);
                (void) json_set_u64(one, "matching", n);
                (void) json_set_u64(one, "free", n_free);
                (void) json_append(list, one);
        }
        return list;
}

/* Why there is no set: a want that nothing satisfies, one that too little is free for, or the
 * whole. */
static int refuse(const Gather *g, Error *err) {
        for (size_t w = 0; w < g->m->n_filters; w++) {
                const WantFilter *f = g->m->filters + w;
                _cleanup_free_ char *text = want_describe(f);
                uint32_t n = 0, n_free = 0, n_waits = 0;

                for (size_t i = 0; i < g->n; i++) {
                        bool fits = g->wants[i] >> w & 1;

                        n += fits;
                        n_free += fits && g->free[i];
                        n_waits += fits && g->waits[i];
                }
                if (n < f->count)
                        return error_set(err, ERROR_NOT_FOUND,
                                         "Want %zu (%s): this host has %u such functions", w + 1,
                                         strempty(text), n);
                if (n_free < f->count)
                        return error_set(
                                err, n_free + n_waits >= f->count ? ERROR_OWNED : ERROR_NOT_VIABLE,
                                "Want %zu (%s): of %u such functions %u can be had now; see what "
                                "was "
                                "left out",
                                w + 1, strempty(text), n, n_free);
        }
        return error_set(err, ERROR_NOT_VIABLE,
                         "There is no set of functions as near, or with groups as clean, as is "
                         "demanded");
}

static int take_set(const Gather *g, const ChooseSet *s, Json *shown, Error *err) {
        Device *devices[CHOOSE_PICKS_MAX];
        AskedFor asked = {
                .devices = devices,
                .n_devices = s->n_picks,
                .take_all = g->m->take_all,
                .driver = g->m->driver,
                .choose_driver = true,
                .ask = g->m->ask,
        };
        int r;

        for (size_t i = 0; i < s->n_picks; i++)
                devices[i] = g->e->inventory->sorted[g->place_of[s->picks[i]]];
        r = engine_check(g->e, &asked, err, NULL);
        if (r < 0) {
                (void) json_set_string(shown, "refused", err->message);
                return r;
        }
        for (size_t i = 0; i < s->n_picks; i++)
                if (strv_extend(&g->m->devices, PCI_ADDRESS_TEXT(devices[i]->facts.address)) < 0)
                        return error_set(err, ERROR_FAILED, "Not enough memory");
        (void) json_set_bool(shown, "chosen", true);
        return 0;
}

static int choose(Gather *g, Json *document, Error *err) {
        uint32_t counts[WANTS_MAX];
        ChooseSet sets[CHOOSE_SETS_MAX];
        ChooseQuestion q = {
                .candidates = g->candidates,
                .needed = g->candidate_needed,
                .n_candidates = g->n_candidates,
                .groups = g->groups,
                .n_groups = g->n,
                .n_bridges = g->n,
                .counts = counts,
                .n_wants = g->m->n_filters,
                .farthest = g->m->same_switch ? CHOOSE_SAME_SWITCH : CHOOSE_FAR,
                .same_numa_node = g->m->same_numa_node,
                .clean = g->m->clean_groups,
        };
        Json *ranking = json_new_array();
        bool exhaustive, chosen = false;
        size_t n = 0;
        int r;

        for (size_t w = 0; w < g->m->n_filters; w++)
                counts[w] = g->m->filters[w].count;
        r = choose_sets(&q, sets, &n, &exhaustive);
        for (size_t i = 0; i < n && r >= 0; i++) {
                _cleanup_error_ Error why = ERROR_INIT;
                Json *shown = set_to_json(g, sets + i);

                if (!chosen) {
                        chosen = take_set(g, sets + i, shown, &why) >= 0;
                        if (!chosen && err->code == ERROR_NONE)
                                (void) error_set(err, why.code, "%s", why.message);
                }
                (void) json_append(ranking, shown);
        }
        (void) json_set(document, "sets", ranking);
        (void) json_set_bool(document, "exhaustive", r >= 0 && exhaustive);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory to choose devices");
        if (chosen) {
                error_done(err);
                *err = ERROR_INIT;
                return 0;
        }
        return n > 0 ? -error_code_to_errno(err->code) : refuse(g, err);
}

int engine_match(Engine *e, Matching *m, Error *err) {
        _cleanup_(gather_done) Gather g = {};
        Json *document = json_new_object();
        int r;

        assert(e);
        assert(m);
        assert(err);
        strv_free(TAKE_PTR(m->devices));
        (void) json_free(m->document);
        m->document = document;
        r = gather_init(e, m, &g);
        if (r >= 0)
                r = gather(&g);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory to look for devices");
        (void) json_set(document, "wants", wants_to_json(&g));
        (void) json_set_bool(document, "same_numa_node", m->same_numa_node);
        (void) json_set_bool(document, "same_switch", m->same_switch);
        (void) json_set_bool(document, "clean_groups", m->clean_groups);
        r = choose(&g, document, err);
        (void) json_set(document, "left_out", TAKE_PTR(g.left_out));
        (void) json_set_u64(document, "n_left_out", g.n_left_out);
        if (r < 0) {
                _cleanup_json_ Json *details = json_new_object();

                (void) json_set(details, "match", json_ref(document));
                error_take_details(err, json_to_text(details, false));
        }
        return r;
}
