/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A reservation is a claim before anything is done: it has a plan and its devices, and waits in the state
 * "reserved" for the one Acquire that brings its ticket. That takes over its id and its record, so the write
 * that makes the claim is the one that spends the ticket: whenever the daemon dies, exactly one of the two is
 * there. It ends by itself when its time is over.
 *
 * Both are needed: the ticket, which nobody can guess, and the uid that it is for.
 *
 * The member of a template has the template's name for as long as it is reserved. It keeps others from the
 * last instance and from the parent (claims_count_promised(), claims_find_maker()), and is planned for anew.
 */

#include "daemon/broker/claim-question.h"
#include "policy/selector.h"

/* Devices that are planned for, one after the other, until one can be had. Those that are held are passed
 * over before, and do not count. */
#define RESERVATION_TRIES_MAX 64U

/* What a reservation is looking for, while it is not decided. */
struct Reserving {
    DeviceSelector selector;
    char *text; /* owned; as the caller wrote it, sanitized */
    DeviceName last;
    bool begun, trying;     /* last is valid; it is being planned for */
    BrokerInquiry look;     /* for the facts by which one device has the tag */
    sd_event_source *pause; /* until the caller's user has credit again */
    unsigned n_held, n_tried;
    Refusal found; /* the refusals of those that were tried, as obstacles */
};

Reserving *reserving_free(Reserving *r);

/* Everything of the wish that has a shape; the rest is decided with facts. 0, or refused. */
int reservation_begin(ClaimRun *j, const ReserveWish *wish, const Subject *subject, Refusal *refusal);
/* Plans for the first device that can be had, in the order of their names. 0, -EAGAIN, or refused. */
int reservation_plan(ClaimRun *j);
/* It is decided: the record is written and the caller gets the ticket. */
void reservation_give_ticket(ClaimRun *j);
/* Ends it when its time is over, which may be now. */
int reservation_watch(ClaimRun *j);

/* The reservation of the request's ticket, whose redeemer the subject is. 0, or refused. */
int reservation_find(
        Broker *e, const Request *request, const Subject *subject, ClaimRun **ret, Refusal *refusal);
/* Likewise, and puts its device into the request, which must name none. Without a ticket it does nothing. */
int reservation_resolve(Broker *e, Request *request, const Subject *subject, Refusal *refusal);
/* The same for the request of j, of which there is one at a time: it is charged to no budget but that of the
 * reservation. */
int reservation_begin_redeeming(const ClaimRun *j, const Subject *subject, Refusal *refusal);
/* j, which is planned, becomes the claim of its ticket, and the reservation is gone. 0, or refused. */
int reservation_redeem(ClaimRun *j);
