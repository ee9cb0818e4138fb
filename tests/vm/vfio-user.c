/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An orchestrator and VMM in one, as small as can be: asks the service for devices, receives their
 * descriptors over D-Bus, maps memory for DMA and reads a BAR of each. It needs no privilege but
 * the permission to ask. With --device or --cdev it was handed descriptors by whoever executed it,
 * with --node it opens the character devices by itself.
 *
 * Says what happened as one JSON object a line. With --hold it keeps everything open until its
 * standard input ends; with --crash it is killed where it stands, holding everything.
 *
 *   vfio-user [--owner=NAME] [--lifetime=NAME] [--assignment=PATH] [--api=NAME] [--device-fd]
 * [--release]
 *             [--hold|--crash] DEVICE…
 *   vfio-user [--container=FD --device=FD|--iommufd=FD --cdev=FD|--node] [--hold|--crash] DEVICE
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/names.h"
#include "base/strutil.h"
#include "vfio-device.h"

#define DEVICES_MAX 16
#define DMA_BYTES (64U * 1024U)
#define DMA_IOVA (UINT64_C(1) << 20)
#define CALL_TIMEOUT_USEC (UINT64_C(120) * 1000000U)

typedef struct UserDevice {
        char address[32];
        char token[64];
        int group, device, cdev;
} UserDevice;

typedef struct User {
        const char *owner, *lifetime, *assignment, *api;
        bool want_device_fd, release, hold, crash, by_node;
        int device, cdev; /* given */
        char **addresses;
        sd_bus *bus;
        char *path; /* the assignment's */
        char opened_api[16];
        int container, iommufd;
        UserDevice devices[DEVICES_MAX];
        size_t n_devices;
} User;

static void say(struct json_object *line) {
        puts(json_object_to_json_string_ext(line, JSON_C_TO_STRING_PLAIN));
        (void) fflush(stdout);
        (void) json_object_put(line);
}

static struct json_object *event(const char *name) {
        struct json_object *line = json_object_new_object();

        (void) json_object_object_add(line, "event", json_object_new_string(name));
        return line;
}

static void add_string(struct json_object *line, const char *key, const char *value) {
        (void) json_object_object_add(line, key, json_object_new_string(strempty(value)));
}

static void add_number(struct json_object *line, const char *key, uint64_t value) {
        (void) json_object_object_add(line, key, json_object_new_int64((int64_t) value));
}

static int failed(const char *what, const sd_bus_error *error, int r) {
        struct json_object *line = event("error");

        add_string(line, "what", what);
        add_string(line, "name", error ? error->name : NULL);
        add_string(line, "message", error && error->message ? error->message : strerror(-r));
        say(line);
        return r;
}

static int call(User *u, sd_bus_message *m, const char *what, sd_bus_message **ret) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;

        int r = sd_bus_call(u->bus, m, CALL_TIMEOUT_USEC, &error, ret);
        return r < 0 ? failed(what, &error, r) : 0;
}

static int assign(User *u) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
        const char *path = NULL, *job = NULL;

        int r = sd_bus_message_new_method_call(u->bus, &m, BUS_NAME, BUS_PATH,
                                               BUS_INTERFACE_MANAGER, "Assign");
        if (r >= 0)
                r = sd_bus_message_append_strv(m, u->addresses);
        if (r >= 0)
                r = sd_bus_message_append(m, "sa{sv}", u->owner, 1, "lifetime", "s", u->lifetime);
        if (r < 0)
                return failed("Assign", NULL, r);
        r = call(u, m, "Assign", &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "oo", &path, &job);
        if (r < 0)
                return failed("Assign", NULL, r);
        u->path = strdup(path);
        if (!u->path)
                return -ENOMEM;

        struct json_object *line = event("assigned");
        add_string(line, "assignment", path);
        add_string(line, "job", job);
        say(line);
        return 0;
}

/* The descriptor in a variant, duplicated: the message closes its own. */
static int read_fd(sd_bus_message *m, int *ret) {
        int fd;
        int r = sd_bus_message_read(m, "v", "h", &fd);
        if (r < 0)
                return r;
        *ret = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        return *ret < 0 ? -errno : 0;
}

static int read_string(sd_bus_message *m, char *to, size_t size) {
        const char *s;
        int r = sd_bus_message_read(m, "v", "s", &s);
        if (r < 0)
                return r;
        (void) snprintf(to, size, "%s", s);
        return 0;
}

static int read_device_key(sd_bus_message *m, const char *key, UserDevice *d) {
        if (streq(key, "group"))
                return read_fd(m, &d->group);
        if (streq(key, "device"))
                return read_fd(m, &d->device);
        if (streq(key, "cdev"))
                return read_fd(m, &d->cdev);
        if (streq(key, "vf-token"))
                return read_string(m, d->token, sizeof(d->token));
        if (streq(key, "bdf"))
                return read_string(m, d->address, sizeof(d->address));
        return sd_bus_message_skip(m, "v");
}

static int read_shared_key(sd_bus_message *m, const char *key, User *u) {
        if (streq(key, "container"))
                return read_fd(m, &u->container);
        if (streq(key, "iommufd"))
                return read_fd(m, &u->iommufd);
        if (streq(key, "api"))
                return read_string(m, u->opened_api, sizeof(u->opened_api));
        return sd_bus_message_skip(m, "v");
}

static int read_device(User *u, sd_bus_message *m) {
        const char *name, *key;
        int r = sd_bus_message_read(m, "s", &name);
        if (r < 0)
                return r;
        if (u->n_devices == DEVICES_MAX)
                return -E2BIG;

        UserDevice *d = &u->devices[u->n_devices++];
        *d = (UserDevice){ .group = -EBADF, .device = -EBADF, .cdev = -EBADF };
        (void) snprintf(d->address, sizeof(d->address), "%s", name);
        r = sd_bus_message_enter_container(m, 'a', "{sv}");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0)
                        r = read_device_key(m, key, d);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int read_opened(User *u, sd_bus_message *m) {
        const char *key;
        int r = sd_bus_message_enter_container(m, 'a', "{sv}");

        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
                r = sd_bus_message_read(m, "s", &key);
                if (r >= 0)
                        r = read_shared_key(m, key, u);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "(sa{sv})");
        while (r >= 0 && (r = sd_bus_message_enter_container(m, 'r', "sa{sv}")) > 0) {
                r = read_device(u, m);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static size_t count_cdevs(const User *u) {
        size_t n = 0;

        for (size_t i = 0; i < u->n_devices; i++)
                n += u->devices[i].cdev >= 0;
        return n;
}

static int open_descriptors(User *u) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;

        int r = sd_bus_message_new_method_call(u->bus, &m, BUS_NAME, u->path,
                                               BUS_INTERFACE_ASSIGNMENT, "Open");
        if (r >= 0)
                r = sd_bus_message_append_strv(m, u->addresses);
        if (r >= 0)
                r = sd_bus_message_append(m, "a{sv}", 2, "device-fd", "b", (int) u->want_device_fd,
                                          "api", "s", u->api);
        if (r < 0)
                return failed("Open", NULL, r);
        r = call(u, m, "Open", &reply);
        if (r < 0)
                return r;
        r = read_opened(u, reply);
        if (r < 0)
                return failed("Open", NULL, r);

        struct json_object *line = event("opened");
        add_number(line, "devices", u->n_devices);
        add_string(line, "api", u->opened_api);
        add_number(line, "cdevs", count_cdevs(u));
        add_number(line, "container", u->container >= 0);
        add_number(line, "iommufd", u->iommufd >= 0);
        say(line);
        return 0;
}

/* By whichever way it was handed over; a group's descriptor may stand at the first of its devices
 * only. */
static int device_descriptor(User *u, UserDevice *d, uint32_t *ioas) {
        if (d->cdev >= 0) {
                int r = vfio_cdev_attach(d->cdev, u->iommufd, ioas);
                return r < 0 ? r : d->cdev;
        }
        if (d->device >= 0)
                return d->device;
        if (d->group >= 0)
                return d->device = vfio_group_get_device(d->group, d->address, d->token);

        int r = -EBADF;
        for (size_t i = 0; i < u->n_devices && r < 0; i++)
                if (u->devices[i].group >= 0)
                        r = vfio_group_get_device(u->devices[i].group, d->address, d->token);
        return d->device = r;
}

static int use(User *u) {
        void *memory =
                mmap(NULL, DMA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
                return failed("memory", NULL, -errno);

        uint32_t ioas = 0;
        int fds[DEVICES_MAX];
        for (size_t i = 0; i < u->n_devices; i++) {
                fds[i] = device_descriptor(u, &u->devices[i], &ioas);
                if (fds[i] < 0)
                        return failed(u->devices[i].address, NULL, fds[i]);
        }

        int r = ioas != 0 ? vfio_ioas_map(u->iommufd, ioas, memory, DMA_BYTES, DMA_IOVA)
                          : vfio_container_map(u->container, memory, DMA_BYTES, DMA_IOVA);
        if (r < 0)
                return failed("map for DMA", NULL, r);
        struct json_object *mapped = event("mapped");
        add_number(mapped, "bytes", DMA_BYTES);
        say(mapped);

        for (size_t i = 0; i < u->n_devices; i++) {
                VfioProbe probe;
                r = vfio_device_probe(fds[i], &probe);
                if (r < 0)
                        return failed(u->devices[i].address, NULL, r);
                struct json_object *line = event("device");
                add_string(line, "address", u->devices[i].address);
                add_number(line, "vendor", probe.vendor);
                add_number(line, "region", probe.region);
                add_number(line, "size", probe.region_size);
                struct json_object *words = json_object_new_array();
                for (size_t w = 0; w < ELEMENTSOF(probe.words); w++)
                        (void) json_object_array_add(words, json_object_new_int64(probe.words[w]));
                (void) json_object_object_add(line, "words", words);
                say(line);
        }
        return 0;
}

static void close_all(User *u) {
        for (size_t i = 0; i < u->n_devices; i++) {
                u->devices[i].device = safe_close(u->devices[i].device);
                u->devices[i].group = safe_close(u->devices[i].group);
                u->devices[i].cdev = safe_close(u->devices[i].cdev);
        }
        u->container = safe_close(u->container);
        u->iommufd = safe_close(u->iommufd);
}

static int release(User *u) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;

        int r = sd_bus_message_new_method_call(u->bus, &m, BUS_NAME, u->path,
                                               BUS_INTERFACE_ASSIGNMENT, "Release");
        if (r >= 0)
                r = sd_bus_message_append(m, "a{sv}", 0);
        if (r < 0)
                return failed("Release", NULL, r);
        r = call(u, m, "Release", &reply);
        if (r >= 0)
                say(event("released"));
        return r;
}

/* The one entry of the function's vfio-dev directory names its node. */
static int open_cdev(const char *address) {
        char path[320];
        int fd = -ENODEV;

        (void) snprintf(path, sizeof(path), "/sys/bus/pci/devices/%.32s/vfio-dev", address);
        DIR *d = opendir(path);
        if (!d)
                return -errno;
        for (struct dirent *e = readdir(d); e; e = readdir(d))
                if (e->d_name[0] != '.') {
                        (void) snprintf(path, sizeof(path), "/dev/vfio/devices/%s", e->d_name);
                        fd = open(path, O_RDWR | O_CLOEXEC);
                        if (fd < 0)
                                fd = -errno;
                }
        (void) closedir(d);
        return fd;
}

/* Without the bus: what stands in the arguments, or what the file system lets it open. */
static int take_given(User *u) {
        UserDevice *d = &u->devices[u->n_devices++];

        *d = (UserDevice){ .group = -EBADF, .device = u->device, .cdev = u->cdev };
        (void) snprintf(d->address, sizeof(d->address), "%s", u->addresses[0]);
        if (!u->by_node)
                return 0;
        u->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
        if (u->iommufd < 0)
                return failed("/dev/iommu", NULL, -errno);
        d->cdev = open_cdev(d->address);
        return d->cdev < 0 ? failed("the character device", NULL, d->cdev) : 0;
}

static int ask_service(User *u) {
        int r = sd_bus_open_system(&u->bus);
        if (r < 0)
                return failed("bus", NULL, r);
        if (u->assignment) {
                u->path = strdup(u->assignment);
                r = u->path ? 0 : -ENOMEM;
        } else
                r = assign(u);
        return r < 0 ? r : open_descriptors(u);
}

static int work(User *u) {
        char byte;
        int r = u->by_node || u->device >= 0 || u->cdev >= 0 ? take_given(u) : ask_service(u);

        if (r >= 0)
                r = use(u);
        if (r < 0)
                return r;

        say(event("ready"));
        if (u->crash)
                (void) raise(SIGKILL);
        while (u->hold && read(STDIN_FILENO, &byte, 1) > 0)
                ;
        close_all(u);
        return u->release ? release(u) : 0;
}

static int parse(int argc, char **argv, User *u) {
        static const struct option options[] = {
                { "owner", required_argument, NULL, 'o' },
                { "lifetime", required_argument, NULL, 'l' },
                { "assignment", required_argument, NULL, 'a' },
                { "device-fd", no_argument, NULL, 'd' },
                { "release", no_argument, NULL, 'r' },
                { "hold", no_argument, NULL, 'h' },
                { "crash", no_argument, NULL, 'c' },
                { "api", required_argument, NULL, 'A' },
                { "iommufd", required_argument, NULL, 'i' },
                { "cdev", required_argument, NULL, 'C' },
                { "container", required_argument, NULL, 'T' },
                { "device", required_argument, NULL, 'D' },
                { "node", no_argument, NULL, 'n' },
                { NULL, 0, NULL, 0 },
        };
        uint32_t fd;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                int *to = NULL;

                switch (c) {
                case 'o': u->owner = optarg; break;
                case 'l': u->lifetime = optarg; break;
                case 'a': u->assignment = optarg; break;
                case 'd': u->want_device_fd = true; break;
                case 'r': u->release = true; break;
                case 'h': u->hold = true; break;
                case 'c': u->crash = true; break;
                case 'A': u->api = optarg; break;
                case 'n': u->by_node = true; break;
                case 'i': to = &u->iommufd; break;
                case 'C': to = &u->cdev; break;
                case 'T': to = &u->container; break;
                case 'D': to = &u->device; break;
                default: return -EINVAL;
                }
                if (to && parse_u32(optarg, 10, INT32_MAX, &fd) < 0)
                        return -EINVAL;
                if (to)
                        *to = (int) fd;
        }
        u->addresses = argv + optind;
        return optind < argc ? 0 : -EINVAL;
}

int main(int argc, char **argv) {
        User u = { .owner = "vm-lab", .lifetime = "connection", .api = "auto", .device = -EBADF,
                   .cdev = -EBADF, .container = -EBADF, .iommufd = -EBADF };

        if (parse(argc, argv, &u) < 0) {
                (void) fprintf(stderr, "usage: %s [OPTION…] DEVICE…\n", argv[0]);
                return 2;
        }
        int r = work(&u);
        close_all(&u);
        free(u.path);
        sd_bus_flush_close_unref(u.bus);
        return r < 0;
}
