/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/pin.h"

#define PLACE "0000:00:1c.0/00.0"
#define SERIAL "00-1b-21-ff-ff-a1-b2-c3"

/* ' stands for ". */
static int parse(const char *text, Pin *ret, Problems *problems) {
    _cleanup_free_ char *copy = strdup(text);

    assert_non_null(copy);
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    return pin_parse("f", copy, strlen(copy), ret, problems);
}

static void parse_fails(const char *text, const char *problem) {
    _cleanup_(problems_done) Problems problems = {};
    Pin pin = {.driver = "untouched"};

    assert_int_equal(parse(text, &pin, &problems), -EBADMSG);
    assert_string_equal(pin.driver, "untouched");
    if (problems_count(&problems) != 1 || !strstr(problems_get(&problems, 0), problem))
        fail_msg("%s\n%s", text, problems_get(&problems, 0));
}

static void test_file(void **state) {
    _cleanup_(problems_done) Problems problems = {};
    _cleanup_strbuf_ StrBuf b = {};
    char name[PIN_FILE_NAME_MAX];
    Pin pin, again;

    assert_int_equal(parse("// the card of the lab\n{'path':'" PLACE
                           "','id':'8086:10d3:8086:a01f','serial':'" SERIAL "','driver':'vfio-pci'}",
                             &pin, &problems),
            0);
    assert_string_equal(pin.path, PLACE);
    assert_string_equal(pin.id, "8086:10d3:8086:a01f");
    assert_string_equal(pin.serial, SERIAL);
    assert_string_equal(pin.driver, "vfio-pci");
    pin_write(&b, &pin);
    assert_int_equal(pin_parse("f", b.text, b.length, &again, &problems), 0);
    assert_memory_equal(&pin, &again, sizeof(pin));
    assert_string_equal(pin_file_name(pin.path, name), "0000:00:1c.0-00.0.json");

    assert_int_equal(parse("{'path':'10000:e0:06.0','id':'8086:10d3','driver':'none'}", &pin, &problems), 0);
    assert_string_equal(pin.serial, "");
}

static void test_bad_files(void **state) {
    parse_fails("", "f:1:1: error: ");
    parse_fails("{'path':", "f:1:9: error: ");
    parse_fails("[]", "f:1:1: error: expected an object, found an array");
    parse_fails("{'id':'8086:10d3','driver':'vfio-pci'}", "\"path\"");
    parse_fails("{'path':'" PLACE "','driver':'vfio-pci'}", "\"id\"");
    parse_fails("{'path':'" PLACE "','id':'8086:10d3'}", "\"driver\"");
    parse_fails(
            "{'path':'" PLACE "',\n 'id':'8086:10d3','driver':'vfio-pci',\n 'serail':''}", "f:3:2: error: ");
    parse_fails("{'path':'" PLACE "','id':'8086:10d3','driver':17}", "the name of a driver");
    parse_fails("{'path':'" PLACE "',\n'id':'8086:10D3','driver':'vfio-pci'}",
            "f:2:6: error: \"8086:10D3\" is not the id");
    for (size_t i = 0; i < 6; i++) {
        static const char *const ids[] = {
                "", "8086", "8086:10d3:", "8086:10d3:8086", "8086-10d3", "8086:*   "};
        _cleanup_free_ char *text =
                format_string("{'path':'" PLACE "','id':'%s','driver':'vfio-pci'}", ids[i]);

        parse_fails(text, "is not the id of a card");
    }
    for (size_t i = 0; i < 7; i++) {
        static const char *const paths[] = {"", "0000:00:1c.0/", "00:1c.0", "0000:00:1C.0",
                "0000:00:1c.0/../x", "0000:00:1c.0/20.0", "/0000:00:1c.0"};
        _cleanup_free_ char *text =
                format_string("{'path':'%s','id':'8086:10d3','driver':'vfio-pci'}", paths[i]);

        parse_fails(text, "is not a device path");
    }
    for (size_t i = 0; i < 7; i++) {
        static const char *const drivers[] = {"", "../../x", "a/b", "-r", "vfio pci", "x\\u001b[31m",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
        _cleanup_free_ char *text =
                format_string("{'path':'" PLACE "','id':'8086:10d3','driver':'%s'}", drivers[i]);

        parse_fails(text, "is not the name of a driver");
    }
    parse_fails("{'path':'" PLACE "','id':'8086:10d3','driver':'vfio-pci','serial':'1'}",
            "is not a serial number");
}

/* Every port on the way. A bridge to another domain starts a new path. */
static void test_path(void **state) {
    static const DeviceName nested[] = {{.kind = DEVICE_KIND_PCI, .slot = 0x1c},
            {.kind = DEVICE_KIND_PCI, .pci_bus = 1},
            {.kind = DEVICE_KIND_PCI, .pci_bus = 2, .slot = 0x1f, .function = 7}};
    static const DeviceName renumbered[] = {{.kind = DEVICE_KIND_PCI, .slot = 0x1c},
            {.kind = DEVICE_KIND_PCI, .pci_bus = 0x41},
            {.kind = DEVICE_KIND_PCI, .pci_bus = 0x42, .slot = 0x1f, .function = 7}};
    static const DeviceName behind_vmd[] = {{.kind = DEVICE_KIND_PCI, .slot = 0x0e},
            {.kind = DEVICE_KIND_PCI, .domain = 0x10000, .pci_bus = 0xe0, .slot = 6},
            {.kind = DEVICE_KIND_PCI, .domain = 0x10000, .pci_bus = 0xe1}};
    char path[SLOT_PATH_MAX], other[SLOT_PATH_MAX];

    assert_int_equal(slot_path_format(nested, 3, path), 0);
    assert_string_equal(path, "0000:00:1c.0/00.0/1f.7");
    assert_true(slot_path_is_valid(path));
    assert_int_equal(slot_path_format(renumbered, 3, other), 0);
    assert_string_equal(path, other);
    assert_int_equal(slot_path_format(behind_vmd, 3, path), 0);
    assert_string_equal(path, "10000:e0:06.0/00.0");
    assert_true(slot_path_is_valid(path));
}

static const Pin with_serial = {
        .path = PLACE, .id = "8086:10d3:8086:a01f", .serial = SERIAL, .driver = "vfio-pci"};
static const Pin without_serial = {.path = PLACE, .id = "8086:10d3", .driver = "vfio-pci"};
static const Pin to_nothing = {.path = PLACE, .id = "8086:10d3", .driver = "none"};

/* The pinned card, before anything has happened to it. */
static PinDevice the_card(void) {
    return (PinDevice){.name = {.kind = DEVICE_KIND_PCI, .pci_bus = 6},
            .path = PLACE,
            .id = "8086:10d3:8086:a01f",
            .serial = SERIAL,
            .serial_known = true,
            .has_override = true};
}

static void judge(const Pin *pin, const PinDevice *at_place, const PinDevice *elsewhere, PinState expected) {
    PinState got = pin_judge(pin, at_place, elsewhere);
    _cleanup_free_ char *why = pin_explain(pin, got, at_place, elsewhere);

    if (got != expected)
        fail_msg("%s in place of %s", pin_state_to_string(got), pin_state_to_string(expected));
    assert_non_null(why);
    assert_int_equal(*why == '\0', got == PIN_IN_FORCE);
}

static void test_place(void **state) {
    PinDevice card = the_card(), other = the_card(), moved = the_card();

    judge(&with_serial, NULL, NULL, PIN_ABSENT);
    judge(&with_serial, &card, NULL, PIN_PENDING);
    judge(&without_serial, &card, NULL, PIN_PENDING);

    /* A difference in the serial number, the subsystem or one digit of the id makes another card. */
    strcpy(other.serial, "00-1b-21-ff-ff-a1-b2-c4");
    judge(&with_serial, &other, NULL, PIN_SWAPPED);
    judge(&without_serial, &other, NULL, PIN_PENDING);
    other.serial[0] = '\0';
    judge(&with_serial, &other, NULL, PIN_SWAPPED);
    strcpy(other.id, "8086:10d3:8086:a020");
    judge(&without_serial, &other, NULL, PIN_PENDING);
    judge(&with_serial, &other, NULL, PIN_SWAPPED);
    strcpy(other.id, "8086:10d4:8086:a01f");
    judge(&without_serial, &other, NULL, PIN_SWAPPED);
    /* The driver does not matter. */
    strcpy(other.driver, "vfio-pci");
    judge(&without_serial, &other, NULL, PIN_SWAPPED);

    strcpy(moved.path, "0000:00:1d.0/00.0");
    judge(&with_serial, NULL, &moved, PIN_MOVED);
    judge(&with_serial, &other, &moved, PIN_MOVED);
}

static void test_unknown_serial(void **state) {
    PinDevice card = the_card();

    card.serial[0] = '\0';
    card.serial_known = false;
    judge(&with_serial, &card, NULL, PIN_UNKNOWN);
    judge(&without_serial, &card, NULL, PIN_PENDING);
    strcpy(card.override, "vfio-pci");
    judge(&with_serial, &card, NULL, PIN_UNKNOWN);
    strcpy(card.driver, "e1000e");
    judge(&with_serial, &card, NULL, PIN_UNKNOWN);
    strcpy(card.driver, "vfio-pci");
    judge(&with_serial, &card, NULL, PIN_IN_FORCE);
}

static void test_driver(void **state) {
    PinDevice card = the_card();

    strcpy(card.override, "vfio-pci");
    judge(&with_serial, &card, NULL, PIN_PENDING);
    judge(&to_nothing, &card, NULL, PIN_OVERRIDDEN);
    strcpy(card.driver, "vfio-pci");
    judge(&with_serial, &card, NULL, PIN_IN_FORCE);
    judge(&to_nothing, &card, NULL, PIN_TOO_LATE);
    /* The driver is right, although the pin did not choose it. */
    card.override[0] = '\0';
    judge(&with_serial, &card, NULL, PIN_IN_FORCE);

    strcpy(card.driver, "e1000e");
    judge(&with_serial, &card, NULL, PIN_TOO_LATE);
    strcpy(card.override, "vfio-pci");
    judge(&with_serial, &card, NULL, PIN_TOO_LATE);

    card.driver[0] = '\0';
    strcpy(card.override, "e1000e");
    judge(&with_serial, &card, NULL, PIN_OVERRIDDEN);
    strcpy(card.override, "none");
    judge(&to_nothing, &card, NULL, PIN_IN_FORCE);
    card.override[0] = '\0';
    judge(&to_nothing, &card, NULL, PIN_PENDING);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_file),
            cmocka_unit_test(test_bad_files),
            cmocka_unit_test(test_path),
            cmocka_unit_test(test_place),
            cmocka_unit_test(test_unknown_serial),
            cmocka_unit_test(test_driver),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
