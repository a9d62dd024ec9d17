/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/evict.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/broker/claim-run.h"
#include "daemon/broker/stop.h"
#include "daemon/broker/waiting.h"

#define USEC_PER_SEC UINT64_C(1000000)
#define PAUSE_USEC (1 * USEC_PER_SEC)

/* If the record cannot be written now, it is written later; until then a crash undoes the eviction. */
static void keep(ClaimRun *j) {
    int r;

    j->dirty = true;
    r = claim_run_flush(j);
    if (r < 0)
        log_error_errno(r, "Claim %s: cannot write its record with the eviction", j->claim.id);
    claim_run_announce(j, CLAIM_EVICTED);
}

/* The holder's time is over, and the rule decides what follows. */
static int on_stop_due(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;

    j->eviction = sd_event_source_disable_unref(j->eviction);
    stop_begin(&j->claim.stop, 0, broker_now_usec(), clock_usec(CLOCK_BOOTTIME));
    audit_eviction_enforced(&j->claim);
    j->end = CLAIM_END_EVICTED;
    (void) refuse(&j->claim.refusal, VFIOD_ERROR_TIMED_OUT, NULL, "its holder did not give it back in time");
    claim_run_feed(j, CLAIM_EVENT_RELEASE);
    return 0;
}

static int watch_overdue(ClaimRun *j) {
    uint64_t usec = eviction_stop_usec(&j->claim.plan.hold, j->claim.eviction.deadline_usec);

    if (usec == 0)
        return 0;
    return sd_event_add_time(j->broker->event, &j->eviction, CLOCK_BOOTTIME, usec, 1, on_stop_due, j);
}

static int on_due(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;

    if (!eviction_is_due(&j->claim.eviction, usec))
        return 0;
    audit_eviction_overdue(&j->claim);
    keep(j);
    (void) evict_watch(j);
    return 0;
}

static int begin(ClaimRun *j, const EvictionWish *wish, Refusal *refusal);

static void begin_by_deadline(ClaimRun *j) {
    static const EvictionWish wish = {.cause = EVICTION_BY_DEADLINE,
            .in_sec = EVICTION_IN_DEFAULT_SEC,
            .reason = "the time of the claim is over"};
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;

    if (begin(j, &wish, &refusal) < 0)
        log_error("Claim %s: its time is over, and it cannot be evicted: %s", j->claim.id, refusal.reason);
    else if (j->claim.eviction.cause == EVICTION_BY_DEADLINE)
        audit_deadline(&j->claim);
}

/* It fires once, whatever happens to the eviction. */
static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;

    j->claim.deadline_usec = 0;
    begin_by_deadline(j);
    return 0;
}

/* Is the deadline over, and not lifted by root? */
static bool deadline_is_over(const Claim *c) {
    return c->until_usec != 0 && c->deadline_usec == 0;
}

void evict_limit(Claim *c, uint32_t duration_sec) {
    uint64_t deadline_usec = clock_usec(CLOCK_BOOTTIME) + duration_sec * USEC_PER_SEC;

    if (duration_sec == 0 || (c->until_usec != 0 && c->deadline_usec <= deadline_usec))
        return;
    c->deadline_usec = deadline_usec;
    c->until_usec = broker_now_usec() + duration_sec * USEC_PER_SEC;
}

void evict_end(ClaimRun *j) {
    bool was_evicted = j->claim.eviction.state != EVICTION_NONE;

    j->eviction = sd_event_source_disable_unref(j->eviction);
    j->expiry = sd_event_source_disable_unref(j->expiry);
    j->pause = sd_event_source_disable_unref(j->pause);
    eviction_end(&j->claim.eviction, &j->claim.plan.hold, &j->claim.stop);
    if (was_evicted && j->told)
        claim_run_announce(j, CLAIM_EVICTED);
}

int evict_watch(ClaimRun *j) {
    EvictionState state = j->claim.eviction.state;
    int r = 0;

    j->eviction = sd_event_source_disable_unref(j->eviction);
    j->expiry = sd_event_source_disable_unref(j->expiry);
    if (j->claim.deadline_usec > 0)
        r = sd_event_add_time(
                j->broker->event, &j->expiry, CLOCK_BOOTTIME, j->claim.deadline_usec, 1, on_deadline, j);
    if (r < 0)
        return r;
    if (state == EVICTION_NONE)
        return 0;
    if (state == EVICTION_OVERDUE)
        return watch_overdue(j);
    return sd_event_add_time(
            j->broker->event, &j->eviction, CLOCK_BOOTTIME, j->claim.eviction.deadline_usec, 1, on_due, j);
}

static int find_held(Broker *e, const char *name, const Subject *subject, ClaimRun **ret, Refusal *refusal) {
    int r;

    r = broker_find_own(e, name, subject, ret, refusal);
    if (r < 0 || (*ret)->claim.state == CLAIM_HELD)
        return r;
    return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "claim %s is not held (%s)", (*ret)->claim.id,
            claim_state_to_string((*ret)->claim.state));
}

static int change(ClaimRun *j, const Eviction *v, Refusal *refusal) {
    Eviction before = j->claim.eviction;
    int r;

    j->claim.eviction = *v;
    r = evict_watch(j);
    if (r < 0) {
        j->claim.eviction = before;
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "cannot watch the time: %s", strerror(-r));
    }
    keep(j);
    return 0;
}

/* Who may keep the claim may also close later what was given back of it: see eviction_end(). */
static void spare_parts(const ClaimRun *j) {
    for (ClaimRun *part = j->broker->claims; part; part = part->next)
        if (streq(part->claim.of, j->claim.id) && part->claim.stop.state == STOP_DUE) {
            stop_end(part);
            stop_begin_drain(part);
            keep(part);
        }
}

static int begin(ClaimRun *j, const EvictionWish *wish, Refusal *refusal) {
    Eviction v = j->claim.eviction;
    int r;

    r = eviction_begin(&v, wish, broker_now_usec(), clock_usec(CLOCK_BOOTTIME), refusal);
    if (r >= 0)
        r = change(j, &v, refusal);
    if (r >= 0 && wish->cancel)
        spare_parts(j);
    return r;
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;

    j->pause = sd_event_source_disable_unref(j->pause);
    waiting_review(j->broker);
    return 0;
}

/* Each eviction is recorded and announced to everybody, so a user who waits and leaves repeatedly must not
 * cause many. */
static void pause_evictions(ClaimRun *j) {
    int r = sd_event_add_time_relative(
            j->broker->event, &j->pause, CLOCK_MONOTONIC, PAUSE_USEC, 0, on_pause_over, j);

    if (r < 0)
        log_warning_errno(r, "Claim %s: cannot watch the pause after its eviction", j->claim.id);
}

void evict_for_waiter(ClaimRun *j, bool wanted) {
    const EvictionWish wish = {.cause = EVICTION_BY_PRIORITY,
            .in_sec = EVICTION_IN_DEFAULT_SEC,
            .reason = "a request of a higher priority waits for it",
            .cancel = !wanted};
    EvictionMove move = eviction_for_waiter(
            &j->claim.eviction, wanted, j->spared || j->pause, deadline_is_over(&j->claim));
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;

    if (move == EVICTION_STAYS)
        return;
    if (move == EVICTION_TURNS) {
        j->claim.eviction = (Eviction){};
        begin_by_deadline(j);
        return;
    }
    if (begin(j, &wish, &refusal) < 0) {
        log_error("Claim %s: cannot evict it for a request that waits: %s", j->claim.id, refusal.reason);
        return;
    }
    audit_preempted(j->broker->audit, &j->claim, j->wanted_by);
    if (!wanted && !j->pause)
        pause_evictions(j);
}

int broker_evict(
        Broker *e, const char *name, const EvictionWish *wish, const Subject *subject, Refusal *refusal) {
    ClaimRun *j;
    int r;

    if (!subject_is_operator(subject)) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can evict a claim");
        refusal->remedy = strdup("Do it as root. No rule can allow it.");
        return r;
    }
    r = find_held(e, name, subject, &j, refusal);
    if (r >= 0)
        j->spared = wish->cancel && j->claim.eviction.cause == EVICTION_BY_PRIORITY;
    if (r >= 0 && wish->cancel && deadline_is_over(&j->claim)) /* root lifts it */
        j->claim.until_usec = 0;
    if (r >= 0)
        r = begin(j, wish, refusal);
    if (r < 0)
        return r;
    audit_evicted(&j->claim, subject);
    if (wish->cancel) /* a request may wait that would have evicted it */
        waiting_review(e);
    return 0;
}

int broker_answer_eviction(
        Broker *e, const char *name, uint64_t more_sec, const Subject *subject, Refusal *refusal) {
    Eviction v;
    ClaimRun *j;
    int r;

    r = find_held(e, name, subject, &j, refusal);
    if (r < 0)
        return r;
    v = j->claim.eviction;
    r = eviction_answer(&v, more_sec, j->claim.plan.hold.eviction_delay_sec, refusal);
    if (r >= 0)
        r = change(j, &v, refusal);
    if (r >= 0)
        audit_eviction_answered(e->audit, &j->claim, more_sec);
    return r;
}
