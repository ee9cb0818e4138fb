/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Asks for VFIO descriptors and sorts the answer by what it is and whose. Descriptors in a bus
 * message live as long as the message: those that are wanted are duplicated, all others vanish with
 * it.
 */

#include "open-call.h"

#include <assert.h>
#include <fcntl.h>

#include "base/strutil.h"

static int take_fd(Launch *l, LaunchKind kind, uint32_t device, int fd) {
        int copy;

        if (l->n_fds >= LAUNCH_FDS_MAX)
                return -E2BIG;
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (copy < 0)
                return -errno;
        l->fds[l->n_fds++] = (LaunchFd) { kind, device, copy };
        return 0;
}

static bool kind_of_key(const char *key, LaunchKind *ret) {
        static const struct { const char *key; LaunchKind kind;
        } table[] = {
                { "container", LAUNCH_CONTAINER }, { "iommufd", LAUNCH_IOMMUFD },
                { "group", LAUNCH_GROUP },         { "device", LAUNCH_VFIO },
                { "cdev", LAUNCH_VFIO },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (streq(table[i].key, key)) {
                        *ret = table[i].kind;
                        return true;
                }
        return false;
}

/* a{sv}: descriptors by their key; what else stands in it is of no use here. */
static int read_fds(sd_bus_message *m, Launch *l, uint32_t device) {
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *key, *contents;
                LaunchKind kind;
                int fd;

                r = sd_bus_message_read_basic(m, 's', &key);
                if (r >= 0)
                        r = sd_bus_message_peek_type(m, NULL, &contents);
                if (r >= 0 && streq(contents, "h") && kind_of_key(key, &kind)) {
                        r = sd_bus_message_read(m, "v", "h", &fd);
                        if (r >= 0)
                                r = take_fd(l, kind, device, fd);
                } else if (r >= 0)
                        r = sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static uint32_t index_of(const Launch *l, const char *address) {
        for (uint32_t i = 0; i < l->n_addresses; i++)
                if (streq(l->addresses[i], address))
                        return i;
        return UINT32_MAX;
}

/* A group's descriptor comes once, with one of its devices; it serves the others as well. */
static int share_groups(Launch *l, const uint32_t *groups) {
        for (uint32_t i = 0; i < l->n_addresses; i++) {
                bool has = false;
                int of_group = -EBADF, r;

                for (uint32_t k = 0; k < l->n_fds; k++) {
                        const LaunchFd *f = l->fds + k;

                        if (f->kind != LAUNCH_GROUP || f->device >= l->n_addresses)
                                continue;
                        has = has || f->device == i;
                        if (groups[f->device] == groups[i])
                                of_group = f->fd;
                }
                if (has || of_group < 0)
                        continue;
                if (l->n_fds >= LAUNCH_FDS_MAX)
                        return -E2BIG;
                r = fcntl(of_group, F_DUPFD_CLOEXEC, 3);
                if (r < 0)
                        return -errno;
                l->fds[l->n_fds++] = (LaunchFd) { LAUNCH_GROUP, i, r };
        }
        return 0;
}

/* The numbers of groups, read ahead of the descriptors: the message is rewound. */
static int read_group_number(sd_bus_message *m, uint32_t *ret) {
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                const char *key;

                r = sd_bus_message_read_basic(m, 's', &key);
                if (r >= 0)
                        r = streq(key, "iommu-group") ? sd_bus_message_read(m, "v", "u", ret)
                                                      : sd_bus_message_skip(m, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_devices(sd_bus_message *m, Launch *l, uint32_t *groups, bool fds) {
        int r = sd_bus_message_enter_container(m, 'a', "(sa{sv})");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "sa{sv}")) > 0) {
                const char *address;
                uint32_t i, ignored;

                r = sd_bus_message_read_basic(m, 's', &address);
                i = r >= 0 ? index_of(l, address) : UINT32_MAX;
                if (r >= 0 && fds)
                        r = read_fds(m, l, i);
                else if (r >= 0)
                        r = read_group_number(m, i < l->n_addresses ? groups + i : &ignored);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_reply(sd_bus_message *m, Launch *l) {
        uint32_t groups[LAUNCH_DEVICES_MAX];
        int r;

        for (uint32_t i = 0; i < LAUNCH_DEVICES_MAX; i++)
                groups[i] = UINT32_MAX - i; /* no two alike until they are known */
        r = sd_bus_message_skip(m, "a{sv}");
        if (r >= 0)
                r = read_devices(m, l, groups, false);
        if (r >= 0)
                r = sd_bus_message_rewind(m, true);
        if (r >= 0)
                r = read_fds(m, l, 0);
        if (r >= 0)
                r = read_devices(m, l, groups, true);
        return r < 0 ? r : share_groups(l, groups);
}

/* Where the kernel has both ways, the placeholders say which one is meant. */
static const char *choose_api(const Arguments *a, unsigned kinds) {
        if (a->api)
                return a->api;
        if (kinds & 1U << LAUNCH_IOMMUFD)
                return "cdev";
        return kinds & (1U << LAUNCH_CONTAINER | 1U << LAUNCH_GROUP) ? "group" : "auto";
}

int open_call(sd_bus *bus, const Arguments *a, const char *assignment, unsigned kinds,
              const char *what, Launch *l) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        bool device_fd = kinds & 1U << LAUNCH_VFIO;
        int r;

        assert(l);
        r = client_new_call(bus, assignment, BUS_INTERFACE_ASSIGNMENT, "Open", &call);
        if (r > 0)
                return r;
        r = sd_bus_message_open_container(call, 'a', "s");
        for (uint32_t i = 0; r >= 0 && i < l->n_addresses; i++)
                r = sd_bus_message_append_basic(call, 's', l->addresses[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(call);
        if (r >= 0)
                r = sd_bus_message_append(call, "a{sv}", 2, "api", "s",
                                          choose_api(a, kinds), "device-fd", "b", (int) device_fd);
        if (r < 0)
                return client_broken(r, what);
        r = client_call(bus, call, what, &reply);
        if (r > 0)
                return r;
        r = read_reply(reply, l);
        if (r < 0)
                return client_broken(r, what);
        return launch_check(l, kinds);
}
