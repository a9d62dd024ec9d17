/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The writes to sysfs that a claim takes: driver_override, unbind, bind, reset. Only worker processes
 * call this, since each write may sleep for ever in a state that SIGKILL does not end (kernel-facts.md
 * section 6).
 *
 * A function opens the device's directory once, checks through it that this is still the device that was
 * meant, and writes relative to it: an address may have been taken over by another device meanwhile. */

#include "core/device-health.h"
#include "core/device-name.h"
#include "core/plan.h"
#include "core/progress.h"

/* What to do with one device; fixed size, so that it can travel to a worker as it is. Strings come from sysfs
 * via the plan or from a record: hostile. */
typedef struct DriverItem {
    DeviceName name;
    uint64_t identity; /* to check; 0: unknown (an old record), then these: */
    uint16_t vendor, device;
    char target_driver[64];
    char original_driver[64];
    char original_override[64];
    bool came;               /* PlanMember.came */
    MadeDevice made;         /* see mdev.h */
    long enable_baseline;    /* of `enable`, see plan.h; -1: does not matter */
    MemberProgress progress; /* what may have been done to it before */
} DriverItem;

typedef struct DriverTrace DriverTrace;

/* Where a function failed, for the message. */
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

/* What is being done to an item. note() is called before every write that changes something, so whoever it
 * tells never knows of less than was done. */
struct DriverTrace {
    DriverStep step;
    MemberProgress progress;
    MemberFailure failure;      /* what is wrong with the device itself... */
    char seen[HEALTH_SEEN_MAX]; /* ...in words; "": the error says it */
    void (*note)(const DriverTrace *t);
};

/* Opens the device's directory and checks that the device in it is the one that was planned for. -ENODEV:
 * gone; -ESTALE: another one sits at this address now. */
int driver_open_device(const DriverItem *item, int *ret_dir);
/* Moves the device to target_driver, or sets the override alone (OVERRIDE_PARKED). 0; or a negative errno
 * with the step where it failed in *t; nothing is undone here. With t->failure the device itself does not
 * work. -ESTALE before anything was touched: it is not what was planned for any more, another device or on
 * another driver. */
int driver_bind(const DriverItem *item, DriverTrace *t);
/* Takes back what item.progress says may have been done, and that alone: what somebody else has made of the
 * device meanwhile, its driver or its driver_override, stays. May be called again. 0 also when the device is
 * gone. */
int driver_restore(const DriverItem *item, DriverTrace *t);
/* Takes the device from target_driver and gives it back, under an override that names it: the kernel ends the
 * unbind when the last file of the device is closed, in whatever process or socket that is. So 0 means that
 * nobody has it open, also when it is gone or on another driver; and a failure at DRIVER_STEP_VERIFY, that
 * nobody has, but its driver did not take it back. Sleeps for as long as somebody has it open. */
int driver_recycle(const DriverItem *item, DriverTrace *t);
/* Resets the device through sysfs when it is on its target driver (never under another driver) and nobody has
 * it open, and checks that it is back afterwards. 0 also when it is gone or elsewhere; -EBUSY when it is
 * open, -EIO when it did not come back as it was. */
int driver_reset(const DriverItem *item, DriverTrace *t);
