/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The one error table. Every error that a user can meet is a code of this table; the table gives
 * its D-Bus name, the errno that stands for it, the exit code of the client and one line of
 * documentation. Lower layers return negative errno; where a request is answered an Error is
 * filled.
 */

#include "base/cleanup.h"

/*      code             D-Bus suffix     errno        exit  documentation */
#define ERROR_TABLE(X)                                                                     \
        X(NOT_FOUND, "NotFound", ENODEV, 3, "no such device, group, assignment or job")    \
        X(INVALID, "Invalid", EINVAL, 2, "an argument or option is wrong")                 \
        X(NOT_AUTHORIZED, "NotAuthorized", EACCES, 6, "the caller may not do this")        \
        X(POLICY_DENIED, "PolicyDenied", EPERM, 4, "a rule refuses this")                  \
        X(NOT_VIABLE, "NotViable", ENXIO, 4, "the IOMMU group cannot be assigned")         \
        X(HOST_CRITICAL, "HostCritical", ENOTBLK, 4, "the host itself needs the device")   \
        X(OWNED, "Owned", EADDRINUSE, 5, "another owner has the device or group")          \
        X(BUSY, "Busy", EBUSY, 5, "the device is in use or a job is running")              \
        X(PLAN_STALE, "PlanStale", ESTALE, 9, "a fact changed since the plan was made")    \
        X(STUCK, "Stuck", ETIMEDOUT, 7, "a kernel operation has not come back")            \
        X(GONE, "Gone", ENOLINK, 7, "the device is gone")                                  \
        X(QUARANTINED, "Quarantined", EUCLEAN, 4, "the device is quarantined")             \
        X(NOT_SUPPORTED, "NotSupported", EOPNOTSUPP, 1, "kernel or device cannot do this") \
        X(FAILED, "Failed", EIO, 1, "the operation failed")

typedef enum ErrorCode {
        ERROR_NONE = 0,
#define X(code, name, number, exit, doc) ERROR_##code,
        ERROR_TABLE(X)
#undef X
        _ERROR_MAX,
} ErrorCode;

#define ERROR_DBUS_PREFIX "org.pciassign1.Error."
#define ERROR_MESSAGE_MAX 1024U

/* Filled by functions that a user can reach. `details` is NULL or a JSON document, owned. */
typedef struct Error {
        ErrorCode code;
        char message[ERROR_MESSAGE_MAX];
        char *details;
} Error;

#define ERROR_INIT ((Error) {})

/* Full D-Bus name, e.g. "org.pciassign1.Error.NotFound". */
const char *error_code_to_dbus_name(ErrorCode code);
/* The suffix alone, e.g. "NotFound"; "None" for ERROR_NONE. */
const char *error_code_to_string(ErrorCode code);
ErrorCode error_code_from_string(const char *s); /* suffix or full name; ERROR_NONE if unknown */
int error_code_to_errno(ErrorCode code);         /* positive errno */
int error_code_to_exit(ErrorCode code);
/* The C library's words for an errno of either sign; the kernel has some that it does not know
 * (524). Static. */
const char *errno_text(int error);
const char *error_code_to_doc(ErrorCode code);

/* Sets code and message (replacing what was there), returns the negative errno of the code, so that
 * `return error_set(err, ERROR_BUSY, "…")` works. err may be NULL. */
int error_set(Error *err, ErrorCode code, const char *format, ...) _printf_(3, 4);
/* Puts "format: " before the message that is there. Returns the negative errno of the code. */
int error_prefix(Error *err, const char *format, ...) _printf_(2, 3);
#ifdef __clang_analyzer__
/* What the static analyser cannot know: neither ever returns 0. */
#define error_set(err, ...) ((void) (err), -EIO)
#define error_prefix(err, ...) ((void) (err), -EIO)
#endif
/* Takes ownership of a JSON text (malloc'd, may be NULL). */
void error_take_details(Error *err, char *details);
void error_move(Error *to, Error *from);
void error_done(Error *err);
#define _cleanup_error_ _cleanup_(error_done)
