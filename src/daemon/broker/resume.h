/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The host has slept, and not every device comes back from that. A worker looks at each device of each held
 * claim: is it present, has it its ids, does its config space answer? The holder learns the outcome from its
 * claim. A device that did not come back stays with its holder, who may be able to save something, and is
 * quarantined when the claim ends: what a reset reports of such a device is not to be relied on. Private to
 * the broker. */

#include "daemon/broker/claims.h"

/* The host has woken up, or may have. Announces nothing: the caller does. The claim waits for its turn. */
void resume_begin(ClaimRun *j);
/* Starts workers for claims that wait for their turn, as many as may run at a time. */
void resume_go_on(Broker *b);
/* The claim ends: its devices are looked at after their reset. Another one may be started then. */
void resume_end(ClaimRun *j);
