/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * policy: what needs the daemon that runs (show, explain, reload) goes over the bus; what needs
 * none (check, schema, keys, replay) executes pciassignd, which knows the rules' language, and
 * prints what it answers. So the rules of a host can be tried where no such host is.
 */

#include "verbs.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "devices.h"
#include "rules.h"
#include "sim.h"

#define EXIT_USAGE 2
#define EXIT_DIFFERS 9
#define ANSWER_MAX ((size_t) 256 << 20)
#define WORDS_MAX 1100U /* of a daemon's command line */

/* ---- executing pciassignd ---- */

static int read_all(int fd, StrBuf *b) {
        _cleanup_free_ char *buffer = malloc(65536);

        if (!buffer)
                output_out_of_memory();
        for (;;) {
                ssize_t n = read(fd, buffer, 65536);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        return 0;
                if (b->size + (size_t) n > ANSWER_MAX)
                        return -E2BIG;
                strbuf_add_n(b, buffer, (size_t) n);
        }
}

static int wait_child(pid_t pid) {
        siginfo_t info = {};

        while (waitid(P_PID, (id_t) pid, &info, WEXITED) < 0)
                if (errno != EINTR)
                        return 127;
        return info.si_code == CLD_EXITED ? info.si_status : 127;
}

/* Its exit code, and what it printed; 127 when it did not run. */
static int execute(char *const *argv, StrBuf *ret) {
        _cleanup_close_ int from = -EBADF, to = -EBADF;
        int fds[2], r, code;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return complain(127, "pipe: %m");
        from = fds[0];
        to = fds[1];
        pid = fork();
        if (pid < 0)
                return complain(127, "fork: %m");
        if (pid == 0) {
                if (dup2(to, STDOUT_FILENO) >= 0)
                        (void) execv(argv[0], argv); /* returns only if it failed */
                _exit(complain(127, "cannot execute %s: %m", escaped(argv[0])));
        }
        to = safe_close(to);
        r = read_all(from, ret);
        from = safe_close(from); /* one that says too much ends */
        code = wait_child(pid);
        if (r < 0)
                return complain_errno(127, -r, "what %s says: %m", escaped(argv[0]));
        return ret->error < 0 ? (output_out_of_memory(), 127) : code;
}

/* The document that pciassignd prints with these options (NULL ends them). 0 and a document,
 * whatever the exit code says of its content; else an exit code after a complaint. */
static int ask_daemon(const Arguments *a, char *const *options, int *ret_code, Json **ret) {
        _cleanup_free_ char *daemon = client_find_daemon(a), *argv0 = strdup(daemon);
        _cleanup_free_ char **argv = calloc(WORDS_MAX, sizeof(char *));
        _cleanup_strbuf_ StrBuf text = {};
        size_t n = 0;
        int code;

        if (!argv || !argv0)
                output_out_of_memory();
        argv[n++] = argv0;
        for (size_t i = 0; options[i] && n < WORDS_MAX - 1; i++)
                argv[n++] = options[i];
        code = execute(argv, &text);
        if (text.size == 0) /* it has said why on standard error */
                return code == EXIT_USAGE ? EXIT_USAGE : EXIT_FAILED;
        if (json_parse(text.data, text.size, (JsonLimits){ ANSWER_MAX, 48, false }, ret, NULL,
                       NULL) < 0)
                return complain(EXIT_FAILED, "%s did not answer with JSON", escaped(daemon));
        *ret_code = code;
        return 0;
}

/* ---- check, schema, keys ---- */

static void print_problems(const Json *problems) {
        for (size_t i = 0; i < json_length(problems); i++) {
                const Json *p = json_at(problems, i);
                const char *pointer = member_string(p, "pointer");
                _cleanup_free_
                char *line = member_text(p, "line"), *column = member_text(p, "column");
                bool placed = line[0] && !streq(line, "0");

                printf("%s%s%s%s%s%s%s: ", output_begin(PAINT_BOLD),
                       escaped(member_string(p, "file")), placed ? ":" : "", placed ? line : "",
                       placed && !streq(column, "0") ? ":" : "",
                       placed && !streq(column, "0") ? column : "", output_end());
                printf("%s%sfound %s, expected %s\n", escaped(pointer), pointer[0] ? ": " : "",
                       escaped(member_string(p, "found")), escaped(member_string(p, "expected")));
        }
}

static int policy_check(const Arguments *a) {
        _cleanup_free_ char **options = calloc(a->n_words + 3, sizeof(char *));
        _cleanup_json_ Json *j = NULL;
        size_t n = 0;
        int r, code = 0;

        if (!options)
                output_out_of_memory();
        options[n++] = (char *) "--check-policy";
        options[n++] = (char *) "--";
        for (size_t i = 1; i < a->n_words; i++)
                options[n++] = a->words[i];
        r = ask_daemon(a, options, &code, &j);
        if (r > 0)
                return r;
        if (a->json)
                return print_json(j) > 0 ? EXIT_FAILED : code;
        print_problems(json_get(j, "problems"));
        if (code == 0) {
                _cleanup_free_ char *rules = member_text(j, "rules");

                printf("The policy is valid: %s rules in %zu files\n", escaped(rules),
                       json_length(json_get(j, "files")));
        } else
                printf("%sThe policy is wrong%s: %zu problems\n", output_begin(PAINT_BAD),
                       output_end(), json_length(json_get(j, "problems")));
        return code;
}

static int policy_schema(const Arguments *a) {
        _cleanup_json_ Json *j = NULL;
        int code = 0,
            r = ask_daemon(a, (char *const[]){ (char *) "--policy-schema", NULL }, &code, &j);

        if (r > 0)
                return r;
        return print_json(j) > 0 ? EXIT_FAILED : code;
}

static int policy_keys(const Arguments *a) {
        static const Column columns[] = {
                { "KEY", 0, 0 },   { "VALUES", 0, 0 }, { "DEFAULT", 0, 0 },
                { "FORCE", 0, 0 }, { "NOTE", 0, 0 },
        };
        _cleanup_json_ Json *j = NULL;
        struct libscols_table *t;
        const Json *keys;
        int code = 0,
            r = ask_daemon(a, (char *const[]) { (char *) "--policy-keys", NULL }, &code, &j);

        if (r > 0)
                return r;
        if (a->json)
                return print_json(j) > 0 ? EXIT_FAILED : code;
        keys = json_get(j, "keys") ? json_get(j, "keys") : j;
        t = table_new(columns, ELEMENTSOF(columns));
        for (size_t i = 0; i < json_length(keys); i++) {
                static const char *const members[] = { "key", "values", "default", "force",
                                                       "note" };
                struct libscols_line *line = table_add(t, NULL);

                for (size_t c = 0; c < ELEMENTSOF(members); c++) {
                        _cleanup_free_ char *text = member_text(json_at(keys, i), members[c]);

                        table_set(line, c, text, c == 0 ? PAINT_BOLD : PAINT_NONE);
                }
        }
        return table_print(t);
}

/* ---- replay ---- */

static char *join_codes(const Json *blockers) {
        _cleanup_strbuf_ StrBuf b = {};
        char *s;

        for (size_t i = 0; i < json_length(blockers); i++)
                strbuf_addf(&b, "%s%s", i > 0 ? ", " : "",
                            strempty(json_string(json_at(blockers, i))));
        s = strbuf_steal(&b);
        if (!s)
                output_out_of_memory();
        return s;
}

static char *verdict_text(const Json *v) {
        _cleanup_free_ char *codes = join_codes(json_get(v, "blockers"));
        char *s = member_bool(v, "assignable") ? strdup("assignable")
                                               : strjoinf("refused: %s", codes);

        if (!s)
                output_out_of_memory();
        return s;
}

static int print_all(const Json *devices) {
        static const Column columns[] = {
                { "ADDRESS", 0, 0 }, { "DRIVER", 0, 0 }, { "RULE", 0, 0 }, { "VERDICT", 0, 0 },
        };
        struct libscols_table *t = table_new(columns, ELEMENTSOF(columns));

        for (size_t i = 0; i < json_length(devices); i++) {
                const Json *d = json_at(devices, i);
                struct libscols_line *line = table_add(t, NULL);
                _cleanup_free_
                char *verdict = verdict_text(d), *rule = rule_text(json_get(d, "rule"), "name");

                table_set(line, 0, member_string(d, "address"), PAINT_BOLD);
                table_set(line, 1, member_string(d, "driver"), PAINT_NONE);
                table_set(line, 2, rule, PAINT_NONE);
                table_set(line, 3, verdict, member_bool(d, "assignable") ? PAINT_GOOD : PAINT_BAD);
        }
        return table_print(t);
}

static void print_settings_changes(const Json *changes) {
        for (size_t i = 0; i < json_length(changes); i++) {
                const Json *c = json_at(changes, i);
                _cleanup_free_
                char *before = member_text(c, "before"), *now = member_text(c, "now");

                printf("    %s: %s -> %s\n", escaped(member_string(c, "key")),
                       before[0] ? escaped(before) : "none", now[0] ? escaped(now) : "none");
        }
}

static void print_change(const Json *d) {
        const Json *old = json_get(d, "before");
        _cleanup_free_ char *before = verdict_text(old), *now = verdict_text(d),
                            *old_rule = rule_text(json_get(old, "rule"), "name"),
                            *rule = rule_text(json_get(d, "rule"), "name");

        printf("%s%s%s  %s\n", output_begin(PAINT_BOLD), escaped(member_string(d, "address")),
               output_end(), escaped(member_string(d, "driver")));
        if (!streq(before, now))
                printf("    %s -> %s%s%s\n", escaped(before),
                       output_begin(member_bool(d, "assignable") ? PAINT_GOOD : PAINT_BAD),
                       escaped(now), output_end());
        if (!streq(old_rule, rule))
                printf("    rule: %s -> %s\n", escaped(old_rule), escaped(rule));
        print_settings_changes(json_get(d, "settings-changed"));
}

static int print_replay(const Json *j) {
        const Json *devices = json_get(j, "devices");
        size_t n = 0;

        if (!json_get(j, "changed"))
                return print_all(devices);
        for (size_t i = 0; i < json_length(devices); i++) {
                if (!member_bool(json_at(devices, i), "changed"))
                        continue;
                print_change(json_at(devices, i));
                n++;
        }
        printf("%zu of %zu functions change\n", n, json_length(devices));
        return 0;
}

static int policy_replay(const Arguments *a) {
        char uid[16], gid[16];
        const struct { const char *option, *value;
        } given[] = {
                { "--replay", a->snapshot }, { "--policy", a->policy }, { "--against", a->against },
                { "--owner", a->owner },     { "--uid", a->has_uid ? uid : NULL },
                { "--gid", a->has_gid ? gid : NULL },
        };
        char *options[2 * ELEMENTSOF(given) + 1] = {};
        _cleanup_json_ Json *j = NULL;
        size_t n = 0;
        int r, code = 0;

        if (!a->snapshot)
                return complain(EXIT_USAGE,
                                "policy replay needs --snapshot=HOST.json; pciassignctl snapshot "
                                "writes one");
        (void) snprintf(uid, sizeof(uid), "%u", (unsigned) a->uid);
        (void) snprintf(gid, sizeof(gid), "%u", (unsigned) a->gid);
        for (size_t i = 0; i < ELEMENTSOF(given); i++)
                if (given[i].value) {
                        options[n++] = (char *) given[i].option;
                        options[n++] = (char *) given[i].value;
                }
        r = ask_daemon(a, options, &code, &j);
        if (r > 0)
                return r;
        if (a->json)
                return print_json(j) > 0 ? EXIT_FAILED : code;
        if (!member_bool(j, "valid")) {
                print_problems(json_get(j, "problems"));
                return complain(code, "%s: %s", escaped(member_string(j, "policy")),
                                escaped(member_string(j, "message")));
        }
        r = print_replay(j);
        return r > 0 ? r : code;
}

/* ---- of the daemon that runs ---- */

static int policy_show(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *reply = NULL;
        _cleanup_json_ Json *j = NULL;
        int r = client_connect(a, &bus);

        if (r == 0)
                r = client_call_strings(bus, METHOD(NULL, BUS_INTERFACE_MANAGER, "GetPolicy"),
                                        "policy show", NULL, &reply);
        if (r == 0)
                r = client_read_json_text(reply, "policy show", &j);
        if (r > 0)
                return r;
        if (a->json)
                return print_json(j);
        return print_policy(j);
}

static int policy_reload(const Arguments *a) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL;
        int r = client_connect(a, &bus);

        if (r == 0)
                r = client_new_call(bus, NULL, BUS_INTERFACE_MANAGER, "ReloadPolicy", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_append(call, "a{sv}", 0);
        return r < 0 ? client_broken(r, "policy reload")
                     : client_call(bus, call, "policy reload", NULL);
}

static int policy_explain(const Arguments *a) {
        Arguments device = *a;

        device.words++;
        device.n_words--;
        return verb_explain(&device);
}

static const struct {
        const char *name, *usage;
        size_t min_words, max_words; /* behind the name */
        int (*run)(const Arguments *a);
} commands[] = {
        { "check", "[PATH…]", 0, WORDS_ANY, policy_check },
        { "show", "", 0, 0, policy_show },
        { "explain", "DEVICE", 1, 1, policy_explain },
        { "reload", "", 0, 0, policy_reload },
        { "schema", "", 0, 0, policy_schema },
        { "keys", "", 0, 0, policy_keys },
        { "replay", "--snapshot=HOST.json [--policy=PATH] [--against=PATH]", 0, 0, policy_replay },
};

int verb_policy(const Arguments *a) {
        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                if (!streq(commands[i].name, a->words[0]))
                        continue;
                if (a->n_words - 1 < commands[i].min_words ||
                    a->n_words - 1 > commands[i].max_words)
                        return complain(EXIT_USAGE, "policy %s takes: pciassignctl policy %s %s",
                                        commands[i].name, commands[i].name, commands[i].usage);
                return commands[i].run(a);
        }
        return complain(EXIT_USAGE,
                        "'%s' is nothing to do with a policy; see pciassignctl policy --help",
                        escaped(a->words[0]));
}
