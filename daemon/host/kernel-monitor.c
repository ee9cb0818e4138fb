/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The kernel's events. On a real host libudev receives them from the kernel's own group ("kernel"
 * source): it checks the sender, and only the properties of the event itself are used, so that
 * nothing is read from sysfs for it (a device's `uevent` file can block). Over a made tree the same
 * messages come from a datagram socket below the root. What is lost, by a full buffer or a cut
 * message, is said as an overflow, and everything has to be read again.
 */

#include <assert.h>
#include <libudev.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/strutil.h"
#include "host/kernel-private.h"

#define RECEIVE_BUFFER (16 << 20)
#define EVENTS_PER_ROUND 64U
#define EVENT_SIZE_MAX 8192U
#define EVENT_SOCKET "run/pciassignd-uevents"

typedef struct RawEvent { /* borrowed strings; NULL where the event has no such property */
        const char *action, *devpath, *subsystem, *slot_name, *error_event, *device_online,
                *synth_uuid, *seqnum;
} RawEvent;

static bool is_child_subsystem(const char *s) {
        static const char *const names[] = {
                "block", "net", "drm", "accel", "nvme", "cxl", "infiniband", "sound", "misc",
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (streq(names[i], s))
                        return true;
        return false;
}

static int pci_event_type(const char *action) {
        static const struct {
                const char *action;
                HostEventType type;
        } types[] = {
                { "add", HOST_EVENT_ADD },       { "remove", HOST_EVENT_REMOVE },
                { "bind", HOST_EVENT_BIND },     { "unbind", HOST_EVENT_UNBIND },
                { "change", HOST_EVENT_CHANGE },
        };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (streq(types[i].action, action))
                        return (int) types[i].type;
        return -EINVAL;
}

static int event_type(const RawEvent *raw) {
        if (streq(raw->subsystem, "pci"))
                return pci_event_type(raw->action);
        if (streq(raw->subsystem, "vfio-dev"))
                return streq(raw->action, "remove") ? (int) HOST_EVENT_VFIO_REMOVE : -EINVAL;
        if (streq(raw->subsystem, "iommu"))
                return (int) HOST_EVENT_IOMMU;
        if (is_child_subsystem(raw->subsystem))
                return streq(raw->action, "change") ? -EINVAL : (int) HOST_EVENT_CHILDREN;
        return -EINVAL;
}

static void translate(KernelHost *k, const RawEvent *raw) {
        HostEvent e = { .device_online = -1 };
        int type;

        if (!raw->action || !raw->subsystem || !raw->devpath)
                return;
        type = event_type(raw);
        if (type < 0)
                return;
        e.type = (HostEventType) type;
        /* The function's own name for pci; else the function that the device hangs below. */
        if (raw->slot_name)
                e.has_address = pci_address_parse(raw->slot_name, &e.address) >= 0;
        if (!e.has_address)
                e.has_address = sys_path_deepest_address(raw->devpath, &e.address);
        if (!e.has_address && e.type != HOST_EVENT_IOMMU)
                return;
        e.synthetic = raw->synth_uuid != NULL;
        e.error_event = raw->error_event;
        if (raw->device_online)
                e.device_online = streq(raw->device_online, "1");
        if (raw->seqnum)
                (void) parse_u64(raw->seqnum, 10, UINT64_MAX,
                                 &e.seqnum); /* 0 where it is not a number */
        k->handler(&e, k->handler_userdata);
}

static void overflow(KernelHost *k) {
        k->handler(&(HostEvent){ .type = HOST_EVENT_OVERFLOW, .device_online = -1 },
                   k->handler_userdata);
}

/* ---- a real kernel ---- */

static int on_udev(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        KernelHost *k = userdata;

        for (unsigned i = 0; i < EVENTS_PER_ROUND; i++) {
                struct udev_device *d;
                RawEvent raw;

                errno = 0;
                d = udev_monitor_receive_device(k->monitor);
                if (!d) {
                        if (errno == ENOBUFS)
                                overflow(k);
                        /* EAGAIN, or a message that libudev refused: nothing is left, or the loop
                         * comes again. */
                        return 0;
                }
                raw = (RawEvent) {
                        .action = udev_device_get_action(d),
                        .devpath = udev_device_get_devpath(d),
                        .subsystem = udev_device_get_subsystem(d),
                        .slot_name = udev_device_get_property_value(d, "PCI_SLOT_NAME"),
                        .error_event = udev_device_get_property_value(d, "ERROR_EVENT"),
                        .device_online = udev_device_get_property_value(d, "DEVICE_ONLINE"),
                        .synth_uuid = udev_device_get_property_value(d, "SYNTH_UUID"),
                        .seqnum = udev_device_get_property_value(d, "SEQNUM"),
                };
                translate(k, &raw);
                udev_device_unref(d);
        }
        return 0;
}

static int start_udev(KernelHost *k) {
        static const char *const subsystems[] = {
                "pci",   "vfio-dev", "iommu", "block",      "net",   "drm",
                "accel", "nvme",     "cxl",   "infiniband", "sound", "misc",
        };
        struct udev *udev = udev_new();
        int r;

        if (!udev)
                return -ENOMEM;
        k->monitor = udev_monitor_new_from_netlink(udev, "kernel");
        udev_unref(udev); /* the monitor holds it */
        if (!k->monitor)
                return errno > 0 ? -errno : -EIO;
        for (size_t i = 0; i < ELEMENTSOF(subsystems); i++) {
                r = udev_monitor_filter_add_match_subsystem_devtype(k->monitor, subsystems[i],
                                                                    NULL);
                if (r < 0)
                        return r;
        }
        /* Needs CAP_NET_ADMIN. Without it the default of the system holds, and overflow is still
         * noticed. */
        (void) udev_monitor_set_receive_buffer_size(k->monitor, RECEIVE_BUFFER);
        r = udev_monitor_enable_receiving(k->monitor);
        if (r < 0)
                return r;
        return sd_event_add_io(k->event, &k->monitor_source, udev_monitor_get_fd(k->monitor),
                               EPOLLIN, on_udev, k);
}

/* ---- a made tree ---- */

/* "add@/devices/…", then KEY=VALUE strings, each with a NUL behind it. */
static void parse_message(char *message, size_t n, RawEvent *ret) {
        const struct {
                const char *key;
                const char **value;
        } keys[] = {
                { "ACTION=", &ret->action },           { "DEVPATH=", &ret->devpath },
                { "SUBSYSTEM=", &ret->subsystem },     { "PCI_SLOT_NAME=", &ret->slot_name },
                { "ERROR_EVENT=", &ret->error_event }, { "DEVICE_ONLINE=", &ret->device_online },
                { "SYNTH_UUID=", &ret->synth_uuid },   { "SEQNUM=", &ret->seqnum },
        };

        message[n] = 0;
        for (char *p = message + strlen(message) + 1; p < message + n; p += strlen(p) + 1)
                for (size_t i = 0; i < ELEMENTSOF(keys); i++)
                        if (strncmp(p, keys[i].key, strlen(keys[i].key)) == 0)
                                *keys[i].value = p + strlen(keys[i].key);
}

static int on_socket(sd_event_source *s, int fd, uint32_t revents, void *userdata) {
        KernelHost *k = userdata;
        char message[EVENT_SIZE_MAX + 1];

        for (unsigned i = 0; i < EVENTS_PER_ROUND; i++) {
                RawEvent raw = {};
                ssize_t n = recv(fd, message, EVENT_SIZE_MAX, MSG_DONTWAIT | MSG_TRUNC);

                if (n < 0 && errno != ENOBUFS)
                        return 0;
                /* An empty message stands for what a full buffer lost. */
                if (n <= 0 || n > (ssize_t) EVENT_SIZE_MAX) {
                        overflow(k);
                        continue;
                }
                parse_message(message, (size_t) n, &raw);
                translate(k, &raw);
        }
        return 0;
}

static int start_socket(KernelHost *k) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        k->event_path = strjoinf("%s/" EVENT_SOCKET, k->root);
        if (!k->event_path)
                return -ENOMEM;
        if (!string_copy(address.sun_path, sizeof(address.sun_path), k->event_path))
                return -ENAMETOOLONG;
        k->event_socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (k->event_socket < 0)
                return -errno;
        if (unlink(k->event_path) < 0 && errno != ENOENT)
                return -errno;
        if (bind(k->event_socket, (struct sockaddr *) &address, sizeof(address)) < 0)
                /* A tree without run/ has no events; that is for the one who made it to know. */
                return errno == ENOENT ? 0 : -errno;
        return sd_event_add_io(k->event, &k->monitor_source, k->event_socket, EPOLLIN, on_socket,
                               k);
}

int kernel_monitor_start(KernelHost *k) {
        int r = k->tree.made ? start_socket(k) : start_udev(k);

        if (r < 0)
                kernel_monitor_stop(k);
        return r;
}

void kernel_monitor_stop(KernelHost *k) {
        k->monitor_source = sd_event_source_disable_unref(k->monitor_source);
        if (k->monitor)
                k->monitor = udev_monitor_unref(k->monitor);
        if (k->event_socket >= 0) {
                (void) unlink(k->event_path);
                k->event_socket = safe_close(k->event_socket);
        }
        free(k->event_path);
        k->event_path = NULL;
}
