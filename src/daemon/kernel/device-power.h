/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices that were, or may be, without power. For workers only: to wake a device sleeps. */

#include "daemon/kernel/driver.h"

/* Wakes a device that is without power, and checks that it answers. 0; -EIO when it does not. */
int device_power_wake(const DriverItem *item, DriverTrace *t);
/* The host has slept: is a device that is in use still there, and itself? Looks for a second before it says
 * no. What its user has put to sleep is left asleep: to wake it would wake their guest. 0; -EIO with
 * t->failure; -ENODEV, -ESTALE as driver_open_device(); or another errno: it could not be looked at. */
int device_power_check_resumed(const DriverItem *item, DriverTrace *t);
