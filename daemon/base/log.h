/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Logging to the journal with fields, or to standard error when that is a terminal or the journal
 * is not there. The level is the only global of the daemon. A function logs or returns an error,
 * never both.
 */

#include <syslog.h>

#include "base/cleanup.h"

void log_set_level(int level); /* LOG_ERR … LOG_DEBUG */
int log_get_level(void);
int log_level_from_string(const char *s); /* "error" … "debug"; -EINVAL */
void log_set_program(const char *name);   /* identifier on standard error; static string */

int log_full(int level, int error, const char *file, int line, const char *format, ...)
        _printf_(5, 6);

/* Fields that may stand beside a message; NULL or 0 leaves one out. */
typedef struct LogContext {
        const char *message_id; /* 32 hex digits, names.h */
        const char *device;     /* PCI_SLOT= */
        const char *group;      /* IOMMU_GROUP= */
        const char *assignment; /* ASSIGNMENT= */
        const char *owner;      /* OWNER= */
        uint64_t job;           /* JOB_ID= */
} LogContext;

int log_context(const LogContext *context, int level, int error, const char *format, ...)
        _printf_(4, 5);

/* All return -abs(error), so `return log_error_errno(r, "Failed to …: %m")`; %m is that errno's
 * text. */
#define log_error_errno(error, ...) log_full(LOG_ERR, error, __FILE__, __LINE__, __VA_ARGS__)
#define log_warning_errno(error, ...) log_full(LOG_WARNING, error, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug_errno(error, ...) log_full(LOG_DEBUG, error, __FILE__, __LINE__, __VA_ARGS__)
#define log_error(...) log_full(LOG_ERR, 0, __FILE__, __LINE__, __VA_ARGS__)
#define log_warning(...) log_full(LOG_WARNING, 0, __FILE__, __LINE__, __VA_ARGS__)
#define log_notice(...) log_full(LOG_NOTICE, 0, __FILE__, __LINE__, __VA_ARGS__)
#define log_info(...) log_full(LOG_INFO, 0, __FILE__, __LINE__, __VA_ARGS__)
#define log_debug(...) log_full(LOG_DEBUG, 0, __FILE__, __LINE__, __VA_ARGS__)
