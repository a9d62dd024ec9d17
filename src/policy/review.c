/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/review.h"

#include "policy/rule.h"

/* All predicates together: "no" outweighs everything, "changed" outweighs "unknown". */
static Holds all_hold(const Rule *rule, const Question *q) {
    Holds all = HOLDS_YES;

    for (uint32_t rest = rule_predicates(rule, q); rest != 0; rest &= rest - 1) {
        Holds h = rule_ask(rule, (PredicateKind) __builtin_ctz(rest), q);

        if (h == HOLDS_NO)
            return h;
        if (h == HOLDS_CHANGED || (h == HOLDS_UNKNOWN && all == HOLDS_YES))
            all = h;
    }
    return all;
}

Review policy_review(const Policy *policy, const PolicyQuestion *question, const Rule **ret_rule) {
    Question q;

    question_init(&q, question, UINT32_MAX);
    for (size_t k = 0; k < (question->excerpt ? question->excerpt->n : policy_n_rules(policy)); k++) {
        const Rule *rule = policy_rule(policy, question->excerpt ? question->excerpt->rules[k] : k);
        Holds holds = all_hold(rule, &q);

        if (holds == HOLDS_NO)
            continue;
        *ret_rule = rule;
        if (holds == HOLDS_UNKNOWN)
            return REVIEW_CANNOT_TELL;
        return holds == HOLDS_CHANGED || rule->effect == EFFECT_DENY ? REVIEW_DENIES : REVIEW_ALLOWS;
    }
    *ret_rule = NULL;
    return REVIEW_DENIES;
}
