/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Workers that did not return from the kernel in time. Their devices are in quarantine. When the kernel lets
 * a worker go after all, and nothing else is wrong with the devices, they are reset and restored like those
 * of any other claim, without an operator. */

#include "daemon/broker/claims.h"

void stuck_watch(Broker *e);
void stuck_unwatch(Broker *e);
/* Is a worker stuck in the kernel with a device of this claim? */
bool stuck_has_claim(const ClaimRun *j);
/* For a claim in quarantine: has its late worker returned, with nothing else wrong? False for a second time:
 * a device that is always late does not work. */
bool stuck_is_over(const ClaimRun *j);
/* Notes which worker is late with the device, for the record. */
void stuck_note(const ClaimRun *j, PlanMember *m);
/* After a restart, for a claim with bad devices: finds its late workers again. Those that are not there have
 * returned. If one is unknown, the quarantine stays until an operator ends it. */
void stuck_recover(ClaimRun *j);
