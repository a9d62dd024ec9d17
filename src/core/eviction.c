/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/eviction.h"

#include <inttypes.h>
#include <signal.h>

#include "base/str.h"

#define USEC_PER_SEC UINT64_C(1000000)

static const char *const eviction_state_table[_EVICTION_STATE_MAX] = {
        [EVICTION_NONE] = "none",
        [EVICTION_ANNOUNCED] = "announced",
        [EVICTION_ACKNOWLEDGED] = "acknowledged",
        [EVICTION_OVERDUE] = "overdue",
};
DEFINE_STRING_TABLE(eviction_state, EvictionState);

static const char *const eviction_cause_table[_EVICTION_CAUSE_MAX] = {
        [EVICTION_BY_OPERATOR] = "operator",
        [EVICTION_BY_DEADLINE] = "deadline",
        [EVICTION_BY_PRIORITY] = "priority",
};
DEFINE_STRING_TABLE(eviction_cause, EvictionCause);

/* The lower limit; 0 means no limit. */
static uint32_t meet_limits(uint32_t a, uint32_t b) {
    return a == 0 || b == 0 ? MAX(a, b) : MIN(a, b);
}

HoldTerms hold_terms_meet(const HoldTerms *a, const HoldTerms *b) {
    return (HoldTerms){.eviction_delay_sec = MIN(a->eviction_delay_sec, b->eviction_delay_sec),
            .max_duration_sec = meet_limits(a->max_duration_sec, b->max_duration_sec),
            .d3cold = a->d3cold && b->d3cold,
            .preemptible = a->preemptible || b->preemptible,
            .sleep_delay_sec = MIN(a->sleep_delay_sec, b->sleep_delay_sec),
            .stop_after_sec = meet_limits(a->stop_after_sec, b->stop_after_sec),
            .drain_timeout_sec = meet_limits(a->drain_timeout_sec, b->drain_timeout_sec)};
}

int eviction_begin(
        Eviction *v, const EvictionWish *wish, uint64_t real_usec, uint64_t boot_usec, Refusal *refusal) {
    Eviction begun = {.state = EVICTION_ANNOUNCED,
            .cause = wish->cause,
            .at_usec = real_usec + wish->in_sec * USEC_PER_SEC,
            .deadline_usec = boot_usec + wish->in_sec * USEC_PER_SEC};
    _cleanup_free_ char *reason = sanitize(wish->reason ?: "", REQUEST_REASON_MAX);

    if (wish->cancel && v->state == EVICTION_NONE)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the claim is not being evicted");
    if (wish->cancel) {
        *v = (Eviction){};
        return 0;
    }
    if (wish->in_sec > EVICTION_SEC_MAX)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the option \"in\" must be 0 to %u seconds", EVICTION_SEC_MAX);
    if (!reason)
        return refuse(refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    if (strlen(reason) >= sizeof(begun.reason))
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL,
                "the reason is longer than %zu bytes (a control character counts as four)",
                sizeof(begun.reason) - 1);
    if (wish->cause != EVICTION_BY_OPERATOR && v->state != EVICTION_NONE &&
            v->deadline_usec <= begun.deadline_usec)
        return 0;
    strcpy(begun.reason, reason);
    *v = begun;
    return 0;
}

int eviction_answer(Eviction *v, uint64_t more_sec, uint32_t max_sec, Refusal *refusal) {
    uint32_t left = max_sec > v->more_sec ? max_sec - v->more_sec : 0;
    int r;

    if (v->state == EVICTION_NONE)
        return refuse(refusal, VFIOD_ERROR_INVALID_ARGUMENT, NULL, "the claim is not being evicted");
    if (v->state == EVICTION_OVERDUE && more_sec > 0)
        return refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL, "the time to give the claim back is over");
    if (more_sec > left) {
        r = refuse(refusal, VFIOD_ERROR_LIMIT_EXCEEDED, NULL,
                "the rule of the claim allows %u seconds more, and %" PRIu64 " were requested", left,
                more_sec);
        refusal->remedy = strdup("Give the devices back in time, or ask the operator for more of it.");
        return r;
    }
    if (v->state == EVICTION_ANNOUNCED)
        v->state = EVICTION_ACKNOWLEDGED;
    v->more_sec += (uint32_t) more_sec;
    v->at_usec += more_sec * USEC_PER_SEC;
    v->deadline_usec += more_sec * USEC_PER_SEC;
    return 0;
}

bool eviction_is_due(Eviction *v, uint64_t boot_usec) {
    if (v->state == EVICTION_NONE || v->state == EVICTION_OVERDUE || boot_usec < v->deadline_usec)
        return false;
    v->state = EVICTION_OVERDUE;
    return true;
}

uint64_t eviction_stop_usec(const HoldTerms *terms, uint64_t eviction_usec) {
    return terms->stop_after_sec == 0 ? 0 : eviction_usec + terms->stop_after_sec * USEC_PER_SEC;
}

void eviction_end(Eviction *v, const HoldTerms *terms, Stop *s) {
    uint64_t deadline_usec = eviction_stop_usec(terms, v->deadline_usec);

    if (v->state != EVICTION_NONE && deadline_usec != 0 && s->state == STOP_NONE)
        *s = (Stop){.state = STOP_DUE,
                .at_usec = eviction_stop_usec(terms, v->at_usec),
                .deadline_usec = deadline_usec};
    *v = (Eviction){};
}

EvictionMove eviction_for_waiter(const Eviction *v, bool wanted, bool spared, bool deadline_is_over) {
    if (wanted)
        return v->state != EVICTION_NONE || spared ? EVICTION_STAYS : EVICTION_BEGINS;
    if (v->state == EVICTION_NONE || v->cause != EVICTION_BY_PRIORITY)
        return EVICTION_STAYS;
    return deadline_is_over ? EVICTION_TURNS : EVICTION_IS_CANCELLED;
}

/* ---- Stopping holders ---- */

static const char *const stop_state_table[_STOP_STATE_MAX] = {
        [STOP_NONE] = "none",
        [STOP_DUE] = "due",
        [STOP_ASKED] = "asked",
        [STOP_KILLED] = "killed",
};
DEFINE_STRING_TABLE(stop_state, StopState);

void stop_begin(Stop *s, uint64_t in_sec, uint64_t real_usec, uint64_t boot_usec) {
    *s = (Stop){.state = STOP_DUE,
            .at_usec = real_usec + in_sec * USEC_PER_SEC,
            .deadline_usec = boot_usec + in_sec * USEC_PER_SEC};
}

void stop_limit(Stop *s, uint64_t in_sec, uint64_t real_usec, uint64_t boot_usec) {
    if (s->state == STOP_NONE ||
            (s->state == STOP_DUE && s->deadline_usec > boot_usec + in_sec * USEC_PER_SEC))
        stop_begin(s, in_sec, real_usec, boot_usec);
}

int stop_signal(const Stop *s) {
    return s->state == STOP_DUE ? SIGTERM : SIGKILL;
}

void stop_note_sent(Stop *s, bool any, uint64_t real_usec, uint64_t boot_usec) {
    StopState state = !any ? s->state : s->state == STOP_DUE ? STOP_ASKED : STOP_KILLED;

    stop_begin(s, STOP_STEP_SEC, real_usec, boot_usec);
    s->state = state;
}
