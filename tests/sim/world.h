/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The world of the simulation test: the real engine and store over a simulated host, clients who
 * ask for devices and hold them, and what the test itself remembers of it all, so that it need not
 * believe the engine. Everything that is drawn comes from a generator that is seeded anew for each
 * step by the sequence's seed and the step's number: a step draws the same whether or not others
 * are left out, which is what makes shrinking work.
 */

#include <setjmp.h>

#include "engine/engine.h"
#include "host/sim.h"
#include "store/store.h"

#define WORLD_CLIENTS 4U
#define WORLD_HANDLES_MAX 64U
#define WORLD_REQUESTS_MAX 2048U
#define WORLD_KNOWN_MAX 1024U
#define WORLD_NOTICES_MAX 256U
#define WORLD_DEVICES_MAX 16U
#define WORLD_KNOWN_DEVICES 8U
#define WORLD_BOOTS_MAX 3U
#define WORLD_PF "0000:43:00.0" /* can have virtual functions, and has none at boot */
#define WORLD_MAX_ASSIGNMENTS_PER_UID 3U

typedef struct World World;

/* The ten of the design, in its order. */
typedef enum Invariant {
        INVARIANT_ONE_OWNER_PER_GROUP,
        INVARIANT_JOURNAL_BEFORE_KERNEL,
        INVARIANT_LOOP_NEVER_BLOCKS,
        INVARIANT_REFUSAL_IS_DATA,
        INVARIANT_NO_DIRTY_HAND_OVER,
        INVARIANT_HOST_SURVIVES,
        INVARIANT_RELEASE_RESTORES,
        INVARIANT_KERNEL_FACTS_WIN,
        INVARIANT_INPUT_IS_HOSTILE,
        INVARIANT_OWNER_HEARS,
        INVARIANT_NONE, /* the test itself, or a crash of the program */
        _INVARIANT_MAX,
} Invariant;
const char *invariant_to_string(Invariant i);

typedef struct WorldDevice { /* one of those that are played with */
        PciAddress address;
        char *json;           /* as it was, to come back; shared */
        char *other_json;     /* another card for the same place; shared */
        char driver[PCI_DRIVER_NAME_MAX]; /* before anything happened */
        char override[PCI_DRIVER_NAME_MAX];
        bool critical;    /* the host needs it: never assigned */
        bool tainted;     /* another hand was on it, or a fault: where it ends is not ours alone */
        bool expect_lost; /* pulled out while its assignment was active: its owner must hear */
        bool quarantined; /* was shown so */
        char owner[64];   /* uid and owner that had it last; "" nobody */
        bool clean;       /* reset since */
} WorldDevice;

typedef struct WorldHandle { /* a descriptor in a VMM */
        int fd;
        unsigned client;
        char assignment[ASSIGNMENT_ID_MAX];
        uint32_t group;
        bool is_shared;       /* container: of no group */
} WorldHandle;

typedef enum RequestKind {
        REQUEST_ASSIGN,
        REQUEST_RELEASE,
        REQUEST_OPEN,
        REQUEST_OTHER
} RequestKind;

typedef struct WorldRequest {
        World *world;
        RequestKind kind;
        bool answered;
        bool hostile;         /* must be refused */
        bool no_wait;
        unsigned client;
        unsigned life;        /* of the daemon in which it was asked */
        char assignment[ASSIGNMENT_ID_MAX];
} WorldRequest;

typedef struct WorldKnownDevice {
        PciAddress address;
        uint16_t vendor, device;
} WorldKnownDevice;

typedef struct WorldKnown { /* an assignment that a client was told of */
        char id[ASSIGNMENT_ID_MAX];
        Lifetime lifetime;
        unsigned client;
        bool ending;          /* somebody asked for its end, or its client left */
        bool ended;           /* its release was answered: it may not come back */
        WorldKnownDevice devices[WORLD_KNOWN_DEVICES];
        size_t n_devices;
} WorldKnown;

typedef struct WorldNotice { /* that an owner was sent, in this life or an earlier one */
        char assignment[ASSIGNMENT_ID_MAX];
        char kind[24];
        uint64_t number;
        bool settled;         /* a step ended after it: a crash does not take it back */
} WorldNotice;

typedef struct WorldProcess { /* a VMM of its own */
        pid_t pid;
        int pidfd;
} WorldProcess;

/* Made once, before the sequences; each one finds it as it was (fork). */
typedef struct WorldTemplate {
        char *json;
        size_t n;
        Host *hosts[1 + WORLD_BOOTS_MAX]; /* at boot, one for each boot of a sequence */
        WorldDevice devices[WORLD_DEVICES_MAX];
        size_t n_devices;
} WorldTemplate;
int world_template_init(WorldTemplate *t, const char *host_json, size_t n);

typedef struct WorldReport { /* shared with the parent process */
        Invariant invariant;
        char directory[128];  /* of a sequence that did not come to its end */
        size_t trace_length;
        uint64_t assigned, refused, released, faults, lives, crashes, boots, answers, checks,
                notices;
        char trace[(1U << 20) - 256];
} WorldReport;

struct World {
        uint64_t seed, random, random_ids;
        WorldReport *report;
        WorldTemplate *template;
        char *directory, *runtime, *state;
        Host *host;
        Store *store;
        Engine *engine;
        bool running;         /* the daemon */
        unsigned life;        /* daemons so far */
        unsigned boots;
        size_t step;
        WorldDevice devices[WORLD_DEVICES_MAX];
        size_t n_devices;
        WorldHandle handles[WORLD_HANDLES_MAX];
        size_t n_handles;
        WorldRequest requests[WORLD_REQUESTS_MAX];
        size_t n_requests;
        WorldKnown known[WORLD_KNOWN_MAX];
        size_t n_known;
        WorldNotice notices[WORLD_NOTICES_MAX];
        size_t n_notices;
        WorldProcess processes[WORLD_CLIENTS];
        bool has_processes;              /* ever */
        bool client_gone[WORLD_CLIENTS]; /* of this life: its name does not come back */
        bool just_started; /* what the daemon found is not worked on before the loop has turned */
        bool state_was_faulty; /* the file of what was released may be there at a reboot */
        bool disk_was_faulty; /* what could not be recorded may be forgotten by the next daemon */
        bool ending;          /* of the sequence: everything is released */
        unsigned crash_in;    /* the daemon dies after so many callbacks; 0: it does not */
        jmp_buf crash;        /* out of the middle of the engine */
        bool can_crash;
        bool verbose;         /* the kernel's side is told as well */
};

/* Draws from 0 … n-1. */
uint32_t world_draw(World *w, uint32_t n);
bool world_chance(World *w, uint32_t percent);
/* Identifiers and seeds of hash maps: the C library's getrandom() is replaced by this one. */
void world_random_bytes(World *w, void *buffer, size_t n);
void world_note(World *w, const char *format, ...) _printf_(2, 3);
/* Ends the process: an invariant does not hold. */
void world_fail(World *w, Invariant i, const char *format, ...) _printf_(3, 4)
        __attribute__((noreturn));

void world_init(World *w, uint64_t seed, WorldTemplate *t, WorldReport *report);
void world_done(World *w);
/* Begins the step of this number: seeds the generators. */
void world_begin_step(World *w, size_t step);
/* The daemon ends, and the next one starts over the same host and runtime directory. */
void world_restart(World *w);
/* The same, and while no daemon is there another card comes in the place of one that nobody
 * holds. */
void world_restart_with_other_card(World *w, WorldDevice *d);
/* The machine boots again: the kernel is as it was at first but for the cards, /run is empty, /var
 * is kept. */
void world_reboot(World *w);
/* The daemon dies inside of whatever it does. Called from below the engine. */
void world_crash(World *w) __attribute__((noreturn));
/* Runs what may be cut short by a crash, and starts the next daemon when it was. */
void world_play(World *w, void (*what)(World *w));
/* Everything that is due now. */
void world_settle(World *w);
/* Lets the clock run by so much, with all that falls due in it. */
void world_advance(World *w, usec_t by);

WorldDevice *world_device(World *w, PciAddress a);
WorldKnown *world_known(World *w, const char *id);
void world_close_handles(World *w, const char *assignment, int client); /* NULL, -1: any */
/* One random act of a client, a fault, another tool, or the daemon's death. */
void world_act(World *w);
Caller world_caller(unsigned client);
WorldRequest *world_request(World *w, unsigned client, RequestKind kind);
/* What the engine said at once: a refusal is an answer. */
void world_asked(World *w, WorldRequest *q, int r, const Error *err);
EngineReply world_reply(void);
void act_hostile(World *w);
/* acts-fault.c, for the table in acts.c */
void act_fault(World *w);
void act_clear(World *w);
void act_hold(World *w);
void act_rebind(World *w);
void act_pull(World *w);
void act_put(World *w);
void act_attention(World *w);
void act_error(World *w);
void act_lose_events(World *w);
void act_synthetic(World *w);
void act_crash_later(World *w);
void act_restart(World *w);
void act_swap(World *w);
void act_reboot(World *w);
void act_disk(World *w);
WorldDevice *world_draw_device(World *w);

/* ---- invariants.c, invariants-kernel.c ---- */

/* What must hold whenever the engine is at rest between two callbacks. */
void world_check(World *w);
void world_check_kernel(World *w);
/* A refusal, and what else is said of one. */
void world_check_refusal(World *w, const WorldRequest *q, const Error *error);
void world_check_handed_over(World *w, const Assignment *a);
void world_check_removed(World *w, const Assignment *a);
void world_watch_kernel(World *w); /* observes each step on the kernel */
/* Clears every fault, lets everybody go, and demands that the host is as it was. */
void world_finish(World *w);

/* ---- disk.c: what the store's writes come to ---- */

typedef enum DiskFault {
        DISK_FULL,        /* ENOSPC before a byte is written */
        DISK_SHORT,       /* ENOSPC after some bytes */
        DISK_SYNC_FAILS,  /* EIO of fdatasync and fsync */
        DISK_CRASH_BEFORE,
        DISK_CRASH_TORN,  /* the daemon dies with half of the record written */
        DISK_CRASH_WRITTEN,
        DISK_CRASH_SYNCED,
        _DISK_FAULT_MAX,
} DiskFault;
const char *disk_fault_to_string(DiskFault f);
void disk_attach(World *w); /* NULL: nobody's */
/* From the after-th operation from now on (0: the next), `times` times. */
void disk_inject(DiskFault f, unsigned after, unsigned times);
void disk_clear(void);
bool disk_is_faulty(void);
/* Is the plan in the journal, begun and without an outcome, durably? */
bool disk_has_plan(const char *plan_id);
/* What the next daemon reads from the file is there, whatever became of its syncing. */
void disk_trust(void);
void disk_forget(void); /* the runtime directory is empty */
/* Closes what the dead daemon had open below this directory. */
void disk_close_below(const char *directory);
