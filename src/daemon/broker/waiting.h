/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Claims that wait for devices of others ("wait" of Acquire). core/queue.h decides the order. This file tells
 * it what each request needs, and acts: when it is a request's turn and its devices are free, it is planned
 * like a new request, so a policy that was reloaded meanwhile decides. Nothing else may be planned for
 * devices that somebody waits for (waiting_check()), so that requests without "wait" do not overtake.
 *
 * A waiting claim holds nothing and is not recorded: after a restart its caller has to ask again. If a person
 * must be asked, that happens at its turn. Meanwhile the claim is not in the queue, so that it delays nobody,
 * and it gets its old place if its devices are taken then. The permission counts until its waiting time is
 * over. */

#include "daemon/broker/claim-question.h"

/* For one user other than root, and for all. Each one is also a claim and a call in progress. */
#define WAITING_PER_USER 32U
#define WAITING_MAX 256U

/* The request of j was refused; the refusal is in its claim. True: others have its devices, and it waits.
 * False: it is refused, with the claim's refusal. */
bool waiting_begin(ClaimRun *j);
/* Called before the state of j changes. */
void waiting_note_state(ClaimRun *j, ClaimState next);
Waiting *waiting_free(Waiting *w);
/* Devices may have become free: checks soon whose turn it is. */
void waiting_wake(Broker *e);
/* Holders of what the next request needs may have changed: checks soon who has to give way. */
void waiting_review(Broker *e);
/* The claim that has or locks a device that somebody waits for. NULL: none. */
const Claim *waiting_find_holder(Inventory *inventory, const DeviceName *name);
/* The policy was replaced: those that it denies lose their place. */
void waiting_judge_all(Broker *e);
/* Do others wait for these devices, and were they there before? refusal: of the plan so far, if it is
 * refused, to which their number is added. 0, or refused. */
int waiting_check(Broker *e, const BrokerInquiry *q, const Request *request, const Claim *whole, int r,
        Refusal *refusal);
