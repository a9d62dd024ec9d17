/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The time of a claim: until when it can be held, and what is left of it while it is being evicted: see
 * core/eviction.h for what can happen to it. It is in the record, so that a crash neither forgets nor
 * prolongs it. CLOCK_BOOTTIME counts: nobody sets it, and it goes on while the host sleeps. Private to the
 * broker. */

#include "daemon/broker/claims.h"

/* It is held from now on, or devices have joined it: for so long at most, unless it is 0. To be written down.
 */
void evict_limit(Claim *c, uint32_t duration_sec);
/* Its time is as the claim says. When it is over, which may be now, the claim is overdue. 0 or negative
 * errno. */
int evict_watch(ClaimRun *j);
/* A request of a higher priority waits for its devices, or not any more. */
void evict_for_waiter(ClaimRun *j, bool wanted);
/* The claim ends, and with it what it was evicted for. */
void evict_end(ClaimRun *j);
