/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "policy/parse.h"
#include "policy/rule.h"
#include "policy/selector.h"

#define SLOT "'slot':'06:0d.0'"
#define PATH "'path':'0000:00:1c.0/00.0'"
#define ID "'id':'1234:11e8'"
#define SERIAL "'serial':'00-1b-21-ff-ff-a1-b2-c3'"
#define ELSEWHERE "'slot':'07:00.0'"

static int resolve(
        _unused_ void *userdata, _unused_ bool is_group, _unused_ const char *name, _unused_ uint32_t *ret) {
    return -ENOENT;
}

/* ' stands for ". */
static Policy *parse(const char *effect, const char *tags, const char *use) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_free_ char *text = format_string(
            "{'tags':{%s},'rules':[{'effect':'%s','who':{},'what':{'tag':%s}}]}", tags, effect, use);
    Policy *policy = NULL;

    assert_non_null(p);
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
    if (policy_parser_finish(p, &policy) < 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    return policy;
}

/* The facts of one device. */
typedef struct World {
    bool other_slot, other_path, other_card, other_serial, no_serial;
    unsigned unknown; /* mask of DeviceFactMask */
    bool no_facts;
} World;

static Verdict evaluate(const Policy *policy, const World *w) {
    const Device device = {
            .name = {.kind = DEVICE_KIND_PCI, .pci_bus = w->other_slot ? 8 : 6, .slot = 0x0d},
            .vendor = 0x1234,
            .device = w->other_card ? 0x11e9 : 0x11e8,
            .vfio_index = -1,
    };
    DeviceFacts facts = DEVICE_FACTS_NULL;
    Subject subject = SUBJECT_NULL;
    PolicyQuestion question = {.subject = &subject, .device = &device, .facts = w->no_facts ? NULL : &facts};

    subject.uid = 1000;
    facts.known = DEVICE_FACT_ALL & ~w->unknown;
    strcpy(facts.slot_path, w->other_path ? "0000:00:1c.4/00.0" : "0000:00:1c.0/00.0");
    if (!w->no_serial)
        strcpy(facts.serial, w->other_serial ? "00-1b-21-ff-ff-a1-b2-c4" : "00-1b-21-ff-ff-a1-b2-c3");
    return policy_evaluate(policy, &question);
}

/* NO: no rule matches. UNKNOWN: an allow rule does not match, a deny rule does. */
static const struct {
    const char *tags;
    World world;
    Holds expected;
} cases[] = {
        {"'t':{" SLOT "," ID "}", {}, HOLDS_YES},
        {"'t':{" SLOT "," ID "}", {.no_facts = true}, HOLDS_YES},
        {"'t':{" SLOT "," ID "}", {.other_card = true}, HOLDS_CHANGED},
        {"'t':{" SLOT "," ID "}", {.other_slot = true}, HOLDS_NO},
        {"'t':{" SLOT "," ID "}", {.other_slot = true, .other_card = true}, HOLDS_NO},
        /* the path */
        {"'t':{" PATH "," ID "}", {.other_slot = true}, HOLDS_YES},
        {"'t':{" PATH "," ID "}", {.other_path = true}, HOLDS_NO},
        {"'t':{" PATH "," ID "}", {.other_card = true}, HOLDS_CHANGED},
        {"'t':{" PATH "," ID "}", {.unknown = DEVICE_FACT_SLOT_PATH}, HOLDS_UNKNOWN},
        {"'t':{" PATH "," ID "}", {.no_facts = true}, HOLDS_UNKNOWN},
        {"'t':{" PATH "," ID "}", {.other_card = true, .no_facts = true}, HOLDS_UNKNOWN},
        /* both, as given */
        {"'t':{" SLOT "," PATH "," ID "}", {}, HOLDS_YES},
        {"'t':{" SLOT "," PATH "," ID "}", {.other_path = true}, HOLDS_NO},
        {"'t':{" SLOT "," PATH "," ID "}", {.other_slot = true}, HOLDS_NO},
        {"'t':{" SLOT "," PATH "," ID "}", {.other_slot = true, .no_facts = true}, HOLDS_NO},
        {"'t':{" SLOT "," PATH "," ID "}", {.no_facts = true}, HOLDS_UNKNOWN},
        /* the serial number */
        {"'t':{" SLOT "," ID "," SERIAL "}", {}, HOLDS_YES},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.other_serial = true}, HOLDS_CHANGED},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.no_serial = true}, HOLDS_CHANGED},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.other_card = true}, HOLDS_CHANGED},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.other_slot = true}, HOLDS_CHANGED},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.other_slot = true, .other_serial = true}, HOLDS_NO},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.other_slot = true, .other_card = true}, HOLDS_NO},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.unknown = DEVICE_FACT_SERIAL}, HOLDS_UNKNOWN},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.other_slot = true, .unknown = DEVICE_FACT_SERIAL},
                HOLDS_UNKNOWN},
        {"'t':{" SLOT "," ID "," SERIAL "}", {.other_card = true, .unknown = DEVICE_FACT_SERIAL},
                HOLDS_CHANGED},
        {"'t':{" PATH "," ID "," SERIAL "}", {.other_path = true}, HOLDS_CHANGED},
        {"'t':{" PATH "," ID "," SERIAL "}", {.unknown = DEVICE_FACT_SLOT_PATH}, HOLDS_UNKNOWN},
        /* yes outranks changed, changed outranks unknown, unknown outranks no */
        {"'t':[{" ELSEWHERE "," ID "},{" SLOT "," ID "}]", {}, HOLDS_YES},
        {"'t':[{" SLOT ",'id':'0001:0002'}],'u':{" SLOT "," ID "}", {}, HOLDS_YES},
        {"'t':[{" PATH "," ID "},{" SLOT ",'id':'8086:10d3'}]", {.no_facts = true}, HOLDS_CHANGED},
        {"'t':[{" SLOT ",'id':'8086:10d3'},{" PATH "," ID "}]", {.no_facts = true}, HOLDS_CHANGED},
        {"'t':[{" ELSEWHERE "," ID "},{" PATH "," ID "}]", {.no_facts = true}, HOLDS_UNKNOWN},
        {"'t':[{" PATH "," ID "},{" ELSEWHERE "," ID "}]", {.no_facts = true}, HOLDS_UNKNOWN},
};

static void test_all(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        const char *use = strstr(cases[i].tags, "'u'") ? "['t','u']" : "'t'";
        const char *tags = cases[i].tags;
        _cleanup_(policy_freep) Policy *allow = parse("allow", tags, use), *deny = parse("deny", tags, use),
                                       *ask = parse("ask", tags, use);
        Holds h = cases[i].expected;
        Verdict v;

        v = evaluate(allow, &cases[i].world);
        if ((v.effect == EFFECT_ALLOW) != (h == HOLDS_YES) || v.changed != (h == HOLDS_CHANGED) ||
                (v.rule != NULL) != (h == HOLDS_YES || h == HOLDS_CHANGED) ||
                (v.terms != NULL) != (h == HOLDS_YES))
            fail_msg("case %zu, allow: %s", i, tags);
        v = evaluate(ask, &cases[i].world);
        if ((v.effect == EFFECT_ASK) != (h == HOLDS_YES) || v.changed != (h == HOLDS_CHANGED))
            fail_msg("case %zu, ask: %s", i, tags);
        v = evaluate(deny, &cases[i].world);
        if (v.effect != EFFECT_DENY || v.changed || (v.rule != NULL) != (h != HOLDS_NO))
            fail_msg("case %zu, deny: %s", i, tags);
    }
}

/* The change can be described. */
static void test_changed_entry(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("allow", "'t':[{" ELSEWHERE "," ID "},{" SLOT ",'id':'8086:10d3'}]", "'t'");
    const Device device = {.name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 0x0d},
            .vendor = 0x1234,
            .device = 0x11e8};
    const Device other = {
            .name = {.kind = DEVICE_KIND_PCI, .pci_bus = 9}, .vendor = 0x1234, .device = 0x11e8};
    const TagEntry *entry;
    Subject subject = SUBJECT_NULL;
    Question q;

    question_init(&q, &(const PolicyQuestion){.subject = &subject, .device = &device}, policy->predicates);
    entry = tag_changed_entry(policy->tags[0], &q);
    assert_non_null(entry);
    assert_true(entry->id.value == UINT64_C(0x808610d300000000));
    question_init(&q, &(const PolicyQuestion){.subject = &subject, .device = &other}, policy->predicates);
    assert_null(tag_changed_entry(policy->tags[0], &q));
}

static void test_needed_facts(void **state) {
    _cleanup_(policy_freep)
            Policy *slot = parse("allow", "'t':{" SLOT "," ID "}", "'t'"),
                   *path = parse("allow", "'t':{" PATH "," ID "}", "'t'"),
                   *serial = parse("allow", "'t':{" SLOT "," ID "," SERIAL "}", "'t'"),
                   *unused = parse("allow", "'t':{" SLOT "," ID "},'u':{" PATH "," ID "," SERIAL "}", "'t'");

    assert_int_equal(policy_needed_facts(slot), 0);
    assert_int_equal(policy_needed_facts(path), DEVICE_FACT_SLOT_PATH);
    assert_int_equal(policy_needed_facts(serial), DEVICE_FACT_SERIAL);
    assert_int_equal(policy_needed_facts(unused), 0);
}

/* What a program can request instead of a name: a pattern, a class, a tag. */
static void test_selector_words(void **state) {
    static const char *const bad[] = {"", "class:", "class:x", "class:0x02", "class:02000", "class:ethernet ",
            "tag:", "tag:0123456789012345678901234567890123456789012345678901234567890123", "0000:06:0g.0",
            "06:", "pci:"};
    char problem[DEVICE_PATTERN_PROBLEM_MAX];
    DeviceSelector s = {.kind = -1};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        problem[0] = '\0';
        assert_int_equal(device_selector_parse(bad[i], &s, problem, sizeof(problem)), -EINVAL);
        assert_true(problem[0] && (int) s.kind == -1);
    }
    assert_int_equal(device_selector_parse("06:0d.0", &s, problem, sizeof(problem)), 0);
    assert_true(s.kind == SELECT_DEVICE && s.device.exact);
    assert_int_equal(device_selector_parse("0000:06:*", &s, problem, sizeof(problem)), 0);
    assert_true(s.kind == SELECT_DEVICE && !s.device.exact);
}

static int match(const char *text, const Policy *policy, const DeviceFacts *facts, unsigned *ret_needed) {
    const Device device = {.name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 0x0d},
            .vendor = 0x1234,
            .device = 0x11e8,
            .class_code = 0x020000};
    char problem[DEVICE_PATTERN_PROBLEM_MAX];
    DeviceSelector s;

    assert_int_equal(device_selector_parse(text, &s, problem, sizeof(problem)), 0);
    *ret_needed = 0;
    return device_selector_match(&s, policy, &device, facts, ret_needed);
}

static void test_selector_matches(void **state) {
    _cleanup_(policy_freep) Policy *policy = parse("allow",
            "'slot':{" SLOT "," ID "},'path':{" PATH "," ID "},'card':{" SLOT "," ID "," SERIAL "},"
            "'others':{" PATH ",'id':'1234:11e9'},'there':{" ELSEWHERE "," ID "}",
            "['slot','path','card','others','there']");
    DeviceFacts facts = DEVICE_FACTS_NULL;
    static const struct {
        const char *text;
        int expected;
        unsigned needed;
    } rows[] = {
            {"06:0d.0", 1, 0}, {"06:0d.1", 0, 0}, {"0000:06:*", 1, 0}, {"mdev:*", 0, 0},
            {"class:ethernet", 1, 0}, {"class:network", 1, 0}, {"class:02", 1, 0}, {"class:0200", 1, 0},
            {"class:0201", 0, 0}, {"class:audio", 0, 0}, {"class:wireless", 0, 0}, {"tag:slot", 1, 0},
            {"tag:there", 0, 0}, {"tag:unknown", 0, 0}, {"tag:path", -ENODATA, DEVICE_FACT_SLOT_PATH},
            {"tag:card", -ENODATA, DEVICE_FACT_SERIAL},
            {"tag:others", 0, 0}, /* its ids differ: nothing has to be read */
    };
    unsigned needed;

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        assert_int_equal(match(rows[i].text, policy, NULL, &needed), rows[i].expected);
        assert_int_equal(needed, rows[i].needed);
    }
    assert_int_equal(match("tag:slot", NULL, NULL, &needed), 0); /* there is no valid policy */
    facts.known = DEVICE_FACT_SLOT_PATH | DEVICE_FACT_SERIAL;
    strcpy(facts.slot_path, "0000:00:1c.0/00.0");
    assert_int_equal(match("tag:path", policy, &facts, &needed), 1);
    assert_int_equal(match("tag:card", policy, &facts, &needed), 0); /* it has no serial number */
    strcpy(facts.slot_path, "0000:00:1c.4/00.0");
    assert_int_equal(match("tag:path", policy, &facts, &needed), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_selector_words),
            cmocka_unit_test(test_selector_matches),
            cmocka_unit_test(test_all),
            cmocka_unit_test(test_changed_entry),
            cmocka_unit_test(test_needed_facts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
