/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How much memory a virtual machine with devices must be able to lock.
 *
 * A device can write to all memory of its guest, so all of it is pinned, once for each address space of the
 * IOMMU (vfio_iommu_type1.c and iommufd/pages.c charge a page for each container or IOAS that maps it).
 * Without a virtual IOMMU all devices share one. With an emulated one each device has its own, which maps all
 * memory at least until the guest enables translation. With a nested one (iommufd only) there is one for all,
 * because the guest's tables are used by the hardware.
 *
 * The margin is libvirt's (qemuDomainGetMemLockLimitBytes() in its src/qemu/qemu_domain.c: total memory,
 * times the number of VFIO devices with a vIOMMU, and 1 GiB) for ROMs and memory of emulated devices. BARs of
 * devices do not count on x86. */

#include <stdio.h>

#include "base/str.h"
#include "client/vfiod.h"

#define MARGIN (UINT64_C(1) << 30)

static const char *text_for(VfiodViommu viommu, unsigned n_devices, char *buf, size_t size) {
    if (n_devices == 1)
        return "the device can reach all memory of the guest";
    if (viommu == VFIOD_VIOMMU_EMULATED) {
        snprintf(buf, size, "each of %u devices has an address space of its own behind the virtual IOMMU",
                n_devices);
        return buf;
    }
    return "all devices share one address space";
}

int vfiod_memlock_for(uint64_t ram, unsigned n_devices, VfiodViommu viommu, VfiodMemlock *ret) {
    char size[FORMAT_SIZE_MAX], margin[FORMAT_SIZE_MAX], buf[128];
    uint64_t n = viommu == VFIOD_VIOMMU_EMULATED ? n_devices : 1, bytes;
    VfiodMemlock memlock = {};

    if (ram == 0 || n_devices == 0 || (unsigned) viommu > VFIOD_VIOMMU_NESTED)
        return -EINVAL;
    if (__builtin_mul_overflow(ram, n, &bytes) || __builtin_add_overflow(bytes, MARGIN, &bytes) ||
            bytes > INT64_MAX)
        return -ERANGE;
    memlock.bytes = bytes;
    memlock.address_spaces = (unsigned) n;
    memlock.margin = MARGIN;
    snprintf(memlock.derivation, sizeof(memlock.derivation),
            "%u x %s (%s) + %s (ROMs and memory of emulated devices)", (unsigned) n, format_size(ram, size),
            text_for(viommu, n_devices, buf, sizeof(buf)), format_size(MARGIN, margin));
    *ret = memlock;
    return 0;
}
