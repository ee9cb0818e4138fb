/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What workers read: config space, live attributes, use, groups and slots. Settling is reading
 * every function once, in small batches and few at a time, so that one blocked device costs only
 * its batch and a request finds a worker. Live attributes are not read then: they go stale at once
 * and are read when asked for.
 */

#include <assert.h>

#include "engine/engine-clean.h"
#include "engine/engine-kept.h"

#define SETTLE_WHAT (HOST_READ_CONFIG | HOST_READ_USE | HOST_READ_GROUP | HOST_READ_SLOT)
/* After the last event: what a bind sets off comes in bursts, and a reading between them is one for
 * nothing. */
#define READ_GATHER_USEC (250 * USEC_PER_MSEC)

static void next_batches(Engine *e);

static void take_use(Device *d, PciUse *use) {
        /* Children come with it; holders only when they were looked for. */
        pci_use_done(&d->use);
        d->use = *use;
        *use = (PciUse) {};
}

/* Single attributes, as a plan left them; live_at tells that the others were not looked at. */
static void take_attributes(Device *d, const PciLive *from) {
        if (!d->live && !(d->live = calloc(1, sizeof(PciLive))))
                return;
        for (PciAttribute a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                if (from->attributes[a].state != FACT_UNREAD)
                        (void) pci_live_set(d->live, a, from->attributes[a].text,
                                            from->attributes[a].state == FACT_ABSENT ? ENOENT
                                                                                     : EIO);
}

void engine_take_device(Engine *e, HostDeviceFacts *f) {
        Device *d = inventory_device(e->inventory, f->address);
        usec_t now = host_now(e->host);

        if (!d)
                return;
        if (f->what == 0 && f->error == 0 && f->live) {
                take_attributes(d, f->live);
                return;
        }
        d->read_error = f->error;
        if (f->what & HOST_READ_CONFIG && f->config) {
                free(d->config);
                d->config = TAKE_PTR(f->config);
                d->config_at = now;
        }
        if (f->error == 0 && !d->config)
                d->read_error = -ENODATA; /* it was asked for, and there is none */
        if (f->what & (HOST_READ_LIVE | HOST_READ_VPD) && f->live) {
                if (d->live)
                        pci_live_done(d->live);
                free(d->live);
                d->live = TAKE_PTR(f->live);
                d->live_at = now;
                if (d->live->vpd_serial.text)
                        (void) free_and_strdup(&d->vpd_serial, d->live->vpd_serial.text);
        }
        if (f->what & HOST_READ_USE && f->use) {
                take_use(d, f->use);
                d->use_at = now;
        }
        (void) engine_kept_match(e, d); /* the end of the reading reports it */
}

void engine_took_devices(Engine *e, const PciAddress *devices, size_t n) {
        assert(e);
        assert(devices || n == 0);
        for (size_t i = 0; i < n; i++) {
                Device *d = inventory_device(e->inventory, devices[i]);
                const Device *next =
                        i + 1 < n ? inventory_device(e->inventory, devices[i + 1]) : NULL;

                if (!d)
                        continue;
                /* Sorted, so mates mostly follow each other: the group's verdict once. */
                if (!d->group || !next || next->group != d->group)
                        engine_update_verdicts(e, d, d);
                engine_device_changed(e, d);
        }
        for (size_t i = 0; i < n; i++) {
                Device *d = inventory_device(e->inventory, devices[i]);

                if (d && d->assignment)
                        (void) engine_check_drift(e, d); /* reported above */
        }
        engine_look(e);
        if (e->settled) /* until then all is read, and looked at once */
                engine_reservations_try(e);
}

static bool group_is_as(const IommuGroupFacts *a, const IommuGroupFacts *b) {
        if (a->type_state != b->type_state || a->regions_state != b->regions_state ||
            !streq(a->type, b->type) || a->noiommu != b->noiommu || a->n_regions != b->n_regions)
                return false;
        for (size_t i = 0; i < a->n_regions; i++)
                if (a->regions[i].start != b->regions[i].start ||
                    a->regions[i].end != b->regions[i].end ||
                    a->regions[i].type != b->regions[i].type)
                        return false;
        return true;
}

void engine_take_group(Engine *e, IommuGroupFacts *group) {
        Group *g = inventory_group(e->inventory, group->id);

        if (!g || group_is_as(&g->facts, group))
                return;
        iommu_group_facts_done(&g->facts);
        g->facts = *group;
        *group = (IommuGroupFacts) {};
        if (!list_is_empty(&g->devices))
                engine_update_verdicts(e, LIST_ENTRY(g->devices.next, Device, in_group), NULL);
        if (e->observer.group_changed)
                e->observer.group_changed(g, e->observer_userdata);
}

void engine_take_slot(Engine *e, PciSlotFacts *slot) {
        for (size_t i = 0; i < e->inventory->n_slots; i++)
                if (streq(e->inventory->slots[i].name, slot->name)) {
                        pci_slot_facts_done(e->inventory->slots + i);
                        e->inventory->slots[i] = *slot;
                        *slot = (PciSlotFacts) {};
                        return;
                }
}

/* ---- the list of what shall be read ---- */

static void read_timer_fired(void *userdata) {
        next_batches(userdata);
}

static int read_timer_arm(Engine *e, usec_t at) {
        int r;

        if (!e->read_timer) {
                r = host_timer_new(e->host, read_timer_fired, e, &e->read_timer);
                if (r < 0)
                        return r;
        }
        return host_timer_set(e->read_timer, at);
}

/* In Engine.wanted: why a device is to be read. Its children alone are no reason to think that it
 * is not known: what the host does with them is proven by each plan. */
static char for_children, for_all;

static int to_read_append(Engine *e, PciAddress a, char *why) {
        uint64_t key = pci_address_key(a);
        int r;

        r = hashmap_put_u64(e->wanted, key, why);
        if (r == -EEXIST) { /* it is in the list already */
                if (why == &for_children || hashmap_get_u64(e->wanted, key) == why)
                        return 0;
                (void) hashmap_remove_u64(e->wanted, key);
                return hashmap_put_u64(e->wanted, key, why);
        }
        if (r < 0)
                return r;
        if (ARRAY_RESERVE_ONE(e->to_read, e->n_to_read, e->to_read_allocated) < 0) {
                (void) hashmap_remove_u64(e->wanted, key);
                return -ENOMEM;
        }
        e->to_read[e->n_to_read++] = a;
        return 0;
}

static int want(Engine *e, PciAddress a, char *why) {
        int r;

        r = to_read_append(e, a, why);
        if (r < 0)
                return r;
        return read_timer_arm(e, host_now(e->host) + READ_GATHER_USEC);
}

int engine_want_read(Engine *e, PciAddress a) {
        return want(e, a, &for_all);
}

int engine_want_use(Engine *e, PciAddress a) {
        return want(e, a, &for_children);
}

bool engine_knows_device(const Engine *e, const Device *d) {
        const char *why;

        assert(e);
        assert(d);
        why = hashmap_get_u64(e->wanted, pci_address_key(d->facts.address));
        /* A number of VFs is changed without an event of its own. */
        return !d->gone && !d->stuck && d->read_error == 0 && d->use_at > 0 && d->config &&
               !d->config->has_sriov && d->live && d->group &&
               d->live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE].state == FACT_PRESENT &&
               d->group->facts.type_state != FACT_UNREAD && e->n_reading == 0 &&
               (!why || why == &for_children);
}

void engine_forget_live(Device *d) {
        PciText override;

        assert(d);
        if (!d->live)
                return;
        override = d->live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE];
        d->live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE] = (PciText) {};
        pci_live_done(d->live);
        *d->live = (PciLive) {};
        d->live->attributes[PCI_ATTRIBUTE_DRIVER_OVERRIDE] = override;
        d->live_at = 0;
}

static void check_settled(Engine *e) {
        if (!e->settling || e->settled || e->n_reading > 0 || e->to_read_first < e->n_to_read)
                return;
        e->settled = e->arrivals_due = true;
        engine_fire_settled(e);
        engine_reservations_try(e);
        log_info("Settled: the facts of %zu functions are in", e->inventory->n_devices);
        if (e->observer.settled)
                e->observer.settled(e->observer_userdata);
}

static void batch_finished(Task *t, const HostResult *result) {
        Engine *e = t->engine;
        bool unknown = result->outcome == HOST_OUTCOME_UNKNOWN, blocked = false;

        e->n_reading--;
        /* Of an unfinished batch the first one without an answer is what blocks; the others are
         * tried again. */
        for (size_t i = 0; i < t->n_devices; i++) {
                Device *d = inventory_device(e->inventory, t->devices[i]);

                if (t->answered[i] || !d)
                        continue;
                if (!blocked && (unknown || result->error < 0)) {
                        blocked = true;
                        d->read_error = unknown ? -ETIMEDOUT : result->error;
                        engine_device_changed(e, d);
                        continue;
                }
                if (d->stuck) {
                        d->stuck = false;
                        engine_device_changed(e, d);
                }
                t->answered[i] = 1;
                if (blocked && to_read_append(e, t->devices[i], &for_all) < 0)
                        log_warning("Not enough memory to read %s",
                                    PCI_ADDRESS_TEXT(t->devices[i]));
        }
        if (!unknown)
                task_free(t);
        next_batches(e);
}

static int start_batch(Engine *e) {
        PciAddress batch[READ_BATCH];
        Task *t;
        size_t n = 0;
        int r;

        while (n < READ_BATCH && e->to_read_first < e->n_to_read) {
                PciAddress a = e->to_read[e->to_read_first++];
                const Device *d = inventory_device(e->inventory, a);

                (void) hashmap_remove_u64(e->wanted, pci_address_key(a));
                if (d && !d->stuck)
                        batch[n++] = a;
        }
        if (n == 0)
                return 0;
        r = task_new(e, NULL, NULL, NULL, &t);
        if (r < 0)
                return r;
        r = task_read(t, batch, n, SETTLE_WHAT, batch_finished);
        if (r < 0) {
                task_free(t);
                return r;
        }
        e->n_reading++;
        return 0;
}

static void next_batches(Engine *e) {
        while (e->n_reading < READ_BATCHES_AT_ONCE && e->to_read_first < e->n_to_read) {
                int r = start_batch(e);

                if (r < 0) {
                        (void) log_warning_errno(r, "Failed to have a worker read devices: %m");
                        break;
                }
        }
        if (e->to_read_first >= e->n_to_read) {
                e->to_read = (free(e->to_read), NULL);
                e->to_read_first = e->n_to_read = e->to_read_allocated = 0;
        }
        check_settled(e);
        engine_arrivals(e);
}

static void simple_finished(Task *t, const HostResult *result) {
        if (result->outcome != HOST_OUTCOME_DONE && t->request.type == HOST_REQUEST_PREPARE)
                log_warning("Loading VFIO modules: %s",
                            result->message[0] ? result->message : "failed");
        if (result->outcome != HOST_OUTCOME_UNKNOWN)
                task_free(t);
}

static int start_simple(Engine *e, HostRequestType type) {
        Task *t;
        int r = task_new(e, NULL, NULL, NULL, &t);

        if (r < 0)
                return r;
        t->request.type = type;
        r = task_run(t, simple_finished);
        if (r < 0)
                task_free(t);
        return r;
}

int engine_settle(Engine *e) {
        int r;

        assert(e);
        e->settling = true;
        r = start_simple(e, HOST_REQUEST_PREPARE);
        if (r < 0)
                return r;
        r = start_simple(e, HOST_REQUEST_PLATFORM);
        if (r < 0)
                return r;
        for (size_t i = 0; i < e->inventory->n_devices; i++) {
                r = to_read_append(e, e->inventory->sorted[i]->facts.address, &for_all);
                if (r < 0)
                        return r;
        }
        return read_timer_arm(e, host_now(e->host));
}

/* ---- facts on request ---- */

/* Of modules' aliases that were read long ago. No VFIO driver takes a bridge. */
static const char *candidate_driver(Engine *e, const Device *d, char *buffer, size_t size) {
        int r = pci_facts_is_bridge(&d->facts)
                        ? -ENOENT
                        : host_choose_driver(e->host, &d->facts, buffer, size);

        return r >= 0 ? buffer : r == -ENOENT ? "" : NULL;
}

/* Everybody may ask for facts; which card of its kind it is and who uses it is not everybody's. */
static void hide_confidential(PciTopic topic, Json *facts) {
        static const struct {
                PciTopic topic;
                const char *key;
        } hidden[] = {
                { PCI_TOPIC_IDENTITY, "device_serial_number" },
                { PCI_TOPIC_IDENTITY, "serial" },
                { PCI_TOPIC_USE, "holders" },
        };

        for (size_t i = 0; i < ELEMENTSOF(hidden); i++)
                if (hidden[i].topic == topic)
                        (void) json_set_string(facts, hidden[i].key, "not authorised");
}

static int facts_to_json(Engine *e, const Device *d, char *const *topics, bool confidential,
                         Json **ret) {
        _cleanup_json_ Json *j = json_new_object();
        char driver[PCI_DRIVER_NAME_MAX];
        PciView view;

        inventory_view(e->inventory, d, &view);
        view.variant = candidate_driver(e, d, driver, sizeof(driver));
        for (PciTopic topic = 0; topic < _PCI_TOPIC_MAX; topic++) {
                Json *one;

                if (topics && topics[0] && !strv_contains(topics, pci_topic_to_string(topic)))
                        continue;
                one = topic == PCI_TOPIC_CLEANING ? engine_clean_to_json(e, d)
                                                  : pci_topic_to_json(&view, topic);
                inventory_add_surroundings(e->inventory, d, topic, one);
                if (!confidential)
                        hide_confidential(topic, one);
                (void) json_set_u64(one, "read-at", topic == PCI_TOPIC_USE ? d->use_at
                                                    : d->live_at > 0       ? d->live_at
                                                                           : d->facts_at);
                (void) json_set(j, pci_topic_to_string(topic), one);
        }
        *ret = TAKE_PTR(j);
        return 0;
}

typedef struct FactsRequest {
        PciAddress address;
        char **topics;
        bool confidential;
} FactsRequest;

static void facts_request_free(void *p) {
        FactsRequest *f = p;

        strv_free(f->topics);
        free(f);
}

static void facts_answer(Task *t) {
        FactsRequest *f = t->data;
        Device *d = inventory_device(t->engine->inventory, f->address);
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *text = NULL;

        if (!d) {
                (void) error_set(&err, ERROR_GONE, "%s went away", PCI_ADDRESS_TEXT(f->address));
                task_refuse(t, &err);
                return;
        }
        if (facts_to_json(t->engine, d, f->topics, f->confidential, &j) < 0 ||
            !(text = json_to_text(j, false))) {
                (void) error_set(&err, ERROR_FAILED, "Not enough memory for the facts of %s",
                                 PCI_ADDRESS_TEXT(f->address));
                task_refuse(t, &err);
                return;
        }
        task_answer(t, &(EngineAnswer) { .json = text });
}

static void facts_read(Task *t, const HostResult *result) {
        FactsRequest *f = t->data;
        const Device *d = inventory_device(t->engine->inventory, f->address);
        _cleanup_error_ Error err = ERROR_INIT;

        if (result->outcome != HOST_OUTCOME_DONE) {
                (void) error_from_result(&err, result, "Reading the facts");
                task_refuse(t, &err);
        } else if (d && d->read_error == -ENODEV) {
                (void) error_set(&err, ERROR_GONE, "%s is gone", PCI_ADDRESS_TEXT(f->address));
                task_refuse(t, &err);
        } else
                facts_answer(t);
        if (result->outcome != HOST_OUTCOME_UNKNOWN)
                task_free(t);
}

static void facts_known(Task *t) {
        facts_answer(t);
        task_free(t);
}

static int check_topics(char *const *topics, Error *err) {
        for (size_t i = 0; topics && topics[i]; i++)
                if (i >= _PCI_TOPIC_MAX || pci_topic_from_string(topics[i]) < 0) {
                        _cleanup_free_ char *shown = string_escape(topics[i]);

                        return error_set(err, ERROR_INVALID,
                                         "\"%.64s\" is no topic; see GetFacts in the manual",
                                         strempty(shown));
                }
        return 0;
}

int engine_get_facts(Engine *e, const Caller *c, const char *device, char *const *topics,
                     unsigned flags, EngineReply reply, void *userdata, Error *err) {
        unsigned what = SETTLE_WHAT | HOST_READ_LIVE;
        Device *d;
        FactsRequest *f;
        Task *t;
        int r;

        assert(e);
        assert(c);
        assert(device);
        r = check_topics(topics, err);
        if (r < 0)
                return r;
        r = inventory_resolve(e->inventory, device, err, &d);
        if (r < 0)
                return r;
        if (flags & FACTS_SEARCH)
                what |= HOST_READ_VPD | HOST_READ_HOLDERS;
        if (flags & (FACTS_REFRESH | FACTS_SEARCH) && d->stuck)
                return error_set(err, ERROR_STUCK, "%s is stuck: reading it would block as well",
                                 PCI_ADDRESS_TEXT(d->facts.address));
        r = task_new(e, c, reply, userdata, &t);
        if (r < 0)
                return error_set(err, ERROR_FAILED, "Not enough memory");
        f = calloc(1, sizeof(FactsRequest));
        t->data = f;
        t->data_free = f ? facts_request_free : NULL;
        if (!f || strv_copy(topics, &f->topics) < 0) {
                task_free(t);
                return error_set(err, ERROR_FAILED, "Not enough memory");
        }
        f->address = d->facts.address;
        f->confidential = flags & FACTS_CONFIDENTIAL;
        if (!(flags & (FACTS_REFRESH | FACTS_SEARCH)) &&
            (d->stuck || (d->config && d->live_at > 0)))
                r = task_answer_later(t, facts_known);
        else {
                r = task_read(t, &f->address, 1, what, facts_read);
                if (r < 0)
                        task_free(t);
        }
        return r < 0 ? error_set(err, ERROR_BUSY, "Too much is waiting for a worker; try again")
                     : 0;
}
