/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Bugs that are planted to see whether the simulation test finds them. They exist only where
 * PLANTED_BUGS is defined: in the engine that tests/sim/test-planted is built from
 * (tests/sim/libplanted.a), where one at a time is switched on. In every other build PLANTED() is
 * false and leaves no trace; tests/sim/check-planted holds that against the programs.
 */

typedef enum PlantedBug {
        PLANTED_NONE,
        PLANTED_CLAIM_WITHOUT_GROUP,  /* a claim looks neither at the group's owner nor at the
                                         device's */
        PLANTED_JOURNAL_AFTER_KERNEL, /* the plan is recorded when it has run */
        PLANTED_ACK_BEFORE_APPEND,    /* the client hears before the outcome is recorded */
        PLANTED_RESTORE_WRONG_DRIVER, /* what had no driver, or another, gets the one that would
                                         take it */
        PLANTED_FORGET_OVERRIDE,      /* the way back leaves driver_override */
        PLANTED_DROP_RELEASE, /* an owner that dies while its assignment is prepared is not noted */
        PLANTED_UNLOCK_EARLY, /* an unknown outcome is taken for a failure: the worker still runs */
        PLANTED_IGNORE_FOREIGN_REBIND, /* events of bind and unbind are not looked into */
        PLANTED_IGNORE_OVERFLOW,       /* lost events are not made up for */
        PLANTED_SKIP_UNDO,             /* a plan that a crash cut short is forgotten, not undone */
        PLANTED_LOSE_NOTICE,           /* an owner is told, and nothing is kept of it */
        PLANTED_RESERVE_BY_ADDRESS, /* another card at the same address passes for the one that was
                                       leased */
        PLANTED_REQUEST_TWICE,      /* the same request-id makes a second assignment */
        PLANTED_QUOTA_OFF_BY_ONE,
        PLANTED_FORGET_RESET,          /* cleaning leaves the reset out */
        PLANTED_REFUSE_WITHOUT_REASON, /* a verdict without its blockers */
        _PLANTED_BUG_MAX,
} PlantedBug;

#ifdef PLANTED_BUGS
extern PlantedBug planted_bug;
#define PLANTED(bug) (planted_bug == PLANTED_##bug)
#else
#define PLANTED(bug) false
#endif
