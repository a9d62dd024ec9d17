/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices that were, or may be, without power. For workers only: to wake a device sleeps. */

#include "daemon/kernel/driver.h"

/* Wakes a device that is without power, and checks that it answers. 0; -EIO when it does not. */
int device_power_wake(const DriverItem *item, DriverTrace *t);
/* For a device that is on its vfio driver already; of others, driver_bind() does it on the way.
 * `d3cold_allowed` becomes 0: neither the device nor the bridges above it lose their power then, whoever puts
 * it to sleep (vfio-pci does that with a device that is not open, and its user can). The write wakes it. */
int device_power_keep(const DriverItem *item, DriverTrace *t);
/* It becomes 1 again. To be called before the original driver takes the device: until Linux 6.5 the write
 * also overrules a driver that does not want D3cold, which says so when it takes the device. So nothing is
 * written where it is 1 still, since the device has not left that driver. 0 also when it is gone. */
int device_power_restore(const DriverItem *item, DriverTrace *t);
/* The host has slept: is a device that is in use still there, and itself? Looks for a second before it says
 * no. What its user has put to sleep is left asleep: to wake it would wake their guest. 0; -EIO with
 * t->failure; -ENODEV, -ESTALE as driver_open_device(); or another errno: it could not be looked at. */
int device_power_check_resumed(const DriverItem *item, DriverTrace *t);
