/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/device-spelling.h"
#include "core/request.h"
#include "policy/device-pattern.h"

#define UUID_IS_NEEDED ": a mediated device is named by its UUID, mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
#define LIKE(kind, name)                                                                                     \
    ": devices of the kind " kind " are named as in /sys/bus/" kind "/devices, like " kind ":" name          \
    ", with at most 38 characters"
#define NODE(n) ": it is the node of IOMMU group " n ", \"vfioctl list\" shows its devices"
#define SLOT(name) ", did you mean \"" name "\", or all functions of that card, one by one?"
#define ONE(name) ", did you mean \"" name "\"?"
#define TWO(a, b) ", did you mean \"" a "\" and \"" b "\", one by one?"

static const struct {
    const char *text, *in_request, *in_pattern;
} cases[] = {
        /* QEMU, Proxmox, DPDK, Xen, SPDK: something before or after the address */
        {"host=01:00.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"vfio-pci,host=0000:01:00.0,id=gpu", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"0000:01:00.0,x-vga=1", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"01:00.0,pcie=1", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"0000:3b:00.0,txq_inline=64", ONE("pci:0000:3b:00.0"), ONE("0000:3b:00.0")},
        {"0000:01:00.0,permissive=1", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"traddr=0000:5e:00.0", ONE("pci:0000:5e:00.0"), ONE("0000:5e:00.0")},
        {"01:00.0@1f", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        /* udev, lshw, devlink, blanks, a path into the device */
        {"pci-0000:01:00.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"pci@0000:01:00.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"pci/0000:01:00.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {" 0000:01:00.0 ", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"/sys/bus/pci/devices/0000:01:00.0/driver", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"PCI_0000_01_00_0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        /* several at once */
        {"0000:01:00.0;0000:01:00.1", TWO("pci:0000:01:00.0", "pci:0000:01:00.1"),
                TWO("0000:01:00.0", "0000:01:00.1")},
        {"01:00.0,01:00.1", TWO("pci:0000:01:00.0", "pci:0000:01:00.1"), TWO("0000:01:00.0", "0000:01:00.1")},
        {"01:00.0 01:00.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        /* all functions of a card */
        {"01:00", SLOT("pci:0000:01:00.0"), ONE("0000:01:00.*")},
        {"0000:01:00", SLOT("pci:0000:01:00.0"), ONE("0000:01:00.*")},
        {"host=0000:01:00,pcie=1", SLOT("pci:0000:01:00.0"), ONE("0000:01:00.*")},
        {"pci_0000_01_00", SLOT("pci:0000:01:00.0"), ONE("0000:01:00.*")},
        /* decimal */
        {"PCI:1:0:0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"PCI:59:16:1", ONE("pci:0000:3b:10.1"), ONE("0000:3b:10.1")},
        {"PCI:1@2:0:0", ONE("pci:0002:01:00.0"), ONE("0002:01:00.0")},
        {"1/0/0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        /* missing zeros, other separators */
        {"1:0.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"0:1:0.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"0000:01:00:0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"0000.01.00.0", ONE("pci:0000:01:00.0"), ONE("0000:01:00.0")},
        {"/dev/vfio/20", NODE("20"), NODE("20")},
        {"/dev/vfio/noiommu-3", NODE("3"), NODE("3")},
        {"mdev:0000", UUID_IS_NEEDED, UUID_IS_NEEDED},
        {"mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa100g", UUID_IS_NEEDED, UUID_IS_NEEDED},
        {"vdpa:", LIKE("vdpa", "vdpa0"), LIKE("vdpa", "vdpa0")},
        {"fsl-mc:a/b", LIKE("fsl-mc", "dpni.3"), LIKE("fsl-mc", "dpni.3")},
        /* nothing similar */
        {"", "", ""},
        {"eth0", "", ""},
        {"0000:06:20.0", "", ""},
        {"06:00.8", "", ""},
        {"10de:2204", "", ""},
        {"/dev/vfio/vfio", "", ""},
        {"PCI:1:40:0", "", ""},
        {"00000000000:06:00.0", "", ""},
};

static void test_everywhere_the_same(void **state) {
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *request = device_spelling_explain(cases[i].text, false);
        _cleanup_free_ char *pattern = device_spelling_explain(cases[i].text, true);
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
        char problem[DEVICE_PATTERN_PROBLEM_MAX];
        Request r = REQUEST_NULL;
        DevicePattern p;

        if (!streq(request, cases[i].in_request) || !streq(pattern, cases[i].in_pattern))
            fail_msg("\"%s\"%s / %s", cases[i].text, request, pattern);

        assert_true(request_add_device(&r, cases[i].text, &refusal) < 0);
        assert_int_equal(refusal.code, VFIOD_ERROR_INVALID_NAME);
        assert_non_null(strstr(refusal.reason, cases[i].in_request));
        assert_true(device_pattern_parse(cases[i].text, &p, problem, sizeof(problem)) < 0);
        assert_non_null(strstr(problem, cases[i].in_pattern));
    }
}

/* A text that is similar enough to one name is accepted, as before. */
static void test_accepted(void **state) {
    static const char *const same[] = {"pci:0000:01:00.0", "01:00.0", "00000000:01:00.0", "pci_0000_01_00_0",
            "pci:01:00.0", "/sys/bus/pci/devices/0000:01:00.0/"};

    for (size_t i = 0; i < ELEMENTSOF(same); i++) {
        DeviceName name;

        assert_int_equal(device_name_parse(same[i], &name), 0);
        assert_int_equal(name.pci_bus, 1);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_everywhere_the_same),
            cmocka_unit_test(test_accepted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
