/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What only the simulated host can do: move its clock, hurt its devices. For
 * org.pciassign1.Simulator and tests. */

#include "host/host.h"

bool host_is_sim(const Host *h);
/* Moves the virtual clock forward, firing what falls due in order. */
void host_sim_advance(Host *h, usec_t by);
usec_t host_sim_clock(Host *h);
/* Dispatches pending callbacks without a loop (unit and simulation tests). Returns how many. */
unsigned host_sim_run(Host *h);
/* Runs the one callback or completion that is due first, not later than `until`, and moves the
 * virtual clock to it. */
bool host_sim_run_one(Host *h, usec_t until);
/* When the next timer or completion is due; USEC_INFINITY if nothing is pending. */
usec_t host_sim_next(Host *h);
/* The daemon died where it stood: its timers are gone, and nobody listens to its jobs or to events
 * any more. */
void host_sim_orphan(Host *h);

/* Told of each step that a job runs on the kernel: before, and after with what came of it (0,
 * negative errno, or 1 for a step that waits in the kernel). For tests, which know what may not be
 * written when. */
typedef struct SimObserver {
        void (*before)(const Plan *plan, size_t step, bool undo, void *userdata);
        void (*after)(const Plan *plan, size_t step, bool undo, int result, void *userdata);
} SimObserver;
void host_sim_observe(Host *h, const SimObserver *observer,
                      void *userdata); /* observer: borrowed */

typedef enum SimFaultKind {
        SIM_FAULT_ERROR,        /* the step fails with this errno */
        SIM_FAULT_DELAY,        /* takes that long */
        SIM_FAULT_HANG,         /* never returns (until sim_fault_clear) */
        SIM_FAULT_NO_EFFECT,    /* "succeeds" and changes nothing (bind to nothing) */
        SIM_FAULT_WRONG_DRIVER, /* another driver wins */
        SIM_FAULT_ALL_ONES, /* of a reset: configuration space reads all-ones for `delay`; 0: for
                               ever */
        SIM_FAULT_RRS,      /* the same with Request Retry Status */
        SIM_FAULT_ALTERED,  /* of a reset: a register differs afterwards */
        _SIM_FAULT_KIND_MAX,
} SimFaultKind;
SimFaultKind sim_fault_kind_from_string(const char *s);
typedef struct SimFault {
        PciAddress device;
        StepType step;
        SimFaultKind kind;
        int error;      /* positive errno, ERROR */
        usec_t delay;   /* DELAY */
        unsigned times; /* 0: for ever */
} SimFault;
int host_sim_inject(Host *h, const SimFault *fault);
void host_sim_clear_faults(Host *h);
/* A VMM opens/closes the device behind the daemon's back. */
int host_sim_hold(Host *h, PciAddress a, uint32_t pid, const char *comm);
int host_sim_unhold(Host *h, PciAddress a);
/* Foreign rebind; driver "" unbinds. Emits uevents. */
int host_sim_rebind(Host *h, PciAddress a, const char *driver);
/* Foreign write to driver_override, "" clears. No uevent tells of it. */
int host_sim_set_override(Host *h, PciAddress a, const char *driver);
/* An error of PCI Express, with the kernel's own recovery and its uevents. */
typedef enum SimErrorKind {
        SIM_ERROR_CORRECTABLE,
        SIM_ERROR_NON_FATAL,
        SIM_ERROR_FATAL, /* the link is reset; a function of VFIO has its BARs at 0 until it is
                            reset or closed */
        SIM_ERROR_DPC,   /* the port contains it: the same, and longer */
        _SIM_ERROR_KIND_MAX,
} SimErrorKind;
SimErrorKind sim_error_kind_from_string(const char *s); /* "non-fatal" …; -EINVAL */
int host_sim_error(Host *h, PciAddress a, SimErrorKind kind);
/* The attention button of its slot: 5 s later all its functions are removed in an orderly way,
 * unless it is pressed once more before. */
int host_sim_press_attention(Host *h, PciAddress a);
int host_sim_remove(Host *h, PciAddress a); /* orderly removal: blocks (in the model) while held */
int host_sim_surprise_remove(Host *h, PciAddress a);
int host_sim_add(Host *h, const char *device_json, size_t n,
                 Error *err);                   /* one element of "devices" */
void host_sim_lose_events(Host *h, unsigned n); /* the next n events are lost, then OVERFLOW */
/* Some were lost, or are to be, and nobody was told yet. */
bool host_sim_loses_events(Host *h);
int host_sim_trigger(Host *h, PciAddress a); /* `udevadm trigger`: a synthetic "change" */
/* The state directory: a real one instead of memory; every write to it fails with this (positive)
 * errno, 0 no more; one file of the memory ("" removes it). */
int host_sim_set_state_dir(Host *h, const char *path);
void host_sim_set_state_error(Host *h, int error);
int host_sim_put_state(Host *h, const char *name, const char *text);
/* A reboot: `to`, made anew from the same or other hardware, has what stands in the state directory
 * of `from`, and another boot id. */
void host_sim_take_state(Host *to, Host *from);
/* A function as the kernel has it at this moment, cheaply; false: it is not there. */
typedef struct SimLook {
        const char *driver, *override; /* "" for none; borrowed until anything happens */
        uint16_t vendor, device;
        uint32_t group; /* UINT32_MAX: none */
} SimLook;
bool host_sim_look(Host *h, PciAddress a, SimLook *ret);
/* Is a descriptor that Open gave out still open anywhere? */
bool host_sim_is_held(Host *h, PciAddress a);
