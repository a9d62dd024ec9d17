/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The PCI devices of this host, as far as pins look at them. Places are read first, and the rest of the few
 * devices that matter: udev runs this for each device while the host boots. */

#include "core/pin.h"

typedef struct PinDevices {
    PinDevice *items; /* owned */
    size_t n;
} PinDevices;

void pin_devices_done(PinDevices *d);
/* Names and places alone. 0 or negative errno. */
int pin_devices_scan(PinDevices *ret);
PinDevice *pin_devices_find_name(const PinDevices *d, const DeviceName *name);
PinDevice *pin_devices_find_path(const PinDevices *d, const char *path);

/* Its directory in sysfs, which stays that of this very device. A fd, or negative errno. */
int pin_device_open(const PinDevice *d);
/* Reads what is missing: ids, driver and override; the serial number only with_serial, since that may sleep
 * in the kernel. -ENODEV: it went meanwhile. */
int pin_device_read(int dir, PinDevice *d, bool with_serial);
/* The same for who needs no more. */
int pin_device_look(PinDevice *d, bool with_serial);
/* Of a device that was read: do others need its driver? */
bool pin_device_is_bridge(const PinDevice *d);
