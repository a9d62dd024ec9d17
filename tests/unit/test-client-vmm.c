/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/str.h"
#include "base/json-build.h"
#include "client/handover.h"
#include "client/vmm.h"

static const TemplateDevice devices[] = {
        {.name = "pci:0000:06:0d.0", .spelling = "06:0d.0", .group = 8},
        {.name = "pci:10000:00:04.1", .spelling = "pci:10000:00:04.1", .group = 12},
};

static char *join(char *const *list) {
    _cleanup_strbuf_ StrBuf b = {};

    for (char *const *p = list; *p; p++)
        strbuf_addf(&b, "%s%s", p == list ? "" : " ", *p);
    return strbuf_steal(&b);
}

static void becomes(Vmm vmm, bool fds, char *const *arguments, size_t n, const char *expected) {
    _cleanup_(free_arguments) char **list = NULL;
    _cleanup_free_ char *text = NULL;

    assert_int_equal(vmm_add_arguments(vmm, fds, arguments, devices, n, &list, NULL), 0);
    text = join(list);
    assert_string_equal(text, expected);
}

static void test_qemu_arguments(void **state) {
    becomes(VMM_QEMU, true, (char *[]){"qemu", "-m", "1G", NULL}, 1,
            "qemu -m 1G -object iommufd,id=vfiod,fd={iommufd} "
            "-device vfio-pci,id=pci-0000-06-0d.0,iommufd=vfiod,fd={device:0}");
    becomes(VMM_QEMU, true, (char *[]){"qemu", NULL}, 2,
            "qemu -object iommufd,id=vfiod,fd={iommufd} "
            "-device vfio-pci,id=pci-0000-06-0d.0,iommufd=vfiod,fd={device:0} "
            "-device vfio-pci,id=pci-10000-00-04.1,iommufd=vfiod,fd={device:1}");
    becomes(VMM_QEMU, false, (char *[]){"qemu", NULL}, 2,
            "qemu -device vfio-pci,id=pci-0000-06-0d.0,host=0000:06:0d.0 "
            "-device vfio-pci,id=pci-10000-00-04.1,host=10000:00:04.1");
}

#define TOKEN "83b8f4f2-509f-4382-8c1e-e6bfe0fa1001"

static void test_qemu_tokens(void **state) {
    const TemplateDevice with[] = {
            {.name = "pci:0000:06:10.0", .vf_token = TOKEN}, {.name = "pci:0000:07:00.0"}};
    const struct {
        Vmm vmm;
        const char *says;
        bool fits;
    } cases[] = {
            {VMM_QEMU, "QEMU emulator version 8.1.0", true},
            {VMM_QEMU, "QEMU emulator version 11.0.0", true},
            {VMM_QEMU, "QEMU emulator version 8.0.5", false},
            {VMM_QEMU, "QEMU emulator version 7.2.22", false},
            {VMM_CLOUD_HYPERVISOR, "--platform iommufd_fd=<fd>", false},
    };

    for (size_t fds = 0; fds < 2; fds++) {
        _cleanup_(free_arguments) char **list = NULL;
        _cleanup_free_ char *text = NULL;

        assert_int_equal(vmm_add_arguments(VMM_QEMU, fds, (char *[]){"qemu", NULL}, with, 2, &list, NULL), 0);
        text = join(list);
        assert_non_null(strstr(text,
                fds ? "fd={device:0},vf-token=" TOKEN " -device"
                    : "host=0000:06:10.0,vf-token=" TOKEN " -device"));
        assert_string_equal(strrchr(text, ','), fds ? ",fd={device:1}" : ",host=0000:07:00.0");
    }
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        VfiodErrorText error = {};
        VmmAbilities a;

        assert_int_equal(vmm_parse_abilities(cases[i].vmm, cases[i].says, &a), 0);
        assert_int_equal(vmm_check_tokens(cases[i].vmm, &a, with + 1, 1, &error), 0);
        assert_int_equal(
                vmm_check_tokens(cases[i].vmm, &a, with, 2, &error), cases[i].fits ? 0 : -EOPNOTSUPP);
        assert_true(cases[i].fits || strstr(error.message, a.name));
    }
}

static void test_cloud_hypervisor_arguments(void **state) {
    const char *devices_part =
            "--device id=pci-0000-06-0d.0,fd={device:0} id=pci-10000-00-04.1,fd={device:1}";
    _cleanup_free_ char *added = format_string(
                                "ch --platform iommufd=on,iommufd_fd={iommufd} %s", devices_part),
                        *joined = format_string(
                                "ch --platform num_pci_segments=2,iommufd=on,iommufd_fd={iommufd} "
                                "--kernel x %s",
                                devices_part),
                        *equal = format_string(
                                "ch --platform=iommufd=on,iommufd_fd={iommufd} %s", devices_part),
                        *last = format_string(
                                "ch --platform --platform iommufd=on,iommufd_fd={iommufd} %s", devices_part);

    becomes(VMM_CLOUD_HYPERVISOR, true, (char *[]){"ch", NULL}, 2, added);
    becomes(VMM_CLOUD_HYPERVISOR, true,
            (char *[]){"ch", "--platform", "num_pci_segments=2", "--kernel", "x", NULL}, 2, joined);
    becomes(VMM_CLOUD_HYPERVISOR, true, (char *[]){"ch", "--platform=iommufd=on", NULL}, 2, equal);
    /* A missing value is left to the program, which reports it. */
    becomes(VMM_CLOUD_HYPERVISOR, true, (char *[]){"ch", "--platform", NULL}, 2, last);
}

static void test_other_devices(void **state) {
    const TemplateDevice other = {
            .name = "mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", .spelling = "x", .group = 1};
    char **list = NULL;
    VfiodErrorText error;

    assert_int_equal(
            vmm_add_arguments(VMM_QEMU, true, (char *[]){"qemu", NULL}, &other, 1, &list, &error), -EINVAL);
    assert_null(list);
    assert_non_null(strstr(error.message, other.name));
}

static void test_abilities(void **state) {
    static const struct {
        Vmm vmm;
        const char *text, *name;
        bool takes_fds;
    } known[] = {
            {VMM_QEMU,
                    "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) "
                    "2003-2022\n",
                    "QEMU 7.2", false},
            {VMM_QEMU, "QEMU emulator version 8.2.9", "QEMU 8.2", false},
            {VMM_QEMU, "QEMU emulator version 9.0.0", "QEMU 9.0", true},
            {VMM_QEMU, "QEMU emulator version 10.1.50 (v10.1.0-1-g0)", "QEMU 10.1", true},
            {VMM_CLOUD_HYPERVISOR, "Usage…\n--platform <platform> iommufd=on|off,iommufd_fd=<fd>,…\n",
                    "this cloud-hypervisor", true},
            {VMM_CLOUD_HYPERVISOR, "--platform <platform> num_pci_segments=<n>", "this cloud-hypervisor",
                    false},
    };
    VmmAbilities a;

    for (size_t i = 0; i < ELEMENTSOF(known); i++) {
        assert_int_equal(vmm_parse_abilities(known[i].vmm, known[i].text, &a), 0);
        assert_string_equal(a.name, known[i].name);
        assert_int_equal(a.takes_fds, known[i].takes_fds);
    }
    for (const char *const *text = (const char *const[]){"", "QEMU", "QEMU emulator version",
                 "QEMU version x.1", "emulator version 9.0", "QEMU emulator version 9", NULL};
            *text; text++)
        assert_int_equal(vmm_parse_abilities(VMM_QEMU, *text, &a), -EBADMSG);
    assert_int_equal(vmm_parse_abilities(VMM_CLOUD_HYPERVISOR, "QEMU emulator version 9.0", &a), -EBADMSG);
}

static void test_grants(void **state) {
    const VmmAbilities old_qemu = {.name = "QEMU 7.2", .opens_groups = true},
                       qemu = {.name = "QEMU 9.0", .takes_fds = true, .opens_groups = true},
                       ch = {.name = "this cloud-hypervisor", .takes_fds = true},
                       old_ch = {.name = "this one"};
    const struct {
        Vmm vmm;
        const VmmAbilities *a;
        const char *backend, *grant; /* NULL: refused */
        const char *word;
    } cases[] = {
            {VMM_QEMU, &qemu, "iommufd", "fd", NULL},
            {VMM_QEMU, &qemu, "group", "node", NULL},
            {VMM_QEMU, &old_qemu, "iommufd", NULL, "QEMU 7.2"},
            {VMM_QEMU, &old_qemu, "group", "node", NULL},
            {VMM_QEMU, &qemu, "noiommu", NULL, "noiommu"},
            {VMM_QEMU, &qemu, "compat", NULL, "cannot use the backend compat"},
            {VMM_CLOUD_HYPERVISOR, &ch, "compat", NULL, "cannot use the backend compat"},
            {VMM_CLOUD_HYPERVISOR, &ch, "iommufd", "fd", NULL},
            {VMM_CLOUD_HYPERVISOR, &ch, "group", NULL, "iommufd only"},
            {VMM_CLOUD_HYPERVISOR, &old_ch, "iommufd", NULL, "iommufd_fd"},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        VfiodErrorText error;
        const char *grant = NULL;
        int r = vmm_grant(cases[i].vmm, cases[i].a, cases[i].backend, &grant, &error);

        assert_int_equal(r, cases[i].grant ? 0 : -EOPNOTSUPP);
        assert_true(streq_ptr(grant, cases[i].grant));
        if (r < 0)
            assert_non_null(strstr(error.message, cases[i].word));
    }
}

static void handed_over(const char *json, const char *grant, const char *expected) {
    _cleanup_json_ struct json_object *plan = json_tokener_parse(json);
    _cleanup_(free_arguments) char **environment = NULL;
    _cleanup_handover_ Handover h = {};
    _cleanup_free_ char *text = NULL;

    assert_non_null(plan);
    assert_int_equal(handover_from_plan(plan, grant, devices, ELEMENTSOF(devices), &h), 0);
    assert_int_equal(handover_environment(&h, 0, &environment), 0);
    text = join(environment);
    assert_string_equal(text, expected);
}

static void test_handover_of_a_plan(void **state) {
    handed_over("{\"backend\": \"iommufd\", \"groups\": [8, 12]}", NULL,
            "LISTEN_FDS=4 LISTEN_FDNAMES=iommufd:device_pci_0000_06_0d.0:device_pci_10000_00_04.1:lifeline "
            "VFIOD_BACKEND=iommufd VFIOD_DEVICES=pci:0000:06:0d.0,pci:10000:00:04.1");
    handed_over("{\"backend\": \"group\", \"groups\": [8, 12]}", "fd",
            "LISTEN_FDS=4 LISTEN_FDNAMES=container:group_8:group_12:lifeline "
            "VFIOD_BACKEND=group VFIOD_DEVICES=pci:0000:06:0d.0,pci:10000:00:04.1");
    handed_over("{\"backend\": \"compat\", \"groups\": [8, 12]}", NULL,
            "LISTEN_FDS=4 LISTEN_FDNAMES=container:device_pci_0000_06_0d.0:device_pci_10000_00_04.1:lifeline "
            "VFIOD_BACKEND=compat VFIOD_DEVICES=pci:0000:06:0d.0,pci:10000:00:04.1");
    handed_over("{\"backend\": \"noiommu\"}", NULL,
            "LISTEN_FDS=3 LISTEN_FDNAMES=device_pci_0000_06_0d.0:device_pci_10000_00_04.1:lifeline "
            "VFIOD_BACKEND=noiommu VFIOD_DEVICES=pci:0000:06:0d.0,pci:10000:00:04.1");
    handed_over("{\"backend\": \"group\", \"groups\": [8, 12]}", "node",
            "LISTEN_FDS=1 LISTEN_FDNAMES=lifeline VFIOD_BACKEND=group "
            "VFIOD_DEVICES=pci:0000:06:0d.0,pci:10000:00:04.1");
    handed_over("{}", NULL,
            "LISTEN_FDS=3 LISTEN_FDNAMES=device_pci_0000_06_0d.0:device_pci_10000_00_04.1:lifeline "
            "VFIOD_BACKEND= VFIOD_DEVICES=pci:0000:06:0d.0,pci:10000:00:04.1");
}

static void test_environment_of_a_claim(void **state) {
    Handover h = {.claim = (char *) "c",
            .backend = (char *) "group",
            .fds = (char *[]){(char *) "lifeline"},
            .n_fds = 1};
    _cleanup_(free_arguments) char **environment = NULL;
    _cleanup_free_ char *text = NULL;

    assert_int_equal(handover_environment(&h, 42, &environment), 0);
    text = join(environment);
    assert_string_equal(text,
            "LISTEN_FDS=1 LISTEN_FDNAMES=lifeline VFIOD_BACKEND=group VFIOD_DEVICES= LISTEN_PID=42 "
            "VFIOD_CLAIM=c");
    assert_int_equal(handover_number(&h, "lifeline"), 3);
    assert_int_equal(handover_number(&h, "iommufd"), -ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_qemu_arguments),
            cmocka_unit_test(test_qemu_tokens),
            cmocka_unit_test(test_cloud_hypervisor_arguments),
            cmocka_unit_test(test_other_devices),
            cmocka_unit_test(test_abilities),
            cmocka_unit_test(test_grants),
            cmocka_unit_test(test_handover_of_a_plan),
            cmocka_unit_test(test_environment_of_a_claim),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
