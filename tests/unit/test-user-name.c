/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/user-name.h"

static void is(uid_t uid, const char *expected) {
    char text[USER_TEXT_MAX];

    assert_string_equal(user_format(uid, text), expected);
}

static void test_names(void **state) {
    is(0, "uid 0");
    assert_int_equal(user_names_read("root:x:0:0:root:/root:/bin/bash\n"
                                     "zoe:x:4294967294:100::/:/bin/sh\n"
                                     "alice:x:1000:1000:Alice,,,:/home/alice:/bin/bash\n"
                                     "toor:x:0:0::/root:/bin/sh\n"
                                     "last:x:7:7::/:"),
            0);
    is(0, "root (0)");
    is(1000, "alice (1000)");
    is(7, "last (7)");
    is(UINT32_MAX - 1, "zoe (4294967294)");
    is(1001, "uid 1001");
    is((uid_t) -1, "uid 4294967295");
    assert_string_equal(USER_TEXT(1000), "alice (1000)");
    /* Another file replaces it entirely. */
    assert_int_equal(user_names_read("bob:x:1000:1000::/:/bin/sh\n"), 0);
    is(1000, "bob (1000)");
    is(0, "uid 0");
    user_names_done();
    is(1000, "uid 1000");
    assert_int_equal(user_names_set(1000, "carol"), 0);
    is(1000, "carol (1000)");
    assert_int_equal(user_names_set(7, "car:ol:7"), 0);
    is(7, "uid 7");
    is(1000, "uid 1000");
    user_names_done();
}

static void test_groups(void **state) {
    assert_string_equal(GROUP_TEXT(44), "gid 44");
    assert_int_equal(group_names_read("root:x:0:\nvideo:x:44:alice,bob\nbad name:x:45:\n"), 0);
    assert_string_equal(GROUP_TEXT(44), "video (44)");
    assert_string_equal(GROUP_TEXT(45), "gid 45");
    /* The two are apart. */
    is(44, "uid 44");
    assert_int_equal(user_names_read("alice:x:44:1::/:\n"), 0);
    assert_string_equal(GROUP_TEXT(44), "video (44)");
    is(44, "alice (44)");
    user_names_done();
    assert_string_equal(GROUP_TEXT(0), "gid 0");
}

/* Lines that would be misread, or are not valid for passwd(5), are ignored. */
static void test_odd_lines(void **state) {
    assert_int_equal(user_names_read("\n"
                                     ":x:1:1::/:\n"
                                     "root (0):x:1:1::/:\n"
                                     "a b:x:1:1::/:\n"
                                     "a\x1b[2J:x:1:1::/:\n"
                                     "1234567890123456789012345678901234567890:x:1:1::/:\n"
                                     "nouid\n"
                                     "nouid:x\n"
                                     "nouid:x:1\n"
                                     "nouid:x:\n"
                                     "empty:x::1::/:\n"
                                     "minus:x:-1:1::/:\n"
                                     "large:x:4294967295:1::/:\n"
                                     "larger:x:99999999999999999999:1::/:\n"
                                     "word:x:1x:1::/:\n"
                                     "+@netgroup:x:1:1::/:\n"
                                     "two.of-us_:x:2:2::/:\n"),
            0);
    is(1, "uid 1");
    is(0, "uid 0");
    is((uid_t) -1, "uid 4294967295");
    is(2, "two.of-us_ (2)");
    assert_int_equal(user_names_read(""), 0);
    is(2, "uid 2");
    user_names_done();
}

static void test_many(void **state) {
    char *text = malloc(100000 * 24), *at = text;

    assert_non_null(text);
    for (unsigned i = 0; i < 100000; i++)
        at += sprintf(at, "u%u:x:%u:1::/:\n", i, 200000 - i);
    assert_int_equal(user_names_read(text), 0);
    free(text);
    is(200000, "u0 (200000)");
    is(200000 - 65535, "u65535 (134465)");
    is(200000 - 65536, "uid 134464"); /* the size of the range */
    user_names_done();
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_names),
            cmocka_unit_test(test_groups),
            cmocka_unit_test(test_odd_lines),
            cmocka_unit_test(test_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
