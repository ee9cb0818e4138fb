/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * HOST.json: what is written is read back the same, the bundled machine decodes without a hole, and
 * a file that is wrong in any way is refused with the place of the mistake.
 */

#include <fcntl.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "host/snapshot.h"
#include "unit.h"

#define DEVICE(members) "{\"version\":1,\"devices\":[{\"address\":\"0000:41:00.0\"" members "}]}"

static Snapshot *parse(const char *text) {
        _cleanup_error_ Error err = ERROR_INIT;
        Snapshot *s = NULL;

        ck_assert_msg(snapshot_parse(text, strlen(text), &err, &s) == 0, "%s: %s", text,
                      err.message);
        ck_assert_ptr_nonnull(s);
        return s;
}

static char *to_text(const Snapshot *s, bool redact) {
        _cleanup_json_ Json *j = NULL;
        char *text;

        ck_assert_int_eq(snapshot_to_json(s, redact, &j), 0);
        text = json_to_text(j, false);
        ck_assert_ptr_nonnull(text);
        return text;
}

static char *bundled(size_t *ret_size) {
        _cleanup_free_
        char *path = strjoinf("%s/tests/data/two-socket-gpu-server.json", getenv("top_srcdir"));
        char *text = NULL;

        ck_assert_int_eq(read_file_at(AT_FDCWD, path, 16U << 20, &text, ret_size), 0);
        return text;
}

/* ---- what is wrong is refused, by its place ---- */

static const struct {
        const char *text, *place, *says;
} refused[] = {
        { "", "line 1", "JSON" },
        { "{\"version\":1,\"devices\":[", "line 1", "JSON" },
        { "[]", "/:", "expected an object, found array" },
        { "{}", "/:", "expected \"version\"" },
        { "{\"version\":\"1\",\"devices\":[]}", "/version:", "expected an integer" },
        { "{\"version\":2,\"devices\":[],\"new\":0}", "/version:", "version 2 is not known" },
        { "{\"version\":1}", "/:", "expected \"devices\"" },
        { "{\"version\":1,\"devices\":{}}", "/devices:", "expected an array, found object" },
        { "{\"version\":1,\"devices\":[],\"fans\":3}", "/:", "unknown key \"fans\"" },
        { "{\"version\":1,\"devices\":[],\"a\\u001bb\":3}", "/:", "unknown key \"a\\x1bb\"" },
        { "{\"version\":1,\"devices\":[7]}", "/devices/0:", "expected an object" },
        { "{\"version\":1,\"devices\":[{}]}", "/devices/0:", "expected \"address\"" },
        { "{\"version\":1,\"devices\":[{\"address\":\"41:00.0\"}]}",
          "/devices/0/address:", "expected a PCI address" },
        { "{\"version\":1,\"devices\":[{\"address\":\"0000:41:20.0\"}]}",
          "/devices/0/address:", "PCI address" },
        { "{\"version\":1,\"devices\":[{\"address\":\"0000:41:00.0\"},{\"address\":\"0000:41:00."
          "0\"}]}",
          "/devices:", "0000:41:00.0 stands here twice" },
        { DEVICE(",\"serial\":1"), "/devices/0:", "unknown key \"serial\"" },
        { DEVICE(",\"path\":7"), "/devices/0/path:", "expected a string, found integer" },
        { DEVICE(",\"path\":\"\""), "/devices/0/path:", "not empty" },
        { DEVICE(",\"path\":\"a\\u0000b\""), "line 1, column", "JSON" },
        { DEVICE(",\"attributes\":[]"), "/devices/0/attributes:", "expected an object" },
        { DEVICE(",\"attributes\":{\"colour\":\"red\"}"),
          "/devices/0/attributes/colour:", "unknown attribute" },
        { DEVICE(",\"attributes\":{\"uevent\":\"\"}"),
          "/devices/0/attributes/uevent:", "unknown attribute" },
        { DEVICE(",\"attributes\":{\"vendor\":4318}"),
          "/devices/0/attributes/vendor:", "expected a string or an object" },
        { DEVICE(",\"attributes\":{\"vendor\":{\"error\":\"EWHAT\"}}"),
          "/devices/0/attributes/vendor/error:", "errno" },
        { DEVICE(",\"attributes\":{\"vendor\":{\"error\":5}}"),
          "/devices/0/attributes/vendor/error:", "a string" },
        { DEVICE(",\"attributes\":{\"vendor\":{}}"),
          "/devices/0/attributes/vendor:", "expected an object with" },
        { DEVICE(",\"attributes\":{\"power/control\":1}"),
          "/devices/0/attributes/power~1control:", "a string" },
        { DEVICE(",\"links\":{\"subsystem\":\"pci\"}"),
          "/devices/0/links/subsystem:", "unknown link" },
        { DEVICE(",\"links\":{\"driver\":true}"), "/devices/0/links/driver:", "expected a string" },
        { DEVICE(",\"config\":\"de10\""), "/devices/0/config:", "64, 256 or 4096" },
        { DEVICE(",\"config\":{\"size\":100,\"ranges\":{}}"),
          "/devices/0/config:", "64, 256 or 4096" },
        { DEVICE(",\"config\":{\"size\":64,\"ranges\":{\"0\":\"de10b8\"}}"),
          "/devices/0/config/ranges/0:", "dwords" },
        { DEVICE(",\"config\":{\"size\":64,\"ranges\":{\"2\":\"de10b825\"}}"),
          "/devices/0/config/ranges/2:", "dwords" },
        { DEVICE(",\"config\":{\"size\":64,\"ranges\":{\"0\":\"de10b8zz\"}}"),
          "/devices/0/config/ranges/0:", "byte 3" },
        { DEVICE(",\"config\":{\"size\":64,\"ranges\":{\"64\":\"de10b825\"}}"),
          "/devices/0/config/ranges/64:", "inside" },
        { DEVICE(",\"config\":{\"size\":64,\"ranges\":{\"-4\":\"de10b825\"}}"),
          "/devices/0/config/ranges/-4:", "decimal" },
        { DEVICE(",\"config\":17"), "/devices/0/config:", "expected an object" },
        { DEVICE(",\"children\":[{\"name\":\"nvme0\"}]"),
          "/devices/0/children/0:", "expected \"subsystem\"" },
        { DEVICE(",\"children\":[{\"subsystem\":\"net\",\"name\":\"a\\nb\"}]"),
          "/devices/0/children/0/name:", "name" },
        { DEVICE(",\"critical\":[{\"code\":\"fun\",\"proof\":\"x\"}]"),
          "/devices/0/critical/0:", "unknown code" },
        { DEVICE(",\"holders\":[{\"pid\":-1}]"), "/devices/0/holders/0/pid:", "from 0" },
        { DEVICE(",\"holders\":[{\"pid\":1,\"comm\":\"0123456789012345678901234\"}]"),
          "/devices/0/holders/0/comm:", "bytes" },
        { "{\"version\":1,\"devices\":[],\"groups\":[{}]}", "/groups/0:", "expected \"id\"" },
        { "{\"version\":1,\"devices\":[],\"groups\":[{\"id\":2},{\"id\":2}]}",
          "/groups/1:", "ascending" },
        { "{\"version\":1,\"devices\":[],\"groups\":[{\"id\":4294967296}]}",
          "/groups/0/id:", "from 0 to" },
        { "{\"version\":1,\"devices\":[],\"iommus\":[{\"registers\":{}}]}",
          "/iommus/0:", "expected \"name\"" },
        { "{\"version\":1,\"devices\":[],\"iommus\":[{\"name\":\"dmar0\",\"registers\":{\"x\":\"\"}"
          "}]}",
          "/iommus/0/registers:", "unknown key \"x\"" },
        { "{\"version\":1,\"devices\":[],\"nodes\":[{}]}", "/nodes/0:", "expected \"id\"" },
        { "{\"version\":1,\"devices\":[],\"nodes\":[{\"id\":1024}]}",
          "/nodes/0/id:", "from 0 to 1023" },
        { "{\"version\":1,\"devices\":[],\"nodes\":[{\"id\":1},{\"id\":0}]}",
          "/nodes/1:", "ascending" },
        { "{\"version\":1,\"devices\":[],\"nodes\":[{\"id\":0,\"cpus\":\"0-7\"}]}",
          "/nodes/0:", "unknown key \"cpus\"" },
        { "{\"version\":1,\"devices\":[],\"slots\":[{\"name\":\"3\"}]}",
          "/slots/0:", "expected \"name\" and" },
        { "{\"version\":1,\"devices\":[],\"vfio-aliases\":[{\"module\":\"m\"}]}",
          "/vfio-aliases/0:", "\"pattern\"" },
        { "{\"version\":1,\"devices\":[],\"drivers\":{\"a b\":{}}}",
          "/drivers/a b:", "name of a driver" },
        { "{\"version\":1,\"devices\":[],\"drivers\":{\"a\":{\"bind-msec\":-1}}}",
          "/drivers/a/bind-msec:", "from 0" },
        { "{\"version\":1,\"devices\":[],\"drivers\":{\"a\":{\"match\":[1]}}}",
          "/drivers/a/match/0:", "a string" },
        { "{\"version\":1,\"devices\":[],\"platform\":{\"iommufd\":\"yes\"}}",
          "/platform/iommufd:", "true or false" },
        { "{\"version\":1,\"devices\":[],\"platform\":{\"kernel\":\"\\u001b[2J\"}}",
          "/platform/kernel:", "control" },
        { "{\"version\":1,\"devices\":[],\"platform\":{\"ram\":1}}",
          "/platform:", "unknown key \"ram\"" },
};

START_TEST(wrong_is_refused) {
        _cleanup_error_ Error err = ERROR_INIT;
        Snapshot *s = NULL;
        const char *text = refused[_i].text;

        ck_assert_int_lt(snapshot_parse(text, strlen(text), &err, &s), 0);
        ck_assert_ptr_null(s);
        ck_assert_int_eq(err.code, ERROR_INVALID);
        ck_assert_msg(strncmp(err.message, refused[_i].place, strlen(refused[_i].place)) == 0 &&
                              strstr(err.message, refused[_i].says),
                      "%s\nsays: %s", text, err.message);
}
END_TEST

/* Each prefix of a good file is refused, and none reads past its end (the copy has no
 * terminator). */
START_TEST(truncated_is_refused) {
        static const char text[] =
                DEVICE(",\"attributes\":{\"vendor\":\"0x10de\",\"enable\":{\"error\":\"EIO\"}},"
                       "\"config\":{\"size\":64,\"ranges\":{\"0\":\"de10b825\"}},"
                       "\"children\":[{\"subsystem\":\"net\",\"name\":\"eth0\"}]");

        for (size_t n = 0; n < strlen(text); n++) {
                _cleanup_error_ Error err = ERROR_INIT;
                _cleanup_free_ char *copy = malloc(n + 1);
                Snapshot *s = NULL;

                ck_assert_ptr_nonnull(copy);
                memcpy(copy, text, n);
                copy[n] = '}';
                ck_assert_int_lt(snapshot_parse(copy, n, &err, &s), 0);
                ck_assert_int_eq(err.code, ERROR_INVALID);
        }
}
END_TEST

START_TEST(long_attribute_is_refused) {
        _cleanup_strbuf_ StrBuf b = {};
        _cleanup_error_ Error err = ERROR_INIT;
        Snapshot *s = NULL;

        strbuf_add(&b, "{\"version\":1,\"devices\":[{\"address\":\"0000:41:00.0\",\"attributes\":{"
                       "\"resource\":\"");
        for (unsigned i = 0; i <= PCI_ATTRIBUTE_TEXT_MAX; i++)
                strbuf_add(&b, "0");
        strbuf_add(&b, "\"}}]}");
        ck_assert_int_lt(snapshot_parse(b.data, b.size, &err, &s), 0);
        ck_assert_ptr_nonnull(
                strstr(err.message, "/devices/0/attributes/resource: the string has 4097 bytes"));
}
END_TEST

/* ---- what is written is read back ---- */

static void check_round_trip(const char *text, size_t n) {
        _cleanup_(snapshot_freep) Snapshot *first = NULL, *second = NULL;
        _cleanup_free_ char *once = NULL, *twice = NULL;
        _cleanup_error_ Error err = ERROR_INIT;

        ck_assert_msg(snapshot_parse(text, n, &err, &first) == 0, "%s", err.message);
        once = to_text(first, false);
        second = parse(once);
        twice = to_text(second, false);
        ck_assert_str_eq(once, twice);
        ck_assert_uint_eq(first->n_devices, second->n_devices);
        for (size_t i = 0; i < first->n_devices; i++) {
                const SnapshotDevice *a = first->devices + i, *b = second->devices + i;

                ck_assert(pci_address_equal(a->address, b->address));
                ck_assert(streq_ptr(a->path, b->path));
                for (unsigned k = 0; k < _PCI_ATTRIBUTE_MAX; k++) {
                        ck_assert(streq_ptr(a->attributes[k].text, b->attributes[k].text));
                        ck_assert_int_eq(a->attributes[k].error, b->attributes[k].error);
                }
                ck_assert(!a->config == !b->config);
                if (a->config)
                        ck_assert_mem_eq(a->config->valid, b->config->valid,
                                         sizeof(a->config->valid));
                if (a->config)
                        ck_assert_mem_eq(a->config->bytes, b->config->bytes,
                                         sizeof(a->config->bytes));
                ck_assert_uint_eq(a->use.n_children, b->use.n_children);
        }
}

START_TEST(bundled_round_trip) {
        size_t n;
        _cleanup_free_ char *text = bundled(&n);

        check_round_trip(text, n);
}
END_TEST

START_TEST(errors_and_holes_round_trip) {
        static const char text[] =
                "{\"version\":1,\"taken\":\"2026-11-22T19:00:00Z\",\"devices\":["
                "{\"address\":\"10000:e1:00.0\",\"config\":{\"error\":\"EPERM\"},"
                "\"links\":{\"driver\":{\"error\":\"EIO\"}}},"
                "{\"address\":\"0000:00:00.0\",\"attributes\":{\"vendor\":{\"error\":\"EIO\"},"
                "\"class\":\"\"},"
                "\"config\":{\"size\":256,\"ranges\":{\"0\":\"de10b825\",\"8\":\"00000003\","
                "\"252\":\"ffffffff\"}},"
                "\"holders\":[{\"pid\":812,\"uid\":107,\"comm\":\"qemu\",\"unit\":\"vm.scope\","
                "\"what\":\"/dev/vfio/12\"}],"
                "\"vpd-serial\":\"S1\"}],"
                "\"platform\":{\"kernel\":\"6.1\",\"iommufd\":false,\"vfio-group\":true,\"dma-"
                "entry-limit\":65535},"
                "\"drivers\":{\"nvme\":{\"bind-msec\":5,\"match\":[\"*:*:0108*\"]}}}";
        _cleanup_(snapshot_freep) Snapshot *s = parse(text);

        /* Sorted by address, domains as numbers. */
        ck_assert_uint_eq(s->devices[0].address.domain, 0);
        ck_assert_uint_eq(s->devices[1].address.domain, 0x10000);
        ck_assert_int_eq(s->devices[0].attributes[PCI_ATTRIBUTE_VENDOR].error, EIO);
        ck_assert_str_eq(s->devices[0].attributes[PCI_ATTRIBUTE_CLASS].text, "");
        ck_assert_int_eq(s->devices[1].config_error, EPERM);
        ck_assert_int_eq(s->devices[1].links[PCI_LINK_DRIVER].error, EIO);
        ck_assert_uint_eq(pci_config_u16(s->devices[0].config, 0), 0x10de);
        ck_assert(!pci_config_has(s->devices[0].config, 4, 4));
        ck_assert_int_eq(s->platform.vfio_group, 1);
        ck_assert_int_eq(s->platform.iommufd, 0);
        ck_assert_int_eq(s->platform.tracefs, -1);
        ck_assert_str_eq(s->drivers[0].match[0], "*:*:0108*");
        check_round_trip(text, strlen(text));
}
END_TEST

/* Text that JSON cannot carry comes back as an error, which decodes to the same "unreadable". */
START_TEST(bytes_that_are_not_text) {
        _cleanup_(snapshot_freep) Snapshot *s = snapshot_new(), *again = NULL;
        _cleanup_free_ char *text = NULL;
        SnapshotDevice *d;

        ck_assert_ptr_nonnull(s);
        d = snapshot_add_device(s, (PciAddress) { .bus = 3 });
        ck_assert_ptr_nonnull(d);
        d->attributes[PCI_ATTRIBUTE_VENDOR].text = strdup("0x\xff\xfe");
        text = to_text(s, false);
        again = parse(text);
        ck_assert_ptr_null(again->devices[0].attributes[PCI_ATTRIBUTE_VENDOR].text);
        ck_assert_int_eq(again->devices[0].attributes[PCI_ATTRIBUTE_VENDOR].error, EILSEQ);
}
END_TEST

START_TEST(added_in_any_order) {
        _cleanup_(snapshot_freep) Snapshot *s = snapshot_new();
        static const uint8_t buses[] = { 9, 3, 200, 4, 0, 17 };

        ck_assert_ptr_nonnull(s);
        for (size_t i = 0; i < ELEMENTSOF(buses); i++)
                ck_assert_ptr_nonnull(snapshot_add_device(s, (PciAddress) { .bus = buses[i] }));
        for (size_t i = 1; i < s->n_devices; i++)
                ck_assert_int_lt(
                        pci_address_compare(s->devices[i - 1].address, s->devices[i].address), 0);
}
END_TEST

/* ---- redaction ---- */

START_TEST(redaction) {
        static const char text[] =
                "{\"version\":1,\"platform\":{\"cmdline\":\"root=/dev/secret intel_iommu=on "
                "note=\\\"a b\\\" quiet\"},"
                "\"devices\":[{\"address\":\"0000:01:00.0\",\"attributes\":{\"label\":\"Rack 7\"},"
                "\"holders\":[{\"pid\":1,\"comm\":\"payroll\",\"unit\":\"vm-payroll.scope\","
                "\"what\":\"/dev/vfio/1\"}],"
                "\"vpd-serial\":\"XY77\"},"
                "{\"address\":\"0000:02:00.0\",\"vpd-serial\":\"XY77\"}]}";
        _cleanup_(snapshot_freep) Snapshot *s = parse(text), *redacted = NULL;
        static const char *const secrets[] = { "secret", "a b", "Rack", "payroll", "XY77" };
        _cleanup_free_ char *out = to_text(s, true);

        for (size_t i = 0; i < ELEMENTSOF(secrets); i++)
                ck_assert_msg(!strstr(out, secrets[i]), "%s in %s", secrets[i], out);
        ck_assert_ptr_nonnull(strstr(out, "root=redacted intel_iommu=on note=redacted quiet"));
        redacted = parse(out);
        /* Equal serials stay equal, and different from others. */
        ck_assert_str_eq(redacted->devices[0].vpd_serial, redacted->devices[1].vpd_serial);
}
END_TEST

START_TEST(redaction_of_serial_number_capability) {
        size_t n;
        _cleanup_free_ char *text = bundled(&n), *out = NULL;
        _cleanup_(snapshot_freep) Snapshot *s = parse(text), *redacted = NULL;
        unsigned seen = 0;

        out = to_text(s, true);
        redacted = parse(out);
        for (size_t i = 0; i < s->n_devices; i++) {
                PciConfigFacts a, b;

                if (!s->devices[i].config)
                        continue;
                pci_config_decode(s->devices[i].config, &a);
                pci_config_decode(redacted->devices[i].config, &b);
                ck_assert(a.has_dsn == b.has_dsn);
                if (!a.has_dsn)
                        continue;
                seen++;
                ck_assert_uint_ne(a.dsn, b.dsn);
                ck_assert_uint_lt(b.dsn, 0x10000);
        }
        ck_assert_uint_gt(seen, 10);
}
END_TEST

/* ---- the bundled machine ---- */

/* The decoder lacks nothing, and what it finds is what the machine was made of. */
START_TEST(bundled_decodes) {
        size_t n, n_gpus = 0, n_bridges = 0, n_pfs = 0, n_acs = 0, n_cxl = 0, n_rebar = 0;
        _cleanup_free_ char *text = bundled(&n);
        _cleanup_(snapshot_freep) Snapshot *s = parse(text);

        for (size_t i = 0; i < s->n_devices; i++) {
                const SnapshotDevice *d = s->devices + i;
                _cleanup_(pci_facts_done) PciFacts f = {};
                PciConfigFacts c;
                size_t offset, length;

                pci_facts_init(&f, d->address);
                for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++)
                        if (d->attributes[a].text)
                                ck_assert_msg(pci_facts_set_attribute(&f, a, d->attributes[a].text,
                                                                      0) == 0,
                                              "%s %s", PCI_ADDRESS_TEXT(d->address),
                                              pci_attribute_path(a));
                ck_assert_msg(!pci_config_want(d->config, &offset, &length),
                              "%s lacks %zu bytes at %zu", PCI_ADDRESS_TEXT(d->address), length,
                              offset);
                pci_config_decode(d->config, &c);
                ck_assert_msg(!c.truncated, "%s", PCI_ADDRESS_TEXT(d->address));
                n_gpus += pci_kind_from_class(f.class_code) == PCI_KIND_GPU;
                n_bridges += c.header_type == 1;
                n_pfs += c.has_sriov;
                n_acs += c.has_acs;
                n_cxl += c.is_cxl;
                n_rebar += c.n_rebar > 0;
                if (f.sriov_totalvfs > 0)
                        ck_assert_uint_eq(f.sriov_totalvfs, c.sriov_total_vfs);
        }
        ck_assert_uint_eq(n_gpus, 9); /* eight, and the BMC's display */
        ck_assert_uint_eq(n_pfs, 4);
        ck_assert_uint_eq(n_cxl, 1);
        ck_assert_uint_eq(n_rebar, 8);
        ck_assert_uint_gt(n_bridges, 30);
        ck_assert_uint_gt(n_acs, 20);
}
END_TEST

static void add(TCase *tcase) {
        ADD_TABLE(tcase, wrong_is_refused, refused);
        tcase_add_test(tcase, truncated_is_refused);
        tcase_add_test(tcase, long_attribute_is_refused);
        tcase_add_test(tcase, bundled_round_trip);
        tcase_add_test(tcase, errors_and_holes_round_trip);
        tcase_add_test(tcase, bytes_that_are_not_text);
        tcase_add_test(tcase, added_in_any_order);
        tcase_add_test(tcase, redaction);
        tcase_add_test(tcase, redaction_of_serial_number_capability);
        tcase_add_test(tcase, bundled_decodes);
}

UNIT_MAIN("snapshot", add);
