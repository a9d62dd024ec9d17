/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/excerpts.h"

/* For a shorter policy, evaluating all rules costs less than finding the caller here. */
#define LONG_POLICY 128U

void excerpts_done(Excerpts *a) {
    for (size_t i = 0; i < EXCERPTS_MAX; i++)
        policy_excerpt_done(&a->entries[i].excerpt);
    *a = (Excerpts){};
}

const PolicyExcerpt *excerpts_get(
        Excerpts *a, const Policy *policy, uint64_t policy_generation, const Subject *subject) {
    KeptExcerpt *entry = a->entries;
    PolicyExcerpt excerpt;

    if (policy_n_rules(policy) < LONG_POLICY || subject->serial == 0)
        return NULL;
    for (size_t i = 0; i < EXCERPTS_MAX; i++) {
        KeptExcerpt *other = a->entries + i;

        if (other->subject == subject->serial && other->policy_generation == policy_generation &&
                other->policy_version == policy_version(policy)) {
            other->used = ++a->n_uses;
            return &other->excerpt;
        }
        if (other->used < entry->used)
            entry = other;
    }
    if (policy_excerpt(policy, subject, &excerpt) < 0)
        return NULL;
    policy_excerpt_done(&entry->excerpt);
    *entry = (KeptExcerpt){
            .subject = subject->serial,
            .policy_generation = policy_generation,
            .policy_version = policy_version(policy),
            .used = ++a->n_uses,
            .excerpt = excerpt,
    };
    return &entry->excerpt;
}
