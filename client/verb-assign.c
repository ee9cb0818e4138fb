/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * assign, release and attach: who has a device changes. On a terminal the call returns with its
 * job, which is followed step by step; otherwise it returns when all is done. A refusal prints the
 * blockers with their remedies.
 */

#include "verbs.h"

#include "assign-call.h"
#include "base/strutil.h"
#include "devices.h"
#include "follow.h"
#include "process.h"

/* "group" is the group of the first device, "groups" all of them: an assignment may take
 * several. */
static int add_groups(sd_bus *bus, Json *j, const char *what) {
        Json *devices = json_get(j, "devices"), *groups = json_new_array();
        int64_t last = -1;
        int r = 0;

        for (size_t i = 0; i < json_length(devices) && r == 0; i++) {
                _cleanup_free_ char *path = NULL;
                _cleanup_json_ Json *device = NULL;
                int64_t group = -1;

                if (sd_bus_path_encode(BUS_PATH_DEVICE, strempty(json_string(json_at(devices, i))),
                                       &path) < 0)
                        output_out_of_memory();
                r = client_get_all(bus, path, BUS_INTERFACE_DEVICE, what, &device);
                if (r == 0 && json_get_i64(device, "IommuGroup", &group) > 0 && group >= 0 &&
                    group != last)
                        (void) json_append(
                                groups, json_new_i64(last = group)); /* shows when it is printed */
        }
        if (json_length(groups) > 0)
                (void) json_set(j, "group", json_ref(json_at(groups, 0)));
        else
                (void) json_set_null(j, "group");
        (void) json_set(j, "groups", groups);
        return r;
}

static int print_assignment(sd_bus *bus, const Arguments *a, const char *path, const char *what) {
        _cleanup_json_ Json *properties = NULL, *j = NULL;
        _cleanup_free_ char *devices = NULL, *parked = NULL;
        int r = client_get_all(bus, path, BUS_INTERFACE_ASSIGNMENT, what, &properties);

        if (r > 0)
                return r;
        j = assignment_to_json(properties);
        if (a->json) {
                r = add_groups(bus, j, what);
                return r > 0 ? r : print_json(j);
        }
        devices = member_text(j, "devices");
        parked = member_text(j, "parked");
        printf("%s %s%s%s: %s for %s%s%s\n", escaped(member_string(j, "assignment")),
               output_begin(output_paint_of(member_string(j, "state"))),
               escaped(member_string(j, "state")), output_end(), escaped(devices),
               escaped(member_string(j, "owner")), parked[0] ? ", parked with it: " : "",
               escaped(parked));
        return 0;
}

static int on_anything(sd_bus_message *m _unused_, void *userdata, sd_bus_error *error _unused_) {
        bool *seen = userdata;

        *seen = true;
        return 0;
}

/* The assignment lives as long as this connection: stay, until it ends or the user ends us. */
static int stay(sd_bus *bus, const char *path, const char *what) {
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        _cleanup_free_
        char *match = strjoinf(
                "type='signal',sender='" BUS_NAME "',path='" BUS_PATH "',interface='"
                "org.freedesktop.DBus.ObjectManager',member='InterfacesRemoved',arg0path='%s'",
                path);
        bool removed = false;
        int r;

        if (!match)
                output_out_of_memory();
        r = sd_bus_add_match(bus, &slot, match, on_anything, &removed);
        while (r >= 0 && !removed) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r == -EINTR)
                        r = 0;
        }
        return r < 0 ? complain_errno(EXIT_UNREACHABLE, -r,
                                      "%s: the connection to the bus was lost: %m", what)
                     : 0;
}

/* With --no-wait it may be gone again by now: only what it is called. */
static int name_assignment(const Arguments *a, const char *path, const char *job) {
        _cleanup_json_ Json *j = NULL;

        if (!a->json) {
                printf("job %s for assignment %s\n", escaped(path_base(job)),
                       escaped(path_base(path)));
                return 0;
        }
        j = json_new_object();
        (void) json_set_string(j, "assignment", path_base(path)); /* shows when it is printed */
        (void) json_set_string(j, "job", path_base(job));
        return print_json(j);
}

static int read_paths(sd_bus_message *reply, const char *what, char **ret_assignment,
                      char **ret_job) {
        const char *assignment, *job;
        int r = sd_bus_message_read(reply, "oo", &assignment, &job);

        if (r < 0)
                return client_broken(r, what);
        *ret_assignment = strdup(assignment);
        *ret_job = strdup(job);
        return *ret_assignment && *ret_job ? 0 : client_broken(-ENOMEM, what);
}

static int assign(sd_bus *bus, const Arguments *a, int pidfd) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_free_
        char *what = describe_words("assign", a->words, a->n_words), *assignment = NULL,
             *job = NULL;
        AssignExtra x = { .pidfd = pidfd, .no_wait = follow_is_wanted(a) };
        int r;

        r = assign_new_call(bus, "Assign", a, a->words, &x, &call);
        if (r == 0)
                r = client_call(bus, call, what, &reply);
        if (r == 0)
                r = read_paths(reply, what, &assignment, &job);
        if (r == 0 && a->no_wait && !streq(strempty(job), "/"))
                return name_assignment(a, assignment, job);
        if (r == 0)
                r = follow_job(bus, job, what);
        if (r == 0)
                r = print_assignment(bus, a, assignment, what);
        if (r == 0)
                r = output_finish(0);
        if (r == 0 && a->lifetime && streq(a->lifetime, "connection"))
                r = stay(bus, assignment, what);
        return r;
}

static int open_pid(pid_t pid, int *ret) {
        int fd = process_pidfd(pid);

        if (fd < 0)
                return complain_errno(fd == -ESRCH ? EXIT_NOT_FOUND : EXIT_FAILED, -fd,
                                      "process %d: %m", (int) pid);
        *ret = fd;
        return 0;
}

int verb_assign(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_close_ int pidfd = -EBADF;
        bool process = a->lifetime && streq(a->lifetime, "process");
        int r;

        if (process != (a->pid > 0))
                return complain(2, "--lifetime=process and --pid go together: whose end releases "
                                   "the devices?");
        if (a->dry_run)
                return verb_plan(a);
        if (a->pid > 0) {
                r = open_pid(a->pid, &pidfd);
                if (r > 0)
                        return r;
        }
        r = client_connect(a, &bus);
        return r > 0 ? r : assign(bus, a, pidfd);
}

/* ---- release ---- */

static int read_job(sd_bus_message *reply, const char *what, const char **ret) {
        int r = sd_bus_message_read(reply, "o", ret);

        return r < 0 ? client_broken(r, what) : 0;
}

static int release_one(sd_bus *bus, const Arguments *a, const char *name) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_free_
        char *path = NULL, *what = describe_words("release", (char *const[]){ (char *) name }, 1);
        const char *job = NULL;
        int r = client_find_assignment(bus, name, &path);

        if (r == 0)
                r = client_new_call(bus, path, BUS_INTERFACE_ASSIGNMENT, "Release", &call);
        if (r > 0)
                return r;
        if (a->no_wait || follow_is_wanted(a))
                r = sd_bus_message_append(call, "a{sv}", 1, "no-wait", "b", 1);
        else
                r = sd_bus_message_append(call, "a{sv}", 0);
        if (r < 0)
                return client_broken(r, what);
        r = client_call(bus, call, what, &reply);
        if (r == 0)
                r = read_job(reply, what, &job);
        if (r == 0)
                r = follow_or_name_job(bus, a, job, what);
        if (r == 0 && !a->no_wait)
                printf("%s released\n", escaped(name));
        return r;
}

int verb_release(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r = client_connect(a, &bus), first = 0;

        if (r > 0)
                return r;
        for (size_t i = 0; i < a->n_words; i++) {
                r = release_one(bus, a, a->words[i]);
                first = first ?: r;
        }
        return first;
}

/* ---- attach ---- */

int verb_attach(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_free_ char *path = NULL, *what = describe_words("attach", a->words, 1);
        _cleanup_close_ int pidfd = -EBADF;
        char uid[16] = "";
        const char *job = NULL;
        int r;

        if (a->pid == 0)
                return complain(2, "attach wants --pid: which process takes the assignment over?");
        r = open_pid(a->pid, &pidfd);
        if (r == 0)
                r = client_connect(a, &bus);
        if (r == 0)
                r = client_find_assignment(bus, a->words[0], &path);
        if (r == 0)
                r = client_new_call(bus, path, BUS_INTERFACE_ASSIGNMENT, "Attach", &call);
        if (r > 0)
                return r;
        if (a->has_uid)
                (void) snprintf(uid, sizeof(uid), "%u", (unsigned) a->uid);
        r = sd_bus_message_append(call, "hs", pidfd, uid);
        if (r >= 0)
                r = a->memlock > 0
                            ? sd_bus_message_append(call, "a{sv}", 1, "memlock", "t", a->memlock)
                            : sd_bus_message_append(call, "a{sv}", 0);
        if (r < 0)
                return client_broken(r, what);
        r = client_call(bus, call, what, &reply);
        if (r == 0)
                r = read_job(reply, what, &job);
        return r != 0 ? r : follow_job(bus, job, what);
}
