/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pci/topics: recorded configuration spaces with golden output, the words for what is not known,
 * and the verdict on Shared Virtual Addressing. After a wanted change, `UPDATE_GOLDEN=1 make check`
 * writes the golden files anew.
 */

#include <fcntl.h>

#include "base/strutil.h"
#include "pci/iommu.h"
#include "pci/numa.h"
#include "pci/slot.h"

#include "pci-image.h"
#include "unit.h"

static const PciAddress some = { 0, 0x41, 0, 0 };

static char *data_path(const char *name, const char *suffix) {
        const char *top = getenv("top_srcdir");

        return strjoinf("%s/tests/data/config/%s%s", top ? top : ".", name, suffix);
}

static const char *const recorded[] = {
        "cxl-type3",       "e1000e",    "edu",               "lpc-bridge",
        "made-accelerator", "made-root-port", "made-vf",      "nvme-sriov",
        "root-port",       "switch-downstream", "switch-upstream", "virtio-net-ats",
};

/* What a file says beside the image, as sysfs would. */
typedef struct Recorded {
        PciFacts facts;
        PciConfigFacts config;
        PciLive live;
        PciUse use;
        IommuGroupFacts group;
        IommuFacts iommu;
        PciSlotFacts slot;
        NumaNode node_list[4];
        NumaNodes nodes;
        char variant[PCI_DRIVER_NAME_MAX];
        bool has_live, has_use, has_group, has_iommu, has_slot;
        char text[_PCI_ATTRIBUTE_MAX][2048], regions[512];
} Recorded;

/* The word at *p, which is cut off; *p is the rest of the line. */
static char *next_word(char **p) {
        char *word = *p;
        size_t n = strcspn(word, " ");

        *p = word + n + (word[n] == ' ');
        word[n] = 0;
        return word;
}

/* Lines of one attribute add up. */
static void take_attribute(Recorded *r, const char *path, const char *text) {
        PciAttribute a = pci_attribute_from_path(path);
        size_t n;

        ck_assert_msg(a >= 0, "%s", path);
        n = strlen(r->text[a]);
        (void) snprintf(r->text[a] + n, sizeof(r->text[a]) - n, "%s\n", text);
        (void) pci_facts_set_attribute(&r->facts, a, r->text[a], 0);
        ck_assert_int_eq(pci_live_set(&r->live, a, r->text[a], 0), 0);
        r->has_live = true;
}

static void take_use(Recorded *r, const char *key, char *p) {
        r->has_use = true;
        if (streq(key, "child")) {
                const char *subsystem = next_word(&p);

                ck_assert_int_eq(pci_use_add_child(&r->use, subsystem, p), 0);
        } else if (streq(key, "critical")) {
                PciCriticalCode code = pci_critical_from_string(next_word(&p));

                ck_assert_int_eq(pci_use_add_critical(&r->use, code, p), 0);
        } else {
                PciHolder h = {};

                h.pid = (uint32_t) strtoul(next_word(&p), NULL, 10);
                h.uid = (uint32_t) strtoul(next_word(&p), NULL, 10);
                (void) string_copy(h.comm, sizeof(h.comm), next_word(&p));
                (void) string_copy(h.unit, sizeof(h.unit), next_word(&p));
                (void) string_copy(h.what, sizeof(h.what), p);
                ck_assert_int_eq(pci_use_add_holder(&r->use, &h), 0);
        }
}

static void take_surroundings(Recorded *r, const char *key, char *p) {
        if (streq(key, "region")) {
                size_t n = strlen(r->regions);

                r->has_group = true;
                (void) snprintf(r->regions + n, sizeof(r->regions) - n, "%s\n", p);
                ck_assert_int_eq(iommu_group_facts_set_regions(&r->group, r->regions, 0), 0);
        } else if (streq(key, "domain"))
                ck_assert_int_eq(iommu_group_facts_set_type(&r->group, p, 0), 0);
        else if (streq(key, "ecap")) {
                r->has_iommu = true;
                iommu_facts_init(&r->iommu, r->facts.iommu);
                ck_assert_int_eq(iommu_facts_set_register(&r->iommu, key, p, 0), 0);
        } else if (streq(key, "node")) {
                NumaNode *n = r->node_list + r->nodes.n++;

                ck_assert_uint_lt(r->nodes.n, ELEMENTSOF(r->node_list) + 1);
                r->nodes.list = r->node_list;
                n->id = (uint32_t) strtoul(next_word(&p), NULL, 10);
                ck_assert_int_eq(numa_node_set_distances(n, p, 0), 0);
        } else if (streq(key, "candidate")) {
                (void) string_copy(r->variant, sizeof(r->variant), p);
        } else if (streq(key, "serial")) {
                r->live.vpd_serial = (PciText) { .state = FACT_PRESENT, .text = strdup(p) };
        } else {
                const char *name = next_word(&p), *address = next_word(&p);

                ck_assert_str_eq(key, "slot");
                r->has_slot = true;
                ck_assert_int_eq(pci_slot_facts_init(&r->slot, name, address), 0);
                ck_assert_int_eq(pci_slot_facts_set(&r->slot, "power", p, 0), 0);
        }
}

static void take_line(Recorded *r, char *line) {
        char *p = line, *key = next_word(&p);
        PciAddress a;

        if (streq(key, "address")) {
                ck_assert_int_eq(pci_address_parse(p, &a), 0);
                r->facts.address = a;
        } else if (streq(key, "path"))
                ck_assert_int_eq(pci_facts_set_path(&r->facts, p), 0);
        else if (streq(key, "attribute")) {
                const char *path = next_word(&p);

                take_attribute(r, path, p);
        } else if (streq(key, "link")) {
                PciLink l = pci_link_from_path(next_word(&p));

                ck_assert_int_eq(pci_facts_set_link(&r->facts, l, p, 0), 0);
        } else if (streq(key, "child") || streq(key, "holder") || streq(key, "critical"))
                take_use(r, key, p);
        else
                take_surroundings(r, key, p);
}

static void recorded_load(Recorded *r, const char *path) {
        _cleanup_fclose_ FILE *f = fopen(path, "re");
        char line[256];
        Image image;
        PciConfig c;

        *r = (Recorded) {};
        pci_facts_init(&r->facts, some);
        image_load(&image, path);
        (void) image_read(&image, &c);
        pci_config_decode(&c, &r->config);
        ck_assert(!r->config.truncated && !r->config.incomplete);
        while (fgets(line, sizeof(line), f)) {
                line[strcspn(line, "\n")] = 0;
                if (line[0] != '#' && line[strcspn(line, " :")] != ':' &&
                    strncmp(line, "size ", 5) != 0)
                        take_line(r, line);
        }
}

static void recorded_done(Recorded *r) {
        pci_facts_done(&r->facts);
        pci_live_done(&r->live);
        pci_use_done(&r->use);
        iommu_group_facts_done(&r->group);
        pci_slot_facts_done(&r->slot);
        for (size_t i = 0; i < r->nodes.n; i++)
                numa_node_done(r->node_list + i);
}

START_TEST(recorded_functions_give_the_golden_facts) {
        _cleanup_free_ char *path = data_path(recorded[_i], ".txt");
        _cleanup_free_ char *golden_path = data_path(recorded[_i], ".golden");
        _cleanup_free_ char *golden = NULL;
        _cleanup_strbuf_ StrBuf got = {};
        static Recorded r;
        PciView v = { .facts = &r.facts, .config = &r.config };

        recorded_load(&r, path);
        v.live = r.has_live ? &r.live : NULL;
        v.use = r.has_use ? &r.use : NULL;
        v.group = r.has_group ? &r.group : NULL;
        v.iommu = r.has_iommu ? &r.iommu : NULL;
        v.slot = r.has_slot ? &r.slot : NULL;
        v.nodes = r.nodes.n > 0 ? &r.nodes : NULL;
        v.variant = r.variant[0] ? r.variant : NULL;
        for (unsigned t = 0; t < _PCI_TOPIC_MAX; t++) {
                _cleanup_json_ Json *j = pci_topic_to_json(&v, (PciTopic) t);
                _cleanup_free_ char *text = json_to_text(j, false);

                ck_assert_ptr_nonnull(text);
                strbuf_addf(&got, "%s %s\n", pci_topic_to_string((PciTopic) t), text);
        }
        recorded_done(&r);
        if (getenv("UPDATE_GOLDEN"))
                ck_assert_int_eq(write_file_atomic_at(AT_FDCWD, golden_path, got.data, got.size,
                                                      0644, false),
                                 0);
        ck_assert_msg(read_file_at(AT_FDCWD, golden_path, 1U << 20, &golden, NULL) >= 0, "%s",
                      golden_path);
        ck_assert_str_eq(got.data, golden);
}
END_TEST

/* Calls `check` for every string, number and truth value in the tree. */
static void each_leaf(const Json *j, const char *key,
                      void (*check)(const char *key, const Json *leaf)) {
        void *iterator = NULL;
        const char *each;
        Json *value;

        switch (json_type(j)) {
        case JSON_OBJECT:
                while (json_next(j, &iterator, &each, &value))
                        each_leaf(value, each, check);
                return;
        case JSON_ARRAY:
                for (size_t i = 0; i < json_length(j); i++)
                        each_leaf(json_at(j, i), key, check);
                return;
        case JSON_NULL:
        case JSON_REAL:
                ck_abort_msg("%s: null or real", key);
        case JSON_BOOL:
        case JSON_INTEGER:
        case JSON_STRING:
                check(key, j);
        }
}

static void is_unread(const char *key, const Json *leaf) {
        if (streq(key, "address"))
                return;
        ck_assert_msg(json_type(leaf) == JSON_STRING && streq(json_string(leaf), "not read yet"),
                      "%s", key);
}

START_TEST(what_nobody_read_says_so) {
        PciFacts f;
        PciView v = { .facts = &f };

        pci_facts_init(&f, some);
        for (unsigned t = 0; t < _PCI_TOPIC_MAX; t++) {
                _cleanup_json_ Json *j = pci_topic_to_json(&v, (PciTopic) t);

                ck_assert_ptr_nonnull(j);
                ck_assert_uint_gt(json_length(j), 0);
                each_leaf(j, "", is_unread);
        }
}
END_TEST

static void is_not_unread(const char *key, const Json *leaf) {
        if (json_type(leaf) == JSON_STRING)
                ck_assert_msg(!streq(json_string(leaf), "not read yet"), "%s", key);
}

/* Everything looked for and nothing there; or everything failed. */
START_TEST(what_was_looked_for_is_told_from_what_was_not) {
        static const int errors[] = { ENOENT, EIO };

        for (size_t e = 0; e < ELEMENTSOF(errors); e++) {
                IommuGroupFacts group = {};
                IommuFacts iommu;
                PciConfigFacts config = { .liveness =
                                                  e == 0 ? PCI_LIVENESS_ALIVE : PCI_LIVENESS_ABSENT,
                                          .pcie_type = PCIE_NONE };
                PciLive live = {};
                PciUse use = {};
                NumaNodes nodes = {};
                PciFacts f;
                PciView v = { .facts = &f,
                              .config = &config,
                              .live = &live,
                              .use = &use,
                              .group = &group,
                              .iommu = &iommu,
                              .slot = &pci_slot_none,
                              .physfn = &f,
                              .physfn_config = &config,
                              .nodes = &nodes,
                              .variant = "vfio-pci" };

                pci_facts_init(&f, some);
                ck_assert_int_eq(pci_facts_set_path(&f, "pci0000:40/0000:41:00.0"), 0);
                iommu_facts_init(&iommu, "dmar0");
                for (unsigned a = 0; a < _PCI_ATTRIBUTE_MAX; a++) {
                        (void) pci_facts_set_attribute(&f, (PciAttribute) a, NULL, errors[e]);
                        (void) pci_live_set(&live, (PciAttribute) a, NULL, errors[e]);
                }
                for (unsigned l = 0; l < _PCI_LINK_MAX; l++)
                        (void) pci_facts_set_link(&f, (PciLink) l, NULL, errors[e]);
                live.vpd_serial.state = FACT_ABSENT;
                (void) iommu_group_facts_set_type(&group, NULL, errors[e]);
                (void) iommu_group_facts_set_regions(&group, NULL, errors[e]);
                (void) iommu_facts_set_register(&iommu, "ecap", NULL, errors[e]);
                for (unsigned t = 0; t < _PCI_TOPIC_MAX; t++) {
                        if (t == PCI_TOPIC_CLEANING)
                                continue; /* nothing of it is looked for in the function */
                        _cleanup_json_ Json *j = pci_topic_to_json(&v, (PciTopic) t);

                        each_leaf(j, "", is_not_unread);
                }
                pci_facts_done(&f);
                pci_live_done(&live);
        }
}
END_TEST

static const struct {
        const char *what;
        FactState group;
        int ecap;                     /* bits of DT, PRS, PASID as below; -1: not read */
        bool pasid, ats, pri, prefix; /* of the function */
        bool has_config, truncated;
        const char *possible;         /* "true", "false" or the word */
        const char *reasons, *notes;  /* codes */
} sva[] = {
        { "all there", FACT_PRESENT, 7, true, true, true, true, true, false, "true", "", "" },
        { "no IOMMU", FACT_ABSENT, 7, true, true, true, true, true, false, "false", "no-iommu",
          "" },
        { "IOMMU without PASID", FACT_PRESENT, 3, true, true, true, true, true, false, "false",
          "iommu-no-pasid", "" },
        { "IOMMU without ATS", FACT_PRESENT, 6, true, true, true, true, true, false, "false",
          "iommu-no-ats", "" },
        { "IOMMU without PRI", FACT_PRESENT, 5, true, true, true, true, true, false, "true", "",
          "iommu-no-pri" },
        { "no PRI", FACT_PRESENT, 7, true, true, false, true, true, false, "true", "", "no-pri" },
        { "no PASID", FACT_PRESENT, 7, false, true, true, true, true, false, "false", "no-pasid",
          "" },
        { "no ATS", FACT_PRESENT, 7, true, false, true, true, true, false, "false", "no-ats", "" },
        { "no prefixes", FACT_PRESENT, 7, true, true, true, false, true, false, "false",
          "no-tlp-prefix", "" },
        { "config not read", FACT_PRESENT, 7, true, true, true, true, false, false, "not read yet",
          "", "" },
        { "IOMMU not read", FACT_PRESENT, -1, true, true, true, true, true, false, "not read yet",
          "", "" },
        { "not read, yet impossible", FACT_PRESENT, 0, true, true, true, true, false, false,
          "false", "iommu-no-pasid iommu-no-ats", "iommu-no-pri" },
        { "holes in the list", FACT_PRESENT, 7, false, true, true, true, true, true, "unreadable",
          "", "" },
        { "plain device", FACT_PRESENT, 7, false, false, false, false, true, false, "false",
          "no-pasid no-ats no-tlp-prefix", "no-pri" },
};

static void assert_codes(const Json *list, const char *expected, const char *what) {
        _cleanup_strbuf_ StrBuf codes = {};

        for (size_t i = 0; i < json_length(list); i++)
                strbuf_addf(&codes, "%s%s", i > 0 ? " " : "",
                            json_string(json_get(json_at(list, i), "code")));
        ck_assert_msg(streq(strempty(codes.data), expected), "%s: %s", what, strempty(codes.data));
}

START_TEST(sva_says_whether_and_why_not) {
        PciConfigFacts config = { .liveness = PCI_LIVENESS_ALIVE };
        _cleanup_json_ Json *j = NULL;
        IommuFacts iommu;
        bool possible;
        PciFacts f;
        PciView v = { .facts = &f, .iommu = &iommu };
        const Json *verdict;

        pci_facts_init(&f, some);
        f.link_state[PCI_LINK_IOMMU_GROUP] = (uint8_t) sva[_i].group;
        iommu_facts_init(&iommu, "dmar0");
        if (sva[_i].ecap >= 0) {
                iommu.registers_state = FACT_PRESENT;
                iommu.ecap = (uint64_t) (sva[_i].ecap & 1) << 2 |
                             (uint64_t) (sva[_i].ecap >> 1 & 1) << 29 |
                             (uint64_t) (sva[_i].ecap >> 2) << 40;
        }
        /* bits of the table: 1 ATS, 2 PRI, 4 PASID */
        config.has_pasid = sva[_i].pasid;
        config.has_ats = sva[_i].ats;
        config.has_pri = sva[_i].pri;
        config.device_capabilities2 = sva[_i].prefix ? 0x00200000 : 0;
        config.truncated = sva[_i].truncated;
        v.config = sva[_i].has_config ? &config : NULL;
        j = pci_topic_to_json(&v, PCI_TOPIC_SVA);
        verdict = json_get(j, "possible");
        if (json_bool(verdict, &possible) >= 0)
                ck_assert_msg(streq(sva[_i].possible, possible ? "true" : "false"), "%s",
                              sva[_i].what);
        else
                ck_assert_str_eq(json_string(verdict), sva[_i].possible);
        assert_codes(json_get(j, "reasons"), sva[_i].reasons, sva[_i].what);
        assert_codes(json_get(j, "notes"), sva[_i].notes, sva[_i].what);
}
END_TEST

/* A VF shares PASID and PRI with its physical function and has ATS of its own. */
START_TEST(a_vf_is_judged_with_its_physical_function) {
        PciConfigFacts own = { .liveness = PCI_LIVENESS_ALIVE, .has_ats = true };
        PciConfigFacts shared = { .liveness = PCI_LIVENESS_ALIVE,
                                  .has_pasid = true,
                                  .has_pri = true,
                                  .pasid_capabilities = 20 << 8,
                                  .device_capabilities2 = 0x00200000 };
        IommuFacts iommu = { .kind = IOMMU_KIND_INTEL, .registers_state = FACT_PRESENT,
                             .ecap = UINT64_C(1) << 40 | UINT64_C(1) << 29 | 4 };
        PciFacts f, physfn;
        PciView v = { .facts = &f, .config = &own, .iommu = &iommu };
        bool possible = false;
        uint64_t width = 0;

        pci_facts_init(&f, some);
        pci_facts_init(&physfn, some);
        f.link_state[PCI_LINK_IOMMU_GROUP] = FACT_PRESENT;
        ck_assert_int_eq(pci_facts_set_link(&f, PCI_LINK_PHYSFN, "0000:41:00.0", 0), 0);
        for (unsigned with = 0; with < 2; with++) {
                _cleanup_json_ Json *j = NULL, *sriov = NULL;

                if (with) {
                        v.physfn_config = &shared;
                        v.physfn = &physfn;
                        (void) string_copy(physfn.driver, sizeof(physfn.driver), "vfio-pci");
                }
                j = pci_topic_to_json(&v, PCI_TOPIC_SVA);
                sriov = pci_topic_to_json(&v, PCI_TOPIC_SRIOV);
                ck_assert_str_eq(json_string(json_get(sriov, "role")), "vf");
                if (!with) {
                        ck_assert_str_eq(json_string(json_get(j, "possible")), "not read yet");
                        ck_assert_str_eq(json_string(json_get(sriov, "vf_token_needed")),
                                         "not read yet");
                        continue;
                }
                ck_assert_int_eq(json_get_bool(j, "possible", &possible), 1);
                ck_assert(possible);
                ck_assert_int_eq(json_get_u64(json_get(j, "pasid"), "width", 64, &width), 1);
                ck_assert_uint_eq(width, 20);
                ck_assert_int_eq(json_get_bool(sriov, "vf_token_needed", &possible), 1);
                ck_assert(possible);
        }
}
END_TEST

static const struct {
        const char *text, *json;
} counters[] = {
        { "RxErr 0\nBadTLP 12\nTOTAL_ERR_COR 12",
          "{\"RxErr\":0,\"BadTLP\":12,\"TOTAL_ERR_COR\":12}" },
        { "Receiver Error 3\n", "{\"Receiver Error\":3}" },
        { "dev_cor_errs_bit[3] 7", "{\"dev_cor_errs_bit[3]\":7}" },
        { "X 18446744073709551615", "{\"X\":18446744073709551615}" },
        { "X 18446744073709551616", "\"unreadable\"" },
        { "X -1", "\"unreadable\"" },
        { "X", "\"unreadable\"" },
        { "12", "\"unreadable\"" },
        { " 12", "\"unreadable\"" },
        { "X ", "\"unreadable\"" },
        { "X 1\n\nY 2", "\"unreadable\"" },
        { "", "\"unreadable\"" },
        { "a-name-that-is-longer-than-any-that-the-kernel-gives-to-it 1", "\"unreadable\"" },
};

START_TEST(counters_are_taken_as_they_come) {
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *text = NULL;
        PciLive live = {};
        PciFacts f;
        PciView v = { .facts = &f, .live = &live };

        pci_facts_init(&f, some);
        ck_assert_int_eq(pci_live_set(&live, PCI_ATTRIBUTE_AER_CORRECTABLE, counters[_i].text, 0),
                         0);
        j = pci_topic_to_json(&v, PCI_TOPIC_ERRORS);
        text = json_to_text(json_get(json_get(j, "counters"), "correctable"), false);
        ck_assert_str_eq(text, counters[_i].json);
        pci_live_done(&live);
}
END_TEST

START_TEST(bars_tell_how_they_may_be_mapped) {
        static const char text[] =
                "0x0000380000000000 0x00003803ffffffff 0x000000000014220c\n" /* 16 GiB, 64-bit
                                                                                prefetchable */
                "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                "0x0000000000000000 0x0000000001ffffff 0x0000000020140204\n" /* no room */
                "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                "0x0000000000000000 0x0000000000000000 0x0000000000000000\n"
                "0x0000000000003000 0x000000000000307f 0x0000000000040101\n"
                "0x00000000d0000000 0x00000000d007ffff 0x0000000000046200\n";
        static const char expected[] =
                "{\"bars\":[{\"bar\":0,\"type\":\"memory\",\"width\":64,\"prefetchable\":true,"
                "\"size\":17179869184,"
                "\"assigned\":true,\"address\":\"380000000000\",\"cacheability\":[\"uncached\","
                "\"write-combining\"],"
                "\"resizable\":[268435456,17179869184]},"
                "{\"bar\":2,\"type\":\"memory\",\"width\":64,\"prefetchable\":false,\"size\":"
                "33554432,"
                "\"assigned\":false,\"address\":\"n/"
                "a\",\"cacheability\":[\"uncached\"],\"resizable\":\"n/a\"},"
                "{\"bar\":5,\"type\":\"io\",\"width\":\"n/a\",\"prefetchable\":false,\"size\":128,"
                "\"assigned\":true,\"address\":\"3000\",\"cacheability\":\"n/"
                "a\",\"resizable\":\"unreadable\"}],"
                "\"rom\":{\"type\":\"memory\",\"width\":32,\"prefetchable\":true,\"size\":524288,"
                "\"assigned\":true,"
                "\"address\":\"d0000000\"},\"windows\":\"n/a\",\"secondary_bus\":\"not read yet\","
                "\"subordinate_bus\":\"not read yet\"}";
        _cleanup_json_ Json *j = NULL;
        _cleanup_free_ char *got = NULL;
        PciLive live = {};
        PciFacts f;
        PciView v = { .facts = &f, .live = &live };

        pci_facts_init(&f, some);
        ck_assert_int_eq(pci_facts_set_attribute(&f, PCI_ATTRIBUTE_RESOURCE, text, 0), 0);
        ck_assert_int_eq(pci_live_set(&live, PCI_ATTRIBUTE_RESIZE_0, "0000000000004100\n", 0), 0);
        ck_assert_int_eq(pci_live_set(&live, PCI_ATTRIBUTE_RESIZE_2, NULL, ENOENT), 0);
        ck_assert_int_eq(pci_live_set(&live, PCI_ATTRIBUTE_RESIZE_5, NULL, EIO), 0);
        j = pci_topic_to_json(&v, PCI_TOPIC_RESOURCES);
        got = json_to_text(j, false);
        ck_assert_str_eq(got, expected);
        pci_facts_done(&f);
        pci_live_done(&live);
}
END_TEST

START_TEST(topics_go_round) {
        for (unsigned t = 0; t < _PCI_TOPIC_MAX; t++)
                ck_assert_int_eq(pci_topic_from_string(pci_topic_to_string((PciTopic) t)), (int) t);
        ck_assert_int_eq(pci_topic_from_string("nothing"), _PCI_TOPIC_INVALID);
        ck_assert_int_eq(pci_topic_from_string(NULL), _PCI_TOPIC_INVALID);
        ck_assert_ptr_null(pci_topic_to_string(_PCI_TOPIC_INVALID));
}
END_TEST

static void add_tests(TCase *tcase) {
        ADD_TABLE(tcase, recorded_functions_give_the_golden_facts, recorded);
        tcase_add_test(tcase, what_nobody_read_says_so);
        tcase_add_test(tcase, what_was_looked_for_is_told_from_what_was_not);
        ADD_TABLE(tcase, sva_says_whether_and_why_not, sva);
        tcase_add_test(tcase, a_vf_is_judged_with_its_physical_function);
        ADD_TABLE(tcase, counters_are_taken_as_they_come, counters);
        tcase_add_test(tcase, bars_tell_how_they_may_be_mapped);
        tcase_add_test(tcase, topics_go_round);
}

UNIT_MAIN("pci-topics", add_tests);
