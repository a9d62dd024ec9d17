/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Every write to sysfs that vfiod ever makes: driver_override, unbind, bind, reset. Only worker processes
 * call this, since each write may sleep for ever in a state that SIGKILL does not end (kernel-facts.md
 * section 6).
 *
 * A function opens the device's directory once, checks through it that this is still the device that was
 * meant, and writes relative to it: an address may have been taken over by another device meanwhile. */

#include "core/device-name.h"

/* What to do with one device; fixed size, so that it can travel to a worker as it is. Strings come from sysfs
 * via the plan or from a record: hostile. */
typedef struct DriverItem {
    DeviceName name;
    uint16_t vendor, device; /* identity to check; both 0: not known (an old record) */
    char target_driver[64];
    char original_driver[64];
    char original_override[64];
} DriverItem;

/* Where a function failed, for the message. */
typedef enum DriverStep {
    DRIVER_STEP_IDENTIFY,
    DRIVER_STEP_OVERRIDE,
    DRIVER_STEP_UNBIND,
    DRIVER_STEP_BIND,
    DRIVER_STEP_VERIFY,
    DRIVER_STEP_RESET,
    DRIVER_STEP_OPEN,
    _DRIVER_STEP_MAX,
    _DRIVER_STEP_INVALID = -EINVAL,
} DriverStep;
DECLARE_STRING_TABLE(driver_step, DriverStep);

/* Moves the device to target_driver. 0; a negative errno with *ret_step set; nothing is undone here. */
int driver_bind(const DriverItem *item, DriverStep *ret_step);
/* Brings the device back to original_driver and original_override, from whatever state an interrupted
 * driver_bind left it in; may be called again. 0 also when the device is gone. */
int driver_restore(const DriverItem *item, DriverStep *ret_step);
/* Resets the device through sysfs when it is on its target driver (never under another driver), and checks
 * that it answers afterwards. 0 also when it is gone or elsewhere; -EIO when it does not answer. */
int driver_reset(const DriverItem *item, DriverStep *ret_step);
