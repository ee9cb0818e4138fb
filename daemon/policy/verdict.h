/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Plain facts in, verdict out: may this function, as a member of its IOMMU group, be given to this
 * owner now? The question borrows everything; evaluation neither fails nor allocates. Safety (what
 * the host and the kernel demand) is built in; rules of a policy add blockers of their own to the
 * same list.
 */

#include "pci/facts.h"
#include "pci/iommu.h"
#include "policy/blocker.h"

/* What becomes of a member when the group is given away. */
typedef enum VerdictRole {
        VERDICT_ROLE_REQUESTED, /* asked for */
        VERDICT_ROLE_PARKED,    /* goes to a VFIO driver with the group */
        VERDICT_ROLE_IGNORED,   /* PCI bridges and ports: the kernel ignores them */
        _VERDICT_ROLE_MAX,
        _VERDICT_ROLE_INVALID = -EINVAL,
} VerdictRole;
const char *verdict_role_to_string(VerdictRole r);

/* One member of the group. Any pointer but facts may be NULL: not read, or none. */
typedef struct VerdictMember {
        const PciFacts *facts;
        const PciUse *use;
        const PciConfigFacts *config;
        bool use_read;          /* use holds what a worker found, not only what the scan did */
        bool requested;
        bool stuck, gone;
        int read_error;         /* of the last read by a worker; 0 */
        const char *quarantine; /* reason */
        const char *dirty;      /* its last owner, where it may not go to another one; NULL */
        const char *owner;      /* other owner of the function or its group */
        const char *job;        /* what is being done to it */
        const char *driver;     /* VFIO driver chosen for it */
        bool driver_known;      /* driver was looked for: NULL means that there is none */
        unsigned n_vfs;         /* enabled virtual functions */
        const char *vf_owner;   /* "0000:41:00.2 is assigned to vm-1" */
        const char *pf_owner;   /* likewise, of the physical function */
} VerdictMember;

typedef struct VerdictQuestion {
        const VerdictMember *members; /* all of one group, or the one function without a group */
        size_t n_members;
        const IommuGroupFacts *group; /* NULL: none */
        const IommuFacts *iommu;      /* NULL: unknown */
        bool take_all;                /* consent to park members that were not asked for */
        bool force;                   /* forcible blockers are passed over, and marked */
        bool no_remapping;      /* the platform remaps no interrupts, whatever the IOMMU could */
        bool unsafe_interrupts; /* the administrator let VFIO do without interrupt remapping */
} VerdictQuestion;

typedef struct Blocker {
        BlockerCode code;
        size_t about;      /* the member whose facts are the reason */
        const char *proof; /* borrowed: what was found; NULL */
        bool forced;       /* passed over */
} Blocker;

#define VERDICT_BLOCKERS_MAX 32U

typedef struct Verdict {
        VerdictRole role;
        Blocker blockers[VERDICT_BLOCKERS_MAX]; /* by precedence */
        size_t n_blockers;
        size_t n_dropped; /* more than fitted */
} Verdict;

VerdictRole verdict_role(const VerdictMember *m);
/* Must this member be moved to a VFIO driver before the group can be given away? */
bool verdict_needs_parking(const VerdictMember *m);
/* The verdict of member i. With a clean Verdict (no blocker but forced ones) it may be had as far
 * as i is concerned; the group may be had when that holds for every member. */
void verdict_evaluate(const VerdictQuestion *q, size_t i, Verdict *ret);
/* Does it stand in the way? */
bool verdict_is_clean(const Verdict *v);
/* The blocker that names the error, the first not forced; NULL when clean. */
const Blocker *verdict_first(const Verdict *v);
/* One sentence: the thing, the reason. malloc'd, NULL on OOM. */
char *blocker_describe(const VerdictQuestion *q, const Blocker *b);
/* For safety.c and rules: adds in order of precedence. */
void verdict_add(Verdict *v, const VerdictQuestion *q, BlockerCode code, size_t about,
                 const char *proof);
