/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/device-kind.h"
#include "core/request.h"

static void test_rows(void **state) {
    char buf[DEVICE_NAME_MAX];
    DeviceName name;

    for (DeviceKind k = 0; k < _DEVICE_KIND_MAX; k++) {
        const DeviceKindInfo *info = device_kind_info(k);

        assert_int_equal(device_kind_from_string(info->name), k);
        if (k == DEVICE_KIND_TEMPLATE) /* the device that is made from it is on another bus */
            assert_null(info->directory);
        else
            assert_string_equal(strrchr(info->directory, '/') + 1, info->name);
        assert_true(info->parse && info->parse_kernel && info->format && info->compare);
        assert_int_equal(info->parse_kernel(k, info->example, &name), 0);
        assert_int_equal(name.kind, k);
        info->format(&name, buf);
        assert_string_equal(buf, info->example);
    }
    assert_true(
            device_kind_info(DEVICE_KIND_PCI)->claimable && device_kind_info(DEVICE_KIND_VDPA)->claimable);
    assert_string_equal(device_node_path(DEVICE_KIND_PCI, 3, buf), "/dev/vfio/devices/vfio3");
    assert_string_equal(device_node_path(DEVICE_KIND_VDPA, 12, buf), "/dev/vhost-vdpa-12");
}

static void test_kind_in_front(void **state) {
    const char *rest = NULL;

    assert_int_equal(device_kind_of("pci:0000:06:0d.0", &rest), DEVICE_KIND_PCI);
    assert_string_equal(rest, "0000:06:0d.0");
    assert_int_equal(device_kind_of("vdpa:vdpa0", &rest), DEVICE_KIND_VDPA);
    assert_string_equal(rest, "vdpa0");
    assert_int_equal(device_kind_of("usb:1-1", &rest), _DEVICE_KIND_INVALID);
    assert_int_equal(device_kind_of("pci", &rest), _DEVICE_KIND_INVALID);
    assert_int_equal(device_kind_of("", &rest), _DEVICE_KIND_INVALID);
}

/* Not every kind can be handed out, but each can be requested. */
static void test_other_kinds(void **state) {
    static const char *const names[] = {"mdev:83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", "vdpa:vdpa0",
            "platform:fff51000.ethernet", "ap:00.0001", "ccw:0.0.1234", "fsl-mc:dpni.3", "cdx:cdx-00:00",
            "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"};

    for (size_t i = 0; i < ELEMENTSOF(names); i++) {
        _cleanup_(refusal_done) Refusal refusal = REFUSAL_NULL;
        Request r = REQUEST_NULL;
        DeviceName name;

        assert_int_equal(device_name_parse(names[i], &name), 0);
        assert_int_equal(request_add_device(&r, names[i], &refusal), 0);
        assert_int_equal(r.n_devices, 1);
    }
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_rows),
            cmocka_unit_test(test_kind_in_front),
            cmocka_unit_test(test_other_kinds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
