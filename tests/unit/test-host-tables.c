/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/host-tables.h"

static void test_mounts(void **state) {
    static const char text[] =
            "27 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro\n"
            "30 27 0:26 /@home /home rw shared:2 master:7 propagate_from:3 - btrfs /dev/sda1 rw\n"
            "31 27 8:17 / /mnt/a\\040b\\134\\011c rw - ext4 /dev/disk\\0401 rw\n"
            "32 27 0:5 / /proc rw - proc proc rw";
    const char *cursor = text;
    MountEntry m;

    assert_int_equal(mountinfo_next(&cursor, &m), 1);
    assert_int_equal(m.major, 259);
    assert_int_equal(m.minor, 2);
    assert_string_equal(m.target, "/");
    assert_string_equal(m.type, "ext4");
    assert_string_equal(m.source, "/dev/nvme0n1p2");
    assert_int_equal(mountinfo_next(&cursor, &m), 1);
    assert_int_equal(m.major, 0);
    assert_string_equal(m.target, "/home");
    assert_string_equal(m.source, "/dev/sda1");
    assert_int_equal(mountinfo_next(&cursor, &m), 1);
    assert_string_equal(m.target, "/mnt/a b\\\tc");
    assert_string_equal(m.source, "/dev/disk 1");
    assert_int_equal(mountinfo_next(&cursor, &m), 1);
    assert_int_equal(mountinfo_next(&cursor, &m), 0);
    assert_int_equal(mountinfo_next(&cursor, &m), 0);
}

static void test_malformed_mounts(void **state) {
    static const char *const lines[] = {
            "\n",
            "27\n",
            "27 1 259:2 / / rw shared:1\n",
            "27 1 259:2 / / rw shared:1 - ext4\n",
            "27 1 259:2 / / rw -ext4 /dev/sda rw\n",
            "27 1 2592 / / rw - ext4 /dev/sda rw\n",
            "27 1 x:2 / / rw - ext4 /dev/sda rw\n",
            "27 1 259: / / rw - ext4 /dev/sda rw\n",
            "27 1 4096:0 / / rw - ext4 /dev/sda rw\n",
            "27 1 0:1048576 / / rw - ext4 /dev/sda rw\n",
            "27 1 -1:2 / / rw - ext4 /dev/sda rw\n",
            "27 1 259:2 / /a\\000b rw - ext4 /dev/sda rw\n",
    };
    char line[PATH_MAX + 100];
    const char *cursor = line;
    MountEntry m;

    for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
        cursor = lines[i];
        assert_int_equal(mountinfo_next(&cursor, &m), -EBADMSG);
        assert_int_equal(*cursor, '\0'); /* the parser must make progress */
    }

    /* a path that is longer than any */
    snprintf(line, sizeof(line), "27 1 259:2 / /%0*d rw - ext4 /dev/sda rw\n", PATH_MAX - 1, 0);
    cursor = line;
    assert_int_equal(mountinfo_next(&cursor, &m), -EBADMSG);
    snprintf(line, sizeof(line), "27 1 259:2 / /%0*d rw - ext4 /dev/sda rw\n", PATH_MAX - 2, 0);
    cursor = line;
    assert_int_equal(mountinfo_next(&cursor, &m), 1);
    assert_int_equal(strlen(m.target), PATH_MAX - 1);
}

static void test_swaps(void **state) {
    const char *cursor = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
                         "/dev/dm-1                               partition\t8388604\t\t0\t\t-2\n"
                         "/swap\\040file file 1 0 -3\n";
    char path[PATH_MAX];

    assert_int_equal(swaps_next(&cursor, path), 1);
    assert_string_equal(path, "/dev/dm-1");
    assert_int_equal(swaps_next(&cursor, path), 1);
    assert_string_equal(path, "/swap file");
    assert_int_equal(swaps_next(&cursor, path), 0);

    cursor = "Filename Type\n\n";
    assert_int_equal(swaps_next(&cursor, path), -EBADMSG);
    cursor = "Filename Type Size\n";
    assert_int_equal(swaps_next(&cursor, path), 0);
}

static void test_routes(void **state) {
    static const char text[] =
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
            "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
            "eth0\t0000000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
            "eth1\t0001000A\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n"
            "eth2\t00000000\t00000000\t0001\t0\t0\t100\t00000080\t0\t0\t0\n";

    assert_int_equal(route_table_has_default(text, "eth0"), 1);
    assert_int_equal(route_table_has_default(text, "eth1"), 0);
    assert_int_equal(route_table_has_default(text, "eth2"), 0); /* half of the internet only */
    assert_int_equal(route_table_has_default(text, "eth"), 0);
    assert_int_equal(route_table_has_default("", "eth0"), 0);
    assert_int_equal(route_table_has_default("eth0\t00000000\n", "eth0"), -EBADMSG);
    assert_int_equal(route_table_has_default("\n", "eth0"), -EBADMSG);
}

#define ZERO "00000000000000000000000000000000"

static void test_ipv6_routes(void **state) {
    static const char text[] =
            "20010db8000000000000000000000000 40 " ZERO " 00 " ZERO
            " 00000100 00000001 00000000 00000001     eth1\n" ZERO " 00 " ZERO
            " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0\n" ZERO
            " 01 " ZERO
            " 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth2\n" ZERO
            " 00 " ZERO " 00 " ZERO " ffffffff 00000001 00000000 00200200       lo\n";

    assert_int_equal(ipv6_route_table_has_default(text, "eth0"), 1);
    assert_int_equal(ipv6_route_table_has_default(text, "eth1"), 0);
    assert_int_equal(ipv6_route_table_has_default(text, "eth2"), 0);
    assert_int_equal(ipv6_route_table_has_default("", "eth0"), 0);
    assert_int_equal(ipv6_route_table_has_default(ZERO " 00 " ZERO "\n", "eth0"), -EBADMSG);
}

static void test_nvme_paths(void **state) {
    static const char *const others[] = {"nvme0n1", "nvme0c0n1p1", "nvmec0n1", "nvme0cn1", "nvme0c0n", "sda",
            "nvme0c0n1 ", "", "xnvme0c0n1"};
    char head[32];

    assert_int_equal(nvme_path_to_head("nvme2c1n3", head, sizeof(head)), 0);
    assert_string_equal(head, "nvme2n3");
    assert_int_equal(nvme_path_to_head("nvme12c345n67", head, sizeof(head)), 0);
    assert_string_equal(head, "nvme12n67");
    for (size_t i = 0; i < ELEMENTSOF(others); i++)
        assert_int_equal(nvme_path_to_head(others[i], head, sizeof(head)), -EINVAL);
    assert_int_equal(nvme_path_to_head("nvme12c345n67", head, 9), -EINVAL);
}

static void test_device_numbers(void **state) {
    static const char *const bad[] = {"", ":", "1", "1:", ":1", "1:2:3", " 1:2", "1:2 ", "1 :2", "4096:0",
            "0:1048576", "+1:2", "11111111111111111:2"};
    unsigned major, minor;

    assert_int_equal(parse_device_number("259:3", &major, &minor), 0);
    assert_int_equal(major, 259);
    assert_int_equal(minor, 3);
    assert_int_equal(parse_device_number("4095:1048575", &major, &minor), 0);
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_int_equal(parse_device_number(bad[i], &major, &minor), -EINVAL);
}

#define STATUS_OF(uids, effective, ambient)                                                                  \
    "Name:\tqemu\\nUid:\t0\t0\t0\t0\nUmask:\t0022\nUid:\t" uids                                              \
    "\nGid:\t5\t5\t5\t5\nCapInh:\t0000000000000000\n"                                                        \
    "CapEff:\t" effective "\nCapBnd:\t000001ffffffffff\nCapAmb:\t" ambient "\n"
#define STATUS(uids, capabilities) STATUS_OF(uids, capabilities, capabilities)

static void test_status(void **state) {
    static const char rawio[] = STATUS("1000\t1000\t1000\t1000", "0000000000020000");
    static const char file[] = STATUS_OF("1000\t1000\t1000\t1000", "0000000000020001", "0000000000000003");
    static const char root[] = STATUS_OF("0\t0\t0\t0", "0000000000020000", "0000000000000000");
    static const char *const other_uids[] = {
            STATUS("0\t1000\t1000\t1000", "0000000000020000"),
            STATUS("1000\t0\t1000\t1000", "0000000000020000"),
            STATUS("1000\t1000\t0\t1000", "0000000000020000"),
            STATUS("1000\t1000\t1000\t0", "0000000000020000"),
    };
    static const char *const broken[] = {"", "Uid:\t1000\t1000\t1000\t1000\n", "\nUid:\t1000\n",
            STATUS("1000\t1000\t1000", "0000000000020000"), STATUS("1000\t1000\t1000\t", "0000000000020000"),
            STATUS("1000\t1000\t1000\t4294968296", "0000000000020000"),
            STATUS("1000\t1000\t1000\t-1000", "0000000000020000"), "\nUid:\t1000\t1000\t1000\t1000\n",
            STATUS("1000\t1000\t1000\t1000", "xyz"), STATUS("1000\t1000\t1000\t1000", ""),
            STATUS("1000\t1000\t1000\t1000", "00000000000200000"),
            STATUS_OF("1000\t1000\t1000\t1000", "0000000000020000", "")};
    uint64_t capabilities = 1, unsure = 1;
    ProcessStatus s;

    assert_int_equal(process_status_parse(rawio, &s), 0);
    assert_true(process_has_uid(&s, 1000));
    assert_false(process_has_uid(&s, 0));
    assert_int_equal(process_capabilities(&s, 1000, &capabilities, &unsure), 0);
    assert_int_equal(capabilities, 1 << 17);
    assert_int_equal(unsure, 0);
    assert_int_equal(process_capabilities(&s, 0, &capabilities, &unsure), -EPERM);

    /* a setuid program, in any of its stages */
    for (size_t i = 0; i < ELEMENTSOF(other_uids); i++) {
        assert_int_equal(process_status_parse(other_uids[i], &s), 0);
        assert_int_equal(process_capabilities(&s, 1000, &capabilities, &unsure), -EPERM);
        assert_true(process_has_uid(&s, 1000));
    }
    s.uids.real = s.uids.effective = 0;
    assert_false(process_has_uid(&s, 1000));

    for (size_t i = 0; i < ELEMENTSOF(broken); i++)
        assert_int_equal(process_status_parse(broken[i], &s), -EBADMSG);
    assert_int_equal(capabilities, 1 << 17);

    /* a program whose file has capabilities; root needs no ambient ones */
    assert_int_equal(process_status_parse(file, &s), 0);
    assert_true(process_needs_ambient(&s, 1000));
    assert_int_equal(process_capabilities(&s, 1000, &capabilities, &unsure), 0);
    assert_int_equal(capabilities, 1);
    assert_int_equal(unsure, 1 << 17);
    assert_int_equal(process_status_parse(root, &s), 0);
    assert_false(process_needs_ambient(&s, 0));
    assert_int_equal(process_capabilities(&s, 0, &capabilities, &unsure), 0);
    assert_int_equal(capabilities, 1 << 17);
    assert_int_equal(unsure, 0);

    /* if it has no capabilities, it does not matter which are ambient */
    assert_int_equal(process_status_parse(STATUS("1000\t1000\t1000\t1000", "0000000000000000"), &s), 0);
    assert_false(process_needs_ambient(&s, 1000));
    assert_int_equal(process_capabilities(&s, 1000, &capabilities, &unsure), 0);
    assert_int_equal(capabilities | unsure, 0);
}

static void test_start_ticks(void **state) {
    static const char rest[] = " S 1 2 3 4 -1 6 7 8 9 10 11 12 13 14 15 16 17 0 4711 23 24\n";
    static const char *const broken[] = {"", ")", "1 (a) S 1 2",
            "1 (a S 1 2 3 4 -1 6 7 8 9 10 11 12 13 14 15 16 17 0 4711 23\n",
            "1 (a) S 1 2 3 4 -1 6 7 8 9 10 11 12 13 14 15 16 17 0 x 23\n"};
    static const char *const names[] = {
            "sh", "a b", "x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 1 (", ")"};
    uint64_t ticks = 0;

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        char text[256];

        snprintf(text, sizeof(text), "77 (%s)%s", names[i], rest);
        assert_int_equal(stat_start_ticks(text, &ticks), 0);
        assert_int_equal(ticks, 4711);
    }
    for (size_t i = 0; i < ELEMENTSOF(broken); i++)
        assert_int_equal(stat_start_ticks(broken[i], &ticks), -EBADMSG);
}

static void test_status_command(void **state) {
    static const struct {
        const char *text, *command;
    } table[] = {{"Name:\tqemu\nUmask:\t0022\n", "qemu"}, {"Name:\ta b\n", "a b"}, {"Name:\t\nX", ""},
            {"Name:\ta\\nb\\\\n\n", "a\nb\\n"}, {"Name:\tx\\", "x\\"}, {"Umask:\nName:\tx\n", NULL},
            {"", NULL}};

    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        char *command = status_command(table[i].text);

        assert_true(streq_ptr(command, table[i].command));
        free(command);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_mounts),
            cmocka_unit_test(test_malformed_mounts),
            cmocka_unit_test(test_swaps),
            cmocka_unit_test(test_routes),
            cmocka_unit_test(test_ipv6_routes),
            cmocka_unit_test(test_nvme_paths),
            cmocka_unit_test(test_device_numbers),
            cmocka_unit_test(test_status),
            cmocka_unit_test(test_start_ticks),
            cmocka_unit_test(test_status_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
