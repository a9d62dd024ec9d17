/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim can require something of its devices. A worker looks for what is still unknown then: after the
 * bind, before anything is handed out. A look resets the device twice, so it is taken only for what is
 * required. */

#include "daemon/broker/claims.h"

/* 1: everything is as it is required. 0: a worker looks, and go_on is called afterwards, which asks again; or
 * CLAIM_EVENT_WORKER_STUCK or OPEN_FAILED is fed. Or refused, with the claim's refusal filled. */
int claim_caps_check(ClaimRun *j, void (*go_on)(ClaimRun *j));
