/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Makes pins true, in two steps, since a driver may have to be loaded between them. Neither takes a device
 * away from a driver, nor changes an override that somebody else has set: whoever is about to do something
 * with the device, vfiod among them, sets that first. */

#include "pins/pin-devices.h"
#include "pins/pin-files.h"

/* Sets driver_override of every pinned device that has neither driver nor override. All of them, whichever
 * device udev asks for: the driver that it loads for that one would take others of its kind, too. Failures
 * are those of single devices, and are found by whoever looks at that device. */
void pins_set_overrides(const PinFiles *files, PinDevices *devices);
/* Takes back the override that a pin with this driver has set, unless another driver has the device. True: it
 * was taken back. */
bool pin_clear_override(const char *driver, PinDevice *device);
/* Binds the device to the driver of its pin, if its override says so and it has none. 0; -ENODEV: that driver
 * is not there; another negative errno of the kernel. */
int pin_bind(const Pin *pin, PinDevice *device);

/* The state of a pin now. *ret_at_place, *ret_elsewhere: see pin_judge(). */
PinState pin_look(const Pin *pin, PinDevices *devices, PinDevice **ret_at_place, PinDevice **ret_elsewhere);
