/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>
#include <libudev.h>

#include "host/kept-files.h"
#include "host/sysfs.h"
#include "testbed.h"

#define NIC "8086:10d3:020000"

static DeviceName name_of(const char *s) {
    DeviceName name;

    assert_int_equal(device_name_parse(s, &name), 0);
    return name;
}

static int read_device(const char *s, DeviceSnapshot *ret) {
    DeviceName name = name_of(s);

    return sysfs_read_device(&name, ret);
}

/* Writes a file into the function that was added last. */
static void put(const char *device, const char *attribute, const char *text) {
    char path[512];

    snprintf(path, sizeof(path), "%s/%s", device, attribute);
    testbed_put(path, text);
}

static void test_device(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "e1000e");
    DeviceSnapshot s;

    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_int_equal(s.name.pci_bus, 6);
    assert_int_equal(s.vendor, 0x8086);
    assert_int_equal(s.device, 0x10d3);
    assert_int_equal(s.subsystem_vendor, 0x1af4);
    assert_int_equal(s.subsystem_device, 0x1100);
    assert_int_equal(s.class_code, 0x020000);
    assert_int_equal(s.revision, 0x10);
    assert_int_equal(s.group, 7);
    assert_string_equal(s.driver, "e1000e");
    assert_int_equal(s.vfio_index, -1);
    assert_true(s.vfio_rdev == 0);

    put(path, "vfio-dev/vfio12/dev", "511:12\n");
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_int_equal(s.vfio_index, 12);
    assert_true(s.vfio_rdev == makedev(511, 12));

    assert_int_equal(read_device("0000:06:0d.1", &s), -ENODEV);
}

/* A device registered with VFIO, on a kernel that creates no node for it. */
static void test_no_cdev(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "vfio-pci");
    DeviceSnapshot s;

    put(path, "vfio-dev/vfio0/uevent", "");
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_int_equal(s.vfio_index, 0);
    assert_true(s.vfio_rdev == 0);
}

static void test_noiommu_group_is_none(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 0, "vfio-pci");
    DeviceSnapshot s;

    put(path, "vfio-dev/vfio0/uevent", "");
    testbed_put("/sys/kernel/iommu_groups/0/name", "vfio-noiommu\n"); /* irrelevant: mdevs have it, too */
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_int_equal(s.group, 0);
    testbed_mkdir("/sys/class/vfio/noiommu-0");
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_int_equal(s.group, -1);
}

/* A value that does not parse is 0, none, or an unknown driver, but the device still exists. */
static void test_hostile_attributes(void **state) {
    static const char *const bad_ids[] = {"", "8086\n", "0x\n", "0x12345\n", "0x80 86\n", "-0x1\n", "junk\n"};
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "e1000e");
    char link[512], target[256];
    DeviceSnapshot s;

    for (size_t i = 0; i < ELEMENTSOF(bad_ids); i++) {
        put(path, "vendor", bad_ids[i]);
        put(path, "class", i == 3 ? "0x1000000\n" : bad_ids[i]);
        assert_int_equal(read_device("0000:06:0d.0", &s), 0);
        assert_int_equal(s.vendor, 0);
        assert_int_equal(s.class_code, 0);
        assert_int_equal(s.group, 7);
    }

    snprintf(link, sizeof(link), "%s/driver", path);
    snprintf(target, sizeof(target), "drivers/%0200d", 0);
    testbed_link(link, target);
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_string_equal(s.driver, "(unreadable)");
    testbed_link(link, "drivers/");
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_string_equal(s.driver, "(unreadable)");

    snprintf(link, sizeof(link), "%s/iommu_group", path);
    testbed_link(link, "../../../kernel/iommu_groups/x7");
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_int_equal(s.group, -1);

    put(path, "vfio-dev/vfio/uevent", "");
    put(path, "vfio-dev/vfio-1/uevent", "");
    put(path, "vfio-dev/vfio99999999999/uevent", "");
    assert_int_equal(read_device("0000:06:0d.0", &s), 0);
    assert_int_equal(s.vfio_index, -1);
}

/* A directory without attributes is a device that is being removed. */
static void test_vanishing(void **state) {
    DeviceSnapshot s;

    testbed_mkdir("/sys/bus/pci/devices/0000:06:0d.0");
    assert_int_equal(read_device("0000:06:0d.0", &s), -ENODEV);
}

static int stop_at_once(const DeviceSnapshot *s, void *userdata) {
    return 17;
}

static void test_scan(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    DeviceName name = name_of("0000:06:00.1");

    assert_int_equal(sysfs_scan(inventory), 0);
    assert_int_equal(inventory_n_devices(inventory), 0);

    testbed_add_pci("0000:00:1c.0", "8086:1901:060400", 1, "pcieport");
    testbed_add_pci("0000:00:1c.0/0000:06:00.0", NIC, 7, "e1000e");
    testbed_add_pci("0000:00:1c.0/0000:06:00.1", NIC, 7, NULL);
    testbed_put("/sys/bus/pci/devices/not-an-address/vendor", "0x8086\n");
    testbed_link("/sys/bus/pci/devices/0000:99:00.0", "../../../devices/gone");
    assert_int_equal(sysfs_scan(inventory), 0);
    inventory_check(inventory);
    assert_int_equal(inventory_n_devices(inventory), 3);
    assert_int_equal(inventory_n_groups(inventory), 2);
    assert_int_equal(inventory_find_device(inventory, &name)->group->n_members, 2);
    assert_true(sysfs_has_device(&name));
    name.function = 2;
    assert_false(sysfs_has_device(&name));

    assert_int_equal(sysfs_foreach(stop_at_once, NULL), 17);
    testbed_remove("/sys/bus/pci");
    assert_int_equal(sysfs_foreach(stop_at_once, NULL), 0);
}

static void test_reset_of_a_shared_bus(void **state) {
    const Device first = {.name = name_of("0000:06:00.0")}, alone = {.name = name_of("0000:07:00.0")};
    DeviceFacts f = DEVICE_FACTS_NULL;

    testbed_add_pci("0000:00:1c.0", "8086:1901:060400", 1, "pcieport");
    put(testbed_add_pci("0000:00:1c.0/0000:06:00.0", NIC, 7, NULL), "reset_method", "bus\n");
    testbed_add_pci("0000:00:1c.0/0000:06:01.0", NIC, 7, NULL);
    assert_int_equal(sysfs_read_facts(NULL, &first, DEVICE_FACT_RESET_METHODS, &f), 0);
    assert_int_equal(f.reset_methods, 0);
    testbed_put("/sys/bus/pci/devices/0000:06:00.0/reset_method", "pm bus\n");
    assert_int_equal(sysfs_read_facts(NULL, &first, DEVICE_FACT_RESET_METHODS, &f), 0);
    assert_int_equal(f.reset_methods, 1 << RESET_METHOD_PM | 1 << RESET_METHOD_BUS);

    testbed_add_pci("0000:00:1d.0", "8086:1901:060400", 2, "pcieport");
    put(testbed_add_pci("0000:00:1d.0/0000:07:00.0", NIC, 8, NULL), "reset_method", "bus\n");
    assert_int_equal(sysfs_read_facts(NULL, &alone, DEVICE_FACT_RESET_METHODS, &f), 0);
    assert_int_equal(f.reset_methods, 1 << RESET_METHOD_BUS);
}

static void test_facts(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "e1000e");
    const Device d = {.name = name_of("0000:06:0d.0")}, gone = {.name = name_of("0000:06:0d.1")};
    DeviceFacts f = DEVICE_FACTS_NULL;

    /* no reset_method: the device cannot be reset */
    assert_int_equal(sysfs_read_facts(NULL, &d, DEVICE_FACT_ALL, &f), 0);
    assert_int_equal(f.reset_methods, 0);
    assert_string_equal(f.driver_override, "");
    assert_int_equal(f.numa_node, -1);
    assert_int_equal(f.enable_count, 0);
    assert_int_equal(f.removable, REMOVABLE_UNKNOWN);
    assert_null(f.host_critical);

    put(path, "reset_method", "flr bus\n");
    put(path, "driver_override", "vfio-pci\n");
    put(path, "numa_node", "1\n");
    put(path, "enable", "2\n");
    put(path, "removable", "removable\n");
    assert_int_equal(sysfs_read_facts(NULL, &d, DEVICE_FACT_ALL, &f), 0);
    assert_int_equal(f.reset_methods, 1 << RESET_METHOD_FLR | 1 << RESET_METHOD_BUS);
    assert_string_equal(f.driver_override, "vfio-pci");
    assert_int_equal(f.numa_node, 1);
    assert_int_equal(f.enable_count, 2);
    assert_int_equal(f.removable, REMOVABLE_REMOVABLE);
    assert_int_equal(sysfs_read_enable_count(&d.name), 2);

    /* only the requested facts */
    f = DEVICE_FACTS_NULL;
    assert_int_equal(sysfs_read_facts(NULL, &d, DEVICE_FACT_ENABLE_COUNT, &f), 0);
    assert_int_equal(f.enable_count, 2);
    assert_int_equal(f.reset_methods, 0);
    assert_string_equal(f.driver_override, "");

    put(path, "enable", "many\n");
    assert_int_equal(sysfs_read_enable_count(&d.name), -EBADMSG);
    put(path, "driver_override",
            "a-name-that-is-longer-than-any-driver-has-and-must-never-be-cut-in-the-middle\n");
    assert_int_equal(sysfs_read_facts(NULL, &d, DEVICE_FACT_DRIVER_OVERRIDE, &f), -E2BIG);
    put(path, "driver_override", "vfio\xffpci\n");
    assert_int_equal(sysfs_read_facts(NULL, &d, DEVICE_FACT_DRIVER_OVERRIDE, &f), -EBADMSG);
    assert_int_equal(sysfs_read_facts(NULL, &d, DEVICE_FACT_NUMA_NODE, &f), 0);
    assert_int_equal(sysfs_read_facts(NULL, &gone, DEVICE_FACT_ALL, &f), -ENODEV);
    assert_int_equal(sysfs_read_enable_count(&gone.name), -ENODEV);
}

/* The device, its methods and its node, as read for every claim. */
static Device kept_device(const char *address, Group *g) {
    return (Device){.name = name_of(address),
            .vendor = 0x8086,
            .device = 0x10d3,
            .group = g,
            .vfio_index = 3,
            .vfio_rdev = makedev(511, 3)};
}

static void assert_claim_facts(const Device *d, unsigned methods, long enable_count) {
    DeviceFacts f = DEVICE_FACTS_NULL;

    /* twice: the second read is from the kept files */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(
                sysfs_read_facts(NULL, d, DEVICE_FACT_RESET_METHODS | DEVICE_FACT_ENABLE_COUNT, &f), 0);
        assert_int_equal(f.known, DEVICE_FACT_RESET_METHODS | DEVICE_FACT_ENABLE_COUNT);
        assert_int_equal(f.reset_methods, methods);
        assert_int_equal(f.enable_count, enable_count);
        assert_int_equal(sysfs_read_enable_count(&d->name), enable_count);
    }
}

/* Kept files can have another content each time, but none after the device has gone. */
static void test_kept_files(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "vfio-pci");
    const Device d = kept_device("0000:06:0d.0", NULL);

    put(path, "enable", "1\n");
    assert_claim_facts(&d, 0, 1);
    put(path, "enable", "0\n");
    assert_claim_facts(&d, 0, 0);

    /* another device in its place, with a reset */
    testbed_remove(path);
    assert_int_equal(sysfs_read_enable_count(&d.name), -ENODEV);
    path = testbed_add_pci("0000:06:0d.0", NIC, 7, "vfio-pci");
    put(path, "enable", "2\n");
    put(path, "reset_method", "flr\n");
    assert_claim_facts(&d, 1 << RESET_METHOD_FLR, 2);
    put(path, "reset_method", "pm bus\n");
    assert_claim_facts(&d, 1 << RESET_METHOD_PM | 1 << RESET_METHOD_BUS, 2);
    put(path, "reset_method", "\n");
    assert_claim_facts(&d, 0, 2);
    put(path, "reset_method", "bus\n");
    (void) testbed_add_pci("0000:06:0d.1", NIC, 7, "vfio-pci"); /* on the same bus */
    assert_claim_facts(&d, 0, 2);

    testbed_put("/sys/devices/pci0000:00/0000:06:0d.0/enable", "many\n");
    assert_int_equal(sysfs_read_enable_count(&d.name), -EBADMSG);
    testbed_remove("/sys/devices/pci0000:00/0000:06:0d.0");
    assert_int_equal(sysfs_read_enable_count(&d.name), -ENODEV);
}

/* If there are more devices than places, a device without a place is read from the start. */
static void test_many_kept_files(void **state) {
    char address[32];

    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 2 * KEPT_FILES_MAX; i++) {
            Device d;

            snprintf(address, sizeof(address), "0000:%02x:%02x.0", i / 32, i % 32);
            d = kept_device(address, NULL);
            if (round == 0)
                put(testbed_add_pci(address, NIC, 7, "vfio-pci"), "enable", i % 2 ? "1\n" : "0\n");
            assert_claim_facts(&d, 0, i % 2);
        }
}

static void test_check_of_an_open_device(void **state) {
    const char *path = testbed_add_pci("0000:06:0e.0", NIC, 7, "vfio-pci");
    Group seven = {.id = 7}, eight = {.id = 8};
    Device d = kept_device("0000:06:0e.0", &seven), moved = d;

    put(path, "vfio-dev/vfio3/dev", "511:3\n");
    testbed_put("/sys/kernel/uevent_seqnum", "100\n");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(sysfs_check_device(&d), 0);
        /* Later removals may be its own, because the device has not been read since. */
        assert_int_equal(d.since_seqnum, 100);
        testbed_put("/sys/kernel/uevent_seqnum", "200\n");
    }
    d.since_seqnum = 150;
    assert_int_equal(sysfs_check_device(&d), 0);
    assert_int_equal(d.since_seqnum, 150);
    moved.group = &eight;
    assert_int_equal(sysfs_check_device(&moved), -ESTALE);
    moved = d;
    moved.vendor = 0x10de;
    assert_int_equal(sysfs_check_device(&moved), -ESTALE);
    assert_int_equal(sysfs_check_device(&d), 0);
    assert_int_equal(d.since_seqnum, 200);

    /* the same number, of another device */
    testbed_remove(path);
    assert_int_equal(sysfs_check_device(&d), -ENODEV);
    path = testbed_add_pci("0000:06:0e.0", "10de:2684:030000", 7, "vfio-pci");
    put(path, "vfio-dev/vfio3/dev", "511:3\n");
    assert_int_equal(sysfs_check_device(&d), -ESTALE);

    /* the same device, registered again, and then not at all */
    d.vendor = 0x10de;
    d.device = 0x2684;
    assert_int_equal(sysfs_check_device(&d), 0);
    testbed_remove("/sys/devices/pci0000:00/0000:06:0e.0/vfio-dev");
    assert_int_equal(sysfs_check_device(&d), -ESTALE);
    put(path, "vfio-dev/vfio3/dev", "511:4\n");
    assert_int_equal(sysfs_check_device(&d), -ESTALE);
    put(path, "vfio-dev/vfio3/dev", "511:3\n");
    assert_int_equal(sysfs_check_device(&d), 0);
}

/* A lack of descriptors is an error of this process, and not a fact about a device. */
static void test_no_descriptors(void **state) {
    const DeviceName name = {.pci_bus = 6};
    struct rlimit limit, low;
    KernelFacts kernel;
    int first_free;

    testbed_add_pci("0000:06:00.0", "8086:10d3:020000", 7, "vfio-pci");
    testbed_put("/sys/devices/pci0000:00/0000:06:00.0/vfio-dev/vfio3/dev", "511:3\n");
    testbed_put("/sys/devices/pci0000:00/0000:06:00.0/reset_method", "bus\n");
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    first_free = dup(STDOUT_FILENO);
    assert_true(first_free >= 0);
    (void) close(first_free);

    for (unsigned n = 0; n < 17; n++) { /* one of them stays open */
        Device d = {.name = name,
                .vendor = 0x8086,
                .device = 0x10d3,
                .vfio_index = 3,
                .vfio_rdev = makedev(511, 3)};
        _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
        DeviceSnapshot s = {};
        Group g = {.id = 7};
        int looked, checked, read, asked;

        d.group = &g;
        low = (struct rlimit){.rlim_cur = (rlim_t) first_free + n, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        looked = sysfs_read_device(&name, &s);
        checked = sysfs_check_device(&d);
        read = sysfs_read_facts(NULL, &d,
                DEVICE_FACT_RESET_METHODS | DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_DESCENDANTS, &f);
        asked = sysfs_read_kernel_facts(&kernel);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);

        assert_true(looked == -EMFILE || (looked == 0 && s.vendor == 0x8086 && s.vfio_rdev == d.vfio_rdev));
        assert_true(checked == -EMFILE || checked == 0);
        assert_true(
                read == -EMFILE || (read == 0 && f.reset_methods != 0 && !f.host_critical && !f.descendants));
        assert_int_equal(asked, n == 0 ? -EMFILE : 0);
        assert_true(n > 0 || (looked == -EMFILE && checked == -EMFILE && read == -EMFILE));
        assert_true(n < 16 || (looked == 0 && checked == 0 && read == 0));
    }
}

/* Writes the config space of a function with a PCI Express capability of that type, and ACS with all or no
 * controls. */
static void put_config(const char *device, unsigned type, int acs, size_t size) {
    uint8_t config[4096] = {0x86, 0x80, 0xd3, 0x10};
    char path[512];

    config[0x06] = 0x10;
    config[0x34] = 0x40;
    config[0x40] = 0x10;
    config[0x42] = (uint8_t) (type << 4);
    if (acs >= 0) {
        config[0x100] = 0x0d;
        config[0x102] = 0x01;
        config[0x104] = 0x7f;
        config[0x106] = acs > 0 ? 0x1d : 0;
    }
    snprintf(path, sizeof(path), "%s/config", device);
    testbed_put_bytes(path, config, size);
}

static AcsReport read_acs(const char *s) {
    DeviceName name = name_of(s);
    AcsReport report;

    assert_int_equal(sysfs_read_acs(&name, &report), 0);
    return report;
}

static void test_acs_on_the_root_bus(void **state) {
    const char *path = testbed_add_pci("0000:00:05.3", NIC, 7, NULL);
    DeviceName gone = name_of("0000:00:06.0");
    AcsReport report;

    /* alone: its config space is not even read */
    assert_int_equal(read_acs("0000:00:05.3").path, ACS_NOT_NEEDED);
    /* not alone, but the neighbour is a virtual function */
    testbed_link("/sys/devices/pci0000:00/0000:00:05.0/physfn", "../0000:00:04.0");
    testbed_add_pci("0000:00:05.0", NIC, 8, NULL);
    assert_int_equal(read_acs("0000:00:05.3").path, ACS_NOT_NEEDED);
    testbed_remove("/sys/devices/pci0000:00/0000:00:05.0/physfn");

    path = testbed_add_pci("0000:00:05.3", NIC, 7, NULL);
    put_config(path, PCI_PORT_ROOT_COMPLEX_ENDPOINT, -1, 4096);
    report = read_acs("0000:00:05.3");
    assert_int_equal(report.path, ACS_INCOMPLETE);
    assert_int_equal(report.blocker.slot, 5);
    assert_int_equal(report.blocker.function, 3);
    put_config(path, PCI_PORT_ROOT_COMPLEX_ENDPOINT, -1, 64);
    assert_int_equal(read_acs("0000:00:05.3").path, ACS_UNKNOWN);
    put_config(path, PCI_PORT_ROOT_COMPLEX_ENDPOINT, 1, 4096);
    assert_int_equal(read_acs("0000:00:05.3").path, ACS_COMPLETE);
    put_config(path, PCI_PORT_ROOT_COMPLEX_ENDPOINT, 1, 20);
    assert_int_equal(read_acs("0000:00:05.3").path, ACS_UNKNOWN);

    assert_int_equal(sysfs_read_acs(&gone, &report), -ENODEV);
}

static void test_acs_below_ports(void **state) {
    static const char root[] = "/sys/devices/pci0000:00/0000:00:1c.0",
                      upstream[] = "/sys/devices/pci0000:00/0000:00:1c.0/0000:01:00.0",
                      downstream[] = "/sys/devices/pci0000:00/0000:00:1c.0/0000:01:00.0/0000:02:03.0";
    const char *path;
    AcsReport report;

    testbed_add_pci("0000:00:1c.0", NIC, 1, "pcieport");
    testbed_add_pci("0000:00:1c.0/0000:01:00.0", NIC, 2, "pcieport");
    testbed_add_pci("0000:00:1c.0/0000:01:00.0/0000:02:03.0", NIC, 3, "pcieport");
    path = testbed_add_pci("0000:00:1c.0/0000:01:00.0/0000:02:03.0/0000:03:00.0", NIC, 4, NULL);

    put_config(root, PCI_PORT_ROOT, 1, 4096);
    put_config(upstream, PCI_PORT_UPSTREAM, -1, 4096);
    put_config(downstream, PCI_PORT_DOWNSTREAM, 1, 4096);
    put_config(path, PCI_PORT_ENDPOINT, -1, 4096);
    assert_int_equal(read_acs("0000:03:00.0").path, ACS_COMPLETE);

    /* the first blocker is reported, from the device upwards */
    put_config(root, PCI_PORT_ROOT, 0, 4096);
    report = read_acs("0000:03:00.0");
    assert_int_equal(report.path, ACS_INCOMPLETE);
    assert_int_equal(report.blocker.slot, 0x1c);
    put_config(downstream, PCI_PORT_DOWNSTREAM, -1, 4096);
    report = read_acs("0000:03:00.0");
    assert_int_equal(report.path, ACS_INCOMPLETE);
    assert_int_equal(report.blocker.pci_bus, 2);

    /* an unreadable value is unknown, unless another place is known to be open */
    put_config(downstream, PCI_PORT_DOWNSTREAM, 1, 64);
    report = read_acs("0000:03:00.0");
    assert_int_equal(report.path, ACS_INCOMPLETE);
    assert_int_equal(report.blocker.slot, 0x1c);
    put_config(root, PCI_PORT_ROOT, 1, 4096);
    assert_int_equal(read_acs("0000:03:00.0").path, ACS_UNKNOWN);
}

/* A virtual function is isolated from its neighbours, whatever its config space says. */
static void test_acs_of_virtual_function(void **state) {
    const char *path;
    char link[512];

    testbed_add_pci("0000:00:10.2", NIC, 4, NULL);
    path = testbed_add_pci("0000:00:10.3", NIC, 4, NULL);
    put_config(path, PCI_PORT_ENDPOINT, -1, 4096);
    assert_int_equal(read_acs("0000:00:10.3").path, ACS_INCOMPLETE);
    snprintf(link, sizeof(link), "%s/physfn", path);
    testbed_link(link, "../0000:00:10.0");
    assert_int_equal(read_acs("0000:00:10.3").path, ACS_NOT_NEEDED);
}

static DeviceFacts read_facts(const char *s, unsigned what) {
    const Device d = {.name = name_of(s)};
    DeviceFacts f = DEVICE_FACTS_NULL;

    assert_int_equal(sysfs_read_facts(NULL, &d, what, &f), 0);
    return f;
}

/* A fact that was read is known, also if it is "none". One that was not requested or cannot be read is
 * unknown. */
static void test_known_facts(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "e1000e");
    _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
    char numa[512];

    snprintf(numa, sizeof(numa), "%s/numa_node", path);
    f = read_facts("0000:06:0d.0", DEVICE_FACT_ALL);
    assert_int_equal(f.known,
            DEVICE_FACT_RESET_METHODS | DEVICE_FACT_NUMA_NODE | DEVICE_FACT_DRIVER_OVERRIDE |
                    DEVICE_FACT_HOST_CRITICAL | DEVICE_FACT_ENABLE_COUNT | DEVICE_FACT_ACS |
                    DEVICE_FACT_SLOT_PATH | DEVICE_FACT_DESCENDANTS);
    assert_int_equal(f.acs, ACS_NOT_NEEDED);
    assert_string_equal(f.slot_path, "0000:06:0d.0");
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_NUMA_NODE).known, DEVICE_FACT_NUMA_NODE);
    assert_int_equal(read_facts("0000:06:0d.0", 0).known, 0);

    testbed_put(numa, "far away\n");
    put(path, "enable", "\n");
    put(path, "removable", "perhaps\n");
    assert_int_equal(read_facts("0000:06:0d.0",
                             DEVICE_FACT_NUMA_NODE | DEVICE_FACT_ENABLE_COUNT | DEVICE_FACT_REMOVABLE)
                             .known,
            0);
    put(path, "removable", "unknown\n");
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_REMOVABLE).known, 0);
    put(path, "removable", "fixed\n");
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_REMOVABLE).known, DEVICE_FACT_REMOVABLE);
    /* a kernel without nodes: it is known that there is none */
    testbed_remove(numa);
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_NUMA_NODE).known, DEVICE_FACT_NUMA_NODE);
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_NUMA_NODE).numa_node, -1);
}

static void test_serial(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "e1000e");
    uint8_t config[4096] = {0x86, 0x80, 0xd3, 0x10};
    char file[512];
    DeviceFacts f;

    /* no config space at all */
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_SERIAL).known, 0);

    put_config(path, PCI_PORT_ENDPOINT, 1, 4096);
    f = read_facts("0000:06:0d.0", DEVICE_FACT_SERIAL);
    assert_int_equal(f.known, DEVICE_FACT_SERIAL);
    assert_string_equal(f.serial, "");

    /* as an unprivileged reader sees it */
    put_config(path, PCI_PORT_ENDPOINT, 1, 64);
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_SERIAL).known, 0);

    config[0x06] = 0x10;
    config[0x34] = 0x40;
    config[0x40] = 0x10;
    config[0x100] = 0x03;
    config[0x102] = 0x01;
    config[0x104] = 0xc3;
    config[0x10b] = 0xab;
    snprintf(file, sizeof(file), "%s/config", path);
    testbed_put_bytes(file, config, sizeof(config));
    f = read_facts("0000:06:0d.0", DEVICE_FACT_SERIAL);
    assert_int_equal(f.known, DEVICE_FACT_SERIAL);
    assert_string_equal(f.serial, "ab-00-00-00-00-00-00-c3");
}

static void test_slot_path(void **state) {
    testbed_add_pci("0000:00:1c.0", NIC, 1, "pcieport");
    testbed_add_pci("0000:00:1c.0/0000:06:00.0", NIC, 2, "pcieport");
    testbed_add_pci("0000:00:1c.0/0000:06:00.0/0000:07:03.1", NIC, 3, NULL);
    assert_string_equal(read_facts("0000:00:1c.0", DEVICE_FACT_SLOT_PATH).slot_path, "0000:00:1c.0");
    assert_string_equal(
            read_facts("0000:07:03.1", DEVICE_FACT_SLOT_PATH).slot_path, "0000:00:1c.0/00.0/03.1");
}

/* umockdev has no udev database: libudev takes the properties from the uevent file. This function replaces
 * the one of libudev that reports whether udev has processed a device. */
static bool udev_is_done;

int udev_device_get_is_initialized(struct udev_device *device) {
    return udev_is_done;
}

static bool has_property(const DeviceFacts *f, const char *property) {
    for (char **p = f->properties; *p; p++)
        if (streq(*p, property))
            return true;
    return false;
}

static void test_properties(void **state) {
    const char *path = testbed_add_pci("0000:06:0d.0", NIC, 7, "e1000e");
    _cleanup_(device_facts_done) DeviceFacts f = DEVICE_FACTS_NULL;
    char text[16384] = "";

    /* udev has not processed it yet: its result is unknown */
    put(path, "uevent", "PCI_SLOT_NAME=0000:06:0d.0\nID_PATH=pci-0000:06:0d.0\nEMPTY=\n");
    udev_is_done = false;
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_PROPERTIES).known, 0);

    udev_is_done = true;
    f = read_facts("0000:06:0d.0", DEVICE_FACT_PROPERTIES);
    assert_int_equal(f.known, DEVICE_FACT_PROPERTIES);
    assert_true(has_property(&f, "ID_PATH=pci-0000:06:0d.0"));
    assert_true(has_property(&f, "SUBSYSTEM=pci"));
    assert_false(has_property(&f, "ID_PATH"));
    device_facts_done(&f);

    /* all of them or none */
    put(path, "uevent", "ID_PATH=pci-0000:06:0d.0\nID_MODEL=\xff\xfe\n");
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_PROPERTIES).known, 0);
    for (unsigned i = 0; i <= PROPERTIES_MAX; i++)
        sprintf(text + strlen(text), "ID_%u=%u\n", i, i);
    put(path, "uevent", text);
    assert_int_equal(read_facts("0000:06:0d.0", DEVICE_FACT_PROPERTIES).known, 0);
}

static void test_group_facts(void **state) {
    GroupFacts f;

    assert_int_equal(sysfs_read_group_facts(7, &f), -ENODEV);
    assert_int_equal(sysfs_read_group_facts(-1, &f), -ENODEV);

    testbed_put("/sys/kernel/iommu_groups/7/type", "DMA-FQ\n");
    testbed_put("/sys/kernel/iommu_groups/7/reserved_regions",
            "0x00000000fee00000 0x00000000feefffff msi\n0x000000fd00000000 0x000000ffffffffff reserved\n");
    assert_int_equal(sysfs_read_group_facts(7, &f), 0);
    assert_string_equal(f.type, "DMA-FQ");
    assert_int_equal(f.n_regions, 2);
    assert_string_equal(f.regions[1].type, "reserved");
    assert_false(f.node_present);

    testbed_node("/dev/vfio/7", false, 239, 7);
    testbed_put("/sys/kernel/iommu_groups/7/type", "a-type-that-nobody-has-heard-of\n");
    assert_int_equal(sysfs_read_group_facts(7, &f), 0);
    assert_string_equal(f.type, "");
    assert_true(f.node_present);
}

static void test_kernel_facts(void **state) {
    KernelFacts k;

    testbed_put("/proc/devices", "Character devices:\n  1 mem\n239 vfio\n\nBlock devices:\n259 blkext\n");
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_false(
            k.iommufd || k.container || k.iommu || k.device_cdev || k.noiommu_support || k.noiommu_enabled);

    testbed_mkdir("/sys/kernel/iommu_groups");
    testbed_mkdir("/dev/vfio/devices");
    testbed_mkdir("/dev/iommu"); /* a directory is no node */
    testbed_put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "N\n");
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_false(k.iommufd || k.container || k.iommu || k.device_cdev || k.noiommu_enabled);
    assert_true(k.noiommu_support);

    testbed_remove("/dev/iommu");
    testbed_node("/dev/iommu", false, 10, 126);
    testbed_node("/dev/vfio/vfio", false, 10, 196);
    testbed_mkdir("/sys/kernel/iommu_groups/1");
    testbed_mkdir("/sys/class/vfio/noiommu-1");
    testbed_put("/sys/kernel/iommu_groups/2/name", "vfio-noiommu\n"); /* of a mediated device */
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_false(k.iommu); /* mediated devices do not count */
    testbed_mkdir("/sys/kernel/iommu_groups/0");
    testbed_put("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_true(k.iommufd && k.container && k.iommu && k.noiommu_support && k.noiommu_enabled);
    assert_false(k.device_cdev); /* IOMMUFD alone does not create device nodes */

    testbed_put("/proc/devices", "Character devices:\n  1 mem\n239 vfio\n511 vfio-dev\n\nBlock devices:\n");
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_true(k.device_cdev);
    testbed_put("/proc/devices", "Character devices:\n511 vfio-device\n512 xvfio-dev\nvfio-dev\n");
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_false(k.device_cdev);
    testbed_node("/dev/vfio/devices/vfio0", false, 511, 0);
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_true(k.device_cdev);
}

static void test_lockdown(void **state) {
    static const struct {
        const char *text;
        bool locked;
    } cases[] = {
            {"[none] integrity confidentiality\n", false},
            {"none [integrity] confidentiality\n", true},
            {"none integrity [confidentiality]\n", true},
            {"\n", true},
    };
    KernelFacts k;

    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_false(k.lockdown);
    for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
        testbed_put("/sys/kernel/security/lockdown", cases[i].text);
        assert_int_equal(sysfs_read_kernel_facts(&k), 0);
        assert_int_equal(k.lockdown, cases[i].locked);
    }
    /* securityfs is not mounted. Then it is, and the kernel has no lockdown. */
    testbed_remove("/sys/kernel/security/lockdown");
    testbed_mkdir("/sys/kernel/security");
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_true(k.lockdown);
    testbed_put("/sys/kernel/security/lsm", "capability\n");
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_false(k.lockdown);
    testbed_mkdir("/sys/kernel/security/lockdown"); /* unreadable */
    assert_int_equal(sysfs_read_kernel_facts(&k), 0);
    assert_true(k.lockdown);
}

/* Devices that are claimed together or alternately do not take each other's place: functions of a bus, and
 * the first device of each bus, where most cards are. */
static void test_neighbours_have_places_of_their_own(void **state) {
    static const struct {
        unsigned n, bus, slot, function; /* the number of devices, and the steps from each to the next */
    } rows[] = {{32, 1, 0, 0}, {32, 0, 1, 0}, {8, 0, 0, 1}};

    for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
        const KeptFiles *found[32];

        for (unsigned n = 0; n < rows[i].n; n++) {
            char address[32];
            DeviceName name;

            (void) snprintf(address, sizeof(address), "0000:%02x:%02x.%x", n * rows[i].bus, n * rows[i].slot,
                    n * rows[i].function);
            assert_int_equal(device_name_parse(address, &name), 0);
            found[n] = kept_files_find(&name);
            for (unsigned k = 0; k < n; k++)
                assert_ptr_not_equal(found[n], found[k]);
        }
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, testbed_setup, testbed_teardown)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_no_descriptors), /* first: later ones leave files open, see kept-files.h */
            TEST(test_device),
            TEST(test_no_cdev),
            TEST(test_noiommu_group_is_none),
            TEST(test_hostile_attributes),
            TEST(test_vanishing),
            TEST(test_scan),
            TEST(test_reset_of_a_shared_bus),
            TEST(test_facts),
            TEST(test_kept_files),
            TEST(test_many_kept_files),
            TEST(test_check_of_an_open_device),
            TEST(test_acs_on_the_root_bus),
            TEST(test_acs_below_ports),
            TEST(test_acs_of_virtual_function),
            TEST(test_known_facts),
            TEST(test_serial),
            TEST(test_slot_path),
            TEST(test_properties),
            TEST(test_group_facts),
            TEST(test_kernel_facts),
            TEST(test_neighbours_have_places_of_their_own),
            TEST(test_lockdown),
    };

    if (!testbed_works()) {
        puts("1..0 # SKIP run me under umockdev-wrapper");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
