/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What concerns the host or one device of it: doctor, snapshot, rescan, reset, quarantine, adopt,
 * restore, vfs.
 */

#include "verbs.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "assign-call.h"
#include "base/fdio.h"
#include "base/strutil.h"
#include "devices.h"
#include "follow.h"

#define SNAPSHOT_MAX ((off_t) 256 << 20)
#define EXIT_CANNOT_ASSIGN 4

/* ---- doctor ---- */

static void print_check(const Json *c) {
        const char *result = member_string(c, "result"), *remedy = member_string(c, "remedy");

        printf("%s%-8s%s %s: %s\n", output_begin(output_paint_of(result)), escaped(result),
               output_end(), escaped(member_string(c, "title")),
               escaped(member_string(c, "detail")));
        if (remedy[0])
                printf("         remedy: %s\n", escaped(remedy));
}

int verb_doctor(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_json_ Json *j = NULL;
        const Json *checks;
        const char *result;
        int r = client_connect(a, &bus), code;

        if (r == 0)
                r = client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_MANAGER, "Doctor"),
                                        "doctor", NULL, &reply);
        if (r == 0)
                r = client_read_json_text(reply, "doctor", &j);
        if (r > 0)
                return r;
        checks = json_get(j, "checks");
        result = member_string(j, "result");
        code = streq(result, "ok") ? 0 : streq(result, "fail") ? EXIT_CANNOT_ASSIGN : EXIT_FAILED;
        (void) json_set_u64(j, "exit-code", (uint64_t) code); /* ours, not the daemon's */
        if (a->json) {
                (void) print_json(j);
                return code;
        }
        for (size_t i = 0; i < json_length(checks); i++)
                print_check(json_at(checks, i));
        printf("%s\n", code == EXIT_CANNOT_ASSIGN ? "This host cannot assign devices."
                       : code == 0                ? "This host can assign devices."
                                                  : "This host can assign devices, with warnings.");
        return code;
}

/* ---- snapshot ---- */

static int copy_to(int from, off_t size, int to, const char *name) {
        _cleanup_free_ char *buffer = malloc(65536);
        off_t offset = 0;

        if (!buffer)
                output_out_of_memory();
        while (offset < size) {
                ssize_t n = loop_pread(from, buffer, (size_t) MIN(size - offset, (off_t) 65536),
                                       offset);
                int r = n > 0 ? loop_write(to, buffer, (size_t) n) : n < 0 ? (int) n : -EIO;

                if (r < 0)
                        return complain_errno(EXIT_FAILED, -r, "%s: %m", name);
                offset += n;
        }
        return 0;
}

/* A new file beside the old one, renamed over it: a snapshot is whole or not there. */
static int write_snapshot(int fd, off_t size, const char *name) {
        _cleanup_free_ char *temporary = strjoinf("%s.XXXXXX", name);
        _cleanup_close_ int to = -EBADF;
        int r;

        if (!temporary)
                output_out_of_memory();
        to = mkostemp(temporary, O_CLOEXEC);
        if (to < 0)
                return complain(EXIT_FAILED, "%s: %m", escaped(name));
        r = copy_to(fd, size, to, escaped(name));
        if (r == 0 && (fchmod(to, 0600) < 0 || fsync(to) < 0 || rename(temporary, name) < 0))
                r = complain(EXIT_FAILED, "%s: %m", escaped(name));
        if (r > 0)
                (void) unlink(temporary); /* the first error was told */
        return r;
}

int verb_snapshot(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        struct stat st;
        int fd, r;

        if (a->n_words == 0 && output_is_terminal())
                return complain(2, "snapshot to a terminal? Name a file, or - for standard output");
        r = client_connect(a, &bus);
        if (r == 0)
                r = client_new_call(bus, NULL, BUS_INTERFACE_MANAGER, "Snapshot", &call);
        if (r > 0)
                return r;
        r = a->redact ? sd_bus_message_append(call, "a{sv}", 1, "redact", "b", 1) :
                        sd_bus_message_append(call, "a{sv}", 0);
        if (r < 0)
                return client_broken(r, "snapshot");
        r = client_call(bus, call, "snapshot", &reply);
        if (r > 0)
                return r;
        r = sd_bus_message_read(reply, "h", &fd);
        if (r < 0)
                return client_broken(r, "snapshot");
        if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > SNAPSHOT_MAX)
                return complain(EXIT_FAILED,
                                "snapshot: what the daemon gave is no file of at most 256 MiB");
        if (a->n_words == 0 || streq(a->words[0], "-"))
                return copy_to(fd, st.st_size, STDOUT_FILENO, "standard output");
        return write_snapshot(fd, st.st_size, a->words[0]);
}

/* ---- calls that return a job ---- */

static int call_for_job(sd_bus *bus, const Arguments *a, sd_bus_message *call, const char *what) {
        _cleanup_message_ sd_bus_message *reply = NULL;
        const char *job;
        int r = client_call(bus, call, what, &reply);

        if (r > 0)
                return r;
        r = sd_bus_message_read(reply, "o", &job);
        if (r < 0)
                return client_broken(r, what);
        return follow_or_name_job(bus, a, job, what);
}

int verb_rescan(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL;
        int r = client_connect(a, &bus);

        if (r == 0)
                r = client_new_call(bus, NULL, BUS_INTERFACE_MANAGER, "Rescan", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "a{sv}", 0);
        return r < 0 ? client_broken(r, "rescan") : call_for_job(bus, a, call, "rescan");
}

/* A method of one device with options alone, after a text where it takes one. */
static int call_device(const Arguments *a, const char *verb, const char *method, const char *text) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL;
        _cleanup_free_ char *path = NULL, *what = describe_words(verb, a->words, 1);
        int r = client_connect(a, &bus);

        if (r == 0)
                r = client_find_device(bus, a->words[0], &path);
        if (r == 0)
                r = client_new_call(bus, path, BUS_INTERFACE_DEVICE, method, &call);
        if (r > 0)
                return r;
        if (text)
                r = sd_bus_message_append_basic(call, 's', text);
        if (r >= 0)
                r = sd_bus_message_append(call, "a{sv}", 0);
        return r < 0 ? client_broken(r, what) : call_for_job(bus, a, call, what);
}

int verb_reset(const Arguments *a) {
        return call_device(a, "reset", "Reset", NULL);
}

int verb_quarantine(const Arguments *a) {
        if (!a->reason)
                return complain(2,
                                "quarantine wants --reason=TEXT: who finds it later must know why");
        return call_device(a, "quarantine", "Quarantine", a->reason);
}

int verb_unquarantine(const Arguments *a) {
        return call_device(a, "unquarantine", "Unquarantine", NULL);
}

int verb_adopt(const Arguments *a) {
        return call_device(a, "adopt", "Adopt", NULL);
}

int verb_restore(const Arguments *a) {
        return call_device(a, "restore", "Restore", NULL);
}

int verb_vfs(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL;
        _cleanup_free_ char *path = NULL, *what = describe_words("vfs", a->words, 2);
        uint32_t number;
        int r;

        if (parse_u32(a->words[1], 10, UINT16_MAX, &number) < 0)
                return complain(2, "'%s' is not a number of virtual functions (0 to 65535)",
                                escaped(a->words[1]));
        r = client_connect(a, &bus);
        if (r == 0)
                r = client_find_device(bus, a->words[0], &path);
        if (r == 0)
                r = client_new_call(bus, path, BUS_INTERFACE_DEVICE, "SetVirtualFunctions", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append_basic(call, 'u', &number);
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'a', "{sv}");
        if (r >= 0 && a->driver)
                r = sd_bus_message_append(call, "{sv}", "driver", "s", a->driver);
        if (r >= 0 && (a->no_wait || follow_is_wanted(a)))
                r = sd_bus_message_append(call, "{sv}", "no-wait", "b", 1);
        if (r >= 0)
                r = sd_bus_message_close_container(call);
        return r < 0 ? client_broken(r, what) : call_for_job(bus, a, call, what);
}
