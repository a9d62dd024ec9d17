/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/str.h"
#include "core/variant.h"
#include "host/variant-reader.h"

static void test_table(void **state) {
    assert_string_equal(variant_of_ids(0x15b3, 0x101e, true)->module, "mlx5_vfio_pci");
    assert_null(variant_of_ids(0x15b3, 0x101e, false));
    assert_null(variant_of_ids(0x15b3, 0x101d, true));
    assert_string_equal(variant_of_ids(0x10de, 0x2345, false)->driver, "nvgrace_gpu_vfio_pci");
    assert_string_equal(variant_of_ids(0x8086, 0xe20b, true)->driver, "xe-vfio-pci");
    assert_string_equal(variant_of_module("xe_vfio_pci")->driver, "xe-vfio-pci");
    assert_null(variant_of_module("vfio_pci"));
    assert_null(variant_of_module(""));
}

static void test_alias(void **state) {
    char alias[24];

    assert_int_equal(variant_alias("pci:v000015B3d0000101Esv", alias, sizeof(alias)), -E2BIG);
    assert_int_equal(variant_alias("pci:v000015B3", alias, sizeof(alias)), 0);
    assert_string_equal(alias, "vfio_pci:v000015B3");
    assert_int_equal(variant_alias("usb:v1D6B", alias, sizeof(alias)), -EINVAL);
    assert_int_equal(variant_alias("", alias, sizeof(alias)), -EINVAL);
    assert_int_equal(variant_alias_width("vfio_pci:v*d*sv*sd*bc*sc*i*"), 7);
    assert_int_equal(variant_alias_width("vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i*"), 5);
}

static void test_names(void **state) {
    static const char *const good[] = {"vfio-pci", "mlx5_vfio_pci", "_x", "9"},
                             *const bad[] = {"", "-x", ".", "a/b", "a.b", "a b", "x\n",
                                     "0123456789012345678901234567890123456789012345678901234567890123"};
    char module[VARIANT_NAME_MAX];

    for (size_t i = 0; i < ELEMENTSOF(good); i++)
        assert_true(driver_name_is_valid(good[i]));
    for (size_t i = 0; i < ELEMENTSOF(bad); i++)
        assert_false(driver_name_is_valid(bad[i]));
    variant_module_name("igb-vfio-pci", module);
    assert_string_equal(module, "igb_vfio_pci");
}

/* Without the kernel's modules nothing is known. */
static void test_no_modules(void **state) {
    DeviceFacts f = DEVICE_FACTS_NULL;

    assert_int_equal(variant_find("/nonexistent", "vfio_pci:v000015B3d0000101Esv0sd0bc02sc00i00", &f), 0);
    assert_string_equal(f.variant, "");
    assert_false(variant_is_loaded("no such driver"));
    assert_int_equal(variant_read_driver("no_such_module", f.variant), -ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_table),
            cmocka_unit_test(test_alias),
            cmocka_unit_test(test_names),
            cmocka_unit_test(test_no_modules),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
