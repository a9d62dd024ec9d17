/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/request.h"

static void expect_refusal(Refusal *refusal, int r, VfiodError code, const char *reason) {
    assert_int_equal(r, -error_info(code)->error);
    assert_int_equal(refusal->code, code);
    assert_string_equal(refusal->reason, reason);
    refusal_done(refusal);
}

static void test_add_device(void **state) {
    Request r = REQUEST_NULL;
    Refusal refusal = REFUSAL_NULL;
    char buf[DEVICE_NAME_MAX];

    assert_int_equal(request_add_device(&r, "pci:0000:06:0d.0", &refusal), 0);
    assert_int_equal(request_add_device(&r, "06:0D.1", &refusal), 0);
    assert_int_equal(r.n_devices, 2);
    assert_string_equal(device_name_format(&r.devices[0], buf), "pci:0000:06:0d.0");
    assert_string_equal(device_name_format(&r.devices[1], buf), "pci:0000:06:0d.1");
    assert_int_equal(refusal.code, _VFIOD_ERROR_INVALID);
}

static void test_add_bad_device(void **state) {
    static const struct {
        const char *spelling, *reason;
    } bad[] = {
            {"", "\"\" is not the name of a device, like pci:0000:06:0d.0"},
            {"pci:", "\"pci:\" is not the name of a device, like pci:0000:06:0d.0"},
            {"06:0d.8", "\"06:0d.8\" is not the name of a device, like pci:0000:06:0d.0"},
            {"0000:06:0d.0 ",
                    "\"0000:06:0d.0 \" is not the name of a device, like pci:0000:06:0d.0, did you mean "
                    "\"pci:0000:06:0d.0\"?"},
            {"a\x1b[2J\xff", "\"a\\x1b[2J\\xff\" is not the name of a device, like pci:0000:06:0d.0"},
            {"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
                    "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…\" is not the name "
                    "of a device, like pci:0000:06:0d.0"},
    };

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        Request r = REQUEST_NULL;
        Refusal refusal = REFUSAL_NULL;

        expect_refusal(&refusal, request_add_device(&r, bad[i].spelling, &refusal), VFIOD_ERROR_INVALID_NAME,
                bad[i].reason);
        assert_int_equal(r.n_devices, 0);
    }
}

static void test_device_twice(void **state) {
    Request r = REQUEST_NULL;
    Refusal refusal = REFUSAL_NULL;
    int e;

    assert_int_equal(request_add_device(&r, "pci:0000:06:0d.0", &refusal), 0);
    e = request_add_device(&r, "pci_0000_06_0d_0", &refusal);
    assert_string_equal(refusal.device, "pci:0000:06:0d.0");
    expect_refusal(&refusal, e, VFIOD_ERROR_INVALID_ARGUMENT, "the request names this device twice");
    assert_int_equal(r.n_devices, 1);
}

static void test_too_many_devices(void **state) {
    Request r = REQUEST_NULL;
    Refusal refusal = REFUSAL_NULL;
    char name[16];

    for (unsigned i = 0; i < REQUEST_DEVICES_MAX; i++) {
        snprintf(name, sizeof(name), "06:%02x.0", i);
        assert_int_equal(request_add_device(&r, name, &refusal), 0);
    }
    /* The bound is checked first: the fifteenth device is not examined. */
    expect_refusal(&refusal, request_add_device(&r, "06:00.0", &refusal), VFIOD_ERROR_TOO_MANY_DEVICES,
            "the request names more than 14 devices, the maximum for one claim");
    assert_int_equal(r.n_devices, REQUEST_DEVICES_MAX);
}

static void test_backend(void **state) {
    Refusal refusal = REFUSAL_NULL;

    for (Backend b = 0; b < _BACKEND_MAX; b++) {
        Request r = REQUEST_NULL;

        assert_int_equal(request_set_option(&r, "backend", backend_to_string(b), &refusal), 0);
        assert_int_equal(r.backend, b);
        expect_refusal(&refusal, request_set_option(&r, "backend", "group", &refusal),
                VFIOD_ERROR_INVALID_ARGUMENT, "the option \"backend\" is given twice");
        assert_int_equal(r.backend, b);
    }
    assert_int_equal(backend_from_string("iommufd"), BACKEND_IOMMUFD);
    assert_int_equal(backend_from_string("group"), BACKEND_GROUP);
}

static void test_reason(void **state) {
    Request r = REQUEST_NULL;
    Refusal refusal = REFUSAL_NULL;

    assert_int_equal(request_set_option(&r, "reason", "tests of the new board", &refusal), 0);
    assert_string_equal(r.reason, "tests of the new board");
    expect_refusal(&refusal, request_set_option(&r, "reason", "again", &refusal),
            VFIOD_ERROR_INVALID_ARGUMENT, "the option \"reason\" is given twice");
    r = REQUEST_NULL;
    assert_int_equal(request_set_option(&r, "reason", "é\n\xff", &refusal), 0);
    assert_string_equal(r.reason, "é\\x0a\\xff");
}

static void test_reason_is_bounded(void **state) {
    static const char too_long[] = "the reason is longer than 255 bytes (a control character counts as four)";
    char text[REQUEST_REASON_MAX + 8];
    Refusal refusal = REFUSAL_NULL;

    for (size_t n = REQUEST_REASON_MAX - 4; n < sizeof(text); n++) {
        Request r = REQUEST_NULL;

        memset(text, 'r', n);
        text[n] = '\0';
        if (n < REQUEST_REASON_MAX) {
            assert_int_equal(request_set_option(&r, "reason", text, &refusal), 0);
            assert_string_equal(r.reason, text);
        } else {
            expect_refusal(&refusal, request_set_option(&r, "reason", text, &refusal),
                    VFIOD_ERROR_INVALID_ARGUMENT, too_long);
            assert_string_equal(r.reason, "");
        }
        /* The bound cuts a character in half. */
        memcpy(text + n - 3, "€", 3);
        r = REQUEST_NULL;
        assert_int_equal(
                request_set_option(&r, "reason", text, &refusal), n < REQUEST_REASON_MAX ? 0 : -EINVAL);
        refusal_done(&refusal);
    }
    for (size_t n = 60; n < 70; n++) {
        Request r = REQUEST_NULL;

        memset(text, '\n', n);
        text[n] = '\0';
        assert_int_equal(request_set_option(&r, "reason", text, &refusal), n <= 63 ? 0 : -EINVAL);
        refusal_done(&refusal);
    }
}

static void test_memlock_and_untainted(void **state) {
    Request r = REQUEST_NULL;
    Refusal refusal = REFUSAL_NULL;

    assert_int_equal(request_set_option(&r, "memlock", "16G", &refusal), 0);
    assert_int_equal(r.memlock, UINT64_C(16) << 30);
    expect_refusal(&refusal, request_set_option(&r, "memlock", "1", &refusal), VFIOD_ERROR_INVALID_ARGUMENT,
            "the option \"memlock\" is given twice");
    r = REQUEST_NULL;
    assert_int_equal(request_set_option(&r, "memlock", "9223372036854775807", &refusal), 0);
    assert_true(r.memlock == REQUEST_MEMLOCK_MAX);

    assert_int_equal(request_set_option(&r, "wait", "604800", &refusal), 0);
    assert_int_equal(r.wait_sec, REQUEST_WAIT_MAX_SEC);
    assert_int_equal(request_set_option(&r, "duration", "31536000", &refusal), 0);
    assert_int_equal(r.duration_sec, DURATION_MAX_SEC);
    assert_int_equal(request_set_option(&r, "untainted", "no", &refusal), 0);
    assert_false(r.untainted);
    expect_refusal(&refusal, request_set_option(&r, "untainted", "yes", &refusal),
            VFIOD_ERROR_INVALID_ARGUMENT, "the option \"untainted\" is given twice");
    r = REQUEST_NULL;
    assert_int_equal(request_set_option(&r, "untainted", "yes", &refusal), 0);
    assert_true(r.untainted);
    expect_refusal(&refusal, request_set_option(&r, "untainted", "no", &refusal),
            VFIOD_ERROR_INVALID_ARGUMENT, "the option \"untainted\" is given twice");
    assert_true(r.untainted);
}

static void test_bad_options(void **state) {
    static const struct {
        const char *name, *value;
        VfiodError code;
        const char *reason;
    } bad[] = {
            {"backend", "", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"\" is not a backend, expected \"iommufd\", \"group\", \"compat\", \"vhost-vdpa\" or "
                    "\"noiommu\""},
            {"backend", "IOMMUFD\n", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"IOMMUFD\\x0a\" is not a backend, expected \"iommufd\", \"group\", \"compat\", "
                    "\"vhost-vdpa\" or \"noiommu\""},
            {"memlock", "0", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"0\" is not a size for \"memlock\", expected bytes or \"16G\" (K, M, G, T)"},
            {"memlock", "9223372036854775808", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"9223372036854775808\" is not a size for \"memlock\", expected bytes or \"16G\" (K, M, "
                    "G, T)"},
            {"memlock", "-1\n", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"-1\\x0a\" is not a size for \"memlock\", expected bytes or \"16G\" (K, M, G, T)"},
            {"untainted", "true", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"untainted\" is \"true\", expected \"yes\" or \"no\""},
            {"bakend", "group", VFIOD_ERROR_UNKNOWN_OPTION,
                    "there is no option \"bakend\", did you mean \"backend\"?"},
            {"raeson", "x", VFIOD_ERROR_UNKNOWN_OPTION,
                    "there is no option \"raeson\", did you mean \"reason\"?"},
            {"", "x", VFIOD_ERROR_UNKNOWN_OPTION,
                    "there is no option \"\", known are \"backend\", \"grant\", \"tether\", \"cookie\", "
                    "\"pid\", \"pidfdId\", \"reason\", \"memlock\", \"untainted\", \"require\", "
                    "\"ticket\", \"network\", \"wait\" and \"duration\""},
            {"noiommu\x07", "yes", VFIOD_ERROR_UNKNOWN_OPTION,
                    "there is no option \"noiommu\\x07\", known are \"backend\", \"grant\", \"tether\", "
                    "\"cookie\", \"pid\", \"pidfdId\", \"reason\", \"memlock\", \"untainted\", "
                    "\"require\", \"ticket\", \"network\", \"wait\" and \"duration\""},
            {"duration", "0", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"0\" is not a time for \"duration\", expected 1 to 31536000 seconds"},
            {"duration", "31536001", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"31536001\" is not a time for \"duration\", expected 1 to 31536000 seconds"},
            {"duration", "18446744073709551616", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"18446744073709551616\" is not a time for \"duration\", expected 1 to 31536000 "
                    "seconds"},
            {"duration", "-1", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"-1\" is not a time for \"duration\", expected 1 to 31536000 seconds"},
            {"wait", "0", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"0\" is not a time for \"wait\", expected 1 to 604800 seconds"},
            {"wait", "604801", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"604801\" is not a time for \"wait\", expected 1 to 604800 seconds"},
            {"wait", "-1\x1b", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"-1\\x1b\" is not a time for \"wait\", expected 1 to 604800 seconds"},
            {"network", "vlan=4095", VFIOD_ERROR_INVALID_ARGUMENT,
                    "the option \"network\": \"vlan=4095\" is not a VLAN, expected a number from 1 to 4094, "
                    "or 0 "
                    "for none"},
            {"network", "mac=\x1b[2J", VFIOD_ERROR_INVALID_ARGUMENT,
                    "the option \"network\": \"mac=\\x1b[2J\" is not a MAC address like 52:54:00:12:34:56"},
            {"require", "pasid,tele\x1bport", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"tele\\x1bport\" is nothing that can be required, expected " DEVICE_NEEDS_WORDS
                    ", with a comma in between"},
            {"grant", "fds", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"fds\" is not a grant, expected \"fd\", \"node\" or \"none\""},
            {"tether", "life\x1bline", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"life\\x1bline\" is not a tether, expected \"lifeline\", \"process\", \"connection\", "
                    "\"unit\" or \"explicit\""},
            {"cookie", "", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"\" is not a cookie, expected 1 to 64 characters of A-Z, a-z, 0-9, \".\", \"_\", \":\" "
                    "and "
                    "\"-\""},
            {"cookie", "a b\n", VFIOD_ERROR_INVALID_ARGUMENT,
                    "\"a b\\x0a\" is not a cookie, expected 1 to 64 characters of A-Z, a-z, 0-9, \".\", "
                    "\"_\", "
                    "\":\" and \"-\""},
    };

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        Request r = REQUEST_NULL;
        Refusal refusal = REFUSAL_NULL;

        expect_refusal(&refusal, request_set_option(&r, bad[i].name, bad[i].value, &refusal), bad[i].code,
                bad[i].reason);
        assert_int_equal(r.backend, _BACKEND_INVALID);
        assert_string_equal(r.reason, "");
        assert_string_equal(r.cookie, "");
        assert_int_equal(r.grant, GRANT_FD);
        assert_int_equal(r.tether, TETHER_LIFELINE);
    }
}

static void test_tether(void **state) {
    Refusal refusal = REFUSAL_NULL;

    assert_int_equal(TETHERS_DEFAULT,
            1U << TETHER_LIFELINE | 1U << TETHER_PROCESS | 1U << TETHER_CONNECTION | 1U << TETHER_UNIT);
    for (TetherKind t = 0; t < _TETHER_KIND_MAX; t++) {
        Request r = REQUEST_NULL;

        assert_int_equal(r.tether, TETHER_LIFELINE);
        assert_int_equal(request_set_option(&r, "tether", tether_kind_to_string(t), &refusal), 0);
        assert_int_equal(r.tether, t);
        expect_refusal(&refusal, request_set_option(&r, "tether", "unit", &refusal),
                VFIOD_ERROR_INVALID_ARGUMENT, "the option \"tether\" is given twice");
        assert_int_equal(r.tether, t);
        assert_int_equal(request_add_device(&r, "06:0d.0", &refusal), 0);
        assert_int_equal(request_validate(&r, &refusal), 0);
        assert_int_equal(request_set_option(&r, "pid", "2147483647", &refusal), 0);
        assert_int_equal(r.pid, INT32_MAX);
        if (t == TETHER_PROCESS)
            assert_int_equal(request_validate(&r, &refusal), 0);
        else
            expect_refusal(&refusal, request_validate(&r, &refusal), VFIOD_ERROR_INVALID_ARGUMENT,
                    "the options \"pid\" and \"pidfdId\" are only for the tether \"process\"");
    }
}

static void test_process(void **state) {
    static const char *const bad[] = {"", "0", "-1", "2147483648", "7x", "18446744073709551616"};
    Refusal refusal = REFUSAL_NULL;
    Request r = REQUEST_NULL;

    for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
        r = REQUEST_NULL;
        assert_int_equal(request_set_option(&r, "pid", bad[i], &refusal), -EINVAL);
        assert_int_equal(r.pid, 0);
        refusal_done(&refusal);
    }
    r = REQUEST_NULL;
    assert_int_equal(request_set_option(&r, "pidfdId", "18446744073709551615", &refusal), 0);
    assert_true(r.pidfd_id == UINT64_MAX);
    assert_int_equal(request_add_device(&r, "06:0d.0", &refusal), 0);
    r.tether = TETHER_PROCESS;
    expect_refusal(&refusal, request_validate(&r, &refusal), VFIOD_ERROR_INVALID_ARGUMENT,
            "the option \"pidfdId\" is given without \"pid\"");
    r.pid = 1;
    assert_int_equal(request_validate(&r, &refusal), 0);
}

static void test_cookie(void **state) {
    char cookie[REQUEST_COOKIE_MAX + 1];
    Request r = REQUEST_NULL;
    Refusal refusal = REFUSAL_NULL;

    assert_int_equal(request_set_option(&r, "cookie", "aZ09._:-", &refusal), 0);
    assert_string_equal(r.cookie, "aZ09._:-");
    for (unsigned c = 1; c < 256; c++) {
        bool good = strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-", (int) c);

        (void) snprintf(cookie, sizeof(cookie), "a%cb", (int) c);
        assert_int_equal(cookie_is_valid(cookie), good);
    }
    memset(cookie, 'c', sizeof(cookie));
    cookie[REQUEST_COOKIE_MAX] = '\0';
    assert_false(cookie_is_valid(cookie)); /* 65 */
    cookie[REQUEST_COOKIE_MAX - 1] = '\0';
    assert_true(cookie_is_valid(cookie));
    r = REQUEST_NULL;
    assert_int_equal(request_set_option(&r, "cookie", cookie, &refusal), 0);
    assert_string_equal(r.cookie, cookie);
    assert_int_equal(request_set_option(&r, "grant", "fd", &refusal), 0);
}

static void test_option_types(void **state) {
    assert_string_equal(request_option_type("backend"), "s");
    assert_string_equal(request_option_type("memlock"), "t");
    assert_string_equal(request_option_type("untainted"), "b");
    assert_string_equal(request_option_type("wait"), "t");
    assert_null(request_option_type("bakend"));
}

static void test_validate(void **state) {
    Request r = REQUEST_NULL;
    Refusal refusal = REFUSAL_NULL;

    expect_refusal(&refusal, request_validate(&r, &refusal), VFIOD_ERROR_INVALID_ARGUMENT,
            "the request names no device");
    assert_int_equal(request_add_device(&r, "06:0d.0", &refusal), 0);
    assert_int_equal(request_validate(&r, &refusal), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_add_device),
            cmocka_unit_test(test_add_bad_device),
            cmocka_unit_test(test_device_twice),
            cmocka_unit_test(test_too_many_devices),
            cmocka_unit_test(test_backend),
            cmocka_unit_test(test_reason),
            cmocka_unit_test(test_reason_is_bounded),
            cmocka_unit_test(test_memlock_and_untainted),
            cmocka_unit_test(test_bad_options),
            cmocka_unit_test(test_tether),
            cmocka_unit_test(test_process),
            cmocka_unit_test(test_cookie),
            cmocka_unit_test(test_option_types),
            cmocka_unit_test(test_validate),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
