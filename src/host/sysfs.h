/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads devices, groups and kernel facts from /sys, /dev and /proc. It never writes: workers write sysfs
 * (driver.h). core/ parses everything in sysfs as hostile text. Attributes that take the device lock
 * (sriov_numvfs) are not read. */

#include "core/facts.h"
#include "core/inventory.h"

/* Fills *ret for the device with this name. Returns 0, -ENODEV if it does not exist (any more), or negative
 * errno. */
int sysfs_read_device(const DeviceName *name, DeviceSnapshot *ret);
/* Does the device exist? Reads nothing else of it. */
bool sysfs_has_device(const DeviceName *name);
/* The number of the last uevent that the kernel has sent; 0 if it cannot be read. Everything that uevents up
 * to this number report happened before the call. */
uint64_t sysfs_read_uevent_seqnum(void);
/* Adds every device of all buses to the inventory, except those that vanish meanwhile. Returns 0 or negative
 * errno. */
int sysfs_scan(Inventory *inventory);
/* Does the same with a visitor, in no defined order. A non-zero return of visit ends it and is returned. */
int sysfs_foreach(int (*visit)(const DeviceSnapshot *snapshot, void *userdata), void *userdata);

/* Visits the names of the virtual functions of this device likewise, in the order of their numbers. Returns
 * -ENODEV if it is gone. Does not read sriov_numvfs. */
int sysfs_foreach_function(
        const DeviceName *name, int (*visit)(const DeviceName *function, void *userdata), void *userdata);

/* Is there anything but ones in its config space? The ids of a virtual function are always ones, so others of
 * its fields are read. Returns 0, 1 or a negative errno. */
int sysfs_device_answers(const DeviceName *name);

/* A read_facts_t; userdata is unused. what: a mask of DeviceFactMask; HOST_CRITICAL calls host-critical.h. */
int sysfs_read_facts(void *userdata, const Device *device, unsigned what, DeviceFacts *ret);
/* Reads the device's own functions and every port above it. May sleep: the kernel delays reads of the config
 * space of a port while something below it is reset, and wakes ports from D3cold. */
int sysfs_read_acs(const DeviceName *name, AcsReport *ret);
int sysfs_read_group_facts(int group, GroupFacts *ret);
int sysfs_read_kernel_facts(KernelFacts *ret);
/* Reads only `enable`; 0: closed. -ENODEV: the device is gone. Another negative errno: unknown. */
long sysfs_read_enable_count(const DeviceName *name);
/* Can the platform turn off the power of this PCI function? Read once. */
bool sysfs_may_lose_power(const DeviceName *name);
/* May the kernel put it into D3cold (`d3cold_allowed`)? False if it has no such attribute. */
bool sysfs_allows_d3cold(const DeviceName *name);
/* Is a device without power, or in an unknown power state? The last plan must have read its facts. */
bool sysfs_power_is_doubtful(const DeviceName *name);
/* Is the device at this place still the one that the inventory has, in the same group, with the same VFIO
 * node? Call it AFTER its node was opened, see there. Returns 0; removals announced before do not concern
 * this device (Device.since_seqnum). Returns -ESTALE if not, -ENODEV, or negative errno. */
int sysfs_check_device(Device *d);
/* For a device on its vfio driver without an IOMMU: the made-up group, and the number of its node,
 * /dev/vfio/noiommu-<group>. -ENOENT: it has none, or a real group. */
int sysfs_read_noiommu_node(const DeviceName *name, int *ret_group, dev_t *ret_rdev);
