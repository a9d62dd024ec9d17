/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a claim's life hangs on: when it goes, the claim ends (CLAIM_EVENT_RELEASE is fed). Each kind is a
 * TetherType; a claim has one. */

#include "daemon/broker/claims.h"

typedef struct TetherType {
    /* Before the grant is given; what the client is to hold joins the grant. 0, or a negative errno with the
     * claim's refusal filled. */
    int (*tie)(ClaimRun *j);
    /* The client is about to get it: it shall outlive this process. */
    void (*keep)(ClaimRun *j);
    /* For recovery: from the fd that an earlier process kept; takes it over on success. */
    int (*adopt)(ClaimRun *j, int fd);
    /* The claim is over, and its record goes next: nobody need keep what the client may still have. */
    void (*forget)(ClaimRun *j);
    /* The record is gone, or was left because it could not be removed. */
    void (*end)(ClaimRun *j, bool record_left);
    void (*free)(ClaimRun *j);
} TetherType;

extern const TetherType tether_lifeline;
extern const TetherType tether_none; /* of devices that are to join a claim, or have left it */

/* The kind of this claim. */
const TetherType *claim_run_tether(const ClaimRun *j);
