/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a policy says of a device that somebody has already, by an older policy. Nothing is taken from them:
 * it is told to the operator. So an unknown fact does not count as a no here, as it does for a caller: of a
 * claimed device some facts cannot be read any more, and an alarm that is false half of the time is not
 * heard. */

#include "policy/policy.h"

typedef enum Review {
    REVIEW_ALLOWS,
    REVIEW_DENIES,
    REVIEW_CANNOT_TELL, /* a fact that decides is unknown */
    _REVIEW_MAX,
} Review;

/* *ret_rule: borrowed, the rule that decided or could not; NULL: none spoke of it. */
Review policy_review(const Policy *policy, const PolicyQuestion *question, const Rule **ret_rule);
