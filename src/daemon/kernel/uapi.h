/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The few pieces of the iommufd ABI that the daemon uses, from include/uapi/linux/iommufd.h. That header came
 * with Linux 6.2; a distribution whose kernel headers are older still builds a daemon that runs on newer
 * kernels. */

#include <linux/types.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#define VFIOD_IOMMUFD_TYPE ';'
#define VFIOD_IOMMUFD_CMD_OPTION 0x87

enum {
    VFIOD_IOMMU_OPTION_RLIMIT_MODE = 0,
};

enum {
    VFIOD_IOMMU_OPTION_OP_SET = 0,
    VFIOD_IOMMU_OPTION_OP_GET = 1,
};

struct vfiod_iommu_option {
    __u32 size;
    __u32 option_id;
    __u16 op;
    __u16 __reserved;
    __u32 object_id;
    __aligned_u64 val64;
};
#define VFIOD_IOMMU_OPTION _IO(VFIOD_IOMMUFD_TYPE, VFIOD_IOMMUFD_CMD_OPTION)
