/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* For recent callers, the rules of a long policy that can concern them (policy_excerpt()). */

#include "policy/policy.h"

#define EXCERPTS_MAX 16U

typedef struct KeptExcerpt {
    uint64_t subject;           /* Subject.serial; 0: free */
    uint64_t policy_generation; /* of the broker */
    uint64_t policy_version;
    uint64_t used; /* the entry with the smallest count is replaced first */
    PolicyExcerpt excerpt;
} KeptExcerpt;

typedef struct Excerpts {
    KeptExcerpt entries[EXCERPTS_MAX];
    uint64_t n_uses;
} Excerpts;

void excerpts_done(Excerpts *a);
/* Valid until the next call. NULL: evaluate every rule. */
const PolicyExcerpt *excerpts_get(
        Excerpts *a, const Policy *policy, uint64_t policy_generation, const Subject *subject);
