/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The writes to sysfs for a claim: driver_override, unbind, bind, reset. Only workers call this, because each
 * write can sleep forever in a state that SIGKILL does not end (kernel-facts.md section 6).
 *
 * Each function opens the device's directory once, checks that it is still the planned device, and writes
 * relative to it: another device may have taken over the address. */

#include "core/device-health.h"
#include "core/device-name.h"
#include "core/plan.h"
#include "core/progress.h"

/* What to do with one device. Its size is fixed, so that it can be sent to a worker. Strings come from sysfs
 * or from a record and are hostile. */
typedef struct DriverItem {
    DeviceName name;
    uint64_t identity; /* checked; 0: unknown (an old record), then these are checked: */
    uint16_t vendor, device;
    char target_driver[64];
    char original_driver[64];
    char original_override[64];
    bool came;               /* PlanMember.came */
    MadeDevice made;         /* see mdev.h */
    bool keep_power;         /* driver_bind() sets `d3cold_allowed` to 0 between two drivers */
    long enable_baseline;    /* of `enable`, see plan.h; -1: not checked */
    MemberProgress progress; /* what may have been done to it before */
} DriverItem;

typedef struct DriverTrace DriverTrace;

/* The step in which a function failed, for the message. */
typedef enum DriverStep {
    DRIVER_STEP_IDENTIFY,
    DRIVER_STEP_OVERRIDE,
    DRIVER_STEP_UNBIND,
    DRIVER_STEP_BIND,
    DRIVER_STEP_VERIFY,
    DRIVER_STEP_RESET,
    DRIVER_STEP_OPEN,
    DRIVER_STEP_CREATE,
    DRIVER_STEP_REMOVE,
    DRIVER_STEP_POWER,
    _DRIVER_STEP_MAX,
    _DRIVER_STEP_INVALID = -EINVAL,
} DriverStep;
DECLARE_STRING_TABLE(driver_step, DriverStep);

/* The progress of an item. note() is called before every write that changes something, so that whoever is
 * told never knows less than what was done. */
struct DriverTrace {
    DriverStep step;
    MemberProgress progress;
    MemberFailure failure;      /* the device's own failure... */
    char seen[HEALTH_SEEN_MAX]; /* ...in words; "": the error is enough */
    void (*note)(const DriverTrace *t);
};

/* Opens the device's directory and checks that it is the planned device. *ret_dir is owned by the caller. 0;
 * -ENODEV: gone; -ESTALE: another device is at this address; or another negative errno. */
int driver_open_device(const DriverItem *item, int *ret_dir);
/* Writes `d3cold_allowed` of the device in dir, unless it has the value already. 0 or negative errno. */
int driver_set_d3cold(int dir, const char *value, DriverTrace *t);
/* Binds the device to target_driver, or only sets the override (OVERRIDE_PARKED). 0; or a negative errno with
 * the failed step in *t. Nothing is undone here. With t->failure set, the device itself does not work.
 * -ESTALE before anything was touched: another device, or another driver than planned. */
int driver_bind(const DriverItem *item, DriverTrace *t);
/* Undoes what item.progress says may have been done, and nothing else: a driver or driver_override that
 * somebody else has set meanwhile stays. Can be called again. 0 also when the device is gone. */
int driver_restore(const DriverItem *item, DriverTrace *t);
/* Unbinds the device from target_driver and binds it again, under an override that names it. The kernel
 * finishes the unbind when the last file of the device is closed, in whatever process or socket it is. So
 * 0 means that nobody has it open; also when it is gone or on another driver. A failure at
 * DRIVER_STEP_VERIFY means that nobody has it open, but the driver did not bind again. Sleeps as long as
 * somebody has it open. */
int driver_recycle(const DriverItem *item, DriverTrace *t);
/* Resets the device through sysfs when it is on its target driver (never on another) and not open, and checks
 * that it works afterwards. 0 also when it is gone or on another driver; -EBUSY when it is open; -EIO when it
 * did not come back as it was. */
int driver_reset(const DriverItem *item, DriverTrace *t);
