/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Times calls and signals as a client sees them, floor and ours by turns, one JSON object a line.
 *
 *   bench-client objects RUNS              GetManagedObjects of the floor and of the daemon
 *   bench-client events RUNS OURS FLOOR PATH ADDRESS DRIVER-LINK
 *                                          a uevent into each socket until its signal is here
 *   bench-client inject RUNS OURS PATH ADDRESS DRIVER-LINK
 *                                          the daemon's half alone, untimed
 *   bench-client ping COMMAND…             Ping of the daemon while COMMAND runs; 99th percentile
 *   bench-client one                       the floor of a client: connect, one call, exit
 *   bench-client assign RUNS ADDRESS       Assign and Release, and two Pings for comparison
 *   bench-client writes RUNS TREE ADDRESS DRIVER
 *                                          what an assignment and its release write to that tree,
 * and nothing else bench-client list SECONDS              ListDevices, page after page (load for
 * `ping`)
 */

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include <systemd/sd-bus.h>

#include "base/names.h"
#include "base/strutil.h"

#define FLOOR_NAME "org.pciassign1.BenchFloor"

static double now_usec(void) {
        struct timespec t;

        (void) clock_gettime(CLOCK_MONOTONIC, &t);
        return (double) t.tv_sec * 1e6 + (double) t.tv_nsec / 1e3;
}

static int timed_call(sd_bus *bus, const char *destination, double *ret) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        double t = now_usec();
        int r = sd_bus_call_method(bus, destination, BUS_PATH, "org.freedesktop.DBus.ObjectManager",
                                   "GetManagedObjects", NULL, &reply, "");

        *ret = now_usec() - t;
        return r;
}

static int bench_objects(sd_bus *bus, uint32_t runs) {
        for (uint32_t i = 0; i < runs; i++) {
                double floor, ours;
                int r = timed_call(bus, FLOOR_NAME, &floor);
                if (r >= 0)
                        r = timed_call(bus, BUS_NAME, &ours);
                if (r < 0)
                        return r;
                printf("{\"floor\": %.1f, \"ours\": %.1f}\n", floor, ours);
        }
        return 0;
}

static int send_to(int fd, const char *path, const char *text, size_t n) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        if (!string_copy(address.sun_path, sizeof address.sun_path, path))
                return -ENAMETOOLONG;
        return sendto(fd, text, n, 0, (struct sockaddr *) &address, sizeof address) < 0 ? -errno
                                                                                        : 0;
}

/* Waits for one PropertiesChanged of a device; other signals are passed over. */
static int wait_signal(sd_bus *bus) {
        for (;;) {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
                int r = sd_bus_process(bus, &m);
                if (r < 0)
                        return r;
                if (m &&
                    sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties",
                                             "PropertiesChanged") &&
                    strstr(sd_bus_message_get_path(m), "/device/"))
                        return 0;
                if (r == 0) {
                        r = sd_bus_wait(bus, 5 * 1000 * 1000);
                        if (r <= 0)
                                return r < 0 ? r : -ETIMEDOUT;
                }
        }
}

static int set_driver(const char *link, const char *driver) {
        _cleanup_free_ char *target = strjoinf("../../../bus/pci/drivers/%s", driver);

        if (!target)
                return -ENOMEM;
        (void) unlink(link);
        return symlink(target, link) < 0 ? -errno : 0;
}

static int timed_event(sd_bus *bus, int fd, const char *socket_path, const char *text, size_t n,
                       double *ret) {
        double t = now_usec();
        int r = send_to(fd, socket_path, text, n);

        if (r >= 0)
                r = wait_signal(bus);
        *ret = now_usec() - t;
        return r;
}

/* Sockets, of the floor or NULL; where the device stands; the link that names its driver. */
typedef struct EventBench {
        const char *ours, *floor, *path, *address, *link;
} EventBench;

static int one_event(sd_bus *bus, int fd, const EventBench *b, uint32_t i) {
        const char *driver = i % 2 ? "vfio-pci" : "bench";
        double floor = 0, ours = 0;
        char text[1024];
        int n = snprintf(
                text, sizeof text,
                "bind@%s%cACTION=bind%cDEVPATH=%s%cSUBSYSTEM=pci%cDRIVER=%s%cPCI_CLASS=20000%c"
                "PCI_SLOT_NAME=%s%cSEQNUM=%u%c",
                b->path, 0, 0, b->path, 0, 0, driver, 0, 0, b->address, 0, i + 1, 0);
        int r = b->floor ? timed_event(bus, fd, b->floor, text, (size_t) n, &floor) : 0;

        if (r >= 0)
                r = set_driver(b->link, driver);
        if (r >= 0)
                r = timed_event(bus, fd, b->ours, text, (size_t) n, &ours);
        if (r >= 0 && b->floor)
                printf("{\"floor\": %.1f, \"ours\": %.1f}\n", floor, ours);
        return r;
}

static int bench_events(sd_bus *bus, uint32_t runs, const EventBench *b) {
        _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int r = sd_bus_match_signal(bus, NULL, NULL, NULL, "org.freedesktop.DBus.Properties",
                                    "PropertiesChanged", NULL, NULL);

        for (uint32_t i = 0; r >= 0 && i < runs; i++)
                r = one_event(bus, fd, b, i);
        return r;
}

static int compare_doubles(const void *a, const void *b) {
        double x = *(const double *) a, y = *(const double *) b;

        return x < y ? -1 : x > y;
}

static int ping(sd_bus *bus) {
        return sd_bus_call_method(bus, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.Peer", "Ping",
                                  NULL, NULL, "");
}

static int bench_ping(sd_bus *bus, char **command) {
        size_t n = 0, allocated = 0;
        _cleanup_free_ double *times = NULL;
        pid_t pid = fork();

        if (pid < 0)
                return -errno;
        if (pid == 0) {
                execvp(command[0], command);
                _exit(127);
        }
        int status, r = 0;
        while (r >= 0 && waitpid(pid, &status, WNOHANG) == 0) {
                if (ARRAY_RESERVE_ONE(times, n, allocated) < 0)
                        return -ENOMEM;
                double t = now_usec();
                r = ping(bus);
                times[n++] = now_usec() - t;
        }
        if (r < 0 || n == 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return r < 0 ? r : -EIO;
        qsort(times, n, sizeof *times, compare_doubles);
        printf("{\"n\": %zu, \"median\": %.1f, \"p99\": %.1f}\n", n, times[n / 2],
               times[n * 99 / 100]);
        return 0;
}

/* All pages of ListDevices, once. */
static int list_all(sd_bus *bus) {
        _cleanup_free_ char *next = strdup("");

        do {
                _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
                const char *cursor;
                int r = next && next[0]
                                ? sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_INTERFACE_MANAGER,
                                                     "ListDevices", NULL, &reply, "a{sv}", 1,
                                                     "after", "s", next)
                                : sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_INTERFACE_MANAGER,
                                                     "ListDevices", NULL, &reply, "a{sv}", 0);
                if (r >= 0)
                        r = sd_bus_message_skip(reply, "aa{sv}");
                if (r >= 0)
                        r = sd_bus_message_read(reply, "s", &cursor);
                if (r >= 0)
                        r = free_and_strdup(&next, cursor);
                if (r < 0)
                        return r;
        } while (next[0]);
        return 0;
}

static int bench_list(sd_bus *bus, uint32_t seconds) {
        double until = now_usec() + seconds * 1e6;
        int r = 0;

        while (r >= 0 && now_usec() < until)
                r = list_all(bus);
        return r;
}

static int timed_ping(sd_bus *bus, double *ret) {
        double t = now_usec();
        int r = ping(bus);

        *ret = now_usec() - t;
        return r;
}

static int assign_once(sd_bus *bus, const char *address, double *ret_assign, double *ret_release) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *assignment;
        double t = now_usec();
        int r = sd_bus_call_method(bus, BUS_NAME, BUS_PATH, BUS_INTERFACE_MANAGER, "Assign", NULL,
                                   &reply, "assa{sv}", 1, address, "bench", 0);

        *ret_assign = now_usec() - t;
        if (r >= 0)
                r = sd_bus_message_read(reply, "o", &assignment);
        if (r < 0)
                return r;
        t = now_usec();
        r = sd_bus_call_method(bus, BUS_NAME, assignment, BUS_INTERFACE_ASSIGNMENT, "Release", NULL,
                               NULL, "a{sv}", 0);
        *ret_release = now_usec() - t;
        return r;
}

static int bench_assign(sd_bus *bus, uint32_t runs, const char *address) {
        for (uint32_t i = 0; i < runs; i++) {
                double assign, release, first, second;
                int r = timed_ping(bus, &first);
                if (r >= 0)
                        r = timed_ping(bus, &second);
                if (r >= 0)
                        r = assign_once(bus, address, &assign, &release);
                if (r < 0)
                        return r;
                printf("{\"assign\": %.1f, \"release\": %.1f, \"calls\": %.1f}\n", assign, release,
                       first + second);
        }
        return 0;
}

static int write_text(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC), r;

        if (fd < 0)
                return -errno;
        r = write(fd, text, strlen(text)) < 0 ? -errno : 0;
        (void) close(fd);
        return r;
}

static int change_driver(const char *tree, const char *address, const char *from,
                         const char *override) {
        char path[512];
        int r;

        (void) snprintf(path, sizeof(path), "%s/sys/bus/pci/drivers/%s/unbind", tree, from);
        r = write_text(path, address);
        (void) snprintf(path, sizeof(path), "%s/sys/bus/pci/devices/%s/driver_override", tree,
                        address);
        if (r >= 0)
                r = write_text(path, override);
        (void) snprintf(path, sizeof(path), "%s/sys/bus/pci/drivers_probe", tree);
        return r < 0 ? r : write_text(path, address);
}

static int bench_writes(uint32_t runs, char **argv) {
        for (uint32_t i = 0; i < runs; i++) {
                double t = now_usec();
                int r = change_driver(argv[0], argv[1], argv[2], "vfio-pci");

                if (r >= 0)
                        r = change_driver(argv[0], argv[1], "vfio-pci", "\n");
                if (r < 0)
                        return r;
                printf("{\"writes\": %.1f}\n", now_usec() - t);
        }
        return 0;
}

int main(int argc, char **argv) {
        sd_bus *bus = NULL;
        uint32_t n = 0;

        int r = sd_bus_open_system(&bus);
        if (r < 0 || argc < 2) {
                fprintf(stderr, "usage: bench-client "
                                "objects|events|inject|ping|one|assign|writes|list …\n");
                return 2;
        }
        if (argc > 2)
                (void) parse_u32(argv[2], 10, 100000, &n);
        if (streq(argv[1], "objects") && n > 0)
                r = bench_objects(bus, n);
        else if (streq(argv[1], "events") && n > 0 && argc == 8)
                r = bench_events(bus, n,
                                 &(EventBench){ argv[3], argv[4], argv[5], argv[6], argv[7] });
        else if (streq(argv[1], "inject") && n > 0 && argc == 7)
                r = bench_events(bus, n, &(EventBench){ argv[3], NULL, argv[4], argv[5], argv[6] });
        else if (streq(argv[1], "assign") && n > 0 && argc == 4)
                r = bench_assign(bus, n, argv[3]);
        else if (streq(argv[1], "writes") && n > 0 && argc == 6)
                r = bench_writes(n, argv + 3);
        else if (streq(argv[1], "ping") && argc > 2)
                r = bench_ping(bus, argv + 2);
        else if (streq(argv[1], "list") && n > 0)
                r = bench_list(bus, n);
        else if (streq(argv[1], "one"))
                r = ping(bus);
        else
                r = -EINVAL;
        if (r < 0)
                fprintf(stderr, "bench-client %s: %s\n", argv[1], strerror(-r));
        sd_bus_flush_close_unref(bus);
        return r < 0;
}
