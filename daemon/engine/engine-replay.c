/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verdicts of a whole host at once, for the comparison of policies: each function as if it were
 * asked for by itself. Reads and claims nothing; what is not known is a blocker like everywhere.
 */

#include <assert.h>

#include "engine/engine-policy.h"
#include "engine/engine-private.h"

static void add_codes(const Json *blockers, Json *j) {
        Json *codes = json_new_array();

        for (size_t i = 0; i < json_length(blockers); i++) {
                const char *code = NULL;
                bool seen = false;

                if (json_get_string(json_at(blockers, i), "code", &code) <= 0)
                        continue;
                for (size_t k = 0; k < json_length(codes); k++)
                        seen |= streq(json_string(json_at(codes, k)), code);
                if (!seen)
                        (void) json_append_string(codes, code);
        }
        (void) json_set(j, "blockers", codes);
}

static void add_identity(const Device *d, Json *j) {
        (void) json_set_string(j, "address", PCI_ADDRESS_TEXT(d->facts.address));
        (void) json_set_stringf(j, "vendor", "%04x", d->facts.vendor);
        (void) json_set_stringf(j, "device", "%04x", d->facts.device);
        (void) json_set_stringf(j, "class", "%06x", (unsigned) d->facts.class_code);
        (void) json_set_string(j, "driver", d->facts.driver);
        if (d->group)
                (void) json_set_u64(j, "iommu_group", d->group->id);
        else
                (void) json_set_null(j, "iommu_group");
}

static int add_verdict(Engine *e, Device *d, const PolicyAsk *ask, Json *j) {
        AskedFor asked = { .devices = &d, .n_devices = 1, .ask = ask, .choose_driver = true };
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_json_ Json *verdict = NULL;
        bool assignable = engine_check(e, &asked, &err, &verdict) >= 0;

        (void) json_set(j, "rule", engine_policy_rule_to_json(engine_rule(e, d)));
        (void) json_set_bool(j, "assignable", assignable);
        add_codes(json_get(verdict, "blockers"), j);
        (void) json_set_string(j, "error", assignable ? NULL : error_code_to_string(err.code));
        (void) json_set_string(j, "message", assignable ? NULL : err.message);
        return json_set(j, "settings", engine_policy_settings_to_json(e, d, ask));
}

Json *engine_verdicts_to_json(Engine *e, const Caller *c, const char *owner) {
        Json *all = json_new_array();
        PolicyAsk ask;

        assert(e);
        assert(c);
        ask = (PolicyAsk) {
                .uid = c->uid,
                .gids = c->gids,
                .n_gids = c->n_gids,
                .manager = c->manager || c->uid == 0,
                .owner = owner,
        };
        for (size_t i = 0; i < e->inventory->n_devices; i++) {
                Json *j = json_new_object();

                add_identity(e->inventory->sorted[i], j);
                (void) add_verdict(e, e->inventory->sorted[i], &ask, j); /* a broken tree shows */
                (void) json_append(all, j);
        }
        return all;
}
