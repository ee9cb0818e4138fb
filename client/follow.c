/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Follows one job. Its properties are read once and again after each of its change signals, so
 * nothing is missed that happened before the signals were asked for. On a terminal each step that
 * ended gets a line, the one that runs stands below them and is overwritten.
 */

#include "follow.h"

#include <sys/ioctl.h>

#include "base/strutil.h"
#include "devices.h"

typedef struct Follow {
        bool changed, gone;
        size_t n_printed; /* steps whose line stands */
        bool running_line;
} Follow;

bool follow_is_wanted(const Arguments *a) {
        return output_is_terminal() && !a->json && !a->no_wait;
}

static int on_changed(sd_bus_message *m _unused_, void *userdata, sd_bus_error *error _unused_) {
        Follow *f = userdata;

        f->changed = true;
        return 0;
}

static int on_removed(sd_bus_message *m _unused_, void *userdata, sd_bus_error *error _unused_) {
        Follow *f = userdata;

        f->gone = f->changed = true;
        return 0;
}

static bool state_is_final(const char *state) {
        return streq(state, "done") || streq(state, "failed") || streq(state, "cancelled") ||
               streq(state, "stuck");
}

static bool step_is_final(const char *state) {
        return streq(state, "done") || streq(state, "failed");
}

static size_t terminal_width(void) {
        struct winsize w;

        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 20 ? w.ws_col : 80;
}

static void clear_running_line(Follow *f) {
        if (f->running_line)
                (void) fputs("\r\033[K", stdout);
        f->running_line = false;
}

static void print_step(const Json *step) {
        const char *state = member_string(step, "state"), *mark;

        if (streq(state, "done"))
                mark = output_is_unicode() ? "✓" : "+";
        else if (streq(state, "failed"))
                mark = output_is_unicode() ? "✗" : "!";
        else
                mark = output_is_unicode() ? "↶" : "<";
        printf("  %s%s%s %s\n", output_begin(output_paint_of(state)), mark, output_end(),
               escaped(member_string(step, "description")));
}

static void print_running(Follow *f, const char *text) {
        const char *safe = escaped(text);
        size_t n = MIN(strlen(safe), terminal_width() - 6);

        while (n > 0 && ((unsigned char) safe[n] & 0xc0) == 0x80)
                n--; /* not in the middle of a character */
        printf("  %s %.*s", output_is_unicode() ? "…" : ".", (int) n, safe);
        f->running_line = true;
}

/* Steps end in order; when they are undone, in reverse: those lines are told once the job has
 * ended. */
static void print_progress(Follow *f, const Json *job) {
        Json *steps = json_get(job, "steps");
        const char *current = member_string(job, "current");

        if (!output_is_terminal())
                return;
        clear_running_line(f);
        while (f->n_printed < json_length(steps) &&
               step_is_final(member_string(json_at(steps, f->n_printed), "state")))
                print_step(json_at(steps, f->n_printed++));
        if (streq(member_string(job, "state"), "waiting"))
                print_running(f, "waiting until nobody holds the device");
        else if (current[0])
                print_running(f, current);
        (void) fflush(stdout); /* output_finish() looks at its errors */
}

static void print_undone(const Json *job) {
        Json *steps = json_get(job, "steps");

        if (!output_is_terminal())
                return;
        for (size_t i = json_length(steps); i-- > 0;)
                if (streq(member_string(json_at(steps, i), "state"), "undone"))
                        print_step(json_at(steps, i));
}

static int finish(Follow *f, const Json *job, const char *what) {
        const char *state = member_string(job, "state");
        int r;

        clear_running_line(f);
        if (streq(state, "done"))
                return 0;
        print_undone(job);
        r = client_complain_result(what, json_get(job, "result"));
        if (r > 0)
                return r;
        if (streq(state, "stuck"))
                return complain(EXIT_STUCK,
                                "%s: a step has not come back from the kernel; pciassignctl jobs "
                                "shows which",
                                what);
        return complain(EXIT_FAILED, "%s: the job was %s", what, escaped(state));
}

static int subscribe(sd_bus *bus, const char *path, Follow *f, sd_bus_slot *slots[static 2]) {
        _cleanup_free_
        char *removed =
                strjoinf("type='signal',sender='" BUS_NAME "',path='" BUS_PATH
                         "',interface='" BUS_INTERFACE_MANAGER "',member='JobRemoved',arg0='%s'",
                         path);
        int r;

        if (!removed)
                output_out_of_memory();
        r = sd_bus_match_signal(bus, slots, BUS_NAME, path, "org.freedesktop.DBus.Properties",
                                "PropertiesChanged", on_changed, f);
        if (r >= 0)
                r = sd_bus_add_match(bus, slots + 1, removed, on_removed, f);
        return r < 0 ? client_broken(r, "job") : 0;
}

static int follow_loop(sd_bus *bus, const char *path, const char *what, Follow *f) {
        for (;;) {
                _cleanup_json_ Json *properties = NULL, *job = NULL;
                int r;

                f->changed = false;
                r = client_get_all(bus, path, BUS_INTERFACE_JOB, what, &properties);
                if (r > 0)
                        return r;
                job = job_to_json(properties);
                print_progress(f, job);
                if (state_is_final(member_string(job, "state")))
                        return finish(f, job, what);
                while (!f->changed) {
                        r = sd_bus_process(bus, NULL);
                        if (r == 0)
                                r = sd_bus_wait(bus, UINT64_MAX);
                        if (r < 0 && r != -EINTR)
                                return complain_errno(EXIT_UNREACHABLE, -r,
                                                      "%s: the connection to the bus was lost: %m",
                                                      what);
                }
        }
}

int follow_job(sd_bus *bus, const char *path, const char *what) {
        sd_bus_slot *slots[2] = {};
        Follow f = {};
        int r;

        if (streq(path, "/"))
                return 0;
        r = subscribe(bus, path, &f, slots);
        if (r == 0)
                r = follow_loop(bus, path, what, &f);
        for (size_t i = 0; i < ELEMENTSOF(slots); i++)
                (void) sd_bus_slot_unref(slots[i]);
        return r;
}

int follow_or_name_job(sd_bus *bus, const Arguments *a, const char *path, const char *what) {
        if (a->no_wait && !a->json && !streq(path, "/"))
                printf("job %s\n", escaped(path_base(path)));
        return a->no_wait ? 0 : follow_job(bus, path, what);
}
