/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* What was seen of a device through its descriptor. */
typedef struct VfioProbe {
        uint16_t vendor;      /* from the configuration space region */
        unsigned region;      /* index of the BAR that was read */
        uint64_t region_size; /* bytes */
        uint32_t words[4];    /* its beginning, read through a mapping */
} VfioProbe;

/* Maps size bytes at memory (page-aligned) to the I/O virtual address iova. 0 or negative errno. */
int vfio_container_map(int container, void *memory, size_t size, uint64_t iova);

/* Descriptor of the device at address ("0000:01:00.0") from its group's; token "" or a UUID. Owned
 * by the caller. */
int vfio_group_get_device(int group, const char *address, const char *token);

/* Binds a VFIO character device to iommufd and attaches it to *ioas, which is allocated when it is
 * 0. */
int vfio_cdev_attach(int cdev, int iommufd, uint32_t *ioas);
int vfio_ioas_map(int iommufd, uint32_t ioas, void *memory, size_t size, uint64_t iova);

/* Enables memory decoding and reads the largest BAR that can be mapped; -ENXIO if there is none. */
int vfio_device_probe(int device, VfioProbe *ret);
