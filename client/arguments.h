/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The command line. One table of verbs, one of options; help, parsing and the completions' test
 * read them. */

#include <sys/types.h>

#include "output.h"

/* What a verb takes beside the options that all take. */
#define TAKES_JSON (1U << 0)
#define TAKES_OWNER (1U << 1)
#define TAKES_ASSIGN (1U << 2)   /* what assign, plan and run share */
#define TAKES_NO_WAIT (1U << 3)
#define TAKES_LIFETIME (1U << 4)
#define TAKES_TOKEN (1U << 5)
#define TAKES_IDENTITY (1U << 6) /* --uid --gid */
#define TAKES_OPEN (1U << 7)
#define TAKES_LIST (1U << 8)
#define TAKES_REDACT (1U << 9)
#define TAKES_PID (1U << 10)
#define TAKES_FACTS (1U << 11)
#define TAKES_COMMAND (1U << 12) /* -- COMMAND */
#define TAKES_ATTACH (1U << 13)  /* --attach-within --memlock */
#define TAKES_DAEMON (1U << 14)
#define TAKES_MEMLOCK (1U << 15)
#define TAKES_DRIVER (1U << 21) /* --driver alone */
#define TAKES_REPLAY (1U << 16)  /* --snapshot --policy --against */
#define TAKES_REASON (1U << 24)  /* --reason alone */
#define TAKES_MATCH (1U << 20)   /* --match: wants instead of device names */

typedef struct Arguments {
        /* All verbs. */
        const char *bus;
        ColorMode color;
        bool json;
        /* Some. */
        const char *owner, *lifetime, *reason, *request_id, *token, *api, *driver, *daemon;
        const char *snapshot, *policy, *against;
        char **labels;
        char **topics;
        char **matches; /* "2:kind=gpu,vendor=10de" */
        bool same_numa, same_switch, clean_groups;
        bool take_all, force, no_wait, dry_run, by_node, redact, refresh, assignable, assignments;
        bool has_uid, has_gid;
        uid_t uid;
        gid_t gid;
        const char *user; /* as --uid named it */
        uint64_t memlock, attach_within_usec;
        pid_t pid;
        /* The rest. */
        char **words; /* behind the verb, up to -- */
        size_t n_words;
        char **command; /* behind --; NULL if there is no -- */
} Arguments;

typedef struct Verb {
        const char *name, *usage, *summary, *details;
        unsigned takes;
        unsigned min_words, max_words;
        int (*run)(const Arguments *a);
} Verb;
#define WORDS_ANY 1024U

extern const Verb verbs[];
extern const size_t n_verbs;

/* 0: run *ret_verb; positive: an exit code plus one (help, version and mistakes are done with
 * here). */
int arguments_parse(int argc, char **argv, Arguments *ret, const Verb **ret_verb);
/* "30s", "5min", "2h", "250ms", "7" (seconds). -EINVAL, -ERANGE. */
int parse_timespan(const char *s, uint64_t *ret_usec);
/* "64G", "1048576", "infinity" (UINT64_MAX). */
int parse_bytes(const char *s, uint64_t *ret);
