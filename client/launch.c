/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Replaces placeholders and executes. Only the five known names count, so a command whose arguments
 * are JSON keeps its braces. Before executing the process gives up what it was: groups, group and
 * user are set together, in this order, and all three ids of each, so that nothing can be taken
 * back. Descriptors are inherited only if they are the ones that were asked for.
 */

#include "launch.h"

#include <assert.h>
#include <inttypes.h>
#include <pwd.h>

#include "base/fdio.h"
#include "base/strutil.h"

static const char *const kinds[_LAUNCH_KIND_MAX] = {
        [LAUNCH_ADDRESS] = "address",
        [LAUNCH_VFIO] = "vfio",
        [LAUNCH_GROUP] = "group",
        [LAUNCH_CONTAINER] = "container",
        [LAUNCH_IOMMUFD] = "iommufd",
};

typedef struct Placeholder {
        LaunchKind kind;
        uint32_t device;
        size_t length; /* with both braces */
} Placeholder;

/* Does a placeholder stand at s, which starts with '{'? */
static bool placeholder_parse(const char *s, Placeholder *ret) {
        const char *end = strchr(s, '}'), *dot;
        size_t name_length;
        uint64_t device = 0;

        if (!end)
                return false;
        dot = memchr(s, '.', (size_t) (end - s));
        name_length = (size_t) ((dot ? dot : end) - s) - 1;
        if (dot && parse_u64_n(dot + 1, (size_t) (end - dot) - 1, 10, UINT32_MAX, &device) < 0)
                return false;
        for (unsigned k = 0; k < _LAUNCH_KIND_MAX; k++)
                if (strlen(kinds[k]) == name_length && memcmp(kinds[k], s + 1, name_length) == 0) {
                        *ret = (Placeholder){ (LaunchKind) k, (uint32_t) device,
                                              (size_t) (end - s) + 1 };
                        return true;
                }
        return false;
}

int launch_scan(char *const *command, size_t n_devices, unsigned *ret_kinds) {
        unsigned found = 0;

        assert(command);
        assert(ret_kinds);
        for (; *command; command++)
                for (const char *s = strchr(*command, '{'); s; s = strchr(s + 1, '{')) {
                        Placeholder p;

                        if (!placeholder_parse(s, &p))
                                continue;
                        if (p.device >= n_devices)
                                return complain(2,
                                                "'%s': there is no device number %" PRIu32
                                                "; the first is 0",
                                                escaped(*command), p.device);
                        found |= 1U << p.kind;
                }
        *ret_kinds = found;
        return 0;
}

static const LaunchFd *find_fd(const Launch *l, LaunchKind kind, uint32_t device) {
        for (uint32_t i = 0; i < l->n_fds; i++) {
                const LaunchFd *f = l->fds + i;

                if (f->kind == kind &&
                    (f->device == device || kind == LAUNCH_CONTAINER || kind == LAUNCH_IOMMUFD))
                        return f;
        }
        return NULL;
}

int launch_check(const Launch *l, unsigned wanted) {
        assert(l);
        for (unsigned k = LAUNCH_VFIO; k < _LAUNCH_KIND_MAX; k++)
                if ((wanted & 1U << k) && !find_fd(l, (LaunchKind) k, 0))
                        return complain(
                                1,
                                "{%s}: this kernel's way of handing over has none; with %s use %s",
                                kinds[k], k == LAUNCH_IOMMUFD ? "--api=group" : "--api=cdev",
                                k == LAUNCH_IOMMUFD ? "{container} and {group}"
                                                    : "{iommufd} and {vfio}");
        return 0;
}

void launch_close(Launch *l) {
        assert(l);
        for (uint32_t i = 0; i < l->n_fds; i++)
                l->fds[i].fd = safe_close(l->fds[i].fd);
        l->n_fds = 0;
}

static int expand(const Launch *l, const char *argument, char **ret) {
        StrBuf b = {};

        while (*argument) {
                Placeholder p;
                const LaunchFd *f;

                if (*argument != '{' || !placeholder_parse(argument, &p)) {
                        strbuf_add_n(&b, argument++, 1);
                        continue;
                }
                if (p.kind == LAUNCH_ADDRESS)
                        strbuf_add(&b, p.device < l->n_addresses ? l->addresses[p.device] : "");
                else {
                        f = find_fd(l, p.kind, p.device);
                        strbuf_addf(&b, "%d", f ? f->fd : -1);
                }
                argument += p.length;
        }
        *ret = strbuf_steal(&b);
        return *ret ? 0 : -ENOMEM;
}

/* ---- identity ---- */

int identity_resolve(const Arguments *a, Identity *ret) {
        Identity id = { .change = a->has_uid || a->has_gid, .uid = a->has_uid ? a->uid : getuid(),
                        .gid = a->has_gid ? a->gid : getgid() };
        const struct passwd *p = a->has_uid ? getpwuid(a->uid) : NULL;

        if (p && !a->has_gid)
                id.gid = p->pw_gid;
        if (a->has_uid && !p && !a->has_gid)
                return complain(
                        2, "--uid=%u: the user database has no such user, so say --gid as well",
                        (unsigned) a->uid);
        id.n_groups = ELEMENTSOF(id.groups);
        if (!p) {
                id.groups[0] = id.gid;
                id.n_groups = 1;
        } else if (getgrouplist(p->pw_name, id.gid, id.groups, &id.n_groups) < 0)
                return complain(1, "--uid=%s: the user is in more than %zu groups",
                                escaped(a->user), ELEMENTSOF(id.groups));
        *ret = id;
        return 0;
}

static int identity_take(const Identity *id) {
        if (!id->change)
                return 0;
        /* Who runs as this user already has nothing to give up. */
        if (geteuid() != 0 && getuid() == id->uid && getgid() == id->gid)
                return 0;
        if (setgroups((size_t) id->n_groups, id->groups) < 0 ||
            setresgid(id->gid, id->gid, id->gid) < 0 || setresuid(id->uid, id->uid, id->uid) < 0)
                return -errno;
        return 0;
}

int launch_exec(const Launch *l, const Identity *identity, char *const *command) {
        _cleanup_strv_ char **argv = NULL;
        int r;

        assert(l);
        assert(identity);
        assert(command && command[0]);
        for (; *command; command++) {
                _cleanup_free_ char *s = NULL;

                r = expand(l, *command, &s);
                if (r >= 0)
                        r = strv_extend(&argv, s);
                if (r < 0)
                        return r;
        }
        r = identity_take(identity);
        if (r < 0)
                return r;
        for (uint32_t i = 0; i < l->n_fds; i++) {
                r = fd_set_cloexec(l->fds[i].fd, false);
                if (r < 0)
                        return r;
        }
        (void) execvp(argv[0], argv); /* returns only if it failed */
        return -errno;
}
