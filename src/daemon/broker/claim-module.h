/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The modules of vfio drivers of the PCI bus. vfiod has no right to load a module, so systemd does that: it
 * starts modprobe@.service (unit-job.h). modprobe may take as long as it likes. So all modules are loaded
 * before anything is done to a device, within the time of one worker, and whatever ends the claim meanwhile
 * ends it at once. vfiod.service loads vfio-pci, which somebody may remove later. */

#include "daemon/broker/claims.h"

/* Calls go_on, at once when every driver is there. Or feeds CLAIM_EVENT_BIND_FAILED. */
void claim_module_load(ClaimRun *j, void (*go_on)(ClaimRun *j));
/* The claim is to end by this event. If a module is being loaded, nothing has to be waited for: feeds
 * CLAIM_EVENT_BIND_FAILED. The unit goes on. */
void claim_module_end(ClaimRun *j, ClaimEvent event);
/* Nobody can report the end of a unit any more: likewise for every claim. */
void claim_module_lose_bus(Broker *b);
