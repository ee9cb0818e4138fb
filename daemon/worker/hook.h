/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The administrator's programs below hooks.d. One is run as a child without privilege, without any
 * descriptor but its standard ones, with a time limit; it and all that it started are gone when the
 * call returns.
 */

#include "worker/worker.h"

#define HOOK_OUTPUT_MAX 4096U /* bytes kept of what it prints */
#define HOOK_USER "pciassignd-hook"

typedef struct HookResult {
        char *output;   /* printable; "" nothing; owned */
        bool not_mine;  /* exit status 2 */
        bool masked;    /* a link to /dev/null stands in its place */
        int status;     /* exit status, or -signal */
} HookResult;
void hook_result_done(HookResult *h);

/* 0: it agrees (or is not concerned); -EACCES it refuses; -ENOENT there is none of that name;
 * -EPERM its file is not root's alone; -ENOEXEC; -ETIMEDOUT; -EPIPE ended by a signal; -ECANCELED
 * the daemon wants it no more. */
typedef struct HookCall {
        const char *name;
        const char *input;     /* JSON on its standard input */
        uint32_t timeout_msec;
} HookCall;
int hook_run(Worker *w, const HookCall *call, HookResult *ret);
/* The same by the hooks' own service. -EHOSTDOWN: it is not there. */
int hook_ask(Worker *w, const HookCall *call, HookResult *ret);
/* The service: runs what the worker behind w->socket asks for. */
int hook_serve(Worker *w);
bool hook_name_is_valid(const char *name);
/* Who it runs as: UID_UNCHANGED where this process is not root and cannot change it. */
#define HOOK_UID_UNCHANGED ((uid_t) -1)
void hook_user(const Worker *w, uid_t *ret_uid, gid_t *ret_gid);
