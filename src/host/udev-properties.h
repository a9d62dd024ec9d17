/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The properties that udev's rules gave to a device, as `udevadm info` shows them. */

#include "core/device-name.h"

/* *ret: owned, "KEY=value" each, ended by NULL. 0; -ENODATA when udev has not finished with the device (or
 * does not run): what is missing now may come. -E2BIG, -EBADMSG (not UTF-8): all or nothing, a part of them
 * would let a key look missing that is there. -ENODEV, -ENOMEM. */
int udev_properties_read(const DeviceName *name, char ***ret);
char **udev_properties_free(char **properties);
