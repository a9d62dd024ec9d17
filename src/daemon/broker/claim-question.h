/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim that is not decided yet: what was asked for, and the facts that are being collected for the plan.
 * Where a person is asked, too, it stays until the answer is there. */

#include "daemon/broker/claim-run.h"

typedef struct Reserving Reserving;

struct ClaimQuestion {
    Request request;
    Reserving *reserving; /* owned; of a reservation, see reservation.h; NULL: it is a claim */
    char *bus_name;       /* owned; NULL when the caller has none */
    bool interactive;
    int socket; /* owned; of the caller's connection, if the claim is to hang on it; -EBADF */
    BrokerInquiry inquiry;
    /* From here on: what the person was told. */
    char *rule, *parked; /* owned */
    Backend backend;
    uint64_t cards[REQUEST_DEVICES_MAX]; /* their identities, in the order of the request */
    AuthQuestion *auth;                  /* owned; NULL before it is asked and once it is answered */
};

/* NULL: out of memory. ready: when facts that were waited for are there. */
ClaimQuestion *claim_question_new(
        const Request *request, const Asker *asker, void (*ready)(void *userdata), void *userdata);
/* Before CLAIM_EVENT_ASK: remembers what is asked about. 0 or -ENOMEM. */
int claim_question_prepare(ClaimQuestion *q, const Plan *plan);
