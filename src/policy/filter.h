/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A rule in one cache line: enough to skip most rules of a long policy without evaluating them. A filter can
 * only answer "surely not"; everything else is evaluated. It uses known facts only, so an unknown fact passes
 * every filter.
 *
 * Internal to the policy, like rule.h. */

#include "policy/rule.h"

typedef struct RuleFilter {
    uint64_t id, id_mask;         /* the bits that all its ids have in common */
    uint64_t device, device_mask; /* the same of its device addresses */
    uint64_t gids;                /* each gid is a bit */
    uint64_t properties;          /* the key of each is a bit */
    uint32_t uid_min, uid_max;
    uint32_t class, class_mask;
} __attribute__((aligned(64))) RuleFilter;

/* The same for a question. */
typedef struct QuestionFilter {
    uint64_t id, device, gids, properties;
    uint32_t uid_low, uid_high, class;
} QuestionFilter;

void rule_filter_init(RuleFilter *f, const Rule *rule);
/* predicates: as for question_init(). */
void question_filter_init(QuestionFilter *f, const Question *question, uint32_t predicates);

static inline bool rule_filter_lets_through(const RuleFilter *r, const QuestionFilter *q) {
    const uint64_t differs = ((q->id & r->id_mask) ^ r->id) | ((q->device & r->device_mask) ^ r->device) |
            ((q->class & r->class_mask) ^ r->class);

    return differs == 0 && q->uid_low <= r->uid_max && q->uid_high >= r->uid_min &&
            (q->gids & r->gids) != 0 && (r->properties & ~q->properties) == 0;
}

/* False when the first rule surely does not cover the second, so that they need not be compared. */
static inline bool rule_filter_may_cover(const RuleFilter *a, const RuleFilter *b) {
    const uint64_t differs = (a->id_mask & (~b->id_mask | (a->id ^ b->id))) |
            (a->device_mask & (~b->device_mask | (a->device ^ b->device))) |
            (a->class_mask & (~b->class_mask | (a->class ^ b->class))) | (b->gids & ~a->gids) |
            (a->properties & ~b->properties);

    return differs == 0 && a->uid_min <= b->uid_min && a->uid_max >= b->uid_max;
}
