/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a failed step means to the user: one place for the worker and the simulated host, so that
 * both say the same. The kernel gives a bare errno that means something else for each step; the
 * code, the thing, the reason and the remedy are made from it here.
 */

#include "host/host.h"

/* The write succeeded and the fact does not show it: nothing bound, or another driver did. */
#define STEP_ERROR_READ_BACK EBADE

typedef struct StepFailure {
        const Step *step;
        bool undo;          /* it was the undoing that failed */
        int error;          /* negative errno */
        const char *found;  /* what shows instead: the driver that is bound, "" for none; NULL: not
                               looked */
        const char *detail; /* a finding that explains it, "0000:03:00.1 is on igb"; NULL: none */
        const PciHolder *holders; /* borrowed */
        size_t n_holders;
} StepFailure;

/* Fills error, code, message and holders of ret, nothing else. */
void step_failure_explain(const StepFailure *f, HostResult *ret);
