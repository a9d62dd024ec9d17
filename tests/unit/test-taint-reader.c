/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "host/taint-reader.h"
#include "testbed.h"

static TaintList list;

static bool has(TaintKind kind, const char *what, bool weakens) {
    for (size_t i = 0; i < list.n; i++)
        if (list.entries[i].kind == kind && streq(list.entries[i].what, what))
            return list.entries[i].weakens == weakens;
    return false;
}

static void look(void) {
    list = (TaintList){};
    taint_reader_read(&list);
}

static void test_clean_host(void **state) {
    testbed_put("/proc/cmdline", "root=/dev/sda1 intel_iommu=on\n");
    testbed_put("/proc/sys/kernel/tainted", "0\n");
    testbed_put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
    testbed_put("/sys/module/iommufd/parameters/allow_unsafe_interrupts", "N\n");
    look();
    assert_int_equal(list.n, 0);
}

static void test_findings(void **state) {
    testbed_put("/proc/cmdline", "root=/dev/sda1 iommu=pt pcie_acs_override=downstream\n");
    testbed_put("/proc/sys/kernel/tainted", "4160\n");
    testbed_put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    testbed_put("/sys/module/iommufd/parameters/allow_unsafe_interrupts", "Y\n");
    testbed_put("/sys/module/vfio_iommu_type1/parameters/allow_unsafe_interrupts", "Y\n");
    look();
    assert_int_equal(list.n, 7);
    assert_true(has(TAINT_NOIOMMU_ENABLED, "vfio.enable_unsafe_noiommu_mode", true));
    assert_true(has(TAINT_UNSAFE_INTERRUPTS, "iommufd.allow_unsafe_interrupts", true));
    assert_true(has(TAINT_UNSAFE_INTERRUPTS, "vfio_iommu_type1.allow_unsafe_interrupts", true));
    assert_true(has(TAINT_COMMAND_LINE, "iommu=pt", false));
    assert_true(has(TAINT_COMMAND_LINE, "pcie_acs_override=downstream", true));
    assert_true(has(TAINT_KERNEL, "TAINT_USER", true));
    assert_true(has(TAINT_KERNEL, "TAINT_OOT_MODULE", false));

    /* looking twice finds nothing new */
    taint_reader_read(&list);
    assert_int_equal(list.n, 7);
}

static void test_unreadable(void **state) {
    testbed_mkdir("/proc/cmdline");
    testbed_put("/proc/sys/kernel/tainted", "many\n");
    testbed_mkdir("/sys/module/iommufd/parameters/allow_unsafe_interrupts");
    look();
    assert_int_equal(list.n, 3);
    assert_true(has(TAINT_COMMAND_LINE, "/proc/cmdline (unreadable)", true));
    assert_true(has(TAINT_KERNEL, "/proc/sys/kernel/tainted (unreadable)", true));
    assert_true(has(TAINT_UNSAFE_INTERRUPTS, "iommufd.allow_unsafe_interrupts (unreadable)", true));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, testbed_setup, testbed_teardown)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_clean_host),
            TEST(test_findings),
            TEST(test_unreadable),
    };

    if (!testbed_works()) {
        puts("1..0 # SKIP run me under umockdev-wrapper");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
