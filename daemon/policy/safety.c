/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the host and the kernel demand before a function is given away. Each check looks at one
 * member of the group and adds its blockers; the list at the end is the whole of it. A check never
 * asks the kernel: facts that were not read are a blocker of their own, so that nothing is granted
 * on ignorance.
 *
 * Sources: drivers/vfio/pci/vfio_pci_core.c (a PF with VFs is not bound, only header type 0 is),
 * drivers/iommu/iommu.c (direct regions, ownership of groups), drivers/vfio/group.c (noiommu).
 */

#include "policy/safety.h"

#include <assert.h>

#include "pci/driver.h"

static void check_presence(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        if (m->gone || m->read_error == -ENODEV ||
            (m->config && m->config->liveness == PCI_LIVENESS_ABSENT))
                verdict_add(v, q, BLOCKER_GONE, i,
                            m->gone ? "removed" : "its config space reads all-ones");
        if (m->stuck || m->read_error == -ETIMEDOUT)
                verdict_add(v, q, BLOCKER_STUCK, i, m->stuck ? NULL : "reading it blocks");
        if (m->quarantine)
                verdict_add(v, q, BLOCKER_QUARANTINED, i, m->quarantine);
        if (m->dirty)
                verdict_add(v, q, BLOCKER_DIRTY, i, m->dirty);
}

static void check_knowledge(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        if (m->gone || m->stuck || m->read_error == -ENODEV || m->read_error == -ETIMEDOUT)
                return;
        if (m->read_error < 0)
                verdict_add(v, q, BLOCKER_UNREADABLE, i, strerrordesc_np(-m->read_error));
        else if (!m->use_read || !m->config)
                verdict_add(v, q, BLOCKER_UNREAD, i, NULL);
}

static void check_ownership(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        if (m->owner)
                verdict_add(v, q, BLOCKER_OWNED, i, m->owner);
        if (m->job)
                verdict_add(v, q, BLOCKER_JOB, i, m->job);
        if (m->vf_owner)
                verdict_add(v, q, BLOCKER_VF_OWNED, i, m->vf_owner);
        if (m->pf_owner)
                verdict_add(v, q, BLOCKER_PF_OWNED, i, m->pf_owner);
}

static BlockerCode critical_to_blocker(PciCriticalCode c) {
        switch (c) {
        case PCI_CRITICAL_MOUNT:
                return BLOCKER_MOUNT;
        case PCI_CRITICAL_SWAP:
                return BLOCKER_SWAP;
        case PCI_CRITICAL_REMOTE_STORAGE:
                return BLOCKER_REMOTE_STORAGE;
        case PCI_CRITICAL_ROUTE:
                return BLOCKER_ROUTE;
        case PCI_CRITICAL_CONSOLE:
                return BLOCKER_CONSOLE;
        case PCI_CRITICAL_CHIPSET:
                return BLOCKER_CHIPSET;
        case PCI_CRITICAL_MEMORY:
                return BLOCKER_MEMORY;
        case PCI_CRITICAL_STORAGE:
        case _PCI_CRITICAL_MAX:
                break;
        }
        return BLOCKER_STORAGE;
}

static void check_host(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        for (size_t k = 0; m->use && k < m->use->n_criticals; k++)
                verdict_add(v, q, critical_to_blocker(m->use->criticals[k].code), i,
                            m->use->criticals[k].proof);
}

static void check_holders(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        if (m->use && m->use->n_holders > 0)
                verdict_add(v, q, BLOCKER_BUSY, i, m->use->holders[0].comm);
}

static void check_sriov(const VerdictQuestion *q, size_t i, Verdict *v) {
        if (q->members[i].n_vfs > 0)
                verdict_add(v, q, BLOCKER_VFS_ENABLED, i, NULL);
}

static void check_isolation(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        if (!q->group) {
                verdict_add(v, q,
                            m->facts->waiting_for_supplier ? BLOCKER_WAITING_SUPPLIER
                                                           : BLOCKER_NO_GROUP,
                            i, NULL);
                return;
        }
        if (q->group->noiommu)
                verdict_add(v, q, BLOCKER_NOIOMMU, i, NULL);
        if (iommu_group_facts_has_direct(q->group))
                verdict_add(v, q, BLOCKER_DIRECT_REGION, i, NULL);
        if (!q->unsafe_interrupts &&
            (q->no_remapping || (q->iommu && iommu_facts_interrupt_remapping(q->iommu) == 0)))
                verdict_add(v, q, BLOCKER_NO_IR, i, q->iommu ? q->iommu->name : NULL);
}

static void check_binding(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        if (pci_kind_from_class(m->facts->class_code) == PCI_KIND_BRIDGE ||
            (m->config && m->config->header_type == 1))
                verdict_add(v, q, BLOCKER_NOT_ENDPOINT, i, NULL);
        else if (m->driver_known && !m->driver)
                verdict_add(v, q, BLOCKER_NO_DRIVER, i, NULL);
}

static void check_consent(const VerdictQuestion *q, size_t i, Verdict *v) {
        const VerdictMember *m = q->members + i;

        if (!m->requested && !q->take_all && verdict_needs_parking(m))
                verdict_add(v, q, BLOCKER_GROUP_MEMBER, i,
                            m->facts->driver[0] ? m->facts->driver : NULL);
}

void safety_evaluate(const VerdictQuestion *q, size_t i, Verdict *v) {
        static void (*const checks[])(const VerdictQuestion *q, size_t i, Verdict *v) = {
                check_presence, check_knowledge, check_ownership, check_host,    check_holders,
                check_sriov,    check_isolation, check_binding,   check_consent,
        };

        assert(q);
        assert(i < q->n_members);
        assert(v);
        for (size_t k = 0; k < ELEMENTSOF(checks); k++)
                checks[k](q, i, v);
}

void safety_evaluate_bridge(const VerdictQuestion *q, size_t i, Verdict *v) {
        const char *driver;

        assert(q);
        assert(i < q->n_members);
        assert(v);
        driver = q->members[i].facts->driver;
        if (driver[0] && !pci_driver_is_group_neutral(driver))
                verdict_add(v, q, BLOCKER_BRIDGE_DRIVER, i, driver);
}
