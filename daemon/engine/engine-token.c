/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Tokens: compare-and-swap on hardware. A token holds one hash for each kind of fact that a plan
 * relied on, so that a stale one says which kind changed. It is no secret and no authorisation; a
 * forged one deceives only its forger. Who holds a device is no such fact: it is proven anew as the
 * plan's first step.
 */

#include <assert.h>
#include <linux/pci_regs.h>

#include "engine/engine-private.h"

enum {
        FACTS_REQUEST,
        FACTS_IDENTITY,
        FACTS_DRIVERS,
        FACTS_OVERRIDES,
        FACTS_GROUPS,
        FACTS_USES,
        FACTS_POLICY,
        FACTS_FUNCTIONS,
        FACTS_SETTINGS,
        FACTS_RESET,
        _FACTS_MAX
};

static const char *const names[_FACTS_MAX] = {
        [FACTS_REQUEST] = "what was asked for",
        [FACTS_IDENTITY] = "identity of a device",
        [FACTS_DRIVERS] = "driver of a device",
        [FACTS_OVERRIDES] = "driver_override of a device",
        [FACTS_GROUPS] = "members of an IOMMU group",
        [FACTS_USES] = "use of a device",
        [FACTS_POLICY] = "the policy",
        [FACTS_FUNCTIONS] = "virtual functions of a device",
        [FACTS_SETTINGS] = "settings of a device or its group",
        [FACTS_RESET] = "what a reset of a device takes along",
};
static const char *const keys[_FACTS_MAX] = { "request",         "identity", "driver",
                                              "driver-override", "group",    "use",
                                              "policy",          "virtual-functions",
                                              "settings",        "reset" };

static uint64_t hash_text(uint64_t h, const char *s) {
        return hash_bytes(h, strempty(s), strlen(strempty(s)) + 1);
}

static uint64_t hash_number(uint64_t h, uint64_t v) {
        return hash_bytes(h, &v, sizeof(v));
}

static const char *live_text(const Device *d, PciAttribute a) {
        return d->live ? d->live->attributes[a].text : NULL;
}

/* What a rule's settings are compared with, and what their undo writes. */
static uint64_t hash_settings(const Device *d, uint64_t h) {
        h = hash_text(h, live_text(d, PCI_ATTRIBUTE_D3COLD_ALLOWED));
        h = hash_number(h, d->config ? d->config->device_control & PCI_EXP_DEVCTL_NOSNOOP_EN : 0);
        h = hash_text(h, d->group ? d->group->facts.type : NULL);
        for (unsigned bar = 0; bar < 6; bar++)
                h = hash_number(h, pci_facts_resource(&d->facts, bar)->size);
        return h;
}

static uint64_t hash_reset(const Engine *e, const Device *d, uint64_t h) {
        _cleanup_strv_ char **hits = NULL;
        char method[PCI_RESET_METHODS_MAX];

        h = hash_text(h, d->facts.reset_method);
        if (inventory_reset_hits(e->inventory, d, method, &hits) < 0)
                return hash_number(h, 0); /* out of memory: stale rather than not */
        for (size_t i = 0; hits && hits[i]; i++)
                h = hash_text(h, hits[i]);
        return h;
}

static void hash_device(const Engine *e, const Device *d, uint64_t h[_FACTS_MAX]) {
        const PciFacts *f = &d->facts;

        h[FACTS_IDENTITY] = hash_number(h[FACTS_IDENTITY], pci_address_key(f->address));
        h[FACTS_IDENTITY] =
                hash_number(h[FACTS_IDENTITY],
                            (uint64_t) f->vendor << 48 | (uint64_t) f->device << 32 |
                                    (uint64_t) f->subsystem_vendor << 16 | f->subsystem_device);
        h[FACTS_IDENTITY] = hash_number(h[FACTS_IDENTITY],
                                        d->config && d->config->has_dsn ? d->config->dsn : 0);
        h[FACTS_DRIVERS] = hash_text(h[FACTS_DRIVERS], f->driver);
        h[FACTS_OVERRIDES] =
                hash_text(h[FACTS_OVERRIDES], d->live ? pci_live_override(d->live) : NULL);
        for (size_t i = 0; i < d->use.n_children; i++) {
                h[FACTS_USES] = hash_text(h[FACTS_USES], d->use.children[i].subsystem);
                h[FACTS_USES] = hash_text(h[FACTS_USES], d->use.children[i].name);
        }
        for (size_t i = 0; i < d->use.n_criticals; i++)
                h[FACTS_USES] = hash_text(h[FACTS_USES], d->use.criticals[i].proof);
        h[FACTS_GROUPS] = hash_number(h[FACTS_GROUPS], d->group ? d->group->id : UINT64_MAX);
        h[FACTS_GROUPS] = hash_number(h[FACTS_GROUPS], d->group ? d->group->n_devices : 0);
        h[FACTS_GROUPS] = hash_number(
                h[FACTS_GROUPS], d->group ? iommu_group_facts_has_direct(&d->group->facts) : 0);
        h[FACTS_FUNCTIONS] =
                hash_text(h[FACTS_FUNCTIONS], live_text(d, PCI_ATTRIBUTE_SRIOV_NUMVFS));
        h[FACTS_SETTINGS] = hash_settings(d, h[FACTS_SETTINGS]);
        h[FACTS_RESET] = hash_reset(e, d, h[FACTS_RESET]);
}

void engine_token(const Engine *e, const AskedFor *asked, const char *owner,
                  Device *const *members, size_t n, char ret[TOKEN_MAX]) {
        uint64_t h[_FACTS_MAX];
        size_t at = 0;

        assert(e);
        assert(asked);
        assert(ret);
        for (size_t i = 0; i < _FACTS_MAX; i++)
                h[i] = HASH_INIT;
        h[FACTS_REQUEST] = hash_text(h[FACTS_REQUEST], owner);
        h[FACTS_REQUEST] = hash_text(h[FACTS_REQUEST], asked->driver);
        h[FACTS_REQUEST] = hash_number(h[FACTS_REQUEST], asked->take_all);
        h[FACTS_POLICY] = hash_number(h[FACTS_POLICY], policy_hash(e->policy));
        for (size_t i = 0; i < n; i++) {
                bool requested = false;

                for (size_t k = 0; k < asked->n_devices; k++)
                        requested |= asked->devices[k] == members[i];
                h[FACTS_REQUEST] = hash_number(h[FACTS_REQUEST], requested);
                hash_device(e, members[i], h);
        }
        for (size_t i = 0; i < _FACTS_MAX; i++)
                at += (size_t) snprintf(ret + at, TOKEN_MAX - at, "%s%016llx", i > 0 ? "-" : "",
                                        (unsigned long long) h[i]);
}

int engine_token_check(const char *given, const char *now, Error *err) {
        _cleanup_strbuf_ StrBuf text = {};
        _cleanup_json_ Json *j = NULL, *list = NULL;

        assert(now);
        if (isempty(given) || streq(given, now))
                return 0;
        if (strlen(given) != strlen(now) || strspn(given, "0123456789abcdef-") != strlen(given))
                return error_set(err, ERROR_INVALID,
                                 "This is no token; take the one that Plan gave");
        list = json_new_array();
        for (size_t i = 0; i < _FACTS_MAX; i++) {
                if (strncmp(given + i * 17, now + i * 17, 16) == 0)
                        continue;
                strbuf_addf(&text, "%s%s", text.size > 0 ? ", " : "", names[i]);
                (void) json_append_string(list, keys[i]);
        }
        (void) error_set(err, ERROR_PLAN_STALE,
                         "Changed since the plan was made: %s; make a new plan",
                         strempty(text.data));
        j = json_new_object();
        (void) json_set(j, "changed", TAKE_PTR(list));
        if (err)
                error_take_details(err, json_to_text(j, false));
        return -error_code_to_errno(ERROR_PLAN_STALE);
}
