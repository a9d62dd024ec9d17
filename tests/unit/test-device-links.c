/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "core/device-links.h"

static void test_unbinds(void **state) {
    /* drivers/base/core.c: status_show() */
    static const char *const harmless[] = {"not tracked", "dormant", "available", "consumer unbound"};
    static const char *const others[] = {
            "consumer probing", "active", "supplier unbinding", "unknown", "", "NOT TRACKED", "available "};

    for (size_t i = 0; i < ELEMENTSOF(harmless); i++)
        assert_false(device_link_unbinds(harmless[i]));
    for (size_t i = 0; i < ELEMENTSOF(others); i++)
        assert_true(device_link_unbinds(others[i]));
}

static void test_describe(void **state) {
    const DeviceLinks links = {.n = 2,
            .items = {{.name = "pci:0000:01:00.1", .driver = "snd_hda_intel", .is_consumer = true},
                    {.name = "platform:clock"}}};
    _cleanup_strbuf_ StrBuf b = {}, none = {};

    device_links_describe(&links, &b);
    assert_string_equal(b.text, "consumer pci:0000:01:00.1 (driver snd_hda_intel), supplier platform:clock");
    device_links_describe(NULL, &none);
    device_links_describe(&(DeviceLinks){}, &none);
    assert_null(none.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_unbinds),
            cmocka_unit_test(test_describe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
