/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The world of the simulation test: the real engine and journal over a simulated host, clients who ask for devices and
 * hold them, and what the test itself remembers of it all. Everything that is drawn comes from one seeded generator.
 */

#include "engine/engine.h"
#include "host/sim.h"
#include "store/store.h"

#define WORLD_CLIENTS 4U
#define WORLD_HANDLES_MAX 64U
#define WORLD_REQUESTS_MAX 4096U

typedef struct World World;

typedef struct WorldDevice { /* one of those that are played with */
        PciAddress address;
        char *json;           /* as it was, to come back */
        char driver[PCI_DRIVER_NAME_MAX]; /* before anything happened */
        bool critical;        /* the host needs it: never assigned */
        bool tainted;         /* another hand was on it, or a fault: where it ends is not ours alone */
} WorldDevice;

typedef struct WorldHandle { /* a descriptor in a VMM */
        int fd;
        unsigned client;
        char assignment[ASSIGNMENT_ID_MAX];
        uint32_t group;
        bool is_shared;       /* container: of no group */
} WorldHandle;

typedef struct WorldRequest {
        World *world;
        bool answered;
        bool is_open;
        unsigned client;
        char assignment[ASSIGNMENT_ID_MAX];
        unsigned life;        /* of the daemon in which it was asked */
} WorldRequest;

typedef struct WorldKnown { /* an assignment that a client was told of */
        char id[ASSIGNMENT_ID_MAX];
        Lifetime lifetime;
        unsigned client;
        bool ending;          /* somebody asked for its end, or its client left */
} WorldKnown;

struct World {
        uint64_t random;
        char *trace;          /* shared with the parent process */
        size_t trace_size;
        char *directory;
        Host *host;
        Store *store;
        Engine *engine;
        unsigned life;        /* daemons so far */
        WorldDevice *devices;
        size_t n_devices;
        WorldHandle handles[WORLD_HANDLES_MAX];
        size_t n_handles;
        WorldRequest requests[WORLD_REQUESTS_MAX];
        size_t n_requests, n_answers;
        WorldKnown known[WORLD_REQUESTS_MAX];
        size_t n_known;
        bool client_gone[WORLD_CLIENTS]; /* of this life: its name does not come back */
        bool ending;          /* of the sequence: everything is released */
        unsigned n_assigned, n_refused, n_released, n_faults; /* what happened, for the report */
};

/* Draws from 0 … n-1. */
uint32_t world_draw(World *w, uint32_t n);
bool world_chance(World *w, uint32_t percent);
void world_note(World *w, const char *format, ...) _printf_(2, 3);
/* Ends the process: an invariant does not hold. */
void world_fail(World *w, const char *format, ...) _printf_(2, 3) __attribute__((noreturn));

void world_init(World *w, uint64_t seed, const char *host_json, size_t n, char *trace, size_t trace_size);
void world_done(World *w);
/* The daemon dies (or ends) and the next one starts over the same host and runtime directory. */
void world_restart(World *w);
/* Everything that is due now. */
void world_settle(World *w);
/* Lets the clock run to what happens next, at most `by`. */
void world_advance(World *w, usec_t by);

WorldDevice *world_device(World *w, PciAddress a);
WorldKnown *world_known(World *w, const char *id);
void world_close_handles(World *w, const char *assignment, int client); /* NULL, -1: any */
/* One random act of a client, a fault, another tool, or the daemon's death. */
void world_act(World *w);
/* What must hold whenever the engine is at rest between two callbacks. */
void world_check(World *w);
/* Clears every fault, lets everybody go, and demands that the host is as it was. */
void world_finish(World *w);
