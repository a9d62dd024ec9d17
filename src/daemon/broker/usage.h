/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Counts claims for the limits of their rules, when a claim begins and ends, so that a check costs the same
 * for any number of claims.
 *
 * A limit of locked memory that was raised for a claim is restored at its end to the old value, or to what
 * other claims of the process need. If that is impossible, because the process has changed the limit itself
 * or was found again after a restart, the limit stays raised. With its next claim the process could lock as
 * much again, so the amount counts until the process ends; claims of that process share it. */

#include <systemd/sd-event.h>

#include "core/plan.h"
#include "daemon/kernel/memlock.h"

typedef struct Usage Usage;
typedef struct UsageCharge UsageCharge;

int usage_new(sd_event *event, Usage **ret);
Usage *usage_free(Usage *u); /* every charge must have been freed */
DEFINE_TRIVIAL_CLEANUP_FUNC(Usage *, usage_free);

/* Counts a claim with this plan. process: the one whose limit will be raised; NULL: unknown. of: the claim
 * that it will join, which is counted already; NULL: none. 0, or refused. */
int usage_charge(Usage *u, const Plan *plan, uid_t uid, const Subject *process, const UsageCharge *of,
        UsageCharge **ret);
/* c counts what its plan has now, because the other joined it (ownership is taken; may be NULL) or devices
 * left it. */
void usage_change(UsageCharge *c, UsageCharge *joined, const Plan *plan);
UsageCharge *usage_discharge(UsageCharge *c);
/* The limit of locked memory that the process needs for all its claims. */
uint64_t usage_memlock(const UsageCharge *c);
/* The limit was raised: this counts until it is restored, or the process ends. */
void usage_set_raised(UsageCharge *c);
/* The claim has ended, and not just this daemon: a raised limit is restored when the charge is freed. */
void usage_end(UsageCharge *c);
/* In bytes: what claims with raised limits can lock, and what their processes have locked now, as far as
 * known. */
void usage_get_memory(const Usage *u, uint64_t *ret_allowed, uint64_t *ret_locked);
/* Where changes of the process's limit are noted; NULL on ENOMEM. */
MemlockChange *usage_limit(UsageCharge *c, const Subject *process);

/* The usage of one rule, as it applies to a subject; without that of except, a claim of the same user (may be
 * NULL). */
void usage_count(const Usage *u, const char *rule_key, const Subject *subject, const UsageCharge *except,
        RuleUsage *ret);
