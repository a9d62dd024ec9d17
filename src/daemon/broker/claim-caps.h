/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a claim requires of its devices and what is not known of them yet is looked at by a worker, when they
 * are on their vfio drivers and before anything is handed out. To look costs two resets of the device, so a
 * claim that requires nothing, or only what is known, pays nothing. */

#include "daemon/broker/claims.h"

/* 1: everything is as it is required. 0: a worker looks, and go_on is called afterwards, which asks again; or
 * CLAIM_EVENT_WORKER_STUCK or OPEN_FAILED is fed. Or refused, with the claim's refusal filled. */
int claim_caps_check(ClaimRun *j, void (*go_on)(ClaimRun *j));
