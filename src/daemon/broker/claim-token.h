/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Virtual functions whose physical function is on a vfio driver: the kernel opens them only for a program
 * that knows the token of the physical one. vfiod makes it, and whoever has a claim of one of its functions
 * gets it. There is one for all of them, so it is made with the first claim and kept until the last has
 * ended; the next first claim gets a new one. To set it opens and resets the physical function, so nothing is
 * set, and the claim has no token, while anybody else uses that or one of its functions. */

#include "daemon/broker/claims.h"

/* 1: every device has its token, or none can be set. 0: a worker sets one, and go_on is called afterwards,
 * which asks again; or CLAIM_EVENT_WORKER_STUCK is fed. Or refused, with the claim's refusal filled.
 */
int claim_token_check(ClaimRun *j, void (*go_on)(ClaimRun *j));
