/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Stops processes that keep devices of an ended claim open, if its rule says so; see core/eviction.h. A
 * worker finds and signals them (daemon/kernel/holders.h). Each of them is in the journal, also those that
 * are spared. Only open files count: neither a unit, which may have other processes, nor a pid that was
 * recorded when the claim was made. */

#include "daemon/broker/claims.h"

/* The claim is draining from now on. */
void stop_begin_drain(ClaimRun *j);
/* It is not draining any more. */
void stop_end(ClaimRun *j);
