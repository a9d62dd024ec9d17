/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/facts.h"

#define METHOD(m) (1U << RESET_METHOD_##m)

static void test_reset_methods(void **state) {
    static const struct {
        const char *text;
        unsigned mask;
    } table[] = {
            {"", 0},
            {" \n", 0},
            {"flr", METHOD(FLR)},
            {"flr bus\n", METHOD(FLR) | METHOD(BUS)},
            {"bus flr", METHOD(FLR) | METHOD(BUS)},
            {"device_specific acpi flr af_flr pm bus cxl_bus",
                    METHOD(DEVICE_SPECIFIC) | METHOD(ACPI) | METHOD(FLR) | METHOD(AF_FLR) | METHOD(PM) |
                            METHOD(BUS) | METHOD(CXL_BUS)},
            {"af_flrx", METHOD(UNKNOWN)},
            {"fl", METHOD(UNKNOWN)},
            {"FLR", METHOD(UNKNOWN)},
            {"\x1b[31m pm", METHOD(UNKNOWN) | METHOD(PM)},
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++)
        assert_int_equal(reset_methods_parse(table[i].text), table[i].mask);
}

static void test_reserved_regions(void **state) {
    ReservedRegion regions[RESERVED_REGIONS_MAX];

    assert_int_equal(reserved_regions_parse("", regions), 0);
    assert_int_equal(reserved_regions_parse("0x00000000000a0000 0x00000000000bffff direct-relaxable\n"
                                            "0x00000000fee00000 0x00000000feefffff msi\n"
                                            "0x000000fd00000000 0xffffffffffffffff reserved",
                             regions),
            3);
    assert_true(regions[0].start == 0xa0000 && regions[0].end == 0xbffff);
    assert_string_equal(regions[0].type, "direct-relaxable");
    assert_string_equal(regions[1].type, "msi");
    assert_true(regions[2].end == UINT64_MAX);
}

static void test_malformed_regions_are_left_out(void **state) {
    static const char *const lines[] = {
            "\n",
            "0x10 0x20\n",
            "0x10 0x20 \n",
            "0x10 msi\n",
            "10 20 msi\n",
            "0x 0x20 msi\n",
            "0x20 0x10 msi\n", /* ends before it starts */
            "0x10 0x20 msi more\n",
            "0x10 0x20 MSI\n",
            "0x10 0x20 m\x1bi\n",
            "0x10 0x20 a-type-that-is-far-too-long\n",
            "0x11112222333344445 0x20 msi\n",
            "-0x10 0x20 msi\n",
            "0x10\t0x20\tmsi\n",
    };

    for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
        ReservedRegion regions[RESERVED_REGIONS_MAX];
        char text[256];

        snprintf(text, sizeof(text), "%s0x1 0x2 msi\n", lines[i]);
        assert_int_equal(reserved_regions_parse(text, regions), 1);
        assert_true(regions[0].start == 1 && regions[0].end == 2);
    }
}

static void test_too_many_regions_are_cut(void **state) {
    ReservedRegion regions[RESERVED_REGIONS_MAX];
    char text[(RESERVED_REGIONS_MAX + 10) * 12 + 1] = "";

    for (unsigned i = 0; i < RESERVED_REGIONS_MAX + 10; i++)
        strcat(text, "0x1 0x2 msi\n");
    assert_int_equal(reserved_regions_parse(text, regions), RESERVED_REGIONS_MAX);
}

typedef struct Config {
    uint8_t bytes[4096];
} Config;

static void put16(Config *c, size_t at, unsigned v) {
    c->bytes[at] = v & 0xff;
    c->bytes[at + 1] = v >> 8 & 0xff;
}

static void put32(Config *c, size_t at, uint32_t v) {
    put16(c, at, v & 0xffff);
    put16(c, at + 2, v >> 16);
}

static void put_acs(Config *c, size_t at, unsigned next, unsigned capabilities, unsigned control) {
    put32(c, at, 0x000dU | 1U << 16 | next << 20);
    put16(c, at + 4, capabilities);
    put16(c, at + 6, control);
}

/* A function with a power management and a PCI Express capability of that type. */
static void put_header(Config *c, unsigned type) {
    put32(c, 0, 0x11e81234);
    put16(c, 6, 0x0010);
    c->bytes[0x34] = 0x40;
    put16(c, 0x40, 0x4801);
    put16(c, 0x48, 0x0010);
    put16(c, 0x4a, type << 4 | 2);
}

static void test_acs(void **state) {
    static const struct {
        unsigned capabilities, control;
        int enabled;
    } table[] = {
            {0x7f, 0x1d, 1},
            {0x7f, 0x7f, 1},
            {0x7f, 0x1c, 0},
            {0x7f, 0x0d, 0},
            {0x7f, 0x00, 0},
            {0x1c, 0x1c, 1}, /* source validation is not supported, so it need not be on */
            {0x1c, 0x18, 0},
            {0x00, 0x00, 1},
    };
    Config c;

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        c = (Config){};
        put32(&c, 0x100, 0x0001U | 1U << 16 | 0x148U << 20); /* AER first */
        put_acs(&c, 0x148, 0, table[i].capabilities, table[i].control);
        assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes)), table[i].enabled);
    }

    /* none */
    c = (Config){};
    assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes)), 0);
    put32(&c, 0x100, 0x00010001);
    assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes)), 0);

    /* at the very end of config space, and one byte short of it */
    put32(&c, 0x100, 0x00010001U | 0xff8U << 20);
    put_acs(&c, 0xff8, 0, 0x7f, 0x1d);
    assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes)), 1);
    assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes) - 1), -EINVAL);
}

static void test_malformed_acs_lists(void **state) {
    static const size_t sizes[] = {0, 1, 64, 256, 257, 259};
    Config c = {};

    put_acs(&c, 0x100, 0, 0x7f, 0x1d);
    for (size_t i = 0; i < ELEMENTSOF(sizes); i++)
        assert_int_equal(pci_config_acs_enabled(c.bytes, sizes[i]), -EINVAL);
    assert_int_equal(pci_config_acs_enabled(c.bytes, 0x107), -EINVAL);
    assert_int_equal(pci_config_acs_enabled(c.bytes, 0x108), 1);

    /* a loop, a pointer back into the header, a device that does not answer */
    c = (Config){};
    put32(&c, 0x100, 0x00010001U | 0x200U << 20);
    put32(&c, 0x200, 0x00010003U | 0x100U << 20);
    assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes)), -EINVAL);
    put32(&c, 0x200, 0x00010003U | 0x0fcU << 20);
    assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes)), -EINVAL);
    memset(c.bytes, 0xff, sizeof(c.bytes));
    assert_int_equal(pci_config_acs_enabled(c.bytes, sizeof(c.bytes)), -EINVAL);
}

static void test_port_types(void **state) {
    Config c;

    for (unsigned type = 0; type < 16; type++) {
        c = (Config){};
        put_header(&c, type);
        assert_int_equal(pci_config_port_type(c.bytes, sizeof(c.bytes)), (int) type);
        assert_int_equal(pci_config_port_type(c.bytes, 64), -EINVAL); /* size of an unprivileged read */
    }

    c.bytes[0x41] = 0; /* only power management */
    assert_int_equal(pci_config_port_type(c.bytes, sizeof(c.bytes)), -ENOENT);
    c.bytes[0x41] = 0x40; /* a loop */
    assert_int_equal(pci_config_port_type(c.bytes, sizeof(c.bytes)), -EINVAL);
    c.bytes[0x41] = 0x3c; /* back into the header */
    assert_int_equal(pci_config_port_type(c.bytes, sizeof(c.bytes)), -EINVAL);
    c.bytes[0x41] = 0xfc;
    put16(&c, 0xfc, 0x0010); /* the last dword */
    assert_int_equal(pci_config_port_type(c.bytes, sizeof(c.bytes)), 0);
    assert_int_equal(pci_config_port_type(c.bytes, 0xff), -EINVAL);
    put16(&c, 6, 0); /* no capabilities at all */
    assert_int_equal(pci_config_port_type(c.bytes, sizeof(c.bytes)), -ENOENT);
    memset(c.bytes, 0xff, sizeof(c.bytes));
    assert_int_equal(pci_config_port_type(c.bytes, sizeof(c.bytes)), -EINVAL);
}

static void test_isolates(void **state) {
    static const struct {
        unsigned type;
        bool several, acs;
        int isolates;
    } table[] = {
            {PCI_PORT_ROOT, false, false, 0},
            {PCI_PORT_ROOT, false, true, 1},
            {PCI_PORT_DOWNSTREAM, false, false, 0},
            {PCI_PORT_DOWNSTREAM, true, true, 1},
            {PCI_PORT_UPSTREAM, false, false, 1},
            {PCI_PORT_UPSTREAM, true, false, 0},
            {PCI_PORT_ENDPOINT, false, false, 1},
            {PCI_PORT_ENDPOINT, true, false, 0},
            {PCI_PORT_ENDPOINT, true, true, 1},
            {PCI_PORT_ROOT_COMPLEX_ENDPOINT, true, false, 0},
            {0x7, false, true, 0}, /* PCI Express to PCI bridge */
            {0xa, false, true, 0},
            {0xf, false, true, 0},
    };
    Config c;

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        c = (Config){};
        put_header(&c, table[i].type);
        if (table[i].acs)
            put_acs(&c, 0x100, 0, 0x7f, 0x1d);
        assert_int_equal(pci_config_isolates(c.bytes, sizeof(c.bytes), table[i].several), table[i].isolates);
    }

    /* conventional PCI, and a read that is too short */
    put16(&c, 6, 0);
    assert_int_equal(pci_config_isolates(c.bytes, sizeof(c.bytes), false), 0);
    put_header(&c, PCI_PORT_ROOT);
    assert_int_equal(pci_config_isolates(c.bytes, 64, false), -EINVAL);
    assert_int_equal(pci_config_isolates(c.bytes, 256, false), -EINVAL);
}

#define TEST_TABLE(name, max)                                                                                \
    do {                                                                                                     \
        for (int v = 0; v < (int) (max); v++) {                                                              \
            assert_non_null(name##_to_string(v));                                                            \
            assert_int_equal(name##_from_string(name##_to_string(v)), v);                                    \
        }                                                                                                    \
        assert_null(name##_to_string(-1));                                                                   \
        assert_null(name##_to_string(max));                                                                  \
        assert_int_equal(name##_from_string("no such word"), -EINVAL);                                       \
        assert_int_equal(name##_from_string(NULL), -EINVAL);                                                 \
    } while (0)

static void test_tables(void **state) {
    TEST_TABLE(reset_method, _RESET_METHOD_MAX);
    TEST_TABLE(acs_path, _ACS_PATH_MAX);
    TEST_TABLE(removable, _REMOVABLE_MAX);
    TEST_TABLE(device_kind, _DEVICE_KIND_MAX);
}

static void test_serial(void **state) {
    static const uint8_t capability[] = {
            0x03, 0x00, 0x01, 0x00, 0xc3, 0xb2, 0xa1, 0xff, 0xff, 0x21, 0x1b, 0x00};
    uint8_t config[4096] = {0x86, 0x80, 0xd3, 0x10};
    char serial[PCI_SERIAL_MAX] = "untouched";

    /* conventional PCI has none, and that is known */
    assert_int_equal(pci_config_serial(config, 64, serial), 0);
    config[0x06] = 0x10;
    config[0x34] = 0x40;
    assert_int_equal(pci_config_serial(config, 64, serial), -EINVAL);
    config[0x40] = 0x10;
    assert_int_equal(pci_config_serial(config, 64, serial), -EINVAL);
    assert_int_equal(pci_config_serial(config, 256, serial), -EINVAL);
    assert_int_equal(pci_config_serial(config, sizeof(config), serial), 0);

    /* after another capability */
    config[0x100] = 0x0d;
    config[0x102] = 0x01;
    config[0x103] = 0x14;
    memcpy(config + 0x140, capability, sizeof(capability));
    assert_int_equal(pci_config_serial(config, 0x140 + sizeof(capability) - 1, serial), -EINVAL);
    assert_string_equal(serial, "untouched");
    assert_int_equal(pci_config_serial(config, 0x140 + sizeof(capability), serial), 1);
    assert_string_equal(serial, "00-1b-21-ff-ff-a1-b2-c3");

    memset(config + 0x100, 0xff, 4); /* the device does not answer */
    assert_int_equal(pci_config_serial(config, sizeof(config), serial), -EINVAL);
}

static void test_slot_path(void **state) {
    DeviceName path[64] = {
            {.slot = 0x1c},
            {.pci_bus = 1},
            {.pci_bus = 2, .slot = 3, .function = 1},
    };
    char text[SLOT_PATH_MAX];

    assert_int_equal(slot_path_format(path, 0, text), -EINVAL);
    assert_int_equal(slot_path_format(path, 1, text), 0);
    assert_string_equal(text, "0000:00:1c.0");
    assert_int_equal(slot_path_format(path, 3, text), 0);
    assert_string_equal(text, "0000:00:1c.0/00.0/03.1");
    /* as deep as the path fits, and never a part of it */
    assert_int_equal(slot_path_format(path, 24, text), 0);
    assert_int_equal(strlen(text), 127);
    assert_int_equal(slot_path_format(path, 25, text), -E2BIG);
    assert_int_equal(slot_path_format(path, 64, text), -E2BIG);

    path[1] = (DeviceName){.domain = 0x10000, .pci_bus = 0xe0, .slot = 6};
    path[2] = (DeviceName){.domain = 0x10000, .pci_bus = 0xe1};
    assert_int_equal(slot_path_format(path, 3, text), 0);
    assert_string_equal(text, "10000:e0:06.0/00.0");
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_reset_methods),
            cmocka_unit_test(test_reserved_regions),
            cmocka_unit_test(test_malformed_regions_are_left_out),
            cmocka_unit_test(test_too_many_regions_are_cut),
            cmocka_unit_test(test_acs),
            cmocka_unit_test(test_malformed_acs_lists),
            cmocka_unit_test(test_port_types),
            cmocka_unit_test(test_isolates),
            cmocka_unit_test(test_tables),
            cmocka_unit_test(test_serial),
            cmocka_unit_test(test_slot_path),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
