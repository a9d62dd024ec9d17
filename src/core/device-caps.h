/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a device can do together with its IOMMU and its vfio driver, and what a request can require of that.
 *
 * Most of it can be read only from an open device, and opening resets the device. So it is probed while
 * nobody uses the device (daemon/kernel/vfio-caps.h), and kept as long as the device exists: it belongs to
 * the hardware and to the driver that the device had. A driver of the same name that was loaded later may be
 * another version. What could not be probed is unknown.
 *
 * Pure: values, their words and the comparison. */

#include "base/macro.h"

typedef enum DeviceCap {
    DEVICE_CAP_COHERENCY,           /* its DMA is coherent with the caches */
    DEVICE_CAP_ENFORCED_COHERENCY,  /* also DMA that the device marks as no-snoop */
    DEVICE_CAP_INTERRUPT_REMAPPING, /* its interrupts can reach only the targets that are set up */
    DEVICE_CAP_PASID,               /* several address spaces at a time, each with a number */
    DEVICE_CAP_DIRTY_TRACKING,      /* the IOMMU records which pages the device wrote */
    DEVICE_CAP_DMA_LOGGING,         /* the device itself records them */
    DEVICE_CAP_MIGRATION,           /* its state can be saved and loaded (VFIO migration version 2) */
    DEVICE_CAP_DMA_BUF,             /* its memory can be exported as dma-bufs */
    DEVICE_CAP_PAGE_SIZES,          /* of the I/O page tables */
    DEVICE_CAP_IOVA_RANGES,         /* I/O virtual addresses that can be mapped */
    _DEVICE_CAP_MAX,
    _DEVICE_CAP_INVALID = -EINVAL,
} DeviceCap;
DECLARE_STRING_TABLE(device_cap, DeviceCap); /* "coherency", "enforced-coherency", "pasid", … */

/* In the kernel's words, as bits (VFIO_MIGRATION_STOP_COPY, P2P and PRE_COPY). */
typedef enum MigrationMode {
    MIGRATION_STOP_COPY,
    MIGRATION_P2P,
    MIGRATION_PRE_COPY,
    _MIGRATION_MODE_MAX,
    _MIGRATION_MODE_INVALID = -EINVAL,
} MigrationMode;
DECLARE_STRING_TABLE(migration_mode, MigrationMode); /* "stop-copy", "p2p", "pre-copy" */

typedef enum IommuType {
    IOMMU_TYPE_UNKNOWN,
    IOMMU_TYPE_INTEL,
    IOMMU_TYPE_ARM_SMMUV3,
    IOMMU_TYPE_AMD,
    _IOMMU_TYPE_MAX,
    _IOMMU_TYPE_INVALID = -EINVAL,
} IommuType;
DECLARE_STRING_TABLE(iommu_type, IommuType); /* "unknown", "intel-vtd", "arm-smmuv3", "amd" */

#define IOVA_RANGES_MAX 8U
#define DEVICE_CAPS_DRIVER_MAX 64U

typedef struct IovaRange {
    uint64_t start, end; /* both included */
} IovaRange;

typedef struct DeviceCaps {
    uint32_t known;   /* mask of 1 << DeviceCap */
    uint32_t present; /* likewise: which of the known yes-or-no capabilities it has */
    IommuType iommu;
    unsigned pasid_bits; /* 0: none */
    unsigned migration;  /* mask of 1 << MigrationMode; 0: none */
    uint64_t page_sizes; /* a bit for each size */
    IovaRange iova[IOVA_RANGES_MAX];
    size_t n_iova;
    bool iova_cut;                       /* the list is incomplete */
    char driver[DEVICE_CAPS_DRIVER_MAX]; /* the vfio driver with which it was probed */
    uint64_t driver_inode;               /* of that driver's directory in sysfs; 0: unknown */
} DeviceCaps;

#define DEVICE_CAPS_TEXT_MAX 200U

static inline bool device_caps_know(const DeviceCaps *c, DeviceCap cap) {
    return c && (c->known & (1U << cap));
}
void device_caps_set(DeviceCaps *c, DeviceCap cap, bool present);
/* Keeps what both devices can do, and only where both are known: the capabilities of a group. */
void device_caps_keep_common(DeviceCaps *c, const DeviceCaps *other);
/* "yes", "no", "unknown", "20 bits", "stop-copy p2p", "4K 2M": for people. */
const char *device_caps_describe(const DeviceCaps *c, DeviceCap cap, char buf[static DEVICE_CAPS_TEXT_MAX]);

/* Takes the capability register of an Intel IOMMU (VT-d specification, section 11.4.2), as IOMMU_GET_HW_INFO
 * returns it. */
void device_caps_take_vtd(DeviceCaps *c, uint64_t cap);

/* What a request requires of every device. */
typedef struct DeviceNeeds {
    uint32_t caps;       /* mask of 1 << DeviceCap */
    unsigned pasid_bits; /* at least */
    unsigned migration;  /* mask: all of these */
    uint64_t page_size;
} DeviceNeeds;

#define DEVICE_NEEDS_TEXT_MAX 200U

/* "pasid,migration=p2p,page-size=2M". 0; -EINVAL: *ret_bad (borrowed, *ret_size bytes) is the first part that
 * is not understood. An empty text is bad too. */
int device_needs_parse(const char *text, DeviceNeeds *ret, const char **ret_bad, size_t *ret_size);
/* The text parses to the same needs. */
const char *device_needs_format(const DeviceNeeds *n, char buf[static DEVICE_NEEDS_TEXT_MAX]);

typedef enum NeedsAnswer {
    NEEDS_MET,
    NEEDS_UNKNOWN, /* some are unknown, and no known one is unmet */
    NEEDS_NOT_MET,
} NeedsAnswer;

/* caps: NULL when nothing is known. *ret is the first capability that prevents NEEDS_MET. */
NeedsAnswer device_needs_check(const DeviceNeeds *n, const DeviceCaps *caps, DeviceCap *ret);
/* Is a met whenever b is met? */
bool device_needs_cover(const DeviceNeeds *a, const DeviceNeeds *b);
/* The part of the needs that concerns cap: "pasid=20". */
const char *device_needs_describe(
        const DeviceNeeds *n, DeviceCap cap, char buf[static DEVICE_NEEDS_TEXT_MAX]);
/* The words of device_needs_parse(), for messages. */
#define DEVICE_NEEDS_WORDS                                                                                   \
    "\"coherency\", \"enforced-coherency\", \"interrupt-remapping\", \"pasid\", \"dirty-tracking\", "        \
    "\"dma-logging\", \"migration\", \"dma-buf\" and \"page-size=SIZE\""
