/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What workers do for a claim: bind its devices, reset them, restore them. Each ends in an event. */

#include "daemon/broker/claims.h"

/* Feed CLAIM_EVENT_BOUND or BIND_FAILED, RESET_DONE or RESET_FAILED, RESTORED or RESTORE_FAILED, or
 * WORKER_STUCK; at once when there is nothing to do. */
void claim_work_bind(ClaimRun *j);
void claim_work_reset(ClaimRun *j);
void claim_work_restore(ClaimRun *j);

/* For the backends, whose opens may sleep. */
void claim_work_fill_item(DriverItem *item, const PlanMember *m);
int claim_work_submit(ClaimRun *j, WorkerOrder *order, worker_done_t done);
/* The first thing that the callback of an order calls. Did it succeed? A deadline that passed is refused
 * here.
 */
bool claim_work_finish(ClaimRun *j, const WorkerResult *result, WorkerOperation operation);
