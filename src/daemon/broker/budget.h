/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What each user has used of the daemon, and how much they may use. Only this file counts: calls in progress,
 * time of the event loop, bytes of answers, expensive questions, claims. A user is a uid, whatever number of
 * connections and faces it uses.
 *
 * Unread answers do not go away with time: they fill the queues of the bus or of a socket. So what was sent
 * to each connection is counted until the face knows that it was read (BudgetReader). A user with too many
 * unread bytes is full, and gets no further answers until then.
 *
 * A purse limits a rate. Each use costs its duration times the price of the purse, and this debt decreases
 * with time only. So the price sets the share of the daemon's time that a user can take in the long run, and
 * the credit how much at once. */

#include "core/error.h"
#include "core/subject.h"

typedef struct Budget Budget;

typedef enum Purse {
    PURSE_LOOP,    /* time of the event loop, for anything */
    PURSE_ANSWERS, /* bytes of answers, see budget_spend_bytes(); long ones wait for credit */
    PURSE_EXPLAIN, /* explanations, which take longer with a longer policy */
    PURSE_HOLDERS, /* walks over all open files of all processes */
    _PURSE_MAX,
} Purse;

typedef struct BudgetAccount {
    uid_t uid; /* BUDGET_UID_OTHERS: of all users without an account of their own */
    unsigned n_calls, n_claims, n_peers;
    uint64_t paid_usec[_PURSE_MAX]; /* CLOCK_MONOTONIC: when the debt is paid */
    uint64_t unread, orphans;       /* bytes of answers; orphans is the part without a reader */
    unsigned n_users;               /* pointers to this account that outlive the current event */
    struct BudgetAccount *next;     /* budget.accounts, most recently used first */
} BudgetAccount;

/* One connection or peer, while a face tracks it: what was sent to it and may be unread. The face has this in
 * its own object, initialised with {}. */
typedef struct BudgetReader {
    BudgetAccount *account; /* counted in its n_users; NULL until the bus or the kernel has named the user */
    uint64_t unread;
} BudgetReader;

/* Calls in progress of one user, and of all users except root. */
#define BUDGET_CALLS_PER_USER 256U
#define BUDGET_CALLS_MAX 2048U

/* Connections to our own sockets, likewise. */
#define BUDGET_PEERS_PER_USER 128U
#define BUDGET_PEERS_MAX 4096U

/* The limits that can refuse a user. */
typedef enum BudgetLimit {
    BUDGET_LIMIT_CALLS,
    BUDGET_LIMIT_CONNECTIONS,
    BUDGET_LIMIT_CLAIMS,
    BUDGET_LIMIT_DRIVER_CHANGES,
    _BUDGET_LIMIT_MAX,
    _BUDGET_LIMIT_INVALID = -EINVAL,
} BudgetLimit;
DECLARE_STRING_TABLE(budget_limit, BudgetLimit); /* "calls", "connections", "claims", "driver-changes" */

typedef struct BudgetLimits {
    unsigned claims_per_user, claims; /* the second limits root too */
} BudgetLimits;

Budget *budget_new(const BudgetLimits *limits);
Budget *budget_free(Budget *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(Budget *, budget_free);

/* How many refusals a limit has caused. */
uint64_t budget_n_refused(const Budget *b, BudgetLimit limit);

/* CLOCK_MONOTONIC in microseconds. */
uint64_t budget_now(void);

/* The uid of the account that users share when there are too many accounts. No user has it. */
#define BUDGET_UID_OTHERS ((uid_t) -1)

/* Valid until the current event is over, and while n_users is not zero. NULL on ENOMEM. */
BudgetAccount *budget_account(Budget *b, uid_t uid);
bool account_is_operator(const BudgetAccount *a);

/* Begins a call. 0, or refused. */
int budget_begin_call(Budget *b, BudgetAccount *a, Refusal *refusal);
void budget_end_call(Budget *b, BudgetAccount *a);

/* A peer has connected. 0 with the account, valid until the matching end; -EDQUOT; or -ENOMEM. */
int budget_begin_peer(Budget *b, uid_t uid, BudgetAccount **ret);
void budget_end_peer(Budget *b, BudgetAccount *a);

bool budget_has_credit(const BudgetAccount *a, Purse purse, uint64_t now_usec);
/* When there is credit again. A time in the past means now. */
uint64_t budget_credit_at(const BudgetAccount *a, Purse purse);
void budget_spend(BudgetAccount *a, Purse purse, uint64_t now_usec, uint64_t used_usec);
/* Workers have read facts for this user. */
void budget_spend_look(BudgetAccount *a, uint64_t now_usec);
void budget_spend_bytes(BudgetAccount *a, uint64_t now_usec, uint64_t bytes);

/* Charges reader to a from now on. Once for each reader. */
void budget_attach_reader(Budget *b, BudgetReader *reader, BudgetAccount *a);
/* This many bytes were sent to it. */
void budget_charge_bytes(Budget *b, BudgetReader *reader, uint64_t bytes);
/* At most this many of them are unread. */
void budget_note_unread(Budget *b, BudgetReader *reader, uint64_t unread);
/* The face does not track it any more. What is unread stays charged until budget_note_orphans(). A connection
 * that is gone has nothing unread: note that before. */
void budget_reader_done(Budget *b, BudgetReader *reader);
void budget_note_orphans(Budget *b, BudgetAccount *a, uint64_t unread);
/* Too much is unread: no further answers now. */
bool budget_is_full(const Budget *b, const BudgetAccount *a);
/* So much is unread that a face should find out what was read before the user is full. */
bool budget_is_nearly_full(const Budget *b, const BudgetAccount *a);

/* A claim begins, or would begin. 0, or refused. */
int budget_begin_claim(Budget *b, uid_t uid, Refusal *refusal);
/* A claim that was found at the start, which exists whatever the limits are. */
void budget_adopt_claim(Budget *b, uid_t uid);
void budget_end_claim(Budget *b, uid_t uid);

/* Rebinding this device has effects that others on the host notice, so its rate is limited. 0, or refused: a
 * user other than root has rebound this device too often recently. */
int budget_rebind(Budget *b, uid_t uid, const DeviceName *device, uint64_t now_usec, Refusal *refusal);
