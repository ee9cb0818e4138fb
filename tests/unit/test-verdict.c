/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verdict over plain facts: each reason by itself, which of several names the error, what force
 * may pass over, and what a member of the group that was not asked for means.
 */

#include "base/strutil.h"
#include "policy/verdict.h"
#include "unit.h"

typedef struct Pair { /* a function that is asked for and its mate in the group */
        PciFacts facts[2];
        PciUse use[2];
        PciConfigFacts config[2];
        IommuGroupFacts group;
        IommuFacts iommu;
        IommuRegion region;
        VerdictMember members[2];
        VerdictQuestion question;
} Pair;

static void pair_init(Pair *p) {
        *p = (Pair) {};
        for (unsigned i = 0; i < 2; i++) {
                pci_facts_init(p->facts + i, (PciAddress) { .bus = 0x41, .function = (uint8_t) i });
                p->facts[i].class_code = 0x020000;
                (void) string_copy(p->facts[i].driver, sizeof(p->facts[i].driver), "e1000e");
                p->config[i].liveness = PCI_LIVENESS_ALIVE;
                p->members[i] = (VerdictMember) {
                        .facts = p->facts + i,
                        .use = p->use + i,
                        .config = p->config + i,
                        .use_read = true,
                        .requested = true,
                        .driver = "vfio-pci",
                        .driver_known = true,
                };
        }
        p->question =
                (VerdictQuestion) { .members = p->members, .n_members = 2, .group = &p->group };
}

static void pair_done(Pair *p) {
        for (unsigned i = 0; i < 2; i++) {
                pci_facts_done(p->facts + i);
                pci_use_done(p->use + i);
        }
}
#define _cleanup_pair_ _cleanup_(pair_done)

/* ---- one reason at a time ---- */

static void make_gone(Pair *p) {
        p->members[0].gone = true;
}

static void make_all_ones(Pair *p) {
        p->config[0].liveness = PCI_LIVENESS_ABSENT;
}

static void make_read_gone(Pair *p) {
        p->members[0].read_error = -ENODEV;
}

static void make_stuck(Pair *p) {
        p->members[0].stuck = true;
}

static void make_blocked(Pair *p) {
        p->members[0].read_error = -ETIMEDOUT;
}

static void make_dirty(Pair *p) {
        p->members[0].dirty = "vm-2";
}

static void make_quarantined(Pair *p) {
        p->members[0].quarantine = "dirty";
}

static void make_owned(Pair *p) {
        p->members[0].owner = "vm-2";
}

static void make_job(Pair *p) {
        p->members[0].job = "reset, job 7";
}

static void make_vf_owned(Pair *p) {
        p->members[0].vf_owner = "0000:41:10.0 is assigned to vm-2";
}

static void make_pf_owned(Pair *p) {
        p->members[0].pf_owner = "0000:40:00.0 is assigned to vm-2";
}

static void make_vfs(Pair *p) {
        p->members[0].n_vfs = 4;
}

static void critical(Pair *p, PciCriticalCode code) {
        ck_assert_int_eq(pci_use_add_critical(p->use, code, "0000:41:00.0 → vda → /"), 0);
}

static void make_mount(Pair *p) {
        critical(p, PCI_CRITICAL_MOUNT);
}

static void make_swap(Pair *p) {
        critical(p, PCI_CRITICAL_SWAP);
}

static void make_storage(Pair *p) {
        critical(p, PCI_CRITICAL_STORAGE);
}

static void make_remote(Pair *p) {
        critical(p, PCI_CRITICAL_REMOTE_STORAGE);
}

static void make_route(Pair *p) {
        critical(p, PCI_CRITICAL_ROUTE);
}

static void make_console(Pair *p) {
        critical(p, PCI_CRITICAL_CONSOLE);
}

static void make_chipset(Pair *p) {
        critical(p, PCI_CRITICAL_CHIPSET);
}

static void make_memory(Pair *p) {
        critical(p, PCI_CRITICAL_MEMORY);
}

static void make_held(Pair *p) {
        PciHolder h = { .pid = 812, .comm = "qemu", .what = "/dev/vfio/12" };

        ck_assert_int_eq(pci_use_add_holder(p->use, &h), 0);
}

static void make_no_group(Pair *p) {
        p->question.group = NULL;
        p->question.n_members = 1;
}

static void make_waiting(Pair *p) {
        make_no_group(p);
        p->facts[0].waiting_for_supplier = true;
}

static void make_noiommu(Pair *p) {
        p->group.noiommu = true;
}

static void make_direct(Pair *p) {
        p->region = (IommuRegion) { .end = 0xffff, .type = IOMMU_REGION_DIRECT };
        p->group.regions = &p->region;
        p->group.n_regions = 1;
        p->group.regions_state = FACT_PRESENT;
}

static void make_no_remapping(Pair *p) {
        iommu_facts_init(&p->iommu, "dmar0");
        ck_assert_int_eq(iommu_facts_set_register(&p->iommu, "cap", "0", 0), 0);
        ck_assert_int_eq(iommu_facts_set_register(&p->iommu, "ecap", "0", 0), 0);
        p->question.iommu = &p->iommu;
}

static void make_platform_without_remapping(Pair *p) {
        p->question.no_remapping = true;
}

static void make_bridge(Pair *p) {
        p->facts[0].class_code = 0x060400;
}

/* Passed over, were it not for its driver. */
static void make_bridge_driver(Pair *p) {
        p->members[0].requested = false;
        p->facts[0].class_code = 0x060400;
        (void) string_copy(p->facts[0].driver, sizeof p->facts[0].driver, "shpchp");
}

static void make_header1(Pair *p) {
        p->config[0].header_type = 1;
}

static void make_no_driver(Pair *p) {
        p->members[0].driver = NULL;
}

static void make_unread(Pair *p) {
        p->members[0].use_read = false;
}

static void make_unreadable(Pair *p) {
        p->members[0].read_error = -EIO;
}

static void make_mate(Pair *p) {
        p->members[0].requested = false;
}

static void make_idle_mate(Pair *p) {
        p->members[0].requested = false;
        p->facts[0].driver[0] = 0;
}

static const struct {
        void (*make)(Pair *p);
        BlockerCode code;
        ErrorCode error;
        bool forcible;
} reasons[] = {
        { make_gone, BLOCKER_GONE, ERROR_GONE, false },
        { make_all_ones, BLOCKER_GONE, ERROR_GONE, false },
        { make_read_gone, BLOCKER_GONE, ERROR_GONE, false },
        { make_stuck, BLOCKER_STUCK, ERROR_STUCK, false },
        { make_blocked, BLOCKER_STUCK, ERROR_STUCK, false },
        { make_dirty, BLOCKER_DIRTY, ERROR_NOT_SUPPORTED, true },
        { make_quarantined, BLOCKER_QUARANTINED, ERROR_QUARANTINED, false },
        { make_owned, BLOCKER_OWNED, ERROR_OWNED, false },
        { make_job, BLOCKER_JOB, ERROR_BUSY, false },
        { make_vf_owned, BLOCKER_VF_OWNED, ERROR_OWNED, false },
        { make_pf_owned, BLOCKER_PF_OWNED, ERROR_OWNED, false },
        { make_vfs, BLOCKER_VFS_ENABLED, ERROR_NOT_VIABLE, false },
        { make_mount, BLOCKER_MOUNT, ERROR_HOST_CRITICAL, true },
        { make_swap, BLOCKER_SWAP, ERROR_HOST_CRITICAL, true },
        { make_storage, BLOCKER_STORAGE, ERROR_HOST_CRITICAL, true },
        { make_remote, BLOCKER_REMOTE_STORAGE, ERROR_HOST_CRITICAL, true },
        { make_route, BLOCKER_ROUTE, ERROR_HOST_CRITICAL, true },
        { make_console, BLOCKER_CONSOLE, ERROR_HOST_CRITICAL, true },
        { make_chipset, BLOCKER_CHIPSET, ERROR_HOST_CRITICAL, true },
        { make_memory, BLOCKER_MEMORY, ERROR_HOST_CRITICAL, true },
        { make_held, BLOCKER_BUSY, ERROR_BUSY, false },
        { make_no_group, BLOCKER_NO_GROUP, ERROR_NOT_VIABLE, false },
        { make_waiting, BLOCKER_WAITING_SUPPLIER, ERROR_NOT_VIABLE, false },
        { make_noiommu, BLOCKER_NOIOMMU, ERROR_NOT_VIABLE, false },
        { make_direct, BLOCKER_DIRECT_REGION, ERROR_NOT_VIABLE, false },
        { make_no_remapping, BLOCKER_NO_IR, ERROR_NOT_VIABLE, false },
        { make_platform_without_remapping, BLOCKER_NO_IR, ERROR_NOT_VIABLE, false },
        { make_bridge, BLOCKER_NOT_ENDPOINT, ERROR_NOT_VIABLE, false },
        { make_bridge_driver, BLOCKER_BRIDGE_DRIVER, ERROR_NOT_VIABLE, false },
        { make_header1, BLOCKER_NOT_ENDPOINT, ERROR_NOT_VIABLE, false },
        { make_no_driver, BLOCKER_NO_DRIVER, ERROR_NOT_SUPPORTED, false },
        { make_unread, BLOCKER_UNREAD, ERROR_FAILED, false },
        { make_unreadable, BLOCKER_UNREADABLE, ERROR_FAILED, false },
        { make_mate, BLOCKER_GROUP_MEMBER, ERROR_NOT_VIABLE, false },
        { make_idle_mate, BLOCKER_GROUP_MEMBER, ERROR_NOT_VIABLE, false },
};

START_TEST(each_reason_by_itself) {
        _cleanup_pair_ Pair p;
        _cleanup_free_ char *text = NULL;
        Verdict v;

        pair_init(&p);
        verdict_evaluate(&p.question, 0, &v);
        ck_assert(verdict_is_clean(&v) && v.n_blockers == 0);
        reasons[_i].make(&p);
        verdict_evaluate(&p.question, 0, &v);
        ck_assert(!verdict_is_clean(&v));
        ck_assert_uint_eq(v.n_blockers, 1);
        ck_assert_int_eq(v.blockers[0].code, reasons[_i].code);
        ck_assert_int_eq(blocker_to_error(v.blockers[0].code), reasons[_i].error);
        ck_assert_uint_eq(v.blockers[0].about, 0);
        text = blocker_describe(&p.question, v.blockers);
        ck_assert_ptr_nonnull(strstr(text, "0000:41:00.0"));
        ck_assert_uint_gt(strlen(blocker_remedy(v.blockers[0].code)), 8);

        p.question.force = true; /* passed over and marked, or not at all */
        verdict_evaluate(&p.question, 0, &v);
        ck_assert(verdict_is_clean(&v) == reasons[_i].forcible);
        ck_assert(v.blockers[0].forced == reasons[_i].forcible);
}
END_TEST

/* ---- several ---- */

START_TEST(the_most_specific_names_the_error) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        make_direct(&p);
        make_vfs(&p);
        make_route(&p);
        make_mount(&p);
        make_owned(&p);
        verdict_evaluate(&p.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, 5);
        for (size_t i = 1; i < v.n_blockers; i++)
                ck_assert_int_le(v.blockers[i - 1].code, v.blockers[i].code);
        ck_assert_int_eq(verdict_first(&v)->code, BLOCKER_OWNED);
        p.members[0].owner = NULL;
        verdict_evaluate(&p.question, 0, &v);
        ck_assert_int_eq(verdict_first(&v)->code, BLOCKER_MOUNT);
        p.question.force = true; /* the host may be told to let go; the kernel may not */
        verdict_evaluate(&p.question, 0, &v);
        ck_assert_int_eq(verdict_first(&v)->code, BLOCKER_VFS_ENABLED);
}
END_TEST

START_TEST(too_many_are_never_clean) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        for (unsigned i = 0; i < 2 * VERDICT_BLOCKERS_MAX; i++) {
                _cleanup_free_ char *proof = strjoinf("0000:41:00.0 → vda%u → /mnt/%u", i, i);

                ck_assert_int_eq(pci_use_add_critical(p.use, PCI_CRITICAL_MOUNT, proof), 0);
        }
        p.question.force = true;
        verdict_evaluate(&p.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, VERDICT_BLOCKERS_MAX);
        ck_assert_uint_gt(v.n_dropped, 0);
        ck_assert(!verdict_is_clean(&v));
}
END_TEST

/* ---- roles ---- */

START_TEST(consent_parks_mates) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        p.members[1].requested = false;
        verdict_evaluate(&p.question, 1, &v);
        ck_assert_int_eq(v.role, VERDICT_ROLE_PARKED);
        ck_assert_int_eq(verdict_first(&v)->code, BLOCKER_GROUP_MEMBER);
        p.question.take_all = true;
        verdict_evaluate(&p.question, 1, &v);
        ck_assert(verdict_is_clean(&v));
        make_mount(&p); /* on the one that is asked for: the mate is not to blame */
        verdict_evaluate(&p.question, 1, &v);
        ck_assert(verdict_is_clean(&v));
        ck_assert_int_eq(pci_use_add_critical(p.use + 1, PCI_CRITICAL_ROUTE, "default"), 0);
        verdict_evaluate(&p.question, 1,
                         &v); /* a mate that the host needs is never parked by consent alone */
        ck_assert_int_eq(verdict_first(&v)->code, BLOCKER_ROUTE);
}
END_TEST

START_TEST(mates_on_vfio_need_no_consent) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        p.members[1].requested = false;
        (void) string_copy(p.facts[1].driver, sizeof(p.facts[1].driver), "vfio-pci");
        verdict_evaluate(&p.question, 1, &v);
        ck_assert(verdict_is_clean(&v));
        ck_assert(!verdict_needs_parking(p.members + 1));
}
END_TEST

START_TEST(bridges_are_ignored_as_the_kernel_does) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        p.members[1].requested = false;
        p.facts[1].class_code = 0x060400;
        (void) string_copy(p.facts[1].driver, sizeof(p.facts[1].driver), "pcieport");
        ck_assert_int_eq(pci_use_add_builtin_criticals(p.use + 1, p.facts + 1), 0);
        verdict_evaluate(&p.question, 1, &v);
        ck_assert_int_eq(v.role, VERDICT_ROLE_IGNORED);
        ck_assert(verdict_is_clean(&v));
}
END_TEST

START_TEST(chipset_mates_are_not_ignored) {
        static const uint32_t classes[] = { 0x060100, 0x0c0500, 0x088000 };
        _cleanup_pair_ Pair p;
        Verdict v;

        for (size_t i = 0; i < ELEMENTSOF(classes); i++) {
                pair_init(&p);
                p.members[1].requested = false;
                p.facts[1].class_code = classes[i];
                ck_assert_int_eq(pci_use_add_builtin_criticals(p.use + 1, p.facts + 1), 0);
                p.question.take_all = true;
                verdict_evaluate(&p.question, 1, &v);
                ck_assert_int_eq(v.role, VERDICT_ROLE_PARKED);
                ck_assert(verdict_first(&v) && verdict_first(&v)->code == BLOCKER_CHIPSET);
                if (i + 1 < ELEMENTSOF(classes))
                        pair_done(&p);
        }
}
END_TEST

START_TEST(unsafe_interrupts_are_the_administrators_word) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        make_no_remapping(&p);
        p.question.unsafe_interrupts = true;
        verdict_evaluate(&p.question, 0, &v);
        ck_assert(verdict_is_clean(&v));
}
END_TEST

/* Any pointer of a member but its facts may be NULL: not read, or none. */
START_TEST(what_was_not_read) {
        static const BlockerCode wanted[] = { BLOCKER_STORAGE, BLOCKER_UNREAD };
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        p.members[0].use = NULL;
        p.members[0].driver_known = false;
        p.members[0].driver = NULL;
        verdict_evaluate(&p.question, 0, &v);
        ck_assert(verdict_is_clean(&v));
        p.members[0].config = NULL;
        verdict_evaluate(&p.question, 0, &v);
        ck_assert_int_eq(verdict_first(&v)->code, BLOCKER_UNREAD);
        p.members[0].use = p.use;
        critical(&p, PCI_CRITICAL_STORAGE);
        p.use[0].criticals[0].code = 99; /* one that a newer scan may know */
        verdict_evaluate(&p.question, 0, &v);
        ck_assert_uint_eq(v.n_blockers, ELEMENTSOF(wanted));
        for (size_t i = 0; i < v.n_blockers; i++)
                ck_assert_int_eq(v.blockers[i].code, wanted[i]);
}
END_TEST

START_TEST(remapping_that_is_there) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        iommu_facts_init(&p.iommu, "dmar0");
        p.iommu.registers_state = FACT_PRESENT;
        p.iommu.ecap = 1U << 3;
        p.question.iommu = &p.iommu;
        verdict_evaluate(&p.question, 0, &v);
        ck_assert(verdict_is_clean(&v));
}
END_TEST

START_TEST(roles) {
        _cleanup_pair_ Pair p;
        Verdict v;

        pair_init(&p);
        ck_assert(!verdict_needs_parking(p.members)); /* it is asked for */
        p.facts[1].class_code = 0x060400;
        p.members[1].requested = false;
        (void) string_copy(p.facts[1].driver, sizeof(p.facts[1].driver), "pcieport");
        p.facts[0].class_code = 0x060400; /* and one without a driver */
        p.facts[0].driver[0] = 0;
        p.members[0].requested = false;
        verdict_evaluate(&p.question, 0, &v);
        ck_assert(verdict_is_clean(&v));
        verdict_evaluate(&p.question, 1, &v); /* a driver that the kernel lets share the group */
        ck_assert_int_eq(v.role, VERDICT_ROLE_IGNORED);
        ck_assert(verdict_is_clean(&v));
        ck_assert(!verdict_needs_parking(p.members + 1));
        ck_assert_str_eq(verdict_role_to_string(VERDICT_ROLE_PARKED), "parked");
        ck_assert_ptr_null(verdict_role_to_string(_VERDICT_ROLE_MAX));
        ck_assert_ptr_null(verdict_role_to_string(_VERDICT_ROLE_INVALID));
}
END_TEST

START_TEST(spelling_round_trip) {
        for (BlockerCode c = 0; c < _BLOCKER_MAX; c++)
                ck_assert_int_eq(blocker_from_string(blocker_to_string(c)), c);
        for (BlockerCode c = 0; c < _BLOCKER_MAX; c++) { /* and none without a sentence */
                _cleanup_pair_ Pair p;
                _cleanup_free_ char *text = NULL;

                pair_init(&p);
                text = blocker_describe(&p.question, &(Blocker) { .code = c });
                ck_assert_ptr_null(strstr(text, "null"));
        }
        ck_assert_int_eq(blocker_from_string("no such reason"), _BLOCKER_INVALID);
        ck_assert_int_eq(blocker_from_string(NULL), _BLOCKER_INVALID);
        ck_assert_ptr_null(blocker_to_string(_BLOCKER_MAX));
        ck_assert_ptr_null(blocker_to_string(_BLOCKER_INVALID));
        ck_assert_uint_le(_BLOCKER_MAX, 64); /* they are kept as a mask of 64 bits */
}
END_TEST

static void add_tests(TCase *tcase) {
        ADD_TABLE(tcase, each_reason_by_itself, reasons);
        tcase_add_test(tcase, the_most_specific_names_the_error);
        tcase_add_test(tcase, too_many_are_never_clean);
        tcase_add_test(tcase, consent_parks_mates);
        tcase_add_test(tcase, mates_on_vfio_need_no_consent);
        tcase_add_test(tcase, bridges_are_ignored_as_the_kernel_does);
        tcase_add_test(tcase, chipset_mates_are_not_ignored);
        tcase_add_test(tcase, unsafe_interrupts_are_the_administrators_word);
        tcase_add_test(tcase, what_was_not_read);
        tcase_add_test(tcase, remapping_that_is_there);
        tcase_add_test(tcase, roles);
        tcase_add_test(tcase, spelling_round_trip);
}

UNIT_MAIN("verdict", add_tests);
