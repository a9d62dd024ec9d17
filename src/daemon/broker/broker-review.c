/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What another policy would decide: the present one about older claims, and the shadow policy about every
 * request. Neither changes anything: a device cannot be taken away from a program that has it open, and a
 * shadow policy never decides. The operator is told. */

#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"
#include "core/device-kind.h"
#include "policy/review.h"
#include "daemon/broker/claim-run.h"
#include "policy/selector.h"

/* ---- held claims ---- */

/* A claim that is ending need not be ended, and a waiting one is checked at its turn. */
static bool is_reviewed(const ClaimRun *j) {
    return j->announced && j->claim.state <= CLAIM_HELD && j->claim.state != CLAIM_WAITING;
}

static Review review_terms(const Broker *e, const Plan *plan, const Rule *rule) {
    if (!(rule_terms(rule)->backends & 1U << plan->backend))
        return REVIEW_DENIES;
    if (plan->backend == BACKEND_NOIOMMU && policy_host_settings(e->policy).noiommu == NOIOMMU_OFF)
        return REVIEW_DENIES;
    return REVIEW_ALLOWS;
}

static Review review_device(Broker *e, const Claim *c, const DeviceName *name, const Rule **ret_rule) {
    Device template;
    const Device *d = broker_find_asked(e, name, &template);
    unsigned facts = policy_needed_facts(e->policy);
    _cleanup_(survey_done) Survey survey = {};
    BrokerQuestion q;
    Review review;

    if (!d || survey_want(&survey, name, facts) < 0)
        return REVIEW_CANNOT_TELL;
    broker_take_now(e, &survey);
    broker_question_init(&q, &survey, facts, &c->subject, d, &c->plan);
    review = policy_review(e->policy, &q.question, ret_rule);
    return review == REVIEW_ALLOWS ? review_terms(e, &c->plan, *ret_rule) : review;
}

static void review_claim(Broker *e, Claim *c) {
    c->denied = false;
    for (size_t i = 0; i < c->plan.n_claimed && !c->denied; i++) {
        const DeviceName asked = plan_member_asked(&c->plan.members[i]), *device = &asked;
        char name[DEVICE_NAME_MAX];
        const Rule *rule = NULL;
        Review review = review_device(e, c, device, &rule);

        if (review == REVIEW_ALLOWS)
            continue;
        device_name_format(device, name);
        if (review == REVIEW_CANNOT_TELL)
            log_info("Claim %s of %s: whether the policy would still allow %s is unknown", c->id,
                    USER_TEXT(c->uid), name);
        else
            log_warning("Claim %s of %s is kept, although the policy no longer allows %s (%s)", c->id,
                    USER_TEXT(c->uid), name, rule ? rule_origin(rule) : "no rule");
        c->denied = review == REVIEW_DENIES;
    }
}

unsigned broker_review_claims(Broker *e) {
    unsigned n = 0;

    for (ClaimRun *j = e->claims; j; j = j->next) {
        if (!is_reviewed(j))
            continue;
        review_claim(e, &j->claim);
        n += j->claim.denied;
    }
    return n;
}

/* ---- what callers may have ---- */

/* The planner refuses the others, whatever a rule says. */
static bool can_be_claimed(const Device *d) {
    return device_kind_info(d->name.kind)->claimable && !device_is_bridge(d);
}

/* Lists read no facts that may sleep. An answer that depends on such facts is "unknown"; Plan gives the full
 * answer. */
const char *broker_access(Broker *e, const Device *d, const Subject *subject) {
    unsigned facts = policy_needed_facts(e->policy),
             later = e->config.host->sleeps ? SURVEY_FACTS_SLEEPING : 0;
    _cleanup_(survey_done) Survey survey = {};
    const Rule *rule;
    BrokerQuestion q;
    Verdict v;

    if (!can_be_claimed(d))
        return effect_to_string(EFFECT_DENY);
    if (!subject || survey_want(&survey, &d->name, facts & ~later) < 0)
        return "unknown";
    broker_take_now(e, &survey);
    broker_question_init(&q, &survey, facts & ~later, subject, d, d->claim ? &d->claim->plan : NULL);
    q.question.excerpt = excerpts_get(&e->excerpts, e->policy, e->policy_generation, subject);
    v = policy_evaluate(e->policy, &q.question);
    if (v.effect != EFFECT_DENY)
        return effect_to_string(v.effect);
    if ((facts & later) && policy_review(e->policy, &q.question, &rule) == REVIEW_CANNOT_TELL)
        return "unknown";
    return effect_to_string(EFFECT_DENY);
}

int broker_foreach_tag(const Broker *e, const Device *d, const DeviceFacts *facts, const Subject *subject,
        int (*visit)(void *userdata, const char *tag), void *userdata) {
    return policy_foreach_tag_of(e->policy, d, facts, subject, visit, userdata);
}

/* ---- the shadow policy ---- */

void broker_set_shadow(Broker *e, const Policy *shadow) {
    e->shadow = shadow;
    e->shadow_differences = 0;
}

uint64_t broker_shadow_differences(const Broker *e) {
    return e->shadow_differences;
}

unsigned broker_shadow_facts(const Broker *e) {
    return e->shadow && e->policy ? policy_needed_facts(e->policy) | policy_needed_facts(e->shadow) : 0;
}

static void compare_device(Broker *e, Survey *survey, const Subject *subject, const Device *d) {
    Verdict real, shadow;
    BrokerQuestion q;

    broker_question_init(&q, survey, broker_shadow_facts(e), subject, d, NULL);
    real = policy_evaluate(e->policy, &q.question);
    shadow = policy_evaluate(e->shadow, &q.question);
    if (real.effect == shadow.effect)
        return;
    e->shadow_differences++;
    audit_shadow(e->audit, subject, &d->name, &real, &shadow);
}

void broker_compare_shadow(Broker *e, Survey *survey, const Request *request, const Subject *subject) {
    if (!e->shadow)
        return;
    for (size_t i = 0; i < request->n_devices; i++) {
        Device template;
        const Device *d = broker_find_asked(e, &request->devices[i], &template);

        if (d)
            compare_device(e, survey, subject, d);
    }
}
