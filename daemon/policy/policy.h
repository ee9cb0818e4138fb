/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The administrator's rules: text → parse → check → compile → evaluate, each of which can be tested
 * alone. A Policy is immutable once compiled; evaluation neither fails nor allocates and looks only
 * at rules that can match. No I/O here: the files' bytes come from the caller.
 */

#include "base/jsonx.h"
#include "pci/facts.h"
#include "policy/policy-keys.h"
#include "policy/verdict.h"

typedef struct Policy Policy;

/* ---- values ---- */

/* What a key's value does on this host (design §8); the manual and `explain` say it. */
typedef enum PolicyForce {
        POLICY_ENFORCED,    /* holds as long as the assignment does */
        POLICY_REFUSES,     /* cannot be made so here: what differs is refused */
        POLICY_PRE_OPEN,    /* set before the owner gets the device, who can write it back */
        POLICY_REPORTED,    /* shown, not acted on */
        _POLICY_FORCE_MAX,
} PolicyForce;
const char *policy_force_to_string(PolicyForce f); /* "enforced" "refuses" "pre-open default" … */


/* On what a force depends. */
typedef struct PolicyHost {
        unsigned kernel; /* major << 16 | minor; 0: not known, taken for a recent one */
        bool locked;     /* /sys/kernel/security/lockdown says integrity or confidentiality */
} PolicyHost;
PolicyForce policy_key_force(PolicyKey k, const PolicyHost *host); /* NULL: none is known */

typedef enum PolicyAssign { POLICY_ASSIGN_ALLOW, POLICY_ASSIGN_DENY } PolicyAssign;
typedef enum PolicyGroup {
        POLICY_GROUP_ASK,      /* mates are parked if the caller consents */
        POLICY_GROUP_TAKE_ALL, /* the rule consents for the caller */
        POLICY_GROUP_REFUSE,   /* a group with mates that need parking is refused */
} PolicyGroup;
typedef enum PolicyArrival {
        POLICY_LEAVE,
        POLICY_HOLD,
        POLICY_CLAIM
} PolicyArrival; /* present, inserted */
typedef enum PolicyReturn { POLICY_RETURN_HOLD, POLICY_RETURN_REASSIGN } PolicyReturn;
typedef enum PolicySwitch { POLICY_SWITCH_LEAVE, POLICY_SWITCH_OFF, POLICY_SWITCH_ON } PolicySwitch;
typedef enum PolicyThen { POLICY_THEN_WAIT, POLICY_THEN_FORCE, POLICY_THEN_REFUSE } PolicyThen;

#define POLICY_RESET_METHODS_MAX 7U /* flr device_specific acpi pm bus slot cxl_bus … */
#define POLICY_HOOKS_MAX 16U
#define POLICY_HOOK_NAME_MAX 64U
#define POLICY_LIFETIME_ALL ((1U << 0) | (1U << 1) | (1U << 2)) /* bits by model's enum Lifetime */

/* Who may be named as owner by whom. A caller that is neither root nor a manager needs a grant
 * that names it. */
typedef struct PolicyOwner {
        const char *glob;      /* of owner strings */
        const uid_t *uids; size_t n_uids; /* empty, as are gids: root and managers only */
        const gid_t *gids; size_t n_gids;
} PolicyOwner;

typedef struct PolicyRate { /* errors.correctable.rate and count: at most n per window */
        uint32_t n;
        uint64_t window; /* µs; 0: no limit */
} PolicyRate;

typedef struct PolicyErrors {
        PolicyRate rate;
        unsigned then; /* bits of POLICY_ERROR_… */
} PolicyErrors;
#define POLICY_ERROR_RATE_LIMIT (1U << 0)
#define POLICY_ERROR_NOTIFY (1U << 1)
#define POLICY_ERROR_DEGRADE (1U << 2)
#define POLICY_ERROR_RECOVER (1U << 3)
#define POLICY_ERROR_QUARANTINE (1U << 4)

typedef struct PolicyBar {
        bool set;
        uint64_t size; /* bytes, a power of two; UINT64_MAX: "max"; 0: leave */
} PolicyBar;

typedef struct PolicyOwners {
        bool set; /* false: every owner string, by root and managers */
        const PolicyOwner *items; size_t n;
} PolicyOwners;

typedef struct PolicyReset {
        const char *methods[POLICY_RESET_METHODS_MAX]; size_t n; /* 0: the kernel's order */
        bool none; /* []: do not reset (said in the record, the device stays dirty) */
} PolicyReset;

typedef struct PolicyHooks {
        const char *names[POLICY_HOOKS_MAX]; size_t n; /* below hooks.d, in order */
} PolicyHooks;

/* Every value a rule has, whether it stands in the rule, comes from `defaults`, or is built in.
 * What is pointed to belongs to the Policy. */
typedef struct PolicySettings {
        PolicyAssign assign;
        PolicyOwners owners;
        uint32_t limit; /* requested functions per owner under this rule; UINT32_MAX: none */
        PolicyGroup group;
        const char *driver;      /* NULL: "auto", by the kernel's vfio_pci: aliases */
        unsigned lifetimes;      /* bit (1 << Lifetime) */
        PolicyBar bars[6];
        bool bars_unassigned_deny;
        const char *iommu_domain; /* sysfs type "DMA", "DMA-FQ", "identity"; NULL: leave */
        bool coherent_required, remapping_required;
        bool p2p_deny;           /* else same-owner */
        PolicySwitch no_snoop, d3cold;
        bool ats_deny;
        PolicyReset reset;
        uint64_t ready_timeout;  /* µs */
        PolicyHooks hooks;
        PolicyErrors correctable, non_fatal, fatal;
        uint64_t unplug_grace, surprise_grace, release_grace; /* µs */
        PolicyThen unplug_then;
        PolicyThen release_then; /* WAIT: for ever; FORCE: end the declared process or unit */
        PolicyReturn on_return;
        PolicyArrival present, inserted;
        uint32_t vfs;            /* virtual functions to be made; UINT32_MAX: none are */
} PolicySettings;

typedef struct PolicyRule {
        const char *name;    /* "" for defaults and what is built in */
        const char *file;    /* path as it was given; "built-in" */
        const char *pointer; /* JSON pointer of the rule: "/rules/0", "/defaults", "" */
        unsigned line; /* 1-based; 0: none */
        size_t index;  /* in the whole policy; SIZE_MAX for defaults */
        uint64_t set;  /* bit (1 << PolicyKey): stands in the rule itself */
        PolicySettings settings;
        /* Where the value of a key stands, as in `rule "gpu-pool" (FILE:LINE, /rules/0/ats)`; NULL:
         * built in, or no key that could refuse. */
        const char *origins[_POLICY_KEY_MAX];
} PolicyRule;

/* ---- load ---- */

typedef struct PolicyText { /* one file, in order of evaluation; borrowed during the call */
        const char *file;
        const char *text;
        size_t size;
        int error; /* it could not be read: negative errno, text NULL */
} PolicyText;

typedef struct PolicyProblem {
        char *file;
        unsigned line, column; /* 1-based; 0: unknown */
        char *pointer;         /* JSON pointer; "" for the whole file */
        char *found, *expected;
} PolicyProblem;
#define POLICY_PROBLEMS_MAX 64U

typedef struct PolicyProblems {
        PolicyProblem items[POLICY_PROBLEMS_MAX];
        size_t n, n_dropped;
} PolicyProblems;
void policy_problems_done(PolicyProblems *p);
/* "FILE:LINE: /rules/0/clean/reset/1: found \"flrr\", expected one of flr, …"; malloc'd. */
char *policy_problem_to_string(const PolicyProblem *p);
Json *policy_problems_to_json(const PolicyProblems *p);

#define POLICY_FILE_MAX (4U << 20) /* bytes of one file */
#define POLICY_FILES_MAX 256U
#define POLICY_RULES_MAX 8192U

/* Names to ids happen outside: 0, or a negative errno (-ESRCH: there is none). */
typedef struct PolicyOptions {
        int (*user)(const char *name, uid_t *ret, void *userdata); /* NULL: numbers only */
        int (*group)(const char *name, gid_t *ret, void *userdata);
        void *userdata;
} PolicyOptions;

/* 0 and a policy; -EBADMSG with problems (all that were found, not only the first); -ENOMEM. With
 * no text at all it is what is built in: everything safe is allowed to root and managers. */
int policy_compile(const PolicyText *texts, size_t n, const PolicyOptions *options,
                   PolicyProblems *problems, Policy **ret); /* options may be NULL */
Policy *policy_free(Policy *p);
DEFINE_CLEANUP(Policy *, policy_free);
/* Hash of all that was compiled, so that an unchanged reload is seen. */
uint64_t policy_hash(const Policy *p);
size_t policy_n_rules(const Policy *p);
const PolicyRule *policy_rule_at(const Policy *p, size_t i);
const PolicyRule *policy_defaults(const Policy *p);
/* The effective rules as JSON: `policy show`. */
Json *policy_to_json(const Policy *p);
/* The JSON Schema of a file, from the same table as the parser. */
Json *policy_schema(void);
/* The table of keys as JSON: key, type, values, default, force, note. */
Json *policy_keys(void);

/* ---- evaluate ---- */

/* One function as selectors see it; borrowed. */
typedef struct PolicySubject {
        const PciFacts *facts;
        const PciConfigFacts *config; /* NULL: capability selectors do not match */
        const PciConfigFacts *physfn_config; /* of a VF, whose PASID and PRI stand there; NULL */
        const char *port_path;        /* NULL: unknown */
        const char *slot, *label;     /* physical slot, firmware label; NULL none */
        const char *driver; /* host driver it has, or had before it was assigned; NULL none */
        const PolicyHost *host; /* for policy_explain(); NULL: not known */
} PolicySubject;

/* The first rule that matches, or defaults; never NULL. */
const PolicyRule *policy_match(const Policy *p, const PolicySubject *s);

typedef struct PolicyAsk { /* who asks for what; borrowed */
        uid_t uid;
        const gid_t *gids; size_t n_gids;
        bool manager;          /* root, or a member of the administrators' group */
        const char *owner;     /* NULL: nobody in particular; owner rules are passed over */
        unsigned lifetime;     /* bit (1 << Lifetime); 0: not said */
        const char *driver;    /* asked for; NULL: by rule */
        uint32_t n_owned;      /* functions that (uid, owner) has under this rule already */
        uint32_t n_asked;      /* more of them that this request names under this rule */
} PolicyAsk;

/* Adds what the rule says against member i (requested or parked) to v. */
void policy_evaluate(const PolicyRule *rule, const PolicyAsk *ask, const VerdictQuestion *q,
                     size_t i, Verdict *v);
/* The values that somebody wrote, in the rule or in defaults: { KEY: value }. */
Json *policy_rule_settings(const Policy *p, const PolicyRule *rule);
/* The walk over the rules for one device, for people: [{ rule, file, pointer, matched,
 * failed: { key, wanted, found } }], settings that hold with their origin and force. */
Json *policy_explain(const Policy *p, const PolicySubject *s, const PolicyAsk *ask);
