/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks the kernel what a device can do together with its IOMMU. Most answers require that the device is open
 * and attached to an address space. Opening and closing each reset the device. So this is only for unused
 * devices, and only workers do it, because a reset may take a minute.
 *
 * The device is opened through an iommufd if it has a cdev, otherwise through its group and a type 1
 * container. Both give different answers; the rest is unknown.
 *
 * For PCI functions only: for a mediated device the kernel would answer for the parent. */

#include "core/inventory.h"

/* of: the device as sysfs shows it now. Everything is closed again. 0; -EOPNOTSUPP: not a PCI function;
 * -ENODEV: it is not on a vfio driver, or has no IOMMU; -EBUSY: a program has it or its group open; -EPERM:
 * the group is not viable, or has other users; -EACCES: the device policy of our unit forbids it, or the
 * kernel requires the token of its physical function; -ESTALE: it is another device by now; or another
 * negative errno. */
int vfio_look_at_caps(const DeviceSnapshot *of, DeviceCaps *ret);

/* The kernel opens a virtual function whose physical function is on a vfio driver only for a program that
 * passes the token, a UUID. This sets the token, for which it opens the physical function, with two resets.
 * 0; -EACCES: as above, or one of its virtual functions is in use; -EOPNOTSUPP: it has no token; or as for
 * vfio_look_at_caps(). */
int vfio_set_token(const DeviceSnapshot *of, const char *token);
