/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verdict of one member of a group: its role, and the blockers that safety (and later each
 * rule) finds, sorted by precedence. Bridges and ports are ignored as the kernel ignores them,
 * unless they are what was asked for. Nothing here allocates but the sentence for people; nothing
 * asks the kernel.
 */

#include "policy/verdict.h"

#include <assert.h>

#include "base/strutil.h"
#include "pci/driver.h"
#include "policy/safety.h"

static const char *const roles[_VERDICT_ROLE_MAX] = {
        [VERDICT_ROLE_REQUESTED] = "requested",
        [VERDICT_ROLE_PARKED] = "parked",
        [VERDICT_ROLE_IGNORED] = "ignored",
};

const char *verdict_role_to_string(VerdictRole r) {
        return (int) r >= 0 && r < _VERDICT_ROLE_MAX ? roles[r] : NULL;
}

VerdictRole verdict_role(const VerdictMember *m) {
        assert(m);
        assert(m->facts);
        if (m->requested)
                return VERDICT_ROLE_REQUESTED;
        if (pci_kind_from_class(m->facts->class_code) == PCI_KIND_BRIDGE)
                return VERDICT_ROLE_IGNORED;
        return VERDICT_ROLE_PARKED;
}

bool verdict_needs_parking(const VerdictMember *m) {
        assert(m);
        return verdict_role(m) == VERDICT_ROLE_PARKED && !pci_driver_is_vfio(m->facts->driver);
}

void verdict_add(Verdict *v, const VerdictQuestion *q, BlockerCode code, size_t about,
                 const char *proof) {
        size_t at = 0;

        assert(v);
        assert(q);
        if (v->n_blockers >= VERDICT_BLOCKERS_MAX) {
                v->n_dropped++;
                return;
        }
        while (at < v->n_blockers && v->blockers[at].code <= code)
                at++;
        memmove(v->blockers + at + 1, v->blockers + at, (v->n_blockers - at) * sizeof(Blocker));
        v->blockers[at] = (Blocker) {
                .code = code,
                .about = about,
                .proof = proof,
                .forced = q->force && blocker_is_forcible(code),
        };
        v->n_blockers++;
}

void verdict_evaluate(const VerdictQuestion *q, size_t i, Verdict *ret) {
        assert(q);
        assert(i < q->n_members);
        assert(ret);
        *ret = (Verdict) { .role = verdict_role(q->members + i) };
        if (ret->role != VERDICT_ROLE_IGNORED)
                safety_evaluate(q, i, ret);
        else
                safety_evaluate_bridge(q, i, ret);
}

const Blocker *verdict_first(const Verdict *v) {
        assert(v);
        for (size_t i = 0; i < v->n_blockers; i++)
                if (!v->blockers[i].forced)
                        return v->blockers + i;
        return NULL;
}

bool verdict_is_clean(const Verdict *v) {
        /* What did not fit is unknown: never clean, never to be forced. */
        return !verdict_first(v) && v->n_dropped == 0;
}

static const char *const reasons[_BLOCKER_MAX] = {
        [BLOCKER_GONE] = "is gone",
        [BLOCKER_STUCK] = "is stuck: a kernel operation on it has not come back",
        [BLOCKER_QUARANTINED] = "is quarantined",
        [BLOCKER_POLICY_UNREADABLE] = "cannot be given away: the policy cannot be read",
        [BLOCKER_POLICY_DENIED] = "is denied by a rule",
        [BLOCKER_POLICY_OWNER] = "is not granted to this owner by a rule",
        [BLOCKER_POLICY_LIMIT] = "is more than a rule lets this owner have",
        [BLOCKER_POLICY_LIFETIME] = "is not given for this lifetime by a rule",
        [BLOCKER_POLICY_DRIVER] = "has its driver chosen by a rule",
        [BLOCKER_POLICY_GROUP] = "is given by a rule only without other functions of its group",
        [BLOCKER_POLICY_IOMMU] = "cannot have the domain type that a rule asks for",
        [BLOCKER_POLICY_COHERENCY] =
                "is behind an IOMMU without the coherency that a rule asks for",
        [BLOCKER_POLICY_REMAPPING] = "lacks the interrupt remapping that a rule asks for",
        [BLOCKER_POLICY_P2P] = "can be reached by a function of its group, which a rule denies",
        [BLOCKER_POLICY_ATS] = "has ATS, which a rule denies",
        [BLOCKER_POLICY_BAR] = "cannot have the BARs that a rule asks for",
        [BLOCKER_POLICY_RESET] = "has none of the reset methods that a rule allows",
        [BLOCKER_OWNED] = "belongs to another owner",
        [BLOCKER_DIRTY] = "was not cleaned after its last owner",
        [BLOCKER_MOUNT] = "carries a mounted file system of the host",
        [BLOCKER_SWAP] = "carries swap of the host",
        [BLOCKER_STORAGE] = "carries storage that the host uses",
        [BLOCKER_REMOTE_STORAGE] = "carries the host's connection to remote storage",
        [BLOCKER_ROUTE] = "carries routes of the host",
        [BLOCKER_CONSOLE] = "is the host's console",
        [BLOCKER_CHIPSET] = "is part of the host's chipset",
        [BLOCKER_MEMORY] = "gives the host memory",
        [BLOCKER_BUSY] = "is held by a process",
        [BLOCKER_JOB] = "is being worked on",
        [BLOCKER_VF_OWNED] = "has a virtual function that is assigned",
        [BLOCKER_PF_OWNED] = "has a physical function that is assigned",
        [BLOCKER_VFS_ENABLED] = "has virtual functions enabled, so no VFIO driver binds to it",
        [BLOCKER_NO_GROUP] = "is in no IOMMU group",
        [BLOCKER_WAITING_SUPPLIER] = "waits for its IOMMU",
        [BLOCKER_NOIOMMU] = "is in a no-IOMMU group, which isolates nothing",
        [BLOCKER_DIRECT_REGION] = "has a direct-mapped reserved region in its IOMMU group",
        [BLOCKER_NO_IR] = "is behind an IOMMU without interrupt remapping",
        [BLOCKER_GROUP_MEMBER] = "shares the IOMMU group",
        [BLOCKER_BRIDGE_DRIVER] = "is a bridge whose driver makes the IOMMU group not viable",
        [BLOCKER_NOT_ENDPOINT] = "is a bridge",
        [BLOCKER_NO_DRIVER] = "has no VFIO driver on this host",
        [BLOCKER_UNREADABLE] = "could not be read",
        [BLOCKER_UNREAD] = "has not been read yet",
};

static const char *reason(const VerdictQuestion *q, const Blocker *b) {
        if (b->code == BLOCKER_GROUP_MEMBER && q->members[b->about].facts->driver[0])
                return "shares the IOMMU group and has a host driver";
        return reasons[b->code];
}

char *blocker_describe(const VerdictQuestion *q, const Blocker *b) {
        const char *address;

        assert(q);
        assert(b);
        assert(b->about < q->n_members);
        address = PCI_ADDRESS_TEXT(q->members[b->about].facts->address);
        if (b->proof)
                return strjoinf("%s %s (%s)", address, reason(q, b), b->proof);
        return strjoinf("%s %s", address, reason(q, b));
}
