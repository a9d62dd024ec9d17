/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The kernel interface that edu-dma needs and that older headers lack.
 *
 * <linux/iommufd.h> came with Linux 6.2 and the VFIO cdev calls with 6.6; Debian 12 builds with the headers
 * of 6.1. Each part is declared here only where the system's headers do not have it. A structure starts with
 * its own size, so the kernel tells an older, shorter one from its own: the fields here are those of the
 * first version. The daemon has a header of the same kind; this client shares no code with it, so that a
 * mistake in one cannot hide in the other. */

#pragma once

#include <linux/types.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#if defined(__has_include) && __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#else

struct iommu_ioas_alloc {
    __u32 size;
    __u32 flags;
    __u32 out_ioas_id;
};
#define IOMMU_IOAS_ALLOC _IO(';', 0x81)

enum {
    IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0,
    IOMMU_IOAS_MAP_WRITEABLE = 1 << 1,
    IOMMU_IOAS_MAP_READABLE = 1 << 2,
};

struct iommu_ioas_map {
    __u32 size;
    __u32 flags;
    __u32 ioas_id;
    __u32 __reserved;
    __aligned_u64 user_va;
    __aligned_u64 length;
    __aligned_u64 iova;
};
#define IOMMU_IOAS_MAP _IO(';', 0x85)

#endif

#ifndef VFIO_DEVICE_BIND_IOMMUFD

struct vfio_device_bind_iommufd {
    __u32 argsz;
    __u32 flags;
    __s32 iommufd;
    __u32 out_devid;
};
#define VFIO_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)

struct vfio_device_attach_iommufd_pt {
    __u32 argsz;
    __u32 flags;
    __u32 pt_id;
};
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

#endif
