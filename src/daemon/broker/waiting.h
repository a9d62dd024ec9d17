/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Claims that wait for devices which others have ("wait" of Acquire). Who is next decides core/queue.h; this
 * file tells it what each request must have, and acts: whose turn it is and whose devices are free is planned
 * for anew, as if it came now, so a policy that was reloaded meanwhile decides. Nothing else may be
 * planned for devices that somebody waits for (waiting_check()): who does not wait does not overtake.
 *
 * A claim that waits holds nothing, and is in no record: the next daemon does not know it, and its caller has
 * to ask again. A person who has to be asked is asked when the turn has come. The claim is out of the queue
 * meanwhile, so that it keeps nobody waiting, and gets its place back if it is too late then; the yes
 * counts until its wait is over. */

#include "daemon/broker/claim-question.h"

/* Of one user other than root, and of all of them. Each is a claim and a call under way as well. */
#define WAITING_PER_USER 32U
#define WAITING_MAX 256U

/* The request of j was refused, with its claim's refusal. True: because others have its devices, and it waits
 * for them, now or still. False: it stays refused, with the claim's refusal. */
bool waiting_begin(ClaimRun *j);
/* Called before the state of j changes. */
void waiting_note_state(ClaimRun *j, ClaimState next);
Waiting *waiting_free(Waiting *w);
/* Devices may be free now: the loop looks who is next. */
void waiting_wake(Broker *e);
/* Who has what the next one wants may have changed: the loop looks who has to give way. */
void waiting_review(Broker *e);
/* For who waits: the claim that has, or locks, a device that it waits for. NULL: none has. */
const Claim *waiting_find_holder(Inventory *inventory, const DeviceName *name);
/* The policy is another one: whom it denies must not keep its place. */
void waiting_judge_all(Broker *e);
/* Others wait for what is planned for, and were there before. refusal: of the plan so far, if it is refused,
 * to which their number is added. 0, or refused. */
int waiting_check(Broker *e, const BrokerInquiry *q, const Request *request, const Claim *whole, int r,
        Refusal *refusal);
