/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The operator's policy: ordered rules, the first that matches decides, and when none does the answer is no.
 *
 * Parsed text (policy-parse.h) becomes compiled, immutable Rules; policy_evaluate() is pure: everything it
 * may look at is in its arguments, and the verdict names the rule, its file and line, so that every refusal
 * can be explained. Predicates fail closed: an unknown fact never makes an `allow` match, and never keeps a
 * `deny` from matching.
 *
 * To add a predicate: a field in Rule (policy-rule.h), a row in policy-parse.c's table of keys, a row in
 * policy.c's table of predicates, a row in vfiod-policy(5). */

#include "core/inventory.h"
#include "core/request.h"
#include "core/subject.h"

typedef enum Effect {
    EFFECT_DENY,
    EFFECT_ALLOW,
    _EFFECT_MAX,
    _EFFECT_INVALID = -EINVAL,
} Effect;
DECLARE_STRING_TABLE(effect, Effect); /* "deny", "allow" */

typedef enum ResetDemand {
    RESET_REQUIRED, /* default: a device without a reset method is refused */
    RESET_OPTIONAL, /* the operator accepts that it goes to the next owner unreset */
    _RESET_DEMAND_MAX,
    _RESET_DEMAND_INVALID = -EINVAL,
} ResetDemand;
DECLARE_STRING_TABLE(reset_demand, ResetDemand); /* "required", "optional" */

typedef enum SiblingDemand {
    SIBLINGS_REFUSE, /* default: a sibling with a host driver refuses the claim */
    SIBLINGS_PARK,   /* it is moved to the vfio driver for the time of the claim, handed to nobody */
    _SIBLING_DEMAND_MAX,
    _SIBLING_DEMAND_INVALID = -EINVAL,
} SiblingDemand;
DECLARE_STRING_TABLE(sibling_demand, SiblingDemand); /* "refuse", "park" */

typedef struct Rule Rule;     /* opaque; compiled */
typedef struct Policy Policy; /* an ordered set of rules; immutable once built */

Policy *policy_free(Policy *p);
DEFINE_TRIVIAL_CLEANUP_FUNC(Policy *, policy_free);
size_t policy_n_rules(const Policy *p);

typedef struct Verdict {
    Effect effect;
    const Rule *rule; /* borrowed from the policy; NULL: no rule matched, the default denied */
    /* What the deciding rule allows; meaningful for EFFECT_ALLOW only. */
    unsigned backends; /* mask of 1 << Backend */
    ResetDemand reset;
    SiblingDemand siblings;
} Verdict;

/* May subject use this device? policy may be NULL (nothing valid loaded): denied. Siblings that would be
 * parked are not asked about here: the rule that allows the claimed device speaks for them. */
Verdict policy_evaluate(const Policy *policy, const Subject *subject, const Device *device);

/* Name of the rule ("rule 3" when it has none), and "alice-edu (/etc/…/50.json:7)". */
const char *rule_name(const Rule *rule);
const char *rule_origin(const Rule *rule);
