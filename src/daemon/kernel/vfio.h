/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Opens the VFIO and iommufd nodes. Nothing here binds, maps or attaches: the client does (a VMM must attach
 * KVM first, and whoever maps is charged). */

#include <sys/types.h>

#include "core/device-name.h"

/* /dev/iommu with IOMMU_OPTION_RLIMIT_MODE = 1 (memory is charged per process, not per user): it must be the
 * very first thing on a fresh context, EBUSY later, and needs CAP_SYS_RESOURCE, so that the client cannot
 * undo it. Does not sleep. 0 and an owned, CLOEXEC fd, or a negative errno. */
int vfio_open_iommufd(int *ret_fd);

/* The node of a device at path, checked to be the one with rdev. Does not sleep for VFIO: a cdev open takes
 * only a registration reference. -ENOENT: no node; -ESTALE: another device's; -EACCES, here and below: the
 * device policy of vfiod's own unit (DeviceAllow=) forbids to open the node. */
int vfio_open_cdev(const char *path, dev_t rdev, int *ret_fd);

/* /dev/vfio/vfio. Does not sleep. -EOPNOTSUPP: it is an iommufd, see there. */
int vfio_open_container(int *ret_fd);

/* /dev/vfio/<group>. MAY SLEEP for a minute (group_lock is held across resets): workers only. -EBUSY:
 * somebody has it open, or a cdev of the group is bound; -EPERM: open, but not viable (a member is on a host
 * driver). */
int vfio_open_group(int group, int *ret_fd);

/* Of a kernel whose /dev/vfio/vfio is an iommufd: that, a group with it as its container, and a device of the
 * group, which may do DMA into the iommufd's address space from then on. The device does not keep the group's
 * file open: whoever closes that lets others have the device as well. MAY SLEEP, likewise. -ENOTTY: it is no
 * iommufd. */
int vfio_open_compat(int *ret_fd);
int vfio_open_compat_group(int group, int iommufd, int *ret_fd);
/* vf_token: of its physical function, or "". -EACCES: the kernel demands another one. */
int vfio_open_compat_device(int group_fd, const DeviceName *name, const char *vf_token, int *ret_fd);

/* Does anybody have /dev/vfio/<group> open, or a cdev of the group bound? Opens it for a moment, and MAY
 * SLEEP as long: workers only. 0: nobody, or the group is gone, and with it what could be reached through an
 * open file of it; -EBUSY: somebody; another negative errno: unknown. */
int vfio_probe_group(int group);

/* Does anybody have the node at path open, of which the kernel lets only one be? Opens it for a moment, and
 * MAY SLEEP: workers only. As vfio_probe_group(). */
int vfio_probe_node(const char *path);

/* The device name, which is behind no IOMMU, through /dev/vfio/noiommu-<group>, checked to be the node with
 * rdev. MAY SLEEP as long as a reset takes: workers only, and only with CAP_SYS_RAWIO, which the kernel wants
 * at every step. What comes back is the device's file alone; see there why nothing else need stay open.
 * -ESTALE: another node; -EBUSY: somebody has the group open; -EPERM: vfiod has no CAP_SYS_RAWIO; -ENODEV:
 * gone, or the kernel's enable_unsafe_noiommu_mode was turned off. */
int vfio_open_noiommu(int group, dev_t rdev, const DeviceName *name, int *ret_fd);

/* "/dev/vfio/8", "/dev/vfio/noiommu-8"; a path of device_node_path() fits, too. */
#define VFIO_NODE_MAX 48
const char *vfio_group_path(int group, char buf[static VFIO_NODE_MAX]);
const char *vfio_noiommu_path(int group, char buf[static VFIO_NODE_MAX]);
