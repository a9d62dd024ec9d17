/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/budget.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/user-name.h"

#define SECOND UINT64_C(1000000)

/* Everybody who can connect can have an account, so their number is limited. An account without debt that is
 * not in use is freed when another one is needed. When all are in use, further users share one. root, and
 * users with claims, always have one. */
#define ACCOUNTS_MAX 1024U
/* Pairs of user and device that are remembered; the one that was unused for longest is dropped first. */
#define REBINDS_MAX 256U
/* For one device by one user: so many at once, and one per interval in the long run. */
#define REBINDS_AT_ONCE 20U
#define REBIND_USEC (3 * SECOND)

/* root pays less, because it runs containers and virtual machines for everybody. */
static const struct {
    unsigned price, price_of_operator;
    uint64_t credit_usec;
} purses[_PURSE_MAX] = {
        [PURSE_LOOP] = {4, 2, SECOND / 5},
        [PURSE_ANSWERS] = {1, 1, 2 * SECOND}, /* see budget_spend_bytes() */
        [PURSE_EXPLAIN] = {10, 0, SECOND},
        [PURSE_HOLDERS] = {5, 0, 5 * SECOND},
};

/* The bus copies long answers too, which delays everybody. So: 2 MB per second, and 16 MB for root. */
#define BYTES_PER_USEC 2U
#define BYTES_PER_USEC_OF_OPERATOR 16U

/* Limits for unread bytes: of root, of another user, and of all others together. dbus-daemon keeps 127 MB of
 * one sender before it reads nothing more from it, and an answer can be 9 MB long. When all others together
 * are at their limit, the last number still lets a user continue who has read almost everything. */
#define UNREAD_OF_OPERATOR_MAX (UINT64_C(16) << 20)
#define UNREAD_PER_USER_MAX (UINT64_C(8) << 20)
#define UNREAD_MAX (UINT64_C(24) << 20)
#define UNREAD_ALWAYS (UINT64_C(64) << 10)

/* What a read in a worker takes of the processor, roughly. Its duration says nothing, because a device may
 * hang. */
#define LOOK_USEC 1000U

typedef struct Rebind {
    uid_t uid;
    DeviceName device;
    uint64_t paid_usec;
} Rebind;

struct Budget {
    BudgetLimits limits;
    BudgetAccount *accounts; /* owned */
    unsigned n_accounts, n_calls, n_claims, n_peers;
    uint64_t unread; /* of everybody except root */
    uint64_t n_refused[_BUDGET_LIMIT_MAX];
    Rebind rebinds[REBINDS_MAX];
    size_t n_rebinds;
};

static const char *const budget_limit_table[_BUDGET_LIMIT_MAX] = {
        [BUDGET_LIMIT_CALLS] = "calls",
        [BUDGET_LIMIT_CONNECTIONS] = "connections",
        [BUDGET_LIMIT_CLAIMS] = "claims",
        [BUDGET_LIMIT_DRIVER_CHANGES] = "driver-changes",
};
DEFINE_STRING_TABLE(budget_limit, BudgetLimit);

/* Counts a refusal. */
static int note(Budget *b, BudgetLimit limit, int r) {
    b->n_refused[limit] += r < 0;
    return r;
}

uint64_t budget_n_refused(const Budget *b, BudgetLimit limit) {
    return b->n_refused[limit];
}

uint64_t budget_now(void) {
    return clock_usec(CLOCK_MONOTONIC);
}

Budget *budget_new(const BudgetLimits *limits) {
    Budget *b = calloc(1, sizeof(*b));

    if (b)
        b->limits = *limits;
    return b;
}

Budget *budget_free(Budget *b) {
    if (!b)
        return NULL;
    while (b->accounts) {
        BudgetAccount *a = b->accounts;

        b->accounts = a->next;
        free(a);
    }
    free(b);
    return NULL;
}

bool account_is_operator(const BudgetAccount *a) {
    return a->uid == 0;
}

static bool is_settled(const BudgetAccount *a, uint64_t now_usec) {
    for (Purse p = 0; p < _PURSE_MAX; p++)
        if (a->paid_usec[p] > now_usec)
            return false;
    return a->n_users == 0 && a->n_calls == 0 && a->n_claims == 0 && a->unread == 0;
}

static void drop_settled(Budget *b) {
    uint64_t now_usec = budget_now();

    for (BudgetAccount **i = &b->accounts; *i;) {
        BudgetAccount *a = *i;

        if (!is_settled(a, now_usec)) {
            i = &a->next;
            continue;
        }
        *i = a->next;
        b->n_accounts--;
        free(a);
    }
}

static void put_first(Budget *b, BudgetAccount *a) {
    a->next = b->accounts;
    b->accounts = a;
}

static BudgetAccount *find_account(Budget *b, uid_t uid) {
    for (BudgetAccount **i = &b->accounts; *i; i = &(*i)->next) {
        BudgetAccount *a = *i;

        if (a->uid != uid)
            continue;
        *i = a->next;
        put_first(b, a);
        return a;
    }
    return NULL;
}

static BudgetAccount *add_account(Budget *b, uid_t uid) {
    BudgetAccount *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->uid = uid;
    put_first(b, a);
    b->n_accounts++;
    return a;
}

BudgetAccount *budget_account(Budget *b, uid_t uid) {
    BudgetAccount *a = find_account(b, uid);

    if (a)
        return a;
    if (b->n_accounts >= ACCOUNTS_MAX)
        drop_settled(b);
    if (b->n_accounts < ACCOUNTS_MAX || uid == 0)
        return add_account(b, uid);
    return find_account(b, BUDGET_UID_OTHERS) ?: add_account(b, BUDGET_UID_OTHERS);
}

/* ---- Calls ---- */

static int begin_call(Budget *b, BudgetAccount *a, Refusal *refusal) {
    if (a->uid == BUDGET_UID_OTHERS && a->n_calls >= BUDGET_CALLS_PER_USER)
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "too many users have calls in progress");
    if (!account_is_operator(a) && a->n_calls >= BUDGET_CALLS_PER_USER)
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "%s already has %u calls in progress, the maximum for one user", USER_TEXT(a->uid),
                a->n_calls);
    /* One call is always possible, so that many users together do not lock another one out. */
    if (!account_is_operator(a) && a->n_calls > 0 && b->n_calls >= BUDGET_CALLS_MAX)
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "%u calls are in progress, and %s already has %u of them", b->n_calls, USER_TEXT(a->uid),
                a->n_calls);
    a->n_calls++;
    b->n_calls += !account_is_operator(a);
    return 0;
}

int budget_begin_call(Budget *b, BudgetAccount *a, Refusal *refusal) {
    return note(b, BUDGET_LIMIT_CALLS, begin_call(b, a, refusal));
}

void budget_end_call(Budget *b, BudgetAccount *a) {
    assert(a->n_calls > 0);
    a->n_calls--;
    b->n_calls -= !account_is_operator(a);
}

/* ---- Peers ---- */

/* One is always possible, as with calls. */
static int begin_peer(Budget *b, uid_t uid, BudgetAccount **ret) {
    BudgetAccount *a = budget_account(b, uid);

    if (!a)
        return -ENOMEM;
    if (!account_is_operator(a) && a->n_peers >= BUDGET_PEERS_PER_USER)
        return -EDQUOT;
    if (a->n_peers > 0 && b->n_peers >= BUDGET_PEERS_MAX)
        return -EDQUOT;
    a->n_peers++;
    a->n_users++;
    b->n_peers++;
    *ret = a;
    return 0;
}

int budget_begin_peer(Budget *b, uid_t uid, BudgetAccount **ret) {
    return note(b, BUDGET_LIMIT_CONNECTIONS, begin_peer(b, uid, ret));
}

void budget_end_peer(Budget *b, BudgetAccount *a) {
    assert(a->n_peers > 0);
    a->n_peers--;
    a->n_users--;
    b->n_peers--;
}

/* ---- Purses ---- */

uint64_t budget_credit_at(const BudgetAccount *a, Purse purse) {
    uint64_t credit_usec = purses[purse].credit_usec;

    return a->paid_usec[purse] > credit_usec ? a->paid_usec[purse] - credit_usec : 0;
}

bool budget_has_credit(const BudgetAccount *a, Purse purse, uint64_t now_usec) {
    return budget_credit_at(a, purse) <= now_usec;
}

void budget_spend(BudgetAccount *a, Purse purse, uint64_t now_usec, uint64_t used_usec) {
    unsigned price = account_is_operator(a) ? purses[purse].price_of_operator : purses[purse].price;

    a->paid_usec[purse] = MAX(a->paid_usec[purse], now_usec) + price * used_usec;
}

void budget_spend_look(BudgetAccount *a, uint64_t now_usec) {
    budget_spend(a, PURSE_LOOP, now_usec, LOOK_USEC);
}

void budget_spend_bytes(BudgetAccount *a, uint64_t now_usec, uint64_t bytes) {
    budget_spend(a, PURSE_ANSWERS, now_usec,
            bytes / (account_is_operator(a) ? BYTES_PER_USEC_OF_OPERATOR : BYTES_PER_USEC));
}

/* ---- Unread answers ---- */

static void add_unread(Budget *b, BudgetAccount *a, uint64_t bytes) {
    a->unread += bytes;
    if (!account_is_operator(a))
        b->unread += bytes;
}

static void subtract_unread(Budget *b, BudgetAccount *a, uint64_t bytes) {
    assert(a->unread >= bytes);
    a->unread -= bytes;
    if (!account_is_operator(a))
        b->unread -= bytes;
}

void budget_attach_reader(Budget *b, BudgetReader *reader, BudgetAccount *a) {
    assert(!reader->account);
    reader->account = a;
    a->n_users++;
    add_unread(b, a, reader->unread);
}

void budget_charge_bytes(Budget *b, BudgetReader *reader, uint64_t bytes) {
    reader->unread += bytes;
    if (reader->account)
        add_unread(b, reader->account, bytes);
}

void budget_note_unread(Budget *b, BudgetReader *reader, uint64_t unread) {
    if (unread >= reader->unread)
        return;
    if (reader->account)
        subtract_unread(b, reader->account, reader->unread - unread);
    reader->unread = unread;
}

void budget_reader_done(Budget *b, BudgetReader *reader) {
    if (reader->account) {
        reader->account->orphans += reader->unread;
        reader->account->n_users--;
    }
    *reader = (BudgetReader){};
}

void budget_note_orphans(Budget *b, BudgetAccount *a, uint64_t unread) {
    if (unread >= a->orphans)
        return;
    subtract_unread(b, a, a->orphans - unread);
    a->orphans = unread;
}

static uint64_t unread_max(const BudgetAccount *a) {
    return account_is_operator(a) ? UNREAD_OF_OPERATOR_MAX : UNREAD_PER_USER_MAX;
}

bool budget_is_full(const Budget *b, const BudgetAccount *a) {
    return a->unread >= unread_max(a) ||
            (!account_is_operator(a) && b->unread >= UNREAD_MAX && a->unread > UNREAD_ALWAYS);
}

bool budget_is_nearly_full(const Budget *b, const BudgetAccount *a) {
    return a->unread >= unread_max(a) / 4 * 3 || budget_is_full(b, a);
}

/* ---- Claims ---- */

/* Every claim is charged to its uid until it is gone, in quarantine too: everything that a client can make us
 * keep is counted. */
static int begin_claim(Budget *b, uid_t uid, Refusal *refusal) {
    BudgetAccount *a = budget_account(b, uid);

    if (!a || a->uid != uid) /* a claim lasts, so it must be charged to its own uid */
        return refuse(
                refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "too many users have claims or calls in progress");
    if (!account_is_operator(a) && a->n_claims >= b->limits.claims_per_user)
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "%s already has %u claims, the maximum for one user", USER_TEXT(uid), a->n_claims);
    if (b->n_claims >= b->limits.claims)
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "there are already %u claims, the maximum for this host", b->n_claims);
    a->n_claims++;
    b->n_claims++;
    return 0;
}

int budget_begin_claim(Budget *b, uid_t uid, Refusal *refusal) {
    return note(b, BUDGET_LIMIT_CLAIMS, begin_claim(b, uid, refusal));
}

void budget_adopt_claim(Budget *b, uid_t uid) {
    BudgetAccount *a = find_account(b, uid) ?: add_account(b, uid);

    if (!a)
        return;
    a->n_claims++;
    b->n_claims++;
}

void budget_end_claim(Budget *b, uid_t uid) {
    BudgetAccount *a = find_account(b, uid);

    if (!a || a->n_claims == 0)
        return;
    a->n_claims--;
    b->n_claims--;
}

/* ---- Rebinding ---- */

static Rebind *find_rebind(Budget *b, uid_t uid, const DeviceName *device) {
    Rebind *oldest = b->rebinds;

    for (size_t i = 0; i < b->n_rebinds; i++) {
        Rebind *r = &b->rebinds[i];

        if (r->uid == uid && device_name_compare(&r->device, device) == 0)
            return r;
        if (r->paid_usec < oldest->paid_usec)
            oldest = r;
    }
    if (b->n_rebinds < REBINDS_MAX)
        oldest = &b->rebinds[b->n_rebinds++];
    *oldest = (Rebind){.uid = uid, .device = *device};
    return oldest;
}

int budget_rebind(Budget *b, uid_t uid, const DeviceName *device, uint64_t now_usec, Refusal *refusal) {
    Rebind *rebind;
    int r;

    if (uid == 0)
        return 0;
    rebind = find_rebind(b, uid, device);
    if (rebind->paid_usec > now_usec + (REBINDS_AT_ONCE - 1) * REBIND_USEC) {
        b->n_refused[BUDGET_LIMIT_DRIVER_CHANGES]++;
        r = refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, device,
                "%s caused more than %u driver changes of it in the last minute", USER_TEXT(uid),
                REBINDS_AT_ONCE);
        refusal->remedy =
                strdup("Wait a few seconds. Keep a claim for as long as you need the device, instead of "
                       "claiming it again for each use.");
        return r;
    }
    rebind->paid_usec = MAX(rebind->paid_usec, now_usec) + REBIND_USEC;
    return 0;
}
