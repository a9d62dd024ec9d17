/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/macro.h"
#include "base/str.h"
#include "client/kernel-module.h"

static char directory[64];

static void put(const char *name, const char *text) {
    _cleanup_free_ char *path = format_string("%s/%s", directory, name);
    FILE *f = fopen(path, "we");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state) {
    _cleanup_free_ char *drivers = NULL, *loaded = NULL;

    snprintf(directory, sizeof(directory), "/tmp/vfiod-test-module.XXXXXX");
    assert_non_null(mkdtemp(directory));
    put("modules.builtin", "kernel/drivers/pci/pcie/pcieport.ko\nkernel/drivers/vfio/vfio.ko\n");
    put("modules.dep",
            "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/pci/vfio-pci-core.ko.xz\n"
            "kernel/drivers/vfio/pci/mlx5/mlx5-vfio-pci.ko:\n"
            "kernel/drivers/net/ethernet/intel/e1000e/e1000e.ko:\n"
            "kernel/sound/snd-hda-intel.ko:");
    drivers = format_string("%s/drivers", directory);
    loaded = format_string("%s/drivers/xhci_hcd", directory);
    assert_int_equal(mkdir(drivers, 0755), 0);
    assert_int_equal(mkdir(loaded, 0755), 0);
    return 0;
}

static int tear_down(void **state) {
    _cleanup_free_ char *command = format_string("rm -r %s", directory);

    return system(command);
}

static void test_modules(void **state) {
    static const struct {
        const char *name;
        KernelModule found;
    } cases[] = {
            {"vfio-pci", MODULE_AVAILABLE},
            {"vfio_pci", MODULE_AVAILABLE},
            {"e1000e", MODULE_AVAILABLE},
            {"snd_hda_intel", MODULE_AVAILABLE},
            {"pcieport", MODULE_PRESENT},
            {"vfio", MODULE_PRESENT},
            {"vfio-pc", MODULE_MISSING},
            {"pci", MODULE_MISSING},
            {"vfio-pci-core", MODULE_MISSING}, /* only other modules need it */
            {"", MODULE_MISSING},
            {"e1000e.ko", MODULE_MISSING},
            {"../e1000e", MODULE_MISSING},
    };

    for (size_t i = 0; i < ELEMENTSOF(cases); i++)
        if (kernel_module_find_in(directory, cases[i].name) != cases[i].found)
            fail_msg("%s", cases[i].name);
    assert_int_equal(kernel_module_find_in("/nonexistent", "vfio-pci"), MODULE_UNKNOWN);
}

static void test_what_was_meant(void **state) {
    static const struct {
        const char *name, *near;
        KernelModule found;
    } cases[] = {
            {"vfio-pci", NULL, MODULE_AVAILABLE},
            {"vifo-pci", "vfio-pci", MODULE_MISSING},
            {"mlx5_vfio_pcii", "mlx5-vfio-pci", MODULE_MISSING},
            {"xhci_hcd", NULL, MODULE_PRESENT},
            {"xhci_hdc", "xhci_hcd", MODULE_MISSING},
            {"no-such-driver-at-all", NULL, MODULE_MISSING},
    };
    _cleanup_free_ char *drivers = format_string("%s/drivers", directory);

    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        _cleanup_free_ char *near = NULL;

        assert_int_equal(kernel_driver_find_in(directory, drivers, cases[i].name, &near), cases[i].found);
        if (cases[i].near)
            assert_string_equal(near, cases[i].near);
        else
            assert_null(near);
    }
    {
        _cleanup_free_ char *near = NULL;

        assert_int_equal(
                kernel_driver_find_in("/nonexistent", "/nonexistent", "vifo-pci", &near), MODULE_UNKNOWN);
        assert_null(near);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_modules),
            cmocka_unit_test(test_what_was_meant),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
