/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "base/user-name.h"
#include "policy/explain.h"
#include "policy/parse.h"

static int resolve(_unused_ void *userdata, bool is_group, const char *name, uint32_t *ret) {
    if (!is_group && streq(name, "alice"))
        *ret = 1000;
    else if (!is_group && streq(name, "bob"))
        *ret = 1001;
    else if (is_group && streq(name, "vm"))
        *ret = 2000;
    else
        return -ENOENT;
    return 0;
}

static Policy *parse(const char *text) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    Policy *policy = NULL;

    assert_non_null(p);
    assert_int_equal(policy_parser_add(p, "/p/50.json", text, strlen(text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

static void json_putp(struct json_object **o) {
    json_object_put(*o);
}
#define _cleanup_json_ _cleanup_(json_putp)

/* Finds a member by a path of keys and indexes such as "considered.0.rule". */
static struct json_object *look(struct json_object *o, const char *path) {
    char key[64];

    for (; *path; path += strlen(key) + (path[strlen(key)] == '.')) {
        size_t n = strcspn(path, ".");

        assert_true(n < sizeof(key));
        memcpy(key, path, n);
        key[n] = '\0';
        if (json_object_is_type(o, json_type_array))
            o = json_object_array_get_idx(o, (size_t) atoi(key));
        else if (!json_object_object_get_ex(o, key, &o))
            fail_msg("no member %s", key);
    }
    return o;
}

static const char *text_of(struct json_object *o, const char *path) {
    struct json_object *member = look(o, path);

    return member ? json_object_get_string(member) : "null";
}

#define assert_json(o, path, expected) assert_string_equal(text_of(o, path), expected)
#define assert_says(text, part)                                                                              \
    do {                                                                                                     \
        if (!strstr(text, part))                                                                             \
            fail_msg("\"%s\" does not say \"%s\"", text, part);                                              \
    } while (0)
#define assert_silent(text, part)                                                                            \
    do {                                                                                                     \
        if (strstr(text, part))                                                                              \
            fail_msg("\"%s\" says \"%s\"", text, part);                                                      \
    } while (0)

static gid_t gids[] = {100, 44};

static Subject subject(uid_t uid) {
    Subject s = SUBJECT_NULL;

    s.uid = uid;
    s.gids = gids;
    s.n_gids = ELEMENTSOF(gids);
    return s;
}

static const Device edu = {
        .name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6, .slot = 0x0d},
        .vendor = 0x1234,
        .device = 0x11e8,
        .subsystem_vendor = 0x1af4,
        .subsystem_device = 0x1100,
        .class_code = 0x00ff00,
        .driver = "edu\x1b[31m",
        .vfio_index = -1,
};

static struct json_object *explain(const char *text, uid_t uid, Audience audience, const char *user) {
    _cleanup_(policy_freep) Policy *policy = parse(text);
    const Subject s = subject(uid);
    const PolicyQuestion question = {.subject = &s, .device = &edu};
    struct json_object *o = policy_explain(policy, &question, audience, user);

    assert_non_null(o);
    return o;
}

#define RULE(text) "{ \"rules\": [ " text " ] }"
#define ALICE "{ \"name\": \"a\", \"effect\": \"allow\", \"who\": { \"user\": \"alice\" }, "
#define EDU "\"what\": { \"id\": \"1234:11e8\" } }"

static void test_yes(void **state) {
    _cleanup_json_ struct json_object *o = explain(
            RULE("{ \"effect\": \"deny\", \"who\": { \"user\": \"bob\" }, \"what\": {} },\n" ALICE EDU), 1000,
            AUDIENCE_OPERATOR, "alice");

    assert_json(o, "device", "pci:0000:06:0d.0");
    assert_json(o, "effect", "allow");
    assert_json(o, "rule", "a");
    assert_json(o, "file", "/p/50.json");
    assert_json(o, "line", "2");
    assert_json(o, "change", "null");
    assert_json(o, "hidden", "0");
    assert_int_equal(json_object_array_length(look(o, "considered")), 2);
    assert_json(o, "considered.0.rule", "#1");
    assert_json(o, "considered.0.holds", "false");
    assert_json(o, "considered.0.predicates.0.key", "who.user");
    assert_json(o, "considered.0.predicates.0.holds", "no");
    assert_json(o, "considered.0.predicates.0.wanted", "bob");
    assert_json(o, "considered.0.predicates.0.seen", "alice (1000)");
    assert_json(o, "considered.1.holds", "true");
    assert_json(o, "considered.1.predicates.1.key", "what.id");
    assert_json(o, "considered.1.predicates.1.seen", "1234:11e8:1af4:1100");
}

static void test_stranger(void **state) {
    static const char policy[] = RULE(ALICE EDU);
    _cleanup_json_ struct json_object *stranger = explain(policy, 1002, AUDIENCE_SUBJECT, NULL),
                                      *operator= explain(policy, 1002, AUDIENCE_OPERATOR, "carol");

    assert_json(stranger, "effect", "deny");
    assert_json(stranger, "rule", "null");
    assert_json(stranger, "file", "null");
    assert_json(stranger, "line", "0");
    assert_json(stranger, "hidden", "1");
    assert_int_equal(json_object_array_length(look(stranger, "considered")), 0);
    assert_json(stranger, "change",
            "To loosen the policy for this device alone, ask the operator for the rule: { \"effect\": "
            "\"allow\", \"who\": { \"user\": 1002 }, "
            "\"what\": { \"device\": \"pci:0000:06:0d.0\" } }");

    assert_json(operator, "hidden", "0");
    assert_json(operator, "change",
            "Rule a (/p/50.json:1) does not match: who.user requires alice, found carol (1002). To "
            "loosen "
            "the policy, add \"carol\" to who.user.");
}

/* Callers never learn of rules that do not concern them. */
static void test_no_leak(void **state) {
    static const char *const policies[] = {
            RULE(ALICE EDU),
            RULE("{ \"name\": \"secret\", \"effect\": \"allow\", \"who\": { \"group\": \"vm\" }, " EDU),
            RULE("{ \"name\": \"secret\", \"effect\": \"deny\", \"who\": { \"group\": \"vm\" }, " EDU),
            RULE("{ \"name\": \"secret\", \"effect\": \"deny\", \"who\": { \"user\": \"bob\" }, \"what\": {} "
                 "}"),
    };
    static const char *const secrets[] = {"secret", "50.json", "alice", "bob", "vm", "2000"};

    for (size_t i = 0; i < ELEMENTSOF(policies); i++) {
        _cleanup_(policy_freep) Policy *policy = parse(policies[i]);

        for (unsigned known = 0; known < 2; known++) {
            _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
            _cleanup_json_ struct json_object *o = NULL;
            Subject s = subject(1002);
            const PolicyQuestion question = {.subject = &s, .device = &edu};

            if (!known)
                s.n_gids = 0; /* unknown: the deny rule decides, but still does not concern them */
            o = policy_explain(policy, &question, AUDIENCE_SUBJECT, NULL);
            assert_non_null(o);
            (void) refuse(&refusal, VFIOD_ERROR_ACCESS_DENIED, &edu.name, "the policy denies it to uid 1002");
            if (i == 2 && !known)
                refusal.rule = strdup("secret (/p/50.json:1)");
            policy_explain_refusal(policy, &question, AUDIENCE_SUBJECT, &refusal);
            for (size_t k = 0; k < ELEMENTSOF(secrets); k++) {
                _cleanup_free_ char *text = refusal_format(&refusal);

                assert_silent(json_object_to_json_string(o), secrets[k]);
                assert_silent(text, secrets[k]);
            }
            assert_null(refusal.rule);
            assert_null(refusal.file);
            assert_null(refusal.nearest);
            assert_null(refusal.predicate);
            if (i == 2 && !known)
                assert_string_equal(refusal.reason, "no rule of the policy allows it to uid 1002");
        }
    }
}

/* A subject that the rule concerns learns what blocks it. An escape sequence in a driver's name has no
 * effect. */
static void test_own_rule(void **state) {
    _cleanup_json_ struct json_object *o =
            explain(RULE(ALICE "\"what\": { \"id\": \"1234:11e8\", \"driver\": \"iavf\" } }"), 1000,
                    AUDIENCE_SUBJECT, NULL);

    assert_json(o, "hidden", "0");
    assert_json(o, "considered.0.predicates.2.key", "what.driver");
    assert_json(o, "considered.0.predicates.2.holds", "no");
    assert_json(o, "considered.0.predicates.2.seen", "edu\\x1b[31m");
    assert_json(o, "change",
            "Only the operator can change that. Rule a (/p/50.json:1) does not match: what.driver requires "
            "iavf, found edu\\x1b[31m. To loosen the policy for this device alone, ask the operator for "
            "the rule: "
            "{ \"effect\": \"allow\", \"who\": { \"user\": 1000 }, \"what\": { \"device\": "
            "\"pci:0000:06:0d.0\" } }.");
}

/* The fewest changes win. A rule that has nothing in common with the question is not suggested. */
static void test_nearest(void **state) {
    _cleanup_json_ struct json_object *near = explain(
            RULE(ALICE
                    "\"what\": { \"id\": \"ffff:*\", \"driver\": \"x\" } }, { \"name\": \"b\", \"effect\": "
                    "\"allow\", \"who\": { \"user\": \"alice\" }, \"what\": { \"driver\": \"x\" } }"),
            1000, AUDIENCE_OPERATOR, NULL);
    _cleanup_json_ struct json_object *far =
            explain(RULE(ALICE "\"what\": { \"id\": \"ffff:*\" } }"), 1002, AUDIENCE_OPERATOR, "carol");

    assert_says(text_of(near, "change"), "Rule b (/p/50.json:1) does not match: ");
    assert_json(far, "change",
            "To loosen the policy for this device alone, add the rule: { \"effect\": \"allow\", \"who\": { "
            "\"user\": \"carol\" }, \"what\": { \"device\": "
            "\"pci:0000:06:0d.0\" } }");
}

static void test_denied_by_rule(void **state) {
    static const char deny[] = "{ \"name\": \"d\", \"effect\": \"deny\", \"who\": {}, " EDU;
    _cleanup_free_ char *text = NULL;
    _cleanup_json_ struct json_object *shadowed = NULL, *alone = NULL;

    assert_true(asprintf(&text, "{ \"rules\": [ %s, " ALICE EDU " ] }", deny) > 0);
    shadowed = explain(text, 1000, AUDIENCE_SUBJECT, NULL);
    assert_json(shadowed, "rule", "d");
    assert_json(shadowed, "change",
            "Only the operator can change that. Rule a (/p/50.json:1) would allow it, but rule d "
            "(/p/50.json:1) denies it first. To loosen the policy, put rule a before rule d.");
    free(TAKE_PTR(text));

    assert_true(asprintf(&text, "{ \"rules\": [ %s ] }", deny) > 0);
    alone = explain(text, 1000, AUDIENCE_OPERATOR, NULL);
    assert_says(text_of(alone, "change"),
            "To loosen the policy, narrow rule d (/p/50.json:1), and let another rule allow it: { "
            "\"effect\": \"allow\"");
}

/* The rule that almost allowed the device comes before the rule that denied, which can stay unchanged. */
static void test_near_in_front_of_denial(void **state) {
    _cleanup_json_ struct json_object *o = NULL;

    assert_int_equal(group_names_read("video:x:44:\n"), 0);
    o = explain(RULE("{ \"name\": \"g\", \"effect\": \"allow\", \"who\": { \"group\": \"vm\" }, " EDU
                     ", { \"name\": \"d\", \"effect\": \"deny\", \"who\": {}, " EDU),
            1000, AUDIENCE_OPERATOR, "alice");
    user_names_done();
    assert_json(o, "rule", "d");
    assert_json(o, "change",
            "Rule g (/p/50.json:1) does not match: who.group requires vm, found gid 100, video (44). To "
            "loosen the "
            "policy, make the user a member of a group in who.group (vm).");
}

/* "include none" would not help */
static void test_change_of_what_is_absent(void **state) {
    static const char text[] = RULE(
            "{ \"name\": \"u\", \"effect\": \"allow\", \"who\": { \"user\": \"alice\", \"unit\": \"vm-*\" }, "
            "\"what\": { \"id\": \"1234:11e8\", \"driver\": \"iavf\" } }");
    _cleanup_(policy_freep) Policy *policy = parse(text);
    _cleanup_json_ struct json_object *absent = NULL, *other = NULL;
    Subject s = subject(1000);
    Device d = edu;
    const PolicyQuestion question = {.subject = &s, .device = &d};

    s.cgroup = (char *) "/user.slice";
    d.driver = NULL;
    absent = policy_explain(policy, &question, AUDIENCE_OPERATOR, "alice");
    assert_json(absent, "change",
            "Rule u (/p/50.json:1) does not match: who.unit requires vm-*, found no unit; what.driver "
            "requires "
            "iavf, found none.");
    s.unit = (char *) "session-1.scope";
    d.driver = (char *) "iavf";
    other = policy_explain(policy, &question, AUDIENCE_OPERATOR, "alice");
    assert_json(other, "change",
            "Rule u (/p/50.json:1) does not match: who.unit requires vm-*, found session-1.scope. To loosen "
            "the policy, add session-1.scope to who.unit.");
}

static void test_unknown(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse(RULE("{ \"effect\": \"deny\", \"who\": { \"group\": \"vm\" }, \"what\": {} }, " ALICE EDU));
    _cleanup_json_ struct json_object *o = NULL;
    Subject s = subject(1000);
    const PolicyQuestion question = {.subject = &s, .device = &edu};

    s.n_gids = 0;
    o = policy_explain(policy, &question, AUDIENCE_OPERATOR, NULL);
    assert_json(o, "considered.0.predicates.1.holds", "unknown");
    assert_json(o, "considered.0.predicates.1.seen", "unknown");
    assert_says(text_of(o, "change"), "unknown facts count against the caller: who.group");
}

static void test_no_policy(void **state) {
    const Subject s = subject(1000);
    const PolicyQuestion question = {.subject = &s, .device = &edu};
    _cleanup_json_ struct json_object *o = policy_explain(NULL, &question, AUDIENCE_SUBJECT, NULL);

    assert_json(o, "effect", "deny");
    assert_says(text_of(o, "change"), "No valid policy is loaded");
}

static void test_refusal(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse(RULE(ALICE "\"what\": { \"id\": \"1234:11e8\", \"driver\": \"iavf\" } }"));
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    const Subject s = subject(1000);
    const PolicyQuestion question = {.subject = &s, .device = &edu};

    (void) refuse(&refusal, VFIOD_ERROR_ACCESS_DENIED, &edu.name, "no rule allows it");
    policy_explain_refusal(policy, &question, AUDIENCE_SUBJECT, &refusal);
    assert_null(refusal.rule);
    assert_string_equal(refusal.nearest, "a (/p/50.json:1)");
    assert_string_equal(refusal.predicate, "what.driver");
    assert_string_equal(refusal.wanted, "iavf");
    assert_string_equal(refusal.seen, "edu\\x1b[31m");
    assert_says(refusal.remedy, "Rule a (/p/50.json:1) does not match: what.driver requires iavf");
}

static void test_refusal_by_rule(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse(RULE("{ \"name\": \"d\", \"effect\": \"deny\", \"who\": {}, " EDU));
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
    const Subject s = subject(1000);
    const PolicyQuestion question = {.subject = &s, .device = &edu};

    (void) refuse(&refusal, VFIOD_ERROR_ACCESS_DENIED, &edu.name, "denied");
    policy_explain_refusal(policy, &question, AUDIENCE_SUBJECT, &refusal);
    assert_string_equal(refusal.rule, "d (/p/50.json:1)");
    assert_string_equal(refusal.file, "/p/50.json");
    assert_int_equal(refusal.line, 1);
    assert_null(refusal.nearest);
}

/* A rule about one card must not reveal the serial numbers of all: the kernel shows them to root only. */
static void test_serials_are_for_root(void **state) {
    static const char text[] = "{ \"tags\": { \"t\": { \"slot\": \"0000:3b:00.0\", \"id\": \"10de:2230\" } },"
                               " \"rules\": [ { \"effect\": \"allow\", \"who\": { \"user\": \"alice\" },"
                               " \"what\": { \"tag\": \"t\" } } ] }";
    _cleanup_(policy_freep) Policy *policy = parse(text);
    const Subject s = subject(1000);
    const DeviceFacts facts = {
            .known = DEVICE_FACT_SLOT_PATH | DEVICE_FACT_SERIAL, .serial = "00-1b-21-ff-ff-a1-b2-c3"};
    const PolicyQuestion question = {.subject = &s, .device = &edu, .facts = &facts};
    _cleanup_json_ struct json_object *subjects = policy_explain(policy, &question, AUDIENCE_SUBJECT, NULL),
                                      *roots = policy_explain(policy, &question, AUDIENCE_OPERATOR, NULL);
    _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;

    assert_says(json_object_to_json_string(roots), "00-1b-21-ff-ff-a1-b2-c3");
    assert_says(text_of(subjects, "considered.0.predicates.1.seen"), "a serial that root can see");
    assert_silent(json_object_to_json_string(subjects), "00-1b");
    (void) refuse(&refusal, VFIOD_ERROR_ACCESS_DENIED, &edu.name, "no rule allows it");
    policy_explain_refusal(policy, &question, AUDIENCE_SUBJECT, &refusal);
    assert_silent(refusal.seen ?: "", "00-1b");
    assert_silent(refusal.remedy ?: "", "00-1b");
}

/* The advice names a rule only if a rule can help: neither "add ap:… to what.device" nor a new rule. */
static void expect_no_rule_helps(const Device *device, const char *expected) {
    static const Audience audiences[] = {AUDIENCE_OPERATOR, AUDIENCE_SUBJECT};

    for (size_t i = 0; i < ELEMENTSOF(audiences); i++) {
        _cleanup_(policy_freep) Policy *policy = parse(RULE(ALICE "\"what\": { \"device\": \"*\" } }"));
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
        const Subject s = subject(1001);
        const PolicyQuestion question = {.subject = &s, .device = device};
        _cleanup_json_ struct json_object *o = policy_explain(policy, &question, audiences[i], "bob");

        assert_non_null(o);
        assert_json(o, "change", expected);
        (void) refuse(&refusal, VFIOD_ERROR_ACCESS_DENIED, &device->name, "denied");
        policy_explain_refusal(policy, &question, audiences[i], &refusal);
        assert_string_equal(refusal.remedy, expected);
    }
}

static void test_what_cannot_be_claimed(void **state) {
    Device bridge = edu, ap = edu;

    bridge.class_code = 0x060400;
    expect_no_rule_helps(&bridge,
            "No rule changes that: it is a bridge, and bridges cannot be claimed. Claim the devices below it "
            "instead.");
    assert_int_equal(device_name_parse("ap:00.0001", &ap.name), 0);
    expect_no_rule_helps(&ap, "No rule changes that: devices of the kind ap cannot be claimed.");
}

/* However many rules concern a subject, it gets a bounded list that ends with the rule that decided. */
static void test_bounded(void **state) {
    _cleanup_strbuf_ StrBuf b = {};
    _cleanup_json_ struct json_object *o = NULL;
    size_t n;

    strbuf_add(&b, "{ \"rules\": [ ");
    for (unsigned i = 0; i < 1000; i++)
        strbuf_addf(&b, "{ \"effect\": \"allow\", \"who\": {}, \"what\": { \"id\": \"0001:%04x\" } }, ", i);
    strbuf_add(&b, "{ \"name\": \"last\", \"effect\": \"deny\", \"who\": {}, \"what\": {} } ] }");
    o = explain(b.text, 1000, AUDIENCE_SUBJECT, NULL);
    n = json_object_array_length(look(o, "considered"));
    assert_int_equal(n, 65);
    assert_int_equal(json_object_get_int64(look(o, "leftOut")), 1000 - 64);
    assert_json(o, "rule", "last");
    assert_json(json_object_array_get_idx(look(o, "considered"), n - 1), "rule", "last");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_yes),
            cmocka_unit_test(test_stranger),
            cmocka_unit_test(test_no_leak),
            cmocka_unit_test(test_own_rule),
            cmocka_unit_test(test_nearest),
            cmocka_unit_test(test_denied_by_rule),
            cmocka_unit_test(test_near_in_front_of_denial),
            cmocka_unit_test(test_change_of_what_is_absent),
            cmocka_unit_test(test_unknown),
            cmocka_unit_test(test_no_policy),
            cmocka_unit_test(test_refusal),
            cmocka_unit_test(test_refusal_by_rule),
            cmocka_unit_test(test_serials_are_for_root),
            cmocka_unit_test(test_what_cannot_be_claimed),
            cmocka_unit_test(test_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
