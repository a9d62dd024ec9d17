/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is it closed? A claim that has ended waits until nobody has its devices open any more: node-watch.h counts
 * opens and closes of the nodes, `enable` confirms, and /proc decides when in doubt. CLAIM_EVENT_CLOSED is
 * fed then. */

#include "daemon/broker/claims.h"

/* From before the node is opened. uncertain: opens may have been missed. 0 or negative errno. */
int drain_watch(ClaimRun *j, const char *path, bool uncertain);
/* Right after our own open of the node that was watched as the index-th. */
void drain_settle(ClaimRun *j, size_t index);
/* For recovery: the node may have been opened and closed while nobody watched. */
void drain_watch_recovered(ClaimRun *j, const char *path);
void drain_unwatch(ClaimRun *j);
/* When not, whatever may change the answer leads to another look. */
bool drain_is_closed(ClaimRun *j);
