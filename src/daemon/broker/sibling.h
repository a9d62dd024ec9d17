/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices that appear in a group while it is claimed, and drivers that take a sibling of a claim.
 *
 * The kernel lets no driver take a sibling while the client has attached a device of the group. Before that,
 * and after the client has closed it, a driver gets the sibling, and then the kernel refuses the client. So
 * such a device gets an override that no driver matches, until the claim ends. vfiod hears of a device when
 * udev's rules have run, and that is early enough for a driver that udev would load (its program vfiod-pin
 * sets the override before, see src/pins). A driver that is loaded already takes the device within the
 * kernel, before any program hears of it: that is reported, and shown as a warning of the claim. */

#include "daemon/broker/claims.h"

/* It came, changed its driver, or moved to another group: changes, a mask of DeviceChange, says which. */
void sibling_note(Broker *e, Device *device, int changes);
/* All devices of the claim's groups: it is held from now on, also after a restart. */
void sibling_note_all(ClaimRun *j);
/* The claim has ended: what udev's program has set for it, and the claim has not on record, goes. */
void sibling_forget(ClaimRun *j);
/* The last run may have ended before it got to that: looks for it when the loop has nothing else to do. */
int sibling_recover(Broker *e);
/* Does a driver of the host keep the group of a claim from being attached? */
bool sibling_blocks(const Plan *plan, const Device *device);
void sibling_free_jobs(Broker *e);
