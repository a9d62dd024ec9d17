/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The terms of the rules that allow a claim. Several rules may allow the devices of one claim. The claim gets
 * what all of them agree on, and each rule counts its devices against its own limits. */

#include <stdio.h>

#include "base/str.h"
#include "base/user-name.h"
#include "core/planner.h"

void planner_add_claim(Planner *p, const Claim *c) {
    refusal_add_blocker(
            p->refusal, BLOCKER_CLAIM, c->id, "%s, %s", USER_TEXT(c->uid), claim_state_to_string(c->state));
}

static void add_rule(Refusal *refusal, const Rule *rule) {
    refusal_add_blocker(refusal, BLOCKER_RULE, rule_origin(rule), "%s",
            rule_effect(rule) == EFFECT_DENY ? "denies it" : "its terms are not met");
}

int planner_name_rule(Planner *p, const Rule *rule, int r) {
    if (!rule)
        return r;
    free(p->refusal->rule);
    p->refusal->rule = strdup(rule_origin(rule));
    (void) free_and_strdup(&p->refusal->rule_key, rule_key(rule));
    (void) free_and_strdup(&p->refusal->file, rule_file(rule));
    p->refusal->line = rule_line(rule);
    add_rule(p->refusal, rule);
    return r;
}

const char *planner_call_rules(const Planner *p) {
    return p->assumed ? "a rule by default" : "the rule";
}

int planner_name_rules(Planner *p, int r) {
    if (p->assumed)
        return r;
    free(p->refusal->rule);
    p->refusal->rule = strdup(p->plan->rule);
    if (p->plan->n_charges > 0)
        (void) free_and_strdup(&p->refusal->rule_key, p->plan->charges[0].rule);
    for (size_t i = 0; i < p->plan->n_charges; i++)
        add_rule(p->refusal, p->rules[i]);
    return r;
}

int terms_take(Planner *p, const Device *d, const Verdict *v, unsigned *ret_charge) {
    const Rule *rule = v->rule;
    const RuleTerms *terms = v->terms;
    Plan *plan = p->plan;
    size_t i = 0;

    while (i < plan->n_charges && p->rules[i] != rule)
        i++;
    if (i == PLAN_RULES_MAX)
        return refuse(p->refusal, VFIOD_ERROR_TOO_MANY_DEVICES, &d->name,
                "the devices are allowed by more than %u rules", PLAN_RULES_MAX);
    if (i == plan->n_charges) {
        PlanCharge *c = plan_add_charge(plan);

        if (!c)
            return refuse(p->refusal, VFIOD_ERROR_INTERNAL, &d->name, "out of memory");
        plan->hold = i == 0 ? terms->hold : hold_terms_meet(&plan->hold, &terms->hold);
        p->rules[i] = rule;
        put_text(c->rule, sizeof(c->rule), rule_key(rule));
        plan_add_origin(plan, rule_origin(rule));
    }
    plan->charges[i].devices++;
    *ret_charge = (unsigned) i + 1;

    p->priority = MIN(p->priority, terms->priority);
    plan->priority = p->priority;
    plan->ask |= v->effect == EFFECT_ASK;
    p->grants &= terms->grants;
    p->memlock_max = MIN(p->memlock_max, terms->memlock_max);
    p->tethers &= terms->tethers;
    if (terms->untainted)
        p->untainted = rule;
    if (terms->reason_required)
        p->reason_required = rule;
    return 0;
}

static int check_reason(Planner *p) {
    if (!p->reason_required || p->request->reason[0])
        return 0;
    return planner_name_rule(p, p->reason_required,
            refuse(p->refusal, VFIOD_ERROR_REASON_REQUIRED, &p->first->name, "the rule requires a reason"));
}

/* If the taints of the host are unknown, it does not count as untainted. */
static int check_taint(Planner *p) {
    const char *weakness;
    int r;

    if (!p->untainted && !p->request->untainted)
        return 0;
    if (p->plan->backend == BACKEND_NOIOMMU)
        r = refuse(p->refusal, VFIOD_ERROR_HOST_TAINTED, &p->first->name,
                "the host must be untainted, and a device without an IOMMU itself taints it");
    else {
        r = survey_get_weakness(p->context->survey, &weakness);
        if (r == -EAGAIN || (r >= 0 && !weakness))
            return r;
        r = r < 0 ? refuse(p->refusal, VFIOD_ERROR_HOST_TAINTED, &p->first->name,
                            "the host must be untainted, and its taints are unknown: %s", strerror(-r))
                  : refuse(p->refusal, VFIOD_ERROR_HOST_TAINTED, &p->first->name,
                            "the host must be untainted, but it is tainted by %s", weakness);
    }
    return p->untainted ? planner_name_rule(p, p->untainted, r) : r;
}

static int check_memlock(Planner *p) {
    char wanted[FORMAT_SIZE_MAX], allowed[FORMAT_SIZE_MAX];
    uint64_t memlock = p->request->memlock;
    int r;

    p->plan->memlock = memlock;
    if (memlock > 0 && p->context->claim)
        memlock = MIN(memlock + p->context->claim->plan.memlock, REQUEST_MEMLOCK_MAX);
    if (memlock <= p->memlock_max)
        return 0;
    (void) format_size(memlock, wanted);
    (void) format_size(p->memlock_max, allowed);
    if (p->memlock_max == 0) {
        r = refuse(p->refusal, VFIOD_ERROR_LIMIT_EXCEEDED, &p->first->name,
                "%s does not let vfiod raise the locked-memory limit; %s was requested",
                planner_call_rules(p), wanted);
        p->refusal->remedy = format_string("Request it without memlock. To loosen the policy, the operator "
                                           "can add \"memlock\": \"%s\" to "
                                           "the rule.",
                wanted);
    } else {
        r = refuse(p->refusal, VFIOD_ERROR_LIMIT_EXCEEDED, &p->first->name,
                "the rule lets vfiod raise the locked-memory limit to %s at most; %s was requested", allowed,
                wanted);
        p->refusal->remedy = format_string("Request %s or less.", allowed);
    }
    return planner_name_rules(p, r);
}

static int check_tether(Planner *p) {
    bool is_operator = subject_is_operator(p->subject);
    _cleanup_free_ char *more = NULL;
    /* Devices that join a claim get its tether. */
    TetherKind wanted = p->context->claim ? p->context->claim->plan.tether : p->request->tether;
    int r;

    p->plan->tether = wanted;
    p->plan->tethers = p->tethers;
    if (wanted == TETHER_EXPLICIT && !is_operator) {
        r = refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &p->first->name,
                "only root may have a claim with the tether explicit");
        p->refusal->remedy = tether_advice(p->tethers, is_operator, "No rule can allow this one.");
        return r;
    }
    if (p->tethers & 1U << wanted)
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_ACCESS_DENIED, &p->first->name, "%s does not allow the tether %s",
            planner_call_rules(p), tether_kind_to_string(wanted));
    more = format_string("To loosen the policy, the operator can add \"%s\" to \"tether\" of the rule.",
            tether_kind_to_string(wanted));
    p->refusal->remedy = tether_advice(p->tethers, is_operator, more ?: "");
    return planner_name_rules(p, r);
}

/* Devices that join a claim shorten its time if their rule does. */
static int check_duration(Planner *p) {
    uint32_t wanted = p->request->duration_sec, max = p->plan->hold.max_duration_sec;
    int r;

    p->plan->duration_sec = wanted ?: max;
    if (max == 0 || wanted <= max)
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_LIMIT_EXCEEDED, &p->first->name,
            "the rule lets a claim be held for %u seconds at most; %u were requested", max, wanted);
    p->refusal->remedy = format_string("Request \"duration\" of %u seconds or less, or none.", max);
    return planner_name_rules(p, r);
}

/* One limit: what others use of it, and what this claim needs. */
typedef struct Meter {
    const char *name;
    uint64_t limit, used, wanted;
    bool of_user, bytes;
} Meter;

static int exceed(Planner *p, const Rule *rule, const Meter *m) {
    char used[FORMAT_SIZE_MAX], limit[FORMAT_SIZE_MAX], wanted[FORMAT_SIZE_MAX], uid[USER_TEXT_MAX + 4] = "";
    int r;

    if (m->bytes) {
        (void) format_size(m->used, used);
        (void) format_size(m->limit, limit);
        (void) format_size(m->wanted, wanted);
    } else {
        (void) snprintf(used, sizeof(used), "%llu", (unsigned long long) m->used);
        (void) snprintf(limit, sizeof(limit), "%llu", (unsigned long long) m->limit);
        (void) snprintf(wanted, sizeof(wanted), "%llu", (unsigned long long) m->wanted);
    }
    if (m->of_user)
        (void) snprintf(uid, sizeof(uid), " by %s", USER_TEXT(p->subject->uid));
    r = refuse(p->refusal, VFIOD_ERROR_LIMIT_EXCEEDED, &p->first->name,
            "the rule's limit \"%s\" is %s: %s in use%s, and the request needs %s more", m->name, limit, used,
            uid, wanted);
    p->refusal->remedy = strdup("Release claims, request less, or wait until other claims end.");
    return planner_name_rule(p, rule, r);
}

static bool counts_already(const Planner *p, const PlanCharge *charge) {
    const Claim *c = p->context->claim;

    for (size_t i = 0; c && i < c->plan.n_charges; i++)
        if (streq(c->plan.charges[i].rule, charge->rule))
            return true;
    return false;
}

/* waits: the request waits, and until its turn others may release what they use. */
static int check_limits_of(Planner *p, const Rule *rule, const PlanCharge *charge, bool waits) {
    const RuleLimits *limits = &rule_terms(rule)->limits, none = RULE_LIMITS_NONE;
    uint64_t memlock = p->plan->memlock, claims = !counts_already(p, charge);
    RuleUsage usage = {};

    if (memcmp(limits, &none, sizeof(none)) == 0)
        return 0;
    if (p->context->count_usage && !waits)
        p->context->count_usage(p->context->usage_userdata, charge->rule, p->subject, &usage);

    const Meter meters[] = {
            {"claims", limits->claims, usage.claims, claims},
            {"devices", limits->devices, usage.devices, charge->devices},
            {"claims-per-user", limits->claims_per_user, usage.claims_of_user, claims, .of_user = true},
            {"devices-per-user", limits->devices_per_user, usage.devices_of_user, charge->devices,
                    .of_user = true},
            {"pinned", limits->pinned, usage.pinned,
                    memlock > usage.pinned_spare ? memlock - usage.pinned_spare : 0, .bytes = true},
    };

    for (size_t i = 0; i < ELEMENTSOF(meters); i++) {
        const Meter *m = meters + i;

        if (m->wanted > 0 && (m->used >= m->limit || m->wanted > m->limit - m->used))
            return exceed(p, rule, m);
    }
    return 0;
}

/* A claim that would become too large is refused before anything is done. */
static int check_join(Planner *p) {
    _cleanup_(plan_done) Plan joined = PLAN_NULL;
    int r;

    if (!p->context->claim || plan_join(&p->context->claim->plan, p->plan, &joined) >= 0)
        return 0;
    r = refuse(p->refusal, VFIOD_ERROR_TOO_MANY_DEVICES, &p->first->name,
            "claim %s would have more than %u devices, %u devices of their IOMMU groups, or %u rules",
            p->context->claim->id, REQUEST_DEVICES_MAX, PLAN_MEMBERS_MAX, PLAN_RULES_MAX);
    p->refusal->remedy = strdup("Make another claim for them.");
    return r;
}

int terms_check(Planner *p) {
    int r;

    r = planner_put_aside(p, check_reason(p));
    if (r >= 0)
        r = planner_put_aside(p, check_taint(p));
    if (r >= 0)
        r = planner_put_aside(p, check_memlock(p));
    if (r >= 0)
        r = planner_put_aside(p, check_tether(p));
    if (r >= 0)
        r = planner_put_aside(p, check_duration(p));
    for (size_t i = 0; r >= 0 && i < p->plan->n_charges; i++)
        r = planner_put_aside(p, check_limits_of(p, p->rules[i], &p->plan->charges[i], false));
    return r < 0 ? r : planner_put_aside(p, check_join(p));
}

int terms_check_wait(Planner *p) {
    int r;

    r = check_reason(p);
    if (r >= 0)
        r = check_memlock(p);
    if (r >= 0)
        r = check_tether(p);
    if (r >= 0)
        r = check_duration(p);
    for (size_t i = 0; r >= 0 && i < p->plan->n_charges; i++)
        r = check_limits_of(p, p->rules[i], &p->plan->charges[i], true);
    return r;
}
