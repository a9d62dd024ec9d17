/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "daemon/broker/excerpts.h"
#include "policy/parse.h"

#define OTHERS 200U

/* bob exists from the second lookup on. */
static int resolve(void *userdata, bool is_group, const char *name, uint32_t *ret) {
    bool *late = userdata;

    if (!*late || !streq(name, "bob"))
        return -ENOENT;
    *ret = 1001;
    return 0;
}

/* OTHERS rules about other users, one about a unit, one about bob. */
static Policy *parse(bool *late) {
    _cleanup_(policy_parser_freep) PolicyParser *p = policy_parser_new(resolve, late);
    _cleanup_strbuf_ StrBuf b = {};
    Policy *policy = NULL;

    strbuf_add(&b, "{\"rules\": [");
    for (unsigned i = 0; i < OTHERS; i++)
        strbuf_addf(&b,
                "{\"name\": \"n%u\", \"effect\": \"allow\", \"who\": {\"user\": %u}, \"what\": {\"device\": "
                "\"*\"}},",
                i, 2000 + i);
    strbuf_add(&b,
            "{\"name\": \"unit\", \"effect\": \"deny\", \"who\": {\"unit\": \"vm.service\"}, \"what\": "
            "{\"device\": \"*\"}},"
            "{\"name\": \"bob\", \"effect\": \"allow\", \"who\": {\"user\": \"bob\"}, \"what\": "
            "{\"device\": \"*\"}}]}");
    assert_int_equal(policy_parser_add(p, "f", b.text, strlen(b.text)), 0);
    if (policy_parser_n_errors(p) > 0)
        fail_msg("%s", policy_parser_error(p, 0));
    assert_int_equal(policy_parser_finish(p, &policy), 0);
    return policy;
}

static void test_what_can_concern_a_caller(void **state) {
    bool late = false;
    _cleanup_(policy_freep) Policy *policy = parse(&late);
    Subject known = {.uid = 2007, .unit = (char *) "ssh.service", .cgroup = (char *) "/x", .pidfd = -EBADF};
    Subject unknown = SUBJECT_NULL;
    PolicyExcerpt e;

    assert_int_equal(policy_excerpt(policy, &known, &e), 0);
    assert_true(e.n >= 1 && e.n <= 2); /* its own, and perhaps that of an unknown account */
    assert_int_equal(e.rules[0], 7);
    policy_excerpt_done(&e);
    /* For an unknown subject no allow rule matches, but the deny rule applies. */
    assert_int_equal(policy_excerpt(policy, &unknown, &e), 0);
    assert_int_equal(e.n, 1);
    assert_int_equal(e.rules[0], OTHERS);
    policy_excerpt_done(&e);
}

static void test_kept_as_long_as_it_is_true(void **state) {
    bool late = false;
    _cleanup_(policy_freep) Policy *policy = parse(&late);
    _cleanup_(excerpts_done) Excerpts kept = {};
    Subject bob = {
            .serial = 1, .uid = 1001, .unit = (char *) "a.service", .cgroup = (char *) "/a", .pidfd = -EBADF};
    Subject none = {.uid = 1001, .pidfd = -EBADF};
    const PolicyExcerpt *first, *second;
    const uint32_t *rules;

    assert_null(excerpts_get(&kept, policy, 1, &none));
    first = excerpts_get(&kept, policy, 1, &bob);
    assert_non_null(first);
    rules = first->rules;
    assert_ptr_equal(excerpts_get(&kept, policy, 1, &bob)->rules, rules);

    /* The account appears. The old excerpt does not contain its rule. */
    late = true;
    assert_int_equal(policy_resolve_again(policy, resolve, &late), 1);
    second = excerpts_get(&kept, policy, 1, &bob);
    assert_int_equal(second->n, 1);
    assert_int_equal(second->rules[0], OTHERS + 1);

    /* Another policy, another caller, and more callers than are kept. */
    bob.uid = 2003;
    assert_int_equal(excerpts_get(&kept, policy, 2, &bob)->rules[0], 3);
    for (unsigned i = 0; i < 3 * EXCERPTS_MAX; i++) {
        Subject s = {
                .serial = 10 + i, .uid = 2000 + i, .unit = (char *) "a.service", .cgroup = (char *) "/a"};

        assert_int_equal(excerpts_get(&kept, policy, 2, &s)->rules[0], i);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_what_can_concern_a_caller),
            cmocka_unit_test(test_kept_as_long_as_it_is_true),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
