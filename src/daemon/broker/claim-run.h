/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim in progress. claim_run_feed() is the only function that changes a claim's state: it asks
 * core/machine.h, sets the state, announces it and runs the effects, each of which ends in further events. */

#include "daemon/broker/claims.h"

/* Feeds an event and everything that follows from it. j may be freed. */
void claim_run_feed(ClaimRun *j, ClaimEvent event);

/* For effects that end at once: feeds their event. */
void claim_run_push(ClaimRun *j, ClaimEvent event);
/* Writes the record unless it is up to date. 0 or negative errno. */
int claim_run_flush(ClaimRun *j);
void claim_run_announce(ClaimRun *j, ClaimChange change);
/* Answers the caller that waits for the claim. False: nobody waits, or the answer could not be delivered. */
bool claim_run_answer(ClaimRun *j, const Grant *grant, const Refusal *refusal);

/* Does this claim need the kernel to open devices without an IOMMU? Not in quarantine, where nobody has or
 * gets its device. */
bool claim_run_needs_noiommu(const ClaimRun *j);

ClaimQuestion *claim_question_free(ClaimQuestion *q);
DEFINE_TRIVIAL_CLEANUP_FUNC(ClaimQuestion *, claim_question_free);
/* Has a person asked; the answer is an event. 0, or a negative errno with the claim's refusal set. */
int claim_run_ask(ClaimRun *j);
