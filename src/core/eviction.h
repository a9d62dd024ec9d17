/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Eviction: the devices of a claim must be given back by a certain time. The cause is the operator, the
 * claim's deadline, or a waiting request of a higher priority. The holder is notified. It can acknowledge, or
 * ask for more time, up to what the rule allows in total. A claim that is not given back in time is overdue,
 * and this is visible. Only if the rule says so, the claim is then ended and processes that keep its devices
 * open are stopped. Pure. */

#include "core/request.h"

#define EVICTION_IN_DEFAULT_SEC 30U
#define SLEEP_DELAY_MAX_SEC 3600U
#define EVICTION_SEC_MAX 86400U /* of the delay, and of the additional time that a rule can allow */

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
    EVICTION_BY_DEADLINE, /* the claim's maximum duration is over */
    EVICTION_BY_PRIORITY, /* a request of a higher priority waits for its devices */
    _EVICTION_CAUSE_MAX,
    _EVICTION_CAUSE_INVALID = -EINVAL,
} EvictionCause;
DECLARE_STRING_TABLE(eviction_cause, EvictionCause); /* "operator", "deadline", "priority" */

/* What a rule sets about how long its claims are held. */
typedef struct HoldTerms {
    uint32_t eviction_delay_sec; /* how much more time an evicted holder can get */
    uint32_t max_duration_sec;   /* how long a claim can be held; 0: no limit */
    uint32_t stop_after_sec;     /* how long a claim can be overdue before it is ended; 0: forever */
    uint32_t sleep_delay_sec;    /* how long the host waits for the holder before it sleeps */
    uint32_t drain_timeout_sec;  /* how long devices may stay open after the claim's end; 0: forever */
    bool d3cold;                 /* its devices may fall into D3cold */
    bool preemptible;            /* it is evicted for a waiting request of a higher priority */
} HoldTerms;

/* The stricter of both in everything: adding a device must not remove limits that the rule of another device
 * sets. */
HoldTerms hold_terms_meet(const HoldTerms *a, const HoldTerms *b);

typedef struct Eviction {
    EvictionState state;
    EvictionCause cause;
    uint64_t at_usec;                /* CLOCK_REALTIME, for display */
    uint64_t deadline_usec;          /* the same in CLOCK_BOOTTIME, which cannot be set: this one decides */
    uint32_t more_sec;               /* that the holder got so far */
    char reason[REQUEST_REASON_MAX]; /* sanitized */
} Eviction;

/* What the operator, or the cause, wants. */
typedef struct EvictionWish {
    EvictionCause cause;
    uint64_t in_sec;
    bool cancel;
    const char *reason; /* NULL: none */
} EvictionWish;

/* Processes that keep the devices of an ended claim open get SIGTERM, and then SIGKILL repeatedly, because
 * they may have made new processes meanwhile. */
#define STOP_STEP_SEC 10U /* from one signal to the next */

typedef enum StopState {
    STOP_NONE,
    STOP_DUE,    /* they get SIGTERM at its time */
    STOP_ASKED,  /* they got SIGTERM; at its time they are killed */
    STOP_KILLED, /* they were killed; the rest is killed again */
    _STOP_STATE_MAX,
    _STOP_STATE_INVALID = -EINVAL,
} StopState;
DECLARE_STRING_TABLE(stop_state, StopState); /* "none", "due", "asked", "killed" */

typedef struct Stop {
    StopState state;
    uint64_t at_usec;       /* CLOCK_REALTIME, for display */
    uint64_t deadline_usec; /* CLOCK_BOOTTIME */
} Stop;

void stop_begin(Stop *s, uint64_t in_sec, uint64_t real_usec, uint64_t boot_usec);
/* The same, unless they are stopped earlier anyway. */
void stop_limit(Stop *s, uint64_t in_sec, uint64_t real_usec, uint64_t boot_usec);
/* The next signal. */
int stop_signal(const Stop *s);
/* Notes that the signal was sent. any is false when no process was found: those found later get the same
 * signal. */
void stop_note_sent(Stop *s, bool any, uint64_t real_usec, uint64_t boot_usec);
/* When an overdue claim is ended, on the clock of eviction_usec; 0: never. */
uint64_t eviction_stop_usec(const HoldTerms *terms, uint64_t eviction_usec);

/* Begins, replaces or ends an eviction. A cause other than the operator never prolongs a current one. The
 * clocks are the current times. 0, or refused. */
int eviction_begin(
        Eviction *v, const EvictionWish *wish, uint64_t real_usec, uint64_t boot_usec, Refusal *refusal);
/* The holder acknowledges and asks for more_sec seconds more. max_sec: the limit of its rule. 0, or
 * refused. */
int eviction_answer(Eviction *v, uint64_t more_sec, uint32_t max_sec, Refusal *refusal);
/* Updates the state at boot_usec. True when the eviction becomes overdue by that. */
bool eviction_is_due(Eviction *v, uint64_t boot_usec);
/* The claim ends, and with it the eviction. What the rule says about processes that keep the devices open
 * still applies, at the same time: giving back the claim without its devices must not help anybody. */
void eviction_end(Eviction *v, const HoldTerms *terms, Stop *s);

typedef enum EvictionMove {
    EVICTION_STAYS,
    EVICTION_BEGINS,
    EVICTION_IS_CANCELLED,
    EVICTION_TURNS, /* into that for the deadline, which is over and was not announced before */
} EvictionMove;

/* What to do with the eviction of a claim when it was found out whether a request of a higher priority waits
 * for its devices. spared: there is to be none for such a request now. */
EvictionMove eviction_for_waiter(const Eviction *v, bool wanted, bool spared, bool deadline_is_over);
