/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the topic files share, inside this folder. A key is set in every case: to the value, or
 * to the word that says why there is none. */

#include "pci/facts.h"
#include "pci/iommu.h"
#include "pci/numa.h"
#include "pci/slot.h"

void topic_identity(const PciView *v, Json *j);
void topic_use(const PciView *v, Json *j);
void topic_iommu(const PciView *v, Json *j);
void topic_resources(const PciView *v, Json *j);
void topic_errors(const PciView *v, Json *j);
void topic_reset(const PciView *v, Json *j);
void topic_hotplug(const PciView *v, Json *j);
void topic_sva(const PciView *v, Json *j);
void topic_traffic(const PciView *v, Json *j);
void topic_sriov(const PciView *v, Json *j);
void topic_accelerator(const PciView *v, Json *j);
void topic_p2p(const PciView *v, Json *j);
void topic_cleaning(const PciView *v, Json *j); /* the daemon fills it */

/* State of anything in configuration space; of a capability that was or was not found there. */
FactState topic_config_state(const PciConfigFacts *c);
FactState topic_capability_state(const PciConfigFacts *c, bool found);
/* The text of an attribute; never NULL. */
const PciText *topic_live(const PciView *v, PciAttribute a);
/* The link's state; for functions that have none FACT_ABSENT. */
FactState topic_link_state(const PciConfigFacts *c);

void topic_set_state(Json *j, const char *key, FactState s);
void topic_set_bool(Json *j, const char *key, FactState s, bool value);
void topic_set_u64(Json *j, const char *key, FactState s, uint64_t value);
void topic_set_string(Json *j, const char *key, FactState s, const char *value);
/* `digits` hex digits without "0x". */
void topic_set_hex(Json *j, const char *key, FactState s, int digits, uint64_t value);
/* true, false where a capability is known to be missing, or the word. */
void topic_set_capable(Json *j, const char *key, FactState s);
void topic_set_text(Json *j, const char *key, const PciText *t);
void topic_set_text_number(Json *j, const char *key, const PciText *t);
void topic_set_text_flag(Json *j, const char *key, const PciText *t);
/* 1, 0 or negative: unknown; the word then is "n/a" if `s` is FACT_ABSENT and so on,
 * FACT_PRESENT counting as unreadable. */
void topic_set_tristate(Json *j, const char *key, int value, FactState s);

/* A new object below j, borrowed. */
Json *topic_add_object(Json *j, const char *key);
Json *topic_add_array(Json *j, const char *key);
Json *topic_append_object(Json *array);
