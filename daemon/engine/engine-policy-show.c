/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The policy in force for people and programs: the whole of it, the walk over its rules for one
 * device, and the settings that hold for that.
 */

#include "engine/engine-policy.h"

#include <assert.h>

/* "6.1.0-18-amd64" → 6.1; 0 where it is not said. */
static unsigned kernel_version(const char *release) {
        size_t n = strspn(release, "0123456789"), m;
        uint64_t major, minor;

        if (n == 0 || release[n] != '.')
                return 0;
        m = strspn(release + n + 1, "0123456789");
        if (parse_u64_n(release, n, 10, 255, &major) < 0 ||
            parse_u64_n(release + n + 1, m, 10, 65535, &minor) < 0)
                return 0;
        return (unsigned) (major << 16 | minor);
}

Json *engine_policy_explain(Engine *e, const Device *d, const PolicyAsk *ask) {
        _cleanup_free_ char *path = NULL;
        PolicySubject s;
        PolicyHost host;

        engine_policy_subject(e, d, &path, &s);
        if (e->platform_read) {
                host = (PolicyHost) {
                        .kernel = kernel_version(e->platform.kernel),
                        .locked = streq(e->platform.lockdown, "integrity") ||
                                  streq(e->platform.lockdown, "confidentiality"),
                };
                s.host = &host;
        }
        return policy_explain(e->policy, &s, ask);
}

Json *engine_policy_settings_to_json(Engine *e, const Device *d, const PolicyAsk *ask) {
        _cleanup_json_ Json *j = engine_policy_explain(e, d, ask);

        return json_ref(json_get(j, "settings"));
}

Json *engine_policy_of(Engine *e, const AskedFor *asked) {
        Json *list = json_new_array();

        assert(e);
        assert(asked);
        for (size_t i = 0; i < asked->n_devices; i++) {
                const PolicyRule *rule = engine_rule(e, asked->devices[i]);
                Json *j = json_new_object(), *devices = json_new_array();

                for (size_t k = 0; k < asked->n_devices; k++) {
                        if (engine_rule(e, asked->devices[k]) != rule)
                                continue;
                        if (k < i)
                                break; /* its rule is there */
                        (void) json_append_string(
                                devices, PCI_ADDRESS_TEXT(asked->devices[k]->facts.address));
                }
                if (json_length(devices) == 0) {
                        (void) json_free(devices);
                        (void) json_free(j);
                        continue;
                }
                (void) json_set(j, "devices", devices);
                (void) json_set(j, "rule", engine_policy_rule_to_json(rule));
                (void) json_set(j, "settings", policy_rule_settings(e->policy, rule));
                (void) json_append(list, j);
        }
        return list;
}

int engine_policy_keep(Engine *e, const AskedFor *asked, Assignment *a) {
        _cleanup_json_ Json *j = engine_policy_of(e, asked);
        _cleanup_free_ char *text = json_to_text(j, false);

        assert(a);
        if (!text)
                return -ENOMEM;
        /* A record has room for this much; rules that long can be looked up in their files. */
        free(a->policy);
        a->policy = strlen(text) < POLICY_KEPT_MAX ? TAKE_PTR(text) : NULL;
        return 0;
}

char *engine_show_policy(Engine *e) {
        _cleanup_json_ Json *j = NULL;

        assert(e);
        j = policy_to_json(e->policy);
        (void) json_set_u64(j, "generation", e->policy_generation);
        (void) json_set_u64(j, "loaded-at", e->policy_at);
        if (e->policy_refusal)
                (void) json_set_string(j, "problem", e->policy_refusal);
        else
                (void) json_set_null(j, "problem");
        return json_to_text(j, false);
}
