/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The clean-room: what is done to a device between two owners, what came of it, and the record that
 * is kept of each cycle.
 */

#include "engine/engine-policy.h"

/* Whose traces are removed: what hooks and the record are told. */
typedef struct CleanSubject {
        const char *owner;      /* "" nobody's */
        uid_t uid;
        const char *assignment; /* id, "" none */
        const char *event;      /* "clean", "before-assign" */
} CleanSubject;

/* Can this device be made clean, by its rule and its reset methods? */
bool engine_clean_can(Engine *e, const Device *d);
/* Was it given to another (uid, owner) since it was clean? */
bool engine_clean_is_needed(const Device *d, uid_t uid, const char *owner);
/* The steps that make and prove it clean, as its rule says; of one that cannot be, only the hooks.
 * 0, -ENOMEM. */
int engine_clean_add(Engine *e, Plan *plan, const PlanDevice *p, const CleanSubject *s);
/* The rule's hooks alone. */
int engine_clean_add_hooks(Engine *e, Plan *plan, const PlanDevice *p, const CleanSubject *s);
/* Of an assignment: the hooks that are asked before anything else; the device kept powered while
 * drivers change, with what its power control was as the undoing; and, on its VFIO driver, cleaning
 * where another owner had it, and the reference. */
int engine_clean_add_questions(Engine *e, const AskedFor *asked, Plan *plan);
int engine_clean_add_power(Engine *e, Plan *plan, const PlanDevice *p);
int engine_clean_add_before(Engine *e, const AskedFor *asked, Plan *plan, const PlanDevice *p);
/* Of the way back: power control as it was before `made`; NULL: the device stays on its VFIO
 * driver. */
int engine_clean_add_power_back(Engine *e, const Plan *made, Plan *plan, const PlanDevice *p);
/* A device on a VFIO driver goes home: to the driver that it had before. */
int engine_clean_add_home(Engine *e, Plan *plan, const PlanDevice *p);
/* engine-plan.c: verifies that one device without an owner is clean; on a VFIO driver meanwhile.
 * plan: its only device is filled in. */
int engine_plan_clean(Engine *e, const Device *d, const CleanSubject *s, Plan *plan);

/* Is this step part of cleaning? */
bool engine_clean_is_step(const Plan *plan, size_t i);
/* Did this plan, if it was done, make the device clean? */
bool engine_clean_plan_cleans(const Plan *plan, PciAddress a);
/* The reset failed since none of the methods that the kernel lists works, and no rule demands one:
 * the device cannot be cleaned from now on. */
bool engine_clean_cannot_reset(Engine *e, const Plan *plan, const HostResult *result);
/* A step of cleaning failed, so that the device is neither clean nor to be trusted; not that
 * somebody holds it, that it went away or that the job was ended. ret: the device. */
bool engine_clean_failed(const Plan *plan, const HostResult *result, PciAddress *ret);
/* The devices of the failed one's group that the plan has: quarantined, each with its record. */
void engine_clean_quarantine(Task *t, PciAddress failed, const CleanSubject *s, const char *reason);
/* The assignment's devices that did not go back, with the reasons; NULL: none. */
Json *engine_clean_quarantined_to_json(Engine *e, const Assignment *a);
/* Of the plan that ended, or whose end is not known: what it cleaned has its record and is dirty no
 * more, what it was to keep (engine-kept.h) is taken over. still: the owner stays the same, so that
 * it counts as dirty all the same. */
void engine_clean_settle(Task *t, const HostResult *result, const CleanSubject *s, bool still);

/* ---- the record (engine-clean-record.c) ---- */

/* What is known of each step of the task's plan goes to the record of each device that was cleaned.
 * outcome: "verified", "dirty", "quarantined". reason: why, or NULL. */
void engine_clean_record(Task *t, PciAddress a, const CleanSubject *s, const char *outcome,
                         const char *reason);
/* What the last record says of before: driver and override; both left alone where nothing is
 * known. */
void engine_clean_read_home(Engine *e, const Device *d, char **driver, char **override);
/* { "state", "last-owner", …, "cycles": [ … ] }; NULL on OOM. */
Json *engine_clean_to_json(Engine *e, const Device *d);
