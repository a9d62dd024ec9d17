/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/device-kind.h"

#include <stdio.h>

#include "base/str.h"

static const char *const pci_identity[] = {
        "vendor", "device", "subsystem_vendor", "subsystem_device", "class", "revision", NULL};

/* Drivers with driver_managed_dma in the kernel. uio_pci_generic, pci-pf-stub and xen-pciback do not have it:
 * the kernel counts them as users of the group. The list is for kernels without vfio-dev/; on newer ones the
 * vfio index identifies every vfio driver, also those that are not listed here. */
static const char *const pci_unharmful[] = {
        "pcieport",
        "pci-stub",
        "vfio-pci",
        "mlx5_vfio_pci",
        "virtio_vfio_pci",
        "pds_vfio_pci",
        "hisi_acc_vfio_pci",
        "nvgrace_gpu_vfio_pci",
        "qat_vfio_pci",
        "ism_vfio_pci",
        "xe-vfio-pci",
        NULL,
};

#define VFIO_BACKENDS (1U << BACKEND_IOMMUFD | 1U << BACKEND_GROUP)
#define VFIO_NODES .nodes = "vfio-dev", .node_entry = "vfio", .node = "/dev/vfio/devices/vfio"

#define TEXT_NAMES                                                                                           \
    .parse = device_kind_text_parse, .parse_kernel = device_kind_text_parse,                                 \
    .format = device_kind_text_format, .compare = device_kind_text_compare

static const DeviceKindInfo kinds[_DEVICE_KIND_MAX] = {
        [DEVICE_KIND_PCI] =
                {
                        .name = "pci",
                        .example = "0000:06:0d.0",
                        .parse = device_kind_pci_parse,
                        .parse_kernel = device_kind_pci_parse_kernel,
                        .format = device_kind_pci_format,
                        .compare = device_kind_pci_compare,
                        .claimable = true,
                        .directory = "/sys/bus/pci",
                        .identity = pci_identity,
                        .has_ids = true,
                        .parent_link = "physfn",
                        .driver = "vfio-pci",
                        .unharmful = pci_unharmful,
                        VFIO_NODES,
                        .backends = VFIO_BACKENDS | 1U << BACKEND_NOIOMMU | 1U << BACKEND_COMPAT,
                        .reset = "reset",
                        .counts_opens = true,
                },
        [DEVICE_KIND_MDEV] =
                {
                        .name = "mdev",
                        .example = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
                        .parse = device_kind_mdev_parse,
                        .parse_kernel = device_kind_mdev_parse_kernel,
                        .format = device_kind_mdev_format,
                        .compare = device_kind_mdev_compare,
                        .claimable = true,
                        .directory = "/sys/bus/mdev",
                        .is_made = true,
                        VFIO_NODES,
                        .backends = VFIO_BACKENDS,
                        .resets_itself = true,
                        .create = "mdev_supported_types/%s/create",
                        .destroy = "remove",
                },
        [DEVICE_KIND_PLATFORM] =
                {
                        .name = "platform",
                        .example = "fff51000.ethernet",
                        TEXT_NAMES,
                        .claimable = true,
                        .directory = "/sys/bus/platform",
                        .driver = "vfio-platform",
                        VFIO_NODES,
                        .backends = VFIO_BACKENDS | 1U << BACKEND_NOIOMMU,
                },
        [DEVICE_KIND_VDPA] =
                {
                        .name = "vdpa",
                        .example = "vdpa0",
                        TEXT_NAMES,
                        .claimable = true,
                        .directory = "/sys/bus/vdpa",
                        .is_made = true,
                        .driver = "vhost_vdpa",
                        .nodes = ".",
                        .node_entry = "vhost-vdpa-",
                        .node = "/dev/vhost-vdpa-",
                        .backends = 1U << BACKEND_VHOST_VDPA,
                        .resets_itself = true,
                },
        [DEVICE_KIND_AP] = {.name = "ap", .example = "00.0001", TEXT_NAMES, .directory = "/sys/bus/ap"},
        [DEVICE_KIND_CCW] = {.name = "ccw", .example = "0.0.1234", TEXT_NAMES, .directory = "/sys/bus/ccw"},
        [DEVICE_KIND_FSL_MC] = {.name = "fsl-mc",
                .example = "dpni.3",
                TEXT_NAMES,
                .directory = "/sys/bus/fsl-mc"},
        [DEVICE_KIND_CDX] = {.name = "cdx", .example = "cdx-00:00", TEXT_NAMES, .directory = "/sys/bus/cdx"},
        /* The same as for the mediated device that is made from it. */
        [DEVICE_KIND_TEMPLATE] =
                {
                        .name = "template",
                        .example = "vgpu",
                        TEXT_NAMES,
                        .claimable = true,
                        VFIO_NODES,
                        .backends = VFIO_BACKENDS,
                        .resets_itself = true,
                },
};

const DeviceKindInfo *device_kind_info(DeviceKind kind) {
    assert(kind >= 0 && kind < _DEVICE_KIND_MAX);
    return &kinds[kind];
}

const char *device_sysfs_path(const DeviceName *name, char buf[static DEVICE_PATH_MAX]) {
    static_assert(DEVICE_PATH_MAX > sizeof("/sys/bus/platform") + sizeof("/devices/") + DEVICE_NAME_MAX,
            "a path must never be cut: it would be that of another device");
    char kernel[DEVICE_NAME_MAX];

    (void) snprintf(buf, DEVICE_PATH_MAX, "%s/devices/%s", device_kind_info(name->kind)->directory ?: "",
            device_name_format_kernel(name, kernel));
    return buf;
}

const char *device_node_path(DeviceKind kind, int index, char buf[static DEVICE_NODE_MAX]) {
    put_numbered(buf, DEVICE_NODE_MAX, device_kind_info(kind)->node ?: "", index);
    return buf;
}

const char *device_kind_to_string(DeviceKind kind) {
    return kind >= 0 && kind < _DEVICE_KIND_MAX ? kinds[kind].name : NULL;
}

DeviceKind device_kind_from_string(const char *s) {
    for (DeviceKind k = 0; s && k < _DEVICE_KIND_MAX; k++)
        if (streq(kinds[k].name, s))
            return k;
    return _DEVICE_KIND_INVALID;
}

/* FNV-1a. */
static uint64_t add_bytes(uint64_t hash, const void *bytes, size_t size) {
    const uint8_t *p = bytes;

    hash ^= UINT64_C(14695981039346656037); /* makes a hash begin with 0 */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ p[i]) * UINT64_C(1099511628211);
    return hash;
}

uint64_t device_identity_add(uint64_t hash, const char *attribute, uint64_t value) {
    return add_bytes(add_bytes(hash, attribute, strlen(attribute) + 1), &value, sizeof(value));
}

uint64_t device_identity_end(uint64_t hash) {
    return (hash ^ hash >> 53) & DEVICE_IDENTITY_MAX ?: 1;
}

#define INCARNATION "inode"

uint32_t device_incarnation(DeviceKind kind, uint64_t inode) {
    uint64_t hash = device_identity_end(device_identity_add(0, INCARNATION, inode));

    return device_kind_info(kind)->identity ? 0 : (uint32_t) (hash & ((1U << DEVICE_INCARNATION_BITS) - 1)) ?: 1;
}

uint64_t device_identity_of_incarnation(uint32_t incarnation) {
    return device_identity_end(incarnation == 0 ? 0 : device_identity_add(0, INCARNATION, incarnation));
}

bool device_identity_is_known(DeviceKind kind, uint64_t identity) {
    return identity != 0 &&
            (device_kind_info(kind)->identity || identity != device_identity_of_incarnation(0));
}

DeviceKind device_kind_of(const char *text, const char **ret_rest) {
    for (DeviceKind k = 0; k < _DEVICE_KIND_MAX; k++) {
        const char *rest = startswith(text, kinds[k].name);

        if (rest && *rest == ':') {
            *ret_rest = rest + 1;
            return k;
        }
    }
    return _DEVICE_KIND_INVALID;
}
