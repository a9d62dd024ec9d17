/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finds the rules of a long policy that can concern a caller. A caller does not change, and most rules of
 * a long policy are about others. So a caller with many requests need not be compared with all rules each
 * time. */

#include "policy/rule.h"

/* Does an unknown answer exclude the rule? An allow rule does not match an unknown caller, but its tag can
 * still deny. */
static bool needs_to_know(const Rule *rule) {
    return rule->effect == EFFECT_ALLOW && !(rule->predicates & 1U << PREDICATE_WHAT_TAG);
}

/* False only when the rule passes over the caller for every device. */
static bool may_concern(const Rule *rule, const Question *q) {
    for (uint32_t rest = rule_predicates(rule, q) & PREDICATES_WHO; rest != 0; rest &= rest - 1) {
        Holds holds = rule_ask(rule, (PredicateKind) __builtin_ctz(rest), q);

        if (holds == HOLDS_NO || (holds == HOLDS_UNKNOWN && needs_to_know(rule)))
            return false;
    }
    return true;
}

int policy_excerpt(const Policy *policy, const Subject *subject, PolicyExcerpt *ret) {
    PolicyExcerpt a = {};
    Question q;

    a.rules = malloc((policy->n_rules ?: 1) * sizeof(*a.rules));
    if (!a.rules)
        return -ENOMEM;
    question_init(&q, &(const PolicyQuestion){.subject = subject}, policy->predicates);
    for (size_t i = 0; i < policy->n_rules; i++)
        if (may_concern(policy->rules + i, &q))
            a.rules[a.n++] = (uint32_t) i;
    *ret = a;
    return 0;
}

void policy_excerpt_done(PolicyExcerpt *a) {
    free(a->rules);
    *a = (PolicyExcerpt){};
}

uint64_t policy_version(const Policy *policy) {
    return policy->version;
}
