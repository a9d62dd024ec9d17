/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

#include <cmocka.h>

#include "base/str.h"
#include "policy/parse.h"

static int resolve(
        _unused_ void *userdata, _unused_ bool is_group, _unused_ const char *name, _unused_ uint32_t *ret) {
    return -ENOENT;
}

/* Reads ' as ", to keep the tables below readable. */
static PolicyParser *parse(const char *a, const char *b) {
    PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_free_ char *text = NULL;
    _cleanup_(policy_freep) Policy *policy = NULL;

    assert_non_null(p);
    text = format_string(
            "{'tags':{'t':{'slot':'06:0d.0','id':'1234:11e8'},'u':{'slot':'07:00.0','id':'1234:11e8'}},\n"
            "'rules':[{'name':'user of tags','effect':'deny','who':{'user':9},'what':{'tag':['t','u']}},\n"
            "{'name':'first',%s},\n  {%s}]}",
            a, b);
    assert_non_null(text);
    for (char *c = text; *c; c++)
        if (*c == '\'')
            *c = '"';
    assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
    if (policy_parser_finish(p, &policy) < 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    return p;
}

typedef enum Coverage {
    SEEN,
    DEAD,
    NEARLY, /* only requests with unknown facts reach it */
} Coverage;

static const char *const words[] = {
        [DEAD] = "f:4:3: warning: this rule can never match: \"first\" (f:3) already covers everything it "
                 "matches",
        [NEARLY] = "f:4:3: warning: this rule denies only where a fact is unknown: \"first\" (f:3) already "
                   "covers the rest",
};

static void expect(const char *a, const char *b, Coverage expected) {
    _cleanup_(policy_parser_freep) PolicyParser *p = parse(a, b);
    const char *got = "nothing";
    size_t n = 0;

    for (size_t i = 0; i < policy_parser_n_warnings(p); i++) {
        const char *warning = policy_parser_warning(p, i);

        got = n++ == 0 ? warning : got;
    }
    if (n != (expected != SEEN) || (n > 0 && !streq(got, words[expected])))
        fail_msg("%s\n%s\ngot %s", a, b, got);
}

#define RULE(effect, who, what) "'effect':'" effect "','who':{" who "},'what':{" what "}"

/* With the same effect, does the first list cover the second? */
static const struct {
    const char *who, *what, *other_who, *other_what;
    bool covers;
} lists[] = {
        {"", "", "", "", true},
        {"", "", "'user':1", "'driver':'a'", true},
        {"'user':1", "", "", "", false},
        {"'user':1", "", "'user':1", "", true},
        {"'user':[1,2,5]", "", "'user':[5,1]", "", true},
        {"'user':[1,5]", "", "'user':[1,2]", "", false},
        {"'user':1", "", "'user':1,'group':3", "", true},
        {"'user':1,'group':3", "", "'user':1", "", false},
        {"'group':[1,2]", "", "'group':2", "", true},
        {"'group':2", "", "'group':[1,2]", "", false},
        {"'group':1", "", "'user':1", "", false},
        {"'unit':'a*'", "", "'unit':'ab.service'", "", true},
        {"'unit':'a*'", "", "'unit':'ab*'", "", true},
        {"'unit':'a*'", "", "'unit':'a?c*'", "", true},
        {"'unit':'ab*'", "", "'unit':'a*'", "", false},
        {"'unit':'ab*'", "", "'unit':'a?*'", "", false},
        {"'unit':'a*ce'", "", "'unit':'a*'", "", false},
        {"'unit':'*'", "", "'unit':['a.scope','b*']", "", true},
        {"'unit':['x.scope','a?.scope']", "", "'unit':['ab.scope','x.scope']", "", true},
        {"'unit':'[ab]*'", "", "'unit':'[ab]*'", "", true},
        {"'slice':'user-*.slice'", "", "'slice':'user-7.slice'", "", true},
        {"'slice':'user-7.slice'", "", "'slice':'user-*.slice'", "", false},
        {"'cgroup':'/a*'", "", "'cgroup':'/a/b'", "", true},
        {"'cgroup':'/a'", "", "'cgroup':'/a/b'", "", false},
        {"'label':'l'", "", "'label':'l'", "", true},
        {"'label':'l'", "", "'label':'m'", "", false},
        {"'capability':['CAP_KILL','CAP_BPF']", "", "'capability':'CAP_BPF'", "", true},
        {"'capability':'CAP_BPF'", "", "'capability':['CAP_KILL','CAP_BPF']", "", false},
        {"'namespace':['host','other']", "", "'namespace':'host'", "", true},
        {"'namespace':'host'", "", "'namespace':'other'", "", false},
        {"'scope':['ci','lab']", "", "'scope':'lab'", "", true},
        {"'scope':'ci'", "", "'scope':['ci','lab']", "", false},
        {"'scope':'ci'", "", "'user':1", "", false},
        {"", "'device':'0000:06:*'", "", "'device':'06:0d.0'", true},
        {"", "'device':'0000:06:*'", "", "'device':['06:0d.0','06:0e.0']", true},
        {"", "'device':'0000:06:*'", "", "'device':['06:0d.0','07:0e.0']", false},
        {"", "'device':'0000:06:*'", "", "'device':'0000:06:0?.0'", true},
        {"", "'device':'0000:*'", "", "'device':'0000:06:*'", true},
        {"", "'device':'*'", "", "'device':'pci:*'", true},
        {"", "'device':'pci:*'", "", "'device':'*'", true},
        {"", "'device':'*'", "", "'device':'vdpa:*'", false},
        {"", "'device':'vdpa:*'", "", "'device':'vdpa:vdpa[0-3]'", true},
        {"", "'device':'mdev:*'", "", "'device':'83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'", true},
        {"", "'device':'06:0d.0'", "", "'device':'0000:06:*'", false},
        {"", "'device':'0000:06:?d.0'", "", "'device':'0000:06:?d.0'", true},
        {"", "'id':'1234:*'", "", "'id':'1234:11e8'", true},
        {"", "'id':'1234:*'", "", "'id':'1234:11e8:1af4:1100'", true},
        {"", "'id':'*:*'", "", "'id':'1234:11e8'", true},
        {"", "'id':'1234:11e8:1af4:1100'", "", "'id':'1234:11e8'", false},
        {"", "'id':['1234:11e8','8086:*']", "", "'id':['8086:10d3','1234:11e8']", true},
        {"", "'id':['1234:11e8','8086:*']", "", "'id':['8086:10d3','1234:11e9']", false},
        {"", "'class':'02'", "", "'class':'0200'", true},
        {"", "'class':'network'", "", "'class':['ethernet','020700']", true},
        {"", "'class':'0200'", "", "'class':'02'", false},
        {"", "'driver':['a','b']", "", "'driver':'b'", true},
        {"", "'driver':'b'", "", "'driver':['a','b']", false},
        {"", "'bus':'pci'", "", "'bus':'pci'", true},
        {"", "'bus':'pci'", "", "", false},
        {"", "'bus':['pci','vdpa']", "", "'bus':'vdpa'", true},
        {"", "'bus':'vdpa'", "", "'bus':['pci','vdpa']", false},
        {"", "'group':['0123456789abcdef','0000000000000001']", "", "'group':'0000000000000001'", true},
        {"", "'group':'0123456789abcdef'", "", "'group':'0000000000000001'", false},
        {"", "'tag':['t','u']", "", "'tag':['u','t']", true},
        {"", "'tag':'t'", "", "'tag':['u','t']", false},
        {"", "'property':{'A':'x*'}", "", "'property':{'B':'y','A':['xy','xz']}", true},
        {"", "'property':{'A':'x*'}", "", "'property':{'A':['xy','z']}", false},
        {"", "'property':{'A':'x','B':'y'}", "", "'property':{'A':'x'}", false},
        {"", "'property':{'A':'x'}", "", "'property':{'B':'x'}", false},
        {"", "'numa':[1,0]", "", "'numa':0", true},
        {"", "'numa':0", "", "'numa':[0,1]", false},
        {"", "'isolation':{'acs':true}", "", "'isolation':{'alone':false,'acs':true}", true},
        {"", "'isolation':{'acs':true}", "", "'isolation':{'acs':false}", false},
        {"", "'isolation':{'alone':true}", "", "'isolation':{'alone':false}", false},
        {"", "'isolation':{'reset':true}", "", "'isolation':{'reset':false}", false},
        {"", "'isolation':{'removable':true}", "", "'isolation':{'removable':true}", true},
        {"", "'isolation':{'removable':true}", "", "'isolation':{'removable':false}", false},
};

static void test_lists(void **state) {
    static const char *const effects[] = {"allow", "deny", "ask"};

    for (size_t i = 0; i < ELEMENTSOF(lists); i++)
        for (size_t k = 0; k < ELEMENTSOF(effects); k++) {
            _cleanup_free_ char *a = format_string("'effect':'%s','who':{%s},'what':{%s}", effects[k],
                                        lists[i].who, lists[i].what),
                                *b = format_string("'effect':'%s','who':{%s},'what':{%s}", effects[k],
                                        lists[i].other_who, lists[i].other_what);

            expect(a, b, lists[i].covers ? DEAD : SEEN);
        }
}

static void test_until(void **state) {
    static const char until_2030[] = ",'until':'2030-01-01T00:00:00Z'",
                      until_2031[] = ",'until':'2031-01-01T00:00:00Z'";
    static const struct {
        const char *a, *b;
        bool covers;
    } cases[] = {
            {"", until_2030, true},
            {until_2031, until_2030, true},
            {until_2030, until_2030, true},
            {until_2030, until_2031, false},
            {until_2030, "", false},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *a = format_string(RULE("deny", "", "") "%s", cases[i].a),
                            *b = format_string(RULE("deny", "", "") "%s", cases[i].b);

        expect(a, b, cases[i].covers ? DEAD : SEEN);
    }
}

/* A deny rule matches unknown facts, but an allow rule does not. */
static void test_effects(void **state) {
    expect(RULE("allow", "", ""), RULE("allow", "'user':1", ""), DEAD);
    expect(RULE("allow", "", ""), RULE("ask", "'user':1", ""), DEAD);
    expect(RULE("ask", "", ""), RULE("allow", "'user':1", ""), DEAD);
    expect(RULE("deny", "", ""), RULE("allow", "'user':1", ""), DEAD);
    expect(RULE("deny", "", ""), RULE("deny", "'user':1", ""), DEAD);
    expect(RULE("allow", "", ""), RULE("deny", "'user':1", ""), NEARLY);
    expect(RULE("ask", "", ""), RULE("deny", "'user':1", ""), NEARLY);
}

/* Allow and ask rules without scopes do not match callers that have one. */
static void test_scopes(void **state) {
    static const char open[] = "'effect':'allow','who':{},'what':{}},"
                               "{'name':'scoped','effect':'allow','who':{'scope':'ci','user':2},'what':{}";

    expect(RULE("allow", "", ""), RULE("allow", "'scope':'ci'", ""), SEEN);
    expect(RULE("ask", "", ""), RULE("allow", "'scope':'ci'", ""), SEEN);
    expect(RULE("allow", "", ""), RULE("deny", "'scope':'ci'", ""), SEEN);
    expect(RULE("deny", "", ""), RULE("allow", "'scope':'ci'", ""), DEAD);
    expect(RULE("deny", "", ""), RULE("deny", "'scope':'ci'", ""), DEAD);
    expect(RULE("allow", "'scope':'ci'", ""), RULE("deny", "'scope':'ci'", ""), NEARLY);
    /* Without the second rule, everything that this one stops would be denied anyway. */
    expect(open, RULE("deny", "'user':1", ""), SEEN);
    expect(open, RULE("allow", "'user':1", ""), DEAD);
}

/* Allow and ask rules that name no kind match PCI only. Deny rules match every kind. */
static void test_kinds(void **state) {
    static const char open[] = "'effect':'allow','who':{},'what':{}},"
                               "{'name':'other','effect':'allow','who':{'user':2},'what':{'bus':'vdpa'}";

    expect(RULE("allow", "", ""), RULE("allow", "", "'bus':'pci'"), DEAD);
    expect(RULE("allow", "", ""), RULE("allow", "", "'bus':'vdpa'"), SEEN);
    expect(RULE("allow", "", ""), RULE("allow", "", "'device':'vdpa:*'"), SEEN);
    expect(RULE("allow", "", ""), RULE("deny", "", "'device':'mdev:*'"), SEEN);
    expect(RULE("allow", "", "'bus':['pci','vdpa']"), RULE("allow", "", "'bus':'vdpa'"), DEAD);
    expect(RULE("deny", "", ""), RULE("allow", "", "'bus':'vdpa'"), DEAD);
    expect(RULE("deny", "", ""), RULE("allow", "", "'device':'mdev:*'"), DEAD);
    /* Without the second rule, everything that this one stops would be denied anyway. */
    expect(open, RULE("deny", "'user':1", ""), SEEN);
    expect(open, RULE("allow", "'user':1", ""), DEAD);
}

/* A changed tag denies, so there must be no warning that the rule has no effect. */
static void test_tags(void **state) {
    expect(RULE("allow", "'user':1", ""), RULE("allow", "'user':1", "'tag':'t'"), SEEN);
    expect(RULE("deny", "'user':1", ""), RULE("allow", "'user':1", "'tag':'t'"), DEAD);
    expect(RULE("deny", "'user':1", ""), RULE("deny", "'user':1", "'tag':'t'"), DEAD);
    expect(RULE("allow", "'user':1", "'tag':'t'"), RULE("allow", "'user':1", "'tag':'t'"), DEAD);
    expect(RULE("allow", "'user':1", "'tag':['t','u']"), RULE("allow", "'user':1", "'tag':'t'"), SEEN);
    expect(RULE("deny", "'user':1", "'tag':['t','u']"), RULE("allow", "'user':1", "'tag':'t'"), DEAD);
}

/* The same in a policy that is long enough to have an index: rules stand between the two. */
static void test_long_policy(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(lists); i++) {
        _cleanup_free_ char *b =
                format_string(RULE("deny", "%s", "%s"), lists[i].other_who, lists[i].other_what);
        _cleanup_(policy_parser_freep) PolicyParser *p = NULL;
        _cleanup_strbuf_ StrBuf a = {};
        bool told = false;

        strbuf_addf(&a, RULE("deny", "%s", "%s"), lists[i].who, lists[i].what);
        /* other rules that share features with it, but cover nothing */
        for (unsigned k = 0; k < 20; k++)
            strbuf_addf(&a,
                    "},{'effect':'deny','who':{'user':[1,%u],'unit':'no-%u.scope'},'what':{'property':{'P%u':"
                    "'x'},"
                    "'device':'%02x:0d.0','id':'1234:11e8','driver':'b','class':'0200'}",
                    100 + k, k, k, k);
        p = parse(a.text, b);
        /* The others may be covered as well. */
        for (size_t k = 0; k < policy_parser_n_warnings(p); k++)
            told |= startswith(policy_parser_warning(p, k), "f:4:") != NULL;
        if (told != lists[i].covers)
            fail_msg("%s\n%s", a.text, b);
    }
}

/* Of many tags and rules, there are the first warnings and a count. */
static void test_bounded(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_strbuf_ StrBuf b = {};

    assert_non_null(p);
    strbuf_add(&b, "{\"tags\":{");
    for (unsigned i = 0; i < 100; i++)
        strbuf_addf(&b, "%s\"t%u\":{\"slot\":\"06:0d.0\",\"id\":\"1234:11e8\"}", i == 0 ? "" : ",\n", i);
    strbuf_add(&b, "}}");
    assert_int_equal(policy_parser_add(p, "f", b.text, b.length), 0);
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    assert_int_equal(policy_parser_n_errors(p), 0);
    assert_int_equal(policy_parser_n_warnings(p), 65);
    assert_string_equal(policy_parser_warning(p, 0), "f:1:10: warning: tag \"t0\" is not used by any rule");
    assert_string_equal(policy_parser_warning(p, 1), "f:2:1: warning: tag \"t1\" is not used by any rule");
    assert_string_equal(policy_parser_warning(p, 64), "and 36 more warnings");
}

/* The rule and the host setting may be in different files. */
static void test_noiommu_without_the_host_setting(void **state) {
    static const char rule[] = "{\"rules\":[{\"effect\":\"deny\",\"who\":{\"user\":1},\"what\":{}},\n"
                               "{\"effect\":\"allow\",\"who\":{},\"what\":{\"device\":\"06:0d.0\"},"
                               "\"noiommu\":{\"reason\":\"x\"}}]}";
    static const char *const host[] = {"{\"host\":{\"noiommu\":\"off\"}}", "{\"host\":{\"noiommu\":\"on\"}}",
            "{\"host\":{\"noiommu\":\"managed\"}}"};

    for (size_t i = 0; i < ELEMENTSOF(host); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
        _cleanup_(policy_freep) Policy *policy = NULL;

        assert_non_null(p);
        assert_int_equal(policy_parser_add(p, "f", rule, strlen(rule)), 0);
        assert_int_equal(policy_parser_add(p, "h", host[i], strlen(host[i])), 0);
        assert_int_equal(policy_parser_finish(p, &policy), 0);
        assert_int_equal(policy_parser_n_warnings(p), i == 0);
        if (i == 0)
            assert_true(startswith(
                    policy_parser_warning(p, 0), "f:2:1: warning: \"noiommu\" has no effect: the setting"));
    }
}

static void test_rules_that_allow_nothing(void **state) {
    static const struct {
        const char *who, *tether;
        bool warns;
    } cases[] = {
            {"\"user\":1", "\"explicit\"", true},
            {"\"user\":[1,2],\"unit\":\"a.service\"", "[\"explicit\"]", true},
            {"\"user\":[1,0]", "\"explicit\"", false},
            {"\"user\":[1,\"nobody-knows\"]", "\"explicit\"", false},
            {"\"group\":1", "\"explicit\"", false},
            {"", "\"explicit\"", false},
            {"\"user\":1", "[\"explicit\",\"unit\"]", false},
            {"\"user\":1", "\"lifeline\"", false},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
        _cleanup_(policy_freep) Policy *policy = NULL;
        bool warned = false;
        char text[256];

        assert_non_null(p);
        snprintf(text, sizeof(text),
                "{\"rules\":[\n{\"effect\":\"%s\",\"who\":{%s},\"what\":{},\"tether\":%s}]}",
                i % 2 == 0 ? "allow" : "ask", cases[i].who, cases[i].tether);
        assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
        assert_int_equal(policy_parser_finish(p, &policy), 0);
        for (size_t k = 0; k < policy_parser_n_warnings(p); k++)
            warned |= startswith(policy_parser_warning(p, k), "f:2:1: warning: this rule allows nothing: ") !=
                    NULL;
        assert_int_equal(warned, cases[i].warns);
    }
}

/* Rules that are valid, but hardly intended. */
static void test_mixed_up_names(void **state) {
    static const struct {
        const char *what, *warning;
    } cases[] = {
            {"'driver':'vfio_pci'",
                    ": warning: \"vfio_pci\" is not the name of a PCI driver, did you mean \"vfio-pci\"?"},
            {"'driver':'snd-hda-intel'", "did you mean \"snd_hda_intel\"?"},
            {"'driver':'xhci_pci'", "did you mean \"xhci_hcd\"?"},
            {"'driver':'vfio-pci'", NULL},
            {"'driver':'mlx5_vfio_pci'", NULL},
            {"'driver':'my_own_driver'", NULL},
            {"'property':{'id_bus':'pci'}", "did you mean \"ID_BUS\"?"},
            {"'property':{'ID-BUS':'pci'}", "did you mean \"ID_BUS\"?"},
            {"'property':{'ID_BUS':'pci'}", NULL},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *rule =
                format_string("'effect':'allow','who':{'user':1},'what':{%s}", cases[i].what);
        _cleanup_(policy_parser_freep) PolicyParser *p = parse(rule, "'effect':'deny','who':{},'what':{}");

        if (policy_parser_n_warnings(p) != (cases[i].warning ? 1 : 0))
            fail_msg("%s", cases[i].what);
        if (cases[i].warning)
            assert_non_null(strstr(policy_parser_warning(p, 0), cases[i].warning));
    }
}

/* Units with such names can exist, so there is no warning. */
static void test_possible_units(void **state) {
    static const char *const globs[] = {"[ab]", "crio.service", "vm-*", "*.scope", "vm-?", "*ice", "*",
            "user@1000.service", "machine-qemu\\\\x2d1\\\\x2dvm.scope", "run-[!a]*.mount"};

    for (size_t i = 0; i < ELEMENTSOF(globs); i++) {
        _cleanup_free_ char *rule =
                format_string("'effect':'allow','who':{'unit':'%s'},'what':{'driver':'x'}", globs[i]);
        _cleanup_(policy_parser_freep) PolicyParser *p = parse(rule, "'effect':'deny','who':{},'what':{}");

        if (policy_parser_n_warnings(p) != 0)
            fail_msg("%s: %s", globs[i], policy_parser_warning(p, 0));
    }
}

/* Whether a rule has expired is checked only if the time is known. */
static void test_past(void **state) {
    static const char text[] = "{\"rules\":[{\"effect\":\"deny\",\"who\":{},\"what\":{},\n"
                               "\"until\":\"1970-01-01T00:00:01Z\"}]}";

    for (uint64_t now = 0; now <= 2000000; now += 500000) {
        _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
        _cleanup_(policy_freep) Policy *policy = NULL;

        assert_non_null(p);
        policy_parser_set_now(p, now);
        assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
        assert_int_equal(policy_parser_finish(p, &policy), 0);
        assert_int_equal(policy_parser_n_warnings(p), now >= 1000000);
        if (now >= 1000000)
            assert_string_equal(
                    policy_parser_warning(p, 0), "f:2:9: warning: this rule has expired and has no effect");
    }
}

/* Rules that no filter separates are compared pairwise. That must be bounded, and the bound is reported. */
static void test_many(void **state) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_(policy_freep) Policy *policy = NULL;
    _cleanup_strbuf_ StrBuf b = {};
    clock_t begin = clock();

    assert_non_null(p);
    strbuf_add(&b, "{\"rules\":[");
    for (unsigned i = 0; i < 10000; i++)
        strbuf_addf(&b, "%s{\"effect\":\"deny\",\"who\":{\"user\":1},\"what\":{\"property\":{\"P\":\"%u\"}}}",
                i == 0 ? "\n" : ",\n", i);
    strbuf_add(&b, "]}");
    assert_int_equal(policy_parser_add(p, "f", b.text, b.length), 0);
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    assert_int_equal(policy_parser_n_warnings(p), 1);
    assert_non_null(strstr(policy_parser_warning(p, 0), "were not looked for from here on"));
    print_message("# %.3f s\n", (double) (clock() - begin) / CLOCKS_PER_SEC);
    /* one second is intended, but sanitizers are slow */
    assert_true(clock() - begin < 20 * CLOCKS_PER_SEC);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_lists),
            cmocka_unit_test(test_until),
            cmocka_unit_test(test_effects),
            cmocka_unit_test(test_scopes),
            cmocka_unit_test(test_kinds),
            cmocka_unit_test(test_tags),
            cmocka_unit_test(test_long_policy),
            cmocka_unit_test(test_bounded),
            cmocka_unit_test(test_noiommu_without_the_host_setting),
            cmocka_unit_test(test_rules_that_allow_nothing),
            cmocka_unit_test(test_mixed_up_names),
            cmocka_unit_test(test_possible_units),
            cmocka_unit_test(test_past),
            cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
