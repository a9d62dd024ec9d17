/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A reservation is a claim to which nothing was done yet. It has a plan and devices, and waits in the state
 * "reserved" for the Acquire with its ticket. That claim takes over its id and record, so the write that
 * makes the claim also uses up the ticket: whenever the daemon dies, exactly one of the two exists. The
 * reservation ends by itself when its time is over.
 *
 * Redeeming requires the ticket, which nobody can guess, and the uid that it is for.
 *
 * A reserved template is a member with the template's name. It keeps others from the last instance and from
 * the parent (claims_count_promised(), claims_find_maker()), and is planned again when it is redeemed. */

#include "daemon/broker/claim-question.h"
#include "policy/selector.h"

/* How many devices are planned for until one is available. Held devices are skipped before and do not
 * count. */
#define RESERVATION_TRIES_MAX 64U

/* What a reservation searches for, until it is decided. */
struct Reserving {
    DeviceSelector selector;
    char *text; /* owned; the caller's text, sanitized */
    DeviceName last;
    bool begun, trying;     /* last is valid; a plan for it is being made */
    BrokerInquiry look;     /* for the facts that decide whether a device has the tag */
    sd_event_source *pause; /* until the caller's user has credit again */
    unsigned n_held, n_tried;
    Refusal found; /* the refusals of devices that were tried, as obstacles */
};

Reserving *reserving_free(Reserving *r);

/* Checks all parts of the wish that need no facts. 0, or refused. */
int reservation_begin(ClaimRun *j, const ReserveWish *wish, const Subject *subject, Refusal *refusal);
/* Plans for the first device that is available, in order of names. 0, -EAGAIN, or refused. */
int reservation_plan(ClaimRun *j);
/* It is decided: writes the record and gives the caller the ticket. */
void reservation_give_ticket(ClaimRun *j);
/* Ends it when its time is over, which may be now. 0 or negative errno. */
int reservation_watch(ClaimRun *j);

/* Finds the reservation of the request's ticket, if it is for the subject. 0, or refused. */
int reservation_find(
        Broker *e, const Request *request, const Subject *subject, ClaimRun **ret, Refusal *refusal);
/* Likewise, and puts its device into the request, which must name none. Does nothing without a ticket. */
int reservation_resolve(Broker *e, Request *request, const Subject *subject, Refusal *refusal);
/* The same for the request of j. Only one request redeems a reservation at a time. It is charged to the
 * reservation's budget only. */
int reservation_begin_redeeming(const ClaimRun *j, const Subject *subject, Refusal *refusal);
/* j, which has a plan, becomes the claim of its ticket, and the reservation is removed. 0, or refused. */
int reservation_redeem(ClaimRun *j);
