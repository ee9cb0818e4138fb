/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the daemon knows: devices, groups, assignments and jobs, in pure memory. No descriptor but
 * an owner's pidfd number, no bus, no clock (time is a parameter). Settled states are derived from
 * facts; only transitional ones are stored. The engine alone changes these; the bus reads them.
 */

#include <sys/types.h>

#include "base/clock.h"
#include "base/errors.h"
#include "base/hashmap.h"
#include "base/list.h"
#include "pci/facts.h"
#include "pci/iommu.h"
#include "pci/numa.h"
#include "pci/slot.h"
#include "plan/plan.h"

typedef struct Device Device;
typedef struct Group Group;
typedef struct Assignment Assignment;
typedef struct Job Job;

/* ---- devices ---- */

typedef enum DeviceState {
        DEVICE_HOST,        /* a host driver has it */
        DEVICE_AVAILABLE,   /* no driver */
        DEVICE_ASSIGNED,    /* member of an assignment */
        DEVICE_HELD,        /* on a VFIO driver, no owner */
        DEVICE_QUARANTINED,
        DEVICE_STUCK,       /* a kernel operation has not come back */
        DEVICE_GONE,
        _DEVICE_STATE_MAX,
        _DEVICE_STATE_INVALID = -EINVAL,
} DeviceState;
const char *device_state_to_string(DeviceState s);
DeviceState device_state_from_string(const char *s);

typedef enum DeviceHealth {
        HEALTH_HEALTHY,
        HEALTH_DEGRADED,
        HEALTH_RECOVERING,
        HEALTH_FAILED,
        _HEALTH_MAX,
        _HEALTH_INVALID = -EINVAL,
} DeviceHealth;
const char *device_health_to_string(DeviceHealth h);
DeviceHealth device_health_from_string(const char *s);

struct Device {
        PciFacts facts;
        PciUse use;             /* children; criticals as last read */
        PciConfigFacts *config; /* NULL until a worker read it */
        PciLive *live;
        char *vpd_serial;
        usec_t facts_at, use_at, config_at, live_at; /* boot time of reading; 0 never */
        int read_error;         /* of the last worker read; 0 */
        Group *group;           /* NULL without IOMMU */
        ListLink in_group;
        Assignment *assignment; /* NULL */
        Job *job;               /* that works on it, NULL */
        bool stuck, gone;
        char *quarantine;       /* reason; NULL: not quarantined */
        char *dirty_owner;      /* last owner, of whom it was not cleaned since; NULL: clean */
        uid_t dirty_uid;
        bool no_reset; /* what the kernel lists as its reset methods did not work */
        char **drift;  /* strv "driver: nvidia, expected vfio-pci": what a foreign hand changed */
        DeviceHealth health;
        bool inserted;   /* it came after the start */
        bool arrived;    /* what its rule says of a device that nobody asked for was looked at */
        char *held_from; /* a rule took it from the host: driver that had it, "" none; NULL: it did
                            not */
        char **blockers; /* strv of codes, "" list: assignable; kept by the engine */
        uint64_t generation; /* grows with each change of anything shown */
};
/* Derived: gone, stuck, quarantined and assigned by what is recorded here, the rest by the bound
 * driver. */
DeviceState device_get_state(const Device *d);
void device_view(const Device *d, PciView *ret); /* group and slot filled by the inventory */

/* ---- groups ---- */

struct Group {
        uint32_t id;
        IommuGroupFacts facts;
        ListLink devices; /* Device.in_group, sorted by address */
        size_t n_devices;
        Assignment *assignment;
        bool viable;      /* every member may be assigned together; kept by the engine */
};

/* ---- assignments ---- */

typedef enum AssignmentState {
        ASSIGNMENT_PREPARING,
        ASSIGNMENT_ACTIVE,
        ASSIGNMENT_RELEASING,
        ASSIGNMENT_CLEANING,
        ASSIGNMENT_RELEASED,
        ASSIGNMENT_RESERVED,
        ASSIGNMENT_RECOVERING,
        ASSIGNMENT_REMOVING,
        ASSIGNMENT_LOST,
        ASSIGNMENT_FAILED,
        _ASSIGNMENT_STATE_MAX,
        _ASSIGNMENT_STATE_INVALID = -EINVAL,
} AssignmentState;
const char *assignment_state_to_string(AssignmentState s);
AssignmentState assignment_state_from_string(const char *s);

typedef enum AssignmentEvent {
        ASSIGNMENT_EVENT_PREPARED = 100, /* the plan ran */
        ASSIGNMENT_EVENT_PREPARE_FAILED,
        ASSIGNMENT_EVENT_RELEASE, /* asked, or the owner died */
        ASSIGNMENT_EVENT_UNHELD,  /* restored to the host: cleaning is next */
        ASSIGNMENT_EVENT_CLEANED,
        ASSIGNMENT_EVENT_RESTORE_FAILED,
        ASSIGNMENT_EVENT_REST,   /* cleaned, and it stays: a persistent one whose VMM ended */
        ASSIGNMENT_EVENT_ATTACH, /* a new VMM for a reserved one */
        ASSIGNMENT_EVENT_DEVICE_LOST,
        _ASSIGNMENT_EVENT_MAX,
        _ASSIGNMENT_EVENT_INVALID = -EINVAL,
} AssignmentEvent;
const char *assignment_event_to_string(AssignmentEvent e);
AssignmentEvent assignment_event_from_string(const char *s);
/* The table, dbus/assignment-states.dot is its picture: next state, or _ASSIGNMENT_STATE_INVALID
 * for an impossible event. Released and failed ones end there; a failed one may be released
 * again. */
AssignmentState assignment_next(AssignmentState s, AssignmentEvent e);

typedef enum Lifetime {
        LIFETIME_CONNECTION,
        LIFETIME_PROCESS,
        LIFETIME_PERSISTENT,
        _LIFETIME_MAX,
        _LIFETIME_INVALID = -EINVAL,
} Lifetime;
const char *lifetime_to_string(Lifetime l);
Lifetime lifetime_from_string(const char *s);

#define VF_TOKEN_MAX 37U /* a UUID */
bool vf_token_is_valid(const char *s);
#define ASSIGNMENT_ID_MAX 33U /* 32 hex digits, 128 random bits */
#define OWNER_MAX 256U
#define LABELS_MAX 32U
#define LABEL_SIZE_MAX 256U
#define REQUEST_ID_MAX 128U
#define EVENTS_MAX 64U

typedef struct AssignmentNotice { /* an event kept for the owner */
        uint64_t number;
        usec_t at;
        char *kind;    /* signal name: "Lost", "RemovalRequested" … */
        char *device;
        char *details; /* JSON */
        bool acknowledged;
} AssignmentNotice;

struct Assignment {
        char id[ASSIGNMENT_ID_MAX];
        char *owner;
        uid_t creator_uid;
        uid_t user_uid;          /* UID_INVALID: none declared */
        gid_t user_gid;
        char **labels;           /* "key=value" */
        Lifetime lifetime;
        AssignmentState state;   /* one writer: assignment_set_state() */
        char *bus_name;          /* of a connection's client, for LIFETIME_CONNECTION */
        int pidfd;               /* of the VMM; -EBADF none; owned */
        uint32_t pid;            /* for showing and for re-verification after a restart */
        uint64_t pid_start;      /* start time, clock ticks since boot */
        usec_t attach_deadline;  /* attach-within; 0 none */
        char *request_id;
        uint64_t request_hash;   /* of the arguments */
        bool force;
        char *force_reason;
        bool by_node;            /* group node owned by user_uid */
        uint64_t memlock;
        char vf_token[VF_TOKEN_MAX]; /* of its physical functions and their VFs; "" none yet. A
                                        secret of its owner */
        Plan *plan;                  /* the plan that made it: devices and what was there before */
        usec_t created_at;           /* CLOCK_BOOTTIME */
        Job *job;                    /* running now */
        bool release_wanted;         /* came while a job was running */
        AssignmentNotice notices[EVENTS_MAX]; /* ring by number */
        uint64_t next_notice;                 /* numbers start at 1 */
        usec_t retry_at; /* a reservation that could not be prepared: not before; 0 */
        char **missing;  /* a reservation's hardware that is not there, or why it is not prepared */
        char *policy;    /* JSON: the rules and settings that it was made by; NULL not known */
        char **differs;  /* after release: what the kernel would not take back */
};
#define UID_UNSET ((uid_t) -1)
#define GID_UNSET ((gid_t) -1)
/* NULL when that number was never given or is no longer kept. */
const AssignmentNotice *assignment_get_notice(const Assignment *a, uint64_t number);
size_t assignment_count_pending(const Assignment *a);
/* Up to and including number. -ENOENT if it was never given. */
int assignment_acknowledge(Assignment *a, uint64_t number);
/* For showing: addresses asked for, without parked group mates. strv. */
int assignment_devices(const Assignment *a, bool with_parked, char ***ret);

/* ---- jobs ---- */

typedef enum JobState {
        JOB_QUEUED,  /* waits for facts, or for the group */
        JOB_RUNNING,
        JOB_WAITING, /* for somebody to let go of the device */
        JOB_DONE,
        JOB_FAILED,
        JOB_CANCELLED,
        JOB_STUCK,   /* the deadline passed, the worker has not come back */
        _JOB_STATE_MAX,
        _JOB_STATE_INVALID = -EINVAL,
} JobState;
const char *job_state_to_string(JobState s);
JobState job_state_from_string(const char *s);

typedef enum StepState {
        STEP_PENDING,
        STEP_RUNNING,
        STEP_DONE,
        STEP_FAILED,
        STEP_UNDONE,
        _STEP_STATE_MAX,
        _STEP_STATE_INVALID = -EINVAL,
} StepState;
const char *step_state_to_string(StepState s);
StepState step_state_from_string(const char *s);

struct Job {
        uint64_t id;
        PlanKind kind;
        JobState state;
        uid_t creator_uid;
        char assignment[ASSIGNMENT_ID_MAX]; /* "" if it works on none */
        Plan *plan;          /* NULL while facts are read */
        uint8_t *step_states; /* StepState, plan->n_steps of them */
        size_t current;      /* step; SIZE_MAX before the first */
        usec_t created_at, finished_at;
        Error result;        /* code ERROR_NONE: success */
        bool finished;
};
#define JOBS_KEPT_MAX 64U /* finished ones that stay readable */

/* ---- the inventory ---- */

typedef struct Inventory {
        Hashmap *devices;     /* pci_address_key → Device */
        Device **sorted;      /* by address */
        size_t n_devices, devices_allocated;
        Hashmap *groups;      /* id → Group */
        Hashmap *assignments; /* id → Assignment */
        Hashmap *jobs;        /* id → Job */
        IommuFacts *iommus; size_t n_iommus;
        PciSlotFacts *slots; size_t n_slots;
        NumaNodes nodes;
        uint64_t next_job;
        uint64_t generation;  /* of the whole */
} Inventory;

int inventory_new(Inventory **ret);
Inventory *inventory_free(Inventory *i);
DEFINE_CLEANUP(Inventory *, inventory_free);

Device *inventory_device(const Inventory *i, PciAddress a);
/* By full or short address, physical slot, label, or child's name ("nvme0", "ens3").
 * ERROR_NOT_FOUND, or ERROR_INVALID when it is ambiguous (the message names the candidates). */
int inventory_resolve(const Inventory *i, const char *name, Error *err, Device **ret);
Group *inventory_group(const Inventory *i, uint32_t id);
Assignment *inventory_assignment(const Inventory *i, const char *id);
Job *inventory_job(const Inventory *i, uint64_t id);
const PciSlotFacts *inventory_slot(const Inventory *i, PciAddress a);
const IommuFacts *inventory_iommu(const Inventory *i, const char *name);
void inventory_view(const Inventory *i, const Device *d, PciView *ret);
/* Adds to the object of pci_topic_to_json() what takes other functions to know: members of the
 * group, use of windows, the path of errors, what a reset also hits, the port above, virtual
 * functions. */
void inventory_add_surroundings(const Inventory *i, const Device *d, PciTopic topic, Json *j);

/* Functions that a reset of this one takes along: by its first method, the one that the kernel
 * would use. strv, sorted, maybe NULL; method is "" where it has none. 0, -ENOMEM. */
int inventory_reset_hits(const Inventory *i, const Device *d, char method[PCI_RESET_METHODS_MAX],
                         char ***ret);

/* Takes over facts and use (moved, the caller's are left empty; use NULL keeps the known one). Adds
 * or updates; links to its group (made if missing). Another identity at the same address forgets
 * what was read of the old one. 0, -ENOMEM. */
int inventory_put_device(Inventory *i, PciFacts *facts, PciUse *use, usec_t now, Device **ret);
/* Unlinks and frees; its group stays, maybe empty. */
void inventory_remove_device(Inventory *i, Device *d);
/* Puts the device in the group its facts name (made if missing). The old group stays, maybe empty.
 * 0, -ENOMEM. */
int inventory_relink(Inventory *i, Device *d);
/* Unlinks a group that has no member left, and frees it. Groups are never dropped behind the
 * engine's back: put and relink leave an emptied one where it is. */
void inventory_drop_group(Inventory *i, Group *g);

/* ---- assignments and jobs: made and changed by the engine alone ---- */

/* Preparing, no devices, descriptor and uids unset, next_notice 1; id left empty. */
int assignment_new(Assignment **ret);
Assignment *assignment_free(Assignment *a); /* closes the pidfd */
DEFINE_CLEANUP(Assignment *, assignment_free);
/* The one writer of Assignment.state. Asserts that the state is one. */
void assignment_set_state(Assignment *a, AssignmentState s);
/* Keeps a notice in the ring (the oldest falls out); strings are copied, device and details may be
 * NULL. ret is borrowed, valid until the next one. 0, -ENOMEM. */
int assignment_add_notice(Assignment *a, usec_t at, const char *kind, const char *device,
                          const char *details, const AssignmentNotice **ret);
/* Takes over; -EEXIST. */
int inventory_add_assignment(Inventory *i, Assignment *a);
/* The engine has taken it off its devices and groups; frees it. */
void inventory_remove_assignment(Inventory *i, Assignment *a);

/* Queued, no plan, current SIZE_MAX; the inventory gives the id. */
int job_new(PlanKind kind, uid_t creator_uid, Job **ret);
Job *job_free(Job *j);
DEFINE_CLEANUP(Job *, job_free);
/* Copies the plan; all steps are pending then. */
int job_set_plan(Job *j, const Plan *plan);
int inventory_add_job(Inventory *i, Job *j); /* takes over */
void inventory_remove_job(Inventory *i, Job *j); /* frees it */
