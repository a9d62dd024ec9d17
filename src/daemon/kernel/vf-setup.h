/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The settings that a network card keeps for one of its virtual functions, read and set through the interface
 * of the physical function (rtnetlink). Only workers call this: the kernel holds its one network lock
 * meanwhile, and drivers talk to their firmware. Only workers have CAP_NET_ADMIN, and only around the calls
 * that need it.
 *
 * The settings are read and recorded before anything is set, so that it is always known what to restore. */

#include "core/vf-network.h"
#include "daemon/kernel/driver.h"

typedef enum VfSetupStep {
    VF_SETUP_FIND, /* find the function's index and the interface of its physical function */
    VF_SETUP_LOOK,
    VF_SETUP_SET,
    VF_SETUP_VERIFY,
    _VF_SETUP_STEP_MAX,
    _VF_SETUP_STEP_INVALID = -EINVAL,
} VfSetupStep;
DECLARE_STRING_TABLE(vf_setup_step, VfSetupStep); /* "find", "look", "set", "verify" */

#define VF_SETUP_INTERFACE_MAX 16U

/* The progress, also after a failure. */
typedef struct VfSetupReport {
    VfSetupStep step;
    VfAttribute attribute; /* the attribute that failed; _VF_ATTRIBUTE_INVALID: none */
    char interface[VF_SETUP_INTERFACE_MAX];
    VfNetwork before; /* vf_setup_look(): the old values of those that are wanted */
} VfSetupReport;

/* All of them return 0 or a negative errno. At VF_SETUP_FIND: -ENODEV, -ESTALE: gone, or another device;
 * -ENXIO: not a virtual function; -ENODATA: its physical function has no interface; -ENOTUNIQ: it has
 * several. At VF_SETUP_LOOK: -ENODATA: the driver does not list the function; -EOPNOTSUPP: the driver does
 * not list the attribute. -EADDRINUSE, also below: the card itself, or another function of it, has the
 * address. */
int vf_setup_look(const DriverItem *item, const VfNetwork *wanted, VfSetupReport *ret);
/* -EREMOTEIO at VF_SETUP_VERIFY: the kernel accepted a value, but shows another. Values that were set stay
 * until vf_setup_restore(). */
int vf_setup_set(const DriverItem *item, const VfNetwork *wanted, VfSetupReport *ret);
/* Restores values that are still as wanted; what somebody else has set meanwhile stays. 0 also when the
 * function is gone, or its physical function has no driver: the next one starts anew. -ENODATA, -ENODEV: the
 * interface, or the function in its driver's list, is missing now; -EAGAIN: the driver cannot do it now. */
int vf_setup_restore(
        const DriverItem *item, const VfNetwork *wanted, const VfNetwork *before, VfSetupReport *ret);
