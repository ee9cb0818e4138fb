/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The one table of what a policy file may say: keys of a rule, selectors of its match. The parser,
 * the JSON Schema, `explain`, the manual and the tests are made from it.
 */

#include "base/cleanup.h"

typedef enum PolicyKey {
        POLICY_KEY_ASSIGN,
        POLICY_KEY_OWNERS,
        POLICY_KEY_LIMIT,
        POLICY_KEY_GROUP,
        POLICY_KEY_DRIVER,
        POLICY_KEY_LIFETIME,
        POLICY_KEY_BAR_0, /* bars.0.size */
        POLICY_KEY_BAR_1,
        POLICY_KEY_BAR_2,
        POLICY_KEY_BAR_3,
        POLICY_KEY_BAR_4,
        POLICY_KEY_BAR_5,
        POLICY_KEY_BARS_UNASSIGNED,
        POLICY_KEY_IOMMU_DOMAIN,
        POLICY_KEY_IOMMU_COHERENT,
        POLICY_KEY_IOMMU_REMAPPING,
        POLICY_KEY_P2P,
        POLICY_KEY_NO_SNOOP,
        POLICY_KEY_ATS,
        POLICY_KEY_D3COLD,
        POLICY_KEY_CLEAN_RESET,
        POLICY_KEY_CLEAN_READY,
        POLICY_KEY_CLEAN_HOOKS,
        POLICY_KEY_CORRECTABLE_RATE,
        POLICY_KEY_CORRECTABLE_THEN,
        POLICY_KEY_NON_FATAL_RATE,
        POLICY_KEY_NON_FATAL_THEN,
        POLICY_KEY_FATAL_RATE,
        POLICY_KEY_FATAL_THEN,
        POLICY_KEY_UNPLUG_GRACE,
        POLICY_KEY_UNPLUG_SURPRISE,
        POLICY_KEY_UNPLUG_THEN,
        POLICY_KEY_RELEASE_GRACE,
        POLICY_KEY_RELEASE_THEN,
        POLICY_KEY_RETURN,
        POLICY_KEY_PRESENT,
        POLICY_KEY_INSERTED,
        POLICY_KEY_VFS,
        _POLICY_KEY_MAX, /* at most 64: a rule has a bit for each */
        _POLICY_KEY_INVALID = -EINVAL,
} PolicyKey;

/* Objects that keys stand in. */
typedef enum PolicyObject {
        POLICY_OBJECT_RULE, /* the rule itself, or "defaults" */
        POLICY_OBJECT_BARS,
        POLICY_OBJECT_BAR_0,
        POLICY_OBJECT_BAR_1,
        POLICY_OBJECT_BAR_2,
        POLICY_OBJECT_BAR_3,
        POLICY_OBJECT_BAR_4,
        POLICY_OBJECT_BAR_5,
        POLICY_OBJECT_IOMMU,
        POLICY_OBJECT_CLEAN,
        POLICY_OBJECT_ERRORS,
        POLICY_OBJECT_CORRECTABLE,
        POLICY_OBJECT_NON_FATAL,
        POLICY_OBJECT_FATAL,
        POLICY_OBJECT_UNPLUG,
        POLICY_OBJECT_RELEASE,
        _POLICY_OBJECT_MAX,
} PolicyObject;

typedef enum PolicyType {
        POLICY_TYPE_CHOICE,   /* one of the words, kept as its number */
        POLICY_TYPE_WORD,     /* one of the words, kept as its text for the kernel */
        POLICY_TYPE_SET,      /* some of the words (one may stand alone), kept as bits */
        POLICY_TYPE_RESET,    /* "auto", or words in order of preference */
        POLICY_TYPE_OWNERS,
        POLICY_TYPE_LIMIT,    /* a number, or "none" */
        POLICY_TYPE_DRIVER,   /* "auto", or the name of a driver */
        POLICY_TYPE_SIZE,     /* "256M", "max", "leave" */
        POLICY_TYPE_DURATION, /* "30s" */
        POLICY_TYPE_HOOKS,    /* names of files */
        POLICY_TYPE_RATE,     /* "100/min", "none" */
        _POLICY_TYPE_MAX,
} PolicyType;

typedef struct PolicyWord { /* an array of them ends with a NULL text */
        const char *text;
        uint64_t value;
        const char *kernel; /* POLICY_TYPE_WORD: what is kept; NULL for none */
} PolicyWord;

typedef struct PolicyKeyInfo {
        const char *path;  /* "iommu.coherent" */
        const char *alias; /* another name in the same object; NULL */
        PolicyObject object;
        PolicyType type;
        const PolicyWord *words;
        size_t offset, size;  /* in PolicySettings */
        uint64_t min, max;    /* of a duration or size, a limit or the n of a rate */
        const char *standard; /* built-in value, as JSON */
        uint8_t force;        /* PolicyForce … */
        uint8_t force_old;    /* … on a kernel older than `since` … */
        uint8_t force_locked; /* … and where the kernel is locked down */
        unsigned since;       /* major << 16 | minor; 0: any */
        bool refuses;         /* can be the reason of a refusal: its origin is kept */
        const char *note;     /* what the force means, and where it ends */
        const char *text;     /* what the key does */
} PolicyKeyInfo;

const PolicyKeyInfo *policy_key_info(PolicyKey k);
const char *policy_key_name(PolicyKey k);     /* last component of its path */
const char *policy_key_to_string(PolicyKey k); /* its path; NULL for none */
PolicyKey policy_key_from_string(const char *path);

typedef struct PolicyObjectInfo {
        const char *name; /* "" for the rule */
        PolicyObject parent;
        const char *text;
} PolicyObjectInfo;
const PolicyObjectInfo *policy_object_info(PolicyObject o);

typedef enum PolicySelector { /* cheap ones first: this is the order of evaluation */
        POLICY_SELECTOR_VENDOR,
        POLICY_SELECTOR_DEVICE,
        POLICY_SELECTOR_CLASS,
        POLICY_SELECTOR_KIND,
        POLICY_SELECTOR_NUMA_NODE,
        POLICY_SELECTOR_SRIOV,
        POLICY_SELECTOR_SUBSYSTEM_VENDOR,
        POLICY_SELECTOR_SUBSYSTEM_DEVICE,
        POLICY_SELECTOR_NEEDS,
        POLICY_SELECTOR_DSN,
        POLICY_SELECTOR_ADDRESS,
        POLICY_SELECTOR_DRIVER,
        POLICY_SELECTOR_SLOT,
        POLICY_SELECTOR_LABEL,
        POLICY_SELECTOR_PORT_PATH,
        _POLICY_SELECTOR_MAX,
        _POLICY_SELECTOR_INVALID = -EINVAL,
} PolicySelector;

typedef enum PolicySelectorType {
        POLICY_SELECT_GLOB,
        POLICY_SELECT_ID,    /* four hexadecimal digits */
        POLICY_SELECT_CLASS, /* two, four or six of them: a prefix of the class code */
        POLICY_SELECT_DSN,
        POLICY_SELECT_NODE,  /* a number, or "none" */
        POLICY_SELECT_WORD,  /* one of the words */
        POLICY_SELECT_ALL,   /* words: an array means all of them, not one */
} PolicySelectorType;

typedef struct PolicySelectorInfo {
        const char *name;
        PolicySelectorType type;
        const PolicyWord *words;
        const char *example; /* as JSON */
        const char *text;
} PolicySelectorInfo;
const PolicySelectorInfo *policy_selector_info(PolicySelector s);

/* Bits of `needs`. */
enum {
        POLICY_NEED_PASID = 1U << 0,
        POLICY_NEED_PRI = 1U << 1,
        POLICY_NEED_ATS = 1U << 2,
        POLICY_NEED_FLR = 1U << 3,
        POLICY_NEED_ACS = 1U << 4,
        POLICY_NEED_AER = 1U << 5,
        POLICY_NEED_MSI = 1U << 6,
        POLICY_NEED_MSIX = 1U << 7,
        POLICY_NEED_SRIOV = 1U << 8,
        POLICY_NEED_REBAR = 1U << 9,
        POLICY_NEED_DSN = 1U << 10,
        POLICY_NEED_CXL = 1U << 11,
        POLICY_NEED_CCIX = 1U << 12,
};
/* Values of `kind` beyond PciKind's: what several kinds, or other facts, make. */
#define POLICY_KIND_CXL UINT64_C(1000)
/* Values of `sriov`. */
enum { POLICY_SRIOV_NONE, POLICY_SRIOV_PF, POLICY_SRIOV_VF };
