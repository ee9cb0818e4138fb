/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The steps of a plan, one at a time. Each looks at the identity of its device through the device's
 * own directory descriptor before it writes, and reads back the fact that must show afterwards.
 */

#include "host/step-error.h"
#include "worker/worker.h"

typedef struct StepRun {
        Worker *w;
        const Plan *plan;
        const Step *step;
        bool redo;   /* recovery: what shows already counts as done */
        bool failed; /* being undone because it failed itself: what came of it is its own */
        int fd;      /* directory of the step's device; -EBADF without one */
        /* For the explanation of a failure: */
        bool has_found;
        char found[PCI_DRIVER_NAME_MAX];
        char detail[256];
        PciUse use;             /* holders */
        char *evidence;         /* what it found, for the record; printable UTF-8, owned */
} StepRun;
void step_run_done(StepRun *s);
#define _cleanup_step_run_ _cleanup_(step_run_done)

/* Opens the device of the step and checks that it is the one that the plan was made for: -ENODEV,
 * -ESTALE. */
int step_run_open(StepRun *s);
int step_do(StepRun *s);
/* Does nothing where the facts show that there is nothing to undo. */
int step_undo(StepRun *s);

/* ---- pieces, steps-*.c ---- */

/* "" without a driver. */
int step_read_driver(const StepRun *s, char driver[PCI_DRIVER_NAME_MAX]);
bool step_driver_is(const StepRun *s, const char *driver);
/* One write(2); the file is cut first, which sysfs ignores and a made tree needs. */
int step_write(int dir_fd, const char *path, const char *value);
/* Waits for `shows` to hold where the tree is a made one; asks once where a kernel is behind it. */
bool step_await(StepRun *s, bool (*shows)(const StepRun *s, const char *value), const char *value);

int step_do_unbind(StepRun *s, const char *driver);
int step_do_probe(StepRun *s, const char *expect);
int step_do_override(StepRun *s);
/* -ESTALE: it is not what the plan was made with. Once the device is unbound, undoing would bind
 * what a foreign hand wrote there. */
int step_prove_override(StepRun *s);
int step_do_numvfs(StepRun *s, const char *value);
int step_do_reset(StepRun *s);
int step_do_await_ready(StepRun *s);
/* UNKNOWN where configuration space cannot be read. */
PciLiveness step_look_alive(const StepRun *s);
int step_do_verify(StepRun *s);
int step_do_hold_power(StepRun *s, const char *value);
int step_do_reset_method(StepRun *s, const char *value);
/* Writes an attribute of the device where something else shows, and reads back. (steps-clean.c) */
int step_set_attribute(StepRun *s, const char *path, const char *value);
/* steps-settings.c */
int step_do_await_vfs(StepRun *s);
int step_do_setting(StepRun *s, const char *value);
int step_do_take_reference(StepRun *s);
int step_do_compare_config(StepRun *s);
int step_do_hook(StepRun *s);
/* reference.c: what a device's configuration space showed before an owner got it. Reading: -ENOENT
 * there is none of this card, -EBADMSG the file is damaged. */
int reference_write(const Worker *w, const PlanDevice *p, const PciConfig *c);
int reference_read(const Worker *w, const PlanDevice *p, PciConfig *ret);
int reference_parse(const void *data, size_t n, const PlanDevice *p, PciConfig *ret);
int step_do_node_owner(StepRun *s, const char *value);
int step_do_trial_attach(StepRun *s);
int step_do_commit(StepRun *s, const char *text);
int step_undo_commit(StepRun *s, const char *text);
/* timeout 0: look once. -EBUSY with the holders in s->use, -ENOTBLK with the proof in s->detail. */
int step_do_prove_unheld(StepRun *s, uint32_t timeout_msec);
