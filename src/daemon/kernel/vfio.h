/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Opens VFIO and iommufd nodes. Nothing is bound, mapped or attached here: the client does that (a VMM must
 * attach KVM first, and the process that maps is charged). */

#include <sys/types.h>

#include "core/device-name.h"

/* Opens /dev/iommu with IOMMU_OPTION_RLIMIT_MODE = 1 (memory is charged per process, not per user). This must
 * be the first call on a new context (EBUSY later) and requires CAP_SYS_RESOURCE, so the client cannot undo
 * it. Does not sleep. 0 with a CLOEXEC fd that the caller owns, or negative errno. */
int vfio_open_iommufd(int *ret_fd);

/* Opens the device node at path, and checks that it is the one with rdev. Does not sleep in VFIO: opening a
 * cdev takes only a registration reference. 0; -ENOENT: no node; -ESTALE: another device's; -EACCES, here and
 * below: the device policy of vfiod's unit (DeviceAllow=) forbids it. */
int vfio_open_cdev(const char *path, dev_t rdev, int *ret_fd);

/* Opens /dev/vfio/vfio. Does not sleep. -EOPNOTSUPP: it is an iommufd, see vfio.c. */
int vfio_open_container(int *ret_fd);

/* Opens /dev/vfio/<group>. Can sleep for a minute, because group_lock is held during resets: workers only. 0;
 * -EBUSY: it is open elsewhere, or a cdev of the group is bound; -EPERM: not viable (a member is on a host
 * driver). */
int vfio_open_group(int group, int *ret_fd);

/* For a kernel whose /dev/vfio/vfio is an iommufd: opens that; sets it as the container of a group; opens a
 * device of the group, which from then on can do DMA to the iommufd's address space. The device does not keep
 * the group's file open: when that is closed, others can have the device as well. Can sleep: workers only.
 * -ENOTTY: not an iommufd. */
int vfio_open_compat(int *ret_fd);
int vfio_open_compat_group(int group, int iommufd, int *ret_fd);
/* vf_token: that of its physical function, or "". -EACCES: the kernel requires another one. */
int vfio_open_compat_device(int group_fd, const DeviceName *name, const char *vf_token, int *ret_fd);

/* Is /dev/vfio/<group> open anywhere, or a cdev of the group bound? Opens it for a moment, and can sleep:
 * workers only. 0: no, or the group is gone together with everything that its open file could reach; -EBUSY:
 * yes; another negative errno: unknown. */
int vfio_probe_group(int group);

/* The same for a node that the kernel lets only one program open. Workers only. */
int vfio_probe_node(const char *path);

/* Opens the device `name`, which has no IOMMU, through /dev/vfio/noiommu-<group>, and checks that this is the
 * node with rdev. Can sleep as long as a reset: workers only, and only with CAP_SYS_RAWIO, which the kernel
 * requires at each step. *ret_fd is the device's file; vfio.c explains why nothing else must stay open.
 * -ESTALE: another node; -EBUSY: the group is open elsewhere; -EPERM: vfiod has no CAP_SYS_RAWIO; -ENODEV:
 * gone, or enable_unsafe_noiommu_mode was turned off. */
int vfio_open_noiommu(int group, dev_t rdev, const DeviceName *name, int *ret_fd);

/* "/dev/vfio/8", "/dev/vfio/noiommu-8"; also large enough for device_node_path() */
#define VFIO_NODE_MAX 48
const char *vfio_group_path(int group, char buf[static VFIO_NODE_MAX]);
const char *vfio_noiommu_path(int group, char buf[static VFIO_NODE_MAX]);
