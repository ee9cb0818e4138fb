/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What outlives a reboot, as the engine knows it: quarantine, dirt and reservations. Memory says
 * what the files of the state directory say; both change only through the plan step commit-state.
 * Two ways: hard, as steps of a plan that is not done without them; and soft, when something is so
 * whether or not it can be written down, and writing is tried again until it succeeds.
 */

#include "engine/engine-private.h"
#include "store/state.h"

/* Reads the state directory. Problems are logged and told by doctor. 0, -ENOMEM. */
int engine_kept_load(Engine *e);
void engine_kept_done(Engine *e);

/* What is kept about this hardware; NULL: nothing. Borrowed until the next plan or soft change. */
const KeptDevice *engine_kept_of(Engine *e, const Device *d);
/* Takes over quarantine and dirt from what is kept; called when more is known about the hardware.
 * Changes shown are the caller's to report: true if there is one. */
bool engine_kept_match(Engine *e, Device *d);
/* Is it known what is kept? ERROR_FAILED where the state directory could not be read, so that
 * nobody knows what is dirty or quarantined. */
int engine_kept_check(Engine *e, Error *err);

/* ---- hard: steps for a plan; none where nothing would change. 0, -ENOMEM, -E2BIG ---- */

/* Before the hand-over, first of all steps. */
int engine_kept_add_dirty(Engine *e, Plan *plan, const Device *d, uid_t uid, const char *owner);
/* After a verified cleaning. */
int engine_kept_add_clean(Engine *e, Plan *plan, const Device *d);
/* reason NULL: no longer. */
int engine_kept_add_quarantine(Engine *e, Plan *plan, const Device *d, const char *reason);
/* The persistent assignment, with the devices and drivers of its plan; and its end. */
int engine_kept_add_reservation(Engine *e, Plan *plan, const Assignment *a);
int engine_kept_add_unreserve(Engine *e, Plan *plan, const char *id);
/* Whoever ran a plan with such steps tells how it ended: HOST_OUTCOME_DONE, or, undone,
 * _ROLLED_BACK. Where that is not known (yet), it counts as done. */
void engine_kept_take(Engine *e, const Plan *plan, const HostResult *result);
/* A step of these was what failed. */
bool engine_kept_failed(const Plan *plan, const HostResult *result);

/* ---- reservations after a reboot (engine-reserve.c) ---- */

/* Those that nobody knows of become assignments again; their hardware is claimed as far as it is
 * there. */
int engine_reservations_load(Engine *e);
/* Looks for the hardware of those that wait: something was added or read, or time passed. */
void engine_reservations_try(Engine *e);
/* Reserved, and not prepared (yet): its plan has no id. */
bool engine_reservation_waits(const Assignment *a);
/* Its plan ended so. err may be NULL. */
void engine_reservation_failed(Engine *e, Assignment *a, const Error *err);
void engine_reservation_applied(Engine *e, Assignment *a);
/* Prepares it with the hardware that was found (engine-assign.c). */
int engine_assign_again(Engine *e, Assignment *a, const KeptReservation *kept,
                        Device *const *devices);
/* Each device of its plan is there and no other card. */
bool engine_reservation_is_there(Engine *e, const Assignment *a);
/* That, and on the driver that it was handed over with: it may be used. ERROR_GONE, ERROR_BUSY. */
int engine_reservation_check_rest(Engine *e, const Assignment *a, Error *err);
/* It owns nothing (any more) and is looked for. */
void engine_reservation_let_go(Engine *e, Assignment *a);
/* What is there of it goes back to the host; it stays reserved. */
int engine_reservation_plan_back(Engine *e, const Assignment *a, Plan **ret);
bool engine_reservation_is_kept(const Engine *e, const char *id);
/* Is this the hardware that was reserved? ERROR_GONE. */
int engine_reservation_check(Engine *e, const Assignment *a, Error *err);

/* ---- soft: true from now on, written as soon as it can be ---- */

int engine_kept_set_clean(Engine *e, Device *d);
int engine_kept_set_quarantine(Engine *e, Device *d, const char *reason);
/* true: its file is not gone yet, and the journal forgets the assignment when it is. */
bool engine_kept_set_unreserved(Engine *e, const char *id);
/* Between the two files: the text that a file shall have, NULL none; what a result says about the
 * directory. */
void engine_kept_apply(Engine *e, const Plan *plan, HostOutcome outcome); /* memory alone */
int engine_kept_text(Engine *e, const char *name, char **ret);
void engine_kept_note(Engine *e, const Plan *plan, const HostResult *result);
/* Why the last writing failed, for people; NULL: it did not. Borrowed. */
const char *engine_kept_trouble(const Engine *e);
