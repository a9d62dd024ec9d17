/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/policy.h"

#include "core/policy-rule.h"

/* The evaluator. It allocates nothing, and its work is bounded by the size of the policy.
 *
 * A predicate has three answers, because a fact may be unknown (a uid that the bus could not tell, a list of
 * groups that could not be read). Unknown counts as what keeps the door shut: an allow rule does not match,
 * a deny rule does. It is decided in ONE place, rule_matches(), so that a predicate cannot get it wrong. */

static const char *const effect_table[_EFFECT_MAX] = {
        [EFFECT_DENY] = "deny",
        [EFFECT_ALLOW] = "allow",
        [EFFECT_ASK] = "ask",
};
DEFINE_STRING_TABLE(effect, Effect);

static const char *const reset_demand_table[_RESET_DEMAND_MAX] = {
        [RESET_REQUIRED] = "required",
        [RESET_OPTIONAL] = "optional",
};
DEFINE_STRING_TABLE(reset_demand, ResetDemand);

static const char *const sibling_demand_table[_SIBLING_DEMAND_MAX] = {
        [SIBLINGS_REFUSE] = "refuse",
        [SIBLINGS_PARK] = "park",
};
DEFINE_STRING_TABLE(sibling_demand, SiblingDemand);

static const char *const host_critical_demand_table[_HOST_CRITICAL_DEMAND_MAX] = {
        [HOST_CRITICAL_REFUSE] = "refuse",
        [HOST_CRITICAL_ALLOW] = "allow",
};
DEFINE_STRING_TABLE(host_critical_demand, HostCriticalDemand);

static const char *const grant_kind_table[_GRANT_KIND_MAX] = {
        [GRANT_FD] = "fd",
};
DEFINE_STRING_TABLE(grant_kind, GrantKind);

static const char *const noiommu_mode_table[_NOIOMMU_MODE_MAX] = {
        [NOIOMMU_OFF] = "off",
        [NOIOMMU_ON] = "on",
        [NOIOMMU_MANAGED] = "managed",
};
DEFINE_STRING_TABLE(noiommu_mode, NoiommuMode);

typedef enum Match {
    MATCH_NO,
    MATCH_YES,
    MATCH_UNKNOWN,
} Match;

/* What is asked, with the forms that every rule needs made once. */
typedef struct Question {
    const Subject *subject;
    const Device *device;
    uint64_t id;
    char kernel_name[DEVICE_NAME_MAX];
} Question;

void rule_done(Rule *r) {
    for (size_t i = 0; i < r->n_drivers; i++)
        free(r->drivers[i]);
    free(r->drivers);
    free(r->classes);
    free(r->ids);
    free(r->devices);
    free(r->gids);
    free(r->uids);
    free(r->terms.noiommu_reason);
    free(r->file);
    free(r->key);
    free(r->origin);
    free(r->name);
    *r = (Rule){};
}

Policy *policy_free(Policy *p) {
    if (!p)
        return NULL;
    for (size_t i = 0; i < p->n_rules; i++)
        rule_done(p->rules + i);
    free(p->rules);
    free(p);
    return NULL;
}

size_t policy_n_rules(const Policy *p) {
    return p ? p->n_rules : 0;
}

const Rule *policy_rule(const Policy *p, size_t i) {
    return p->rules + i;
}

HostSettings policy_host_settings(const Policy *p) {
    return p ? p->host : (HostSettings){};
}

unsigned policy_needed_facts(const Policy *p) {
    return p ? p->needed_facts : 0;
}

const char *rule_key(const Rule *rule) {
    return rule->key;
}

const char *rule_file(const Rule *rule) {
    return rule->file;
}

unsigned rule_line(const Rule *rule) {
    return rule->line;
}

Effect rule_effect(const Rule *rule) {
    return rule->effect;
}

const RuleTerms *rule_terms(const Rule *rule) {
    return &rule->terms;
}

const char *rule_name(const Rule *rule) {
    return rule->name;
}

const char *rule_origin(const Rule *rule) {
    return rule->origin;
}

static bool sorted_contains(const uint32_t *list, size_t n, uint32_t v) {
    size_t low = 0, high = n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list[middle] == v)
            return true;
        if (list[middle] < v)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static Match match_user(const Rule *r, const Question *q) {
    /* Also where the rule speaks of anybody: who is not known at all is nobody. */
    if (q->subject->uid == (uid_t) -1)
        return MATCH_UNKNOWN;
    if (r->n_uids == 0)
        return MATCH_YES;
    return sorted_contains(r->uids, r->n_uids, q->subject->uid) ? MATCH_YES : MATCH_NO;
}

static Match match_group(const Rule *r, const Question *q) {
    if (r->n_gids == 0)
        return MATCH_YES;
    /* Every process has a primary group: an empty list is one that could not be read. */
    if (q->subject->n_gids == 0)
        return MATCH_UNKNOWN;
    for (size_t i = 0; i < q->subject->n_gids; i++)
        if (sorted_contains(r->gids, r->n_gids, q->subject->gids[i]))
            return MATCH_YES;
    return MATCH_NO;
}

static Match match_id(const Rule *r, const Question *q) {
    for (size_t i = 0; i < r->n_ids; i++)
        if ((q->id & r->ids[i].mask) == r->ids[i].value)
            return MATCH_YES;
    return r->n_ids == 0 ? MATCH_YES : MATCH_NO;
}

static Match match_class(const Rule *r, const Question *q) {
    for (size_t i = 0; i < r->n_classes; i++)
        if ((q->device->class_code & r->classes[i].mask) == r->classes[i].value)
            return MATCH_YES;
    return r->n_classes == 0 ? MATCH_YES : MATCH_NO;
}

static Match match_driver(const Rule *r, const Question *q) {
    for (size_t i = 0; i < r->n_drivers; i++)
        if (q->device->driver && streq(r->drivers[i], q->device->driver))
            return MATCH_YES;
    return r->n_drivers == 0 ? MATCH_YES : MATCH_NO;
}

static Match match_device(const Rule *r, const Question *q) {
    for (size_t i = 0; i < r->n_devices; i++)
        if (device_pattern_match(r->devices + i, &q->device->name, q->kernel_name))
            return MATCH_YES;
    return r->n_devices == 0 ? MATCH_YES : MATCH_NO;
}

/* The cheap ones first. */
static Match (*const predicates[])(const Rule *r, const Question *q) = {
        match_user,
        match_id,
        match_class,
        match_group,
        match_driver,
        match_device,
};

static bool rule_matches(const Rule *r, const Question *q) {
    for (size_t i = 0; i < ELEMENTSOF(predicates); i++) {
        Match m = predicates[i](r, q);

        if (m == MATCH_NO || (m == MATCH_UNKNOWN && r->effect != EFFECT_DENY))
            return false;
    }
    return true;
}

bool rule_concerns(const Rule *rule, const Subject *subject) {
    Question q = {.subject = subject};

    return match_user(rule, &q) == MATCH_YES && match_group(rule, &q) == MATCH_YES;
}

Verdict policy_evaluate(const Policy *policy, const PolicyQuestion *question) {
    const Device *device = question->device;
    Question q = {.subject = question->subject, .device = device};

    q.id = (uint64_t) device->vendor << 48 | (uint64_t) device->device << 32 |
            (uint64_t) device->subsystem_vendor << 16 | device->subsystem_device;
    (void) device_name_format_kernel(&device->name, q.kernel_name);

    for (size_t i = 0; i < policy_n_rules(policy); i++) {
        const Rule *r = policy->rules + i;

        if (!rule_matches(r, &q))
            continue;
        if (r->effect == EFFECT_DENY)
            return (Verdict){.effect = EFFECT_DENY, .rule = r};
        return (Verdict){.effect = r->effect, .rule = r, .terms = &r->terms};
    }
    return (Verdict){.effect = EFFECT_DENY};
}
