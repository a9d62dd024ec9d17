/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/subject.h"

#define CAP_SYS_RAWIO 17U

static void test_capability(void **state) {
    Subject s = SUBJECT_NULL;

    /* everything is unknown, even whether it has none */
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), -ENODATA);
    s.capabilities = 1 << CAP_SYS_RAWIO;
    s.capabilities_known = true;
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), -ENODATA);

    s.user_namespace = NAMESPACE_HOST;
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), 1);
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO + 1), 0);
    assert_int_equal(subject_has_capability(&s, 64), -ENODATA);
    s.capabilities_unsure = 1 << (CAP_SYS_RAWIO + 1);
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), 1);
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO + 1), -ENODATA);
    s.pid_namespace = NAMESPACE_OTHER; /* irrelevant to capabilities */
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), 1);

    /* a capability there does not count here, whatever else is known */
    s.user_namespace = NAMESPACE_OTHER;
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), 0);
    s.capabilities_known = false;
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), 0);
}

static void test_describe(void **state) {
    char buf[SUBJECT_DESCRIPTION_MAX];
    Subject s = SUBJECT_NULL;

    assert_string_equal(subject_describe(&s, buf), "an unknown user");
    s.uid = (uid_t) -2;
    s.user_namespace = s.pid_namespace = NAMESPACE_HOST;
    assert_string_equal(subject_describe(&s, buf), "uid 4294967294");
    s.user_namespace = NAMESPACE_OTHER;
    assert_string_equal(subject_describe(&s, buf), "uid 4294967294 in another user namespace");
    s.pid_namespace = NAMESPACE_OTHER;
    assert_string_equal(subject_describe(&s, buf), "uid 4294967294 in another user and pid namespace");
    s.user_namespace = NAMESPACE_UNKNOWN;
    assert_string_equal(subject_describe(&s, buf), "uid 4294967294 in another pid namespace");
}

/* The name becomes part of a message, and of the name of a socket. */
static void test_scope_names(void **state) {
    static const char *const good[] = {"a", "ci", "_", "9", "lab-2.x_Y"};
    static const char *const bad[] = {"", ".", "-", ".ci", "-ci", "a b", "a:b", "a/b", "a\n", "\xc3\xa9"};
    char name[SCOPE_NAME_MAX + 2] = {}, buf[SUBJECT_DESCRIPTION_MAX];
    Subject s = SUBJECT_NULL;

    for (size_t i = 0; i < ELEMENTSOF(good); i++)
        assert_true(scope_name_is_valid(good[i]));
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_false(scope_name_is_valid(bad[i]));
    memset(name, 'x', SCOPE_NAME_MAX);
    assert_true(scope_name_is_valid(name));
    s.uid = (uid_t) -2;
    s.user_namespace = s.pid_namespace = NAMESPACE_OTHER;
    s.scope = name;
    assert_non_null(
            strstr(subject_describe(&s, buf), " in another user and pid namespace through the scope xx"));
    assert_int_equal(buf[strlen(buf) - 1], 'x');
    assert_true(strlen(buf) < sizeof(buf) - 1);
    name[SCOPE_NAME_MAX] = 'x';
    assert_false(scope_name_is_valid(name));
}

static void test_bridges(void **state) {
    static const char *const bridges[] = {"varlink-httpd.service", "varlink-httpd-vsock.service",
            "varlink-httpd@1.service", "varlink-http-bridge.service"};
    static const char *const others[] = {"httpd.service", "varlink.service", "my-varlink-httpd.service"};
    Subject s = SUBJECT_NULL;

    assert_false(subject_is_bridge(&s));
    for (size_t i = 0; i < ELEMENTSOF(bridges); i++) {
        s.unit = (char *) bridges[i];
        assert_true(subject_is_bridge(&s));
    }
    for (size_t i = 0; i < ELEMENTSOF(others); i++) {
        s.unit = (char *) others[i];
        assert_false(subject_is_bridge(&s));
    }
}

/* The fields that policies match. */
static void test_copy(void **state) {
    _cleanup_(subject_done) Subject copy = SUBJECT_NULL;
    Subject s = SUBJECT_NULL;

    s.uid = 7;
    s.scope = (char[]){"ci"};
    assert_int_equal(subject_copy(&s, &copy), 0);
    assert_string_equal(copy.scope, "ci");
    assert_ptr_not_equal(copy.scope, s.scope);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_capability),
            cmocka_unit_test(test_describe),
            cmocka_unit_test(test_scope_names),
            cmocka_unit_test(test_bridges),
            cmocka_unit_test(test_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
