/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Quarantine of devices of which nothing is known that could be put back: the record of their claim is lost,
 * or another kernel has done it. It is a claim of root. */

#include "daemon/broker/claim-run.h"

/* Puts devices into quarantine, as many as fit into one claim at a time. */
typedef struct Quarantine {
    Broker *broker;
    const char *reason;
    char id[CLAIM_ID_MAX]; /* of the next claim; "": any */
    ClaimRun *run;         /* being filled */
    MemberFailure
            failure;     /* of the devices that are added next; MEMBER_FAILURE_NONE: the record is at fault */
    uint64_t since_usec; /* 0: now */
    bool added;          /* the last one was */
    int error;
} Quarantine;

/* d goes into quarantine. 0 or negative errno. */
int quarantine_add(Quarantine *q, const Device *d);
/* Unless it is gone, or a claim has it. */
int quarantine_named(Quarantine *q, const DeviceName *name);
/* After the last one. q->error: what went wrong. */
void quarantine_finish(Quarantine *q);
/* All that are on a vfio driver and that no claim has. */
int quarantine_unaccounted(Broker *e);
