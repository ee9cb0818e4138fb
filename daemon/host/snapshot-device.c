/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One element of "devices" of HOST.json. Attribute text and configuration space stay as raw as they
 * are in the file: decoding them is the pci layer's job, when the simulated host is asked, so that
 * a recorded host shows what the real one showed, broken values included. Only the form of the file
 * is checked here.
 */

#include <assert.h>

#include "base/strutil.h"
#include "host/snapshot-private.h"

/* {"error":"EIO"} */
static int read_error(SnapshotReader *r, const Json *j, int *ret) {
        static const char *const keys[] = { "error", NULL };
        _cleanup_free_ char *name = NULL;
        size_t before;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_text(r, j, "error", 32, &name);
        if (k < 0)
                return k;
        if (k == 0)
                return snapshot_invalid(r, "expected an object with \"error\"");
        k = snapshot_errno_from_string(name);
        if (k < 0) {
                before = snapshot_enter(r, "error");
                k = snapshot_invalid(r, "expected the name of an errno, such as \"EIO\"");
                snapshot_leave(r, before);
                return k;
        }
        *ret = k;
        return 0;
}

static int read_text_or_error(SnapshotReader *r, const Json *j, size_t max, char **ret_text,
                              int *ret_error) {
        if (json_type(j) == JSON_OBJECT)
                return read_error(r, j, ret_error);
        if (json_type(j) != JSON_STRING)
                return snapshot_expected(r, "a string or an object with \"error\"", j);
        return snapshot_text(r, j, max, ret_text);
}

static int read_attributes(SnapshotReader *r, const Json *j, SnapshotDevice *d) {
        void *iterator = NULL;
        const char *key;
        Json *value;

        if (json_type(j) != JSON_OBJECT)
                return snapshot_expected(r, "an object", j);
        while (json_next(j, &iterator, &key, &value)) {
                PciAttribute a = pci_attribute_from_path(key);
                size_t before = snapshot_enter(r, key);
                int k;

                if ((int) a < 0)
                        k = snapshot_invalid(r, "unknown attribute");
                else
                        k = read_text_or_error(r, value, PCI_ATTRIBUTE_TEXT_MAX,
                                               &d->attributes[a].text, &d->attributes[a].error);
                if (k < 0)
                        return k;
                snapshot_leave(r, before);
        }
        return 0;
}

static int read_links(SnapshotReader *r, const Json *j, SnapshotDevice *d) {
        void *iterator = NULL;
        const char *key;
        Json *value;

        if (json_type(j) != JSON_OBJECT)
                return snapshot_expected(r, "an object", j);
        while (json_next(j, &iterator, &key, &value)) {
                PciLink l = pci_link_from_path(key);
                size_t before = snapshot_enter(r, key);
                int k;

                if ((int) l < 0)
                        k = snapshot_invalid(r, "unknown link");
                else
                        k = read_text_or_error(r, value, SNAPSHOT_NAME_MAX, &d->links[l].text,
                                               &d->links[l].error);
                if (k < 0)
                        return k;
                snapshot_leave(r, before);
        }
        return 0;
}

/* ---- configuration space ---- */

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -EINVAL;
}

/* Whole dwords of hex into the image. */
static int read_hex(SnapshotReader *r, const Json *j, size_t offset, PciConfig *c) {
        uint8_t bytes[PCI_CONFIG_SIZE_EXTENDED];
        const char *s = json_string(j);
        size_t n = json_length(j) / 2;

        if (!s)
                return snapshot_expected(r, "a string of hexadecimal digits", j);
        if (json_length(j) % 8 != 0 || offset % 4 != 0 || offset > c->size || n > c->size - offset)
                return snapshot_invalid(r, "expected whole dwords that lie inside of %u bytes",
                                        c->size);
        for (size_t i = 0; i < n; i++) {
                int high = hex_digit(s[2 * i]), low = hex_digit(s[2 * i + 1]);

                if (high < 0 || low < 0)
                        return snapshot_invalid(r, "byte %zu is not two hexadecimal digits", i);
                bytes[i] = (uint8_t) (high << 4 | low);
        }
        return n > 0 && pci_config_set(c, offset, bytes, n) < 0
                       ? snapshot_invalid(r, "out of range")
                       : 0;
}

static bool config_size_is_valid(uint64_t n) {
        return n == 64 || n == PCI_CONFIG_SIZE || n == PCI_CONFIG_SIZE_EXTENDED;
}

static int read_ranges(SnapshotReader *r, const Json *j, PciConfig *c) {
        void *iterator = NULL;
        const char *key;
        Json *value;

        if (json_type(j) != JSON_OBJECT)
                return snapshot_expected(r, "an object of ranges", j);
        while (json_next(j, &iterator, &key, &value)) {
                size_t before = snapshot_enter(r, key);
                uint32_t offset;
                int k;

                if (parse_u32(key, 10, PCI_CONFIG_SIZE_EXTENDED, &offset) < 0)
                        k = snapshot_invalid(r, "expected a decimal offset");
                else
                        k = read_hex(r, value, offset, c);
                if (k < 0)
                        return k;
                snapshot_leave(r, before);
        }
        return 0;
}

static int read_sparse_config(SnapshotReader *r, const Json *j, PciConfig *c) {
        static const char *const keys[] = { "size", "ranges", NULL };
        const Json *ranges;
        uint64_t size = 0;
        size_t before;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_number(r, j, "size", PCI_CONFIG_SIZE_EXTENDED, &size);
        if (k < 0)
                return k;
        if (!config_size_is_valid(size))
                return snapshot_invalid(r, "expected a size of 64, 256 or 4096 bytes");
        pci_config_init(c, size);
        ranges = json_get(j, "ranges");
        if (!ranges)
                return 0;
        before = snapshot_enter(r, "ranges");
        k = read_ranges(r, ranges, c);
        snapshot_leave(r, before);
        return k;
}

static int read_config(SnapshotReader *r, const Json *j, SnapshotDevice *d) {
        _cleanup_free_ PciConfig *c = NULL;
        int k;

        if (json_get(j, "error"))
                return read_error(r, j, &d->config_error);
        c = calloc(1, sizeof(*c));
        if (!c)
                return snapshot_out_of_memory(r);
        if (json_type(j) == JSON_STRING) {
                if (!config_size_is_valid(json_length(j) / 2))
                        return snapshot_invalid(r, "expected 64, 256 or 4096 bytes, found %zu",
                                                json_length(j) / 2);
                pci_config_init(c, json_length(j) / 2);
                k = read_hex(r, j, 0, c);
        } else
                k = read_sparse_config(r, j, c);
        if (k < 0)
                return k;
        d->config = TAKE_PTR(c);
        return 0;
}

/* ---- use ---- */

static int read_child(SnapshotReader *r, const Json *j, SnapshotDevice *d) {
        static const char *const keys[] = { "subsystem", "name", NULL };
        _cleanup_free_ char *subsystem = NULL, *name = NULL;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_name(r, j, "subsystem", sizeof(d->use.children[0].subsystem) - 1,
                              &subsystem);
        if (k < 0)
                return k;
        k = snapshot_get_name(r, j, "name", sizeof(d->use.children[0].name) - 1, &name);
        if (k < 0)
                return k;
        if (!subsystem || !name)
                return snapshot_invalid(r, "expected \"subsystem\" and \"name\"");
        return pci_use_add_child(&d->use, subsystem, name) < 0 ? snapshot_out_of_memory(r) : 0;
}

static int read_holder(SnapshotReader *r, const Json *j, SnapshotDevice *d) {
        static const char *const keys[] = { "pid", "uid", "comm", "unit", "what", NULL };
        static const struct {
                const char *key;
                size_t offset, size;
        } texts[] = {
                { "comm", offsetof(PciHolder, comm), sizeof(((PciHolder *) NULL)->comm) },
                { "unit", offsetof(PciHolder, unit), sizeof(((PciHolder *) NULL)->unit) },
                { "what", offsetof(PciHolder, what), sizeof(((PciHolder *) NULL)->what) },
        };
        uint64_t pid = 0, uid = 0;
        PciHolder holder = {};
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_number(r, j, "pid", INT32_MAX, &pid);
        if (k < 0)
                return k;
        k = snapshot_get_number(r, j, "uid", UINT32_MAX, &uid);
        if (k < 0)
                return k;
        holder.pid = (uint32_t) pid;
        holder.uid = (uint32_t) uid;
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_free_ char *s = NULL;

                k = snapshot_get_text(r, j, texts[i].key, texts[i].size - 1, &s);
                if (k < 0)
                        return k;
                (void) string_copy((char *) &holder + texts[i].offset, texts[i].size, strempty(s));
        }
        return pci_use_add_holder(&d->use, &holder) < 0 ? snapshot_out_of_memory(r) : 0;
}

static int read_critical(SnapshotReader *r, const Json *j, SnapshotDevice *d) {
        static const char *const keys[] = { "code", "proof", NULL };
        _cleanup_free_ char *code = NULL, *proof = NULL;
        PciCriticalCode c;
        int k;

        k = snapshot_check_object(r, j, keys);
        if (k < 0)
                return k;
        k = snapshot_get_name(r, j, "code", 32, &code);
        if (k < 0)
                return k;
        k = snapshot_get_name(r, j, "proof", SNAPSHOT_TEXT_MAX, &proof);
        if (k < 0)
                return k;
        if (!code || !proof)
                return snapshot_invalid(r, "expected \"code\" and \"proof\"");
        c = pci_critical_from_string(code);
        if ((int) c < 0)
                return snapshot_invalid(r, "unknown code of a critical use");
        return pci_use_add_critical(&d->use, c, proof) < 0 ? snapshot_out_of_memory(r) : 0;
}

static int read_list(SnapshotReader *r, const Json *j, const char *key, SnapshotDevice *d,
                     int (*element)(SnapshotReader *r, const Json *j, SnapshotDevice *d)) {
        Json *array = NULL;
        size_t before;
        int k;

        k = snapshot_get_array(r, j, key, PCI_USE_MAX, &array);
        if (k <= 0)
                return k;
        before = snapshot_enter(r, key);
        for (size_t i = 0; i < json_length(array); i++) {
                size_t inner = snapshot_enter_index(r, i);

                k = element(r, json_at(array, i), d);
                if (k < 0)
                        return k;
                snapshot_leave(r, inner);
        }
        snapshot_leave(r, before);
        return 0;
}

static int read_member(SnapshotReader *r, const Json *j, const char *key, SnapshotDevice *d,
                       int (*member)(SnapshotReader *r, const Json *j, SnapshotDevice *d)) {
        const Json *value = json_get(j, key);
        size_t before;
        int k;

        if (!value)
                return 0;
        before = snapshot_enter(r, key);
        k = member(r, value, d);
        snapshot_leave(r, before);
        return k;
}

static int read_address(SnapshotReader *r, const Json *j, PciAddress *ret) {
        _cleanup_free_ char *text = NULL;
        size_t before;
        int k;

        k = snapshot_get_text(r, j, "address", PCI_ADDRESS_MAX, &text);
        if (k < 0)
                return k;
        if (k == 0)
                return snapshot_invalid(r, "expected \"address\"");
        if (pci_address_parse(text, ret) < 0) {
                before = snapshot_enter(r, "address");
                k = snapshot_invalid(r, "expected a PCI address such as \"0000:41:00.0\"");
                snapshot_leave(r, before);
                return k;
        }
        return 0;
}

int snapshot_read_device(SnapshotReader *r, const Json *j, SnapshotDevice *ret) {
        static const char *const keys[] = { "address",    "path",     "attributes", "links",
                                            "config",     "children", "critical",   "holders",
                                            "vpd-serial", NULL };
        SnapshotDevice d = {};
        int k;

        assert(ret);
        k = snapshot_check_object(r, j, keys);
        if (k >= 0)
                k = read_address(r, j, &d.address);
        if (k >= 0)
                k = snapshot_get_name(r, j, "path", SNAPSHOT_PATH_MAX, &d.path);
        if (k >= 0)
                k = read_member(r, j, "attributes", &d, read_attributes);
        if (k >= 0)
                k = read_member(r, j, "links", &d, read_links);
        if (k >= 0)
                k = read_member(r, j, "config", &d, read_config);
        if (k >= 0)
                k = read_list(r, j, "children", &d, read_child);
        if (k >= 0)
                k = read_list(r, j, "critical", &d, read_critical);
        if (k >= 0)
                k = read_list(r, j, "holders", &d, read_holder);
        if (k >= 0)
                k = snapshot_get_text(r, j, "vpd-serial", SNAPSHOT_NAME_MAX, &d.vpd_serial);
        if (k < 0) {
                snapshot_device_done(&d);
                return k;
        }
        *ret = d;
        return 0;
}

int snapshot_parse_device(const Json *j, Error *err, SnapshotDevice *ret) {
        SnapshotReader r = { .err = err };

        return snapshot_read_device(&r, j, ret);
}
