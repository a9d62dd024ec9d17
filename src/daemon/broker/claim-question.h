/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim that is not decided yet: the request, and the facts that are collected for the plan. If a person is
 * asked, it stays until the answer. */

#include "daemon/broker/claim-run.h"

typedef struct Reserving Reserving;

struct ClaimQuestion {
    Request request;
    Reserving *reserving; /* owned; of a reservation, see reservation.h; NULL: a claim */
    char *bus_name;       /* owned; NULL when the caller has no bus connection */
    bool interactive;
    int socket; /* owned; of the caller's connection, if the claim will be tied to it; otherwise -EBADF */
    BrokerInquiry inquiry;
    /* From here on: what the person was asked about. */
    char *rule, *parked; /* owned */
    Backend backend;
    uint64_t cards[REQUEST_DEVICES_MAX]; /* identities of the devices, in the order of the request */
    AuthQuestion *auth;                  /* owned; NULL before the question and after the answer */
};

/* NULL on ENOMEM. ready is called when facts that were waited for are known. */
ClaimQuestion *claim_question_new(
        const Request *request, const Asker *asker, void (*ready)(void *userdata), void *userdata);
/* Before CLAIM_EVENT_ASK: notes what is asked about. 0 or -ENOMEM. */
int claim_question_prepare(ClaimQuestion *q, const Plan *plan);
