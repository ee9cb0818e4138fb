/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Facts as JSON by topic: the names of the topics, and what the topics' own files use to write a
 * value. Each key is always there; a value that is not known is one of three strings, those of
 * fact_state_to_string(), so that a reader can tell "no" from "nobody looked".
 */

#include "pci/topics.h"

#include <assert.h>

#include "pci/scan.h"

static const struct {
        const char *name;
        void (*write)(const PciView *v, Json *j);
} topics[_PCI_TOPIC_MAX] = {
        [PCI_TOPIC_IDENTITY] = { "identity", topic_identity },
        [PCI_TOPIC_USE] = { "use", topic_use },
        [PCI_TOPIC_IOMMU] = { "iommu", topic_iommu },
        [PCI_TOPIC_RESOURCES] = { "resources", topic_resources },
        [PCI_TOPIC_ERRORS] = { "errors", topic_errors },
        [PCI_TOPIC_RESET] = { "reset", topic_reset },
        [PCI_TOPIC_HOTPLUG] = { "hotplug", topic_hotplug },
        [PCI_TOPIC_SVA] = { "sva", topic_sva },
        [PCI_TOPIC_TRAFFIC] = { "traffic", topic_traffic },
        [PCI_TOPIC_SRIOV] = { "sriov", topic_sriov },
        [PCI_TOPIC_ACCELERATOR] = { "accelerator", topic_accelerator },
        [PCI_TOPIC_P2P] = { "p2p", topic_p2p },
        [PCI_TOPIC_CLEANING] = { "cleaning", topic_cleaning },
};

const char *pci_topic_to_string(PciTopic t) {
        return (unsigned) t < _PCI_TOPIC_MAX ? topics[t].name : NULL;
}

PciTopic pci_topic_from_string(const char *s) {
        if (s)
                for (unsigned t = 0; t < _PCI_TOPIC_MAX; t++)
                        if (streq(topics[t].name, s))
                                return (PciTopic) t;
        return _PCI_TOPIC_INVALID;
}

Json *pci_topic_to_json(const PciView *v, PciTopic t) {
        Json *j;

        assert(v);
        assert(v->facts);
        assert((unsigned) t < _PCI_TOPIC_MAX);
        j = json_new_object();
        if (j)
                topics[t].write(v, j);
        return j;
}

FactState topic_config_state(const PciConfigFacts *c) {
        if (!c || c->liveness == PCI_LIVENESS_UNKNOWN)
                return FACT_UNREAD;
        return c->liveness == PCI_LIVENESS_ALIVE ? FACT_PRESENT : FACT_UNREADABLE;
}

FactState topic_capability_state(const PciConfigFacts *c, bool found) {
        FactState s = topic_config_state(c);

        if (s != FACT_PRESENT || found)
                return s;
        return c->truncated || c->incomplete ? FACT_UNREADABLE : FACT_ABSENT;
}

FactState topic_link_state(const PciConfigFacts *c) {
        return topic_capability_state(c, c && c->link_capabilities != 0);
}

const PciText *topic_live(const PciView *v, PciAttribute a) {
        static const PciText unread = { .state = FACT_UNREAD };

        return v->live ? &v->live->attributes[a] : &unread;
}

void topic_set_state(Json *j, const char *key, FactState s) {
        (void) json_set_string(j, key, fact_state_to_string(s));
}

void topic_set_bool(Json *j, const char *key, FactState s, bool value) {
        if (s == FACT_PRESENT)
                (void) json_set_bool(j, key, value);
        else
                topic_set_state(j, key, s);
}

void topic_set_u64(Json *j, const char *key, FactState s, uint64_t value) {
        if (s == FACT_PRESENT)
                (void) json_set_u64(j, key, value);
        else
                topic_set_state(j, key, s);
}

void topic_set_string(Json *j, const char *key, FactState s, const char *value) {
        (void) json_set_string(j, key,
                              s == FACT_PRESENT ? strempty(value) : fact_state_to_string(s));
}

void topic_set_hex(Json *j, const char *key, FactState s, int digits, uint64_t value) {
        if (s == FACT_PRESENT)
                (void) json_set_stringf(j, key, "%0*llx", digits, (unsigned long long) value);
        else
                topic_set_state(j, key, s);
}

void topic_set_capable(Json *j, const char *key, FactState s) {
        if (s == FACT_PRESENT || s == FACT_ABSENT)
                (void) json_set_bool(j, key, s == FACT_PRESENT);
        else
                topic_set_state(j, key, s);
}

void topic_set_text(Json *j, const char *key, const PciText *t) {
        topic_set_string(j, key, (FactState) t->state, t->text);
}

void topic_set_text_number(Json *j, const char *key, const PciText *t) {
        uint64_t value = 0;
        FactState s = (FactState) t->state;

        if (s == FACT_PRESENT && !scan_whole_decimal(t->text, INT64_MAX, &value))
                s = FACT_UNREADABLE;
        topic_set_u64(j, key, s, value);
}

void topic_set_text_flag(Json *j, const char *key, const PciText *t) {
        uint64_t value = 0;
        FactState s = (FactState) t->state;

        if (s == FACT_PRESENT && !scan_whole_decimal(t->text, 1, &value))
                s = FACT_UNREADABLE;
        topic_set_bool(j, key, s, value == 1);
}

void topic_set_tristate(Json *j, const char *key, int value, FactState s) {
        if (value >= 0)
                (void) json_set_bool(j, key, value > 0);
        else
                topic_set_state(j, key, s == FACT_PRESENT ? FACT_UNREADABLE : s);
}

Json *topic_add_object(Json *j, const char *key) {
        (void) json_set(j, key, json_new_object());
        return json_get(j, key);
}

Json *topic_add_array(Json *j, const char *key) {
        (void) json_set(j, key, json_new_array());
        return json_get(j, key);
}

Json *topic_append_object(Json *array) {
        (void) json_append(array, json_new_object());
        return json_at(array, json_length(array) - 1);
}
