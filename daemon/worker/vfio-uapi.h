/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What <linux/vfio.h> and <linux/iommufd.h> of older build hosts lack. Numbers and layouts:
 * include/uapi/linux/iommufd.h. */

#include <linux/vfio.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define IOMMUFD_NODE "iommu" /* below /dev */

#ifndef IOMMU_OPTION
#define IOMMU_OPTION _IO(';', 0x87)
#define IOMMU_OPTION_OP_SET 0
#define IOMMU_OPTION_RLIMIT_MODE 0

struct iommu_option {
        uint32_t size;
        uint32_t option_id;
        uint16_t op;
        uint16_t reserved;
        uint32_t object_id;
        uint64_t val64;
};
#endif
