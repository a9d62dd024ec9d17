/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/policy-parse.h"

static int resolve(
        _unused_ void *userdata, _unused_ bool is_group, _unused_ const char *name, _unused_ uint32_t *ret) {
    return -ENOENT;
}

static Policy *parse(const char *text) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    Policy *policy = NULL;

    assert_non_null(p);
    assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

static Verdict evaluate(const Policy *policy, const Subject *subject, const Device *device) {
    const PolicyQuestion question = {.subject = subject, .device = device};

    return policy_evaluate(policy, &question);
}

static gid_t alice_gids[] = {1000, 44, 2001};

static Subject alice(void) {
    Subject s = SUBJECT_NULL;

    s.uid = 1000;
    s.gids = alice_gids;
    s.n_gids = ELEMENTSOF(alice_gids);
    return s;
}

static Device edu(void) {
    return (Device){
            .name = {.bus = BUS_PCI, .pci_bus = 6, .slot = 0x0d},
            .vendor = 0x1234,
            .device = 0x11e8,
            .subsystem_vendor = 0x1af4,
            .subsystem_device = 0x1100,
            .class_code = 0x00ff00,
            .vfio_index = -1,
    };
}

/* One rule; does it decide about alice and the edu device at 06:0d.0, which has no driver? */
static void test_predicates(void **state) {
    static const struct {
        const char *who, *what;
        bool expected;
    } cases[] = {
            {"", "", true},
            {"\"user\":1000", "", true},
            {"\"user\":0", "", false},
            {"\"user\":[0,7,999,1000,1001]", "", true},
            {"\"user\":[0,7,999,1001]", "", false},
            {"\"group\":2001", "", true},
            {"\"group\":[5,44]", "", true},
            {"\"group\":[5,45]", "", false},
            {"\"user\":1000,\"group\":44", "", true},
            {"\"user\":1000,\"group\":45", "", false},
            {"\"user\":1001,\"group\":44", "", false},
            {"", "\"device\":\"06:0d.0\"", true},
            {"", "\"device\":\"06:0d.1\"", false},
            {"", "\"device\":[\"06:0d.1\",\"0000:06:*\"]", true},
            {"", "\"device\":\"0000:07:*\"", false},
            {"", "\"id\":\"1234:11e8\"", true},
            {"", "\"id\":\"1234:11e9\"", false},
            {"", "\"id\":\"1234:*\"", true},
            {"", "\"id\":\"*:11e8\"", true},
            {"", "\"id\":\"1234:11e8:1af4:1100\"", true},
            {"", "\"id\":\"1234:11e8:1af4:1101\"", false},
            {"", "\"id\":\"*:*:*:1100\"", true},
            {"", "\"id\":[\"8086:*\",\"*:*:1af4:*\"]", true},
            {"", "\"class\":\"00\"", true},
            {"", "\"class\":\"00ff\"", true},
            {"", "\"class\":\"00ff00\"", true},
            {"", "\"class\":\"00ff01\"", false},
            {"", "\"class\":[\"02\",\"03\"]", false},
            {"", "\"driver\":\"e1000e\"", false},
            {"\"user\":1000", "\"device\":\"06:0d.0\",\"id\":\"1234:11e8\",\"class\":\"00\"", true},
            {"\"user\":1000", "\"device\":\"06:0d.0\",\"id\":\"1234:11e8\",\"class\":\"02\"", false},
    };
    static const char *const effects[] = {"allow", "deny"};

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        for (size_t k = 0; k < ELEMENTSOF(effects); k++) {
            _cleanup_free_ char *text =
                    format_string("{\"rules\":[{\"effect\":\"%s\",\"who\":{%s},\"what\":{%s}}]}", effects[k],
                            cases[i].who, cases[i].what);
            _cleanup_(policy_freep) Policy *policy = parse(text);
            Subject subject = alice();
            Device device = edu();
            Verdict v = evaluate(policy, &subject, &device);

            if ((v.rule != NULL) != cases[i].expected)
                fail_msg("%s", text);
            assert_int_equal(
                    v.effect, cases[i].expected && streq(effects[k], "allow") ? EFFECT_ALLOW : EFFECT_DENY);
        }
}

static void test_driver(void **state) {
    _cleanup_(policy_freep) Policy *policy = parse(
            "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{\"driver\":[\"e1000e\",\"igb\"]}}]}");
    Subject subject = alice();
    Device device = edu();

    assert_int_equal(evaluate(policy, &subject, &device).effect, EFFECT_DENY);
    device.driver = "igb";
    assert_int_equal(evaluate(policy, &subject, &device).effect, EFFECT_ALLOW);
    device.driver = "igbvf";
    assert_int_equal(evaluate(policy, &subject, &device).effect, EFFECT_DENY);
}

/* Nothing said means no. */
static void test_default_denies(void **state) {
    _cleanup_(policy_freep) Policy *empty = parse("{\"rules\":[]}");
    const Policy *policies[] = {NULL, empty};
    Subject subject = alice();
    Device device = edu();

    for (size_t i = 0; i < ELEMENTSOF(policies); i++) {
        Verdict v = evaluate(policies[i], &subject, &device);

        assert_int_equal(v.effect, EFFECT_DENY);
        assert_null(v.rule);
        assert_null(v.terms);
    }
}

static void test_first_match_decides(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("{\"rules\":[\n"
                  "{\"name\":\"other\",\"effect\":\"deny\",\"who\":{\"user\":7},\"what\":{}},\n"
                  "{\"effect\":\"allow\",\"who\":{\"group\":44},\"what\":{},\"backend\":\"group\","
                  "\"reset\":\"optional\",\"siblings\":\"park\"},\n"
                  "{\"name\":\"late\",\"effect\":\"deny\",\"who\":{},\"what\":{}}]}");
    Subject subject = alice();
    Device device = edu();
    Verdict v;

    v = evaluate(policy, &subject, &device);
    assert_int_equal(v.effect, EFFECT_ALLOW);
    assert_string_equal(rule_name(v.rule), "rule 2");
    assert_string_equal(rule_origin(v.rule), "rule 2 (f:3)");
    assert_int_equal(v.terms->backends, 1U << BACKEND_GROUP);
    assert_int_equal(v.terms->reset, RESET_OPTIONAL);
    assert_int_equal(v.terms->siblings, SIBLINGS_PARK);

    subject.uid = 7;
    v = evaluate(policy, &subject, &device);
    assert_int_equal(v.effect, EFFECT_DENY);
    assert_string_equal(rule_origin(v.rule), "other (f:2)");
    assert_null(v.terms);

    subject.uid = 8;
    subject.n_gids = 1;
    v = evaluate(policy, &subject, &device);
    assert_int_equal(v.effect, EFFECT_DENY);
    assert_string_equal(rule_name(v.rule), "late");
}

/* What is not known never opens and never lets a deny rule pass. */
static void test_unknown_facts(void **state) {
    static const struct {
        const char *who;
        bool unknown_uid, unknown_gids;
        bool allow_matches, deny_matches;
    } cases[] = {
            {"", true, false, false, true},
            {"\"user\":1000", true, false, false, true},
            {"\"user\":7", true, false, false, true},
            {"\"group\":44", true, false, false, true},
            {"\"group\":45", true, false, false, false},
            {"", false, true, true, true},
            {"\"user\":1000", false, true, true, true},
            {"\"user\":7", false, true, false, false},
            {"\"group\":44", false, true, false, true},
            {"\"user\":1000,\"group\":44", false, true, false, true},
            {"\"user\":7,\"group\":44", false, true, false, false},
            {"\"user\":7,\"group\":44", true, true, false, true},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *allow = format_string(
                                    "{\"rules\":[{\"effect\":\"allow\",\"who\":{%s},\"what\":{}}]}",
                                    cases[i].who),
                            *deny = format_string(
                                    "{\"rules\":[{\"effect\":\"deny\",\"who\":{%s},\"what\":{}}]}",
                                    cases[i].who);
        _cleanup_(policy_freep) Policy *allows = parse(allow), *denies = parse(deny);
        Subject subject = alice();
        Device device = edu();

        if (cases[i].unknown_uid)
            subject.uid = (uid_t) -1;
        if (cases[i].unknown_gids)
            subject.n_gids = 0;
        assert_int_equal(evaluate(allows, &subject, &device).rule != NULL, cases[i].allow_matches);
        assert_int_equal(evaluate(denies, &subject, &device).rule != NULL, cases[i].deny_matches);
    }
}

static void test_tables(void **state) {
    for (Effect e = 0; e < _EFFECT_MAX; e++)
        assert_int_equal(effect_from_string(effect_to_string(e)), e);
    for (ResetDemand r = 0; r < _RESET_DEMAND_MAX; r++)
        assert_int_equal(reset_demand_from_string(reset_demand_to_string(r)), r);
    for (SiblingDemand s = 0; s < _SIBLING_DEMAND_MAX; s++)
        assert_int_equal(sibling_demand_from_string(sibling_demand_to_string(s)), s);
    /* what zeroed memory means */
    assert_int_equal(EFFECT_DENY, 0);
    assert_int_equal(RESET_REQUIRED, 0);
    assert_int_equal(SIBLINGS_REFUSE, 0);
}

/* More lists of rules than a question can have features: each of these groups has its rule, and only the last
 * of them says yes. */
static void test_many_groups(void **state) {
    gid_t gids[72];
    Subject subject = alice();
    Device device = edu();

    for (unsigned n = ELEMENTSOF(gids) - 8; n <= ELEMENTSOF(gids); n++) {
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_strbuf_ StrBuf b = {};
        Verdict v;

        strbuf_add(&b, "{\"rules\":[");
        for (unsigned i = 0; i < n; i++) {
            gids[i] = 5000 + i;
            strbuf_addf(&b, "%s{\"effect\":\"allow\",\"who\":{\"group\":%u},\"what\":{\"driver\":\"x\"}}",
                    i == 0 ? "" : ",\n", gids[i]);
        }
        strbuf_addf(&b, ",{\"effect\":\"ask\",\"who\":{\"group\":%u},\"what\":{\"id\":\"1234:*\"}}]}",
                gids[n - 1]);
        assert_int_equal(b.error, 0);
        policy = parse(b.text);
        subject.gids = gids;
        subject.n_gids = n;
        v = evaluate(policy, &subject, &device);
        assert_int_equal(v.effect, EFFECT_ASK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_predicates),
            cmocka_unit_test(test_driver),
            cmocka_unit_test(test_default_denies),
            cmocka_unit_test(test_first_match_decides),
            cmocka_unit_test(test_unknown_facts),
            cmocka_unit_test(test_tables),
            cmocka_unit_test(test_many_groups),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
