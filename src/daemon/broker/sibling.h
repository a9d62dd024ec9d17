/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices that appear in a group while it is claimed, and drivers that bind to a sibling during a claim.
 *
 * While the client has a device of the group attached, the kernel lets no driver bind to a sibling. Before
 * and after that, a driver may bind, and then the kernel refuses the client. So such a device gets an
 * override that no driver matches, until the claim ends. vfiod learns of a device after udev's rules have
 * run, which is early enough for a driver that udev would load (udev's program vfiod-pin sets the override
 * before, see src/pins). A driver that is already loaded binds within the kernel, before any program hears of
 * the device. That is logged, and is a warning of the claim. */

#include "daemon/broker/claims.h"

/* The device appeared, changed its driver, or moved to another group, as in changes (a mask of
 * DeviceChange). */
void sibling_note(Broker *e, Device *device, int changes);
/* For all devices of the claim's groups: it is held from now on, also after a restart. */
void sibling_note_all(ClaimRun *j);
/* The claim has ended: removes overrides that udev's program has set for it and that are not recorded. */
void sibling_forget(ClaimRun *j);
/* For a run that ended before that: searches for such overrides when the loop is idle. 0 or negative
 * errno. */
int sibling_recover(Broker *e);
/* Does a driver of the host prevent the claim's group from being attached? */
bool sibling_blocks(const Plan *plan, const Device *device);
/* Is a worker removing a leftover override from this device? It would also remove the override of a new
 * claim. claim_work_wake() reports the end. */
bool sibling_is_busy(const Broker *e, const DeviceName *name);
void sibling_free_jobs(Broker *e);
