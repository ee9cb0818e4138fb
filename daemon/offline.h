/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What pciassignd does without being a daemon: it checks a policy's files, prints what is known of
 * their keys, and replays a policy over a snapshot. JSON on standard output; no bus, no state, no
 * device of this machine. The exit codes are those of pciassignctl.
 */

#include <sys/types.h>

#include "base/cleanup.h"

#define OFFLINE_BAD 1     /* the policy is wrong, or could not be read */
#define OFFLINE_USAGE 2
#define OFFLINE_CHANGED 9 /* the policies differ in what they say of this host */

/* Files and directories; none: the drop-in directories below config_root. */
int offline_check_policy(char *const *paths, size_t n, const char *config_root);
int offline_print_schema(void);
int offline_print_keys(void);

typedef struct OfflineReplay {
        const char *host;    /* HOST.json */
        const char *policy;  /* file or directory; NULL: the drop-in directories */
        const char *against; /* the one to compare with; NULL: none */
        const char *owner;   /* NULL: nobody in particular */
        const char *config_root;
        uid_t uid;           /* who asks; UID_UNSET: root */
        gid_t gid;           /* GID_UNSET: no group */
} OfflineReplay;
int offline_replay(const OfflineReplay *o);
