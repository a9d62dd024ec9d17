/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "policy/device-pattern.h"

static bool matches(const char *pattern, const char *name) {
    char kernel_name[DEVICE_NAME_MAX], problem[DEVICE_PATTERN_PROBLEM_MAX] = "";
    DevicePattern p;
    DeviceName n;

    if (device_pattern_parse(pattern, &p, problem, sizeof(problem)) < 0)
        fail_msg("\"%s\" %s", pattern, problem);
    assert_int_equal(device_name_parse(name, &n), 0);
    return device_pattern_match(&p, &n, device_name_format_kernel(&n, kernel_name));
}

static void test_match(void **state) {
    static const struct {
        const char *pattern, *name;
        bool expected;
    } cases[] = {
            /* one device, in any spelling */
            {"pci:0000:06:0d.0", "06:0d.0", true},
            {"0000:06:0d.0", "06:0d.0", true},
            {"06:0D.0", "06:0d.0", true},
            {"pci_0000_06_0d_0", "06:0d.0", true},
            {"/sys/bus/pci/devices/0000:06:0d.0", "06:0d.0", true},
            {"06:0d.0", "06:0d.1", false},
            {"06:0d.0", "0001:06:0d.0", false},
            {"10000:06:0d.0", "10000:06:0d.0", true},
            /* globs, with and without the bus */
            {"*", "06:0d.0", true},
            {"pci:*", "06:0d.0", true},
            {"0000:06:*", "06:0d.0", true},
            {"pci:0000:06:*", "06:0d.0", true},
            {"0000:06:*", "07:0d.0", false},
            {"0000:06:*", "10000:06:0d.0", false},
            {"*:06:*", "10000:06:0d.0", true},
            {"*.0", "06:0d.0", true},
            {"*.0", "06:0d.1", false},
            {"0000:0[5-7]:0D.?", "06:0d.0", true},
            {"0000:0[5-7]:0D.?", "08:0d.0", false},
            {"0000:06:0d.[!0]", "06:0d.0", false},
            {"0000:06:0d.[!0]", "06:0d.1", true},
            {"0000:0A:*", "0a:00.0", true},
            {"0000:[A-F]?:*", "af:00.0", true},
            {"?????:01:00.0", "10000:01:00.0", true},
            {"*06*", "06:0d.0", true},
            {"*06*", "0006:01:00.0", true},
            /* other kinds: they need their prefix, so that no PCI glob matches them */
            {"*", "vdpa:vdpa0", false},
            {"*", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", false},
            {"*:*", "platform:0000:06:0d.0", false},
            {"pci:*", "platform:0000:06:0d.0", false},
            {"vdpa:*", "vdpa:vdpa0", true},
            {"vdpa:*", "platform:vdpa0", false},
            {"vdpa:*", "06:0d.0", false},
            {"vdpa:vdpa[0-3]", "vdpa:vdpa3", true},
            {"vdpa:vdpa[0-3]", "vdpa:vdpa30", false},
            {"vdpa:vdpa0", "vdpa:vdpa0", true},
            {"vdpa:vdpa0", "platform:vdpa0", false},
            {"platform:QEMU*", "platform:QEMU0002:00", true},
            {"platform:qemu*", "platform:QEMU0002:00", false},
            {"mdev:*", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", true},
            {"mdev:83B8*", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", true},
            {"mdev:83b9*", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", false},
            {"83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", true},
            {"fsl-mc:dpni.?", "fsl-mc:dpni.3", true},
            {"ap:00.*", "ap:00.0001", true},
            {"ccw:0.0.12??", "ccw:0.0.1234", true},
            {"cdx:cdx-00:*", "cdx:cdx-00:00", true},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        if (matches(cases[i].pattern, cases[i].name) != cases[i].expected)
            fail_msg("\"%s\" against %s", cases[i].pattern, cases[i].name);
}

static void test_refused(void **state) {
    static const struct {
        const char *pattern, *problem;
    } cases[] = {
            {"", "is neither the name of a device, like pci:0000:06:0d.0, nor a glob over names"},
            {"06:0d",
                    "is neither the name of a device, like pci:0000:06:0d.0, nor a glob over names, did you "
                    "mean \"0000:06:0d.*\"?"},
            {"6:d.0",
                    "is neither the name of a device, like pci:0000:06:0d.0, nor a glob over names, did you "
                    "mean \"0000:06:0d.0\"?"},
            {"06:20.0", "is neither the name of a device, like pci:0000:06:0d.0, nor a glob over names"},
            {"06:*", "can never match a name like 0000:06:0d.0, did you mean \"0000:06:*\"?"},
            {"pci:06:0d.?", "can never match a name like 0000:06:0d.0, did you mean \"0000:06:0d.?\"?"},
            {"06:0D.*", "can never match a name like 0000:06:0d.0, did you mean \"0000:06:0D.*\"?"},
            {"pci_0000_06_*", "can never match a name like 0000:06:0d.0, did you mean \"0000:06:*\"?"},
            {"PCI:0000:06:*", "can never match a name like 0000:06:0d.0, did you mean \"0000:06:*\"?"},
            /* the domain of nvidia-smi; the kernel writes no leading zero before four digits */
            {"00000000:3B:00.*", "can never match a name like 0000:06:0d.0, did you mean \"0000:3B:00.*\"?"},
            {"pci:00000000:3b:*", "can never match a name like 0000:06:0d.0, did you mean \"0000:3b:*\"?"},
            {"0000000?:3b:00.0", "can never match a name like 0000:06:0d.0, did you mean \"000?:3b:00.0\"?"},
            {"00001:*", "can never match a name like 0000:06:0d.0, did you mean \"0001:*\"?"},
            {"0001000[01]:*", "can never match a name like 0000:06:0d.0, did you mean \"1000[01]:*\"?"},
            /* missing zeros */
            {"1:00.*", "can never match a name like 0000:06:0d.0, did you mean \"0000:01:00.*\"?"},
            {"01:0.*", "can never match a name like 0000:06:0d.0, did you mean \"0000:01:00.*\"?"},
            {"0:1:0.*", "can never match a name like 0000:06:0d.0, did you mean \"0000:01:00.*\"?"},
            {"*:3b:0.0", "can never match a name like 0000:06:0d.0, did you mean \"*:3b:00.0\"?"},
            /* other separators */
            {"0000:01:00:*", "can never match a name like 0000:06:0d.0, did you mean \"0000:01:00.*\"?"},
            {"0000.01.00.*", "can never match a name like 0000:06:0d.0, did you mean \"0000:01:00.*\"?"},
            {"0000:06:0d.00*", "can never match a name like 0000:06:0d.0, did you mean \"0000:06:0d.0*\"?"},
            {"usb:*", "can never match a name like 0000:06:0d.0"},
            {"0000:06:0d.[89]", "can never match a name like 0000:06:0d.0"},
            {"0000:06:[2-9]?.*", "can never match a name like 0000:06:0d.0"},
            {"0000:06:0g.*", "can never match a name like 0000:06:0d.0"},
            {"000000000:*", "can never match a name like 0000:06:0d.0, did you mean \"0000:*\"?"},
            {"0000:06:0d.0?", "can never match a name like 0000:06:0d.0, did you mean \"0000:06:0d.?\"?"},
            {" *", "can never match a name like 0000:06:0d.0"},
            {"0000:06:0d.[0", "has a '[' without ']'"},
            {"0000:06:0d.[!]", "has a '[' without ']'"},
            {"*[]", "has a '[' without ']'"},
            {"83b8f4f2-*", "can never match a name like 0000:06:0d.0"},
            {"mdev:83b8f4f2_*", "can never match a name like 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"},
            {"mdev:*-e6bfe0fa1001?", "can never match a name like 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"},
            {"mdev:0000:06:*", "can never match a name like 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"},
            {"mdev:mtty",
                    "is neither the name of a device, like pci:0000:06:0d.0, nor a glob over names: a "
                    "mediated device is named by its UUID, "
                    "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"},
            {"vdpa:/*", "can never match a name like vdpa0"},
            {"vdpa:-*", "can never match a name like vdpa0"},
            {"vdpa:???????????????????????????????????????", "can never match a name like vdpa0"},
            {"platform:a b*", "can never match a name like fff51000.ethernet"},
            {"****************************************************************", "is longer than 63 bytes"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        char problem[DEVICE_PATTERN_PROBLEM_MAX] = "";
        DevicePattern p;

        assert_int_equal(device_pattern_parse(cases[i].pattern, &p, problem, sizeof(problem)), -EINVAL);
        if (!streq(problem, cases[i].problem))
            fail_msg("\"%s\" %s", cases[i].pattern, problem);
    }
}

static uint32_t next_random(uint64_t *seed) {
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t) (*seed >> 33);
}

/* Makes any address, seldom one with a large domain. */
static DeviceName random_name(uint64_t *seed) {
    return (DeviceName){
            .domain = next_random(seed) % 4 ? next_random(seed) & 0xf : next_random(seed),
            .pci_bus = (uint8_t) next_random(seed),
            .slot = next_random(seed) & 0x1f,
            .function = next_random(seed) & 7,
    };
}

/* Makes a glob from an address by replacing parts of it with wildcards. */
static void weaken(const char *name, char *glob, uint64_t *seed) {
    for (; *name; name++) {
        switch (next_random(seed) % 6) {
        case 0:
            *glob++ = '?';
            break;
        case 1:
            *glob++ = '*';
            while (name[1] && next_random(seed) % 2)
                name++;
            break;
        case 2:
            glob += sprintf(glob, "[%c-%c]", *name, *name);
            break;
        default:
            *glob++ = *name;
            break;
        }
    }
    *glob = '\0';
}

/* A pattern that is refused as "can never match" must not match anything. A pattern that was made from a name
 * must match it. */
static void test_can_match(void **state) {
    uint64_t seed = 0x5eed0001;
    unsigned n_refused = 0;

    print_message("# seed 0x%" PRIx64 "\n", seed);
    for (unsigned i = 0; i < 20000; i++) {
        static const char letters[] = "0019af:..**??[]-!";
        char glob[80] = {}, kernel_name[DEVICE_NAME_MAX], problem[DEVICE_PATTERN_PROBLEM_MAX];
        DeviceName name = random_name(&seed);
        DevicePattern p;

        device_name_format_kernel(&name, kernel_name);
        weaken(kernel_name, glob, &seed);
        if (strpbrk(glob, "*?[") && strlen(glob) <= DEVICE_PATTERN_MAX)
            assert_true(matches(glob, kernel_name));

        /* now damage it */
        for (unsigned k = next_random(&seed) % 4 + 1; k > 0; k--)
            glob[next_random(&seed) % strlen(glob)] = letters[next_random(&seed) % (sizeof(letters) - 1)];
        if (!strpbrk(glob, "*?[") || device_pattern_parse(glob, &p, problem, sizeof(problem)) >= 0)
            continue;
        n_refused++;
        if (startswith(problem, "can never"))
            for (unsigned k = 0; k < 50; k++) {
                assert_false(glob_match(glob, kernel_name));
                name = random_name(&seed);
                device_name_format_kernel(&name, kernel_name);
            }
    }
    assert_true(n_refused > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_match),
            cmocka_unit_test(test_refused),
            cmocka_unit_test(test_can_match),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
