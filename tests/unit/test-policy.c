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

/* --- random policies, compared with an evaluator that is slow and obvious ---
 *
 * The reference keeps what the rule was made from, as text, compares text with text, and knows nothing of
 * sorted lists, masks or compiled patterns. */

#define RANDOM_LIST_MAX 3U
#define RANDOM_RULES_MAX 6U

typedef struct RandomList {
    char items[RANDOM_LIST_MAX][32];
    unsigned n;
} RandomList;

typedef struct RandomRule {
    bool allow, group_backend_only, reset_optional, park;
    RandomList users, groups, devices, ids, classes, drivers;
} RandomRule;

static uint64_t random_state;

static unsigned random_below(unsigned n) {
    random_state = random_state * 6364136223846793005ULL + 1442695040888963407ULL;
    return (unsigned) (random_state >> 33) % n;
}

/* Small worlds, so that rules and questions meet often. */
static const uint16_t some_ids[] = {0x8086, 0x1234, 0x0001, 0xffff};
static const uint32_t some_classes[] = {0x020000, 0x020001, 0x028000, 0x010802};
static const char *const some_drivers[] = {"e1000e", "e1000", "nvme"};

static void random_id_part(char *out, unsigned one_in) {
    if (random_below(one_in) == 0)
        strcpy(out, "*");
    else
        sprintf(out, random_below(2) ? "%04x" : "%04X", some_ids[random_below(ELEMENTSOF(some_ids))]);
}

static void make_account(char *out) {
    sprintf(out, "%u", random_below(5));
}

static void make_device(char *out) {
    unsigned bus = random_below(3), slot = random_below(2), function = random_below(2);

    switch (random_below(7)) {
    case 0:
        sprintf(out, "0000:%02x:%02x.%u", bus, slot, function);
        break;
    case 1:
        sprintf(out, "pci:%04x:%02x:00.%u", random_below(2), bus, function);
        break;
    case 2:
        sprintf(out, "pci_0000_%02x_%02x_%u", bus, slot, function);
        break;
    case 3:
        sprintf(out, "*:%02x:%02x.[%u]", bus, slot, function);
        break;
    case 4:
        sprintf(out, "0000:%02x:%02x.?", bus, slot);
        break;
    case 5:
        sprintf(out, "pci:000?:%02x:%02x.*", bus, slot);
        break;
    default:
        strcpy(out, "*");
        break;
    }
}

static void make_id(char *out) {
    unsigned n = random_below(2) ? 2 : 4;

    for (unsigned i = 0; i < n; i++) {
        random_id_part(out, 3);
        out += strlen(out);
        if (i + 1 < n)
            *out++ = ':';
    }
    *out = '\0';
}

static void make_class(char *out) {
    sprintf(out, "%06x", some_classes[random_below(ELEMENTSOF(some_classes))]);
    out[2 * (1 + random_below(3))] = '\0';
}

static void make_driver(char *out) {
    strcpy(out, some_drivers[random_below(ELEMENTSOF(some_drivers))]);
}

static RandomList random_list(void (*make)(char *out)) {
    RandomList l = {};

    /* Mostly absent: a rule that asks for everything never matches. */
    if (random_below(3) != 0)
        return l;
    for (unsigned want = 1 + random_below(RANDOM_LIST_MAX); want > 0; want--) {
        bool again = false;

        make(l.items[l.n]);
        for (unsigned i = 0; i < l.n; i++)
            again |= streq(l.items[i], l.items[l.n]);
        if (!again)
            l.n++;
    }
    return l;
}

static RandomRule random_rule(void) {
    RandomRule r = {
            .allow = random_below(2),
            .users = random_list(make_account),
            .groups = random_list(make_account),
            .devices = random_list(make_device),
            .ids = random_list(make_id),
            .classes = random_list(make_class),
            .drivers = random_list(make_driver),
    };

    r.group_backend_only = r.allow && random_below(2);
    r.reset_optional = r.allow && random_below(2);
    r.park = r.allow && random_below(2);
    return r;
}

static void print_list(StrBuf *b, const char *key, const RandomList *l, bool *first) {
    if (l->n == 0)
        return;
    strbuf_addf(b, "%s\"%s\":[", *first ? "" : ",", key);
    for (unsigned i = 0; i < l->n; i++)
        strbuf_addf(b, "%s\"%s\"", i == 0 ? "" : ",", l->items[i]);
    strbuf_add(b, "]");
    *first = false;
}

static void print_rule(StrBuf *b, const RandomRule *r) {
    bool first = true;

    strbuf_addf(b, "{\"effect\":\"%s\",\"who\":{", r->allow ? "allow" : "deny");
    print_list(b, "user", &r->users, &first);
    print_list(b, "group", &r->groups, &first);
    first = true;
    strbuf_add(b, "},\"what\":{");
    print_list(b, "device", &r->devices, &first);
    print_list(b, "id", &r->ids, &first);
    print_list(b, "class", &r->classes, &first);
    print_list(b, "driver", &r->drivers, &first);
    strbuf_addf(b, "}%s%s%s}", r->group_backend_only ? ",\"backend\":\"group\"" : "",
            r->reset_optional ? ",\"reset\":\"optional\"" : "", r->park ? ",\"siblings\":\"park\"" : "");
}

typedef enum Answer {
    NO,
    YES,
    UNKNOWN,
} Answer;

static Answer reference_user(const RandomList *users, const Subject *s) {
    char text[16];

    if (s->uid == (uid_t) -1)
        return UNKNOWN;
    sprintf(text, "%u", s->uid);
    for (unsigned i = 0; i < users->n; i++)
        if (streq(users->items[i], text))
            return YES;
    return users->n == 0 ? YES : NO;
}

static Answer reference_group(const RandomList *groups, const Subject *s) {
    if (groups->n == 0)
        return YES;
    if (s->n_gids == 0)
        return UNKNOWN;
    for (unsigned i = 0; i < groups->n; i++)
        for (size_t k = 0; k < s->n_gids; k++) {
            char text[16];

            sprintf(text, "%u", s->gids[k]);
            if (streq(groups->items[i], text))
                return YES;
        }
    return NO;
}

static Answer reference_device(const RandomList *devices, const Device *d) {
    char canonical[DEVICE_NAME_MAX];

    device_name_format(&d->name, canonical);
    for (unsigned i = 0; i < devices->n; i++) {
        const char *pattern = devices->items[i];
        DeviceName name;

        if (!strpbrk(pattern, "*?[")) {
            assert_int_equal(device_name_parse(pattern, &name), 0);
            if (device_name_compare(&name, &d->name) == 0)
                return YES;
        } else if (glob_match(pattern, startswith(pattern, "pci:") ? canonical : canonical + strlen("pci:")))
            return YES;
    }
    return devices->n == 0 ? YES : NO;
}

static Answer reference_id(const RandomList *ids, const Device *d) {
    char parts[4][8];

    sprintf(parts[0], "%04x", d->vendor);
    sprintf(parts[1], "%04x", d->device);
    sprintf(parts[2], "%04x", d->subsystem_vendor);
    sprintf(parts[3], "%04x", d->subsystem_device);
    for (unsigned i = 0; i < ids->n; i++) {
        char copy[32], *rest = copy, *part;
        bool match = true;

        strcpy(copy, ids->items[i]);
        for (unsigned k = 0; (part = strsep(&rest, ":")); k++)
            match = match && (streq(part, "*") || strcasecmp(part, parts[k]) == 0);
        if (match)
            return YES;
    }
    return ids->n == 0 ? YES : NO;
}

static Answer reference_class(const RandomList *classes, const Device *d) {
    char text[8];

    sprintf(text, "%06x", d->class_code);
    for (unsigned i = 0; i < classes->n; i++)
        if (startswith(text, classes->items[i]))
            return YES;
    return classes->n == 0 ? YES : NO;
}

static Answer reference_driver(const RandomList *drivers, const Device *d) {
    for (unsigned i = 0; i < drivers->n; i++)
        if (streq_ptr(drivers->items[i], d->driver))
            return YES;
    return drivers->n == 0 ? YES : NO;
}

/* The number of the rule that decides, -1: none. */
static int reference_evaluate(const RandomRule *rules, unsigned n_rules, const Subject *s, const Device *d) {
    for (unsigned i = 0; i < n_rules; i++) {
        const RandomRule *r = rules + i;
        Answer answers[] = {
                reference_user(&r->users, s),
                reference_group(&r->groups, s),
                reference_device(&r->devices, d),
                reference_id(&r->ids, d),
                reference_class(&r->classes, d),
                reference_driver(&r->drivers, d),
        };
        unsigned n_no = 0, n_unknown = 0;

        for (size_t k = 0; k < ELEMENTSOF(answers); k++) {
            n_no += answers[k] == NO;
            n_unknown += answers[k] == UNKNOWN;
        }
        if (n_no == 0 && (n_unknown == 0 || !r->allow))
            return (int) i;
    }
    return -1;
}

static void random_question(Subject *s, Device *d, gid_t gids[static 3]) {
    *s = SUBJECT_NULL;
    s->uid = random_below(8) == 0 ? (uid_t) -1 : random_below(5);
    s->n_gids = random_below(4);
    s->gids = gids;
    for (unsigned i = 0; i < 3; i++)
        gids[i] = random_below(5);
    *d = (Device){
            .name = {.domain = random_below(2),
                    .pci_bus = (uint8_t) random_below(3),
                    .slot = (uint8_t) random_below(2),
                    .function = (uint8_t) random_below(2)},
            .vendor = some_ids[random_below(ELEMENTSOF(some_ids))],
            .device = some_ids[random_below(ELEMENTSOF(some_ids))],
            .subsystem_vendor = some_ids[random_below(ELEMENTSOF(some_ids))],
            .subsystem_device = some_ids[random_below(ELEMENTSOF(some_ids))],
            .class_code = some_classes[random_below(ELEMENTSOF(some_classes))],
            .driver = random_below(4) == 0 ? NULL : some_drivers[random_below(ELEMENTSOF(some_drivers))],
    };
}

static void expect_verdict(Verdict v, const RandomRule *rules, int expected, const char *text) {
    char name[16];

    if (expected < 0) {
        if (v.rule || v.effect != EFFECT_DENY)
            fail_msg("no rule should match, not %s:\n%s", v.rule ? rule_name(v.rule) : "none", text);
        return;
    }
    sprintf(name, "rule %d", expected + 1);
    if (!v.rule || !streq(rule_name(v.rule), name))
        fail_msg("%s should decide, not %s:\n%s", name, v.rule ? rule_name(v.rule) : "none", text);
    assert_int_equal(v.effect, rules[expected].allow ? EFFECT_ALLOW : EFFECT_DENY);
    if (!rules[expected].allow)
        return;
    assert_int_equal(v.terms->backends,
            rules[expected].group_backend_only ? 1U << BACKEND_GROUP
                                               : 1U << BACKEND_GROUP | 1U << BACKEND_IOMMUFD);
    assert_int_equal(v.terms->reset, rules[expected].reset_optional ? RESET_OPTIONAL : RESET_REQUIRED);
    assert_int_equal(v.terms->siblings, rules[expected].park ? SIBLINGS_PARK : SIBLINGS_REFUSE);
}

static void test_random(void **state) {
    unsigned n_allowed = 0, n_denied = 0, n_unmatched = 0;

    random_state = 0x5eed0002;
    print_message("# seed 0x%" PRIx64 "\n", random_state);
    for (unsigned round = 0; round < 2000; round++) {
        unsigned n_rules = 1 + random_below(RANDOM_RULES_MAX);
        _cleanup_(policy_freep) Policy *policy = NULL;
        _cleanup_strbuf_ StrBuf b = {};
        RandomRule rules[RANDOM_RULES_MAX];

        strbuf_add(&b, "{\"rules\":[");
        for (unsigned i = 0; i < n_rules; i++) {
            rules[i] = random_rule();
            strbuf_add(&b, i == 0 ? "\n" : ",\n");
            print_rule(&b, rules + i);
        }
        strbuf_add(&b, "]}");
        assert_int_equal(b.error, 0);
        policy = parse(b.text);
        for (unsigned k = 0; k < 30; k++) {
            Subject s;
            Device d;
            gid_t gids[3];
            int expected;

            random_question(&s, &d, gids);
            expected = reference_evaluate(rules, n_rules, &s, &d);
            expect_verdict(evaluate(policy, &s, &d), rules, expected, b.text);
            n_allowed += expected >= 0 && rules[expected].allow;
            n_denied += expected >= 0 && !rules[expected].allow;
            n_unmatched += expected < 0;
        }
    }
    /* a test that only ever sees one answer proves nothing */
    assert_true(n_allowed > 5000 && n_denied > 5000 && n_unmatched > 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_predicates),
            cmocka_unit_test(test_driver),
            cmocka_unit_test(test_default_denies),
            cmocka_unit_test(test_first_match_decides),
            cmocka_unit_test(test_unknown_facts),
            cmocka_unit_test(test_tables),
            cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
