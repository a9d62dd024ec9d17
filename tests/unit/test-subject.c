/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/subject.h"

#define CAP_SYS_RAWIO 17U

static void test_capability(void **state) {
    Subject s = SUBJECT_NULL;

    /* nothing is known, not even that it has none */
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
    s.pid_namespace = NAMESPACE_OTHER; /* says nothing about capabilities */
    assert_int_equal(subject_has_capability(&s, CAP_SYS_RAWIO), 1);

    /* what it has there is nothing here, whatever else is known */
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

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_capability),
            cmocka_unit_test(test_describe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
