/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One claim on its way. claim_run_feed() is the only place where a claim's state changes: it asks
 * core/machine.h, sets the state, announces it, and runs the effects, each of which ends in further events.
 * Private to the broker. */

#include "daemon/broker/claims.h"

/* Feeds one event and everything that follows from it. j may be gone afterwards. */
void claim_run_feed(ClaimRun *j, ClaimEvent event);

/* For the parts that run effects: the effect ended at once. */
void claim_run_push(ClaimRun *j, ClaimEvent event);
/* Writes the record if it is not written yet. 0 or negative errno. */
int claim_run_flush(ClaimRun *j);
void claim_run_announce(ClaimRun *j, ClaimChange change);
/* Whoever waits for the claim gets its answer. False: nobody does, or it could not be delivered. */
bool claim_run_answer(ClaimRun *j, const Grant *grant, const Refusal *refusal);

/* Does this claim need the kernel to let devices be opened without an IOMMU? One in quarantine does not:
 * nobody has its device, and nobody gets it. */
bool claim_run_needs_noiommu(const ClaimRun *j);

ClaimQuestion *claim_question_free(ClaimQuestion *q);
DEFINE_TRIVIAL_CLEANUP_FUNC(ClaimQuestion *, claim_question_free);
/* Has a person asked, whose answer is an event. 0, or a negative errno with the claim's refusal filled. */
int claim_run_ask(ClaimRun *j);
