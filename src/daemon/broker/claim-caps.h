/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim can require capabilities of its devices. Those that are still unknown are probed by a worker after
 * the bind and before anything is handed out. Probing resets the device twice, so only what is required is
 * probed. */

#include "daemon/broker/claims.h"

/* 1: everything is as required. 0: a worker probes, and go_on is called afterwards, which checks again; or
 * CLAIM_EVENT_WORKER_STUCK or OPEN_FAILED is fed. Or refused, with the claim's refusal set. */
int claim_caps_check(ClaimRun *j, void (*go_on)(ClaimRun *j));
