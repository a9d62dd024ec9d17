/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads devices, groups and kernel facts from /sys, /dev and /proc. Reads only: whatever writes sysfs is in a
 * worker process (driver.h). Everything that sysfs says is parsed as hostile text by core/. No attribute read
 * here takes the device lock (kernel-facts.md section 6: sriov_numvfs does, and is not read). */

#include "core/facts.h"
#include "core/inventory.h"

/* Fills *ret for the device with this name. 0, -ENODEV when it is not (or no longer) there, negative errno.
 */
int sysfs_read_device(const DeviceName *name, DeviceSnapshot *ret);
/* Is there such a device? Without reading anything of it. */
bool sysfs_has_device(const DeviceName *name);
/* The number of the last uevent that the kernel has announced; 0 when it cannot be read. What a uevent with a
 * number up to this one tells of had happened before the call. */
uint64_t sysfs_read_uevent_seqnum(void);
/* Walks /sys/bus/pci/devices and hands every device to the inventory. 0 or negative errno; a device that
 * vanishes meanwhile is left out. */
int sysfs_scan(Inventory *inventory);
/* The same without an inventory, in no particular order; a non-zero return of visit stops and is handed back.
 */
int sysfs_foreach(int (*visit)(const DeviceSnapshot *snapshot, void *userdata), void *userdata);

/* Visits the names of the virtual functions of this device, in the order of their numbers; likewise. -ENODEV.
 * Does not read sriov_numvfs. */
int sysfs_foreach_function(
        const DeviceName *name, int (*visit)(const DeviceName *function, void *userdata), void *userdata);

/* Does its config space have anything but ones? The ids of a virtual function are ones at all times, the rest
 * of what it has is not. 0, 1 or a negative errno. */
int sysfs_device_answers(const DeviceName *name);

/* read_facts_t; userdata is unused. what is a mask of DeviceFactMask; HOST_CRITICAL asks host-critical.h. */
int sysfs_read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret);
/* Looks at the device's own functions and every port above it. The one reader here that may sleep: the kernel
 * holds config space of a port back while something below it is being reset through it, and wakes ports from
 * D3cold. */
int sysfs_read_acs(const DeviceName *name, AcsReport *ret);
int sysfs_read_group_facts(int group, GroupFacts *ret);
int sysfs_read_kernel_facts(KernelFacts *ret);
/* The `enable` count alone: 0 means closed. -ENODEV: the device is gone; another negative errno: unknown. */
long sysfs_read_enable_count(const DeviceName *name);
/* Can the platform take the power of this PCI function away? Looked for once. */
bool sysfs_may_lose_power(const DeviceName *name);
/* May the kernel let it into D3cold (`d3cold_allowed`)? No where it does not say. */
bool sysfs_allows_d3cold(const DeviceName *name);
/* Is a device, which the last plan has looked at, without power, or in a power state that is unknown? */
bool sysfs_power_is_doubtful(const DeviceName *name);
/* Is the device at this place still the one that the inventory knows, in the same group, with the same VFIO
 * node? To be asked AFTER its node was opened, see there. 0, and removals that were announced before are not
 * of this device (Device.since_seqnum); -ESTALE when not; -ENODEV; negative errno. */
int sysfs_check_device(Device *d);
/* Of a device that is bound to its vfio driver without an IOMMU: the made-up group, and the number of its
 * node, /dev/vfio/noiommu-<group>. -ENOENT: it has none, or a real group. */
int sysfs_read_noiommu_node(const DeviceName *name, int *ret_group, dev_t *ret_rdev);
