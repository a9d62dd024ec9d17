/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/scrub-unit.h"

#define LONG                                                                                                 \
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" /* 54: the longest one with its suffix */

static void test_templates(void **state) {
    static const char *const good[] = {
            "vfiod-scrub@.service", "a@.service", "-@.service", "A_1.2:b-c@.service", LONG "@.service"};
    static const char *const bad[] = {"", "@.service", ".a@.service", "a.service", "a@b.service", "a@.socket",
            "a@.service ", " a@.service", "a/b@.service", "../a@.service", "a\\x2d@.service", "a\n@.service",
            "\303\244@.service", "a@@.service", LONG "x@.service"};

    for (size_t i = 0; i < ELEMENTSOF(good); i++)
        assert_true(scrub_template_is_valid(good[i]));
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_false(scrub_template_is_valid(bad[i]));
}

static void test_names(void **state) {
    static const char *const bad[] = {"", "a b", "a-b", "a/b", "a@b", "a%b", "..\n"};
    char unit[SCRUB_UNIT_MAX], many[SCRUB_UNIT_MAX];

    assert_int_equal(scrub_unit_name("vfiod-scrub@.service", "0000:06:00.0", unit), 0);
    assert_string_equal(unit, "vfiod-scrub@0000:06:00.0.service");
    assert_int_equal(scrub_unit_name("a.service", "0000:06:00.0", unit), -EINVAL);
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(scrub_unit_name("a@.service", bad[i], unit), -EINVAL);
    memset(many, '0', sizeof(many));
    many[sizeof(many) - 1] = '\0';
    assert_int_equal(scrub_unit_name("a@.service", many, unit), -E2BIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_templates),
            cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
