/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy/policy.h"

#include "policy/filter.h"

/* The evaluator. It allocates nothing, and its work is bounded by the size of the policy.
 *
 * A predicate has more answers than yes and no, because a fact may be unknown (a uid that the bus did not
 * report, a list of groups that could not be read). An unknown fact counts against the caller: an allow rule
 * does not match, a deny rule does. An ask rule with an unknown fact does not match, but what a later rule
 * would allow is then asked, so that missing knowledge never avoids the question. This is decided in one
 * place, rule_holds(), so that no predicate can get it wrong. */

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

static const char *const noiommu_mode_table[_NOIOMMU_MODE_MAX] = {
        [NOIOMMU_OFF] = "off",
        [NOIOMMU_ON] = "on",
        [NOIOMMU_MANAGED] = "managed",
};
DEFINE_STRING_TABLE(noiommu_mode, NoiommuMode);

static void string_list_done(StringList *l) {
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
    *l = (StringList){};
}

void property_pattern_done(PropertyPattern *p) {
    free(p->key);
    string_list_done(&p->globs);
}

static void rule_done_lists(Rule *r) {
    for (size_t i = 0; i < r->n_wanted; i++)
        free(r->wanted[i].text);
    for (size_t i = 0; i < r->n_tags; i++)
        free(r->tags[i].name);
    for (size_t i = 0; i < r->n_accounts; i++)
        free(r->accounts[i].name);
    for (size_t i = 0; i < r->n_properties; i++)
        property_pattern_done(r->properties + i);
    string_list_done(&r->units);
    string_list_done(&r->slices);
    string_list_done(&r->cgroups);
    string_list_done(&r->labels);
    string_list_done(&r->scopes);
    string_list_done(&r->drivers);
    free(r->wanted);
    free(r->tags);
    free(r->properties);
    free(r->numa_nodes);
    free(r->groups);
    free(r->classes);
    free(r->ids);
    free(r->devices);
    free(r->functions);
    free(r->accounts);
    free(r->gids);
    free(r->uids);
}

void rule_done(Rule *r) {
    rule_done_lists(r);
    free(r->terms.noiommu_reason);
    free(r->terms.scrub);
    free(r->terms.driver);
    vf_bounds_done(&r->terms.network);
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
    free(p->filters);
    for (size_t i = 0; i < p->n_tags; i++)
        (void) tag_free(p->tags[i]);
    free(p->tags);
    declared_functions_done(p->declared, p->n_declared);
    device_templates_done(p->templates, p->n_templates);
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

const RuleTerms rule_terms_default = {
        .backends = BACKENDS_DEFAULT,
        .grants = 1U << GRANT_FD,
        .tethers = TETHERS_DEFAULT,
        .limits = {LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, LIMIT_NONE, LIMIT_NONE},
};

const RuleTerms *rule_terms(const Rule *rule) {
    return &rule->terms;
}

bool rule_names_devices(const Rule *rule) {
    return rule->predicates & ~(PREDICATES_WHO | 1U << PREDICATE_UNTIL);
}

const char *rule_name(const Rule *rule) {
    return rule->name;
}

const char *rule_origin(const Rule *rule) {
    return rule->origin;
}

bool rule_concerns(const Rule *rule, const Subject *subject) {
    Question q;

    question_init(&q, &(const PolicyQuestion){.subject = subject}, PREDICATES_WHO);
    for (uint32_t rest = rule_predicates(rule, &q) & PREDICATES_WHO; rest != 0; rest &= rest - 1)
        if (rule_ask(rule, (PredicateKind) __builtin_ctz(rest), &q) != HOLDS_YES)
            return false;
    return true;
}

static Verdict verdict_of(const Rule *rule, RuleHolds holds, bool may_ask) {
    if (holds == RULE_CHANGED)
        return (Verdict){.effect = EFFECT_DENY, .rule = rule, .changed = true};
    if (rule->effect == EFFECT_DENY)
        return (Verdict){.effect = EFFECT_DENY, .rule = rule};
    return (Verdict){.effect = may_ask ? EFFECT_ASK : rule->effect, .rule = rule, .terms = &rule->terms};
}

Verdict policy_evaluate(const Policy *policy, const PolicyQuestion *question) {
    const PolicyExcerpt *excerpt = question->excerpt;
    QuestionFilter filter;
    bool may_ask = false;
    QuestionMemo memo;
    Question q;

    if (!policy)
        return (Verdict){.effect = EFFECT_DENY};
    question_init(&q, question, policy->predicates);
    question_memo_init(&memo);
    q.memo = &memo;
    question_filter_init(&filter, &q, policy->predicates);
    for (size_t k = 0; k < (excerpt ? excerpt->n : policy->n_rules); k++) {
        size_t i = excerpt ? excerpt->rules[k] : k;
        const Rule *rule = policy->rules + i;
        RuleHolds holds;

        if (!rule_filter_lets_through(policy->filters + i, &filter))
            continue;
        holds = rule_holds(rule, &q);
        if (holds == RULE_MAY_ASK)
            may_ask = true;
        else if (holds != RULE_PASSES_BY)
            return verdict_of(rule, holds, may_ask);
    }
    return (Verdict){.effect = EFFECT_DENY};
}
