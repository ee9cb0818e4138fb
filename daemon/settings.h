/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * pciassignd.conf and its drop-ins: NAME=VALUE lines under [Daemon], [Limits] and [Worker]. The
 * first main file of /etc, /run and /usr/lib counts, then every pciassignd.conf.d/NAME.conf in the
 * order of names, where a directory that comes earlier masks the same name. A wrong line is
 * reported with file and line; it does not keep the daemon from starting.
 */

#include <sys/types.h>

#include "base/jsonx.h"

#define SETTINGS_LINE_MAX 4096U
#define SETTINGS_FILE_MAX (1U << 20)
#define SETTINGS_DROPINS_MAX 256U
#define SETTINGS_KEYS_MAX 16U

typedef struct Settings {
        char *log_level;          /* LogLevel=: "error" … "debug" */
        char *admin_group;        /* AdminGroup=: whose members need no authorisation */
        uint64_t polkit_timeout;  /* PolkitTimeoutSec=: seconds */
        uint64_t max_jobs, max_jobs_per_user, max_assignments, max_assignments_per_user,
                max_requests_per_user;
        uint64_t max_workers;
        uint64_t step_timeout;    /* StepTimeoutSec=: seconds */
        char *origins[SETTINGS_KEYS_MAX]; /* by key: "FILE:LINE", NULL for a default */
        char **errors;            /* "FILE:LINE: what is wrong" */
} Settings;

/* root: "" or a directory in place of /. 0, -ENOMEM, or why the directory cannot be opened; what is
 * wrong with the files is in errors. */
int settings_load(const char *root, Settings *ret);
void settings_done(Settings *c);
#define _cleanup_settings_ _cleanup_(settings_done)
/* One file's text on top of c; name is for messages. For settings_load() and tests. */
int settings_parse(Settings *c, const char *name, const char *text, size_t n);
int settings_defaults(Settings *ret);
/* Number of a group, GID_UNSET for none. At start only: whatever database the host has is asked,
 * and may take its time. */
gid_t settings_group(const char *name);
/* The same by the local file alone, where system groups stand: nothing is waited for. */
gid_t settings_local_group(const char *name);
/* { "values": { KEY: { "value", "default", "origin" } }, "errors": […] } */
Json *settings_to_json(const Settings *c);
