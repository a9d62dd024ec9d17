/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/claim-run.h"

#include "base/failpoint.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/claim-caps.h"
#include "daemon/broker/claim-module.h"
#include "daemon/broker/claim-part.h"
#include "daemon/broker/claim-power.h"
#include "daemon/broker/claim-token.h"
#include "daemon/broker/claim-work.h"
#include "daemon/broker/drain.h"
#include "daemon/broker/evict.h"
#include "daemon/broker/grant.h"
#include "daemon/broker/reservation.h"
#include "daemon/broker/sibling.h"
#include "daemon/broker/sleep.h"
#include "daemon/broker/stop.h"
#include "daemon/broker/stuck.h"
#include "daemon/broker/tether.h"
#include "daemon/broker/waiting.h"
#include "daemon/kernel/memlock.h"

void claim_run_announce(ClaimRun *j, ClaimChange change) {
    if (j->broker->changed)
        j->broker->changed(j->broker->changed_userdata, &j->claim, change);
}

void claim_run_push(ClaimRun *j, ClaimEvent event) {
    assert(j->n_events < CLAIM_RUN_EVENTS_MAX);
    j->events[(j->first_event + j->n_events++) % CLAIM_RUN_EVENTS_MAX] = event;
}

static bool is_pushed(const ClaimRun *j, ClaimEvent event) {
    for (size_t i = 0; i < j->n_events; i++)
        if (j->events[(j->first_event + i) % CLAIM_RUN_EVENTS_MAX] == event)
            return true;
    return false;
}

/* The record is written late: always before a worker starts or fds leave, otherwise after all other effects.
 * So a claim that passes through five states at once is not written five times. */
int claim_run_flush(ClaimRun *j) {
    int r;

    if (!j->dirty)
        return 0;
    r = store_save(j->broker->store, &j->claim);
    if (r < 0)
        return r;
    j->dirty = false;
    j->stored = true;
    return 0;
}

bool claim_run_answer(ClaimRun *j, const Grant *grant, const Refusal *refusal) {
    acquire_done_t done = TAKE_PTR(j->done);

    return done && done(j->userdata, grant, refusal) >= 0;
}

static void go_on_opening(ClaimRun *j);

static int open_devices(ClaimRun *j) {
    int r = claim_power_check(j, go_on_opening);

    if (r > 0)
        r = claim_caps_check(j, go_on_opening);
    if (r > 0)
        r = claim_token_check(j, go_on_opening);
    return r > 0 ? backend_open(j) : r;
}

static void go_on_opening(ClaimRun *j) {
    int r = open_devices(j);

    if (r != 0)
        claim_run_feed(j, r < 0 ? CLAIM_EVENT_OPEN_FAILED : CLAIM_EVENT_OPENED);
}

static void run_open(ClaimRun *j) {
    int r = open_devices(j);

    if (r != 0)
        claim_run_push(j, r < 0 ? CLAIM_EVENT_OPEN_FAILED : CLAIM_EVENT_OPENED);
}

/* The last step. It is undone when the claim ends (usage.c). */
static int raise_memlock(ClaimRun *j) {
    const Plan *plan = &j->claim.plan;
    char size[FORMAT_SIZE_MAX], now[MEMLOCK_DESCRIPTION_MAX];
    MemlockChange *change;
    int r;

    if (plan->memlock == 0 || !j->done)
        return 0;
    change = usage_limit(j->charge, j->subject);
    r = change ? memlock_raise(j->subject, usage_memlock(j->charge), change) : -ESRCH;
    if (r >= 0) {
        usage_set_raised(j->charge);
        return 0;
    }
    r = refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &plan->members[0].name,
            "cannot raise the caller's locked-memory limit to %s%s: %s",
            format_size(usage_memlock(j->charge), size), memlock_describe(j->subject, now, sizeof(now)),
            r == -ESRCH            ? "the caller's process is unknown"
                    : r == -EACCES ? "the process also runs as another user"
                    : r == -EPERM  ? "vfiod lacks CAP_SYS_RESOURCE"
                                   : strerror(-r));
    j->claim.refusal.remedy = strdup(
            "Request it without memlock, and set the limit in another way (LimitMEMLOCK=, ulimit -l).");
    return r;
}

/* Like the record: several state changes at once are announced once, after the reply. */
static void tell(ClaimRun *j) {
    if (!j->untold)
        return;
    claim_run_announce(j, j->told ? CLAIM_CHANGED : CLAIM_ADDED);
    j->told = true;
    j->untold = false;
}

/* If the record cannot be written, nobody gets anything: a claim without a record would be forgotten at the
 * next start, while a client has the device. */
static void run_reply(ClaimRun *j) {
    int r;

    if (!claim_is_part(j))
        evict_limit(&j->claim, j->claim.plan.duration_sec);
    r = claim_run_flush(j);
    if (r >= 0)
        r = evict_watch(j);
    if (r < 0)
        r = refuse(&j->claim.refusal, VFIOD_ERROR_INTERNAL, &j->claim.plan.members[0].name,
                "cannot record the claim: %s", strerror(-r));
    else
        r = j->done ? grant_expose(j) : 0;
    if (r >= 0)
        r = raise_memlock(j);
    if (r >= 0 && claim_is_part(j))
        r = claim_part_join(j);
    if (r < 0) {
        grant_drop(j);
        claim_run_push(j, CLAIM_EVENT_RELEASE);
        return;
    }
    if (j->done) {
        (void) claim_run_tether(j)->keep(j);
        group_files_keep(j);
    }
    if (j->claim.plan.backend == BACKEND_NOIOMMU) /* the ledger must have the device before anybody has it */
        tell(j);
    grant_give(j);
    if (j->granted) {
        audit_granted(j->broker->audit, &j->claim);
        figures_note_grant(&j->broker->figures, &j->claim.plan);
    }
    if (!j->granted && !claim_is_part(j))
        claim_run_push(j, CLAIM_EVENT_RELEASE); /* nobody has it, and its tether may never end by itself */
    if (!claim_is_part(j))
        return;
    if (!j->granted)
        claim_part_return(j);
    j->granted = false; /* it does not end: the claim that it joins does */
    claim_run_push(j, CLAIM_EVENT_JOINED);
}

/* Also runs at the end of every granted claim, when nobody waits and nothing is refused. */
static void run_refuse(ClaimRun *j) {
    if (j->granted || j->claim.refusal.code == _VFIOD_ERROR_INVALID)
        return;
    if (j->attached) {
        audit_failed(j->broker->audit, &j->claim);
        figures_note_refusal(&j->broker->figures, &j->claim.refusal);
        broker_note_failure(j->broker, &j->claim);
    }
    (void) claim_run_answer(j, NULL, &j->claim.refusal);
}

static void run_forget(ClaimRun *j) {
    int r;

    j->dirty = false;
    usage_end(j->charge);
    /* In this order: a lifeline without a record looks like a lost record. */
    claim_run_tether(j)->forget(j);
    r = j->stored ? store_remove(j->broker->store, j->claim.id) : 0;
    claim_run_tether(j)->end(j, /* record_left= */ r < 0);
    if (j->granted)
        audit_ended(j->broker->audit, &j->claim);
    if (!claim_is_part(j))
        sibling_forget(j);
    if (!j->told)
        tell(j);
    if (j->announced)
        claim_run_announce(j, CLAIM_REMOVED);
}

/* ---- the only place where states change ---- */

/* Healthy devices become free. Faces hear of the claim's state first, while it still has them. A quarantine
 * from an older record names no device as bad: all are. */
static void release_healthy(ClaimRun *j) {
    j->untold = true;
    tell(j);
    if (plan_has_bad(&j->claim.plan))
        claim_run_keep_bad(j);
}

static void set_state(ClaimRun *j, ClaimState state) {
    bool in_quarantine = j->claim.state == CLAIM_QUARANTINED || state == CLAIM_QUARANTINED;

    if (j->claim.state == state)
        return;
    assert(state != CLAIM_GONE || !plan_has_bad(&j->claim.plan));
    if (j->claim.state == CLAIM_HELD) {
        claim_run_drop_keeper(j);
        evict_end(j);
        sleep_end(j);
    }
    if (j->claim.state == CLAIM_DRAINING)
        stop_end(j);
    waiting_note_state(j, state);
    if (state == CLAIM_DRAINING)
        stop_begin_drain(j);
    if (state == CLAIM_HELD)
        waiting_review(j->broker);
    j->claim.state = state;
    /* Before anybody hears of it, so that everything is restored then. */
    if (state == CLAIM_GONE || state == CLAIM_QUARANTINED)
        broker_settle(j->broker);
    if (state == CLAIM_GONE)
        return;
    if (state == CLAIM_QUARANTINED && j->announced)
        release_healthy(j);
    if (state != CLAIM_AUTHORIZING && state != CLAIM_WAITING && /* it has no right to its devices yet */
            (in_quarantine || !j->attached))
        claim_run_attach(j);
    if (state == CLAIM_QUARANTINED) {
        audit_quarantined(j->broker->audit, &j->claim);
        figures_note_quarantine(&j->broker->figures, &j->claim.plan);
    }
    j->broker->figures.authentications += state == CLAIM_AUTHORIZING;
    j->broker->figures.waits += state == CLAIM_WAITING;
    j->broker->n_announced += !j->announced;
    j->announced = j->untold = true;
}

/* Are all its devices known to be gone, now or since before the start? No further event will report that. A
 * device that is still being made does not exist yet. */
static bool is_left_over(const ClaimRun *j) {
    for (size_t i = 0; i < j->claim.plan.n_members; i++) {
        const PlanMember *m = &j->claim.plan.members[i];

        if (plan_member_is_made(m) || (plan_member_is_moved(m) && claim_run_find_device(j, m)))
            return false;
    }
    return true;
}

static void run_save(ClaimRun *j) {
    j->dirty = true;
}

static void run_watch_close(ClaimRun *j) {
    if (!is_pushed(j, CLAIM_EVENT_CLOSED) && drain_is_closed(j))
        claim_run_push(j, CLAIM_EVENT_CLOSED);
}

static void run_reset(ClaimRun *j) {
    claim_work_reset(j);
    drain_unwatch(j); /* not before the record says that it is closed */
}

static void run_restore(ClaimRun *j) {
    grant_drop(j);
    group_files_drop(j);
    claim_run_drop_keeper(j);
    drain_unwatch(j);
    claim_work_restore(j);
}

static void run_authorize(ClaimRun *j) {
    if (claim_run_ask(j) < 0)
        claim_run_push(j, CLAIM_EVENT_DENIED);
}

/* Indexed by bit number; step() handles the others. */
static void (*const effect_table[CLAIM_EFFECTS])(ClaimRun *) = {
        run_save,
        claim_work_bind,
        run_open,
        run_reply,
        run_refuse,
        run_watch_close,
        run_reset,
        run_restore,
        run_forget,
        [10] = run_authorize,
        [12] = reservation_give_ticket,
};

static void run_effects(ClaimRun *j, unsigned effects) {
    for (unsigned bit = 0; bit < CLAIM_EFFECTS; bit++) {
        if (!(effects & 1U << bit))
            continue;
        (void) failpoint("effect", claim_effect_to_string(bit), "before");
        effect_table[bit](j);
        (void) failpoint("effect", claim_effect_to_string(bit), "after");
    }
}

/* The claim that its devices join may have ended. */
static ClaimEvent check_opened(ClaimRun *j, ClaimEvent event) {
    if (event != CLAIM_EVENT_OPENED || !claim_is_part(j) || claim_part_find_whole(j, &j->claim.refusal))
        return event;
    return CLAIM_EVENT_OPEN_FAILED;
}

/* Notes the end of a granted claim. */
static void note_end(ClaimRun *j, ClaimEvent event, ClaimState next) {
    if (j->claim.state != CLAIM_HELD || next == CLAIM_HELD || !j->granted || claim_is_part(j))
        return;
    j->broker->figures.ends[event == CLAIM_EVENT_DEVICE_GONE ? CLAIM_END_DEVICE_GONE : j->end]++;
}

static void step(ClaimRun *j, ClaimEvent fed) {
    ClaimEvent event = check_opened(j, fed);
    Transition t = machine_step(j->claim.state, event);
    bool entered = t.next != j->claim.state;
    unsigned deferred;

    if (t.effects & CLAIM_EFFECT_IMPOSSIBLE) {
        log_warning("Claim %s: event %s cannot happen in state %s, ignored", j->claim.id,
                claim_event_to_string(event), claim_state_to_string(j->claim.state));
        return;
    }
    if (t.effects & CLAIM_EFFECT_DEFER) {
        (void) failpoint("effect", "defer", "before");
        j->deferred |= 1U << event;
        (void) failpoint("effect", "defer", "after");
        claim_module_end(j, event);
        return;
    }
    deferred = t.next != j->claim.state ? j->deferred : 0;
    note_end(j, event, t.next);
    if (j->claim.state == CLAIM_QUARANTINED && t.next != CLAIM_QUARANTINED)
        claim_work_lift(j);
    if (event == CLAIM_EVENT_RETURNED) {
        j->returned = true;
        refusal_done(&j->claim.refusal); /* its caller was answered */
    }
    set_state(j, t.next);
    run_effects(j, t.effects);
    if (entered && t.next == CLAIM_HELD && !claim_is_part(j))
        sibling_note_all(j);
    if (t.next == CLAIM_QUARANTINED && !j->left_over && is_left_over(j)) {
        j->left_over = true;
        claim_run_push(j, CLAIM_EVENT_DEVICE_GONE);
    } else if (t.next == CLAIM_QUARANTINED && stuck_is_over(j))
        claim_run_push(j, CLAIM_EVENT_RETURNED);
    if (deferred == 0)
        return;
    j->deferred &= ~deferred;
    for (ClaimEvent e = 0; e < _CLAIM_EVENT_MAX; e++)
        if (deferred & (1U << e))
            claim_run_push(j, e);
}

bool claim_run_needs_noiommu(const ClaimRun *j) {
    switch (j->claim.state) {
    case CLAIM_REQUESTED:
    case CLAIM_AUTHORIZING:
    case CLAIM_WAITING:
    case CLAIM_RESERVED:
    case CLAIM_QUARANTINED:
    case CLAIM_GONE:
        return false;
    default:
        return j->claim.plan.backend == BACKEND_NOIOMMU;
    }
}

static void handle_events(ClaimRun *j) {
    int r;

    j->feeding = true;
    while (j->n_events > 0 && j->claim.state != CLAIM_GONE) {
        ClaimEvent next = j->events[j->first_event];

        j->first_event = (j->first_event + 1) % CLAIM_RUN_EVENTS_MAX;
        j->n_events--;
        step(j, next);
    }
    j->feeding = false;
    if (j->claim.state == CLAIM_GONE) {
        (void) claim_run_free(j);
        return;
    }
    tell(j);
    r = claim_run_flush(j);
    if (r < 0 && !j->save_failed)
        log_error_errno(
                r, "Claim %s: cannot write its record; a restart now would take an older one", j->claim.id);
    j->save_failed = r < 0; /* logged once: an owner may call Release repeatedly */
}

/* Later work for a claim (its devices appear, disappear and are restored) is charged to its user like the
 * call itself. Otherwise claiming and closing in a loop would be cheap. */
void claim_run_feed(ClaimRun *j, ClaimEvent event) {
    BudgetAccount *account = budget_account(j->broker->config.budget, j->claim.uid);
    uint64_t begin_usec = budget_now();

    claim_run_push(j, event);
    if (j->feeding)
        return;
    if (account)
        account->n_users++;
    handle_events(j);
    if (!account)
        return;
    account->n_users--;
    budget_spend(account, PURSE_LOOP, begin_usec, budget_now() - begin_usec);
}
