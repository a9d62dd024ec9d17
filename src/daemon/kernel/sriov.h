/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The number of virtual functions of a PCI device. Only worker processes call this: a read of sriov_numvfs
 * takes the lock of the device, and a write waits for whoever has one of its functions open, for ever if need
 * be. The kernel goes from one number to another only through 0, and 0 takes the functions away from whoever
 * has them, users of VFIO too. So nothing is written while the host or somebody else uses one. */

#include "daemon/kernel/driver.h"

#define SRIOV_TEXT_MAX 200U

typedef enum SriovAutoprobe {
    SRIOV_AUTOPROBE_KEEP, /* sriov_drivers_autoprobe stays as it is */
    SRIOV_AUTOPROBE_OFF,  /* the functions get no driver when they are made, nor later by themselves */
    SRIOV_AUTOPROBE_ON,
} SriovAutoprobe;

typedef enum SriovStep {
    SRIOV_STEP_LOOK,
    SRIOV_STEP_USES, /* is one of them used? */
    SRIOV_STEP_AUTOPROBE,
    SRIOV_STEP_REMOVE,
    SRIOV_STEP_CREATE,
    SRIOV_STEP_VERIFY,
} SriovStep;

typedef struct SriovOrder {
    bool read_only;   /* only look */
    bool only_create; /* where it has none, and otherwise do nothing */
    uint32_t count;
    SriovAutoprobe autoprobe;
} SriovOrder;

/* How far it got, also when it failed. */
typedef struct SriovReport {
    SriovStep step;
    uint32_t total, before, now; /* total: that the device can have */
    DeviceName function;         /* -EBUSY at SRIOV_STEP_USES: the one that is used, and how */
    char use[SRIOV_TEXT_MAX];
} SriovReport;

/* 0, or a negative errno. At SRIOV_STEP_LOOK: -ENODEV, -ESTALE: gone, or another device; -EOPNOTSUPP: it has
 * no SR-IOV; -ERANGE: count is above the total; -EEXIST: only_create, and it has
 * some. At SRIOV_STEP_CREATE: -ENOENT: its driver makes none. */
int sriov_set_count(const DriverItem *item, const SriovOrder *order, SriovReport *ret);
