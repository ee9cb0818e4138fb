/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * VFIO descriptors: the group path of stock kernels (group nodes, one type 1 v2 container;
 * include/uapi/linux/vfio.h) and the cdev path (unbound cdevs and an iommufd). A group's node opens
 * once, so its descriptor serves every device of the group. Order matters: SET_IOMMU after all
 * groups joined fails for the whole set, and is where missing interrupt isolation shows.
 */

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>

#include "base/fdio.h"
#include "base/strutil.h"
#include "worker/vfio-uapi.h"
#include "worker/vfio.h"

#define OPEN_FDS_MAX 1024U

typedef struct FdList {
        HostFd *fds;
        size_t n, allocated;
} FdList;

void vfio_fds_free(HostFd *fds, size_t n) {
        for (size_t i = 0; i < n; i++)
                safe_close(fds[i].fd);
        free(fds);
}

static void fd_list_done(FdList *l) {
        vfio_fds_free(l->fds, l->n);
}

static void say(VfioDetail *detail, const char *format, ...) _printf_(2, 3);
static void say(VfioDetail *detail, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(detail->text, sizeof detail->text, format, ap);
        va_end(ap);
}

/* Takes fd in any case. */
static int list_add(FdList *l, HostFdKind kind, PciAddress a, uint32_t group, int fd) {
        _cleanup_close_ int owned = fd;

        if (l->n >= OPEN_FDS_MAX || ARRAY_RESERVE_ONE(l->fds, l->n, l->allocated) < 0)
                return -ENOMEM;
        l->fds[l->n++] =
                (HostFd){ .kind = kind, .address = a, .group = group, .fd = TAKE_FD(owned) };
        return 0;
}

static int open_node(const SysTree *tree, const char *path, VfioDetail *detail) {
        int fd = openat(tree->dev, path, O_RDWR | O_CLOEXEC);

        if (fd >= 0)
                return fd;
        int r = -errno;
        if (r == -ENOENT)
                say(detail, "/dev/%s is not there", path);
        else if (r == -EBUSY)
                say(detail, "/dev/%s is open already: a group's node opens once", path);
        else
                say(detail, "/dev/%s cannot be opened: %s", path, errno_text(-r));
        return r;
}

static int open_group(const SysTree *tree, uint32_t group, VfioDetail *detail) {
        char path[32];

        (void) snprintf(path, sizeof path, "vfio/%u", group);
        return open_node(tree, path, detail);
}

static int join_container(int container, int group_fd, uint32_t group, VfioDetail *detail) {
        struct vfio_group_status status = { .argsz = sizeof status };

        if (ioctl(group_fd, VFIO_GROUP_GET_STATUS, &status) < 0)
                return -errno;
        if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE)) {
                say(detail, "group %u is not viable: a function of it is on a host driver", group);
                return -EPERM;
        }
        if (ioctl(group_fd, VFIO_GROUP_SET_CONTAINER, &container) < 0) {
                int r = -errno;
                say(detail, "group %u cannot join a container: %s", group, errno_text(-r));
                return r;
        }
        return 0;
}

static int set_iommu(int container, VfioDetail *detail) {
        if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) >= 0)
                return 0;
        int r = -errno;
        if (r == -EPERM)
                say(detail,
                    "the IOMMU gives no isolated interrupts, or a region must be mapped 1:1");
        else
                say(detail, "the IOMMU cannot be set: %s", errno_text(-r));
        return r;
}

static int open_container(const SysTree *tree, VfioDetail *detail) {
        int fd = open_node(tree, "vfio/vfio", detail);

        if (fd < 0)
                return fd;
        if (ioctl(fd, VFIO_GET_API_VERSION) != VFIO_API_VERSION) {
                say(detail, "the kernel speaks another VFIO API version");
                safe_close(fd);
                return -EOPNOTSUPP;
        }
        return fd;
}

static int list_find_group(const FdList *l, uint32_t group) {
        for (size_t i = 0; i < l->n; i++)
                if (l->fds[i].kind == HOST_FD_GROUP && l->fds[i].group == group)
                        return l->fds[i].fd;
        return -EBADF;
}

static int open_groups(const SysTree *tree, const HostRequest *request, int container, FdList *l,
                       VfioDetail *detail) {
        for (size_t i = 0; i < request->n_open_devices; i++) {
                const HostOpenDevice *d = &request->open_devices[i];
                if (list_find_group(l, d->group) >= 0)
                        continue;
                int fd = open_group(tree, d->group, detail);
                if (fd < 0)
                        return fd;
                int r = list_add(l, HOST_FD_GROUP, d->address, d->group, fd);
                if (r >= 0)
                        r = join_container(container, fd, d->group, detail);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* VFIO_GROUP_GET_DEVICE_FD takes the function's name, with the VF token behind it where there is
 * one. */
static int open_device(const HostOpenDevice *d, FdList *l, VfioDetail *detail) {
        char name[PCI_ADDRESS_MAX + 64];

        (void) snprintf(name, sizeof name, "%s%s%s", PCI_ADDRESS_TEXT(d->address),
                        d->vf_token[0] ? " vf_token=" : "", d->vf_token);
        int fd = ioctl(list_find_group(l, d->group), VFIO_GROUP_GET_DEVICE_FD, name);
        if (fd < 0) {
                int r = -errno;
                say(detail, "%s cannot be opened: %s%s", PCI_ADDRESS_TEXT(d->address),
                    errno_text(-r),
                    r == -EACCES ? " (its physical function is on VFIO: a VF token is needed)"
                                 : "");
                return r;
        }
        int r = fd_set_cloexec(fd, true);
        if (r < 0) {
                safe_close(fd);
                return r;
        }
        return list_add(l, HOST_FD_DEVICE, d->address, d->group, fd);
}

static int open_group_path(const SysTree *tree, const HostRequest *request, FdList *l,
                           VfioDetail *detail) {
        int container = request->container_fd, r = 0;
        bool own = container < 0;

        if (own) {
                container = open_container(tree, detail);
                if (container < 0)
                        return container;
                r = list_add(l, HOST_FD_CONTAINER, (PciAddress) {}, 0, container);
        }
        if (r >= 0)
                r = open_groups(tree, request, container, l, detail);
        /* A container of the caller's may have its IOMMU set by an earlier call: EINVAL then, and
         * all is well. */
        if (r >= 0)
                r = set_iommu(container, detail);
        if (r == -EINVAL && !own)
                r = 0;
        for (size_t i = 0; r >= 0 && i < request->n_open_devices; i++)
                if (request->open_devices[i].want_device)
                        r = open_device(&request->open_devices[i], l, detail);
        return r;
}

int vfio_cdev_name(const SysTree *tree, PciAddress a, char *buffer, size_t size) {
        _cleanup_strv_ char **names = NULL;
        char path[96];

        assert(tree);
        assert(buffer);
        (void) snprintf(path, sizeof path, "bus/pci/devices/%s/vfio-dev", PCI_ADDRESS_TEXT(a));
        int r = read_dir_names_at(tree->sys, path, 64, true, &names);
        if (r < 0)
                return r;
        for (size_t i = 0; names && names[i]; i++) {
                char dev[160], text[32]; /* `dev` is there only if the kernel has cdevs */
                (void) snprintf(dev, sizeof dev, "%s/%.32s/dev", path, names[i]);
                if (read_attr_at(tree->sys, dev, text, sizeof text) < 0)
                        continue;
                return string_copy(buffer, size, names[i]) ? 0 : -ENAMETOOLONG;
        }
        return -ENOENT;
}

static int set_rlimit_mode(int iommufd) {
        struct iommu_option option = { .size = sizeof option, .option_id = IOMMU_OPTION_RLIMIT_MODE,
                                       .op = IOMMU_OPTION_OP_SET, .val64 = 1 };

        return ioctl(iommufd, IOMMU_OPTION, &option) < 0 ? -errno : 0;
}

static int open_iommufd(const SysTree *tree, const HostRequest *request, FdList *l,
                        VfioDetail *detail) {
        int fd = open_node(tree, IOMMUFD_NODE, detail);

        if (fd < 0)
                return fd;
        int r = list_add(l, HOST_FD_IOMMUFD, (PciAddress) {}, 0, fd);
        if (r >= 0 && request->iommufd_rlimit_process)
                r = set_rlimit_mode(fd);
        if (r < 0)
                say(detail, "accounting by process cannot be set on the iommufd: %s",
                    errno_text(-r));
        return r;
}

static int open_cdev_path(const SysTree *tree, const HostRequest *request, FdList *l,
                          VfioDetail *detail) {
        int r = request->iommufd >= 0 ? 0 : open_iommufd(tree, request, l, detail);

        for (size_t i = 0; r >= 0 && i < request->n_open_devices; i++) {
                const HostOpenDevice *d = &request->open_devices[i];
                char name[64], path[96];
                r = vfio_cdev_name(tree, d->address, name, sizeof name);
                if (r < 0) {
                        say(detail,
                            "%s has no VFIO character device: the kernel lacks "
                            "CONFIG_VFIO_DEVICE_CDEV",
                            PCI_ADDRESS_TEXT(d->address));
                        return r;
                }
                (void) snprintf(path, sizeof path, "vfio/devices/%s", name);
                int fd = open_node(tree, path, detail);
                r = fd < 0 ? fd : list_add(l, HOST_FD_CDEV, d->address, d->group, fd);
        }
        return r;
}

static HostApi choose_api(const SysTree *tree, const HostRequest *request) {
        char path[32];

        if (request->api != HOST_API_AUTO)
                return request->api;
        if (request->iommufd >= 0 || request->n_open_devices == 0)
                return HOST_API_CDEV;
        (void) snprintf(path, sizeof path, "vfio/%u", request->open_devices[0].group);
        bool has_group = faccessat(tree->dev, path, F_OK, 0) >= 0 &&
                         faccessat(tree->dev, "vfio/vfio", F_OK, 0) >= 0;
        return has_group ? HOST_API_GROUP : HOST_API_CDEV;
}

int vfio_open_all(const SysTree *tree, const HostRequest *request, HostFd **ret, size_t *ret_n,
                  VfioDetail *detail) {
        _cleanup_(fd_list_done) FdList l = {};
        int r;

        assert(tree);
        assert(request);
        assert(ret);
        assert(ret_n);
        assert(detail);
        detail->text[0] = '\0';
        if (choose_api(tree, request) == HOST_API_GROUP)
                r = open_group_path(tree, request, &l, detail);
        else
                r = open_cdev_path(tree, request, &l, detail);
        if (r < 0)
                return r;
        *ret_n = l.n;
        *ret = TAKE_PTR(l.fds);
        l.n = 0;
        return 0;
}

int vfio_trial_attach(const SysTree *tree, const uint32_t *groups, size_t n, VfioDetail *detail) {
        _cleanup_(fd_list_done) FdList l = {};

        assert(tree);
        assert(groups || n == 0);
        assert(detail);
        detail->text[0] = '\0';
        if (faccessat(tree->dev, "vfio/vfio", F_OK, 0) < 0)
                return errno == ENOENT && faccessat(tree->dev, IOMMUFD_NODE, F_OK, 0) >= 0 ? 0
                                                                                           : -errno;
        int container = open_container(tree, detail);
        if (container < 0)
                return container;
        int r = list_add(&l, HOST_FD_CONTAINER, (PciAddress) {}, 0, container);
        for (size_t i = 0; r >= 0 && i < n; i++) {
                int fd = open_group(tree, groups[i], detail);
                r = fd < 0 ? fd : list_add(&l, HOST_FD_GROUP, (PciAddress) {}, groups[i], fd);
                if (r >= 0)
                        r = join_container(container, fd, groups[i], detail);
        }
        return r < 0 ? r : set_iommu(container, detail);
}
