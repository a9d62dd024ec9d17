/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The number of virtual functions of a PCI device. Only workers call this: reading sriov_numvfs takes the
 * device's lock, and a write waits, possibly forever, until nobody has one of its functions open. The kernel
 * goes from one number to another only through 0, which takes the functions from all users, also those of
 * VFIO. So nothing is written while anybody uses one. */

#include "daemon/kernel/driver.h"

#define SRIOV_TEXT_MAX 200U

typedef enum SriovAutoprobe {
    SRIOV_AUTOPROBE_KEEP, /* sriov_drivers_autoprobe stays as it is */
    SRIOV_AUTOPROBE_OFF,  /* new functions get no driver, neither now nor later by themselves */
    SRIOV_AUTOPROBE_ON,
} SriovAutoprobe;

typedef enum SriovStep {
    SRIOV_STEP_LOOK,
    SRIOV_STEP_USES, /* check whether one of them is used */
    SRIOV_STEP_AUTOPROBE,
    SRIOV_STEP_REMOVE,
    SRIOV_STEP_CREATE,
    SRIOV_STEP_VERIFY,
} SriovStep;

typedef struct SriovOrder {
    bool read_only;   /* change nothing */
    bool only_create; /* do nothing if it has some already */
    uint32_t count;
    SriovAutoprobe autoprobe;
} SriovOrder;

/* The progress, also after a failure. */
typedef struct SriovReport {
    SriovStep step;
    uint32_t total, before, now; /* total: the maximum of the device */
    DeviceName function;         /* -EBUSY at SRIOV_STEP_USES: the function in use, and how */
    char use[SRIOV_TEXT_MAX];
} SriovReport;

/* 0, or a negative errno. At SRIOV_STEP_LOOK: -ENODEV, -ESTALE: gone, or another device; -EOPNOTSUPP: no
 * SR-IOV; -ERANGE: count is above the total; -EEXIST: only_create, and it has some. At SRIOV_STEP_CREATE:
 * -ENOENT: its driver made none. */
int sriov_set_count(const DriverItem *item, const SriovOrder *order, SriovReport *ret);
