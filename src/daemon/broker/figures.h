/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Counters since the start of the daemon, for monitoring. They only grow, and begin at 0 with each start.
 * Words of labels are vfiod's own and few. Rules have names that the operator chose: a limited number is
 * counted by name, the rest together. */

#include "core/claim.h"

#define FIGURES_RULES_MAX 256U
#define FIGURES_OTHER_RULES "(other rules)"

typedef enum ClaimEnd {
    CLAIM_END_TETHER,   /* its tether has ended, also while no daemon ran */
    CLAIM_END_RELEASED, /* its user released it */
    CLAIM_END_OPERATOR, /* root released it */
    CLAIM_END_DEVICE_GONE,
    CLAIM_END_EVICTED, /* it was overdue */
    _CLAIM_END_MAX,
    _CLAIM_END_INVALID = -EINVAL,
} ClaimEnd;
DECLARE_STRING_TABLE(claim_end, ClaimEnd); /* "tether", "released", "operator", "device-gone", "evicted" */

/* What workers do with a device. */
typedef enum FigureWork {
    FIGURE_BIND,
    FIGURE_RESET,
    FIGURE_RESTORE,
    _FIGURE_WORK_MAX,
} FigureWork;

typedef struct FigureRule {
    char *key; /* owned; rule_key() */
    uint64_t grants, refusals;
} FigureRule;

typedef struct Figures {
    uint64_t started_usec, policy_loaded_usec; /* CLOCK_REALTIME */
    uint64_t grants, reservations, authentications, waits;
    uint64_t refusals[_VFIOD_ERROR_MAX], ends[_CLAIM_END_MAX], quarantines[_MEMBER_FAILURE_MAX];
    uint64_t done[_FIGURE_WORK_MAX], failed[_FIGURE_WORK_MAX];
    uint64_t policies_loaded, policies_failed;
    FigureRule *rules; /* owned */
    size_t n_rules;
    FigureRule other_rules;
} Figures;

void figures_done(Figures *f);

/* A claim, or devices that join one, are handed out. */
void figures_note_grant(Figures *f, const Plan *plan);
void figures_note_refusal(Figures *f, const Refusal *refusal);
/* Some of these devices are bad now. */
void figures_note_quarantine(Figures *f, const Plan *plan);
void figures_note_work(Figures *f, FigureWork work, bool done);
void figures_note_policy(Figures *f, uint64_t now_usec, bool loaded);
