/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The time limits of a claim: how long it can be held, and how much time is left while it is evicted; see
 * core/eviction.h. They are recorded, so that a crash neither forgets nor extends them. CLOCK_BOOTTIME
 * counts, because it cannot be set and continues while the host sleeps. */

#include "daemon/broker/claims.h"

/* The claim is held from now on, or devices have joined it: at most this long; 0: no limit. To be
 * recorded. */
void evict_limit(Claim *c, uint32_t duration_sec);
/* Starts the timers for the claim's times. If one is over, which may be now, the claim is overdue. 0 or
 * negative errno. */
int evict_watch(ClaimRun *j);
/* A request of a higher priority waits for its devices, or not any more. */
void evict_for_waiter(ClaimRun *j, bool wanted);
/* The claim ends, and with it the eviction; see eviction_end(). */
void evict_end(ClaimRun *j);
