/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The made tree of tree.h. Everything is an ordinary file; what the kernel does behind a write is
 * done by one thread that waits on inotify, so nothing here sleeps or polls.
 */

#include "tree.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "unit.h"

#define PATH_SIZE 512

struct Tree {
        char *root, *runtime;
        int fd;
        const TreeDevice *devices;
        size_t n;
        pthread_t thread;
        bool running;
        int stop, watch;
        atomic_uint ignore;
};

static const char *path_of(const Tree *t, const TreeDevice *d, char *buffer) {
        char above[PATH_SIZE];

        if (!d->parent)
                (void) snprintf(buffer, PATH_SIZE, "pci0000:00/%s", d->address);
        for (size_t i = 0; d->parent && i < t->n; i++)
                if (streq(t->devices[i].address, d->parent))
                        (void) snprintf(buffer, PATH_SIZE, "%s/%s",
                                        path_of(t, t->devices + i, above), d->address);
        return buffer;
}

static const TreeDevice *find(const Tree *t, const char *address) {
        for (size_t i = 0; i < t->n; i++)
                if (streq(t->devices[i].address, address))
                        return t->devices + i;
        return NULL;
}

static void make_parents(const Tree *t, const char *path) {
        char *copy = strdup(path), *slash = strrchr(copy, '/');

        if (slash) {
                *slash = 0;
                ck_assert_int_ge(mkdir_p_at(t->fd, copy, 0755), 0);
        }
        free(copy);
}

void tree_write_bytes(const Tree *t, const char *path, const void *data, size_t n) {
        int fd;

        make_parents(t, path);
        fd = openat(t->fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_ge(loop_write(fd, data, n), 0);
        (void) close(fd);
}

void tree_write(const Tree *t, const char *path, const char *text) {
        tree_write_bytes(t, path, text, strlen(text));
}

void tree_link(const Tree *t, const char *path, const char *target) {
        make_parents(t, path);
        ck_assert_int_eq(symlinkat(target, t->fd, path), 0);
}

void tree_remove(const Tree *t, const char *path) {
        ck_assert_int_eq(unlinkat(t->fd, path, 0), 0);
}

char *tree_read(const Tree *t, const char *path) {
        char *text;

        ck_assert_int_ge(read_file_at(t->fd, path, 65536, &text, NULL), 0);
        return text;
}

char *tree_path_of(const Tree *t, const char *address) {
        char buffer[PATH_SIZE];

        return strdup(path_of(t, find(t, address), buffer));
}

char *tree_driver(const Tree *t, const char *address) {
        char path[PATH_SIZE * 2], name[64] = "";

        (void) snprintf(path, sizeof(path), "sys/bus/pci/devices/%s/driver", address);
        (void) readlink_base_at(t->fd, path, name, sizeof(name)); /* none: "" */
        return strdup(name);
}

/* ---- making ---- */

static void set_driver(const Tree *t, const TreeDevice *d, const char *driver) {
        char path[PATH_SIZE * 2], target[PATH_SIZE * 2], node[64], buffer[PATH_SIZE];

        (void) snprintf(path, sizeof(path), "sys/devices/%s/driver", path_of(t, d, buffer));
        (void) snprintf(node, sizeof(node), "dev/vfio/%u", d->group);
        (void) unlinkat(t->fd, path, 0); /* none yet is fine */
        (void) unlinkat(t->fd, node, 0);
        if (isempty(driver))
                return;
        if (streq(driver, "vfio-pci"))
                tree_write(t, node, "");
        (void) snprintf(target, sizeof(target), "../../../bus/pci/drivers/%s", driver);
        ck_assert_int_eq(symlinkat(target, t->fd, path), 0);
}

static void make_driver(const Tree *t, const char *name) {
        char path[PATH_SIZE];

        (void) snprintf(path, sizeof(path), "sys/bus/pci/drivers/%s/unbind", name);
        tree_write(t, path, "");
        (void) snprintf(path, sizeof(path), "sys/bus/pci/drivers/%s/bind", name);
        tree_write(t, path, "");
}

static void make_config(const Tree *t, const char *path, uint16_t vendor, uint16_t device,
                        const char *class) {
        uint8_t c[256] = { vendor & 0xff, vendor >> 8, device & 0xff, device >> 8,
                           0x06,          0x04,        0x10,          0x00 };
        uint32_t code = 0;

        ck_assert_int_ge(parse_u32(class, 16, 0xffffff, &code), 0);
        c[9] = code & 0xff;
        c[10] = (code >> 8) & 0xff;
        c[11] = (uint8_t) (code >> 16);
        c[0x34] = 0x40;
        c[0x40] = 0x01; /* power management, the end of the list */
        c[0x44] = 0x08;
        tree_write_bytes(t, path, c, sizeof(c));
}

static void make_device(const Tree *t, const TreeDevice *d) {
        static const struct {
                const char *name, *text;
        } attributes[] = {
                { "vendor", "0x1af4\n" },
                { "device", "0x1041\n" },
                { "subsystem_vendor", "0x1af4\n" },
                { "subsystem_device", "0x1100\n" },
                { "revision", "0x01\n" },
                { "numa_node", "-1\n" },
                { "reset_method", "flr bus\n" },
                { "driver_override", "(null)\n" },
                { "reset", "" },
                { "resource", "0x00000000fe000000 0x00000000fe003fff 0x0000000000040200\n" },
                { "power/runtime_status", "active\n" },
        };
        char base[PATH_SIZE], path[PATH_SIZE * 2], target[PATH_SIZE * 2], text[64];

        (void) path_of(t, d, base);
        for (size_t i = 0; i < ELEMENTSOF(attributes); i++) {
                (void) snprintf(path, sizeof(path), "sys/devices/%s/%s", base, attributes[i].name);
                tree_write(t, path, attributes[i].text);
        }
        (void) snprintf(path, sizeof(path), "sys/devices/%s/class", base);
        (void) snprintf(text, sizeof(text), "%s\n", d->class);
        tree_write(t, path, text);
        (void) snprintf(path, sizeof(path), "sys/devices/%s/config", base);
        make_config(t, path, 0x1af4, 0x1041, d->class);
        (void) snprintf(path, sizeof(path), "sys/bus/pci/devices/%s", d->address);
        (void) snprintf(target, sizeof(target), "../../../devices/%s", base);
        tree_link(t, path, target);
        (void) snprintf(path, sizeof(path), "sys/devices/%s/iommu_group", base);
        (void) snprintf(target, sizeof(target), "../../../kernel/iommu_groups/%u", d->group);
        tree_link(t, path, target);
        (void) snprintf(path, sizeof(path), "sys/kernel/iommu_groups/%u/type", d->group);
        tree_write(t, path, "DMA-FQ\n");
        (void) snprintf(path, sizeof(path), "sys/kernel/iommu_groups/%u/reserved_regions",
                        d->group);
        tree_write(t, path, "0x00000000fee00000 0x00000000feefffff msi\n");
        if (d->driver)
                make_driver(t, d->driver);
        if (d->native)
                make_driver(t, d->native);
        set_driver(t, d, d->driver);
}

Tree *tree_new(const TreeDevice *devices, size_t n) {
        Tree *t = calloc(1, sizeof(Tree));

        ck_assert_ptr_nonnull(t);
        t->root = unit_make_dir();
        t->runtime = unit_make_dir();
        t->fd = open(t->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        ck_assert_int_ge(t->fd, 0);
        t->devices = devices;
        t->n = n;
        t->stop = t->watch = -EBADF;
        ck_assert_int_ge(mkdir_p_at(t->fd, "sys/bus/pci/devices", 0755), 0);
        ck_assert_int_ge(mkdir_p_at(t->fd, "run", 0755), 0);
        ck_assert_int_ge(mkdir_p_at(t->fd, "dev/vfio", 0755), 0);
        tree_write(t, "proc/self/mountinfo", "");
        tree_write(t, "proc/1/mountinfo", "");
        tree_write(t, "proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        tree_write(t, "proc/net/route",
                   "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n");
        tree_write(t, "proc/net/ipv6_route", "");
        tree_write(t, "sys/bus/pci/drivers_probe", "");
        make_driver(t, "vfio-pci");
        for (size_t i = 0; i < n; i++)
                make_device(t, devices + i);
        return t;
}

/* ---- the kernel's part ---- */

static void probe(const Tree *t, const TreeDevice *d) {
        _cleanup_free_ char *override = NULL, *driver = tree_driver(t, d->address);
        char path[PATH_SIZE * 2], buffer[PATH_SIZE];

        if (driver[0])
                return;
        (void) snprintf(path, sizeof(path), "sys/devices/%s/driver_override",
                        path_of(t, d, buffer));
        override = tree_read(t, path);
        override[strcspn(override, "\n")] = 0;
        set_driver(t, d, isempty(override) || streq(override, "(null)") ? d->native : override);
}

/* path: which file was written. Its text names the function. */
static void react(Tree *t, const char *path, const char *unbind_from) {
        _cleanup_free_ char *text = tree_read(t, path), *driver = NULL;
        const TreeDevice *d = find(t, text);

        if (!d)
                return;
        if (atomic_load(&t->ignore) > 0) {
                (void) atomic_fetch_sub(&t->ignore, 1);
                return;
        }
        driver = tree_driver(t, d->address);
        if (!unbind_from)
                probe(t, d);
        else if (streq(driver, unbind_from))
                set_driver(t, d, NULL);
}

typedef struct Watched {
        int descriptor;
        char path[PATH_SIZE];
        char driver[64];
} Watched;

static size_t watch_files(Tree *t, Watched *watched, size_t max) {
        char path[PATH_SIZE * 2];
        char **names;
        size_t n = 0;

        (void) snprintf(watched[n].path, PATH_SIZE, "sys/bus/pci/drivers_probe");
        n++;
        ck_assert_int_ge(read_dir_names_at(t->fd, "sys/bus/pci/drivers", 64, true, &names), 0);
        for (char **name = names; *name && n < max; name++, n++) {
                (void) snprintf(watched[n].path, PATH_SIZE, "sys/bus/pci/drivers/%s/unbind", *name);
                (void) string_copy(watched[n].driver, sizeof(watched[n].driver), *name);
        }
        strv_free(names);
        for (size_t i = 0; i < n; i++) {
                (void) snprintf(path, sizeof(path), "%s/%s", t->root, watched[i].path);
                watched[i].descriptor = inotify_add_watch(t->watch, path, IN_CLOSE_WRITE);
                ck_assert_int_ge(watched[i].descriptor, 0);
        }
        return n;
}

static struct {
        Watched files[32];
        size_t n;
} kernel;

static void *play_kernel(void *userdata) {
        Tree *t = userdata;
        char events[8192] __attribute__((aligned(8)));

        for (;;) {
                struct pollfd p[] = { { .fd = t->watch, .events = POLLIN },
                                      { .fd = t->stop, .events = POLLIN } };
                ssize_t n;

                if (poll(p, 2, -1) < 0 || p[1].revents)
                        return NULL;
                n = read(t->watch, events, sizeof(events));
                for (ssize_t k = 0; k < n;) {
                        const struct inotify_event *e = (const struct inotify_event *) (events + k);

                        for (size_t i = 0; i < kernel.n; i++)
                                if (kernel.files[i].descriptor == e->wd)
                                        react(t, kernel.files[i].path,
                                              kernel.files[i].driver[0] ? kernel.files[i].driver
                                                                        : NULL);
                        k += (ssize_t) (sizeof(*e) + e->len);
                }
        }
}

void tree_start_kernel(Tree *t) {
        t->watch = inotify_init1(IN_CLOEXEC);
        t->stop = eventfd(0, EFD_CLOEXEC);
        ck_assert_int_ge(t->watch, 0);
        ck_assert_int_ge(t->stop, 0);
        kernel.n = watch_files(t, kernel.files, ELEMENTSOF(kernel.files));
        ck_assert_int_eq(pthread_create(&t->thread, NULL, play_kernel, t), 0);
        t->running = true;
}

void tree_ignore_changes(Tree *t, unsigned n) {
        atomic_store(&t->ignore, n);
}

void tree_free(Tree *t) {
        if (t->running) {
                ck_assert_int_eq(eventfd_write(t->stop, 1), 0);
                ck_assert_int_eq(pthread_join(t->thread, NULL), 0);
        }
        (void) safe_close(t->watch);
        (void) safe_close(t->stop);
        (void) safe_close(t->fd);
        unit_remove_dir(t->root);
        unit_remove_dir(t->runtime);
        free(t);
}

const char *tree_root(const Tree *t) {
        return t->root;
}

const char *tree_runtime(const Tree *t) {
        return t->runtime;
}

void tree_send_event(const Tree *t, const void *message, size_t n) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        ck_assert_int_ge(fd, 0);
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/run/pciassignd-uevents",
                        t->root);
        ck_assert_int_eq(sendto(fd, message, n, 0, (struct sockaddr *) &address, sizeof(address)),
                         (ssize_t) n);
        (void) close(fd);
}
