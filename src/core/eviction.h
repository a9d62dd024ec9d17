/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The devices of a claim are wanted back, until a certain time: by the operator, because the time of the
 * claim is over, or for a request of a higher priority. The holder learns of it, and may say that it has
 * understood, or ask for more time: as much as the rule allows, all answers together. Nothing is taken from a
 * holder that does not give it back: then that is overdue, which everybody sees. Pure. */

#include "core/request.h"

#define EVICTION_IN_DEFAULT_SEC 30U
#define EVICTION_SEC_MAX 86400U /* until then, and how much more a rule can allow */

typedef enum EvictionState {
    EVICTION_NONE,
    EVICTION_ANNOUNCED,    /* the holder has not answered */
    EVICTION_ACKNOWLEDGED, /* it has */
    EVICTION_OVERDUE,      /* the time is over, and the holder still has the devices */
    _EVICTION_STATE_MAX,
    _EVICTION_STATE_INVALID = -EINVAL,
} EvictionState;
DECLARE_STRING_TABLE(eviction_state, EvictionState); /* "none", "announced", "acknowledged", "overdue" */

typedef enum EvictionCause {
    EVICTION_BY_OPERATOR,
    EVICTION_BY_DEADLINE, /* the time that the claim may be held for is over */
    EVICTION_BY_PRIORITY, /* a request of a higher priority waits for its devices */
    _EVICTION_CAUSE_MAX,
    _EVICTION_CAUSE_INVALID = -EINVAL,
} EvictionCause;
DECLARE_STRING_TABLE(eviction_cause, EvictionCause); /* "operator", "deadline", "priority" */

/* What a rule says about how long its claims are held. */
typedef struct HoldTerms {
    uint32_t eviction_delay_sec; /* how much more time a holder that is evicted may have */
    uint32_t max_duration_sec;   /* for how long a claim is held at most; 0: no limit */
    bool preemptible;            /* it is evicted for a request of a higher priority that waits */
} HoldTerms;

/* What both rules of a claim allow. */
HoldTerms hold_terms_meet(const HoldTerms *a, const HoldTerms *b);

typedef struct Eviction {
    EvictionState state;
    EvictionCause cause;
    uint64_t at_usec;                /* CLOCK_REALTIME, for people */
    uint64_t deadline_usec;          /* the same, CLOCK_BOOTTIME, which nobody sets: this one counts */
    uint32_t more_sec;               /* that the holder was given already */
    char reason[REQUEST_REASON_MAX]; /* sanitized */
} Eviction;

/* What the operator, or the cause, says. */
typedef struct EvictionWish {
    EvictionCause cause;
    uint64_t in_sec;
    bool cancel;
    const char *reason; /* NULL: none */
} EvictionWish;

/* Begins it anew, or ends it. What has another cause than the operator never prolongs one that is under way;
 * the clocks are those of now. 0, or refused. */
int eviction_begin(
        Eviction *v, const EvictionWish *wish, uint64_t real_usec, uint64_t boot_usec, Refusal *refusal);
/* The holder has understood, and asks for so much more time; max: of its rule. 0, or refused. */
int eviction_answer(Eviction *v, uint64_t more_sec, uint32_t max_sec, Refusal *refusal);
/* A clock has come to boot_usec: true when that makes it overdue. */
bool eviction_is_due(Eviction *v, uint64_t boot_usec);
