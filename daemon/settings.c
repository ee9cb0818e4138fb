/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The configuration: one table of keys. Parsing never fails on content; what is wrong is remembered
 * with file and line, and the value before it stands. So a typo cannot take the host's devices out
 * of management, and a reload can refuse a bad file as a whole by looking at the errors. Read at
 * start and on SIGHUP only.
 */

#include "settings.h"

#include <assert.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>

#include "base/dropins.h"
#include "base/log.h"
#include "base/strutil.h"
#include "model/model.h"

typedef enum KeyType { KEY_NUMBER, KEY_LOG_LEVEL, KEY_NAME } KeyType;

typedef struct Key {
        const char *section, *name;
        KeyType type;
        size_t offset;
        uint64_t min, max;
        const char *value; /* default */
} Key;

#define AT(member) offsetof(Settings, member)
/* clang-format off */
static const Key keys[] = {
        { "Daemon", "LogLevel", KEY_LOG_LEVEL, AT(log_level), 0, 0, "info" },
        { "Daemon", "AdminGroup", KEY_NAME, AT(admin_group), 0, 0, "pciassignd" },
        { "Daemon", "PolkitTimeoutSec", KEY_NUMBER, AT(polkit_timeout), 1, 3600, "25" },
        { "Limits", "MaxJobs", KEY_NUMBER, AT(max_jobs), 1, 4096, "256" },
        { "Limits", "MaxJobsPerUser", KEY_NUMBER, AT(max_jobs_per_user), 1, 4096, "64" },
        { "Limits", "MaxAssignments", KEY_NUMBER, AT(max_assignments), 1, 65536, "4096" },
        { "Limits", "MaxAssignmentsPerUser", KEY_NUMBER, AT(max_assignments_per_user), 1, 65536, "1024" },
        { "Limits", "MaxRequestsPerUser", KEY_NUMBER, AT(max_requests_per_user), 1, 4096, "64" },
        { "Worker", "MaxWorkers", KEY_NUMBER, AT(max_workers), 1, 256, "16" },
        { "Worker", "StepTimeoutSec", KEY_NUMBER, AT(step_timeout), 5, 86400, "75" },
};
/* clang-format on */
_Static_assert(ELEMENTSOF(keys) <= SETTINGS_KEYS_MAX, "origins[] has room for every key");

static bool name_is_valid(const char *s) {
        size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
        return n >= 1 && n <= 32 && !s[n] && s[0] != '-';
}

/* The reason why the value is wrong, or NULL. */
static const char *key_set(Settings *c, const Key *k, const char *value, char *reason,
                           size_t size) {
        void *to = (char *) c + k->offset;
        uint64_t n;

        switch (k->type) {
        case KEY_NUMBER:
                if (parse_u64(value, 10, k->max, &n) < 0 || n < k->min) {
                        (void) snprintf(reason, size, "must be a number from %llu to %llu",
                                        (unsigned long long) k->min, (unsigned long long) k->max);
                        return reason;
                }
                *(uint64_t *) to = n;
                return NULL;
        case KEY_LOG_LEVEL:
                if (log_level_from_string(value) < 0)
                        return "must be error, warning, notice, info or debug";
                break;
        case KEY_NAME:
                if (!name_is_valid(value))
                        return "must be the name of a group";
                break;
        }
        return free_and_strdup(to, value) < 0 ? "could not be kept: out of memory" : NULL;
}

int settings_defaults(Settings *ret) {
        assert(ret);

        _cleanup_settings_ Settings c = {};
        char reason[128];
        for (size_t n = 0; n < ELEMENTSOF(keys); n++)
                if (key_set(&c, &keys[n], keys[n].value, reason, sizeof(reason)))
                        return -ENOMEM; /* defaults are valid, a test says so */
        *ret = c;
        c = (Settings) {};
        return 0;
}

void settings_done(Settings *c) {
        free(c->log_level);
        free(c->admin_group);
        for (size_t n = 0; n < SETTINGS_KEYS_MAX; n++)
                free(c->origins[n]);
        strv_free(c->errors);
        *c = (Settings) {};
}

typedef struct Parser {
        Settings *settings;
        const char *name;
        unsigned line;
        char section[32];
} Parser;

static int complain(Parser *p, const char *what, const char *why) {
        _cleanup_free_ char *shown = string_escape(what);
        _cleanup_free_
        char *text = shown ? strjoinf("%s:%u: %.100s %s", p->name, p->line, shown, why) : NULL;

        return text ? strv_extend(&p->settings->errors, text) : -ENOMEM;
}

static int parse_assignment(Parser *p, char *line) {
        char reason[128], *value = strchr(line, '=');

        if (!value)
                return complain(p, line, "is neither [Section] nor Key=Value");
        *value++ = 0;
        char *name = string_strip(line);
        value = string_strip(value);
        for (size_t n = 0; n < ELEMENTSOF(keys); n++) {
                if (!streq(keys[n].name, name))
                        continue;
                if (!streq(keys[n].section, p->section)) {
                        (void) snprintf(reason, sizeof(reason), "belongs in section [%s]",
                                        keys[n].section);
                        return complain(p, name, reason);
                }
                const char *wrong = key_set(p->settings, &keys[n], value, reason, sizeof(reason));
                if (wrong)
                        return complain(p, name, wrong);
                free(p->settings->origins[n]);
                p->settings->origins[n] = strjoinf("%s:%u", p->name, p->line);
                return p->settings->origins[n] ? 0 : -ENOMEM;
        }
        return complain(p, name, "is not a known key; see pciassignd.conf(5)");
}

static int parse_line(Parser *p, char *line) {
        line = string_strip(line);
        size_t n = strlen(line);

        if (n == 0 || line[0] == '#' || line[0] == ';')
                return 0;
        if (line[0] != '[')
                return parse_assignment(p, line);
        if (line[n - 1] != ']')
                return complain(p, line, "is not a [Section]");
        line[n - 1] = 0;
        for (size_t k = 0; k < ELEMENTSOF(keys); k++)
                if (streq(keys[k].section, line + 1)) {
                        (void) string_copy(p->section, sizeof(p->section),
                                           line + 1); /* names of ours fit */
                        return 0;
                }
        p->section[0] = 0;
        return complain(p, line + 1, "is not a known section; see pciassignd.conf(5)");
}

int settings_parse(Settings *c, const char *name, const char *text, size_t n) {
        assert(c);
        assert(name);
        assert(text || n == 0);

        Parser p = { .settings = c, .name = name };
        for (size_t at = 0; at < n;) {
                char line[SETTINGS_LINE_MAX];
                const char *end = memchr(text + at, '\n', n - at);
                size_t length = end ? (size_t) (end - (text + at)) : n - at;
                int r;

                p.line++;
                if (length >= sizeof(line) || memchr(text + at, 0, length))
                        r = complain(&p, "This line", "is too long, or holds a NUL byte");
                else {
                        memcpy(line, text + at, length);
                        line[length] = 0;
                        r = parse_line(&p, line);
                }
                if (r < 0)
                        return r;
                at += length + 1;
        }
        return 0;
}

/* ---- files ---- */

static int take_file(Settings *c, const DropIn *d) {
        Parser p = { .settings = c, .name = d->path };
        char why[64];

        if (d->error == 0)
                return settings_parse(c, d->path, d->text, d->size);
        (void) snprintf(why, sizeof(why), "cannot be read: %s", strerrorname_np(-d->error));
        return complain(&p, "This file", why);
}

static int load_main(Settings *c, int root_fd) {
        _cleanup_dropin_ DropIn d = {};

        int r = dropins_load_one(root_fd, "pciassignd.conf", SETTINGS_FILE_MAX, &d);
        return r <= 0 ? r : take_file(c, &d);
}

int settings_load(const char *root, Settings *ret) {
        assert(root);
        assert(ret);

        _cleanup_settings_ Settings c = {};
        _cleanup_dropins_ DropIns dropins = {};
        _cleanup_close_
        int root_fd = open(isempty(root) ? "/" : root, O_DIRECTORY | O_PATH | O_CLOEXEC);

        if (root_fd < 0)
                return -errno;
        int r = settings_defaults(&c);
        if (r < 0)
                return r;
        r = load_main(&c, root_fd);
        if (r < 0)
                return r;
        r = dropins_load(root_fd, "pciassignd.conf.d", ".conf", SETTINGS_FILE_MAX,
                         SETTINGS_DROPINS_MAX, &dropins);
        for (size_t n = 0; n < dropins.n && r >= 0; n++)
                r = take_file(&c, dropins.items + n);
        if (r < 0)
                return r;
        *ret = c;
        c = (Settings) {};
        return 0;
}

/* ---- showing ---- */

static Json *key_value(const Settings *c, const Key *k) {
        const void *from = (const char *) c + k->offset;
        return k->type == KEY_NUMBER ? json_new_u64(*(const uint64_t *) from) :
                                       json_new_string(*(char *const *) from);
}

Json *settings_to_json(const Settings *c) {
        assert(c);

        Json *values = json_new_object(), *all = json_new_object();
        for (size_t n = 0; n < ELEMENTSOF(keys); n++) {
                Json *o = json_new_object();
                (void) json_set_string(o, "section", keys[n].section);
                (void) json_set(o, "value", key_value(c, &keys[n]));
                (void) json_set_string(o, "default", keys[n].value);
                (void) json_set_string(o, "origin", c->origins[n] ? c->origins[n] : "default");
                (void) json_set(values, keys[n].name, o);
        }
        (void) json_set(all, "values", values);
        (void) json_set_strv(all, "errors", c->errors);
        return all;
}

gid_t settings_group(const char *name) {
        const struct group *g = getgrnam(name);

        return g ? g->gr_gid : GID_UNSET;
}

gid_t settings_local_group(const char *name) {
        _cleanup_fclose_ FILE *f = fopen("/etc/group", "re");
        const struct group *g;

        while (f && (g = fgetgrent(f)))
                if (streq(g->gr_name, name))
                        return g->gr_gid;
        return GID_UNSET;
}
