/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What all sequences share, made once: a recorded server cut down to the cards that are played with
 * and what stands above and beside them, booted as often as one sequence may boot it. Sequences are
 * forked from here, so none of them pays for parsing.
 */

#include <assert.h>

#include "base/strutil.h"
#include "world.h"

/* What the tests play with: cards with two functions in one group, a network card with two ports,
 * one that can have virtual functions, one that is one, an accelerator; and what the host needs. */
static const struct {
        const char *address;
        bool critical;
} played_with[] = {
        { "0000:41:00.0", false }, { "0000:41:00.1", false }, { "0000:42:00.0", false },
        { "0000:42:00.1", false }, { "0000:45:00.0", false }, { "0000:43:00.0", false },
        { "0000:03:00.0", false }, { "0000:03:00.1", false }, { "0000:c3:00.2", false },
        { "0000:d9:00.0", false }, { "0000:05:00.0", true },  { "0000:04:00.0", true },
        { "0000:06:00.0", true }, /* of a group with a direct mapping */
};

static const char *text_of(const Json *device, const char *section, const char *key) {
        const char *text = NULL;

        (void) json_get_string(section ? json_get(device, section) : device, key, &text);
        return strempty(text);
}

static const Json *find_device(const Json *devices, const char *address) {
        for (size_t i = 0; i < json_length(devices); i++)
                if (streq(text_of(json_at(devices, i), NULL, "address"), address))
                        return json_at(devices, i);
        return NULL;
}

/* Is it played with, above or beside such a one, or the physical function of one, or a sibling of
 * that? */
static bool is_wanted(const Json *devices, const Json *d) {
        const char *address = text_of(d, NULL, "address"), *physfn = text_of(d, "links", "physfn");

        for (size_t i = 0; i < ELEMENTSOF(played_with); i++) {
                const Json *other = find_device(devices, played_with[i].address);
                const char *other_physfn = other ? text_of(other, "links", "physfn") : "";

                if (!other)
                        continue;
                if (strstr(text_of(other, NULL, "path"), address) ||
                    streq(text_of(other, "links", "iommu_group"),
                          text_of(d, "links", "iommu_group")) ||
                    (other_physfn[0] &&
                     (streq(other_physfn, address) || streq(other_physfn, physfn))))
                        return true;
        }
        return false;
}

static int cut_down(WorldTemplate *t, Json *host) {
        Json *devices = json_get(host, "devices"), *kept = json_new_array();

        for (size_t i = 0; kept && i < json_length(devices); i++)
                if (is_wanted(devices, json_at(devices, i)) &&
                    json_append(kept, json_ref(json_at(devices, i))) < 0)
                        return -ENOMEM;
        if (!kept || json_set(host, "devices", kept) < 0)
                return -ENOMEM;
        t->json = json_to_text(host, false);
        t->n = t->json ? strlen(t->json) : 0;
        return t->json ? 0 : -ENOMEM;
}

/* Another card of the same kind: other IDs and another serial. */
static char *make_other(const Json *device) {
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *text = json_to_text((Json *) device, false);
        Json *attributes;

        if (!text || json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, &j, NULL, NULL) < 0)
                return NULL;
        attributes = json_get(j, "attributes");
        if (json_set_string(attributes, "device", "0x7abc") < 0 ||
            json_set_string(attributes, "subsystem_device", "0x0abc") < 0 ||
            json_set_string(j, "vpd-serial", "another") < 0)
                return NULL;
        return json_to_text(j, false);
}

static int take_device(WorldTemplate *t, const Json *devices, size_t i) {
        const Json *j = find_device(devices, played_with[i].address);
        WorldDevice *d = t->devices + t->n_devices;

        if (!j || pci_address_parse(played_with[i].address, &d->address) < 0)
                return -ENODEV;
        t->n_devices++;
        d->critical = played_with[i].critical;
        (void) string_copy(d->driver, sizeof(d->driver), text_of(j, "links", "driver"));
        d->json = json_to_text((Json *) j, false);
        d->other_json = make_other(j);
        return d->json && d->other_json ? 0 : -ENOMEM;
}

int world_template_init(WorldTemplate *t, const char *host_json, size_t n) {
        _cleanup_error_ Error err = ERROR_INIT;
        _cleanup_json_ Json *j = NULL;
        int r;

        assert(t);
        static_assert(ELEMENTSOF(played_with) <= WORLD_DEVICES_MAX, "no room for the devices");
        *t = (WorldTemplate) {};
        r = json_parse(host_json, n, JSON_LIMITS_DEFAULT, &j, NULL, NULL);
        if (r >= 0)
                r = cut_down(t, j);
        for (size_t i = 0; i < ELEMENTSOF(played_with) && r >= 0; i++)
                r = take_device(t, json_get(j, "devices"), i);
        for (size_t i = 0; i < ELEMENTSOF(t->hosts) && r >= 0; i++)
                r = host_sim_new(NULL, t->json, t->n, true, &err, t->hosts + i);
        if (r < 0)
                printf("the host's file cannot be used: %s %s\n", strerrorname_np(-r),
                       strempty(err.message));
        return r;
}
