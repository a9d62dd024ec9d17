/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "client/convert.h"
#include "client/error-bus.h"

/* A message can be written and read without a peer on its bus. */
typedef struct Fixture {
    sd_bus *bus;
    int peer;
} Fixture;

static int set_up(void **state) {
    static Fixture f;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -1;
    f.peer = fds[1];
    if (sd_bus_new(&f.bus) < 0 || sd_bus_set_fd(f.bus, fds[0], fds[0]) < 0 || sd_bus_start(f.bus) < 0)
        return -1;
    *state = &f;
    return 0;
}

static int tear_down(void **state) {
    Fixture *f = *state;

    sd_bus_close_unref(f->bus);
    safe_close(f->peer);
    return 0;
}

static sd_bus_message *new_message(Fixture *f) {
    sd_bus_message *m = NULL;

    assert_true(sd_bus_message_new_signal(f->bus, &m, "/a", "b.c", "D") >= 0);
    return m;
}

static void seal(sd_bus_message *m) {
    assert_true(sd_bus_message_seal(m, 1, 0) >= 0);
    assert_true(sd_bus_message_rewind(m, true) >= 0);
}

/* Takes m. */
static void converts(sd_bus_message *m, const char *property, const char *expected) {
    _unused_ _cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = m;
    _cleanup_json_ struct json_object *o = NULL;

    seal(m);
    assert_int_equal(json_from_value(m, property, &o), 0);
    assert_string_equal(
            o ? json_object_to_json_string_ext(o, JSON_C_TO_STRING_NOSLASHESCAPE) : "null", expected);
}

#define CONVERTS(property, expected, ...)                                                                    \
    do {                                                                                                     \
        sd_bus_message *_m = new_message(*state);                                                            \
        assert_true(sd_bus_message_append(_m, __VA_ARGS__) >= 0);                                            \
        converts(_m, property, expected);                                                                    \
    } while (false)

static void test_basic(void **state) {
    CONVERTS(NULL, "255", "y", 255);
    CONVERTS(NULL, "true", "b", 1);
    CONVERTS(NULL, "-32768", "n", -32768);
    CONVERTS(NULL, "65535", "q", 65535);
    CONVERTS(NULL, "-1", "i", -1);
    CONVERTS(NULL, "4294967295", "u", UINT32_MAX);
    CONVERTS(NULL, "-9223372036854775808", "x", INT64_MIN);
    CONVERTS(NULL, "18446744073709551615", "t", UINT64_MAX);
    CONVERTS(NULL, "1.5", "d", 1.5);
    CONVERTS(NULL, "\"a\\u001bb\"", "s",
            "a\x1b"
            "b");
    CONVERTS(NULL, "\"as\"", "g", "as");
    CONVERTS(NULL, "7", "v", "v", "u", 7);
}

static void test_paths(void **state) {
    CONVERTS(NULL, "null", "o", "/");
    CONVERTS(NULL, "\"pci:0000:06:0d.0\"", "o", "/org/vfiod1/device/pci_3a0000_3a06_3a0d_2e0");
    CONVERTS(NULL, "8", "o", "/org/vfiod1/group/8");
    CONVERTS(NULL, "\"x8\"", "o", "/org/vfiod1/group/x8");
    CONVERTS(NULL, "\"0123\"", "o", "/org/vfiod1/claim/0123");
    CONVERTS(NULL, "\"\"", "o", "/org/vfiod1");
    CONVERTS(NULL, "\"/org/vfiod1/devices/a\"", "o", "/org/vfiod1/devices/a");
    CONVERTS(NULL, "\"/else\"", "o", "/else");
}

static void test_containers(void **state) {
    CONVERTS(NULL, "[]", "as", 0);
    CONVERTS(NULL, "[\"a\",\"b\"]", "as", 2, "a", "b");
    CONVERTS(NULL, "[8,null]", "ao", 2, "/org/vfiod1/group/8", "/");
    CONVERTS(NULL, "[[],[1]]", "aau", 2, 0, 1, 1);
    CONVERTS(NULL, "{\"iommu\":true,\"iommufd\":false}", "a{sb}", 2, "iommu", 1, "iommufd", 0);
    CONVERTS(NULL, "{}", "a{sv}", 0);
    CONVERTS(NULL, "{\"Key\":[\"x\",1]}", "a{sv}", 1, "Key", "(su)", "x", 1);
    CONVERTS(NULL, "[[12,\"qemu\"]]", "a(us)", 1, 12, "qemu");
}

static void test_structs_with_names(void **state) {
    CONVERTS("Holders", "[{\"pid\":12,\"command\":\"qemu\"}]", "a(us)", 1, 12, "qemu");
    CONVERTS("Holders", "[{\"pid\":12,\"command\":\"qemu\"}]", "v", "a(us)", 1, 12, "qemu");
    CONVERTS("AcsPath", "{\"path\":\"incomplete\",\"blocker\":\"p\"}", "(ss)", "incomplete", "p");
    CONVERTS("ReservedRegions", "[{\"start\":1,\"end\":2,\"type\":\"msi\"}]", "a(tts)", 1, UINT64_C(1),
            UINT64_C(2), "msi");
}

static void test_more_fields_than_names(void **state) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message(*state);
    struct json_object *o = NULL;

    assert_true(sd_bus_message_append(m, "(sss)", "a", "b", "c") >= 0);
    seal(m);
    assert_int_equal(json_from_value(m, "AcsPath", &o), -EBADMSG);
    assert_null(o);
}

static void test_nothing_left(void **state) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message(*state);
    struct json_object *o = NULL;

    seal(m);
    assert_int_equal(json_from_value(m, NULL, &o), -EBADMSG);
    assert_null(o);
}

static void test_interfaces(void **state) {
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message(*state);
    _cleanup_json_ struct json_object *o = NULL;

    assert_true(sd_bus_message_append(m, "a{sa{sv}}", 3, "org.freedesktop.DBus.Peer", 1, "Name", "s", "no",
                        "org.vfiod1.Device", 2, "Name", "s", "yes", "VfioNode", "s", "", "x.y", 0) >= 0);
    seal(m);
    assert_int_equal(json_from_interfaces(m, &o), 0);
    assert_string_equal(json_object_to_json_string(o), "{ \"name\": \"yes\", \"vfioNode\": \"\" }");
}

static void test_kinds(void **state) {
    for (int i = 0; i < _OBJECT_KIND_MAX; i++) {
        ObjectKind kind = (ObjectKind) i;

        assert_int_equal(object_kind_from_string(object_kind_to_string(kind)), kind);
        assert_int_equal(object_kind_from_interface(object_kind_interface(kind)), kind);
    }
    assert_int_equal(object_kind_from_interface("org.vfiod1"), _OBJECT_KIND_INVALID);
}

static void test_exit_statuses(void **state) {
    assert_int_equal(exit_status_of("InvalidName"), 10);
    assert_int_equal(exit_status_of("Internal"), 35);
    assert_int_equal(exit_status_of(ERROR_NAME_FAILED), 1);
    assert_int_equal(exit_status_of(ERROR_NAME_USAGE), 2);
    assert_int_equal(exit_status_of(ERROR_NAME_UNREACHABLE), 3);
    assert_int_equal(exit_status_of("org.freedesktop.DBus.Error.Failed"), 1);
}

static void test_error_text(void **state) {
    VfiodErrorText e = {};
    sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    char long_name[300], long_text[3000];

    assert_int_equal(
            error_text_from_bus(&e, &SD_BUS_ERROR_MAKE_CONST("org.vfiod1.Error.DeviceClaimed", "x"), -EIO),
            -EBUSY);
    assert_string_equal(e.name, "DeviceClaimed");
    assert_int_equal(e.error, EBUSY);

    assert_int_equal(error_text_from_bus(&e, &bus_error, -ENOMEM), -ENOMEM);
    assert_string_equal(e.name, ERROR_NAME_FAILED);
    assert_int_equal(error_text_from_bus(&e, &bus_error, -ECONNRESET), -EHOSTUNREACH);
    assert_string_equal(e.name, ERROR_NAME_UNREACHABLE);
    assert_int_equal(error_text_from_bus(NULL, &bus_error, -ENOMEM), -ENOMEM);

    /* The peer chooses the lengths. Characters are not cut in half. */
    memset(long_name, 'n', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    for (size_t i = 0; i < sizeof(long_text) - 2; i += 2)
        memcpy(long_text + i, "ä", 2);
    long_text[sizeof(long_text) - 2] = '\0';
    assert_true(error_text_set(&e, EIO, long_name, "x%s", long_text) == -EIO);
    assert_int_equal(strlen(e.name), sizeof(e.name) - 1);
    assert_true(strlen(e.message) >= sizeof(e.message) - 4);
    assert_true((unsigned char) e.message[strlen(e.message) - 1] >= 0x80);

    error_text_set(&e, EIO, "N", "a\x1b\n\nb\n");
    assert_string_equal(e.message, "a\\x1b\nb");
    error_text_set(&e, EIO, "N", "%s", "");
    assert_string_equal(e.message, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_basic),
            cmocka_unit_test(test_paths),
            cmocka_unit_test(test_containers),
            cmocka_unit_test(test_structs_with_names),
            cmocka_unit_test(test_more_fields_than_names),
            cmocka_unit_test(test_nothing_left),
            cmocka_unit_test(test_interfaces),
            cmocka_unit_test(test_kinds),
            cmocka_unit_test(test_exit_statuses),
            cmocka_unit_test(test_error_text),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
