/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Workers that did not come back from the kernel in time. Their devices are in quarantine. When the kernel
 * lets a worker go after all, and nothing else is wrong with the devices of its claim, they are reset and put
 * back like those of any other claim: nobody needs to lift that quarantine. */

#include "daemon/broker/claims.h"

void stuck_watch(Broker *e);
/* Is a worker still in the kernel with a device of this claim? */
bool stuck_has_claim(const ClaimRun *j);
/* Of a claim in quarantine: a worker was late, has come back, and nothing else is wrong. Not of one from
 * before our start, whose worker nobody sees, and not a second time: a device that is always late does not
 * work. */
bool stuck_is_over(const ClaimRun *j);
