/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "policy/parse.h"

/* test-policy-property.c compares the decisions of long policies with those of a slow evaluator. These tests
 * check that the parser finds a covering rule far away in a long policy. */

static int resolve(
        _unused_ void *userdata, _unused_ bool is_group, _unused_ const char *name, _unused_ uint32_t *ret) {
    return -ENOENT;
}

#define N_OTHERS 40U

static void add_rule(StrBuf *b, const char *name, const char *who, const char *what) {
    const char *const parts[] = {who, "}, 'what': {", what, "}}"};

    strbuf_addf(
            b, "%s\n{\"name\": \"%s\", \"effect\": \"allow\", \"who\": {", b->length > 20 ? "," : "", name);
    for (size_t i = 0; i < ELEMENTSOF(parts); i++)
        for (const char *p = parts[i]; *p; p++)
            strbuf_addf(b, "%c", *p == '\'' ? '"' : *p);
}

/* # stands for four digits. */
static void add_other(StrBuf *b, unsigned number, const char *who, const char *what) {
    StrBuf texts[2] = {};
    const char *const templates[] = {who, what};
    char name[16];

    for (size_t i = 0; i < 2; i++) {
        strbuf_add(texts + i, "");
        for (const char *p = templates[i]; *p; p++)
            if (*p == '#')
                strbuf_addf(texts + i, "%04u", number);
            else
                strbuf_addf(texts + i, "%c", *p);
    }
    (void) snprintf(name, sizeof(name), "other-%u", number);
    add_rule(b, name, texts[0].text, texts[1].text);
    strbuf_done(texts);
    strbuf_done(texts + 1);
}

static void expect_one_warning(const char *text) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, NULL);
    _cleanup_(policy_freep) Policy *policy = NULL;

    assert_non_null(p);
    assert_int_equal(policy_parser_add(p, "f", text, strlen(text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s\n%s", text, policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    if (policy_parser_n_warnings(p) != 1)
        fail_msg("%zu warnings instead of one:%s", policy_parser_n_warnings(p), text);
    assert_non_null(strstr(policy_parser_warning(p, 0), "\"first\""));
}

static void test_covered(_unused_ void **state) {
    static const struct {
        const char *who, *what;             /* of the rule that covers */
        const char *other_who, *other_what; /* of many in between */
        const char *last_who, *last_what;   /* of the covered rule */
    } cases[] = {
            {"'user': [7, 8]", "", "'user': 1#", "", "'user': 8", "'class': '02'"},
            {"'group': 7", "", "'group': 1#", "", "'group': 7", ""},
            {"'unit': 'vm-17*'", "", "'unit': 'vm-#*'", "", "'unit': ['vm-17x*', 'vm-17.service']", ""},
            {"'unit': '*-a.service'", "", "'unit': '*-#.service'", "", "'unit': 'x-a.service'", ""},
            {"'unit': 'a.scope'", "", "'unit': 'b-#.scope'", "", "'unit': 'a.scope'", ""},
            {"'unit': '?b.scope'", "", "'unit': 'b-#.scope'", "", "'unit': 'ab.scope'", ""},
            {"'slice': 'vm-1.slice'", "", "'slice': 'vm-#.slice'", "", "'slice': 'vm-1.slice'", ""},
            {"'cgroup': '/a.slice/*'", "", "'cgroup': '/#.slice/*'", "", "'cgroup': '/a.slice/b*'", ""},
            {"'label': '*:svirt_t:*'", "", "'label': '*:svirt_#:*'", "", "'label': 'u:svirt_t:c1'", ""},
            {"", "'driver': 'e1000e'", "", "'driver': 'd-#'", "", "'driver': 'e1000e'"},
            {"", "'device': '0000:06:*'", "", "'device': '#:07:*'", "", "'device': '0000:06:0d.0'"},
            {"", "'id': '1234:*'", "", "'id': '8086:#'", "", "'id': '1234:11e8'"},
            {"", "'class': '03'", "", "'class': '02#'", "", "'class': '0300'"},
            {"", "'group': '00000000000000aa'", "", "'group': '000000000000#'", "",
                    "'group': '00000000000000aa'"},
            {"", "'numa': [1, 2]", "", "'numa': 1#", "", "'numa': 2"},
            {"", "'property': {'ID_PATH': 'pci-*'}", "", "'property': {'ID_PATH': 'usb-#'}", "",
                    "'property': {'DRIVER': 'x', 'ID_PATH': 'pci-0000:*'}"},
            {"", "'property': {'ID_PATH': '*'}", "", "'property': {'ID_#': '*'}", "",
                    "'property': {'ID_PATH': '*'}"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_strbuf_ StrBuf b = {};

        strbuf_add(&b, "{\"rules\": [");
        add_rule(&b, "first", cases[i].who, cases[i].what);
        for (unsigned k = 0; k < N_OTHERS; k++)
            add_other(&b, 3000 + k, cases[i].other_who, cases[i].other_what);
        add_rule(&b, "last", cases[i].last_who, cases[i].last_what);
        strbuf_add(&b, "]}");
        assert_int_equal(b.error, 0);
        expect_one_warning(b.text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_covered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
