/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/figures.h"

#include "base/str.h"

static const char *const claim_end_table[_CLAIM_END_MAX] = {
        [CLAIM_END_TETHER] = "tether",
        [CLAIM_END_RELEASED] = "released",
        [CLAIM_END_OPERATOR] = "operator",
        [CLAIM_END_DEVICE_GONE] = "device-gone",
        [CLAIM_END_EVICTED] = "evicted",
};
DEFINE_STRING_TABLE(claim_end, ClaimEnd);

void figures_done(Figures *f) {
    for (size_t i = 0; i < f->n_rules; i++)
        free(f->rules[i].key);
    free(f->rules);
    *f = (Figures){};
}

/* Rules are never forgotten while the daemon runs: a counter that falls looks like a restart. */
static FigureRule *find_rule(Figures *f, const char *key) {
    FigureRule *grown;
    char *copy;

    for (size_t i = 0; i < f->n_rules; i++)
        if (streq(f->rules[i].key, key))
            return &f->rules[i];
    if (f->n_rules >= FIGURES_RULES_MAX)
        return &f->other_rules;
    grown = reallocarray(f->rules, f->n_rules + 1, sizeof(*grown));
    if (!grown)
        return &f->other_rules;
    f->rules = grown;
    copy = strdup(key);
    if (!copy)
        return &f->other_rules;
    f->rules[f->n_rules] = (FigureRule){.key = copy};
    return &f->rules[f->n_rules++];
}

void figures_note_grant(Figures *f, const Plan *plan) {
    f->grants++;
    for (size_t i = 0; i < plan->n_charges; i++)
        find_rule(f, plan->charges[i].rule)->grants++;
}

void figures_note_refusal(Figures *f, const Refusal *refusal) {
    if (refusal->code < 0 || refusal->code >= _VFIOD_ERROR_MAX)
        return;
    f->refusals[refusal->code]++;
    if (refusal->rule_key)
        find_rule(f, refusal->rule_key)->refusals++;
}

void figures_note_quarantine(Figures *f, const Plan *plan) {
    for (size_t i = 0; i < plan->n_members; i++)
        if (plan->members[i].progress == MEMBER_BAD)
            f->quarantines[plan->members[i].failure]++;
}

void figures_note_work(Figures *f, FigureWork work, bool done) {
    if (done)
        f->done[work]++;
    else
        f->failed[work]++;
}

void figures_note_policy(Figures *f, uint64_t now_usec, bool loaded) {
    if (!loaded) {
        f->policies_failed++;
        return;
    }
    f->policies_loaded++;
    f->policy_loaded_usec = now_usec;
}
