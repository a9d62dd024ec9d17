/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Devices that join a claim, and devices that leave it. On their way they are a claim of their own, a part,
 * with a record, a state and workers of its own: whatever happens to it, the devices that the claim keeps are
 * never touched.
 *
 *   joining   the part is planned, bound and opened like any claim; once it is held, its plan and the claim's
 *             become one, and the part is gone
 *   leaving   the claim's plan is divided; what leaves is a part that was held, and is released like any
 * claim
 *
 * Claim.of names the claim, in the part's record, too. The record of the claim is written in one piece, and
 * it alone decides whose a device is: after a crash a part keeps only what its claim does not have
 * (recover.c). A device is always in a record: that of the part is written before the claim's when it leaves,
 * and removed after it when it joins. Private to the broker. */

#include "daemon/broker/claim-run.h"

bool claim_is_part(const ClaimRun *j);
/* Devices are on their way into it. */
bool claim_is_growing(const ClaimRun *j);
/* The claim that a part is of, while it is held. NULL, with the refusal filled: it is over. */
ClaimRun *claim_part_find_whole(const ClaimRun *part, Refusal *refusal);

/* The part is held: its devices are the claim's from now on. 0, or a negative errno with the part's refusal
 * filled. */
int claim_part_join(ClaimRun *part);
/* It has joined, and nobody got its files: its devices leave again. */
void claim_part_return(ClaimRun *part);

/* The named devices, not all that the claim has, leave. *ret is the part, which is held; NULL: the claim
 * keeps other devices of their groups, and they are only marked. 0 or a negative errno. */
int claim_part_leave(ClaimRun *j, const DeviceName *names, size_t n, ClaimRun **ret);
/* A device is gone: it leaves with the rest of its group. The part, which is held; NULL: the claim has no
 * other device, or it cannot be recorded. */
ClaimRun *claim_part_lose(ClaimRun *j, const DeviceName *name);
