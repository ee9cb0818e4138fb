/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * model/surroundings: a root port with a switchless card of two functions and a VF below, and what
 * each topic says of them together; then trees that text alone can make, in which parents run in a
 * circle.
 */

#include "base/strutil.h"
#include "model/model.h"
#include "unit.h"

#define NONE "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
#define NONE6 NONE NONE NONE NONE NONE NONE

#define PORT "0000:00:01.0"
#define FIRST "0000:01:00.0"
#define SECOND "0000:01:00.1"
#define VF "0000:01:00.2"

static Inventory *inventory;

static PciAddress address(const char *s) {
        PciAddress a;

        ck_assert_int_eq(pci_address_parse(s, &a), 0);
        return a;
}

static Device *add(const char *where, const char *path, const char *class, const char *resource) {
        Device *d = NULL;
        PciFacts f;
        PciUse u = {};

        pci_facts_init(&f, address(where));
        ck_assert_int_eq(pci_facts_set_path(&f, path), 0);
        ck_assert_int_eq(pci_facts_set_attribute(&f, PCI_ATTRIBUTE_CLASS, class, 0), 0);
        ck_assert_int_eq(pci_facts_set_attribute(&f, PCI_ATTRIBUTE_RESOURCE, resource, 0), 0);
        ck_assert_int_eq(pci_facts_set_attribute(&f, PCI_ATTRIBUTE_RESET_METHOD, "flr bus", 0), 0);
        ck_assert_int_eq(pci_facts_set_link(&f, PCI_LINK_IOMMU_GROUP, "7", 0), 0);
        if (streq(where, VF))
                ck_assert_int_eq(pci_facts_set_link(&f, PCI_LINK_PHYSFN, FIRST, 0), 0);
        ck_assert_int_eq(inventory_put_device(inventory, &f, &u, 1, &d), 0);
        return d;
}

static void set_config(Device *d, uint16_t device_control, uint16_t bridge_control,
                       uint32_t root_command) {
        d->config = calloc(1, sizeof(PciConfigFacts));
        ck_assert_ptr_nonnull(d->config);
        *d->config = (PciConfigFacts) {
                .liveness = PCI_LIVENESS_ALIVE,
                .has_aer = true,
                .has_aer_root = root_command != 0,
                .aer_root_command = root_command,
                .device_control = device_control,
                .bridge_control = bridge_control,
                .header_type = bridge_control ? 1 : 0,
                .root_control = 0x10,
        };
}

static void setup(void) {
        ck_assert_int_eq(inventory_new(&inventory), 0);
        (void) add(PORT, "pci0000:00/" PORT, "0x060400",
                   NONE6 NONE NONE6 NONE
                   "0x00000000c0000000 0x00000000c00fffff 0x0000000000200200\n" /* 1 MiB */
                   "0x0000380000000000 0x00003800ffffffff 0x0000000000302200\n" /* 4 GiB */
                   NONE);
        (void) add(FIRST, "pci0000:00/" PORT "/" FIRST, "0x020000",
                   "0x00000000c0010000 0x00000000c001ffff 0x0000000000040200\n" /* 64 KiB */
                   "0x0000380010000000 0x000038001fffffff 0x000000000014220c\n" /* 256 MiB */
                   "0x0000000000000000 0x0000000000ffffff 0x0000000020040200\n" /* no room */
                   NONE NONE NONE NONE);
        (void) add(SECOND, "pci0000:00/" PORT "/" SECOND, "0x020000",
                   "0x00000000c0080000 0x00000000c008ffff 0x0000000000040200\n" NONE6);
        (void) add(VF, "pci0000:00/" PORT "/" VF, "0x020000", NONE6 NONE);
}

static void teardown(void) {
        inventory = inventory_free(inventory);
}

/* The topic of a function as text, or of one member of it. */
static char *topic(const char *where, PciTopic t, const char *key) {
        Device *d = inventory_device(inventory, address(where));
        _cleanup_json_ Json *j = NULL;
        char *text;
        PciView v;

        inventory_view(inventory, d, &v);
        j = pci_topic_to_json(&v, t);
        inventory_add_surroundings(inventory, d, t, j);
        text = json_to_text(key ? json_get(j, key) : j, false);
        ck_assert_msg(text, "%s %s", where, strempty(key));
        return text;
}

static void assert_topic(const char *where, PciTopic t, const char *key, const char *expected) {
        _cleanup_free_ char *text = topic(where, t, key);

        ck_assert_str_eq(text, expected);
}

START_TEST(members_are_listed_with_verdicts) {
        Device *d = inventory_device(inventory, address(SECOND));

        ck_assert_int_eq(strv_extend(&d->blockers, "host-critical"), 0);
        assert_topic(FIRST, PCI_TOPIC_IOMMU, "members",
                     "[{\"address\":\"0000:00:01.0\",\"kind\":\"bridge\",\"driver\":\"\",\"state\":"
                     "\"available\","
                     "\"blockers\":[]},"
                     "{\"address\":\"0000:01:00.0\",\"kind\":\"nic\",\"driver\":\"\",\"state\":"
                     "\"available\","
                     "\"blockers\":[]},"
                     "{\"address\":\"0000:01:00.1\",\"kind\":\"nic\",\"driver\":\"\",\"state\":"
                     "\"available\","
                     "\"blockers\":[\"host-critical\"]},"
                     "{\"address\":\"0000:01:00.2\",\"kind\":\"nic\",\"driver\":\"\",\"state\":"
                     "\"available\","
                     "\"blockers\":[]}]");
}
END_TEST

START_TEST(windows_tell_use_and_room) {
        assert_topic(PORT, PCI_TOPIC_RESOURCES, "windows",
                     "[{\"window\":\"io\",\"assigned\":false,\"size\":0,\"address\":\"n/a\"},"
                     "{\"window\":\"memory\",\"assigned\":true,\"size\":1048576,\"address\":"
                     "\"c0000000\","
                     "\"used\":131072,\"free\":917504,\"largest_free\":458752},"
                     "{\"window\":\"prefetchable\",\"assigned\":true,\"size\":4294967296,"
                     "\"address\":\"380000000000\",\"used\":268435456,\"free\":4026531840,"
                     "\"largest_free\":3758096384}]");
        assert_topic(PORT, PCI_TOPIC_RESOURCES, "unassigned_below",
                     "[{\"address\":\"0000:01:00.0\",\"resource\":2,\"size\":16777216}]");
        assert_topic(FIRST, PCI_TOPIC_RESOURCES, "windows", "\"n/a\"");
}
END_TEST

static const struct {
        uint16_t device, bridge;
        uint32_t root;
        const char *reaches;
} error_paths[] = {
        { 0x6, 0x2, 0x6, "true" },  { 0x6, 0x2, 0x7, "true" },  { 0x2, 0x2, 0x6, "false" },
        { 0x0, 0x2, 0x6, "false" }, { 0x6, 0x1, 0x6, "false" }, { 0x6, 0x2, 0x2, "false" },
};

START_TEST(errors_are_followed_to_the_root) {
        assert_topic(FIRST, PCI_TOPIC_ERRORS, "reaches_root", "\"not read yet\"");
        set_config(inventory_device(inventory, address(FIRST)), error_paths[_i].device, 0, 0);
        assert_topic(FIRST, PCI_TOPIC_ERRORS, "reaches_root", "\"not read yet\"");
        assert_topic(FIRST, PCI_TOPIC_ERRORS, "path",
                     "[{\"address\":\"0000:00:01.0\",\"aer\":\"not read yet\",\"reporting\":\"not "
                     "read yet\","
                     "\"serr_forwarding\":\"not read yet\"}]");
        set_config(inventory_device(inventory, address(PORT)), 0x6, error_paths[_i].bridge,
                   error_paths[_i].root);
        assert_topic(FIRST, PCI_TOPIC_ERRORS, "reaches_root", error_paths[_i].reaches);
        assert_topic(PORT, PCI_TOPIC_ERRORS, "reaches_root", "\"n/a\"");
}
END_TEST

START_TEST(resets_name_whom_they_also_hit) {
        assert_topic(FIRST, PCI_TOPIC_RESET, "also_hits",
                     "{\"flr\":[\"0000:01:00.2\"],\"bus\":[\"0000:01:00.1\",\"0000:01:00.2\"],"
                     "\"bridge\":[\"0000:01:00.1\",\"0000:01:00.2\"]}");
        assert_topic(SECOND, PCI_TOPIC_RESET, "also_hits",
                     "{\"flr\":[],\"bus\":[\"0000:01:00.0\",\"0000:01:00.2\"],"
                     "\"bridge\":[\"0000:01:00.0\",\"0000:01:00.2\"]}");
        assert_topic(PORT, PCI_TOPIC_RESET, "also_hits", "{\"flr\":[]}");
        assert_topic(FIRST, PCI_TOPIC_RESET, "root_port_rrs_visibility", "\"not read yet\"");
        set_config(inventory_device(inventory, address(PORT)), 0, 2, 0);
        assert_topic(FIRST, PCI_TOPIC_RESET, "root_port_rrs_visibility", "true");
        assert_topic(PORT, PCI_TOPIC_RESET, "root_port_rrs_visibility", "\"n/a\"");
}
END_TEST

START_TEST(the_port_above_and_functions_are_named) {
        _cleanup_free_ char *port = topic(FIRST, PCI_TOPIC_HOTPLUG, "upstream_port");

        ck_assert_ptr_nonnull(strstr(port, "\"address\":\"0000:00:01.0\""));
        ck_assert_ptr_nonnull(strstr(port, "\"surprise\":\"not read yet\""));
        assert_topic(PORT, PCI_TOPIC_HOTPLUG, "upstream_port", "\"n/a\"");
        assert_topic(FIRST, PCI_TOPIC_SRIOV, "virtual_functions", "[\"0000:01:00.2\"]");
        assert_topic(SECOND, PCI_TOPIC_SRIOV, "virtual_functions", "[]");
}
END_TEST

/* Two functions that say each that the other is above. */
START_TEST(circles_end) {
        (void) add("0000:02:00.0", "pci0000:00/0000:03:00.0/0000:02:00.0", "0x060400",
                   NONE6 NONE NONE6 NONE NONE6);
        (void) add("0000:03:00.0", "pci0000:00/0000:02:00.0/0000:03:00.0", "0x060400",
                   NONE6 NONE NONE6 NONE NONE6);
        for (PciTopic t = 0; t < _PCI_TOPIC_MAX; t++) {
                _cleanup_free_ char *text = topic("0000:02:00.0", t, NULL);

                ck_assert_uint_gt(strlen(text), 2);
        }
}
END_TEST

static void add_tests(TCase *tcase) {
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, members_are_listed_with_verdicts);
        tcase_add_test(tcase, windows_tell_use_and_room);
        ADD_TABLE(tcase, errors_are_followed_to_the_root, error_paths);
        tcase_add_test(tcase, resets_name_whom_they_also_hit);
        tcase_add_test(tcase, the_port_above_and_functions_are_named);
        tcase_add_test(tcase, circles_end);
}

UNIT_MAIN("surroundings", add_tests);
