/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection to the daemon and calls over it. A call is sent without blocking and the
 * connection is processed until the answer is there, so that signals (a job's progress) are seen
 * meanwhile, and so that the second string of an error, the details, can be read, which
 * sd_bus_call() drops. Every error becomes one complaint: the daemon's message, then the remedies
 * that its details name; the exit code comes from the table in base/errors.h.
 */

#include "bus.h"

#include <assert.h>

#include "base/strutil.h"
#include "pci/address.h"
#include "variant-json.h"

/* An assignment may wait for a holder to let go, and a reset alone takes 65 s: the daemon ends its
 * jobs, not we. */
#define CALL_TIMEOUT_USEC UINT64_MAX
#define REMEDIES_MAX 16U

static bool json_errors; /* --json: a refusal is data, on standard output too */

/* ---- errors ---- */

int (client_broken)(int r, const char *what) {
        return complain_errno(EXIT_FAILED, -r,
                              "%s: the bus message cannot be made or is not as expected: %m", what);
}

static const char *first_string(const Json *j, const char *const *keys, size_t n) {
        const char *s = NULL;

        for (size_t i = 0; i < n; i++)
                if (json_get_string(j, keys[i], &s) > 0 && s[0])
                        return s;
        return NULL;
}

/* One line per blocker: which device, what is in the way, what helps. What the message said is not
 * said again. */
static void complain_blocker(const Json *b, const char *message) {
        static const char *const whats[] = { "message", "code" };
        const char *device = NULL, *remedy = NULL, *proof = NULL,
                   *what = first_string(b, whats, ELEMENTSOF(whats));

        (void) json_get_string(b, "device", &device); /* NULL if absent, as set above */
        (void) json_get_string(b, "remedy", &remedy);
        (void) json_get_string(b, "proof", &proof);
        if (what && !strstr(message, what))
                (void) fprintf(stderr, "  %s%s%s\n",
                               escaped(device && !strstr(what, device) ? device : ""),
                               device && !strstr(what, device) ? ": " : "", escaped(what));
        if (proof && !strstr(message, proof))
                (void) fprintf(stderr, "    proof: %s\n", escaped(proof));
        if (remedy && !strstr(message, remedy))
                (void) fprintf(stderr, "    remedy: %s\n", escaped(remedy));
}

static void complain_details(const Json *details, const char *message) {
        Json *blockers = json_get(details, "blockers");
        const char *remedy = NULL;

        for (size_t i = 0; i < json_length(blockers) && i < REMEDIES_MAX; i++)
                complain_blocker(json_at(blockers, i), message);
        if (json_length(blockers) > REMEDIES_MAX)
                (void) fprintf(stderr, "  … and %zu more\n", json_length(blockers) - REMEDIES_MAX);
        if (json_get_string(details, "remedy", &remedy) > 0 && !strstr(message, remedy))
                (void) fprintf(stderr, "  remedy: %s\n", escaped(remedy));
}

/* The same for programs: {"error", "message", "exit_code", "details"}. */
static void print_error_json(const char *name, const char *message, int code, Json *details) {
        _cleanup_json_ Json *j = NULL;

        if (!json_errors)
                return;
        j = json_new_object();
        (void) json_set_string(j, "error", name); /* a broken tree shows when it is printed */
        (void) json_set_string(j, "message", message);
        (void) json_set_u64(j, "exit_code", (uint64_t) code);
        (void) json_set(j, "details", details ? json_ref(details) : json_new_object());
        (void) print_json(j);
}

/* NULL where there is none, or where it is no JSON. */
static Json *read_details(sd_bus_message *reply) {
        const char *message, *details;
        Json *j = NULL;

        if (!sd_bus_message_has_signature(reply, "ss") || sd_bus_message_rewind(reply, true) < 0 ||
            sd_bus_message_read(reply, "ss", &message, &details) < 0 ||
            json_parse(details, strlen(details), JSON_LIMITS_DEFAULT, &j, NULL, NULL) < 0)
                return NULL;
        return j;
}

static int exit_code_of(const char *name) {
        static const struct { const char *name; int code; } others[] = {
                { SD_BUS_ERROR_SERVICE_UNKNOWN, EXIT_UNREACHABLE },
                { SD_BUS_ERROR_NAME_HAS_NO_OWNER, EXIT_UNREACHABLE },
                { SD_BUS_ERROR_NO_REPLY, EXIT_UNREACHABLE },
                { SD_BUS_ERROR_DISCONNECTED, EXIT_UNREACHABLE },
                { SD_BUS_ERROR_TIMEOUT, EXIT_STUCK },
                { SD_BUS_ERROR_UNKNOWN_OBJECT, EXIT_NOT_FOUND },
                { SD_BUS_ERROR_ACCESS_DENIED, 6 },
                { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, 6 },
                { SD_BUS_ERROR_INVALID_ARGS, 2 },
                { SD_BUS_ERROR_LIMITS_EXCEEDED, 5 },
        };
        ErrorCode code = error_code_from_string(name);

        if (code != ERROR_NONE)
                return error_code_to_exit(code);
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                if (streq(name, others[i].name))
                        return others[i].code;
        return strncmp(name, "org.freedesktop.DBus.Error.Spawn.", 33) == 0 ? EXIT_UNREACHABLE
                                                                           : EXIT_FAILED;
}

static int complain_error(const char *what, sd_bus_message *reply) {
        const sd_bus_error *e = sd_bus_message_get_error(reply);
        const char *message = isempty(e->message) ? e->name : e->message;
        ErrorCode known = error_code_from_string(e->name);
        _cleanup_json_ Json *details = read_details(reply);
        int code = exit_code_of(e->name);

        if (streq(e->name, SD_BUS_ERROR_UNKNOWN_OBJECT)) {
                message = "the daemon knows no such device, assignment or job";
                known = ERROR_NOT_FOUND;
        }
        print_error_json(known == ERROR_NONE ? e->name : error_code_to_string(known), message, code,
                         details);
        if (code == EXIT_UNREACHABLE)
                return complain(
                        code,
                        "%s: the daemon cannot be reached: %s\n"
                        "  remedy: systemctl start pciassignd.service, or name its bus with --bus",
                        what, escaped(message));
        (void) complain(code, "%s: %s", what, escaped(message));
        if (details)
                complain_details(details, message);
        return code;
}

int client_complain_result(const char *what, const Json *result) {
        const char *code = NULL, *message = NULL;
        ErrorCode error;
        Json *details;

        if (json_get_string(result, "error", &code) <= 0)
                return 0;
        error = error_code_from_string(code);
        (void) json_get_string(result, "message", &message); /* NULL if absent */
        details = json_get(result, "details");
        print_error_json(code, strempty(message),
                         error == ERROR_NONE ? EXIT_FAILED : error_code_to_exit(error), details);
        (void) complain(EXIT_FAILED, "%s: %s", what, escaped(isempty(message) ? code : message));
        if (details)
                complain_details(details, strempty(message));
        return error == ERROR_NONE ? EXIT_FAILED : error_code_to_exit(error);
}

/* ---- connection and calls ---- */

int client_connect(const Arguments *a, sd_bus **ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        assert(a);
        assert(ret);
        json_errors = a->json;
        if (a->bus) {
                r = sd_bus_new(&bus);
                if (r >= 0)
                        r = sd_bus_set_address(bus, a->bus);
                if (r >= 0)
                        r = sd_bus_set_bus_client(bus, true);
                if (r >= 0)
                        r = sd_bus_negotiate_fds(bus, true);
                if (r >= 0)
                        r = sd_bus_start(bus);
        } else
                r = sd_bus_open_system(&bus); /* which looks at DBUS_SYSTEM_BUS_ADDRESS */
        if (r >= 0)
                r = sd_bus_set_allow_interactive_authorization(bus, true);
        if (r < 0)
                return complain_errno(EXIT_UNREACHABLE, -r, "the bus %s%scannot be reached: %m",
                                      escaped(a->bus), a->bus ? " " : "");
        *ret = TAKE_PTR(bus);
        return 0;
}

int client_new_call(sd_bus *bus, const char *path, const char *interface, const char *member,
                    sd_bus_message **ret) {
        int r = sd_bus_message_new_method_call(bus, ret, BUS_NAME, path ?: BUS_PATH, interface,
                                               member);

        return r < 0 ? client_broken(r, member) : 0;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        sd_bus_message **reply = userdata;

        *reply = sd_bus_message_ref(m);
        return 0;
}

void pending_call_done(PendingCall *p) {
        assert(p);
        p->slot = sd_bus_slot_unref(p->slot);
        p->reply = sd_bus_message_unref(p->reply);
}

static int complain_lost(int r, const char *what) {
        return complain_errno(EXIT_UNREACHABLE, -r, "%s: the connection to the bus was lost: %m",
                              what);
}

int client_send(sd_bus *bus, sd_bus_message *call, const char *what, PendingCall *p) {
        int r;

        assert(bus);
        assert(what);
        assert(p);
        r = sd_bus_call_async(bus, &p->slot, call, on_reply, &p->reply, CALL_TIMEOUT_USEC);
        return r < 0 ? complain_lost(r, what) : 0;
}

/* Until the answer is there, which may be an error. */
static int wait_for_reply(sd_bus *bus, const char *what, PendingCall *p) {
        int r = 0;

        while (r >= 0 && !p->reply) {
                r = sd_bus_process(bus, NULL);
                if (r == 0 && !p->reply)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r == -EINTR)
                        r = 0;
        }
        return p->reply ? 0 : complain_lost(r, what);
}

int client_wait(sd_bus *bus, const char *what, PendingCall *p, sd_bus_message **ret_reply) {
        int r;

        assert(bus);
        assert(what);
        assert(p);
        r = wait_for_reply(bus, what, p);
        if (r > 0)
                return r;
        if (sd_bus_message_is_method_error(p->reply, NULL) > 0)
                return complain_error(what, p->reply);
        if (ret_reply)
                *ret_reply = TAKE_PTR(p->reply);
        return 0;
}

int client_call(sd_bus *bus, sd_bus_message *call, const char *what, sd_bus_message **ret_reply) {
        _cleanup_pending_ PendingCall p = {};
        int r = client_send(bus, call, what, &p);

        return r > 0 ? r : client_wait(bus, what, &p, ret_reply);
}

int client_call_unless_gone(sd_bus *bus, sd_bus_message *call, const char *what,
                            sd_bus_message **ret_reply) {
        _cleanup_pending_ PendingCall p = {};
        int r;

        assert(ret_reply);
        r = client_send(bus, call, what, &p);
        if (r == 0)
                r = wait_for_reply(bus, what, &p);
        if (r > 0)
                return r;
        if (sd_bus_message_is_method_error(p.reply, SD_BUS_ERROR_UNKNOWN_OBJECT) > 0 ||
            sd_bus_message_is_method_error(p.reply, ERROR_DBUS_PREFIX "NotFound") > 0) {
                *ret_reply = NULL;
                return 0;
        }
        return client_wait(bus, what, &p, ret_reply);
}

int client_call_strings(sd_bus *bus, const Method *method, const char *what, char *const *strings,
                        sd_bus_message **ret_reply) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r = client_new_call(bus, method->path, method->interface, method->member, &call);

        if (r > 0)
                return r;
        for (; strings && *strings; strings++) {
                r = sd_bus_message_append_basic(call, 's', *strings);
                if (r < 0)
                        return client_broken(r, what);
        }
        return client_call(bus, call, what, ret_reply);
}

int client_read(sd_bus_message *reply, const char *what, Json **ret) {
        int r = message_read_json(reply, ret);

        return r < 0 ? client_broken(r, what) : 0;
}

int client_read_json_text(sd_bus_message *reply, const char *what, Json **ret) {
        const char *text;
        int r = sd_bus_message_read(reply, "s", &text);

        if (r >= 0)
                r = json_parse(text, strlen(text), JSON_LIMITS_DEFAULT, ret, NULL, NULL);
        return r < 0 ? client_broken(r, what) : 0;
}

int client_send_get_all(sd_bus *bus, const char *path, const char *interface, const char *what,
                        PendingCall *p) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r = client_new_call(bus, path, "org.freedesktop.DBus.Properties", "GetAll", &call);

        if (r > 0)
                return r;
        r = sd_bus_message_append_basic(call, 's', interface);
        return r < 0 ? client_broken(r, what) : client_send(bus, call, what, p);
}

int client_get_all(sd_bus *bus, const char *path, const char *interface, const char *what,
                   Json **ret) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_pending_ PendingCall p = {};
        int r = client_send_get_all(bus, path, interface, what, &p);

        if (r == 0)
                r = client_wait(bus, what, &p, &reply);
        return r > 0 ? r : client_read(reply, what, ret);
}

/* a{oa{sa{sv}}}: the generic conversion makes objects of dictionaries with string keys only. */
static int read_objects(sd_bus_message *m, Json *objects) {
        int r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
                _cleanup_json_ Json *value = NULL;
                const char *path;

                r = sd_bus_message_read_basic(m, 'o', &path);
                if (r >= 0)
                        r = message_read_json(m, &value);
                if (r >= 0)
                        r = json_set(objects, path, TAKE_PTR(value));
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r;
}

int client_get_objects(sd_bus *bus, Json **ret) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_json_ Json *objects = json_new_object();
        int r;

        r = client_call_strings(
                bus, METHOD(NULL, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects"),
                "list objects", NULL, &reply);
        if (r > 0)
                return r;
        r = read_objects(reply, objects);
        if (r < 0)
                return client_broken(r, "list objects");
        *ret = TAKE_PTR(objects);
        return 0;
}

/* ---- names to objects ---- */

const char *path_base(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static int find_path(sd_bus *bus, const char *method, const char *name, char **ret) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        char *const strings[] = { (char *) name, NULL };
        const char *path;
        int r;

        r = client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_MANAGER, method), escaped(name),
                                strings, &reply);
        if (r > 0)
                return r;
        r = sd_bus_message_read(reply, "o", &path);
        if (r >= 0)
                r = (*ret = strdup(path)) ? 0 : -ENOMEM;
        return r < 0 ? client_broken(r, method) : 0;
}

int client_find_device(sd_bus *bus, const char *name, char **ret_path) {
        return find_path(bus, "GetDevice", name, ret_path);
}

static bool is_assignment_id(const char *s) {
        return strlen(s) == 32 && strspn(s, "0123456789abcdef") == 32;
}

int client_find_assignment(sd_bus *bus, const char *name, char **ret_path) {
        _cleanup_free_ char *device = NULL;
        _cleanup_json_ Json *properties = NULL;
        const char *path = NULL;
        int r;

        if (is_assignment_id(name))
                return find_path(bus, "GetAssignment", name, ret_path);
        r = client_find_device(bus, name, &device);
        if (r == 0)
                r = client_get_all(bus, device, BUS_INTERFACE_DEVICE, escaped(name), &properties);
        if (r > 0)
                return r;
        if (json_get_string(properties, "Assignment", &path) <= 0 || streq(path, "/"))
                return complain(
                        EXIT_NOT_FOUND,
                        "%s belongs to no assignment; pciassignctl list --assignments shows all",
                        escaped(name));
        *ret_path = strdup(path);
        return *ret_path ? 0 : client_broken(-ENOMEM, name);
}
