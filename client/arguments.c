/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Parses the command line by two tables, so that a verb takes exactly the options that its help
 * shows. Options may stand before or behind the verb; what is behind -- is a command and is not
 * looked at. A mistake is told with what was expected and ends with the usage exit code before
 * anything is asked of the daemon.
 */

#include "arguments.h"

#include <assert.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>

#include "base/errors.h"
#include "base/strutil.h"

#define EXIT_USAGE 2
#define ALL_VERBS 0U

typedef int (*OptionParse)(Arguments *a, const char *value);

typedef struct Option {
        const char *name;
        const char *argument; /* NULL: a switch */
        unsigned takes;       /* ALL_VERBS or any of these bits */
        OptionParse parse;
        const char *help;
} Option;

/* ---- values ---- */

int parse_timespan(const char *s, uint64_t *ret_usec) {
        static const struct { const char *suffix; uint64_t usec;
        } units[] = {
                { "", 1000000 },
                { "s", 1000000 },
                { "sec", 1000000 },
                { "ms", 1000 },
                { "us", 1 },
                { "min", 60000000 },
                { "m", 60000000 },
                { "h", UINT64_C(3600000000) },
                { "d", UINT64_C(86400000000) },
        };
        size_t digits;
        uint64_t v;
        int r;

        assert(s);
        assert(ret_usec);
        digits = strspn(s, "0123456789");
        if (digits == 0)
                return -EINVAL;
        r = parse_u64_n(s, digits, 10, UINT64_MAX, &v);
        if (r < 0)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                if (!streq(s + digits, units[i].suffix))
                        continue;
                if (v > INT64_MAX / units[i].usec)
                        return -ERANGE;
                *ret_usec = v * units[i].usec;
                return 0;
        }
        return -EINVAL;
}

int parse_bytes(const char *s, uint64_t *ret) {
        static const char units[] = "KMGT";
        const char *unit;
        size_t digits;
        unsigned shift = 0;
        uint64_t v;
        int r;

        assert(s);
        assert(ret);
        if (streq(s, "infinity")) {
                *ret = UINT64_MAX;
                return 0;
        }
        digits = strspn(s, "0123456789");
        if (digits == 0)
                return -EINVAL;
        r = parse_u64_n(s, digits, 10, UINT64_MAX, &v);
        if (r < 0)
                return r;
        if (s[digits]) {
                unit = strchr(units, s[digits]);
                if (!unit || s[digits + 1])
                        return -EINVAL;
                shift = 10 * (unsigned) (unit - units + 1);
        }
        if (v > UINT64_MAX >> shift)
                return -ERANGE;
        *ret = v << shift;
        return 0;
}

static int bad_value(const char *option, const char *value, const char *expected) {
        return complain(-EINVAL, "--%s: '%s' is not %s", option, escaped(value), expected);
}

/* A text that the daemon will take as well: one line of valid UTF-8. */
static int take_text(const char *option, const char *value, const char **to) {
        if (!string_is_safe(value, 4096))
                return bad_value(option, value, "one line of 1 to 4096 bytes of UTF-8");
        *to = value;
        return 0;
}

#define DEFINE_TEXT(field, option)                                        \
        static int take_##field(Arguments *a, const char *value) {        \
                return take_text(option, value, &a->field);               \
        }
DEFINE_TEXT(bus, "bus")
DEFINE_TEXT(owner, "owner")
DEFINE_TEXT(reason, "reason")
DEFINE_TEXT(request_id, "request-id")
DEFINE_TEXT(token, "token")
DEFINE_TEXT(driver, "driver")
DEFINE_TEXT(daemon, "daemon")
DEFINE_TEXT(snapshot, "snapshot")
DEFINE_TEXT(policy, "policy")
DEFINE_TEXT(against, "against")

#define DEFINE_SWITCH(field)                                              \
        static int take_##field(Arguments *a, const char *value _unused_) { \
                a->field = true;                                          \
                return 0;                                                 \
        }
DEFINE_SWITCH(json)
DEFINE_SWITCH(force)
DEFINE_SWITCH(no_wait)
DEFINE_SWITCH(dry_run)
DEFINE_SWITCH(by_node)
DEFINE_SWITCH(redact)
DEFINE_SWITCH(refresh)
DEFINE_SWITCH(assignable)
DEFINE_SWITCH(assignments)
DEFINE_SWITCH(same_numa)
DEFINE_SWITCH(same_switch)
DEFINE_SWITCH(clean_groups)

static int take_color(Arguments *a, const char *value) {
        static const char *const modes[_COLOR_MODE_MAX] = { "auto", "always", "never" };

        for (unsigned m = 0; m < _COLOR_MODE_MAX; m++)
                if (streq(value, modes[m])) {
                        a->color = (ColorMode) m;
                        return 0;
                }
        return bad_value("color", value, "auto, always or never");
}

static int take_lifetime(Arguments *a, const char *value) {
        if (!streq(value, "connection") && !streq(value, "process") && !streq(value, "persistent"))
                return bad_value("lifetime", value, "connection, process or persistent");
        a->lifetime = value;
        return 0;
}

static int take_api(Arguments *a, const char *value) {
        if (!streq(value, "group") && !streq(value, "cdev") && !streq(value, "auto"))
                return bad_value("api", value, "auto, group or cdev");
        a->api = value;
        return 0;
}

static int take_group(Arguments *a, const char *value) {
        if (!streq(value, "take-all") && !streq(value, "only-requested"))
                return bad_value("group", value, "take-all or only-requested");
        a->take_all = streq(value, "take-all");
        return 0;
}

static int take_label(Arguments *a, const char *value) {
        if (!string_is_safe(value, 256) || !strchr(value, '=') || value[0] == '=')
                return bad_value("label", value, "NAME=VALUE of at most 256 bytes");
        return strv_extend(&a->labels, value);
}

static int take_topic(Arguments *a, const char *value) {
        if (!string_is_safe(value, 64))
                return bad_value("topic", value, "the name of a topic");
        return strv_extend(&a->topics, value);
}

static int take_match(Arguments *a, const char *value) {
        if (!string_is_safe(value, 4096))
                return bad_value("match", value, "[NUMBER:]SELECTOR=VALUE[,SELECTOR=VALUE…]");
        return strv_extend(&a->matches, value);
}

static int take_uid(Arguments *a, const char *value) {
        const struct passwd *p;
        uint32_t uid;

        if (parse_u32(value, 10, UINT32_MAX - 1, &uid) < 0) {
                p = getpwnam(value);
                if (!p)
                        return bad_value("uid", value, "a user's name or number");
                uid = p->pw_uid;
        }
        a->user = value;
        a->uid = uid;
        a->has_uid = true;
        return 0;
}

static int take_gid(Arguments *a, const char *value) {
        const struct group *g;
        uint32_t gid;

        if (parse_u32(value, 10, UINT32_MAX - 1, &gid) < 0) {
                g = getgrnam(value);
                if (!g)
                        return bad_value("gid", value, "a group's name or number");
                gid = g->gr_gid;
        }
        a->gid = gid;
        a->has_gid = true;
        return 0;
}

static int take_pid(Arguments *a, const char *value) {
        uint32_t pid;

        if (parse_u32(value, 10, INT32_MAX, &pid) < 0 || pid == 0)
                return bad_value("pid", value, "the number of a process");
        a->pid = (pid_t) pid;
        return 0;
}

static int take_memlock(Arguments *a, const char *value) {
        if (parse_bytes(value, &a->memlock) < 0 || a->memlock == 0)
                return bad_value("memlock", value, "a number of bytes (K, M, G, T) or infinity");
        return 0;
}

static int take_attach_within(Arguments *a, const char *value) {
        if (parse_timespan(value, &a->attach_within_usec) < 0 || a->attach_within_usec == 0)
                return bad_value("attach-within", value, "a time (30s, 5min, 2h)");
        return 0;
}

static const Option options[] = {
        { "json", NULL, TAKES_JSON, take_json, "print JSON" },
        { "owner", "NAME", TAKES_OWNER, take_owner,
          "who the devices are for (default: the user's name)" },
        { "lifetime", "KIND", TAKES_LIFETIME, take_lifetime,
          "connection, process or persistent (default)" },
        { "match", "WANT", TAKES_MATCH, take_match,
          "instead of DEVICE: [NUMBER:]SELECTOR=VALUE[,…], as 2:kind=gpu; may be repeated" },
        { "same-numa", NULL, TAKES_MATCH, take_same_numa, "all that match on one NUMA node" },
        { "same-switch", NULL, TAKES_MATCH, take_same_switch, "all that match below one switch" },
        { "clean-groups", NULL, TAKES_MATCH, take_clean_groups,
          "take no group member along that does not match" },
        { "group", "HOW", TAKES_ASSIGN, take_group,
          "only-requested (default), or take-all: park the IOMMU group's other members" },
        { "force", NULL, TAKES_ASSIGN, take_force,
          "take what the host itself needs; wants --reason" },
        { "reason", "TEXT", TAKES_ASSIGN | TAKES_REASON, take_reason,
          "why it is forced or quarantined; stands in the log" },
        { "driver", "NAME", TAKES_ASSIGN, take_driver,
          "the VFIO driver (default: the kernel's aliases say which)" },
        { "vf-driver", "NAME", TAKES_DRIVER, take_driver,
          "of the new virtual functions: none (default), host, or a driver's name" },
        { "label", "NAME=VALUE", TAKES_ASSIGN, take_label,
          "a label of the caller's own; may be repeated" },
        { "request-id", "ID", TAKES_ASSIGN, take_request_id,
          "the same request again returns the same assignment" },
        { "token", "TOKEN", TAKES_TOKEN, take_token,
          "do it only if nothing changed since the plan with this token" },
        { "dry-run", NULL, TAKES_TOKEN, take_dry_run, "print the plan and do nothing" },
        { "uid", "USER", TAKES_IDENTITY, take_uid, "who the virtual machine monitor runs as" },
        { "gid", "GROUP", TAKES_IDENTITY, take_gid, "its group" },
        { "pid", "PID", TAKES_PID, take_pid, "the process that takes the assignment over" },
        { "memlock", "BYTES", TAKES_MEMLOCK, take_memlock,
          "its limit of locked memory (K, M, G, T, infinity)" },
        { "attach-within", "TIME", TAKES_ATTACH, take_attach_within,
          "release if nobody attached by then (30s, 5min)" },
        { "node", NULL, TAKES_ATTACH, take_by_node,
          "let the user of --uid open the group's node by path" },
        { "no-wait", NULL, TAKES_NO_WAIT, take_no_wait,
          "do not wait for the job; print its number" },
        { "api", "API", TAKES_OPEN, take_api, "auto (default), group or cdev" },
        { "assignable", NULL, TAKES_LIST, take_assignable, "only what could be assigned now" },
        { "assignments", NULL, TAKES_LIST, take_assignments, "assignments instead of devices" },
        { "topic", "NAME", TAKES_FACTS, take_topic,
          "these facts, or all; may be repeated (default: identity, use, iommu)" },
        { "refresh", NULL, TAKES_FACTS, take_refresh, "read the facts again" },
        { "redact", NULL, TAKES_REDACT, take_redact, "replace serial numbers and names" },
        { "snapshot", "HOST.json", TAKES_REPLAY, take_snapshot,
          "the host to replay a policy over" },
        { "policy", "PATH", TAKES_REPLAY, take_policy,
          "the policy to replay: a file or a directory (default: this host's)" },
        { "against", "PATH", TAKES_REPLAY, take_against, "the policy to compare it with" },
        { "daemon", "PATH", TAKES_DAEMON, take_daemon, "the pciassignd to run" },
        { "bus", "ADDRESS", ALL_VERBS, take_bus, "talk over this bus instead of the system bus" },
        { "color", "WHEN", ALL_VERBS, take_color, "auto, always or never" },
};

/* ---- help ---- */

static bool verb_takes(const Verb *v, const Option *o) {
        return o->takes == ALL_VERBS || (v->takes & o->takes);
}

static void print_option(const char *name, const char *argument, const char *help) {
        char left[40];

        (void) snprintf(left, sizeof(left), "--%s%s%s", name, argument ? "=" : "",
                        strempty(argument));
        printf("  %-26s %s\n", left, help);
}

static int help_verb(const Verb *v) {
        printf("pciassignctl %s %s\n\n%s%s%s\n\nOptions:\n", v->name, v->usage, v->summary,
               v->details ? "\n\n" : "", strempty(v->details));
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (verb_takes(v, options + i))
                        print_option(options[i].name, options[i].argument, options[i].help);
        print_option("help", NULL, "print this");
        return 0;
}

static int help(void) {
        printf("pciassignctl [OPTIONS] [VERB] …\n\nPCI devices of this host for virtual machines: "
               "who has what, and why.\n\n"
               "Verbs (none: list):\n");
        for (size_t i = 0; i < n_verbs; i++)
                printf("  %-11s %s\n", verbs[i].name, verbs[i].summary);
        printf("\nOptions:\n");
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (options[i].takes == ALL_VERBS)
                        print_option(options[i].name, options[i].argument, options[i].help);
        print_option("help", NULL, "print this; behind a verb: its options");
        print_option("version", NULL, "print the version");
        printf("\nExit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 busy or owned, "
               "6 not authorised,\n"
               "7 stuck or timed out, 8 daemon unreachable, 9 plan stale. The manual: "
               "pciassignctl(1).\n");
        return 0;
}

/* ---- parsing ---- */

static const Verb *find_verb(const char *name) {
        for (size_t i = 0; i < n_verbs; i++)
                if (streq(verbs[i].name, name))
                        return verbs + i;
        return NULL;
}

enum { OPTION_HELP = 1000, OPTION_VERSION, OPTION_FIRST };

static void fill_long_options(struct option *o) {
        size_t n = 0;

        for (; n < ELEMENTSOF(options); n++)
                o[n] = (struct option){ options[n].name,
                                        options[n].argument ? required_argument : no_argument, NULL,
                                        OPTION_FIRST + (int) n };
        o[n++] = (struct option) { "help", no_argument, NULL, OPTION_HELP };
        o[n++] = (struct option) { "version", no_argument, NULL, OPTION_VERSION };
        o[n] = (struct option) {};
}

/* The options that were given are kept until the verb is known. */
typedef struct Given {
        bool help, version;
        bool given[ELEMENTSOF(options)];
} Given;

static int parse_options(int argc, char **argv, Arguments *a, Given *given) {
        struct option long_options[ELEMENTSOF(options) + 3];
        int c, r;

        fill_long_options(long_options);
        opterr = 0;
        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
                if (c == 'h' || c == OPTION_HELP)
                        given->help = true;
                else if (c == OPTION_VERSION)
                        given->version = true;
                else if (c >= OPTION_FIRST) {
                        const Option *o = options + (c - OPTION_FIRST);

                        given->given[c - OPTION_FIRST] = true;
                        r = o->parse(a, optarg);
                        if (r < 0)
                                return EXIT_USAGE;
                } else
                        return complain(EXIT_USAGE,
                                        "%s: unknown option, or its value is missing; see "
                                        "pciassignctl --help",
                                        escaped(argv[optind - 1]));
        }
        return 0;
}

static int check_words(const Verb *v, const Arguments *a) {
        if (a->matches && a->n_words > 0)
                return complain(EXIT_USAGE, "%s takes devices by name or by --match, not both",
                                v->name);
        if (!a->matches && (a->same_numa || a->same_switch || a->clean_groups))
                return complain(EXIT_USAGE,
                                "--same-numa, --same-switch and --clean-groups go with --match");
        if ((!a->matches && a->n_words < v->min_words) || a->n_words > v->max_words)
                return complain(EXIT_USAGE, "%s takes: pciassignctl %s %s",
                                v->name, v->name, v->usage);
        if (a->command && !(v->takes & TAKES_COMMAND))
                return complain(EXIT_USAGE, "%s takes no command behind --", v->name);
        for (size_t i = 0; i < a->n_words; i++)
                if (!string_is_safe(a->words[i], 4096))
                        return complain(EXIT_USAGE, "'%s': an argument is one line of UTF-8",
                                        escaped(a->words[i]));
        return 0;
}

int arguments_parse(int argc, char **argv, Arguments *ret, const Verb **ret_verb) {
        Given given = {};
        const Verb *v;
        int end = 1, r;

        assert(ret);
        assert(ret_verb);
        while (end < argc && !streq(argv[end], "--"))
                end++;
        if (end < argc)
                ret->command = argv + end + 1;
        argv[end] = NULL; /* the words end there; at argc it is NULL already */
        r = parse_options(end, argv, ret, &given);
        output_init(ret->color);
        if (r > 0)
                return r + 1;
        if (given.version) {
                printf("pciassignctl %s\n", PACKAGE_VERSION);
                return 1;
        }
        if (optind < end) {
                v = find_verb(argv[optind]);
                if (!v)
                        return 1 + complain(EXIT_USAGE, "'%s' is no verb; see pciassignctl --help",
                                            escaped(argv[optind]));
                optind++;
        } else if (given.help)
                return 1 + help();
        else
                v = find_verb("list");
        assert(v);
        if (given.help)
                return 1 + help_verb(v);
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (given.given[i] && !verb_takes(v, options + i))
                        return 1 + complain(EXIT_USAGE,
                                            "%s does not take --%s; see pciassignctl %s --help",
                                            v->name, options[i].name, v->name);
        ret->words = argv + optind;
        ret->n_words = (size_t) (end - optind);
        r = check_words(v, ret);
        if (r > 0)
                return 1 + r;
        *ret_verb = v;
        return 0;
}
