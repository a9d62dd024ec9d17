/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The parts of the iommufd ABI that vfiod uses, from include/uapi/linux/iommufd.h. That header came with
 * Linux 6.2. A distribution with older headers can still build a daemon that runs on newer kernels. Newer
 * parts of include/uapi/linux/vfio.h are here for the same reason. */

#include <linux/types.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>

#define VFIOD_IOMMUFD_TYPE ';'
#define VFIOD_IOMMUFD_CMD_IOAS_ALLOC 0x81
#define VFIOD_IOMMUFD_CMD_IOAS_IOVA_RANGES 0x84
#define VFIOD_IOMMUFD_CMD_OPTION 0x87
#define VFIOD_IOMMUFD_CMD_VFIO_IOAS 0x88
#define VFIOD_IOMMUFD_CMD_GET_HW_INFO 0x8a

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

struct vfiod_iommu_ioas_alloc {
    __u32 size;
    __u32 flags;
    __u32 out_ioas_id;
};
#define VFIOD_IOMMU_IOAS_ALLOC _IO(VFIOD_IOMMUFD_TYPE, VFIOD_IOMMUFD_CMD_IOAS_ALLOC)

struct vfiod_iommu_iova_range {
    __aligned_u64 start;
    __aligned_u64 last;
};

struct vfiod_iommu_ioas_iova_ranges {
    __u32 size;
    __u32 ioas_id;
    __u32 num_iovas; /* in: how many fit; out: how many there are */
    __u32 __reserved;
    __aligned_u64 allowed_iovas;
    __aligned_u64 out_iova_alignment;
};
#define VFIOD_IOMMU_IOAS_IOVA_RANGES _IO(VFIOD_IOMMUFD_TYPE, VFIOD_IOMMUFD_CMD_IOAS_IOVA_RANGES)

/* Which address space the container ioctls use when an iommufd gets them. */
#define VFIOD_IOMMU_VFIO_IOAS_SET 1
struct vfiod_iommu_vfio_ioas {
    __u32 size;
    __u32 ioas_id;
    __u16 op;
    __u16 __reserved;
};
#define VFIOD_IOMMU_VFIO_IOAS _IO(VFIOD_IOMMUFD_TYPE, VFIOD_IOMMUFD_CMD_VFIO_IOAS)

/* Linux 6.7. Fields after dev_id came later. An older kernel leaves them zero and does not have these
 * features. */
enum {
    VFIOD_IOMMU_HW_INFO_TYPE_INTEL_VTD = 1,
    VFIOD_IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2,
    VFIOD_IOMMU_HW_INFO_TYPE_AMD = 4,
};
#define VFIOD_IOMMU_HW_CAP_DIRTY_TRACKING (UINT64_C(1) << 0)

struct vfiod_iommu_hw_info {
    __u32 size;
    __u32 flags;
    __u32 dev_id;
    __u32 data_len;
    __aligned_u64 data_uptr;
    __u32 out_data_type;
    __u8 out_max_pasid_log2;
    __u8 __reserved[3];
    __aligned_u64 out_capabilities;
};
#define VFIOD_IOMMU_GET_HW_INFO _IO(VFIOD_IOMMUFD_TYPE, VFIOD_IOMMUFD_CMD_GET_HW_INFO)

struct vfiod_iommu_hw_info_vtd {
    __u32 flags;
    __u32 __reserved;
    __aligned_u64 cap_reg;
    __aligned_u64 ecap_reg;
};

/* Linux 6.6. */
struct vfiod_device_bind_iommufd {
    __u32 argsz;
    __u32 flags;
    __s32 iommufd;
    __u32 out_devid;
};
#define VFIOD_DEVICE_BIND_IOMMUFD _IO(VFIO_TYPE, VFIO_BASE + 18)
/* Linux 6.17: the address of a token of 16 bytes follows. */
#define VFIOD_DEVICE_BIND_FLAG_TOKEN (1U << 0)

struct vfiod_device_attach_iommufd_pt {
    __u32 argsz;
    __u32 flags;
    __u32 pt_id;
};
#define VFIOD_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

/* For VFIO_DEVICE_FEATURE: migration version 2 since 5.18, DMA logging since 6.1, dma-bufs since 6.19. */
#define VFIOD_DEVICE_FEATURE_MIGRATION 1
#define VFIOD_DEVICE_FEATURE_DMA_LOGGING_START 6
#define VFIOD_DEVICE_FEATURE_DMA_BUF 11

#define VFIOD_MIGRATION_STOP_COPY (UINT64_C(1) << 0)
#define VFIOD_MIGRATION_P2P (UINT64_C(1) << 1)
#define VFIOD_MIGRATION_PRE_COPY (UINT64_C(1) << 2)

/* Linux 6.13, include/uapi/linux/pidfd.h: the first version, which every later kernel answers. mask: what is
 * requested, and then what was answered. */
#define VFIOD_PIDFD_INFO_PID (UINT64_C(1) << 0)
#define VFIOD_PIDFD_INFO_CREDS (UINT64_C(1) << 1)

struct vfiod_pidfd_info {
    __u64 mask;
    __u64 cgroupid;
    __u32 pid, tgid, ppid;
    __u32 ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
    __u32 __spare;
};
#define VFIOD_PIDFD_GET_INFO _IOWR(0xFF, 11, struct vfiod_pidfd_info)
