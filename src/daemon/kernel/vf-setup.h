/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a network card keeps for one of its virtual functions, read and set through the interface of the
 * physical function (rtnetlink). Only worker processes call this: the kernel holds its one lock of the
 * network meanwhile, and drivers talk to their firmware. Only a worker has CAP_NET_ADMIN, and only around the
 * calls that need it.
 *
 * A look comes first, and what it has found is on record before anything is set. So whatever happens later,
 * it is known what to put back. */

#include "core/vf-network.h"
#include "daemon/kernel/driver.h"

typedef enum VfSetupStep {
    VF_SETUP_FIND, /* the function among those of its physical function, and that one's interface */
    VF_SETUP_LOOK,
    VF_SETUP_SET,
    VF_SETUP_VERIFY,
    _VF_SETUP_STEP_MAX,
    _VF_SETUP_STEP_INVALID = -EINVAL,
} VfSetupStep;
DECLARE_STRING_TABLE(vf_setup_step, VfSetupStep); /* "find", "look", "set", "verify" */

#define VF_SETUP_INTERFACE_MAX 16U

/* How far it got, also when it failed. */
typedef struct VfSetupReport {
    VfSetupStep step;
    VfAttribute attribute; /* that it failed with; _VF_ATTRIBUTE_INVALID: none */
    char interface[VF_SETUP_INTERFACE_MAX];
    VfNetwork before; /* vf_setup_look(): of what is wanted */
} VfSetupReport;

/* All of them: 0 or a negative errno. At VF_SETUP_FIND: -ENODEV, -ESTALE: gone, or another device; -ENXIO: it
 * is no virtual function; -ENODATA: its physical function has no interface; -ENOTUNIQ: it has several. At
 * VF_SETUP_LOOK: -ENODATA: the driver does not list the function; -EOPNOTSUPP: nor the attribute; and
 * -EADDRINUSE, also below: the card itself, or another function of it, has the address. */
int vf_setup_look(const DriverItem *item, const VfNetwork *wanted, VfSetupReport *ret);
/* -EREMOTEIO at VF_SETUP_VERIFY: the kernel took
 * it, and shows something else. What was set stays for vf_setup_restore(). */
int vf_setup_set(const DriverItem *item, const VfNetwork *wanted, VfSetupReport *ret);
/* Puts back what is still as wanted: what somebody else has set meanwhile stays. 0 also when the function is
 * gone, or its physical function has no driver any more: its next one begins anew. -ENODATA, -ENODEV: the
 * interface, or the function in its driver's list, is not there now; -EAGAIN: the driver cannot now. */
int vf_setup_restore(
        const DriverItem *item, const VfNetwork *wanted, const VfNetwork *before, VfSetupReport *ret);
