/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The two clocks in use: CLOCK_BOOTTIME for deadlines (it goes on while the machine is suspended)
 * and CLOCK_REALTIME for what people read. Only hosts and programs call these; the engine is given
 * its time.
 */

#include "base/clock.h"

#include <time.h>

static usec_t now(clockid_t clock) {
        struct timespec ts = {};

        /* Cannot fail: both clocks exist on every kernel that we run on. */
        (void) clock_gettime(clock, &ts);
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

usec_t now_boottime(void) {
        return now(CLOCK_BOOTTIME);
}

usec_t now_realtime(void) {
        return now(CLOCK_REALTIME);
}
