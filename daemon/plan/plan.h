/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A plan is data: typed steps with what undoes each and the fact it must show afterwards. It is
 * made by the engine, recorded in the journal before its first write, run by a worker (or the
 * simulated host), printed for people and hashed into a token. Pure; no I/O.
 */

#include "base/jsonx.h"
#include "pci/address.h"

typedef enum StepType {
        /* Device: nobody holds it and the host does not need it. A vfio-bound function: its group
         * node goes to root and a trial open succeeds; cdevs by the best evidence. Otherwise: no
         * critical use, no exclusive open. timeout: how long to wait for holders to go. Undo:
         * none. */
        STEP_PROVE_UNHELD,
        STEP_UNBIND,       /* device from driver `value`; expects no driver. Undo: probe, expecting
                              `value` */
        STEP_SET_OVERRIDE, /* value: driver or "" for none; expects `undo` before. Undo: write
                            * `undo` ("" for none). Another one than either is a foreign hand's and
                            * never overwritten: an assignment fails, a release and an undo leave
                            * it */
        STEP_PROBE, /* drivers_probe; expects driver `expect` ("" : whatever binds). Undo: unbind
                       from it */
        STEP_SET_NODE_OWNER, /* group node (and cdevs of its devices): value "UID:GID". Undo:
                              * "0:0" */
        STEP_TRIAL_ATTACH,   /* groups of the plan: open, one container, set IOMMU, close; no device
                                is opened */
        STEP_RESET, /* value: method or "" for the kernel's order. Refused while anybody holds the
                       device */
        STEP_AWAIT_READY, /* config space answers, RRS-aware, within timeout */
        STEP_SET_NUMVFS,  /* value: number. Undo: `undo` */
        STEP_VERIFY, /* identity, driver = expect, same group as planned. Of a release: tells the
                      * override that it leaves, as a device's facts */
        /* Device: value of power/control, "on" keeps it out of D3. Undo: `undo`. A kernel without
         * runtime power management has no such file: nothing to do. */
        STEP_HOLD_POWER,
        STEP_SET_RESET_METHOD, /* value: methods in order, "flr bus". Undo: `undo` */
        /* Keeps what configuration space shows now as the reference of this device. Undo: none; a
         * reference that is there says nothing by itself. */
        STEP_TAKE_REFERENCE,
        STEP_COMPARE_CONFIG, /* with the reference and with the kernel's resources */
        /* Runs the administrator's program `expect` below hooks.d with `value`, a JSON object, on
         * its standard input. timeout: its time limit. Undo: none. */
        STEP_HOOK,
        /* A file of the state directory, synced: value is its name, expect its text afterwards,
         * undo its text before (NULL: nothing is undone). "" is: no such file. On no device; takes
         * no lock of its group. */
        STEP_COMMIT_STATE,
        STEP_SET_AUTOPROBE, /* physical function: value of sriov_drivers_autoprobe. Undo: `undo` */
        STEP_AWAIT_VFS,     /* physical function: `value` virtual functions are there, each in its
                               group. Undo: none */
        /* Settings of a device. Undo: `undo`. In a release what the kernel does not take back is
         * told as evidence, and the release goes on. */
        STEP_SET_D3COLD,  /* value of d3cold_allowed, "0" or "1" */
        STEP_SET_NOSNOOP, /* value "0" or "1": Device Control bit 11, Enable No Snoop; the device is
                             kept powered */
        STEP_SET_DOMAIN_TYPE, /* value of the device's group's `type`: "DMA" "DMA-FQ" "identity" */
        STEP_RESIZE_BAR, /* value "BAR=SIZE": its size is 2^(20+SIZE) bytes; no driver may be
                          * bound */
        _STEP_TYPE_MAX,
        _STEP_TYPE_INVALID = -EINVAL,
} StepType;
const char *step_type_to_string(StepType t); /* "prove-unheld" … */
StepType step_type_from_string(const char *s);
/* remove, rescan, slot power, VF count: one on the whole host at a time. */
bool step_type_is_removal(StepType t);
/* Of a device, to be taken back by its release. */
bool step_type_is_setting(StepType t);
/* What STEP_RESIZE_BAR writes. -EINVAL. */
int step_parse_resize(const char *value, unsigned *ret_bar, unsigned *ret_size);

typedef struct Step {
        StepType type;
        PciAddress device; /* for steps on a device; else all zero and has_device false */
        bool has_device;
        uint32_t group;    /* IOMMU group, for every step */
        char *value;       /* what is written; NULL where the step writes nothing */
        char *undo;        /* what undoing writes; NULL: nothing to undo */
        char *expect;      /* the fact that must show afterwards; NULL: none */
        uint32_t timeout_msec; /* deadline of the step itself */
} Step;

typedef enum PlanKind {
        PLAN_ASSIGN,
        PLAN_RELEASE,
        PLAN_RESET,
        PLAN_SET_NUMVFS,
        PLAN_CLEAN, /* a dirty or quarantined device is verified clean */
        PLAN_RECORD, /* commit-state alone: no device is touched */
        PLAN_HOLD,  /* a device that nobody asked for is taken from the host by rule */
        _PLAN_KIND_MAX,
        _PLAN_KIND_INVALID = -EINVAL,
} PlanKind;
const char *plan_kind_to_string(PlanKind k);

/* A function that the plan touches, with the identity that is checked before each write. */
typedef struct PlanDevice {
        PciAddress address;
        uint32_t group;
        uint16_t vendor, device, subsystem_vendor, subsystem_device;
        bool requested;   /* named by the caller; else parked with the group */
        char *driver;     /* the VFIO driver it is (to be) bound to */
        char *driver_before;   /* "" none; what release restores */
        char *override_before; /* "" none */
        char *used_by;    /* who uses it now, for printing: "net enp1s0", "" */
} PlanDevice;

typedef struct Plan {
        PlanKind kind;
        char id[33];      /* 32 hex digits, random */
        PlanDevice *devices; size_t n_devices, devices_allocated;
        Step *steps; size_t n_steps, steps_allocated;
} Plan;
#define PLAN_DEVICES_MAX 256U
#define PLAN_STEPS_MAX 2048U
#define PLAN_STEP_TIMEOUT_DEFAULT_MSEC 75000U

Plan *plan_new(PlanKind kind); /* id left empty */
/* Its devices stay. */
void plan_clear_steps(Plan *p);
void plan_drop_step(Plan *p); /* the last one */
Plan *plan_free(Plan *p);
DEFINE_CLEANUP(Plan *, plan_free);
int plan_copy(const Plan *p, Plan **ret);
/* The new element, zeroed but for its defaults; NULL on OOM or over the limit. */
PlanDevice *plan_add_device(Plan *p, PciAddress a);
Step *plan_add_step(Plan *p, StepType t, uint32_t group);                 /* a step on a group */
Step *plan_add_device_step(Plan *p, StepType t, const PlanDevice *d);     /* a step on a device */
/* Makes or proves a device clean: its failure says something of the device. */
bool step_is_cleaning(const Step *s);
int step_set(Step *s, const char *value, const char *undo,
             const char *expect); /* copies; 0 or -ENOMEM */
/* What undoing writes: `undo`, or what follows from the type (unbind: the driver to bind again;
 * probe: the driver to unbind from, "" whatever is bound; set-node-owner: "0:0"). NULL: nothing is
 * undone. Borrowed. */
const char *step_undo_value(const Step *s);
const PlanDevice *plan_find_device(const Plan *p, PciAddress a);
/* Distinct groups, sorted; malloc'd. */
int plan_groups(const Plan *p, uint32_t **ret, size_t *ret_n);
bool plan_has_removal(const Plan *p);
/* One line for people: "unbind 0000:41:00.0 from nvidia". malloc'd. */
char *step_describe(const Step *s);
char *step_describe_undo(const Step *s); /* "" where there is none */
Json *plan_to_json(const Plan *p);
