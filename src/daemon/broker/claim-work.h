/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What workers do for a claim: they bind, reset and restore its devices, one after the other. The progress of
 * each device is in the claim and in its record before anything is done to the device. So whatever fails, and
 * whenever this process dies, exactly what was begun is undone.
 *
 * A device that cannot be restored becomes MEMBER_BAD with its reason, and the others go on. */

#include "daemon/broker/claims.h"

/* Feed CLAIM_EVENT_BOUND or BIND_FAILED, RESET_DONE or RESET_FAILED, RESTORED or RESTORE_FAILED, at once if
 * there is nothing to do. FAILED after a reset or a restore means that a member is MEMBER_BAD. */
void claim_work_bind(ClaimRun *j);
void claim_work_reset(ClaimRun *j);
void claim_work_restore(ClaimRun *j);
/* sibling_is_busy() has changed. */
void claim_work_wake(ClaimRun *j);

/* An open did not come back. Nobody knows which device it was, so all become MEMBER_BAD. Feeds
 * CLAIM_EVENT_WORKER_STUCK. */
void claim_work_stuck(ClaimRun *j);
/* A worker has found that the device itself does not work, before a client got it. It becomes MEMBER_BAD. */
void claim_work_note_dead(ClaimRun *j, PlanMember *m, const WorkerResult *result);
/* The operator ended the quarantine, or the devices were pulled out. Bad devices are restored as far as
 * possible. */
void claim_work_lift(ClaimRun *j);

/* For the backends, whose opens may sleep. */
void claim_work_fill_item(DriverItem *item, const PlanMember *m);
int claim_work_submit(ClaimRun *j, const WorkerOrder *order, worker_done_t done, worker_step_t step);
