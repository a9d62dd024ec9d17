/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Quarantine of devices for which nothing is known that could be restored. The record of their claim is lost,
 * or an earlier kernel wrote it. The quarantine is a claim of root. */

#include "daemon/broker/claim-run.h"

/* Quarantines devices, as many as fit into one claim at a time. */
typedef struct Quarantine {
    Broker *broker;
    const char *reason;
    char id[CLAIM_ID_MAX]; /* of the next claim; "": a new one */
    ClaimRun *run;         /* being filled */
    MemberFailure
            failure; /* of the devices that are added next; MEMBER_FAILURE_NONE: their record is damaged */
    uint64_t since_usec; /* 0: now */
    bool added;          /* the last one was */
    int error;
} Quarantine;

/* Quarantines d. Returns 0 or negative errno. */
int quarantine_add(Quarantine *q, const Device *d);
/* Does the same, unless the device is gone or a claim has it. */
int quarantine_named(Quarantine *q, const DeviceName *name);
/* Call it after the last device. q->error is the first error. */
void quarantine_finish(Quarantine *q);
/* Quarantines all devices on a vfio driver that no claim has. */
int quarantine_unaccounted(Broker *e);
