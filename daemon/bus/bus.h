/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * org.pciassign1 on a message bus: objects, methods behind one gate, signals. Parses, calls the
 * engine, formats the answer; decides nothing but who may ask.
 */

#include <sys/types.h>

#include "base/clock.h"
#include "engine/engine.h"

typedef struct Bus Bus;
struct sd_event;

typedef struct BusOptions {
        const char *address;       /* NULL: the system bus */
        const char *version;
        bool simulated;  /* registers org.pciassign1.Simulator */
        gid_t admin_gid; /* its members are asked no questions; GID_UNSET: there is no such group */
        unsigned max_requests_per_uid;
        usec_t polkit_timeout;     /* 0: the default */
} BusOptions;
#define BUS_REQUESTS_PER_UID_DEFAULT 64U
#define BUS_POLKIT_TIMEOUT_DEFAULT (25U * USEC_PER_SEC)

/* Called once, when the bus has given us the name: the service is ready. */
typedef void (*BusReady)(void *userdata);

/* Connects (without waiting for the bus) and registers objects, so the engine has been started.
 * Losing the connection or the name ends the event loop with failure: the service manager starts us
 * anew. */
int bus_new(struct sd_event *event, Engine *engine, const BusOptions *options, Bus **ret);
Bus *bus_free(Bus *b); /* after the engine was freed: parked requests get no reply */
DEFINE_CLEANUP(Bus *, bus_free);
/* Asks for the well-known name. */
int bus_request_name(Bus *b, BusReady ready, void *userdata);
/* The engine's reports go here, userdata is the Bus. store_fd and drop_fd are the caller's to fill
 * in. */
extern const EngineObserver bus_observer;
/* What may change while running: quota and polkit timeout. */
void bus_set_options(Bus *b, const BusOptions *options);
/* Introspection XML of one of our paths, made without a bus. -ENOENT for a path that has no
 * interface. */
int bus_introspect(const char *path, char **ret);
