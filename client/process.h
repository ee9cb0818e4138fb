/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A child in the foreground: its signals, its end. */

#include <sys/types.h>

#include "base/cleanup.h"

/* Blocks the signals that end or control a program and returns a descriptor that reads them;
 * -errno. */
int signals_catch(void);
/* In a child before it executes: as if signals_catch() had not been called. */
void signals_restore(void);
/* Waits for the child, passing on what was sent to us. Its exit status, 128 + signal, or -errno. */
int process_wait(pid_t child, int pidfd, int signal_fd);
int process_pidfd(pid_t pid); /* -errno */
