/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One measurement of what giving a function away and taking it back costs, in microseconds on
 * standard output; the start of this program does not count.
 *
 *   speed-meter writes ADDRESS    the bare writes that change the driver and change it back
 *   speed-meter floor ADDRESS     all that the kernel has to do for an assignment and its release,
 *                                 with as little around it as there can be: who uses the function,
 *                                 the writes, each read back, a trial of group and container, and
 *                                 before the way back a trial that nobody holds
 *   speed-meter service ADDRESS   Assign and Release of the service, over an open connection
 *   speed-meter calls             two calls of the service that do nothing: what the bus takes of
 *                                 the above
 *
 * It checks what it did: a measurement of work that failed is none.
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include <linux/vfio.h>
#include <systemd/sd-bus.h>

#include "base/cleanup.h"
#include "base/fdio.h"
#include "base/names.h"
#include "base/strutil.h"

#define HOST_DRIVER "virtio-pci"
#define VFIO_DRIVER "vfio-pci"

static double now_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

/* ---- by the kernel alone ---- */

typedef struct Meter {
        const char *address;
        int function; /* directory */
        char node[64];
        bool bare;    /* nothing but the writes */
} Meter;

static int write_to(int directory, const char *path, const char *value) {
        _cleanup_close_ int fd = openat(directory, path, O_WRONLY | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        return write(fd, value, strlen(value)) < 0 ? -errno : 0;
}

static int require_driver(const Meter *m, const char *driver) {
        char now[64];
        int r = readlink_base_at(m->function, "driver", now, sizeof(now));

        if (r == -ENOENT && !driver[0])
                return 0;
        return r < 0 ? r : streq(now, driver) ? 0 : -EIO;
}

static int change_driver(const Meter *m, const char *from, const char *override, const char *to) {
        char path[96], text[64];
        int r;

        (void) snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s/unbind", from);
        r = write_to(AT_FDCWD, path, m->address);
        if (r >= 0 && !m->bare)
                r = require_driver(m, "");
        if (r >= 0)
                r = write_to(m->function, "driver_override", override);
        if (r >= 0 && !m->bare)
                r = (int) read_attr_at(m->function, "driver_override", text, sizeof(text));
        if (r >= 0)
                r = write_to(AT_FDCWD, "/sys/bus/pci/drivers_probe", m->address);
        return r >= 0 && !m->bare ? require_driver(m, to) : r;
}

/* Its children, and the tables that tell what the host does with them. */
static int look_at_use(const Meter *m) {
        static const char *const tables[] = { "/proc/1/mountinfo", "/proc/swaps",
                                              "/proc/1/net/route", "/proc/1/net/ipv6_route" };
        char text[65536];
        DIR *d = fdopendir(openat(m->function, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));

        if (!d)
                return -errno;
        while (readdir(d))
                ;
        (void) closedir(d);
        for (size_t i = 0; i < ELEMENTSOF(tables); i++) {
                _cleanup_close_ int fd = open(tables[i], O_RDONLY | O_CLOEXEC);

                while (fd >= 0 && read(fd, text, sizeof(text)) > 0)
                        ;
        }
        return 0;
}

static int try_container(const Meter *m) {
        _cleanup_close_ int container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
        _cleanup_close_ int group = open(m->node, O_RDWR | O_CLOEXEC);
        struct vfio_group_status status = { .argsz = sizeof(status) };

        if (container < 0 || group < 0 ||
            ioctl(container, VFIO_GET_API_VERSION) != VFIO_API_VERSION ||
            ioctl(group, VFIO_GROUP_GET_STATUS, &status) < 0 ||
            ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
            ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
                return errno > 0 ? -errno : -EIO;
        return 0;
}

static int try_group(const Meter *m) {
        _cleanup_close_ int fd = open(m->node, O_RDWR | O_CLOEXEC);

        return fd < 0 ? -errno : 0;
}

static int by_kernel(Meter *m) {
        char path[64], group[32];
        int r;

        (void) snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", m->address);
        m->function = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (m->function < 0)
                return -errno;
        r = readlink_base_at(m->function, "iommu_group", group, sizeof(group));
        if (r < 0)
                return r;
        (void) snprintf(m->node, sizeof(m->node), "/dev/vfio/%s", group);
        if (!m->bare)
                r = look_at_use(m);
        if (r >= 0)
                r = change_driver(m, HOST_DRIVER, VFIO_DRIVER, VFIO_DRIVER);
        if (r >= 0 && !m->bare)
                r = try_container(m);
        if (r >= 0 && !m->bare)
                r = try_group(m);
        if (r >= 0)
                r = change_driver(m, VFIO_DRIVER, "\n", HOST_DRIVER);
        return r;
}

/* ---- by the service ---- */

static int by_service(sd_bus *bus, const char *address) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *assignment;
        int r;

        r = sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_INTERFACE_MANAGER, "Assign", NULL,
                               &reply, "assa{sv}", 1, address, "speed", 0);
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &assignment);
        if (r < 0)
                return r;
        return sd_bus_call_method(bus, BUS_NAME, assignment, BUS_INTERFACE_ASSIGNMENT, "Release",
                                  NULL, NULL, "a{sv}", 0);
}

static int by_calls(sd_bus *bus) {
        for (unsigned i = 0; i < 2; i++) {
                int r = sd_bus_call_method(bus, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.Peer",
                                           "Ping", NULL, NULL, "");

                if (r < 0)
                        return r;
        }
        return 0;
}

static int measure_bus(const char *address, double *ret) {
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        const char *name;
        double begin;
        int r;

        r = sd_bus_open_system(&bus);
        if (r >= 0)
                r = sd_bus_get_unique_name(bus, &name); /* the connection stands */
        if (r < 0)
                return r;
        begin = now_usec();
        r = address ? by_service(bus, address) : by_calls(bus);
        *ret = now_usec() - begin;
        return r;
}

static int measure_kernel(const char *address, bool bare, double *ret) {
        Meter m = { .address = address, .bare = bare, .function = -EBADF };
        double begin = now_usec();
        int r;

        r = by_kernel(&m);
        *ret = now_usec() - begin;
        if (r >= 0)
                r = require_driver(&m, HOST_DRIVER);
        (void) safe_close(m.function);
        return r;
}

int main(int argc, char **argv) {
        const char *way = argc > 1 ? argv[1] : "", *address = argc > 2 ? argv[2] : NULL;
        double usec = 0;
        int r = -EINVAL;

        if (streq(way, "calls"))
                r = measure_bus(NULL, &usec);
        else if (streq(way, "service") && address)
                r = measure_bus(address, &usec);
        else if ((streq(way, "floor") || streq(way, "writes")) && address)
                r = measure_kernel(address, streq(way, "writes"), &usec);
        if (r < 0) {
                (void) fprintf(stderr, "speed-meter: %s: %s\n", way, strerrordesc_np(-r));
                return EXIT_FAILURE;
        }
        printf("%.0f\n", usec);
        return EXIT_SUCCESS;
}
