/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/acl.h"
#include "host/taint-reader.h"
#include "testbed.h"

static TaintList list;

static bool has(TaintKind kind, const char *what, bool weakens) {
    for (size_t i = 0; i < list.n; i++)
        if (list.entries[i].kind == kind && streq(list.entries[i].what, what))
            return list.entries[i].weakens == weakens;
    return false;
}

static bool is_granted(void *userdata, const char *path, uid_t uid) {
    return streq(path, "/dev/vfio/8") && uid == 1000;
}

static void look(void) {
    list = (TaintList){};
    taint_reader_read(&list, is_granted, NULL);
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

    /* a second look finds nothing new */
    taint_reader_read(&list, NULL, NULL);
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

static void set_mode(const char *node, mode_t mode) {
    char real[4096];

    snprintf(real, sizeof(real), "%s%s", getenv("UMOCKDEV_DIR"), node);
    assert_int_equal(chmod(real, mode), 0);
}

/* A user that may open a node needs no policy. */
static void test_open_nodes(void **state) {
    testbed_put("/proc/cmdline", "root=/dev/sda1\n");
    testbed_put("/proc/sys/kernel/tainted", "0\n");
    testbed_node("/dev/vfio/vfio", false, 10, 196);
    testbed_node("/dev/vfio/8", false, 241, 8);
    testbed_node("/dev/vfio/noiommu-9", false, 241, 9);
    testbed_node("/dev/vfio/devices/vfio0", false, 242, 0);
    set_mode("/dev/vfio/vfio", 0666);
    look();
    assert_int_equal(list.n, 0);
    set_mode("/dev/vfio/8", 0606);
    set_mode("/dev/vfio/noiommu-9", 0606);
    set_mode("/dev/vfio/devices/vfio0", 0604);
    look();
    assert_int_equal(list.n, 2); /* one for each kind of node */
    for (size_t i = 0; i < list.n; i++) {
        assert_int_equal(list.entries[i].kind, TAINT_OPEN_NODE);
        assert_true(list.entries[i].weakens);
        assert_non_null(strstr(list.entries[i].what, i == 0 ? "/dev/vfio/*: mode 0606" : "mode 0604"));
    }
    set_mode("/dev/vfio/devices/vfio0", 0600);
    set_mode("/dev/vfio/8", 0600);
    set_mode("/dev/vfio/noiommu-9", 0600);
    look();
    assert_int_equal(list.n, 0);
}

static void set_list(const char *node, const char *text) {
    uint8_t data[ACL_SIZE_MAX];
    char real[4096];
    Acl acl;

    snprintf(real, sizeof(real), "%s%s", getenv("UMOCKDEV_DIR"), node);
    assert_int_equal(acl_parse(text, &acl), 0);
    assert_int_equal(setxattr(real, "system.posix_acl_access", data, acl_encode(&acl, data), 0), 0);
}

static void test_access_lists(void **state) {
    static const struct {
        const char *list;
        bool open;
    } cases[] = {
            {"user::rw-,user:1000:rw-,group::---,mask::rw-,other::---", false}, /* by vfiod */
            {"user::rw-,user:1000:rw-,user:1001:rw-,group::---,mask::rw-,other::---", true},
            {"user::rw-,user:1001:rw-,group::---,mask::---,other::---", false},
            {"user::rw-,group::---,group:5:r--,mask::r--,other::---", true},
            {"user::rw-,user:0:rw-,group::rw-,mask::rw-,other::---", false},
            {"user::rw-,user:1000:rw-,group::---,mask::rw-,other::-w-", true},
    };

    if (geteuid() != 0)
        skip();
    testbed_put("/proc/cmdline", "root=/dev/sda1\n");
    testbed_put("/proc/sys/kernel/tainted", "0\n");
    testbed_node("/dev/vfio/8", false, 241, 8);
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        set_list("/dev/vfio/8", cases[i].list);
        look();
        if ((list.n == 1) != cases[i].open)
            fail_msg("%s", cases[i].list);
    }
}

/* The common rule of udev. */
static void test_node_of_a_group(void **state) {
    char real[4096];

    if (geteuid() != 0)
        skip();
    testbed_put("/proc/cmdline", "root=/dev/sda1\n");
    testbed_put("/proc/sys/kernel/tainted", "0\n");
    testbed_node("/dev/vfio/8", false, 241, 8);
    snprintf(real, sizeof(real), "%s/dev/vfio/8", getenv("UMOCKDEV_DIR"));
    set_mode("/dev/vfio/8", 0660);
    look();
    assert_int_equal(list.n, 0);
    assert_int_equal(chown(real, 0, 107), 0);
    look();
    assert_true(has(TAINT_OPEN_NODE, "/dev/vfio/*: mode 0660, owner 0, group 107", true));
    set_mode("/dev/vfio/8", 0600);
    assert_int_equal(chown(real, 64055, 0), 0);
    look();
    assert_true(has(TAINT_OPEN_NODE, "/dev/vfio/*: mode 0600, owner 64055, group 0", true));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, testbed_setup, testbed_teardown)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_clean_host),
            TEST(test_findings),
            TEST(test_unreadable),
            TEST(test_open_nodes),
            TEST(test_access_lists),
            TEST(test_node_of_a_group),
    };

    if (!testbed_works()) {
        puts("1..0 # SKIP run me under umockdev-wrapper");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
