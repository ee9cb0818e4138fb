/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The only place that decides: a request or an event → verdict → plan → journal → host → model.
 * Knows neither bus nor kernel. Everything here is called from the event loop and returns at once;
 * answers come through EngineReply, which is never called from inside the request.
 */

#include "base/errors.h"
#include "host/host.h"
#include "model/model.h"

typedef struct Engine Engine;
typedef struct Store Store;

/* Who asks. The gate has authorised the method; what depends on the object is said here. */
typedef struct Caller {
        uid_t uid;
        const char *bus_name;  /* unique name; borrowed */
        const gid_t *gids;     /* all groups of the connection; borrowed */
        size_t n_gids;
        bool manager;          /* root, or a member of the administrators' group: names any owner */
        uint32_t pid;          /* 0 unknown */
        bool may_manage_others; /* root, group pciassignd, or polkit said so */
        bool may_force;
} Caller;

typedef struct EngineAnswer {
        const Assignment *assignment; /* may be NULL */
        const Job *job;               /* finished or, with no-wait, running */
        const char *json, *token;
        const HostFd *fds; /* borrowed: the receiver duplicates or sends them before it returns */
        size_t n_fds;
        HostApi api;                  /* what Open used */
        const HostOpenDevice *opened; /* of Open: what was asked for, with VF tokens */
        size_t n_opened;
} EngineAnswer;

/* Exactly one of answer and error is given. */
typedef void (*EngineReply)(const EngineAnswer *answer, const Error *error, void *userdata);

/* ---- upward reports; each may be NULL ---- */

typedef struct EngineObserver {
        void (*device_added)(const Device *d, void *userdata);
        void (*device_removed)(const Device *d, void *userdata); /* before it is unlinked */
        void (*device_changed)(const Device *d, void *userdata); /* something shown changed */
        void (*group_added)(const Group *g, void *userdata);
        void (*group_removed)(const Group *g, void *userdata);
        void (*group_changed)(const Group *g, void *userdata);
        void (*assignment_added)(const Assignment *a, void *userdata);
        void (*assignment_removed)(const Assignment *a, void *userdata);
        void (*assignment_changed)(const Assignment *a, void *userdata);
        /* A notice for the owner: signal `notice->kind` on the assignment. */
        void (*assignment_notice)(const Assignment *a, const AssignmentNotice *notice,
                                  void *userdata);
        void (*job_added)(const Job *j, void *userdata);
        void (*job_changed)(const Job *j, void *userdata);
        void (*job_removed)(const Job *j, void *userdata);
        void (*drift)(const Device *d, const char *what, const char *found, const char *expected,
                      void *userdata);
        void (*settled)(void *userdata);
        void (*policy_changed)(void *userdata); /* another generation is in force */
        /* The set of clients whose disconnection matters changed: watch or do not watch. */
        void (*watch_clients)(bool needed, void *userdata);
        /* A pidfd to keep over restarts (descriptor store), or to drop. name: assignment id. */
        void (*store_fd)(const char *name, int fd, void *userdata);
        void (*drop_fd)(const char *name, void *userdata);
} EngineObserver;

typedef struct EngineOptions {
        uint32_t step_timeout_msec;
        unsigned max_jobs, max_jobs_per_uid, max_assignments, max_assignments_per_uid;
        bool simulated;
        const char *config_root; /* "" or a directory in place of / for policy.d; NULL: no files.
                                    Borrowed */
} EngineOptions;

int engine_new(struct sd_event *event, Host *host, Store *store, const EngineOptions *options,
               Engine **ret);
Engine *engine_free(Engine *e);
DEFINE_CLEANUP(Engine *, engine_free);
void engine_observe(Engine *e, const EngineObserver *observer, void *userdata);

/* Load state, scan, reconcile with the journal. Synchronous; afterwards the objects can be
 * registered. */
int engine_start(Engine *e);
/* A descriptor that the service manager kept, by name. Takes it over. Before engine_start(). */
int engine_restore_fd(Engine *e, const char *name, int fd);
/* Starts the workers' reading of all devices; observer.settled follows. */
int engine_settle(Engine *e);
bool engine_is_settled(const Engine *e);
const Inventory *engine_inventory(const Engine *e);
Host *engine_host(const Engine *e);

/* ---- the policy ---- */

/* Reads the files again and swaps in what they say. On any error the policy in force stays, and err
 * has all problems in its details. The generation grows only where something changed.
 * Synchronous. */
int engine_reload_policy(Engine *e, Error *err);
uint64_t engine_policy_generation(const Engine *e);
/* Is this text (NULL: are the files as they are now) a policy? json: { valid, problems, rules,
 * changed }. malloc'd. */
int engine_check_policy(Engine *e, const char *text, size_t n, Error *err, char **ret_json);
/* What the policy in force says of every function, as if this caller asked for it alone, for that
 * owner, by the facts that are known: [{ address, …, rule, assignable, blockers, error, settings
 * }]. owner NULL: nobody in particular. NULL on OOM. */
Json *engine_verdicts_to_json(Engine *e, const Caller *c, const char *owner);
/* The rules in force with their settings, as JSON; malloc'd, NULL on OOM. */
char *engine_show_policy(Engine *e);

/* ---- requests: 0 (the reply will come), or negative errno with err filled and no reply ---- */

typedef enum GroupConsent {
        GROUP_ONLY_REQUESTED, /* refuse if the group has other members that need parking */
        GROUP_TAKE_ALL,       /* park them */
} GroupConsent;

typedef struct AssignOptions {
        Lifetime lifetime;      /* _LIFETIME_INVALID: the default, connection */
        const char *request_id; /* NULL none */
        char *const *labels;    /* "key=value" */
        GroupConsent group;
        bool force;
        const char *force_reason;
        uid_t uid; gid_t gid;   /* the VMM's; UID_UNSET */
        bool by_node;           /* own the group node by uid */
        int pidfd;              /* of the VMM, borrowed; -EBADF */
        uint64_t memlock;       /* bytes; 0 leave */
        uint64_t attach_within; /* µs; 0 none */
        const char *token;      /* compare-and-swap; NULL */
        const char *driver;     /* NULL: by aliases */
        bool no_wait;
} AssignOptions;
#define ASSIGN_OPTIONS_INIT                              \
        ((AssignOptions){ .lifetime = _LIFETIME_INVALID, \
                          .uid = UID_UNSET,              \
                          .gid = GID_UNSET,              \
                          .pidfd = -EBADF })

/* answer: assignment and job. devices: names as inventory_resolve() takes them. */
int engine_assign(Engine *e, const Caller *c, char *const *devices, const char *owner,
                  const AssignOptions *o, EngineReply reply, void *userdata, Error *err);
/* answer: json (plan_to_json plus verdicts and blockers) and token. A refusal is no error here: the
 * json says it. */
int engine_plan(Engine *e, const Caller *c, char *const *devices, const char *owner,
                const AssignOptions *o, EngineReply reply, void *userdata, Error *err);
/* answer: json, why this owner may or may not have it, per member of the group. */
int engine_explain(Engine *e, const Caller *c, const char *device, const char *owner,
                   EngineReply reply, void *userdata, Error *err);
int engine_release(Engine *e, const Caller *c, const char *assignment, bool no_wait,
                   EngineReply reply, void *userdata, Error *err);

/* ---- devices by what they are, not by name ---- */

#define WANTS_MAX 16U
#define WANT_ANY_NODE INT32_MIN

typedef enum WantKey { /* design §8's selectors; all texts */
        WANT_ADDRESS,   /* globs: "0000:41:*" */
        WANT_PORT_PATH,
        WANT_SLOT,
        WANT_LABEL,
        WANT_DRIVER,    /* glob of the bound driver; "none" */
        WANT_VENDOR,    /* hexadecimal */
        WANT_DEVICE,
        WANT_SUBSYSTEM_VENDOR,
        WANT_SUBSYSTEM_DEVICE,
        WANT_CLASS,     /* first digits of the class code, "03" or "0302" */
        WANT_KIND,      /* "gpu", "nic", …; "storage" covers nvme, "cxl" every CXL device */
        WANT_SRIOV,     /* "physical", "virtual" or "none" */
        WANT_CAPABILITIES, /* "flr+pasid" */
        WANT_DSN,       /* Device Serial Number, hexadecimal; dashes and colons are passed over */
        _WANT_KEY_MAX,
} WantKey;
const char *want_key_to_string(WantKey k); /* "address", "port-path" … */

typedef struct Want {
        uint32_t count;
        int32_t numa_node;               /* WANT_ANY_NODE */
        const char *text[_WANT_KEY_MAX]; /* NULL: anything will do; borrowed */
} Want;

typedef struct MatchOptions {
        const Want *wants;
        size_t n_wants;
        bool same_numa_node, same_switch; /* demanded; nearer is always better */
        bool clean_groups;                /* no group mate is taken along */
} MatchOptions;

/* As engine_assign() and engine_plan() of the best set that this caller may have now. Decided and
 * claimed in one iteration of the loop; when facts that are read afresh speak against the set, the
 * next best one is taken. A refusal's details, and the plan's "match", hold the ranking and what
 * was left out with its reason. */
int engine_assign_matching(Engine *e, const Caller *c, const MatchOptions *m, const char *owner,
                           const AssignOptions *o, EngineReply reply, void *userdata, Error *err);
int engine_plan_matching(Engine *e, const Caller *c, const MatchOptions *m, const char *owner,
                         const AssignOptions *o, EngineReply reply, void *userdata, Error *err);

typedef struct OpenOptions {
        HostApi api;
        bool device_fd;    /* device descriptors as well (group path) */
        int container_fd, iommufd; /* the caller's own, borrowed; -EBADF */
} OpenOptions;
/* answer: fds. devices: NULL or empty for all that were asked for. */
int engine_open(Engine *e, const Caller *c, const char *assignment, char *const *devices,
                const OpenOptions *o, EngineReply reply, void *userdata, Error *err);
int engine_attach(Engine *e, const Caller *c, const char *assignment, int pidfd, const char *uid,
                  uint64_t memlock, EngineReply reply, void *userdata, Error *err);
/* Facts of one device by topics (NULL: all). answer: json { topic: {…, "read-at": µs} }. */
#define FACTS_REFRESH 1U /* read again even if known */
#define FACTS_CONFIDENTIAL \
        2U              /* serial numbers and holders are told; else they are "not authorised" */
#define FACTS_SEARCH 4U /* the serial number in VPD is read and holders are looked for, both slow
                         * \ */
int engine_get_facts(Engine *e, const Caller *c, const char *device, char *const *topics,
                     unsigned flags, EngineReply reply, void *userdata, Error *err);
/* answer: fds[0]. */
int engine_snapshot(Engine *e, const Caller *c, bool redact, EngineReply reply, void *userdata,
                    Error *err);
int engine_doctor(Engine *e, const Caller *c, EngineReply reply, void *userdata,
                  Error *err); /* json */
int engine_reset_device(Engine *e, const Caller *c, const char *device, EngineReply reply,
                        void *userdata, Error *err);
/* Nobody gets it until engine_unquarantine_device(). A host driver keeps it; one that is assigned
 * stays its owner's, and does not go back to the host when it is released. */
int engine_quarantine_device(Engine *e, const Caller *c, const char *device, const char *reason,
                             EngineReply reply, void *userdata, Error *err);
/* Only after it was verified clean, by a plan of its own. */
int engine_unquarantine_device(Engine *e, const Caller *c, const char *device, EngineReply reply,
                               void *userdata, Error *err);
typedef struct VfsOptions {
        const char *driver; /* of the new ones: "none" (NULL), "host", or a name */
        bool no_wait;
} VfsOptions;
/* Answers when all of them are there, read, each in its group and with its driver. */
/* After drift: take what is there as what is meant, or end the claim on what is not ours any more;
 * or bring back what the assignment needs. ERROR_INVALID without drift. answer: job. */
int engine_adopt(Engine *e, const Caller *c, const char *device, EngineReply reply, void *userdata,
                 Error *err);
int engine_restore(Engine *e, const Caller *c, const char *device, EngineReply reply,
                   void *userdata, Error *err);
int engine_set_numvfs(Engine *e, const Caller *c, const char *device, uint32_t n,
                      const VfsOptions *o, EngineReply reply, void *userdata, Error *err);
/* Reads again; not the kernel's rescan of its buses. */
int engine_rescan(Engine *e, const Caller *c, EngineReply reply, void *userdata, Error *err);
int engine_cancel_job(Engine *e, const Caller *c, uint64_t job, Error *err); /* synchronous */
/* Notices of an assignment up to and including `number` are acknowledged; ERROR_INVALID for a stale
 * or future one. */
int engine_acknowledge(Engine *e, const Caller *c, const char *assignment, uint64_t number,
                       Error *err);

/* A client of the bus is gone: everything with lifetime connection of it is released. */
void engine_client_gone(Engine *e, const char *bus_name);
/* May this uid complete, open, attach, release it without manage-others? */
bool engine_caller_owns(const Assignment *a, uid_t uid);
