/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Asks the kernel what a device can do together with its IOMMU. Most of it is answered only to whoever has
 * opened the device and attached it to an address space, and to open it resets it, twice: before, and at the
 * close. So this is for devices that nobody uses, and for workers alone: a reset may take a minute.
 *
 * The device is opened in the way that the kernel offers: bound to an iommufd, where it has a cdev, otherwise
 * through its group and a container of type 1. The two tell different things; what is not told is unknown.
 *
 * For PCI functions alone: of a mediated device the kernel would answer for what its parent makes of it. */

#include "core/inventory.h"

/* of: as sysfs shows it now. Everything is closed again when this returns. 0; -EOPNOTSUPP: it is no PCI
 * function; -ENODEV: it is on no vfio
 * driver, or has no IOMMU; -EBUSY: some program has it or its group open; -EPERM: the group is not viable, or
 * has other users; -EACCES: the device policy of our unit does not allow it, or the kernel demands the token
 * of its physical function; -ESTALE: it is another device by now; or another negative errno. */
int vfio_look_at_caps(const DeviceSnapshot *of, DeviceCaps *ret);

/* The kernel opens a virtual function of a physical one that is on a vfio driver only for a program that
 * knows its token, a UUID. Sets it: opens the physical function, likewise, with two resets of it. 0; -EACCES:
 * also that one of its virtual functions is in use; -EOPNOTSUPP: it has no token; or as vfio_look_at_caps().
 */
int vfio_set_token(const DeviceSnapshot *of, const char *token);
