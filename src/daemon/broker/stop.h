/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim has ended, and somebody keeps its devices open: if its rule says so, they are stopped, see
 * core/eviction.h. A worker finds and signals them (daemon/kernel/holders.h); each of them is in the journal,
 * and so is who is spared. Those that have the files open are the only ones that count: not a unit, of which
 * others may be innocent, nor a number that was written down when the claim was made. Private to the broker.
 */

#include "daemon/broker/claims.h"

/* The claim is draining from now on. */
void stop_begin_drain(ClaimRun *j);
/* It is not any more. */
void stop_end(ClaimRun *j);
