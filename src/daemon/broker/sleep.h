/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices lose their state when the host sleeps, and the kernel keeps nothing of what a holder has set up. So
 * each holder is informed before the host sleeps and when it has woken up. The rule of the claim sets how
 * long the host waits for its holder. Nothing of this is recorded: a restarted daemon holds no lock that
 * delays the host. Private to the broker. */

#include "daemon/broker/claims.h"

int sleep_watch(Broker *e);
/* The claim ends: the host no longer waits for its holder. */
void sleep_end(ClaimRun *j);
