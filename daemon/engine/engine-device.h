/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What work on a device that belongs to no assignment's life shares: engine-device.c,
 * engine-vfs.c. */

#include "engine/engine-private.h"

typedef enum VfsPhase {
        VFS_SET,     /* their number is written */
        VFS_WAIT,    /* they appear, and are read */
        VFS_DRIVERS, /* they get the driver that was asked for */
        VFS_BACK,    /* that failed: the former number */
} VfsPhase;

typedef struct DeviceWork {
        PlanKind kind;
        PciAddress address;
        /* SET_NUMVFS */
        uint32_t n_vfs, from;
        char driver[PCI_DRIVER_NAME_MAX]; /* "none", "host", or a name */
        VfsPhase phase;
        Error error;                      /* why it goes back */
} DeviceWork;

int engine_begin_work(Engine *e, const Caller *c, Device *d, const DeviceWork *work, bool no_wait,
                      EngineReply reply, void *userdata, Error *err);
/* Runs t->plan through the journal. */
int engine_work_run(Task *t, Error *err);
/* Ends job and task. */
void engine_work_fail(Task *t, Error *err);

/* Which functions are read before the decision: the device, and its virtual functions if
 * `family`. */
ssize_t engine_vfs_members(Engine *e, const Device *d, bool family, PciAddress **ret);
/* ERROR_OWNED that names all owners of virtual functions but self. */
int engine_vfs_check_owners(Engine *e, const Device *pf, const Assignment *self, Error *err);
/* Steps to w->n_vfs; none: it has so many. */
int engine_vfs_plan(Engine *e, DeviceWork *w, Device *d, Plan *plan, Error *err);
/* A plan of the work has ended; err NULL: as it should. */
void engine_vfs_finished(Task *t, Error *err);
