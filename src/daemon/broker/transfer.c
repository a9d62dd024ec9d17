/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A claim moves to another holder: only its tether changes.
 *
 * Whenever this process dies, exactly one of both holders counts. First the record names both. Then the new
 * tether goes to systemd, and the answer to the new holder. Only then the old one is dropped. With both in
 * the record, recovery uses the new one if it exists: then the answer has arrived, or none was needed.
 * Otherwise nobody has heard of it, and the old one counts (settle_move()). */

#include "base/log.h"
#include "daemon/broker/claim-part.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/tether.h"

/* A tether, taken out of the claim. */
typedef struct Tie {
    TetherKind kind;
    char lifeline_id[CLAIM_ID_MAX], connection[CONNECTION_NAME_MAX];
    Lifeline *lifeline;
    Kept *kept;
    bool connection_gone;
} Tie;

static Tie take_tie(ClaimRun *j) {
    Tie tie = {.kind = j->claim.plan.tether,
            .lifeline = TAKE_PTR(j->lifeline),
            .kept = TAKE_PTR(j->kept),
            .connection_gone = j->connection_gone};

    memcpy(tie.lifeline_id, claim_lifeline(&j->claim), sizeof(tie.lifeline_id));
    memcpy(tie.connection, j->claim.connection, sizeof(tie.connection));
    j->claim.connection[0] = '\0';
    j->connection_gone = false;
    return tie;
}

static void put_tie(ClaimRun *j, const Tie *tie) {
    j->claim.plan.tether = tie->kind;
    tether_set_lifeline(&j->claim, tie->lifeline_id);
    memcpy(j->claim.connection, tie->connection, sizeof(j->claim.connection));
    j->lifeline = tie->lifeline;
    j->kept = tie->kept;
    j->connection_gone = tie->connection_gone;
}

/* Drops the tether that is in the claim now. */
static void drop_tie(ClaimRun *j) {
    const TetherType *type = claim_run_tether(j);

    type->forget(j);
    type->end(j, /* record_left= */ true);
    type->free(j);
}

static int write_down(ClaimRun *j) {
    j->dirty = true;
    return claim_run_flush(j);
}

/* ---- May it move? ---- */

static int check_state(const ClaimRun *j, Refusal *refusal) {
    const Claim *c = &j->claim;

    if (c->state == CLAIM_HELD && !claim_is_part(j))
        return 0;
    if (c->state < CLAIM_HELD && !claim_is_part(j))
        return refuse(refusal, VFIOD_ERROR_CLAIM_BUSY, NULL, "claim %s has no devices yet (%s)", c->id,
                claim_state_to_string(c->state));
    return refuse(refusal, VFIOD_ERROR_NO_SUCH_CLAIM, NULL, "claim %s is not held by anybody any more (%s)",
            c->id, claim_state_to_string(c->state));
}

/* The rules that allowed the claim decide. */
static int check_kind(const ClaimRun *j, TetherKind kind, const Subject *subject, Refusal *refusal) {
    const unsigned tethers = j->claim.plan.tethers; /* includes that of the claim, so it is not empty */
    bool is_operator = subject_is_operator(subject);
    int r;

    if (kind == j->claim.plan.tether)
        return 0;
    if (kind == TETHER_EXPLICIT && !is_operator) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL,
                "only root may have a claim with the tether explicit");
        refusal->remedy = tether_advice(tethers, is_operator, "No rule can allow this one.");
        return r;
    }
    if (tethers & 1U << kind)
        return 0;
    r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL,
            "the rule that allowed claim %s does not allow the tether %s", j->claim.id,
            tether_kind_to_string(kind));
    refusal->remedy = tether_advice(tethers, is_operator, "");
    return r;
}

/* ---- Moving ---- */

/* Makes the new tether while the old one still exists. On failure nothing of it is left. */
static int make_tie(ClaimRun *j, TetherKind kind, const TetherHolder *holder, Refusal *refusal) {
    const TetherType *type;
    char id[CLAIM_ID_MAX];
    int r;

    if (claims_make_id(id) < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "the kernel provides no random numbers");
    j->claim.plan.tether = kind;
    tether_set_lifeline(&j->claim, id);
    type = claim_run_tether(j);
    r = type->find ? type->find(j, holder, refusal) : 0;
    if (r >= 0) {
        r = type->tie(j);
        if (r < 0)
            *refusal = TAKE_GENERIC(j->claim.refusal, REFUSAL_NULL);
    }
    if (r < 0)
        drop_tie(j);
    return r;
}

static void note_previous(Claim *c, const Tie *old) {
    c->moving = true;
    c->previous_tether = old->kind;
    memcpy(c->previous_lifeline, old->lifeline_id, sizeof(c->previous_lifeline));
    memcpy(c->previous_connection, old->connection, sizeof(c->previous_connection));
}

/* Records both, and systemd keeps both. 0, or refused. */
static int begin(ClaimRun *j, const Tie *old, Refusal *refusal) {
    int r;

    note_previous(&j->claim, old);
    r = write_down(j);
    if (r < 0)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot record the claim: %s", strerror(-r));
    if (claim_run_tether(j)->keep(j) >= 0)
        return 0;
    return refuse(refusal, VFIOD_ERROR_CLAIM_BUSY, NULL,
            "systemd is too busy to keep what claim %s is tied to", j->claim.id);
}

static void undo(ClaimRun *j, const Tie *old) {
    drop_tie(j);
    put_tie(j, old);
    j->claim.moving = false;
    (void) write_down(j); /* otherwise the older record leads to the same */
}

static void finish(ClaimRun *j, const Tie *old) {
    const Tie new = take_tie(j);

    put_tie(j, old);
    drop_tie(j);
    put_tie(j, &new);
    j->claim.moving = false;
    (void) write_down(j);
}

static int give(ClaimRun *j, acquire_done_t done, void *userdata) {
    const Grant grant = {.claim = &j->claim,
            .plan = &j->claim.plan,
            .fds = j->fds,
            .n_fds = j->n_fds,
            .nodes = j->claim.nodes,
            .n_nodes = j->claim.n_nodes};
    int r = done(userdata, &grant, NULL);

    grant_drop(j);
    return r;
}

/* systemd has work with it, too. */
static void charge(Broker *e, const Subject *subject) {
    BudgetAccount *account = budget_account(e->config.budget, subject->uid);

    if (account)
        budget_spend_look(account, budget_now());
}

int broker_transfer(Broker *e, const char *name, const Request *wish, const Subject *subject,
        const Asker *asker, acquire_done_t done, void *userdata, Refusal *refusal) {
    const TetherHolder holder = {.subject = subject,
            .bus_name = asker->bus_name,
            .socket = asker->socket ? *asker->socket : -EBADF,
            .pid = wish->pid,
            .pidfd_id = wish->pidfd_id};
    TetherKind kind = wish->tether;
    ClaimRun *j;
    Tie old;
    int r;

    r = broker_find_own(e, name, subject, &j, refusal);
    if (r >= 0)
        r = check_state(j, refusal);
    if (r < 0)
        return r;
    if ((int) kind < 0)
        kind = j->claim.plan.tether;
    r = check_kind(j, kind, subject, refusal);
    if (r >= 0)
        r = request_check_process(wish, kind, refusal);
    if (r < 0)
        return r;
    if (kind == TETHER_CONNECTION && tether_is_on_socket(j, holder.socket)) {
        (void) give(j, done, userdata); /* for a holder that has it already */
        return 0;
    }
    charge(e, subject);
    old = take_tie(j);
    r = make_tie(j, kind, &holder, refusal);
    if (r < 0) {
        grant_drop(j);
        put_tie(j, &old);
        return r;
    }
    r = begin(j, &old, refusal);
    if (r < 0) {
        grant_drop(j);
        undo(j, &old);
        return r;
    }
    audit_transferred(e->audit, &j->claim, subject);
    if (give(j, done, userdata) < 0) {
        undo(j, &old);
        return 0;
    }
    finish(j, &old);
    claim_run_announce(j, CLAIM_MOVED);
    return 0;
}
