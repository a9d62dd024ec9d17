/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/device-health.h"

static const ConfigIds nic = {.vendor = 0x8086,
        .device = 0x10d3,
        .subsystem_vendor = 0x8086,
        .subsystem_device = 0xa01f,
        .class = 0x020000};

static void fill(uint8_t header[static CONFIG_HEADER_SIZE]) {
    memset(header, 0, CONFIG_HEADER_SIZE);
    memcpy(header, "\x86\x80\xd3\x10", 4);
    memcpy(header + 8, "\x01\x00\x00\x02", 4);
    memcpy(header + 0x2c, "\x86\x80\x1f\xa0", 4);
}

static void assert_header(const uint8_t *header, const uint8_t *before, const ConfigIds *ids,
        MemberFailure wanted, const char *words) {
    char seen[HEALTH_SEEN_MAX] = "";

    assert_int_equal(config_header_check(header, before, ids, seen), wanted);
    assert_non_null(strstr(seen, words));
}

static void test_as_it_was(void **state) {
    uint8_t header[CONFIG_HEADER_SIZE];

    fill(header);
    assert_header(header, NULL, &nic, MEMBER_FAILURE_NONE, "");
    assert_header(header, header, &nic, MEMBER_FAILURE_NONE, "");
    header[8] = 7;       /* another revision may only be other firmware */
    header[0x0e] = 0x80; /* one of several functions */
    assert_header(header, NULL, &nic, MEMBER_FAILURE_NONE, "");
}

static void test_all_ones(void **state) {
    uint8_t header[CONFIG_HEADER_SIZE];

    memset(header, 0xff, sizeof(header));
    assert_header(header, NULL, &nic, MEMBER_FAILURE_NO_ANSWER, "all ones");
    assert_header(header, header, &nic, MEMBER_FAILURE_NO_ANSWER, "all ones");
    assert_header(header, NULL, NULL, MEMBER_FAILURE_NO_ANSWER, "all ones");
    header[63] = 0;
    assert_header(header, NULL, NULL, MEMBER_FAILURE_NONE, "");
    assert_header(header, NULL, &nic, MEMBER_FAILURE_IDENTITY, "ffff:ffff");
}

static void test_each_id_counts(void **state) {
    static const unsigned places[] = {0, 1, 2, 3, 9, 10, 11, 0x2c, 0x2d, 0x2e, 0x2f};

    for (size_t i = 0; i < ELEMENTSOF(places); i++) {
        uint8_t before[CONFIG_HEADER_SIZE], header[CONFIG_HEADER_SIZE];

        fill(before);
        fill(header);
        header[places[i]] ^= 0x40;
        assert_header(header, NULL, &nic, MEMBER_FAILURE_IDENTITY, "and w");
        assert_header(header, before, &nic, MEMBER_FAILURE_IDENTITY, "and w");
    }
}

/* The kernel's quirks change only the class of some devices. */
static void test_a_class_that_the_kernel_has_changed(void **state) {
    uint8_t header[CONFIG_HEADER_SIZE], before[CONFIG_HEADER_SIZE];

    fill(header);
    header[11] = 0x03;
    assert_header(header, header, &nic, MEMBER_FAILURE_NONE, "");
    memset(before, 0xff, sizeof(before)); /* this is not a class */
    assert_header(header, before, &nic, MEMBER_FAILURE_IDENTITY, "0x030000");
    fill(header);
    header[2] = 0;
    assert_header(header, header, &nic, MEMBER_FAILURE_IDENTITY, "8086:1000");
}

static void test_a_virtual_function(void **state) {
    uint8_t header[CONFIG_HEADER_SIZE];
    ConfigIds vf = nic;

    vf.is_virtual_function = true;
    fill(header);
    memset(header, 0xff, 4);
    memset(header + 0x2c, 0, 4);
    assert_header(header, NULL, &vf, MEMBER_FAILURE_NONE, "");
    header[11] = 0x03;
    assert_header(header, NULL, &vf, MEMBER_FAILURE_IDENTITY, "class");
}

static void test_a_bridge_has_no_subsystem_there(void **state) {
    uint8_t header[CONFIG_HEADER_SIZE];

    fill(header);
    header[0x0e] = 1;
    memset(header + 0x2c, 0, 4);
    assert_header(header, NULL, &nic, MEMBER_FAILURE_NONE, "");
}

static void test_power(void **state) {
    static const struct {
        const char *state, *status;
        bool well, well_when_idle;
    } cases[] = {
            {"D0", "active", true},
            {"D0", "suspended", true},
            {"D3hot", "suspended", true},
            {"D3cold", "suspended", true},
            {"D3hot", "suspending", true},
            {"D3hot", "resuming", true},
            {"D3hot", "", true},
            {"", "", true},
            {"unknown", "active", true},
            {"D1", "active", false, true},
            {"D2", "active", false, true},
            {"D3hot", "active", false, true},
            {"D3cold", "active", false},
            {"error", "active", false},
            {"error", "suspended", false},
    };
    char seen[HEALTH_SEEN_MAX];

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        seen[0] = '\0';
        assert_int_equal(power_state_check(cases[i].state, cases[i].status, seen),
                cases[i].well ? MEMBER_FAILURE_NONE : MEMBER_FAILURE_POWER);
        assert_true(cases[i].well == !*seen && (cases[i].well || strstr(seen, cases[i].state)));
        seen[0] = '\0';
        assert_int_equal(power_state_check_idle(cases[i].state, cases[i].status, seen),
                cases[i].well || cases[i].well_when_idle ? MEMBER_FAILURE_NONE : MEMBER_FAILURE_POWER);
    }
    assert_true(power_state_is_doubtful("D3cold") && power_state_is_doubtful("error"));
    assert_false(
            power_state_is_doubtful("D3hot") || power_state_is_doubtful("D0") || power_state_is_doubtful(""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_as_it_was),
            cmocka_unit_test(test_all_ones),
            cmocka_unit_test(test_each_id_counts),
            cmocka_unit_test(test_a_class_that_the_kernel_has_changed),
            cmocka_unit_test(test_a_virtual_function),
            cmocka_unit_test(test_a_bridge_has_no_subsystem_there),
            cmocka_unit_test(test_power),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
