/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Plays sequences, each in a process of its own, and makes a failing one short. */

#include "world.h"

#define SEQUENCE_LENGTH_MAX 4096U

/* The steps of one seed, and which of them are played. */
typedef struct Sequence {
        uint64_t seed;
        size_t length;
        bool left_out[SEQUENCE_LENGTH_MAX];
} Sequence;

typedef struct Runner {
        WorldTemplate template;
        WorldReport *report; /* shared with the processes */
        int log_fd;          /* what the engine logged */
} Runner;

int runner_init(Runner *r, const char *host_json, size_t n);
/* True: every invariant held. Else r->report says which did not, and what happened before. */
bool runner_play(Runner *r, const Sequence *s);
/* Leaves out every step without which it fails the same way. Returns how many are left. */
size_t runner_shrink(Runner *r, Sequence *s);
/* What failed, and how to play it again. */
void runner_print(Runner *r, const Sequence *s, const char *program);
/* "3,17-20": only these. */
int sequence_parse_steps(Sequence *s, const char *text);
