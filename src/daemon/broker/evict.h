/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The time of a claim that is being evicted: see core/eviction.h for what can happen to it. It is in the
 * record, so that a crash neither forgets nor prolongs it. Private to the broker. */

#include "daemon/broker/claims.h"

/* When its time is over, which may be now, the claim is overdue. 0 or negative errno. */
int evict_watch(ClaimRun *j);
/* The claim ends, and with it what it was evicted for. */
void evict_end(ClaimRun *j);
