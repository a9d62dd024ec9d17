/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "client/convert.h"
#include "client/hardware-names.h"
#include "client/pager.h"
#include "client/show.h"
#include "core/pci-class.h"

static void test_class_words(void **state) {
    static const struct {
        uint32_t code;
        const char *word;
    } cases[] = {
            {0x010802, "nvme"},
            {0x010803, "storage"},
            {0x010601, "sata"},
            {0x020000, "ethernet"},
            {0x028000, "network"},
            {0x030000, "vga"},
            {0x038000, "display"},
            {0x060000, "host-bridge"},
            {0x060401, "pci-bridge"},
            {0x068000, "bridge"},
            {0x0c0330, "usb"},
            {0x120000, "accelerator"},
            {0x00ff00, "class 0x00"},
            {0xff0000, "class 0xff"},
            {0xffffffff, "class 0xff"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        char buf[24];

        assert_string_equal(class_word(cases[i].code, buf, sizeof(buf)), cases[i].word);
    }
}

static void test_json_members_of_any_type(void **state) {
    _cleanup_json_ struct json_object *o = json_tokener_parse(
            "{\"text\": \"t\", \"number\": 7, \"flag\": true, \"list\": [1, null, \"x\"], \"null\": null}");
    static const char *const keys[] = {"text", "number", "flag", "list", "null", "absent"};
    _cleanup_free_ char *list = NULL, *empty = NULL;

    assert_non_null(o);
    for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
        const char *k = keys[i];

        assert_string_equal(json_text(o, k), streq(k, "text") ? "t" : "");
        assert_int_equal(json_number(o, k), streq(k, "number") ? 7 : 0);
        assert_int_equal(json_flag(o, k), streq(k, "flag"));
        assert_int_equal(json_list(o, k) != NULL, streq(k, "list"));
        /* An empty reply where an object was expected. */
        assert_string_equal(json_text(NULL, k), "");
        assert_null(json_list(NULL, k));
    }
    list = json_list_text(o, "list");
    empty = json_list_text(o, "text");
    assert_string_equal(list, "1 - x");
    assert_string_equal(empty, "");
}

static void test_json_is_safe_for_terminals(void **state) {
    _cleanup_json_ struct json_object *o = json_object_new_string("a\x1b/\x7f\xc2\x9b\xc2\xa0ä\\x");
    _cleanup_free_ char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    assert_int_equal(show_json(f, o, /* pretty= */ false), 0);
    fclose(f);
    assert_string_equal(text, "\"a\\u001b/\\u007f\\u009b\xc2\xa0ä\\\\x\"\n");
}

static void test_write_errors_are_told(void **state) {
    _cleanup_json_ struct json_object *o = json_object_new_object();
    FILE *f = fopen("/dev/full", "we");

    assert_non_null(f);
    assert_int_equal(show_json(f, o, /* pretty= */ true), -ENOSPC);
    fclose(f);
}

/* The words of the policy have the same meaning in a filter. */
static void test_classes_of_the_policy(void **state) {
    for (const PciClass *c = pci_classes; c->name; c++) {
        assert_true(class_is(c->value, c->name));
        assert_true(class_is(c->value | (~c->mask & 0xffffff), c->name));
        assert_false(class_is(0x130000, c->name));
    }
    assert_true(class_is(0x010802, "storage"));
    assert_false(class_is(0x010802, "sata"));
    assert_false(class_is(0x010802, "nvm"));
    assert_false(class_is(0x010802, ""));
}

static void test_short_names(void **state) {
    static const struct {
        const char *vendor, *model, *expected;
    } cases[] = {
            {"Intel Corporation", "82574L Gigabit Network Connection",
                    "Intel 82574L Gigabit Network Connection"},
            {"Advanced Micro Devices, Inc. [AMD/ATI]", "Navi 31", "AMD/ATI Navi 31"},
            {"Realtek Semiconductor Co., Ltd.", "RTL8125", "Realtek RTL8125"},
            {"Samsung Electronics Co Ltd", NULL, "Samsung"},
            {"Red Hat, Inc.", "QEMU", "Red Hat QEMU"},
            {"[", NULL, "["},
            {"x []", NULL, "x []"},
            {" Inc.", NULL, " Inc."},
            {NULL, "a", "a"},
            {NULL, NULL, NULL},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *text = hardware_short_name(cases[i].vendor, cases[i].model);

        assert_true(streq_ptr(text, cases[i].expected));
    }
}

static void test_when_a_pager_must_be_secure(void **state) {
    static const struct {
        PagerSituation s;
        bool secure;
    } cases[] = {
            {{.uid = 1000, .euid = 1000, .owner = 1000, .has_owner = true}, false},
            {{.has_owner = true}, false},                              /* root, logged in as root */
            {{.owner = 1000, .has_owner = true}, true},                /* su */
            {{.owner = 0, .has_owner = true, .elevated = true}, true}, /* sudo */
            {{.uid = 1000, .owner = 0, .has_owner = true}, true},      /* setuid */
            {{}, true},                                                /* no session */
            {{.uid = 1000, .euid = 1000}, true},
            {{.wish = "", .owner = 1000, .has_owner = true}, true},
            {{.wish = "no", .owner = 1000, .has_owner = true, .elevated = true}, false},
            {{.wish = "0"}, false},
            {{.wish = "1", .has_owner = true}, true},
            {{.wish = "nonsense", .has_owner = true}, true},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        assert_int_equal(pager_must_be_secure(&cases[i].s), cases[i].secure);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_class_words),
            cmocka_unit_test(test_classes_of_the_policy),
            cmocka_unit_test(test_short_names),
            cmocka_unit_test(test_when_a_pager_must_be_secure),
            cmocka_unit_test(test_json_members_of_any_type),
            cmocka_unit_test(test_json_is_safe_for_terminals),
            cmocka_unit_test(test_write_errors_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
