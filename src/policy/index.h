/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which rules of a long policy can speak about a question at all, in their order. Like policy-filter.h it may
 * leave out a rule only when facts that are known say that it surely does not match; where such a fact is not
 * known, every rule is a candidate.
 *
 * Internal to the policy, like policy-rule.h. */

#include "policy/rule.h"

typedef struct PolicyIndex PolicyIndex;

/* Some lists of rules, each sorted, merged on the way. */
#define CANDIDATE_LISTS_MAX 64U
typedef struct Candidates {
    struct {
        const uint32_t *next, *end;
    } lists[CANDIDATE_LISTS_MAX];
    size_t n;
    bool all; /* instead: every rule */
    uint32_t next, n_rules;
} Candidates;

/* NULL on ENOMEM. The tags of the rules must be known. */
PolicyIndex *policy_index_new(const Rule *rules, size_t n_rules);
PolicyIndex *policy_index_free(PolicyIndex *index);

void candidates_init(Candidates *c, const PolicyIndex *index, const Question *question);
/* Of the rules that could cover this one. */
void candidates_init_covering(Candidates *c, const PolicyIndex *index, const Rule *rule);
/* The number of the next candidate; false: there is none. */
bool candidates_next(Candidates *c, uint32_t *ret);
