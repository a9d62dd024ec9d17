/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What claims count for against the limits of their rules: counted when a claim begins and ends, so that a
 * question costs the same however many claims there are.
 *
 * A limit of locked memory that was raised for a claim is put back at its end, to what the process had or to
 * what its other claims need. Where that cannot be done, because the process has set a limit itself since, or
 * was found again after a restart, the limit stays, and with its next claim the process could lock as much
 * again: then it counts until the process has ended, and claims of the same process that follow each other
 * share it. */

#include <systemd/sd-event.h>

#include "core/plan.h"
#include "daemon/kernel/memlock.h"

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
/* It was raised: from now on that counts until it is put back, or the process ends. */
void usage_set_raised(UsageCharge *c);
/* The claim has ended, and not only this daemon: what was raised for it is put back when it is discharged. */
void usage_end(UsageCharge *c);
/* Bytes: that the claims may lock whose limits were raised, and that their processes have locked now, as far
 * as these are known. */
void usage_get_memory(const Usage *u, uint64_t *ret_allowed, uint64_t *ret_locked);
/* Where to note how the limit of the process was changed; NULL on ENOMEM. */
MemlockChange *usage_limit(UsageCharge *c, const Subject *process);

/* What there is of one rule, as seen by a subject; without what except, of the same user, counts for (may be
 * NULL). */
void usage_count(const Usage *u, const char *rule_key, const Subject *subject, const UsageCharge *except,
        RuleUsage *ret);
