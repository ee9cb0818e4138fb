/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Inside of the worker program. It is plain synchronous code: it may sleep in the kernel wherever
 * it likes, and whoever started it watches the time. One request is worked on at a time.
 */

#include "host/host.h"
#include "host/protocol.h"
#include "host/sysfs.h"
#include "worker/critical.h"

typedef struct Worker {
        SysTree tree;
        int socket;
        const char *runtime_dir, *worker_dir,
                *state_dir; /* worker_dir: locks, owners of nodes, references */
        uid_t daemon;       /* whose directories these may be */
        bool cancelled;     /* the daemon asked to stop before the next step */
        bool gone;          /* the daemon is not there any more: nothing more may be begun */
        Encoder encoder;    /* scratch of the message at hand */
        Critical *critical; /* of this request, made at first need */
        ProtocolStep steps[PROTOCOL_STEPS_MAX]; /* what the daemon was not told yet */
        size_t n_steps;
} Worker;

/* worker.c: what the daemon is told. Once the daemon is gone these do nothing. */
void worker_send(Worker *w, ProtocolType type, const int *fds,
                 size_t n_fds); /* w->encoder; resets it */
/* Of a snapshot: what is read next can wait for that function's driver. NULL: the functions are
 * done. */
void worker_progress(Worker *w, const PciAddress *at);
/* A step begins. quick: it cannot sleep in the kernel, so it is told of together with what comes
 * next. */
void worker_step_started(Worker *w, size_t step, bool undo, bool quick);
void worker_step_done(Worker *w, size_t step, bool undo, int error);
/* What a step found. */
void worker_evidence(Worker *w, size_t step, const char *text);
void worker_finish(Worker *w, const HostResult *result);
/* DONE for 0, else FAILED with the errno and "what: the kernel's word for it". */
void worker_finish_simple(Worker *w, int error, const char *what);
/* Takes note of a cancellation and of the daemon's end. True if work may go on. */
bool worker_may_go_on(Worker *w);
/* Waits that long, but not past the daemon's end or a cancellation. False: stop waiting. */
bool worker_pause(Worker *w, unsigned msec);
int worker_critical(Worker *w, Critical **ret);

/* read.c */
void worker_read(Worker *w, const HostRequest *r);
/* Only the registers that the decoder wants. -ENODEV gone, -errno. */
int worker_read_config(int function_fd, PciConfig *ret);
/* One attribute of a function, from the midst of a plan. */
void worker_report_attribute(Worker *w, PciAddress a, int function_fd, PciAttribute attribute);
int worker_read_children(Worker *w, const SysChildren *children, PciAddress a, PciUse *use);
/* Attributes that a snapshot or READ wants, in two halves: those that take a driver's lock or wait
 * for hardware come late. */
bool worker_attribute_is_late(PciAttribute a);

/* directory.c: opens, or makes, one below the worker's own; the daemon's group may look into
 * `shared` ones, and only look. */
int worker_directory(const Worker *w, const char *name, bool shared);
/* The same for a file of such a directory. */
void worker_share(const Worker *w, int fd);

/* use.c: who has the nodes of a function open, of itself and of the children that `use` holds;
 * added to `use`. */
int worker_find_holders(Worker *w, PciAddress a, PciUse *use);
/* Is there a node below /dev for any of the children? */
bool worker_use_has_nodes(const PciUse *use);

/* plan.c, steps.c */
void worker_plan(Worker *w, const Plan *plan, bool recovery);

/* open.c */
void worker_open(Worker *w, const HostRequest *r);

/* snapshot.c, platform.c, prepare.c, process.c */
void worker_snapshot(Worker *w, const HostRequest *r);
/* Another worker hangs in it: nothing is read that may take a lock. */
bool worker_is_stuck(const HostRequest *r, PciAddress a);
void worker_platform(Worker *w);
int worker_read_platform(const SysTree *t, HostPlatform *ret);
void worker_prepare(Worker *w, char *const *modules);
void worker_process(Worker *w, const HostRequest *r);
