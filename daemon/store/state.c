/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What is kept over a reboot, as documents: from memory to the text of a file and back. The text
 * begins with a checksum of everything behind it, so that a flipped bit is never read as another
 * owner. A parser believes nothing: each key is known, each value in its range, and what was
 * written is what is read. Which hardware an identity fits is decided here too, by port path, IDs
 * and serial numbers, never by an address. No I/O.
 */

#include "store/state.h"

#include <assert.h>

#include "base/jsonx.h"
#include "base/strutil.h"
#include "pci/driver.h"

#define PREFIX_FORMAT "{\"crc32c\":\"%08x\","
#define PREFIX_SIZE 21U
#define PORT_PATH_MAX 1024U
#define SERIAL_MAX 512U
#define REASON_MAX 1024U

/* ---- identities ---- */

void device_identity_done(DeviceIdentity *i) {
        assert(i);
        free(i->port_path);
        free(i->vpd_serial);
        *i = (DeviceIdentity) {};
}

static int serial_of(const Device *d, char **ret) {
        _cleanup_free_ char *serial = NULL;

        if (isempty(d->vpd_serial)) {
                *ret = NULL;
                return 0;
        }
        serial = string_escape(d->vpd_serial); /* it comes from the card */
        if (!serial)
                return -ENOMEM;
        if (strlen(serial) > SERIAL_MAX)
                serial[0] = 0;
        *ret = serial[0] ? TAKE_PTR(serial) : NULL;
        return 0;
}

int device_identity_of(const Device *d, DeviceIdentity *ret) {
        DeviceIdentity i = {};
        int r;

        assert(d);
        assert(ret);
        i.port_path = pci_facts_port_path(&d->facts);
        if (!i.port_path)
                return -ENOMEM;
        r = serial_of(d, &i.vpd_serial);
        if (r < 0) {
                device_identity_done(&i);
                return r;
        }
        i.vendor = d->facts.vendor;
        i.device = d->facts.device;
        i.subsystem_vendor = d->facts.subsystem_vendor;
        i.subsystem_device = d->facts.subsystem_device;
        /* 0 and all-ones are what a card without a number, or without an answer, shows. */
        i.has_dsn = d->config && d->config->has_dsn && d->config->dsn != 0 &&
                    d->config->dsn != UINT64_MAX;
        i.dsn = i.has_dsn ? d->config->dsn : 0;
        *ret = i;
        return 0;
}

int device_identity_copy(const DeviceIdentity *i, DeviceIdentity *ret) {
        DeviceIdentity copy;

        assert(i);
        assert(ret);
        copy = *i;
        copy.port_path = copy.vpd_serial = NULL;
        if (free_and_strdup(&copy.port_path, strempty(i->port_path)) < 0 ||
            free_and_strdup(&copy.vpd_serial, i->vpd_serial) < 0) {
                device_identity_done(&copy);
                return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

bool device_identity_same_card(const DeviceIdentity *a, const DeviceIdentity *b) {
        assert(a);
        assert(b);
        if (a->vendor != b->vendor || a->device != b->device ||
            a->subsystem_vendor != b->subsystem_vendor ||
            a->subsystem_device != b->subsystem_device)
                return false;
        if (a->has_dsn && b->has_dsn && a->dsn != b->dsn)
                return false;
        return !a->vpd_serial || !b->vpd_serial || streq(a->vpd_serial, b->vpd_serial);
}

bool device_identity_same_place(const DeviceIdentity *a, const DeviceIdentity *b) {
        assert(a);
        assert(b);
        return !isempty(a->port_path) && streq(a->port_path, strempty(b->port_path));
}

/* A number that both know; that it is the same one was seen before. The functions of one card may
 * share their serial: the last component of the place tells them apart. */
static bool share_serial(const DeviceIdentity *a, const DeviceIdentity *b) {
        const char *x = strrchr(strempty(a->port_path), '/'),
                   *y = strrchr(strempty(b->port_path), '/');

        if (!x || !y || !streq(x, y))
                return false;
        return (a->has_dsn && b->has_dsn) || (a->vpd_serial && b->vpd_serial);
}

bool device_identity_matches(const DeviceIdentity *kept, const DeviceIdentity *found) {
        return device_identity_same_card(kept, found) &&
               (device_identity_same_place(kept, found) || share_serial(kept, found));
}

/* ---- names ---- */

bool kept_device_name(const DeviceIdentity *i, char ret[STATE_NAME_MAX]) {
        const uint16_t ids[] = { i->vendor, i->device, i->subsystem_vendor, i->subsystem_device };
        const uint64_t dsn = i->has_dsn ? i->dsn : 0;
        const char *path = strempty(i->port_path), *serial = strempty(i->vpd_serial);
        uint64_t h = hash_bytes(HASH_INIT, path, strlen(path) + 1);
        int n;

        for (size_t k = 0; k < ELEMENTSOF(ids); k++)
                h = hash_bytes(hash_bytes(h, &(uint8_t){ ids[k] & 0xff }, 1),
                               &(uint8_t){ ids[k] >> 8 }, 1);
        for (unsigned k = 0; k < 64; k += 8)
                h = hash_bytes(h, &(uint8_t) { (uint8_t) (dsn >> k) }, 1);
        h = hash_bytes(h, serial, strlen(serial) + 1);
        n = snprintf(ret, STATE_NAME_MAX, "device-%016llx.json", (unsigned long long) h);
        return n > 0 && (unsigned) n < STATE_NAME_MAX;
}

void kept_reservation_name(const char *id, char ret[STATE_NAME_MAX]) {
        assert(id);
        (void) snprintf(ret, STATE_NAME_MAX, "reservation-%.32s.json", id);
}

bool kept_reservation_id(const char *name, char ret[ASSIGNMENT_ID_MAX]) {
        static const char prefix[] = "reservation-";
        char id[ASSIGNMENT_ID_MAX], same[STATE_NAME_MAX];

        assert(name);
        if (strncmp(name, prefix, strlen(prefix)) != 0)
                return false;
        /* Cut to the length of an id, which ".json" follows, or it is another name. */
        (void) snprintf(id, sizeof(id), "%.32s", name + strlen(prefix));
        kept_reservation_name(id, same);
        if (!streq(same, name))
                return false;
        (void) string_copy(ret, ASSIGNMENT_ID_MAX, id);
        return true;
}

/* ---- to text ---- */

/* {"crc32c":"…", and the rest of the object. */
static int seal(Json *j, char **ret) {
        _cleanup_free_ char *body = json_to_text(j, false);
        _cleanup_strbuf_ StrBuf b = {};

        if (!body)
                return -ENOMEM;
        assert(body[0] == '{');
        strbuf_addf(&b, PREFIX_FORMAT, crc32c(0, body + 1, strlen(body + 1)));
        strbuf_add(&b, body + 1);
        if (b.error < 0)
                return b.error;
        if (b.size > STATE_FILE_MAX)
                return -E2BIG;
        *ret = strbuf_steal(&b);
        return *ret ? 0 : -ENOMEM;
}

static void identity_to_json(const DeviceIdentity *i, Json *j) {
        (void) json_set_string(j, "port-path", strempty(i->port_path));
        (void) json_set_u64(j, "vendor", i->vendor);
        (void) json_set_u64(j, "device", i->device);
        (void) json_set_u64(j, "subsystem-vendor", i->subsystem_vendor);
        (void) json_set_u64(j, "subsystem-device", i->subsystem_device);
        if (i->has_dsn)
                (void) json_set_stringf(j, "dsn", "%016llx", (unsigned long long) i->dsn);
        if (i->vpd_serial)
                (void) json_set_string(j, "vpd-serial", i->vpd_serial);
}

int kept_device_to_file(const KeptDevice *d, char **ret_name, char **ret_text) {
        _cleanup_json_ Json *j = json_new_object();
        _cleanup_free_ char *name = malloc(STATE_NAME_MAX);
        char *text = NULL;
        int r;

        assert(d);
        assert(ret_name);
        assert(ret_text);
        if (!name || !kept_device_name(&d->identity, name))
                return -ENOMEM;
        if (d->quarantine || d->dirty_owner) {
                (void) json_set_u64(j, "version", STATE_VERSION);
                identity_to_json(&d->identity, j);
                if (d->quarantine)
                        (void) json_set_string(j, "quarantine", d->quarantine);
                if (d->dirty_owner) {
                        (void) json_set_string(j, "dirty-owner", d->dirty_owner);
                        (void) json_set_u64(j, "dirty-uid", d->dirty_uid);
                }
                (void) json_set_u64(j, "since", d->since);
                r = seal(j, &text);
                if (r < 0)
                        return r;
        }
        *ret_name = TAKE_PTR(name);
        *ret_text = text;
        return 0;
}

static Json *identities_to_json(const KeptReservation *r) {
        Json *list = json_new_array();

        for (size_t i = 0; i < r->n_devices; i++) {
                Json *one = json_new_object();

                identity_to_json(r->devices + i, one);
                (void) json_append(list, one);
        }
        return list;
}

static Json *reservation_to_json(const KeptReservation *r) {
        Json *j = json_new_object();

        (void) json_set_u64(j, "version", STATE_VERSION);
        (void) json_set_string(j, "id", r->id);
        (void) json_set_string(j, "owner", r->owner);
        (void) json_set_u64(j, "creator-uid", r->creator_uid);
        if (r->user_uid != UID_UNSET)
                (void) json_set_u64(j, "user-uid", r->user_uid);
        if (r->user_gid != GID_UNSET)
                (void) json_set_u64(j, "user-gid", r->user_gid);
        if (r->labels)
                (void) json_set_strv(j, "labels", r->labels);
        if (r->request_id) {
                (void) json_set_string(j, "request-id", r->request_id);
                (void) json_set_stringf(j, "request-hash", "%016llx",
                                        (unsigned long long) r->request_hash);
        }
        (void) json_set_bool(j, "by-node", r->by_node);
        if (r->force)
                (void) json_set_string(j, "force", strempty(r->force_reason));
        (void) json_set_u64(j, "memlock", r->memlock);
        (void) json_set(j, "devices", identities_to_json(r));
        (void) json_set_u64(j, "requested", r->n_requested);
        (void) json_set_strv(j, "drivers", r->drivers);
        return j;
}

int kept_reservation_to_file(const KeptReservation *r, char **ret_name, char **ret_text) {
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *name = malloc(STATE_NAME_MAX), *text = NULL;
        int k;

        assert(r);
        assert(ret_name);
        assert(ret_text);
        if (!name)
                return -ENOMEM;
        kept_reservation_name(r->id, name);
        j = reservation_to_json(r);
        k = seal(j, &text);
        if (k < 0)
                return k;
        *ret_name = TAKE_PTR(name);
        *ret_text = TAKE_PTR(text);
        return 0;
}

/* ---- from text ---- */

static bool keys_are_known(const Json *j, const char *const *keys, size_t n) {
        void *iterator = NULL;
        const char *key;
        Json *value;

        while (json_next(j, &iterator, &key, &value)) {
                bool known = false;

                for (size_t i = 0; i < n && !known; i++)
                        known = streq(keys[i], key);
                if (!known)
                        return false;
        }
        return true;
}

/* The document behind a checksum that holds. A newer one is told apart from a damaged one. */
static int unseal(const char *text, size_t n, Json **ret) {
        const JsonLimits limits = { STATE_FILE_MAX, 4, false };
        _cleanup_json_ Json *j = NULL;
        char prefix[PREFIX_SIZE + 1];
        uint64_t version;
        int r;

        if (n < PREFIX_SIZE || n > STATE_FILE_MAX)
                return -EBADMSG;
        (void) snprintf(prefix, sizeof(prefix), PREFIX_FORMAT,
                        crc32c(0, text + PREFIX_SIZE, n - PREFIX_SIZE));
        if (memcmp(prefix, text, PREFIX_SIZE) != 0)
                return -EBADMSG;
        r = json_parse(text, n, limits, &j, NULL, NULL);
        if (r < 0)
                return r == -ENOMEM ? r : -EBADMSG;
        if (json_get_u64(j, "version", UINT32_MAX, &version) <= 0 || version == 0)
                return -EBADMSG;
        if (version > STATE_VERSION)
                return -EPROTONOSUPPORT;
        *ret = TAKE_PTR(j);
        return 0;
}

/* 1, 0 absent, -EBADMSG, -ENOMEM. */
static int get_text(const Json *j, const char *key, size_t max, char **ret) {
        const char *s;
        int r = json_get_string(j, key, &s);

        if (r <= 0)
                return r < 0 ? -EBADMSG : 0;
        if (!string_is_safe(s, max))
                return -EBADMSG;
        r = free_and_strdup(ret, s);
        return r < 0 ? r : 1;
}

static int get_hex(const Json *j, const char *key, uint64_t *ret) {
        const char *s;
        int r = json_get_string(j, key, &s);

        if (r <= 0)
                return r < 0 ? -EBADMSG : 0;
        if (strlen(s) != 16 || strspn(s, "0123456789abcdef") != 16 ||
            parse_u64(s, 16, UINT64_MAX, ret) < 0)
                return -EBADMSG;
        return 1;
}

static int get_id(const Json *j, const char *key, uint16_t *ret) {
        uint64_t v;

        if (json_get_u64(j, key, UINT16_MAX, &v) <= 0)
                return -EBADMSG;
        *ret = (uint16_t) v;
        return 0;
}

static int get_port_path(const Json *j, DeviceIdentity *i) {
        const char *s;

        if (json_get_string(j, "port-path", &s) <= 0 || (s[0] && !string_is_safe(s, PORT_PATH_MAX)))
                return -EBADMSG;
        return free_and_strdup(&i->port_path, s);
}

static int identity_parse(const Json *j, DeviceIdentity *i) {
        int r = get_port_path(j, i);

        if (r >= 0)
                r = get_id(j, "vendor", &i->vendor);
        if (r >= 0)
                r = get_id(j, "device", &i->device);
        if (r >= 0)
                r = get_id(j, "subsystem-vendor", &i->subsystem_vendor);
        if (r >= 0)
                r = get_id(j, "subsystem-device", &i->subsystem_device);
        if (r >= 0)
                r = get_hex(j, "dsn", &i->dsn);
        i->has_dsn = r > 0;
        return r < 0 ? r : get_text(j, "vpd-serial", SERIAL_MAX, &i->vpd_serial);
}

#define IDENTITY_KEYS \
        "port-path", "vendor", "device", "subsystem-vendor", "subsystem-device", "dsn", "vpd-serial"

static int device_fields(const Json *j, KeptDevice *d) {
        static const char *const keys[] = {
                "crc32c",      "version",   IDENTITY_KEYS, "quarantine",
                "dirty-owner", "dirty-uid", "since",
        };
        uint64_t uid = 0;
        int r, has_uid;

        if (!keys_are_known(j, keys, ELEMENTSOF(keys)))
                return -EBADMSG;
        r = identity_parse(j, &d->identity);
        if (r >= 0)
                r = get_text(j, "quarantine", REASON_MAX, &d->quarantine);
        if (r >= 0)
                r = get_text(j, "dirty-owner", OWNER_MAX - 1, &d->dirty_owner);
        if (r < 0)
                return r;
        has_uid = json_get_u64(j, "dirty-uid", UINT32_MAX - 1, &uid);
        if (has_uid < 0 || (has_uid > 0) != !!d->dirty_owner ||
            (!d->dirty_owner && !d->quarantine) ||
            json_get_u64(j, "since", UINT64_MAX, &d->since) <= 0)
                return -EBADMSG;
        d->dirty_uid = (uid_t) uid;
        return 0;
}

int kept_device_parse(const char *text, size_t n, KeptDevice *ret) {
        _cleanup_json_ Json *j = NULL;
        KeptDevice d = {};
        int r;

        assert(text || n == 0);
        assert(ret);
        r = unseal(text, n, &j);
        if (r >= 0)
                r = device_fields(j, &d);
        if (r < 0) {
                kept_device_done(&d);
                return r;
        }
        *ret = d;
        return 0;
}

static int get_strv(const Json *j, const char *key, size_t max, bool (*valid)(const char *),
                    char ***ret) {
        const Json *list = json_get(j, key);

        if (!list)
                return 0;
        if (json_type(list) != JSON_ARRAY || json_length(list) > max)
                return -EBADMSG;
        for (size_t i = 0; i < json_length(list); i++) {
                const char *s = json_string(json_at(list, i));

                if (!s || !valid(s))
                        return -EBADMSG;
                if (strv_extend(ret, s) < 0)
                        return -ENOMEM;
        }
        return 0;
}

static bool label_is_valid(const char *s) {
        return string_is_safe(s, LABEL_SIZE_MAX) && strchr(s, '=');
}

static bool driver_is_valid(const char *s) {
        return pci_driver_name_is_valid(s) && pci_driver_is_vfio(s);
}

static int get_devices(const Json *j, KeptReservation *r) {
        static const char *const keys[] = { IDENTITY_KEYS };
        const Json *list = json_get(j, "devices");
        uint64_t requested;

        if (json_type(list) != JSON_ARRAY || json_length(list) == 0 ||
            json_length(list) > PLAN_DEVICES_MAX ||
            json_get_u64(j, "requested", json_length(list), &requested) <= 0 || requested == 0)
                return -EBADMSG;
        r->n_requested = (size_t) requested;
        r->devices = calloc(json_length(list), sizeof(DeviceIdentity));
        if (!r->devices)
                return -ENOMEM;
        for (size_t i = 0; i < json_length(list); i++) {
                const Json *one = json_at(list, i);
                int k;

                if (json_type(one) != JSON_OBJECT || !keys_are_known(one, keys, ELEMENTSOF(keys)))
                        return -EBADMSG;
                r->n_devices++;
                k = identity_parse(one, r->devices + i);
                if (k < 0)
                        return k;
        }
        return 0;
}

static int get_uid(const Json *j, const char *key, uint32_t absent, uint32_t *ret) {
        uint64_t v = absent;

        if (json_get_u64(j, key, UINT32_MAX - 1, &v) < 0)
                return -EBADMSG;
        *ret = (uint32_t) v;
        return 0;
}

static int reservation_owner(const Json *j, KeptReservation *r) {
        _cleanup_free_ char *id = NULL;
        int k = get_text(j, "id", ASSIGNMENT_ID_MAX - 1, &id);

        if (k < 0)
                return k;
        if (k == 0 || strlen(id) != ASSIGNMENT_ID_MAX - 1 ||
            strspn(id, "0123456789abcdef") != ASSIGNMENT_ID_MAX - 1)
                return -EBADMSG;
        (void) string_copy(r->id, sizeof(r->id), id); /* fits, as checked */
        k = get_text(j, "owner", OWNER_MAX - 1, &r->owner);
        if (k == 0 || !json_get(j, "creator-uid"))
                return -EBADMSG;
        if (k > 0)
                k = get_uid(j, "creator-uid", UID_UNSET, &r->creator_uid);
        if (k >= 0)
                k = get_uid(j, "user-uid", UID_UNSET, &r->user_uid);
        return k < 0 ? k : get_uid(j, "user-gid", GID_UNSET, &r->user_gid);
}

static int reservation_options(const Json *j, KeptReservation *r) {
        int k = get_strv(j, "labels", LABELS_MAX, label_is_valid, &r->labels), hash;

        if (k >= 0)
                k = get_text(j, "request-id", REQUEST_ID_MAX, &r->request_id);
        if (k < 0)
                return k;
        hash = get_hex(j, "request-hash", &r->request_hash);
        if (hash < 0 || (hash > 0) != !!r->request_id)
                return -EBADMSG;
        k = get_text(j, "force", LABEL_SIZE_MAX, &r->force_reason);
        if (k < 0)
                return k;
        r->force = k > 0;
        if (json_get_bool(j, "by-node", &r->by_node) <= 0 ||
            json_get_u64(j, "memlock", UINT64_MAX, &r->memlock) <= 0)
                return -EBADMSG;
        return 0;
}

static int reservation_fields(const Json *j, KeptReservation *r) {
        static const char *const keys[] = {
                "crc32c",   "version", "id",         "owner",        "creator-uid", "user-uid",
                "user-gid", "labels",  "request-id", "request-hash", "by-node",     "force",
                "memlock",  "devices", "requested",  "drivers",
        };
        int k;

        r->user_uid = UID_UNSET;
        r->user_gid = GID_UNSET;
        if (!keys_are_known(j, keys, ELEMENTSOF(keys)))
                return -EBADMSG;
        k = reservation_owner(j, r);
        if (k >= 0)
                k = reservation_options(j, r);
        if (k >= 0)
                k = get_devices(j, r);
        if (k >= 0)
                k = get_strv(j, "drivers", PLAN_DEVICES_MAX, driver_is_valid, &r->drivers);
        if (k < 0)
                return k;
        return strv_length(r->drivers) == r->n_devices ? 0 : -EBADMSG;
}

int kept_reservation_parse(const char *text, size_t n, KeptReservation *ret) {
        _cleanup_json_ Json *j = NULL;
        KeptReservation kept = {};
        int r;

        assert(text || n == 0);
        assert(ret);
        r = unseal(text, n, &j);
        if (r >= 0)
                r = reservation_fields(j, &kept);
        if (r < 0) {
                kept_reservation_done(&kept);
                return r;
        }
        *ret = kept;
        return 0;
}
