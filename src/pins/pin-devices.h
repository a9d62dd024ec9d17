/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The PCI devices of this host, as far as pins need them. Places are read first, and the rest only for the
 * few devices that matter: udev runs this program for each device during boot. */

#include "core/pin.h"

typedef struct PinDevices {
    PinDevice *items; /* owned */
    size_t n;
} PinDevices;

void pin_devices_done(PinDevices *d);
/* Reads names and places only. 0 or negative errno. */
int pin_devices_scan(PinDevices *ret);
PinDevice *pin_devices_find_name(const PinDevices *d, const DeviceName *name);
PinDevice *pin_devices_find_path(const PinDevices *d, const char *path);

/* Opens the device's directory in sysfs; the fd keeps referring to this device, also when its name is reused.
 * Returns the fd or negative errno. */
int pin_device_open(const PinDevice *d);
/* Reads the rest: ids, driver and override. The serial number only if with_serial, because reading it can
 * sleep in the kernel. 0; -ENODEV: the device has disappeared; or another negative errno. */
int pin_device_read(int dir, PinDevice *d, bool with_serial);
/* pin_device_open() and pin_device_read() for callers that do not need the directory. */
int pin_device_look(PinDevice *d, bool with_serial);
/* Is this device, which was read before, a bridge? Other devices need a bridge's driver. */
bool pin_device_is_bridge(const PinDevice *d);
