/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Makes the messages of Assign and Plan out of the command line. Only what was said is sent: the
 * daemon knows the defaults.
 */

#include "assign-call.h"

#include <pwd.h>

#include "base/strutil.h"
#include "match.h"

static int add_string(sd_bus_message *m, const char *key, const char *value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "s", value) : 0;
}

static int add_bool(sd_bus_message *m, const char *key, bool value) {
        return value ? sd_bus_message_append(m, "{sv}", key, "b", 1) : 0;
}

static int add_u64(sd_bus_message *m, const char *key, uint64_t value) {
        return value > 0 ? sd_bus_message_append(m, "{sv}", key, "t", value) : 0;
}

/* "name=value" each: a{ss}. A name that comes twice takes its last value. */
static int add_labels(sd_bus_message *m, char *const *labels) {
        int r;

        if (!labels)
                return 0;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 's', "labels");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "a{ss}");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{ss}");
        for (; r >= 0 && *labels; labels++) {
                _cleanup_free_ char *name = strndup(*labels, strcspn(*labels, "="));

                if (!name)
                        output_out_of_memory();
                r = sd_bus_message_append(m, "{ss}", name, *labels + strlen(name) + 1);
        }
        for (int i = 0; r >= 0 && i < 3; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int add_identity(sd_bus_message *m, const Arguments *a, const AssignExtra *x) {
        int r = 0;

        if (a->has_uid)
                r = sd_bus_message_append(m, "{sv}", "uid", "u", (uint32_t) a->uid);
        if (r >= 0 && a->has_gid)
                r = sd_bus_message_append(m, "{sv}", "gid", "u", (uint32_t) a->gid);
        if (r >= 0 && x->pidfd >= 0)
                r = sd_bus_message_append(m, "{sv}", "pidfd", "h", x->pidfd);
        return r;
}

static int add_options(sd_bus_message *m, const Arguments *a, const AssignExtra *x) {
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = add_string(m, "lifetime", x->lifetime ?: a->lifetime ?: "persistent");
        if (r >= 0)
                r = add_string(m, "group", a->take_all ? "take-all" : NULL);
        if (r >= 0)
                r = add_bool(m, "force", a->force);
        if (r >= 0)
                r = add_string(m, "reason", a->reason);
        if (r >= 0)
                r = add_string(m, "driver", a->driver);
        if (r >= 0)
                r = add_string(m, "request-id", a->request_id);
        if (r >= 0)
                r = add_string(m, "token", a->token);
        if (r >= 0)
                r = add_labels(m, a->labels);
        if (r >= 0)
                r = add_identity(m, a, x);
        if (r >= 0)
                r = add_bool(m, "by-node", a->by_node || x->by_node);
        if (r >= 0)
                r = add_u64(m, "memlock", a->memlock);
        if (r >= 0)
                r = add_u64(m, "attach-within", a->attach_within_usec);
        if (r >= 0)
                r = add_bool(m, "no-wait", a->no_wait || x->no_wait);
        if (r >= 0)
                r = match_append_options(m, a);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

char *assign_owner(const Arguments *a) {
        const struct passwd *p;
        char *s;

        if (a->owner)
                s = strdup(a->owner);
        else {
                p = getpwuid(getuid());
                s = p && string_is_safe(p->pw_name, 255) ? strdup(p->pw_name)
                                                         : strjoinf("uid-%u", (unsigned) getuid());
        }
        if (!s)
                output_out_of_memory();
        return s;
}

int assign_new_call(sd_bus *bus, const char *method, const Arguments *a, char *const *devices,
                    const AssignExtra *x, sd_bus_message **ret) {
        _cleanup_message_ sd_bus_message *m = NULL;
        _cleanup_free_ char *owner = assign_owner(a);
        int r;

        if (a->force && !a->reason)
                return complain(2, "--force wants --reason: it stands in the log");
        if (a->reason && !a->force)
                return complain(2, "--reason is the reason of --force");
        if (a->matches)
                method = streq(method, "Plan") ? "PlanMatching" : "AssignMatching";
        r = client_new_call(bus, NULL, BUS_INTERFACE_MANAGER, method, &m);
        if (r > 0)
                return r;
        r = a->matches ? match_append_wants(m, a)
                       : sd_bus_message_append_strv(m, (char **) (uintptr_t) devices);
        if (r > 0 && a->matches)
                return r;
        if (r >= 0)
                r = sd_bus_message_append_basic(m, 's', owner);
        if (r >= 0)
                r = add_options(m, a, x);
        if (r < 0)
                return client_broken(r, method);
        *ret = TAKE_PTR(m);
        return 0;
}

char *describe_words(const char *verb, char *const *words, size_t n) {
        StrBuf b = {};
        char *s;

        strbuf_add(&b, verb);
        for (size_t i = 0; i < n && i < 4; i++)
                strbuf_addf(&b, " %s", escaped(words[i]));
        if (n > 4)
                strbuf_addf(&b, " and %zu more", n - 4);
        s = strbuf_steal(&b);
        if (!s)
                output_out_of_memory();
        return s;
}
