/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/evict.h"

#include <time.h>

#include "base/log.h"
#include "daemon/broker/claim-run.h"

static uint64_t boottime_now(void) {
    struct timespec ts;

    (void) clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

/* A record that cannot be written is written later; until then a crash takes the eviction back. */
static void keep(ClaimRun *j) {
    int r;

    j->dirty = true;
    r = claim_run_flush(j);
    if (r < 0)
        log_error_errno(r, "Claim %s: cannot write its record with the eviction", j->claim.id);
    claim_run_announce(j, CLAIM_EVICTED);
}

static int on_due(sd_event_source *s, uint64_t usec, void *userdata) {
    ClaimRun *j = userdata;

    if (!eviction_is_due(&j->claim.eviction, usec))
        return 0;
    audit_eviction_overdue(&j->claim);
    keep(j);
    return 0;
}

void evict_end(ClaimRun *j) {
    bool was_evicted = j->claim.eviction.state != EVICTION_NONE;

    j->eviction = sd_event_source_disable_unref(j->eviction);
    j->claim.eviction = (Eviction){};
    if (was_evicted && j->told)
        claim_run_announce(j, CLAIM_EVICTED);
}

int evict_watch(ClaimRun *j) {
    EvictionState state = j->claim.eviction.state;

    j->eviction = sd_event_source_disable_unref(j->eviction);
    if (state == EVICTION_NONE || state == EVICTION_OVERDUE)
        return 0;
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

int broker_evict(
        Broker *e, const char *name, const EvictionWish *wish, const Subject *subject, Refusal *refusal) {
    Eviction v;
    ClaimRun *j;
    int r;

    if (!subject_is_operator(subject)) {
        r = refuse(refusal, VFIOD_ERROR_ACCESS_DENIED, NULL, "only root can evict a claim");
        refusal->remedy = strdup("Do it as root. No rule can allow it.");
        return r;
    }
    r = find_held(e, name, subject, &j, refusal);
    if (r < 0)
        return r;
    v = j->claim.eviction;
    r = eviction_begin(&v, wish, broker_now_usec(), boottime_now(), refusal);
    if (r >= 0)
        r = change(j, &v, refusal);
    if (r >= 0)
        audit_evicted(&j->claim, subject);
    return r;
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
    r = eviction_answer(&v, more_sec, j->claim.plan.eviction_delay_sec, refusal);
    if (r >= 0)
        r = change(j, &v, refusal);
    if (r >= 0)
        audit_eviction_answered(e->audit, &j->claim, more_sec);
    return r;
}
