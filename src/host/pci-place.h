/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Where a PCI device is plugged in, and what its config space contains. Both the daemon's reader of sysfs and
 * the program that udev runs use it. */

#include "core/device-name.h"

#define PORTS_MAX 64U /* between a device and its root; the kernel stops far earlier */

/* Every function from the root bus to the device itself. Returns their number, or a negative errno. */
int pci_place_read_ports(const DeviceName *name, DeviceName ports[static PORTS_MAX]);
/* device: its directory in sysfs. May sleep: see sysfs.h. parse returns -EINVAL as long as it needs more. */
int pci_place_read_config(
        int device, int (*parse)(const uint8_t *config, size_t size, void *userdata), void *userdata);
