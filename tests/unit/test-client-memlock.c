/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/macro.h"
#include "client/vfiod.h"

#define GIB (UINT64_C(1) << 30)

static void test_sums(void **state) {
    const struct {
        uint64_t ram;
        unsigned n_devices;
        VfiodViommu viommu;
        uint64_t bytes;
        const char *derivation;
    } cases[] = {
            {64 * GIB, 1, VFIOD_VIOMMU_NONE, 65 * GIB, "1 x 64G (the device can"},
            {64 * GIB, 2, VFIOD_VIOMMU_NONE, 65 * GIB, "1 x 64G (all devices share"},
            {64 * GIB, 1, VFIOD_VIOMMU_EMULATED, 65 * GIB, "1 x 64G (the device can"},
            {64 * GIB, 2, VFIOD_VIOMMU_EMULATED, 129 * GIB, "2 x 64G (each of 2 devices has"},
            {64 * GIB, 2, VFIOD_VIOMMU_NESTED, 65 * GIB, "1 x 64G (all devices share"},
            {1, 14, VFIOD_VIOMMU_EMULATED, GIB + 14, "14 x 1 ("},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        VfiodMemlock m;

        assert_int_equal(vfiod_memlock_for(cases[i].ram, cases[i].n_devices, cases[i].viommu, &m), 0);
        assert_int_equal(m.bytes, cases[i].bytes);
        assert_int_equal(m.margin, GIB);
        assert_int_equal(m.bytes, m.address_spaces * cases[i].ram + m.margin);
        assert_ptr_equal(strstr(m.derivation, cases[i].derivation), m.derivation);
        assert_non_null(strstr(m.derivation, "+ 1G ("));
    }
}

static void test_nonsense(void **state) {
    VfiodMemlock m = {.bytes = 7};

    assert_int_equal(vfiod_memlock_for(0, 1, VFIOD_VIOMMU_NONE, &m), -EINVAL);
    assert_int_equal(vfiod_memlock_for(1, 0, VFIOD_VIOMMU_NONE, &m), -EINVAL);
    assert_int_equal(vfiod_memlock_for(1, 1, (VfiodViommu) 3, &m), -EINVAL);
    assert_int_equal(vfiod_memlock_for(UINT64_MAX, 1, VFIOD_VIOMMU_NONE, &m), -ERANGE);
    assert_int_equal(vfiod_memlock_for(UINT64_MAX / 2, 3, VFIOD_VIOMMU_EMULATED, &m), -ERANGE);
    assert_int_equal(vfiod_memlock_for(INT64_MAX, 1, VFIOD_VIOMMU_NONE, &m), -ERANGE);
    assert_int_equal(vfiod_memlock_for(INT64_MAX - GIB, 1, VFIOD_VIOMMU_NONE, &m), 0);
    assert_int_equal(m.bytes, INT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_sums),
            cmocka_unit_test(test_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
