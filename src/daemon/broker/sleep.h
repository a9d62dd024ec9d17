/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices lose their state when the host sleeps, and the kernel keeps nothing of what a holder has set up. So
 * each holder of a claim hears of it before, with the time until when the host waits for it, which its rule
 * says, and again when the host has woken up. Nothing of it is recorded: who is started anew meanwhile no
 * longer delays the host, and need not. Private to the broker. */

#include "daemon/broker/claims.h"

int sleep_watch(Broker *e);
/* The claim ends: nobody waits for its holder. */
void sleep_end(ClaimRun *j);
