/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Microseconds. The engine never reads a clock itself: the host gives the time (virtual in the
 * simulated host). */

#include <stdint.h>

typedef uint64_t usec_t;
#define USEC_INFINITY UINT64_MAX
#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)

usec_t now_boottime(void); /* CLOCK_BOOTTIME */
usec_t now_realtime(void); /* CLOCK_REALTIME */
