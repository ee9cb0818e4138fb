/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What any VMM does with VFIO descriptors that it was handed: map memory for DMA, get a device from
 * its group or attach its character device to an address space, read its registers through a
 * mapping.
 *
 * Knows nothing of who handed them out and opens no node itself: it runs without any privilege.
 */

#include "vfio-device.h"

#include <endian.h>
#include <errno.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"

#define CONFIG_COMMAND 4    /* PCI_COMMAND */
#define COMMAND_MEMORY 0x02 /* PCI_COMMAND_MEMORY */

/*
 * linux/iommufd.h and the newer part of linux/vfio.h, spelled out: they are younger than the oldest
 * headers that this is built with (Documentation/userspace-api/iommufd.rst, vfio.rst).
 */
#define IOMMUFD_IOAS_ALLOC _IO(';', 0x81)
#define IOMMUFD_IOAS_MAP _IO(';', 0x85)
#define IOMMUFD_MAP_FIXED (1U << 0)
#define IOMMUFD_MAP_WRITE (1U << 1)
#define IOMMUFD_MAP_READ (1U << 2)
#define CDEV_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
#define CDEV_ATTACH_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct ioas_alloc {
        uint32_t size, flags, out_ioas_id;
};

struct ioas_map {
        uint32_t size, flags, ioas_id, reserved;
        uint64_t user_va, length, iova;
};

struct cdev_bind {
        uint32_t argsz, flags;
        int32_t iommufd;
        uint32_t out_devid;
};

struct cdev_attach {
        uint32_t argsz, flags, pt_id;
};

int vfio_container_map(int container, void *memory, size_t size, uint64_t iova) {
        struct vfio_iommu_type1_dma_map map = {
                .argsz = sizeof(map),
                .flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
                .vaddr = (uintptr_t) memory,
                .iova = iova,
                .size = size,
        };

        return ioctl(container, VFIO_IOMMU_MAP_DMA, &map) < 0 ? -errno : 0;
}

int vfio_group_get_device(int group, const char *address, const char *token) {
        char name[128];

        if (isempty(token))
                (void) snprintf(name, sizeof(name), "%s", address);
        else
                (void) snprintf(name, sizeof(name), "%s vf_token=%s", address, token);

        int fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
        return fd < 0 ? -errno : fd;
}

int vfio_cdev_attach(int cdev, int iommufd, uint32_t *ioas) {
        struct cdev_bind bound = { .argsz = sizeof(bound), .iommufd = iommufd };
        if (ioctl(cdev, CDEV_BIND_IOMMUFD, &bound) < 0)
                return -errno;

        if (*ioas == 0) {
                struct ioas_alloc alloc = { .size = sizeof(alloc) };
                if (ioctl(iommufd, IOMMUFD_IOAS_ALLOC, &alloc) < 0)
                        return -errno;
                *ioas = alloc.out_ioas_id;
        }

        struct cdev_attach attach = { .argsz = sizeof(attach), .pt_id = *ioas };
        return ioctl(cdev, CDEV_ATTACH_PT, &attach) < 0 ? -errno : 0;
}

int vfio_ioas_map(int iommufd, uint32_t ioas, void *memory, size_t size, uint64_t iova) {
        struct ioas_map map = {
                .size = sizeof(map),
                .flags = IOMMUFD_MAP_FIXED | IOMMUFD_MAP_WRITE | IOMMUFD_MAP_READ,
                .ioas_id = ioas,
                .user_va = (uintptr_t) memory,
                .length = size,
                .iova = iova,
        };

        return ioctl(iommufd, IOMMUFD_IOAS_MAP, &map) < 0 ? -errno : 0;
}

static int region_info(int device, unsigned index, struct vfio_region_info *ret) {
        struct vfio_region_info info = { .argsz = sizeof(info), .index = index };

        if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
                return -errno;
        *ret = info;
        return 0;
}

static int config_read(int device, uint64_t base, unsigned offset, uint16_t *ret) {
        uint16_t value;

        ssize_t n = pread(device, &value, sizeof(value), (off_t) (base + offset));
        if (n != sizeof(value))
                return n < 0 ? -errno : -EIO;
        *ret = le16toh(value);
        return 0;
}

static int enable_memory(int device, uint64_t base) {
        uint16_t command = 0;
        int r = config_read(device, base, CONFIG_COMMAND, &command);
        if (r < 0)
                return r;

        command = htole16(command | COMMAND_MEMORY);
        ssize_t n = pwrite(device, &command, sizeof(command), (off_t) (base + CONFIG_COMMAND));
        if (n != sizeof(command))
                return n < 0 ? -errno : -EIO;
        return 0;
}

static int read_beginning(int device, const struct vfio_region_info *info, VfioProbe *ret) {
        size_t page = (size_t) sysconf(_SC_PAGESIZE);
        void *p = mmap(NULL, page, PROT_READ, MAP_SHARED, device, (off_t) info->offset);
        if (p == MAP_FAILED)
                return -errno;

        ret->region = info->index;
        ret->region_size = info->size;
        for (size_t i = 0; i < ELEMENTSOF(ret->words); i++)
                ret->words[i] = le32toh(((const volatile uint32_t *) p)[i]);
        (void) munmap(p, page);
        return 0;
}

int vfio_device_probe(int device, VfioProbe *ret) {
        struct vfio_region_info info = { 0 };
        VfioProbe probe = { 0 };

        int r = region_info(device, VFIO_PCI_CONFIG_REGION_INDEX, &info);
        if (r < 0)
                return r;
        r = config_read(device, info.offset, 0, &probe.vendor);
        if (r < 0)
                return r;
        r = enable_memory(device, info.offset);
        if (r < 0)
                return r;

        struct vfio_region_info largest = { 0 };
        for (unsigned i = VFIO_PCI_BAR0_REGION_INDEX; i <= VFIO_PCI_BAR5_REGION_INDEX; i++) {
                r = region_info(device, i, &info);
                if (r < 0)
                        return r;
                if ((info.flags & VFIO_REGION_INFO_FLAG_MMAP) && info.size > largest.size)
                        largest = info;
        }
        if (largest.size == 0)
                return -ENXIO;
        r = read_beginning(device, &largest, &probe);
        if (r < 0)
                return r;
        *ret = probe;
        return 0;
}
