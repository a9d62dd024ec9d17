/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What claims count for against the limits of their rules: counted when a claim begins and ends, so that a
 * question costs the same however many claims there are.
 *
 * Memory that a process was allowed to lock counts for longer than its claim. The limit of the process stays
 * raised, and with its next claim it could lock as much again. So it counts until the process has ended;
 * claims of the same process that follow each other share it. */

#include <systemd/sd-event.h>

#include "core/plan.h"

typedef struct Usage Usage;
typedef struct UsageCharge UsageCharge;

int usage_new(sd_event *event, Usage **ret);
Usage *usage_free(Usage *u); /* every charge must be gone */
DEFINE_TRIVIAL_CLEANUP_FUNC(Usage *, usage_free);

/* Counts a claim with this plan. process: the one whose limit will be raised, NULL: not known any more. of:
 * the claim that it will join, which is counted already; NULL: none. */
int usage_charge(Usage *u, const Plan *plan, uid_t uid, const Subject *process, const UsageCharge *of,
        UsageCharge **ret);
/* The other has joined c (taken over; may be NULL), or c has lost devices: counts what its plan has now. */
void usage_change(UsageCharge *c, UsageCharge *joined, const Plan *plan);
UsageCharge *usage_discharge(UsageCharge *c);
/* What the limit of locked memory of the process must be, for all its claims together. */
uint64_t usage_memlock(const UsageCharge *c);
/* It was raised: from now on that counts until the process ends. */
void usage_set_raised(UsageCharge *c);

/* What there is of one rule, as seen by a subject. */
void usage_count(const Usage *u, const char *rule_key, const Subject *subject, RuleUsage *ret);
