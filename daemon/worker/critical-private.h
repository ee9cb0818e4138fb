/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of critical.h among themselves. */

#include "base/strutil.h"
#include "worker/critical.h"

#define CRITICAL_STEPS_MAX 256U  /* kernel devices followed from one child */
#define CRITICAL_PROOF_MAX 512U  /* bytes of one proof */
#define CRITICAL_FILE_MAX (4U << 20)

typedef struct CriticalMount {
        char source[64];  /* base name of a block device, or a pool name */
        uint32_t major, minor;
        char target[128]; /* mount point */
} CriticalMount;

typedef struct CriticalMember { /* of a file system on several devices */
        char device[64], uuid[64];
} CriticalMember;

typedef struct CriticalRoute {
        char interface[32];
        char what[96]; /* "default route", "route 10.0.0.0/24" */
        bool remote_storage;
} CriticalRoute;

struct Critical {
        const SysTree *tree;
        bool storage_loaded, network_loaded;
        int storage_error,
                network_error; /* why loading failed; everything below is then critical */
        CriticalMount *mounts;
        size_t n_mounts, mounts_allocated;
        char **swaps; /* base names of devices */
        CriticalMember *members;
        size_t n_members, members_allocated;
        CriticalRoute *routes;
        size_t n_routes, routes_allocated;
};

/* Mount tables of every mount namespace that can be seen, swaps, members of btrfs. Sets
 * storage_error. */
void critical_load_storage(Critical *c);
/* Routes of the host's network namespace and the addresses of remote storage. Sets
 * network_error. */
void critical_load_network(Critical *c);

/* Follow one child. proof is the way so far, "0000:00:05.0". */
int critical_follow_block(Critical *c, const char *proof, const char *name, PciUse *use);
int critical_follow_net(Critical *c, const char *proof, const char *name, PciUse *use);
