/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/device-name.h"

#define UUID "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
#define TEXT_38 "abcdefghijklmnopqrstuvwxyz._:@,+-01234"

static void test_accepted_spellings(void **state) {
    static const struct {
        const char *spelling, *name, *kernel;
    } table[] = {
            {"pci:0000:06:0d.0", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"0000:06:0d.0", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"06:0d.0", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"pci:06:0d.0", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"0000:AF:1F.7", "pci:0000:af:1f.7", "0000:af:1f.7"},
            {"pci_0000_06_0d_0", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"pci_10000_e1_00_0", "pci:10000:e1:00.0", "10000:e1:00.0"},
            {"10000:e1:00.0", "pci:10000:e1:00.0", "10000:e1:00.0"},
            {"ffffffff:ff:1f.7", "pci:ffffffff:ff:1f.7", "ffffffff:ff:1f.7"},
            {"00000000:00:00.0", "pci:0000:00:00.0", "0000:00:00.0"},
            {"00010000:01:02.3", "pci:10000:01:02.3", "10000:01:02.3"},
            {"/sys/bus/pci/devices/0000:06:0d.0", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"/sys/bus/pci/devices/0000:06:0d.0/", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"/sys/devices/pci0000:00/0000:00:1c.0/0000:06:0d.0", "pci:0000:06:0d.0", "0000:06:0d.0"},
            {"/sys/devices/pci0000:AE/0000:AF:00.0", "pci:0000:af:00.0", "0000:af:00.0"},
            {"mdev:" UUID, "mdev:" UUID, UUID},
            {UUID, "mdev:" UUID, UUID},
            {"mdev:83B8F4F2-509F-382F-3C1E-E6BFE0FA1001", "mdev:" UUID, UUID},
            {"/sys/bus/mdev/devices/" UUID, "mdev:" UUID, UUID},
            {"/sys/devices/pci0000:00/0000:00:02.0/" UUID "/", "mdev:" UUID, UUID},
            {"/sys/devices/virtual/mtty/mtty/" UUID, "mdev:" UUID, UUID},
            {"platform:fff51000.ethernet", "platform:fff51000.ethernet", "fff51000.ethernet"},
            {"platform:QEMU0002:00", "platform:QEMU0002:00", "QEMU0002:00"},
            {"/sys/bus/platform/devices/QEMU0002:00", "platform:QEMU0002:00", "QEMU0002:00"},
            {"platform:0000:06:0d.0", "platform:0000:06:0d.0", "0000:06:0d.0"},
            {"vdpa:vdpa0", "vdpa:vdpa0", "vdpa0"},
            {"vdpa:a_b", "vdpa:a_b", "a_b"},
            {"/sys/bus/vdpa/devices/vdpa0/", "vdpa:vdpa0", "vdpa0"},
            {"ap:00.0001", "ap:00.0001", "00.0001"},
            {"ccw:0.0.1234", "ccw:0.0.1234", "0.0.1234"},
            {"fsl-mc:dpni.3", "fsl-mc:dpni.3", "dpni.3"},
            {"cdx:cdx-00:00", "cdx:cdx-00:00", "cdx-00:00"},
            {"/sys/bus/cdx/devices/cdx-00:00", "cdx:cdx-00:00", "cdx-00:00"},
            {"vdpa:" TEXT_38, "vdpa:" TEXT_38, TEXT_38},
            {"platform:" TEXT_38, "platform:" TEXT_38, TEXT_38},
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        char buf[DEVICE_NAME_MAX];
        DeviceName name;

        assert_int_equal(device_name_parse(table[i].spelling, &name), 0);
        assert_string_equal(device_name_format(&name, buf), table[i].name);
        assert_string_equal(device_name_format_kernel(&name, buf), table[i].kernel);
    }
}

static void test_refused_spellings(void **state) {
    static const char *const table[] = {
            "",
            ":",
            "pci",
            "pci:",
            "pci_",
            "usb:0000:06:0d.0",
            "PCI:0000:06:0d.0",
            "pci:pci:0000:06:0d.0",
            "0000:06:0d",
            "0000:06:0d.",
            "0000:06:0d.8", /* functions end at 7 */
            "0000:06:0d.00",
            "0000:06:20.0", /* slots end at 1f */
            "0000:06:0d.0 ",
            " 0000:06:0d.0",
            "0000:06:0d.0\n",
            "0000:06:0d:0",
            "0000.06.0d.0",
            "000:06:0d.0", /* a domain has at least four digits */
            "123456789:06:0d.0",
            "0000:6:0d.0",
            "0000:006:0d.0",
            "0000:06:d.0",
            "6:d.0",
            "0x0000:06:0d.0",
            "-000:06:0d.0",
            "000g:06:0d.0",
            "0000:06:0d.0/../0000:07:00.0",
            "pci_0000_06_0d.0",
            "pci_0000:06:0d.0",
            "pci_06_0d_0",
            "pci:0000_06_0d_0",
            "/sys/bus/pci/devices/06:0d.0",
            "/sys/bus/pci/devices/0000:06:0d.0/driver",
            "/sys/",
            "/sys//",
            "/sys",
            "/tmp/0000:06:0d.0",
            "sys/bus/pci/devices/0000:06:0d.0",
            "mdev:",
            "mdev:\x1b[2J",
            "mdev:vdpa0",
            "mdev:/sys/bus/mdev/devices/" UUID,
            "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa100",
            "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa10012",
            "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa100g",
            "mdev:83b8f4f2509f-382f-3c1e-e6bfe0fa1001",
            "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001 ",
            "mdev:{83b8f4f2-509f-382f-3c1e-e6bfe0fa1001}",
            "mdev:83b8f4f2-509f-382f-3c1e-+6bfe0fa1001",
            "mdev:83b8f4f2509f382f3c1ee6bfe0fa1001",
            "mdev:0000:06:0d.0",
            "pci:" UUID,
            "vdpa0",
            "vdpa:",
            "vdpa:.",
            "vdpa:..",
            "vdpa:-a",
            "vdpa:a/b",
            "vdpa:a b",
            "vdpa:a*",
            "vdpa:a\n",
            "vdpa:\xc3\xa4",
            "vdpa:a\"b",
            "vdpa:" TEXT_38 "x",
            "fsl_mc:dpni.3",
            "/sys/bus/vdpa/devices/",
            "/sys/bus/vdpa/devices",
            "/sys/bus/vdpa/devices/vdpa0/driver",
            "/sys/bus/vdpa/drivers/vdpa0",
            "/sys/bus/usb/devices/1-1",
            "/sys/devices/platform/QEMU0002:00",
            "/sys/bus/mdev/devices/mtty",
    };

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        DeviceName name = {.domain = 0xabcd, .slot = 3};

        assert_int_equal(device_name_parse(table[i], &name), -EINVAL);
        assert_int_equal(name.domain, 0xabcd); /* unchanged */
        assert_int_equal(name.slot, 3);
    }
}

static void test_kernel_spelling(void **state) {
    static const char *const accepted[] = {"0000:06:0d.0", "10000:e1:00.0", "ffffffff:ff:1f.7"};
    static const char *const refused[] = {
            "pci:0000:06:0d.0",
            "06:0d.0",
            "0000:AF:00.0",
            "00000:06:0d.0",
            "pci_0000_06_0d_0",
            "0000:06:0d.8",
            "power",
            "",
    };
    char buf[DEVICE_NAME_MAX];
    DeviceName name;

    for (size_t i = 0; i < ELEMENTSOF(accepted); i++) {
        assert_int_equal(device_name_parse_pci_address(accepted[i], &name), 0);
        assert_string_equal(device_name_format_kernel(&name, buf), accepted[i]);
    }
    for (size_t i = 0; i < ELEMENTSOF(refused); i++)
        assert_int_equal(device_name_parse_pci_address(refused[i], &name), -EINVAL);
}

/* The longest name fits. Every formatted address is parsed as the same address. */
static void test_round_trip(void **state) {
    static const uint32_t domains[] = {0, 1, 0xffff, 0x10000, 0xffffffff};

    for (size_t i = 0; i < ELEMENTSOF(domains); i++)
        for (unsigned bus = 0; bus < 256; bus += 51)
            for (unsigned devfn = 0; devfn < 256; devfn++) {
                DeviceName name = {
                        .kind = DEVICE_KIND_PCI,
                        .domain = domains[i],
                        .pci_bus = (uint8_t) bus,
                        .slot = (uint8_t) (devfn >> 3),
                        .function = devfn & 7,
                };
                char buf[DEVICE_NAME_MAX];
                DeviceName back;

                assert_int_equal(device_name_parse(device_name_format(&name, buf), &back), 0);
                assert_int_equal(device_name_compare(&name, &back), 0);
                assert_int_equal(
                        device_name_parse_pci_address(device_name_format_kernel(&name, buf), &back), 0);
                assert_int_equal(device_name_compare(&name, &back), 0);
            }
}

static void test_above(void **state) {
    static const struct {
        const char *path;
        DeviceKind kind;
        const char *name; /* NULL: none */
    } table[] = {
            {"/sys/devices/pci0000:00/0000:00:1c.0/0000:06:0d.0/vfio-dev/vfio0", DEVICE_KIND_PCI,
                    "0000:06:0d.0"},
            {"/sys/devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0/10000:e1:00.0/vfio-dev//x//",
                    DEVICE_KIND_PCI, "10000:e1:00.0"},
            {"//0000:06:0d.0//vfio-dev", DEVICE_KIND_PCI, "0000:06:0d.0"},
            {"0000:06:0d.0/vfio-dev", DEVICE_KIND_PCI, "0000:06:0d.0"},
            /* a mediated device's name is not its parent's */
            {"/devices/pci0000:00/0000:00:02.0/" UUID "/vfio-dev/vfio1", DEVICE_KIND_MDEV, UUID},
            {"/devices/pci0000:00/0000:00:02.0/" UUID "/vfio-dev/vfio1", DEVICE_KIND_PCI, NULL},
            {"/sys/devices/virtual/mtty/mtty/" UUID "/vfio-dev/vfio1", DEVICE_KIND_MDEV, UUID},
            {"/sys/devices/pci0000:00/0000:00:1f.0/QEMU0002:00/vfio-dev/vfio0", DEVICE_KIND_PLATFORM,
                    "QEMU0002:00"},
            {"/sys/devices/pci0000:00/0000:00:1f.0/QEMU0002:00/vfio-dev/vfio0", DEVICE_KIND_PCI, NULL},
            {"/sys/a/vfio-dev/0000:06:0d.0/vfio-dev/vfio0", DEVICE_KIND_PCI, "0000:06:0d.0"},
            {"/sys/0000:06:0d.0/vfio-dev/a/vfio-dev/vfio0", DEVICE_KIND_PCI, NULL},
            {"/sys/devices/0000:06:0d.0", DEVICE_KIND_PCI, NULL},
            {"/sys/devices/0000:06:0D.0/vfio-dev/vfio0", DEVICE_KIND_PCI, NULL},
            {"/sys/devices/0000:06:0d.0x/vfio-dev", DEVICE_KIND_PCI, NULL},
            {"/sys/devices/83B8F4F2-509F-382F-3C1E-E6BFE0FA1001/vfio-dev", DEVICE_KIND_MDEV, NULL},
            {"/sys/0000:06:0d.00000000000000000000/vfio-dev", DEVICE_KIND_PCI, NULL},
            {"/sys/0000:06:0d.00000000000000000000000000000000000000000000000000/vfio-dev", DEVICE_KIND_PCI,
                    NULL},
            {"vfio-dev", DEVICE_KIND_PCI, NULL},
            {"/vfio-dev/vfio0", DEVICE_KIND_PLATFORM, NULL},
            {"", DEVICE_KIND_PCI, NULL},
            {"///", DEVICE_KIND_PCI, NULL},
    };
    char buf[DEVICE_NAME_MAX];

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        DeviceName name;
        int r = device_name_parse_above(table[i].path, "vfio-dev", table[i].kind, &name);

        assert_int_equal(r, table[i].name ? 0 : -EINVAL);
        if (table[i].name)
            assert_string_equal(device_name_format_kernel(&name, buf), table[i].name);
    }
}

static void test_order(void **state) {
    static const char *const sorted[] = {
            "0000:00:00.0",
            "0000:00:00.1",
            "0000:00:1f.7",
            "0000:01:00.0",
            "0000:ff:1f.7",
            "0001:00:00.0",
            "ffff:00:00.0",
            "10000:00:00.0",
            "80000000:00:00.0",
            "mdev:00000000-0000-0000-0000-000000000001",
            "mdev:80000000-0000-0000-0000-000000000000",
            "platform:a",
            "platform:ab",
            "platform:b",
            "vdpa:a",
            "cdx:a",
    };

    for (size_t i = 0; i < ELEMENTSOF(sorted); i++)
        for (size_t j = 0; j < ELEMENTSOF(sorted); j++) {
            DeviceName a, b;
            int r;

            assert_int_equal(device_name_parse(sorted[i], &a), 0);
            assert_int_equal(device_name_parse(sorted[j], &b), 0);
            r = device_name_compare(&a, &b);
            assert_true(i != j || device_name_hash(&a) == device_name_hash(&b));
            assert_true(i < j ? r < 0 : i > j ? r > 0 : r == 0);
        }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_accepted_spellings),
            cmocka_unit_test(test_refused_spellings),
            cmocka_unit_test(test_kernel_spelling),
            cmocka_unit_test(test_round_trip),
            cmocka_unit_test(test_order),
            cmocka_unit_test(test_above),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
