/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a new policy says about a claim that an older policy allowed. The claim stays, and the operator is
 * told. So an unknown fact does not count as a denial here: some facts of a claimed device cannot be read any
 * more, and false alarms would be ignored. */

#include "policy/policy.h"

typedef enum Review {
    REVIEW_ALLOWS,
    REVIEW_DENIES,
    REVIEW_CANNOT_TELL, /* a fact that decides is unknown */
    _REVIEW_MAX,
} Review;

/* *ret_rule is borrowed: the rule that decided, or that could not be decided; NULL: no rule matches. */
Review policy_review(const Policy *policy, const PolicyQuestion *question, const Rule **ret_rule);
