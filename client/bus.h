/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Talking to the daemon: connection, calls whose errors become messages and exit codes. */

#include <systemd/sd-bus.h>

#include "arguments.h"
#include "base/errors.h"
#include "base/names.h"

#define EXIT_FAILED 1
#define EXIT_NOT_FOUND 3
#define EXIT_STUCK 7
#define EXIT_UNREACHABLE 8

#define _cleanup_bus_ _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)

/* All of these return 0, or an exit code after the complaint was printed. */
int client_connect(const Arguments *a, sd_bus **ret);
/* path NULL: the manager's. */
int client_new_call(sd_bus *bus, const char *path, const char *interface, const char *member,
                    sd_bus_message **ret);
/* Sends the call, dispatching signals until the answer is there. what: for the complaint, "assign
 * 0000:41:00.0". */
int client_call(sd_bus *bus, sd_bus_message *call, const char *what, sd_bus_message **ret_reply);
/* A call on its way, so that a second one can be sent before the first is answered. */
typedef struct PendingCall {
        sd_bus_slot *slot;
        sd_bus_message *reply;
} PendingCall;
void pending_call_done(PendingCall *p);
#define _cleanup_pending_ _cleanup_(pending_call_done)
/* p must stay where it is until it is done. */
int client_send(sd_bus *bus, sd_bus_message *call, const char *what, PendingCall *p);
int client_wait(sd_bus *bus, const char *what, PendingCall *p, sd_bus_message **ret_reply);
/* The same; NULL instead of a reply, without complaint, when the object is not there (any more). */
int client_call_unless_gone(sd_bus *bus, sd_bus_message *call, const char *what,
                            sd_bus_message **ret_reply);
typedef struct Method {
        const char *path; /* NULL: the manager's */
        const char *interface, *member;
} Method;
#define METHOD(path, interface, member) (&(const Method) { (path), (interface), (member) })
/* A method whose arguments are these strings (NULL: none). */
int client_call_strings(sd_bus *bus, const Method *method, const char *what, char *const *strings,
                        sd_bus_message **ret_reply);
/* Properties of one interface as an object. */
int client_send_get_all(sd_bus *bus, const char *path, const char *interface, const char *what,
                        PendingCall *p);
int client_get_all(sd_bus *bus, const char *path, const char *interface, const char *what,
                   Json **ret);
/* "path", interface → object of all objects: { "/org/…": { "org.pciassign1.Device": {…} } }. */
int client_get_objects(sd_bus *bus, Json **ret);
/* The reply's next value; complains about a reply that is not as expected. */
int client_read(sd_bus_message *reply, const char *what, Json **ret);
int client_read_json_text(sd_bus_message *reply, const char *what,
                          Json **ret); /* a string that holds JSON */
/* For replies and messages that could not be made or read. */
int client_broken(int r, const char *what);
#ifdef __clang_analyzer__
/* What the static analyser cannot know: it never returns 0. */
#define client_broken(r, what) ((void) (r), (void) (what), EXIT_FAILED)
#endif

/* The path of a device that is named in any way, and of an assignment by id, path or one of its
 * devices. */
int client_find_device(sd_bus *bus, const char *name, char **ret_path);
int client_find_assignment(sd_bus *bus, const char *name, char **ret_path);

/* The last component of an object's path. */
const char *path_base(const char *path);

/* An error document {"error", "message", "details"} as Job.Result has it: printed, exit code
 * returned; 0 for success. */
int client_complain_result(const char *what, const Json *result);
