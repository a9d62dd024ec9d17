/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What workers do for a claim: bind its devices, reset them, restore them, one after the other. How far each
 * is stands in its progress, in the claim and in its record, before anything is done to it; so whatever
 * fails, and whenever this process dies, what was begun is undone and nothing else.
 *
 * A device that cannot be put right is MEMBER_BAD with its reason, and the others go on. */

#include "daemon/broker/claims.h"

/* Feed CLAIM_EVENT_BOUND or BIND_FAILED, RESET_DONE or RESET_FAILED, RESTORED or RESTORE_FAILED; at once when
 * there is nothing to do. FAILED after a reset or a restore means that a member is MEMBER_BAD. */
void claim_work_bind(ClaimRun *j);
void claim_work_reset(ClaimRun *j);
void claim_work_restore(ClaimRun *j);

/* An open did not come back: nobody knows of which device, so all are MEMBER_BAD. Feeds
 * CLAIM_EVENT_WORKER_STUCK. */
void claim_work_stuck(ClaimRun *j);
/* Before anybody got it, a worker has found that the device itself does not work: it is MEMBER_BAD. */
void claim_work_note_dead(ClaimRun *j, PlanMember *m, const WorkerResult *result);
/* An operator lifts the quarantine, or the devices were pulled out: what is bad is restored as far as it can
 * be. */
void claim_work_lift(ClaimRun *j);

/* For the backends, whose opens may sleep. */
void claim_work_fill_item(DriverItem *item, const PlanMember *m);
int claim_work_submit(ClaimRun *j, const WorkerOrder *order, worker_done_t done, worker_step_t step);
