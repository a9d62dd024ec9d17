/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What each user has taken of the daemon, and how much of it they may take. This is the only place that
 * counts: calls under way, time of the event loop, bytes of answers, expensive questions, claims. A user is a
 * uid, however many connections and faces it comes through.
 *
 * Answers that nobody reads do not go away with time: they fill the queues of the bus or of a socket. So what
 * was sent to each connection is counted until the face knows that it was read (BudgetReader). A user with
 * too much of it is full, and gets no further answer until then.
 *
 * A purse is for what flows. Each use of it costs its duration times the price of the purse, and is paid off
 * by the passing of time alone. So the price says which share of the daemon's time a user may take in the
 * long run, and the credit how much of it at once. */

#include "core/error.h"
#include "core/subject.h"

typedef struct Budget Budget;

typedef enum Purse {
    PURSE_LOOP,    /* time of the event loop, whatever for */
    PURSE_ANSWERS, /* bytes of answers, see budget_spend_bytes(); long ones wait for credit */
    PURSE_EXPLAIN, /* explanations: the longer the policy, the longer they take */
    PURSE_HOLDERS, /* walks over all files that all processes have open */
    _PURSE_MAX,
} Purse;

typedef struct BudgetAccount {
    uid_t uid; /* BUDGET_UID_OTHERS: of all who have none of their own */
    unsigned n_calls, n_claims, n_peers;
    uint64_t paid_usec[_PURSE_MAX]; /* CLOCK_MONOTONIC: when everything that was taken is paid for */
    uint64_t unread, orphans;       /* bytes of answers; orphans is the part of it that has no reader */
    unsigned n_users;               /* who keep a pointer to this account beyond the current event */
    struct BudgetAccount *next;     /* budget.accounts, the last used first */
} BudgetAccount;

/* One connection or peer, for as long as a face knows it: what was sent to it and may be unread. A face has
 * this in its own object, {} in the beginning. */
typedef struct BudgetReader {
    BudgetAccount *account; /* counted in its n_users; NULL: its user is unknown so far */
    uint64_t unread;
} BudgetReader;

/* Calls of one user under way at a time, and of all of them together but root's. */
#define BUDGET_CALLS_PER_USER 256U
#define BUDGET_CALLS_MAX 2048U

/* Connections to our own sockets, likewise. */
#define BUDGET_PEERS_PER_USER 128U
#define BUDGET_PEERS_MAX 4096U

/* What a user can be refused by it. */
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
    unsigned claims_per_user, claims; /* root is bounded by the latter alone */
} BudgetLimits;

Budget *budget_new(const BudgetLimits *limits);
Budget *budget_free(Budget *b);
DEFINE_TRIVIAL_CLEANUP_FUNC(Budget *, budget_free);

/* How often it has refused something, since it was made. */
uint64_t budget_n_refused(const Budget *b, BudgetLimit limit);

/* CLOCK_MONOTONIC in microseconds. */
uint64_t budget_now(void);

/* The uid of the account that those users share who come when there are too many accounts. No user has it. */
#define BUDGET_UID_OTHERS ((uid_t) -1)

/* Valid until the current event is over, and as long as n_users is not zero. NULL: out of memory. */
BudgetAccount *budget_account(Budget *b, uid_t uid);
bool account_is_operator(const BudgetAccount *a);

/* A call begins. 0, or refused. */
int budget_begin_call(Budget *b, BudgetAccount *a, Refusal *refusal);
void budget_end_call(Budget *b, BudgetAccount *a);

/* Somebody has connected. 0 with the account, which stays until the end of it; -EDQUOT; -ENOMEM. */
int budget_begin_peer(Budget *b, uid_t uid, BudgetAccount **ret);
void budget_end_peer(Budget *b, BudgetAccount *a);

bool budget_has_credit(const BudgetAccount *a, Purse purse, uint64_t now_usec);
/* When there is credit again; now or earlier: at once. */
uint64_t budget_credit_at(const BudgetAccount *a, Purse purse);
void budget_spend(BudgetAccount *a, Purse purse, uint64_t now_usec, uint64_t used_usec);
/* Workers have looked for facts on behalf of this user. */
void budget_spend_look(BudgetAccount *a, uint64_t now_usec);
void budget_spend_bytes(BudgetAccount *a, uint64_t now_usec, uint64_t bytes);

/* From now on reader is charged to a. Once for each reader. */
void budget_attach_reader(Budget *b, BudgetReader *reader, BudgetAccount *a);
/* So many bytes were sent to it. */
void budget_charge_bytes(Budget *b, BudgetReader *reader, uint64_t bytes);
/* At most so many of them are unread. */
void budget_note_unread(Budget *b, BudgetReader *reader, uint64_t unread);
/* The face does not look after it any more; what is unread stays charged until budget_note_orphans(). A
 * connection that is gone has nothing unread: note that before. */
void budget_reader_done(Budget *b, BudgetReader *reader);
void budget_note_orphans(Budget *b, BudgetAccount *a, uint64_t unread);
/* Too much is unread: no further answer now. */
bool budget_is_full(const Budget *b, const BudgetAccount *a);
/* Enough is unread that a face should find out what was read, before the user is full. */
bool budget_is_nearly_full(const Budget *b, const BudgetAccount *a);

/* A claim begins, or would. 0, or refused. */
int budget_begin_claim(Budget *b, uid_t uid, Refusal *refusal);
/* One that was found at the start: it is there, whatever the limits are. */
void budget_adopt_claim(Budget *b, uid_t uid);
void budget_end_claim(Budget *b, uid_t uid);

/* Taking this device (a hash over its name) from its driver, and giving it back afterwards, is work for the
 * host that others notice. 0, or refused: a user other than root did that with this device too often just
 * now. */
int budget_rebind(Budget *b, uid_t uid, const DeviceName *device, uint64_t now_usec, Refusal *refusal);
