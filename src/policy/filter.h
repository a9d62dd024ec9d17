/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A rule in one cache line: enough to pass by most rules of a long policy without looking at them. It may say
 * "surely not" and never more: what it lets through is asked properly. It says so only because of facts that
 * are known; whoever is unknown passes every filter.
 *
 * Internal to the policy, like policy-rule.h. */

#include "policy/rule.h"

typedef struct RuleFilter {
    uint64_t id, id_mask;         /* the bits that all its ids have in common */
    uint64_t device, device_mask; /* the same of its addresses */
    uint64_t gids, gids_again;    /* each gid is one bit here and one bit there */
    uint32_t uid_min, uid_max;
    uint32_t class, class_mask;
} __attribute__((aligned(64))) RuleFilter;

/* The same of a question. */
typedef struct QuestionFilter {
    uint64_t id, device, gids, gids_again;
    uint32_t uid_low, uid_high, class;
} QuestionFilter;

void rule_filter_init(RuleFilter *f, const Rule *rule);
void question_filter_init(QuestionFilter *f, const Question *question);

static inline bool rule_filter_lets_through(const RuleFilter *r, const QuestionFilter *q) {
    const uint64_t differs = ((q->id & r->id_mask) ^ r->id) | ((q->device & r->device_mask) ^ r->device) |
            ((q->class & r->class_mask) ^ r->class);

    return differs == 0 && q->uid_low <= r->uid_max && q->uid_high >= r->uid_min &&
            (q->gids & r->gids) != 0 && (q->gids_again & r->gids_again) != 0;
}

/* False when the first surely does not cover the second, so that comparing them is in vain. */
static inline bool rule_filter_may_cover(const RuleFilter *a, const RuleFilter *b) {
    const uint64_t differs = (a->id_mask & (~b->id_mask | (a->id ^ b->id))) |
            (a->device_mask & (~b->device_mask | (a->device ^ b->device))) |
            (a->class_mask & (~b->class_mask | (a->class ^ b->class))) | (b->gids & ~a->gids) |
            (b->gids_again & ~a->gids_again);

    return differs == 0 && a->uid_min <= b->uid_min && a->uid_max >= b->uid_max;
}
