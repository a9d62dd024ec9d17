/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Virtual functions whose physical function is on a vfio driver: the kernel opens them only for a program
 * that passes the physical function's token. vfiod makes it and gives it to every claim of one of its
 * functions. It is made with the first claim and kept until the last has ended. Setting it opens and resets
 * the physical function. So if anybody else uses that or one of its functions, no token is set, and the claim
 * has none. */

#include "daemon/broker/claims.h"

/* 1: every device has its token, or none can be set. 0: a worker sets one, and go_on is called afterwards,
 * which checks again; or CLAIM_EVENT_WORKER_STUCK is fed. Or refused, with the claim's refusal set. */
int claim_token_check(ClaimRun *j, void (*go_on)(ClaimRun *j));
