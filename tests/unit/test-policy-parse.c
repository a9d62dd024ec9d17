/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "base/json-text.h"
#include "base/str.h"
#include "core/policy-parse.h"
#include "core/policy-rule.h"

static unsigned n_lookups;

static int resolve(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    static const struct {
        bool is_group;
        const char *name;
        uint32_t id;
    } accounts[] = {
            {false, "root", 0},
            {false, "alice", 1000},
            {false, "bob", 1001},
            {true, "alice", 2000},
            {true, "edu", 2001},
    };

    assert_ptr_equal(userdata, &n_lookups);
    n_lookups++;
    if (streq(name, "ldap"))
        return -EIO;
    for (size_t i = 0; i < ELEMENTSOF(accounts); i++) {
        if (accounts[i].is_group != is_group || !streq(accounts[i].name, name))
            continue;
        *ret = accounts[i].id;
        return 0;
    }
    return -ENOENT;
}

static PolicyParser *new_parser(void) {
    PolicyParser *p = policy_parser_new(resolve, &n_lookups);

    assert_non_null(p);
    return p;
}

static void add(PolicyParser *p, const char *file, const char *text) {
    /* A copy of the exact size, so that a sanitizer sees a read behind the end. */
    size_t size = strlen(text);
    char *copy = malloc(size ?: 1);

    assert_non_null(copy);
    memcpy(copy, text, size);
    assert_int_equal(policy_parser_add(p, file, copy, size), 0);
    free(copy);
}

static void expect_errors(PolicyParser *p, const char *text, const char *const *errors) {
    Policy *none = NULL;
    size_t n = 0;

    for (; errors[n]; n++) {
        if (n >= policy_parser_n_errors(p))
            fail_msg("%s\nnot reported: %s", text, errors[n]);
        if (!streq(policy_parser_error(p, n), errors[n]))
            fail_msg("%s\ngot      %s\nexpected %s", text, policy_parser_error(p, n), errors[n]);
    }
    if (policy_parser_n_errors(p) != n)
        fail_msg("%s\nalso got %s", text, policy_parser_error(p, n));
    assert_int_equal(policy_parser_finish(p, &none), n == 0 ? 0 : -EINVAL);
    if (n > 0)
        assert_null(none);
    policy_free(none);
}

/* A rule in which only the member under test is wrong; it stands at 2:1, its rule at 1:11. */
#define ALLOW(member) "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{}\n" member "}]}"
#define WHO(member) "{\"rules\":[{\"effect\":\"allow\",\"what\":{},\"who\":{\n" member "}}]}"
#define WHAT(member) "{\"rules\":[{\"effect\":\"allow\",\"who\":{},\"what\":{\n" member "}}]}"

static const struct {
    const char *text;
    const char *errors[8];
} refused[] = {
        /* the file */
        {"{", {"f:1:2: error: expected a key in double quotes or '}', found the end of the file"}},
        {"[]", {"f:1:1: error: a policy file must be an object, found an array"}},
        {"{}", {"f:1:1: error: a policy file needs one of the keys \"host\", \"tags\", \"rules\""}},
        {"{\"rules\":{}}", {"f:1:10: error: \"rules\" must be an array of rules, found an object"}},
        {"{\"rules\":null}", {"f:1:10: error: \"rules\" must be an array of rules, found null"}},
        {"{\"rule\":[]}",
                {"f:1:2: error: unknown key \"rule\" in a policy file, did you mean \"rules\"?",
                        "f:1:1: error: a policy file needs one of the keys \"host\", \"tags\", \"rules\""}},
        {"{\"rules\":[],\"rules\":[]}", {"f:1:13: error: duplicate key \"rules\", first at 1:2"}},
        {"{\"rules\":[],\"description\":1}",
                {"f:1:27: error: \"description\" must be a string, found an integer"}},
        {"{\"rules\":[],\"version\":1}",
                {"f:1:13: error: unknown key \"version\" in a policy file, known are \"$schema\", "
                 "\"description\", \"host\", \"tags\", \"rules\""}},
        {"{\"rules\":[[],1.5]}",
                {"f:1:11: error: a rule must be an object, found an array",
                        "f:1:14: error: a rule must be an object, found a number that is not a 64-bit "
                        "integer"}},
        /* the rule */
        {"{\"rules\":[\n {}]}",
                {"f:2:2: error: a rule needs the key \"effect\"",
                        "f:2:2: error: a rule needs the key \"who\"",
                        "f:2:2: error: a rule needs the key \"what\""}},
        {"{\"rules\":[{\"efect\":\"allow\",\"who\":{},\"what\":{}}]}",
                {"f:1:12: error: unknown key \"efect\" in a rule, did you mean \"effect\"?",
                        "f:1:11: error: a rule needs the key \"effect\""}},
        {ALLOW(",\"x\\u001b[2J\":1"),
                {"f:2:2: error: unknown key \"x\\x1b[2J\" in a rule, known are \"name\", \"effect\", "
                 "\"who\", "
                 "\"what\", \"until\", \"backend\", \"grant\", \"reset\", \"siblings\", \"host-critical\", "
                 "\"memlock\", \"untainted\", \"reason\", \"limits\", \"noiommu\""}},
        {"{\"rules\":[{\"effect\":true,\"who\":[],\"what\":\"*\"}]}",
                {"f:1:21: error: \"effect\" must be \"allow\", \"deny\" or \"ask\", found a boolean",
                        "f:1:32: error: \"who\" must be an object ({} is anybody), found an array",
                        "f:1:42: error: \"what\" must be an object ({} is any device), found a string"}},
        {"{\"rules\":[{\"effect\":\"alow\",\"who\":{},\"what\":{}}]}",
                {"f:1:21: error: unknown effect \"alow\", did you mean \"allow\"?"}},
        {"{\"rules\":[{\"effect\":\"\",\"who\":{},\"what\":{}}]}",
                {"f:1:21: error: unknown effect \"\", expected \"allow\", \"deny\" or \"ask\""}},
        {"{\"rules\":[{\"effect\":[\"allow\"],\"who\":{},\"what\":{}}]}",
                {"f:1:21: error: \"effect\" must be \"allow\", \"deny\" or \"ask\", found an array"}},
        {"{\"rules\":[{\"effect\":\"deny\",\"who\":{},\"what\":{},\n\"reset\":\"optional\",\n\"backend\":"
         "\"group\"}]}",
                {"f:2:1: error: \"reset\" says what a rule allows, it has no meaning in a deny rule",
                        "f:3:1: error: \"backend\" says what a rule allows, it has no meaning in a deny "
                        "rule"}},
        {ALLOW(",\"name\":\"\""),
                {"f:2:9: error: the name of a rule must have 1 to 64 bytes, all printable"}},
        {ALLOW(",\"name\":\"a\\nb\""),
                {"f:2:9: error: the name of a rule must have 1 to 64 bytes, all printable"}},
        {ALLOW(",\"name\":\"12345678901234567890123456789012345678901234567890123456789012345\""),
                {"f:2:9: error: the name of a rule must have 1 to 64 bytes, all printable"}},
        {ALLOW(",\"name\":7"), {"f:2:9: error: \"name\" must be a string, found an integer"}},
        {ALLOW(",\"backend\":\"iomufd\""),
                {"f:2:12: error: unknown backend \"iomufd\", did you mean \"iommufd\"?"}},
        {ALLOW(",\"backend\":[]"), {"f:2:12: error: \"backend\" is an empty list, which nothing can match"}},
        {ALLOW(",\"backend\":[\"group\",\"group\"]"),
                {"f:2:21: error: this is in the list twice, first at 2:13"}},
        {ALLOW(",\"backend\":{}"),
                {"f:2:12: error: \"backend\" must be \"iommufd\" or \"group\", or a list of these, found an "
                 "object"}},
        {ALLOW(",\"reset\":\"yes\""),
                {"f:2:10: error: unknown value of \"reset\": \"yes\", expected \"required\" or "
                 "\"optional\""}},
        {ALLOW(",\"siblings\":\"prak\""),
                {"f:2:13: error: unknown value of \"siblings\": \"prak\", did you mean \"park\"?"}},
        /* who */
        {WHO("\"user\":\"mallory\""), {"f:2:8: error: unknown user \"mallory\""}},
        {WHO("\"user\":\"edu\",\"group\":\"bob\""),
                {"f:2:8: error: unknown user \"edu\"", "f:2:22: error: unknown group \"bob\""}},
        {WHO("\"user\":\"\""), {"f:2:8: error: unknown user \"\""}},
        {WHO("\"user\":\"ldap\""), {"f:2:8: error: cannot look up the user \"ldap\": Input/output error"}},
        {WHO("\"user\":-1"), {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"user\":4294967295"), {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"user\":\"4294967295\""), {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"user\":\"99999999999999999999999\""),
                {"f:2:8: error: a uid must be a number from 0 to 4294967294"}},
        {WHO("\"group\":9223372036854775807"), {"f:2:9: error: a gid must be a number from 0 to 4294967294"}},
        {WHO("\"group\":1e3"),
                {"f:2:9: error: \"group\" must be a group name or a gid, or a list of these, found a number "
                 "that "
                 "is not a 64-bit integer"}},
        {WHO("\"user\":null"),
                {"f:2:8: error: \"user\" must be a user name or a uid, or a list of these, found null"}},
        {WHO("\"user\":[]"), {"f:2:8: error: \"user\" is an empty list, which nothing can match"}},
        {WHO("\"user\":[\"alice\",[\"bob\"],7,7,\"alice\"]"),
                {"f:2:27: error: this is in the list twice, first at 2:25",
                        "f:2:29: error: this is in the list twice, first at 2:9",
                        "f:2:17: error: an element of \"user\" must be a user name or a uid, found an "
                        "array"}},
        {WHO("\"uid\":1000"),
                {"f:2:1: error: unknown key \"uid\" in \"who\", known are \"user\", \"group\", \"unit\", "
                 "\"slice\", \"cgroup\", \"label\", \"capability\", \"namespace\""}},
        {WHO("\"users\":\"alice\""),
                {"f:2:1: error: unknown key \"users\" in \"who\", did you mean \"user\"?"}},
        /* what */
        {WHAT("\"device\":\"06:*\""),
                {"f:2:10: error: \"06:*\" can never match a name like 0000:06:0d.0, did you mean "
                 "\"0000:06:*\"?"}},
        {WHAT("\"device\":[\"0000:06:0d.0\",\n\"eth0\"]"),
                {"f:3:1: error: \"eth0\" is neither the name of a device, like pci:0000:06:0d.0, nor a glob "
                 "over "
                 "names"}},
        {WHAT("\"id\":\"1234\""),
                {"f:2:6: error: \"1234\" is not an id, expected VENDOR:DEVICE or VENDOR:DEVICE:VENDOR:DEVICE "
                 "of "
                 "the subsystem, each four hex digits or *, like \"1234:11e8\""}},
        {WHAT("\"id\":4660"),
                {"f:2:6: error: \"id\" must be a string like \"1234:11e8\", or a list of these, found an "
                 "integer"}},
        {WHAT("\"class\":\"020\""),
                {"f:2:9: error: \"020\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or a "
                 "name "
                 "like \"ethernet\""}},
        {WHAT("\"class\":\"0x02\""),
                {"f:2:9: error: \"0x02\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or a "
                 "name "
                 "like \"ethernet\""}},
        {WHAT("\"class\":\"\""),
                {"f:2:9: error: \"\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or a name "
                 "like \"ethernet\""}},
        {WHAT("\"class\":\"02000000\""),
                {"f:2:9: error: \"02000000\" is not a class, expected 2, 4 or 6 hex digits like \"0200\", or "
                 "a name "
                 "like \"ethernet\""}},
        {WHAT("\"driver\":\"\""), {"f:2:10: error: \"\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"driver\":\"../x\""),
                {"f:2:10: error: \"../x\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"driver\":\"a b\""), {"f:2:10: error: \"a b\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"driver\":\"caf\xc3\xa9\""),
                {"f:2:10: error: \"caf\xc3\xa9\" is not the name of a driver, like \"e1000e\""}},
        {WHAT("\"vendor\":\"1234\""),
                {"f:2:1: error: unknown key \"vendor\" in \"what\", known are \"device\", \"id\", \"class\", "
                 "\"driver\", \"bus\", \"group\", \"tag\", \"property\", \"numa\", \"isolation\""}},
};

static void test_refused(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();

        add(p, "f", refused[i].text);
        expect_errors(p, refused[i].text, refused[i].errors);
    }
}

static void test_bad_ids(void **state) {
    static const char *const bad[] = {"", ":", "1234:", ":1234", "1234:11e8:", "1234:11e8:1af4", "1234:11e",
            "1234:11e8:1af4:1100:0", "12345:11e8", "0x12:11e8", "1234:11g8", "**:11e8", "1234 :11e8",
            "1234:*:*"};

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
        _cleanup_free_ char *text = format_string(WHAT("\"id\":\"%s\""), bad[i]);

        assert_non_null(text);
        add(p, "f", text);
        assert_int_equal(policy_parser_n_errors(p), 1);
        assert_non_null(startswith(policy_parser_error(p, 0), "f:2:6: error: "));
        assert_non_null(strstr(policy_parser_error(p, 0), "is not an id"));
    }
}

/* All errors of all files are there, in the order of the files; a file that is not JSON ends at once. */
static void test_several_files(void **state) {
    static const char *const errors[] = {
            "/etc/vfiod/policy.d/50-edu.json:7:5: error: unknown key \"efect\" in a rule, did you mean "
            "\"effect\"?",
            "/etc/vfiod/policy.d/50-edu.json:4:3: error: a rule needs the key \"effect\"",
            "/etc/vfiod/policy.d/60-broken.json:2:1: error: expected a value after ':', found the end of the "
            "file",
            "/etc/vfiod/policy.d/70-\\x1b.json: error: cannot open: Permission denied",
            "80.json:1:1: error: a policy file needs one of the keys \"host\", \"tags\", \"rules\"",
            NULL,
    };
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();

    add(p, "/etc/vfiod/policy.d/50-edu.json",
            "// who may use the boards\n"
            "{\n"
            "  \"rules\": [\n"
            "  {\n"
            "    \"who\": {},\n"
            "    \"what\": {},\n"
            "    \"efect\": \"allow\"\n"
            "  }]\n"
            "}\n");
    add(p, "/etc/vfiod/policy.d/60-broken.json", "{\"rules\":\n");
    assert_int_equal(
            policy_parser_add_error(p, "/etc/vfiod/policy.d/70-\x1b.json", "cannot open: Permission denied"),
            0);
    add(p, "80.json", "{}");
    expect_errors(p, "several files", errors);
}

static void test_duplicate_names(void **state) {
    static const char *const errors[] = {
            "b.json:2:9: error: a rule \"edu\" exists already, at a.json:2:9",
            "b.json:3:9: error: a rule \"edu\" exists already, at a.json:2:9",
            NULL,
    };
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    const char *rest = "\"effect\":\"deny\",\"who\":{},\"what\":{}}";
    _cleanup_free_ char *a = format_string("{\"rules\":[\n{\"name\":\"edu\",%s]}", rest);
    _cleanup_free_ char *b = format_string(
            "{\"rules\":[\n{\"name\":\"edu\",%s,\n{\"name\":\"edu\",%s,\n{%s]}", rest, rest, rest);

    add(p, "a.json", a);
    add(p, "b.json", b);
    expect_errors(p, "duplicate names", errors);
}

/* A flood of errors is counted, not kept. */
static void test_many_errors(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_strbuf_ StrBuf b = {};
    Policy *none = NULL;

    strbuf_add(&b, "{\"rules\":[0");
    for (unsigned i = 1; i < POLICY_ERRORS_MAX; i++)
        strbuf_add(&b, ",0");
    strbuf_add(&b, "]}");
    add(p, "f", b.text);
    assert_int_equal(policy_parser_n_errors(p), POLICY_ERRORS_MAX);
    add(p, "g", "{\"rules\":[0,0,0]}");
    assert_int_equal(policy_parser_n_errors(p), POLICY_ERRORS_MAX + 1);
    assert_string_equal(policy_parser_error(p, POLICY_ERRORS_MAX - 1),
            "f:1:137: error: a rule must be an object, found an integer");
    assert_string_equal(policy_parser_error(p, POLICY_ERRORS_MAX), "and 3 more errors");
    assert_int_equal(policy_parser_finish(p, &none), -EINVAL);
}

static Policy *parse(const char *text) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    Policy *policy = NULL;

    add(p, "f", text);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

static void test_no_rules(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_(policy_freep) Policy *none = NULL, *empty = parse("{\"description\":\"x\",\"rules\":[]}");

    assert_int_equal(policy_n_rules(empty), 0);
    assert_int_equal(policy_parser_finish(p, &none), 0);
    assert_int_equal(policy_n_rules(none), 0);
    assert_int_equal(policy_n_rules(NULL), 0);
}

static void test_full_rule(void **state) {
    _cleanup_(policy_freep) Policy *policy =
            parse("{ // two rules\n"
                  "\"rules\": [\n"
                  "{ \"name\": \"all keys \xc3\xa9\", \"effect\": \"allow\",\n"
                  "  \"who\": { \"user\": [\"bob\", \"alice\", 7, \"8\"],\n"
                  "           \"group\": [\"edu\", 0] },\n"
                  "  \"what\": { \"device\": [\"06:0D.0\", \"pci:0000:0A:*\"],\n"
                  "            \"id\": [\"1234:11E8\", \"*:*:1af4:*\"],\n"
                  "            \"class\": [\"02\", \"0C03\", \"010802\"],\n"
                  "            \"driver\": [\"e1000e\", \"nvme\"] },\n"
                  "  \"backend\": \"group\", \"reset\": \"optional\",\n"
                  "  \"siblings\": \"park\" },\n"
                  "{ \"effect\": \"deny\", \"who\": {}, \"what\": {} } ] }");
    const Rule *r = policy->rules;

    assert_int_equal(policy_n_rules(policy), 2);
    assert_string_equal(rule_name(r), "all keys \xc3\xa9");
    assert_string_equal(rule_origin(r), "all keys \xc3\xa9 (f:3)");
    assert_int_equal(r->effect, EFFECT_ALLOW);
    assert_int_equal(r->n_uids, 4);
    assert_int_equal(r->uids[0], 7);
    assert_int_equal(r->uids[1], 8);
    assert_int_equal(r->uids[2], 1000);
    assert_int_equal(r->uids[3], 1001);
    assert_int_equal(r->n_gids, 2);
    assert_int_equal(r->gids[0], 0);
    assert_int_equal(r->gids[1], 2001);
    assert_int_equal(r->n_devices, 2);
    assert_true(r->devices[0].exact);
    assert_int_equal(r->devices[0].name.slot, 0x0d);
    assert_false(r->devices[1].exact);
    assert_string_equal(r->devices[1].glob, "0000:0a:*");
    assert_int_equal(r->n_ids, 2);
    assert_true(r->ids[0].value == 0x123411e800000000 && r->ids[0].mask == 0xffffffff00000000);
    assert_true(r->ids[1].value == 0x000000001af40000 && r->ids[1].mask == 0x00000000ffff0000);
    assert_int_equal(r->n_classes, 3);
    assert_true(r->classes[0].value == 0x020000 && r->classes[0].mask == 0xff0000);
    assert_true(r->classes[1].value == 0x0c0300 && r->classes[1].mask == 0xffff00);
    assert_true(r->classes[2].value == 0x010802 && r->classes[2].mask == 0xffffff);
    assert_int_equal(r->drivers.n, 2);
    assert_string_equal(r->drivers.items[0], "e1000e");
    assert_string_equal(r->drivers.items[1], "nvme");
    assert_int_equal(r->terms.backends, 1U << BACKEND_GROUP);
    assert_int_equal(r->terms.reset, RESET_OPTIONAL);
    assert_int_equal(r->terms.siblings, SIBLINGS_PARK);

    r++;
    assert_string_equal(rule_name(r), "rule 2");
    assert_string_equal(rule_origin(r), "rule 2 (f:12)");
    assert_int_equal(r->effect, EFFECT_DENY);
    assert_int_equal(r->n_uids + r->n_gids + r->n_devices + r->n_ids + r->n_classes + r->drivers.n, 0);
}

static void test_defaults(void **state) {
    _cleanup_(policy_freep) Policy *policy = parse(ALLOW(""));

    assert_int_equal(policy->rules->terms.backends, 1U << BACKEND_IOMMUFD | 1U << BACKEND_GROUP);
    assert_int_equal(policy->rules->terms.reset, RESET_REQUIRED);
    assert_int_equal(policy->rules->terms.siblings, SIBLINGS_REFUSE);
    assert_string_equal(policy->rules->origin, "rule 1 (f:1)");
}

/* A list of one is the same as the value alone. */
static void test_list_or_value(void **state) {
    _cleanup_(policy_freep) Policy *list = parse(WHO("\"user\":[\"alice\"]")),
                                   *value = parse(WHO("\"user\":\"alice\""));

    assert_int_equal(list->rules->n_uids, 1);
    assert_int_equal(value->rules->n_uids, 1);
    assert_int_equal(list->rules->uids[0], value->rules->uids[0]);
}

/* A name is asked for once, and a user is not a group. */
static void test_lookups(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_(policy_freep) Policy *policy = NULL;

    n_lookups = 0;
    add(p, "a", WHO("\"user\":[\"alice\",\"bob\"],\"group\":\"alice\""));
    add(p, "b", WHO("\"user\":[\"bob\",\"1000\",1001],\"group\":[\"alice\",\"edu\"]"));
    assert_int_equal(n_lookups, 4);
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    assert_int_equal(policy->rules[0].uids[0], 1000);
    assert_int_equal(policy->rules[0].gids[0], 2000);
    assert_int_equal(policy->rules[1].gids[0], 2000);
    assert_int_equal(policy->rules[1].gids[1], 2001);
}

static char *many_rules(unsigned n) {
    StrBuf b = {};
    char *text;

    strbuf_add(&b, "{\"rules\":[\n");
    for (unsigned i = 0; i < n; i++)
        strbuf_addf(&b,
                "%s{\"name\":\"r%u\",\"effect\":\"allow\",\"who\":{\"user\":\"alice\"},\"what\":{\"id\":\"%"
                "04x:*\"}}\n",
                i == 0 ? "" : ",", i, i);
    strbuf_add(&b, "]}");
    text = strbuf_steal(&b);
    assert_non_null(text);
    return text;
}

/* Far more time than it needs (tens of milliseconds), far less than anything quadratic. */
static void test_many_rules(void **state) {
    _cleanup_free_ char *text = many_rules(10000);
    clock_t begin = clock();
    _cleanup_(policy_freep) Policy *policy = parse(text);

    assert_int_equal(policy_n_rules(policy), 10000);
    assert_string_equal(rule_origin(policy->rules + 9999), "r9999 (f:10001)");
    assert_true(clock() - begin < 10 * CLOCKS_PER_SEC);
}

static void test_too_many_rules(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = new_parser();
    _cleanup_free_ char *text = many_rules(POLICY_RULES_MAX);
    static const char *const errors[] = {"g:1:11: error: the policy has more than 16384 rules", NULL};

    add(p, "f", text);
    assert_int_equal(policy_parser_n_errors(p), 0);
    add(p, "g", "{\"rules\":[{}]}");
    expect_errors(p, "too many rules", errors);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_refused),
            cmocka_unit_test(test_bad_ids),
            cmocka_unit_test(test_several_files),
            cmocka_unit_test(test_duplicate_names),
            cmocka_unit_test(test_many_errors),
            cmocka_unit_test(test_no_rules),
            cmocka_unit_test(test_full_rule),
            cmocka_unit_test(test_defaults),
            cmocka_unit_test(test_list_or_value),
            cmocka_unit_test(test_lookups),
            cmocka_unit_test(test_many_rules),
            cmocka_unit_test(test_too_many_rules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
