/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/vfio-caps.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>

#include "base/fd.h"
#include "core/device-kind.h"
#include "host/uapi.h"
#include "daemon/kernel/vfio.h"

/* ---- The device ---- */

typedef union FeatureBuffer {
    struct vfio_device_feature feature;
    char bytes[sizeof(struct vfio_device_feature) + sizeof(uint64_t)];
} FeatureBuffer;

/* 1; 0: device or kernel does not have the feature; another negative errno: unknown. */
static int probe_feature(int device, uint32_t which, uint32_t flags, FeatureBuffer *buffer) {
    *buffer = (FeatureBuffer){};
    buffer->feature.argsz = sizeof(*buffer);
    buffer->feature.flags = which | flags;
    if (ioctl(device, VFIO_DEVICE_FEATURE, buffer) >= 0)
        return 1;
    return errno == ENOTTY || errno == EOPNOTSUPP ? 0 : -errno;
}

static void set_feature(DeviceCaps *c, DeviceCap cap, int device, uint32_t which, uint32_t direction) {
    FeatureBuffer buffer;
    int r = probe_feature(device, which, VFIO_DEVICE_FEATURE_PROBE | direction, &buffer);

    if (r >= 0)
        device_caps_set(c, cap, r > 0);
}

static void read_migration(DeviceCaps *c, int device) {
    FeatureBuffer buffer;
    uint64_t modes = 0;
    int r;

    r = probe_feature(device, VFIOD_DEVICE_FEATURE_MIGRATION, VFIO_DEVICE_FEATURE_GET, &buffer);
    if (r < 0)
        return;
    if (r > 0)
        memcpy(&modes, buffer.bytes + sizeof(struct vfio_device_feature), sizeof(modes));
    if (modes & VFIOD_MIGRATION_STOP_COPY)
        c->migration |= 1U << MIGRATION_STOP_COPY;
    if (modes & VFIOD_MIGRATION_P2P)
        c->migration |= 1U << MIGRATION_P2P;
    if (modes & VFIOD_MIGRATION_PRE_COPY)
        c->migration |= 1U << MIGRATION_PRE_COPY;
    device_caps_set(c, DEVICE_CAP_MIGRATION, c->migration != 0);
}

static void read_features(DeviceCaps *c, int device) {
    read_migration(c, device);
    set_feature(c, DEVICE_CAP_DMA_LOGGING, device, VFIOD_DEVICE_FEATURE_DMA_LOGGING_START,
            VFIO_DEVICE_FEATURE_SET);
    set_feature(c, DEVICE_CAP_DMA_BUF, device, VFIOD_DEVICE_FEATURE_DMA_BUF, VFIO_DEVICE_FEATURE_GET);
}

/* ---- Common to both ways ---- */

/* Normally the kernel hands out no device whose interrupts are not remapped. With this parameter it does, and
 * then nothing shows whether they are. */
static bool allows_unsafe_interrupts(const char *parameter) {
    _cleanup_close_ int fd = open(parameter, O_RDONLY | O_CLOEXEC);
    char value = 'Y';

    return fd < 0 || read(fd, &value, 1) != 1 || value != 'N';
}

/* space: a container or an iommufd to which the device is attached. */
static void read_common(DeviceCaps *c, int device, int space, const char *unsafe_interrupts) {
    int r;

    /* vfio drivers refuse other devices (vfio_main.c, __vfio_register_dev) */
    device_caps_set(c, DEVICE_CAP_COHERENCY, true);
    r = ioctl(space, VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU);
    if (r >= 0)
        device_caps_set(c, DEVICE_CAP_ENFORCED_COHERENCY, r > 0);
    if (!allows_unsafe_interrupts(unsafe_interrupts))
        device_caps_set(c, DEVICE_CAP_INTERRUPT_REMAPPING, true);
    read_features(c, device);
}

static void add_range(DeviceCaps *c, uint64_t start, uint64_t end) {
    if (c->n_iova == IOVA_RANGES_MAX)
        c->iova_cut = true;
    else
        c->iova[c->n_iova++] = (IovaRange){start, end};
}

/* ---- Through an iommufd ---- */

static void read_hardware(DeviceCaps *c, int iommufd, uint32_t devid) {
    struct vfiod_iommu_hw_info_vtd vtd = {};
    struct vfiod_iommu_hw_info info = {
            .size = sizeof(info),
            .dev_id = devid,
            .data_len = sizeof(vtd),
            .data_uptr = (uint64_t) (uintptr_t) &vtd,
    };

    if (ioctl(iommufd, VFIOD_IOMMU_GET_HW_INFO, &info) < 0)
        return;
    if (info.out_data_type == VFIOD_IOMMU_HW_INFO_TYPE_INTEL_VTD && info.data_len >= sizeof(vtd))
        device_caps_take_vtd(c, vtd.cap_reg);
    else if (info.out_data_type == VFIOD_IOMMU_HW_INFO_TYPE_ARM_SMMUV3)
        c->iommu = IOMMU_TYPE_ARM_SMMUV3;
    else if (info.out_data_type == VFIOD_IOMMU_HW_INFO_TYPE_AMD)
        c->iommu = IOMMU_TYPE_AMD;
    c->pasid_bits = info.out_max_pasid_log2;
    device_caps_set(c, DEVICE_CAP_PASID, c->pasid_bits > 0);
    device_caps_set(c, DEVICE_CAP_DIRTY_TRACKING, info.out_capabilities & VFIOD_IOMMU_HW_CAP_DIRTY_TRACKING);
}

/* If there are more than fit, the kernel returns those that fit and EMSGSIZE. */
static void read_iova_ranges(DeviceCaps *c, int iommufd, uint32_t ioas) {
    struct vfiod_iommu_iova_range ranges[IOVA_RANGES_MAX + 1] = {};
    struct vfiod_iommu_ioas_iova_ranges query = {
            .size = sizeof(query),
            .ioas_id = ioas,
            .num_iovas = ELEMENTSOF(ranges),
            .allowed_iovas = (uint64_t) (uintptr_t) ranges,
    };

    if (ioctl(iommufd, VFIOD_IOMMU_IOAS_IOVA_RANGES, &query) < 0 && errno != EMSGSIZE)
        return;
    for (size_t i = 0; i < MIN(query.num_iovas, (uint32_t) ELEMENTSOF(ranges)); i++)
        add_range(c, ranges[i].start, ranges[i].last);
    device_caps_set(c, DEVICE_CAP_IOVA_RANGES, true);
}

/* Makes an address space, attaches the device to it, and makes the container's ioctls refer to it. */
static int attach(int iommufd, int device, uint32_t *ret_ioas) {
    struct vfiod_iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
    struct vfiod_device_attach_iommufd_pt attach = {.argsz = sizeof(attach)};
    struct vfiod_iommu_vfio_ioas compatible = {.size = sizeof(compatible), .op = VFIOD_IOMMU_VFIO_IOAS_SET};

    if (ioctl(iommufd, VFIOD_IOMMU_IOAS_ALLOC, &alloc) < 0)
        return -errno;
    attach.pt_id = compatible.ioas_id = alloc.out_ioas_id;
    if (ioctl(device, VFIOD_DEVICE_ATTACH_IOMMUFD_PT, &attach) < 0 ||
            ioctl(iommufd, VFIOD_IOMMU_VFIO_IOAS, &compatible) < 0)
        return -errno;
    *ret_ioas = alloc.out_ioas_id;
    return 0;
}

/* The files that must stay open while the device is used. */
typedef struct Opened {
    int space; /* iommufd or container */
    int group; /* or -EBADF */
    int device;
    uint32_t devid;
} Opened;

#define OPENED_NULL                                                                                          \
    (Opened) {                                                                                               \
        .space = -EBADF, .group = -EBADF, .device = -EBADF                                                   \
    }

static void opened_done(Opened *o) {
    o->device = safe_close(o->device);
    o->group = safe_close(o->group);
    o->space = safe_close(o->space);
}

/* Here the kernel reports "in use" as EINVAL. Other causes of EINVAL were excluded before: memory that
 * firmware uses, and a device that is not coherent. */
static int open_through_iommufd(const DeviceSnapshot *of, Opened *o) {
    struct vfiod_device_bind_iommufd bind = {.argsz = sizeof(bind)};
    char path[DEVICE_NODE_MAX];
    int r;

    o->space = open("/dev/iommu", O_RDWR | O_CLOEXEC);
    if (o->space < 0)
        return errno == EPERM ? -EACCES : -errno;
    r = vfio_open_cdev(device_node_path(of->name.kind, of->vfio_index, path), of->vfio_rdev, &o->device);
    if (r < 0)
        return r;
    bind.iommufd = o->space;
    if (ioctl(o->device, VFIOD_DEVICE_BIND_IOMMUFD, &bind) < 0)
        return errno == EINVAL ? -EBUSY : -errno;
    o->devid = bind.out_devid;
    return 0;
}

static int look_through_iommufd(const DeviceSnapshot *of, DeviceCaps *c) {
    _cleanup_(opened_done) Opened o = OPENED_NULL;
    uint32_t ioas = 0;
    int r;

    r = open_through_iommufd(of, &o);
    if (r < 0)
        return r;
    read_hardware(c, o.space, o.devid);
    r = attach(o.space, o.device, &ioas);
    if (r < 0)
        return r;
    read_iova_ranges(c, o.space, ioas);
    read_common(c, o.device, o.space, "/sys/module/iommufd/parameters/allow_unsafe_interrupts");
    return 0;
}

/* ---- Through the group ---- */

#define INFO_SIZE 1024U
#define INFO_CAPABILITIES 32U /* more than exist: a longer list is a loop */

static void take_info(DeviceCaps *c, const char *bytes, uint32_t at, uint32_t size) {
    struct vfio_iommu_type1_info_cap_iova_range ranges;
    struct vfio_iova_range range;

    if (size - at < sizeof(ranges))
        return;
    memcpy(&ranges, bytes + at, sizeof(ranges));
    if (ranges.header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
        return;
    at += (uint32_t) sizeof(ranges);
    for (uint32_t i = 0; i < ranges.nr_iovas && size - at >= sizeof(range); i++) {
        memcpy(&range, bytes + at, sizeof(range));
        add_range(c, range.start, range.end);
        at += (uint32_t) sizeof(range);
    }
    device_caps_set(c, DEVICE_CAP_IOVA_RANGES, true);
}

static void read_info(DeviceCaps *c, int container) {
    union {
        struct vfio_iommu_type1_info info;
        char bytes[INFO_SIZE];
    } buffer = {.info.argsz = INFO_SIZE};
    struct vfio_info_cap_header header;
    uint32_t size, at;

    if (ioctl(container, VFIO_IOMMU_GET_INFO, &buffer) < 0)
        return;
    if (buffer.info.flags & VFIO_IOMMU_INFO_PGSIZES) {
        c->page_sizes = buffer.info.iova_pgsizes;
        device_caps_set(c, DEVICE_CAP_PAGE_SIZES, true);
    }
    if (!(buffer.info.flags & VFIO_IOMMU_INFO_CAPS))
        return;
    size = MIN(buffer.info.argsz, INFO_SIZE);
    at = buffer.info.cap_offset;
    for (size_t i = 0; i < INFO_CAPABILITIES && at != 0 && at < size && size - at >= sizeof(header); i++) {
        memcpy(&header, buffer.bytes + at, sizeof(header));
        take_info(c, buffer.bytes, at, size);
        at = header.next;
    }
}

static int open_through_group(const DeviceSnapshot *of, Opened *o) {
    char name[DEVICE_NAME_MAX];
    int r;

    r = vfio_open_container(&o->space);
    if (r >= 0)
        r = vfio_open_group(of->group, &o->group);
    if (r < 0)
        return r;
    if (ioctl(o->group, VFIO_GROUP_SET_CONTAINER, &o->space) < 0 ||
            ioctl(o->space, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) < 0)
        return -errno;
    o->device = ioctl(o->group, VFIO_GROUP_GET_DEVICE_FD, device_name_format_kernel(&of->name, name));
    return o->device < 0 ? -errno : 0;
}

static int look_through_group(const DeviceSnapshot *of, DeviceCaps *c) {
    _cleanup_(opened_done) Opened o = OPENED_NULL;
    int r;

    r = open_through_group(of, &o);
    if (r < 0)
        return r;
    read_info(c, o.space);
    read_common(c, o.device, o.space, "/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts");
    return 0;
}

int vfio_look_at_caps(const DeviceSnapshot *of, DeviceCaps *ret) {
    DeviceCaps caps = {};
    int r;

    /* The kernel checks none of this for a device without an IOMMU of its own. */
    if (of->name.kind != DEVICE_KIND_PCI)
        return -EOPNOTSUPP;
    if (of->vfio_index < 0 || of->group < 0)
        return -ENODEV;
    (void) snprintf(caps.driver, sizeof(caps.driver), "%s", of->driver);
    r = of->vfio_rdev != 0 ? look_through_iommufd(of, &caps) : look_through_group(of, &caps);
    if (r < 0)
        return r;
    *ret = caps;
    return 0;
}

/* ---- The token of a physical function ---- */

/* The kernel stores the bytes in the order of the text. */
static int read_uuid(const char *text, uint8_t ret[static 16]) {
    size_t n = 0;

    for (; *text && n < 32; text++) {
        const char *digits = "0123456789abcdef", *digit = *text == '-' ? NULL : strchr(digits, *text);

        if (*text == '-')
            continue;
        if (!digit)
            return -EINVAL;
        ret[n / 2] = (uint8_t) (ret[n / 2] << 4 | (digit - digits));
        n++;
    }
    return n == 32 && !*text ? 0 : -EINVAL;
}

int vfio_set_token(const DeviceSnapshot *of, const char *token) {
    _cleanup_(opened_done) Opened o = OPENED_NULL;
    union {
        struct vfio_device_feature feature;
        uint8_t bytes[sizeof(struct vfio_device_feature) + 16];
    } set = {.feature = {.argsz = sizeof(set),
                     .flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN}};
    int r;

    r = read_uuid(token, set.bytes + sizeof(struct vfio_device_feature));
    if (r < 0)
        return r;
    if (of->vfio_index < 0 || of->group < 0)
        return -ENODEV;
    r = of->vfio_rdev != 0 ? open_through_iommufd(of, &o) : open_through_group(of, &o);
    if (r >= 0 && ioctl(o.device, VFIO_DEVICE_FEATURE, &set) < 0)
        r = errno == ENOTTY ? -EOPNOTSUPP : -errno;
    return r;
}
