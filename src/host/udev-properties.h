/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The properties that udev's rules gave to a device, as `udevadm info` shows them. */

#include "core/device-name.h"

/* *ret: owned, "KEY=value" each; NULL ends the list. Returns 0. -ENODATA: udev has not finished with the
 * device (or does not run), so properties may still come. -E2BIG, -EBADMSG (not UTF-8): nothing is returned,
 * since in a part of them an existing key could look missing. -ENODEV, -ENOMEM. */
int udev_properties_read(const DeviceName *name, char ***ret);
char **udev_properties_free(char **properties);
