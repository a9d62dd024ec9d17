/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices that join or leave a claim. On their way they are a claim of their own, a part, with its own
 * record, state and workers. So whatever happens to it, the devices that the claim keeps are not touched.
 *
 * Joining: the part is planned, bound and opened like any claim. Once it is held, its plan and the claim's
 * are joined, and the part is gone.
 *
 * Leaving: the claim's plan is divided. The part has the leaving devices, counts as held, and is released.
 *
 * Claim.of names the claim, in the part's record too. The claim's record is written in one piece, and it
 * alone decides whose a device is: after a crash a part keeps only devices that its claim does not have
 * (recover.c). A device is always in a record: when it leaves, the part's is written before the claim's; when
 * it joins, the part's is removed after it. */

#include "daemon/broker/claim-run.h"

bool claim_is_part(const ClaimRun *j);
/* Are devices joining it? */
bool claim_is_growing(const ClaimRun *j);
/* The held claim that a part belongs to. NULL with the refusal set: that has ended. */
ClaimRun *claim_part_find_whole(const ClaimRun *part, Refusal *refusal);

/* The part is held: its devices now belong to the claim. 0, or a negative errno with the part's refusal
 * set. */
int claim_part_join(ClaimRun *part);
/* The part has joined, but nobody got its files: its devices leave again. */
void claim_part_return(ClaimRun *part);

/* The named devices, which are not all of the claim's, leave. *ret is the part, which is held; NULL: the
 * claim keeps other devices of their groups, and they are only marked. 0 or negative errno. */
int claim_part_leave(ClaimRun *j, const DeviceName *names, size_t n, ClaimRun **ret);
/* A device has disappeared: it leaves with the rest of its group. Returns the part, which is held; NULL: the
 * claim has no other device, or the change cannot be recorded. */
ClaimRun *claim_part_lose(ClaimRun *j, const DeviceName *name);
