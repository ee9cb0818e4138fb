/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verdict of one member of a group: its role, and the blockers that safety (and later each rule) finds, sorted by
 * precedence. Bridges and ports are ignored as the kernel ignores them, unless they are what was asked for. Nothing
 * here allocates but the sentence for people; nothing asks the kernel.
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

void verdict_add(Verdict *v, const VerdictQuestion *q, BlockerCode code, size_t about, const char *proof) {
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

static const char *reason(const VerdictQuestion *q, const Blocker *b) {
        switch (b->code) {
        case BLOCKER_GONE:
                return "is gone";
        case BLOCKER_STUCK:
                return "is stuck: a kernel operation on it has not come back";
        case BLOCKER_QUARANTINED:
                return "is quarantined";
        case BLOCKER_OWNED:
                return "belongs to another owner";
        case BLOCKER_MOUNT:
                return "carries a mounted file system of the host";
        case BLOCKER_SWAP:
                return "carries swap of the host";
        case BLOCKER_STORAGE:
                return "carries storage that the host uses";
        case BLOCKER_REMOTE_STORAGE:
                return "carries the host's connection to remote storage";
        case BLOCKER_ROUTE:
                return "carries routes of the host";
        case BLOCKER_CONSOLE:
                return "is the host's console";
        case BLOCKER_BRIDGE:
                return "is part of the host's chipset";
        case BLOCKER_MEMORY:
                return "gives the host memory";
        case BLOCKER_BUSY:
                return "is held by a process";
        case BLOCKER_JOB:
                return "is being worked on";
        case BLOCKER_VF_OWNED:
                return "has a virtual function that is assigned";
        case BLOCKER_PF_OWNED:
                return "has a physical function that is assigned";
        case BLOCKER_VFS_ENABLED:
                return "has virtual functions enabled, so no VFIO driver binds to it";
        case BLOCKER_NO_GROUP:
                return "is in no IOMMU group";
        case BLOCKER_WAITING_SUPPLIER:
                return "waits for its IOMMU";
        case BLOCKER_NOIOMMU:
                return "is in a no-IOMMU group, which isolates nothing";
        case BLOCKER_DIRECT_REGION:
                return "has a direct-mapped reserved region in its IOMMU group";
        case BLOCKER_NO_IR:
                return "is behind an IOMMU without interrupt remapping";
        case BLOCKER_GROUP_MEMBER:
                return q->members[b->about].facts->driver[0] ? "shares the IOMMU group and has a host driver"
                                                             : "shares the IOMMU group";
        case BLOCKER_NOT_ENDPOINT:
                return "is a bridge";
        case BLOCKER_NO_DRIVER:
                return "has no VFIO driver on this host";
        case BLOCKER_UNREADABLE:
                return "could not be read";
        case BLOCKER_UNREAD:
                return "has not been read yet";
        case _BLOCKER_MAX:
        case _BLOCKER_INVALID:
                break;
        }
        return "may not be assigned";
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
