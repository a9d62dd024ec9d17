/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/snapshot.h"
#include "rehearsal/rehearsal.h"
#include "testbed.h"

#define NIC "8086:10d3:020000"

static HostSnapshot *record(bool with_serials) {
    struct json_object *o = NULL;
    HostSnapshot *s = NULL;
    char *problem = NULL;
    const char *text;

    if (rehearsal_snapshot(NULL, with_serials, &o, &problem) < 0)
        fail_msg("%s", problem);
    text = json_object_to_json_string(o);
    if (host_snapshot_parse(text, strlen(text), &s, &problem) < 0)
        fail_msg("%s", problem);
    json_object_put(o);
    return s;
}

static DeviceFacts facts_of(HostSnapshot *s, const char *name) {
    FactSource source = host_snapshot_facts(s);
    DeviceFacts f = DEVICE_FACTS_NULL;
    const Device *d;
    DeviceName n;

    assert_int_equal(device_name_parse(name, &n), 0);
    d = inventory_find_device(host_snapshot_inventory(s), &n);
    assert_non_null(d);
    assert_int_equal(
            source.read_facts(source.userdata, d, DEVICE_FACT_ALL & ~DEVICE_FACT_DRIVER_OVERRIDE, &f), 0);
    return f;
}

static void put(const char *device, const char *attribute, const char *text) {
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", device, attribute);
    testbed_put(path, text);
}

static void make_host(void) {
    const char *path;

    testbed_put("/proc/cmdline", "pcie_acs_override=downstream\n");
    testbed_put("/proc/sys/kernel/tainted", "4096\n");
    testbed_node("/dev/iommu", false, 10, 126);
    testbed_put("/sys/kernel/iommu_groups/7/type", "DMA-FQ\n");
    testbed_put("/sys/kernel/iommu_groups/7/reserved_regions", "0x00000000fee00000 0x00000000feefffff msi\n");
    testbed_add_pci("0000:00:1c.0", "8086:1901:060400", 1, "pcieport");
    path = testbed_add_pci("0000:00:1c.0/0000:06:00.0", NIC, 7, "e1000e");
    put(path, "numa_node", "1\n");
    put(path, "reset_method", "flr\n");
    path = testbed_add_pci("0000:00:1c.0/0000:06:00.1", NIC, 7, "vfio-pci");
    put(path, "vfio-dev/vfio3/dev", "511:3\n");
}

static void test_host(void **state) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = NULL;
    const GroupFacts *g;
    FactSource source;
    KernelFacts k;
    DeviceFacts f;

    make_host();
    s = record(false);
    inventory_check(host_snapshot_inventory(s));
    assert_int_equal(inventory_n_devices(host_snapshot_inventory(s)), 3);
    assert_int_equal(inventory_n_groups(host_snapshot_inventory(s)), 2);

    f = facts_of(s, "0000:06:00.0");
    assert_int_equal(f.numa_node, 1);
    assert_int_equal(f.reset_methods, 1 << RESET_METHOD_FLR);
    assert_string_equal(f.slot_path, "0000:00:1c.0/00.0");
    assert_null(f.host_critical);
    /* no config space to read: unknown, and not "none" */
    assert_false(f.known & DEVICE_FACT_SERIAL);
    device_facts_done(&f);

    g = host_snapshot_group_facts(s, 7);
    assert_string_equal(g->type, "DMA-FQ");
    assert_int_equal(g->n_regions, 1);
    source = host_snapshot_facts(s);
    assert_int_equal(source.read_kernel_facts(source.userdata, &k), 0);
    assert_true(k.iommufd && k.iommu && !k.container);
    assert_int_equal(host_snapshot_taints(s)->n, 2);
}

/* If one attribute cannot be read, the device and its other facts remain. */
static void test_unreadable(void **state) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = NULL;
    FactSource source;
    DeviceName name;
    DeviceFacts f;

    make_host();
    testbed_put("/sys/devices/pci0000:00/0000:00:1c.0/0000:06:00.0/driver_override",
            "a-name-that-is-longer-than-any-driver-has-and-must-never-be-cut-in-the-middle\n");
    s = record(true);
    f = facts_of(s, "0000:06:00.0");
    assert_int_equal(f.numa_node, 1);
    assert_false(f.known & DEVICE_FACT_DRIVER_OVERRIDE);
    device_facts_done(&f);
    assert_int_equal(device_name_parse("0000:06:00.0", &name), 0);
    source = host_snapshot_facts(s);
    assert_int_equal(
            source.read_facts(source.userdata, inventory_find_device(host_snapshot_inventory(s), &name),
                    DEVICE_FACT_DRIVER_OVERRIDE, &f),
            -ENODATA);
}

static void test_empty_host(void **state) {
    _cleanup_(host_snapshot_freep) HostSnapshot *s = record(false);

    assert_int_equal(inventory_n_devices(host_snapshot_inventory(s)), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, testbed_setup, testbed_teardown)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_host),
            TEST(test_unreadable),
            TEST(test_empty_host),
    };

    if (!testbed_works()) {
        puts("1..0 # SKIP run me under umockdev-wrapper");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
