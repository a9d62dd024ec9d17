/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The devices of a claim are wanted back, until a certain time: by the operator, because the time of the
 * claim is over, or for a request of a higher priority. The holder learns of it, and may say that it has
 * understood, or ask for more time: as much as the rule allows, all answers together. What is
 * not given back in time is overdue, which everybody sees. Only if the rule says so, the claim is then ended,
 * and whoever keeps its devices open is stopped. Pure. */

#include "core/request.h"

#define EVICTION_IN_DEFAULT_SEC 30U
#define SLEEP_DELAY_MAX_SEC 3600U
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
    uint32_t stop_after_sec;     /* how long a claim may be overdue before it is ended; 0: forever */
    uint32_t sleep_delay_sec;    /* how long the host waits for the holder before it sleeps */
    uint32_t drain_timeout_sec;  /* and how long its devices may be open when it has ended; 0: forever */
    bool d3cold;                 /* its devices may fall into D3cold */
    bool preemptible;            /* it is evicted for a request of a higher priority that waits */
} HoldTerms;

/* The stricter of both rules in everything: a holder cannot get rid of what the rule of one device demands by
 * adding another device. */
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

/* Who keeps the devices of a claim open that has ended is asked to end (SIGTERM), and killed when that does
 * not help (SIGKILL), again and again: it may have made others meanwhile. */
#define STOP_STEP_SEC 10U /* from one signal to the next */

typedef enum StopState {
    STOP_NONE,
    STOP_DUE,    /* at its time, they are sent SIGTERM */
    STOP_ASKED,  /* they were; at its time, they are killed */
    STOP_KILLED, /* who is left is, again */
    _STOP_STATE_MAX,
    _STOP_STATE_INVALID = -EINVAL,
} StopState;
DECLARE_STRING_TABLE(stop_state, StopState); /* "none", "due", "asked", "killed" */

typedef struct Stop {
    StopState state;
    uint64_t at_usec;       /* CLOCK_REALTIME, for people */
    uint64_t deadline_usec; /* CLOCK_BOOTTIME */
} Stop;

void stop_begin(Stop *s, uint64_t in_sec, uint64_t real_usec, uint64_t boot_usec);
/* The signal that comes next. */
int stop_signal(const Stop *s);
/* It was sent to somebody, or nobody was found: whoever is found next gets the same. */
void stop_note_sent(Stop *s, bool any, uint64_t real_usec, uint64_t boot_usec);
/* When an overdue claim is ended, by the clock of its eviction; 0: never. */
uint64_t eviction_stop_usec(const HoldTerms *terms, uint64_t eviction_usec);

/* Begins it anew, or ends it. What has another cause than the operator never prolongs one that is under way;
 * the clocks are those of now. 0, or refused. */
int eviction_begin(
        Eviction *v, const EvictionWish *wish, uint64_t real_usec, uint64_t boot_usec, Refusal *refusal);
/* The holder has understood, and asks for so much more time; max: of its rule. 0, or refused. */
int eviction_answer(Eviction *v, uint64_t more_sec, uint32_t max_sec, Refusal *refusal);
/* A clock has come to boot_usec: true when that makes it overdue. */
bool eviction_is_due(Eviction *v, uint64_t boot_usec);
