/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sim: drives the simulated host of a daemon that runs with --simulate: its clock, its faults, what
 * foreign tools and hands do. `sim run` is in sim-run.c.
 */

#include "sim.h"

#include <fcntl.h>
#include <inttypes.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "verbs.h"

#define DEVICE_JSON_MAX ((size_t) 1 << 20)
#define ERRNO_MAX 4095U

typedef struct SimCommand {
        const char *name, *usage;
        size_t min_words, max_words; /* behind the name */
        int (*run)(sd_bus *bus, const Arguments *a, char *const *words, size_t n);
} SimCommand;

static int new_call(sd_bus *bus, const char *method, sd_bus_message **ret) {
        return client_new_call(bus, NULL, BUS_INTERFACE_SIMULATOR, method, ret);
}

static int send_call(sd_bus *bus, sd_bus_message *call, int r, const char *what) {
        return r < 0 ? client_broken(r, what) : client_call(bus, call, what, NULL);
}

/* ---- clock ---- */

static int sim_advance(sd_bus *bus, const Arguments *a, char *const *words, size_t n _unused_) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        uint64_t usec, now;
        int r;

        if (parse_timespan(words[0], &usec) < 0)
                return complain(2, "'%s' is not a time (30s, 5min, 250ms)", escaped(words[0]));
        r = new_call(bus, "Advance", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "t", usec);
        if (r < 0)
                return client_broken(r, "sim advance");
        r = client_call(bus, call, "sim advance", &reply);
        if (r > 0)
                return r;
        r = sd_bus_message_read(reply, "t", &now);
        if (r < 0)
                return client_broken(r, "sim advance");
        printf("%" PRIu64 "\n", now);
        return 0;
}

/* ---- faults ---- */

/* "EIO" or "5". */
static int parse_errno(const char *s, uint32_t *ret) {
        if (parse_u32(s, 10, ERRNO_MAX, ret) >= 0)
                return 0;
        for (uint32_t e = 1; e < ERRNO_MAX; e++) {
                const char *name = strerrorname_np((int) e);

                if (name && streq(name, s)) {
                        *ret = e;
                        return 0;
                }
        }
        return -EINVAL;
}

static int append_fault(sd_bus_message *m, const char *word) {
        const char *value = strchr(word, '=');
        uint64_t usec;
        uint32_t number;

        if (!value)
                return -EINVAL;
        value++;
        if (strncmp(word, "kind=", 5) == 0)
                return sd_bus_message_append(m, "{sv}", "kind", "s", value);
        if (strncmp(word, "error=", 6) == 0)
                return parse_errno(value, &number) < 0 ? -EINVAL :
                       sd_bus_message_append(m, "{sv}", "error", "u", number);
        if (strncmp(word, "delay=", 6) == 0)
                return parse_timespan(value, &usec) < 0
                               ? -EINVAL
                               : sd_bus_message_append(m, "{sv}", "delay", "t", usec);
        if (strncmp(word, "times=", 6) == 0)
                return parse_u32(value, 10, UINT32_MAX, &number) < 0 ? -EINVAL :
                       sd_bus_message_append(m, "{sv}", "times", "u", number);
        return -EINVAL;
}

static int sim_inject(sd_bus *bus, const Arguments *a, char *const *words, size_t n) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r = new_call(bus, "Inject", &call);

        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "ss", words[0], words[1]);
        if (r >= 0)
                r = sd_bus_message_open_container(call, 'a', "{sv}");
        for (size_t i = 2; r >= 0 && i < n; i++) {
                r = append_fault(call, words[i]);
                if (r == -EINVAL)
                        return complain(
                                2, "'%s' is none of kind=KIND, error=ERRNO, delay=TIME, times=N",
                                escaped(words[i]));
        }
        if (r >= 0)
                r = sd_bus_message_close_container(call);
        return send_call(bus, call, r, "sim inject");
}

static int sim_clear(sd_bus *bus, const Arguments *a, char *const *words, size_t n) {
        return client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_SIMULATOR, "ClearFaults"),
                                   "sim clear", NULL, NULL);
}

/* ---- holders ---- */

static int sim_hold(sd_bus *bus, const Arguments *a, char *const *words, size_t n) {
        _cleanup_message_ sd_bus_message *call = NULL;
        uint32_t pid = 4242;
        int r;

        if (n > 1 && parse_u32(words[1], 10, INT32_MAX, &pid) < 0)
                return complain(2, "'%s' is not the number of a process", escaped(words[1]));
        r = new_call(bus, "Hold", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "sus", words[0], pid, n > 2 ? words[2] : "vmm");
        return send_call(bus, call, r, "sim hold");
}

/* Methods whose arguments are the words. */
#define DEFINE_WORDS(function, method, name)                                                   \
        static int function(sd_bus *bus, const Arguments *a _unused_, char *const *words,      \
                            size_t n _unused_) {                                               \
                return client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_SIMULATOR, method), \
                                           name, words, NULL);                                 \
        }
DEFINE_WORDS(sim_unhold, "Unhold", "sim unhold")
DEFINE_WORDS(sim_remove, "Remove", "sim remove")
DEFINE_WORDS(sim_surprise_remove, "SurpriseRemove", "sim surprise-remove")
DEFINE_WORDS(sim_error, "ReportError", "sim error")
DEFINE_WORDS(sim_attention, "PressAttention", "sim attention")

/* A device and a driver, which may be left out. */
#define DEFINE_DRIVER(function, method, name)                                                  \
        static int function(sd_bus *bus, const Arguments *a _unused_, char *const *words,      \
                            size_t n) {                                                        \
                char *const strings[] = { words[0], n > 1 ? words[1] : (char *) "", NULL };    \
                                                                                               \
                return client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_SIMULATOR, method), \
                                           name, strings, NULL);                               \
        }
DEFINE_DRIVER(sim_rebind, "Rebind", "sim rebind")
DEFINE_DRIVER(sim_override, "SetOverride", "sim override")

static int sim_add(sd_bus *bus, const Arguments *a, char *const *words, size_t n) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r = read_file_at(AT_FDCWD, words[0], DEVICE_JSON_MAX, &text, &size);

        if (r < 0)
                return complain_errno(EXIT_FAILED, -r, "%s: %m", escaped(words[0]));
        if (!utf8_is_valid(text, size) || strlen(text) != size)
                return complain(2, "%s is not text", escaped(words[0]));
        return client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_SIMULATOR, "Add"), "sim add",
                                   (char *const[]){ text, NULL }, NULL);
}

static int sim_lose_events(sd_bus *bus, const Arguments *a, char *const *words, size_t n) {
        _cleanup_message_ sd_bus_message *call = NULL;
        uint32_t count;
        int r;

        if (parse_u32(words[0], 10, UINT32_MAX, &count) < 0)
                return complain(2, "'%s' is not a number of events", escaped(words[0]));
        r = new_call(bus, "LoseEvents", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "u", count);
        return send_call(bus, call, r, "sim lose-events");
}

static int sim_fail_state(sd_bus *bus, const Arguments *a, char *const *words, size_t n) {
        _cleanup_message_ sd_bus_message *call = NULL;
        uint32_t error;
        int r;

        if (parse_errno(words[0], &error) < 0)
                return complain(2, "'%s' is neither an error such as ENOSPC nor 0",
                                escaped(words[0]));
        r = new_call(bus, "FailState", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "u", error);
        return send_call(bus, call, r, "sim fail-state");
}

static const SimCommand commands[] = {
        { "advance", "TIME", 1, 1, sim_advance },
        { "inject", "STEP DEVICE [kind=KIND] [error=ERRNO] [delay=TIME] [times=N]", 2, 6,
          sim_inject },
        { "clear", "", 0, 0, sim_clear },
        { "hold", "DEVICE [PID [COMMAND]]", 1, 3, sim_hold },
        { "unhold", "DEVICE", 1, 1, sim_unhold },
        { "rebind", "DEVICE [DRIVER]", 1, 2, sim_rebind },
        { "override", "DEVICE [DRIVER]", 1, 2, sim_override },
        { "remove", "DEVICE", 1, 1, sim_remove },
        { "surprise-remove", "DEVICE", 1, 1, sim_surprise_remove },
        { "add", "DEVICE.json", 1, 1, sim_add },
        { "error", "DEVICE correctable|non-fatal|fatal|dpc", 2, 2, sim_error },
        { "attention", "DEVICE", 1, 1, sim_attention },
        { "fail-state", "ERRNO|0", 1, 1, sim_fail_state },
        { "lose-events", "NUMBER", 1, 1, sim_lose_events },
};

int verb_sim(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        size_t n = a->n_words - 1;
        char *words[8] = {};
        int r;

        if (streq(a->words[0], "run"))
                return n == 1 ? sim_run(a, a->words[1])
                              : complain(2, "sim run takes: HOST.json [-- COMMAND…]");
        if (a->command)
                return complain(2, "only sim run takes a command");
        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                const SimCommand *c = commands + i;

                if (!streq(a->words[0], c->name))
                        continue;
                if (n < c->min_words || n > c->max_words)
                        return complain(2, "sim %s takes: %s", c->name, c->usage);
                for (size_t k = 0; k < n; k++)
                        words[k] = a->words[k + 1];
                r = client_connect(a, &bus);
                return r > 0 ? r : c->run(bus, a, words, n);
        }
        return complain(2, "'%s' is nothing that sim does; see pciassignctl sim --help",
                        escaped(a->words[0]));
}
