/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Tests of figures: rules are counted by name up to a bound, and then together. Nothing is counted twice or
 * lost. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "daemon/broker/figures.h"

static void grant(Figures *f, unsigned rule) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    PlanCharge *charge = plan_add_charge(&plan);

    assert_non_null(charge);
    (void) snprintf(charge->rule, sizeof(charge->rule), "rule %u", rule);
    figures_note_grant(f, &plan);
}

static void test_rules_are_bounded(void **state) {
    Figures f = {};
    uint64_t n = 0;

    for (unsigned i = 0; i < 3 * FIGURES_RULES_MAX; i++)
        grant(&f, i % (FIGURES_RULES_MAX + 2));
    assert_int_equal(f.n_rules, FIGURES_RULES_MAX);
    assert_int_equal(f.grants, 3 * FIGURES_RULES_MAX);
    for (size_t i = 0; i < f.n_rules; i++)
        n += f.rules[i].grants;
    assert_int_equal(n + f.other_rules.grants, f.grants);
    assert_true(f.other_rules.grants > 0);
    assert_string_equal(f.rules[0].key, "rule 0");
    assert_int_equal(f.rules[0].grants, 3);
    figures_done(&f);
    assert_int_equal(f.n_rules, 0);
}

static void test_refusals(void **state) {
    Refusal by_rule = REFUSAL_NULL, by_none = REFUSAL_NULL, not_one = REFUSAL_NULL;
    Figures f = {};

    (void) refuse(&by_rule, VFIOD_ERROR_ACCESS_DENIED, NULL, "no");
    by_rule.rule_key = strdup("night");
    (void) refuse(&by_none, VFIOD_ERROR_NO_IOMMU_GROUP, NULL, "no");
    figures_note_refusal(&f, &by_rule);
    figures_note_refusal(&f, &by_none);
    figures_note_refusal(&f, &not_one);
    assert_int_equal(f.refusals[VFIOD_ERROR_ACCESS_DENIED], 1);
    assert_int_equal(f.refusals[VFIOD_ERROR_NO_IOMMU_GROUP], 1);
    assert_int_equal(f.n_rules, 1);
    assert_int_equal(f.rules[0].refusals, 1);
    assert_int_equal(f.rules[0].grants, 0);
    refusal_done(&by_rule);
    refusal_done(&by_none);
    figures_done(&f);
}

static void test_only_bad_devices_are_quarantined(void **state) {
    _cleanup_(plan_done) Plan plan = PLAN_NULL;
    Figures f = {};

    for (unsigned i = 0; i < 3; i++)
        assert_non_null(plan_add_member(&plan));
    plan.members[1].progress = MEMBER_BAD;
    plan.members[1].failure = MEMBER_FAILURE_RESET;
    figures_note_quarantine(&f, &plan);
    assert_int_equal(f.quarantines[MEMBER_FAILURE_RESET], 1);
    assert_int_equal(f.quarantines[MEMBER_FAILURE_NONE], 0);
}

static void test_policy(void **state) {
    Figures f = {};

    figures_note_policy(&f, 7, true);
    figures_note_policy(&f, 9, false);
    assert_int_equal(f.policy_loaded_usec, 7);
    assert_int_equal(f.policies_loaded, 1);
    assert_int_equal(f.policies_failed, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_rules_are_bounded),
            cmocka_unit_test(test_refusals),
            cmocka_unit_test(test_only_bad_devices_are_quarantined),
            cmocka_unit_test(test_policy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
