/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Applies pins in two steps, because a driver may have to be loaded between them. Neither step takes a device
 * from a driver or changes an override that something else has set: vfiod and others set the override before
 * they use a device. */

#include "pins/pin-devices.h"
#include "pins/pin-files.h"

/* Sets driver_override for every pinned device that has neither driver nor override. All devices, whichever
 * one udev calls for: the driver that udev loads for one would bind others of its kind too. Failures show in
 * pin_look() of that device. */
void pins_set_overrides(const PinFiles *files, PinDevices *devices);
/* Removes the override that a pin with this driver has set, unless another driver has the device. True if it
 * was removed. */
bool pin_clear_override(const char *driver, PinDevice *device);
/* Binds the device to the driver of its pin, if its override names that driver and it has none. 0; -ENODEV:
 * the driver is not loaded; or another negative errno of the kernel. */
int pin_bind(const Pin *pin, PinDevice *device);

/* The current state of a pin. *ret_at_place and *ret_elsewhere (borrowed from devices): see pin_judge(). */
PinState pin_look(const Pin *pin, PinDevices *devices, PinDevice **ret_at_place, PinDevice **ret_elsewhere);
