/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The tree and the events are the testbed's. Every change is made in the tree first and announced afterwards,
 * as the kernel does. What the callback receives is recorded as text. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/str.h"
#include "daemon/kernel/hotplug.h"
#include "host/sysfs.h"
#include "testbed.h"

#define NIC "8086:10d3:020000"
#define PORT "/sys/devices/pci0000:00/0000:00:1c.0"
#define DEVICE PORT "/0000:06:00.0"

typedef struct Fixture {
    sd_event *event;
    Inventory *inventory;
    Hotplug *hotplug;
    StrBuf heard;
} Fixture;

static const char *const change_names[] = {
        "added", "removed", "driver", "group", "node", "group-added", "group-removed"};

static void on_changed(void *userdata, Device *device, int changes, int old_group) {
    char name[DEVICE_NAME_MAX];
    Fixture *f = userdata;

    assert_ptr_equal(
            inventory_find_device(f->inventory, &device->name), device); /* also while it is being removed */
    inventory_check(f->inventory);
    strbuf_addf(&f->heard, "%s:", device_name_format_kernel(&device->name, name));
    for (size_t i = 0; i < ELEMENTSOF(change_names); i++)
        if (changes & 1 << i)
            strbuf_addf(&f->heard, " %s", change_names[i]);
    if (changes & (DEVICE_REMOVED | DEVICE_GROUP_CHANGED))
        strbuf_addf(&f->heard, " was %d", old_group);
    strbuf_add(&f->heard, "\n");
}

static int setup(void **state) {
    Fixture *f = calloc(1, sizeof(*f));

    testbed_setup(NULL);
    testbed_add_pci("0000:00:1c.0", "8086:1901:060400", 1, "pcieport");
    testbed_add_pci("0000:00:1c.0/0000:06:00.0", NIC, 7, "e1000e");
    f->inventory = inventory_new();
    assert_true(sd_event_new(&f->event) >= 0);
    assert_int_equal(hotplug_new(f->event, f->inventory, on_changed, f, &f->hotplug), 0);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    Fixture *f = *state;

    hotplug_free(f->hotplug);
    inventory_free(f->inventory);
    sd_event_unref(f->event);
    strbuf_done(&f->heard);
    free(f);
    return testbed_teardown(NULL);
}

/* Runs the loop until it is idle: everything that was sent is in the socket already. */
static void settle(Fixture *f) {
    while (sd_event_run(f->event, 0) > 0)
        ;
}

/* Compares what was received since the last call. */
static void assert_heard(Fixture *f, const char *expected) {
    settle(f);
    inventory_check(f->inventory);
    assert_string_equal(f->heard.text ?: "", expected);
    strbuf_done(&f->heard);
    f->heard = (StrBuf){};
}

static void test_first_scan_is_silent(void **state) {
    Fixture *f = *state;

    assert_int_equal(inventory_n_devices(f->inventory), 2);
    assert_heard(f, "");
}

#define UUID "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"
#define PLATFORM "/sys/devices/platform/QEMU0002:00"

/* Each event belongs to the device that it names, not to one above it. */
static void test_other_kinds(void **state) {
    Fixture *f = *state;

    testbed_put(DEVICE "/" UUID "/uevent", "");
    testbed_link(DEVICE "/" UUID "/subsystem", "../../../../../bus/mdev");
    testbed_link(
            "/sys/bus/mdev/devices/" UUID, "../../../devices/pci0000:00/0000:00:1c.0/0000:06:00.0/" UUID);
    testbed_uevent("add", DEVICE "/" UUID, "mdev");
    assert_heard(f, UUID ": added\n");
    testbed_put(DEVICE "/" UUID "/vfio-dev/vfio0/dev", "511:0\n");
    testbed_put(DEVICE "/" UUID "/vfio-dev/vfio0/uevent", "");
    testbed_link(DEVICE "/" UUID "/vfio-dev/vfio0/subsystem", "../../../../../../../class/vfio-dev");
    testbed_uevent("add", DEVICE "/" UUID "/vfio-dev/vfio0", "vfio-dev");
    assert_heard(f, UUID ": node\n");
    testbed_uevent("remove", DEVICE "/" UUID "/vfio-dev/vfio0", "vfio-dev");
    assert_heard(f, UUID ": node\n"); /* believed, although it is still there */

    testbed_put(PLATFORM "/uevent", "");
    testbed_link(PLATFORM "/subsystem", "../../../bus/platform");
    testbed_link("/sys/bus/platform/devices/QEMU0002:00", "../../../devices/platform/QEMU0002:00");
    testbed_uevent("add", PLATFORM, "platform");
    assert_heard(f, ""); /* nothing shows that it is hardware */
    testbed_put(PLATFORM "/vfio-dev/vfio1/uevent", "");
    testbed_link(PLATFORM "/vfio-dev/vfio1/subsystem", "../../../../../class/vfio-dev");
    testbed_uevent("add", PLATFORM "/vfio-dev/vfio1", "vfio-dev");
    assert_heard(f, "QEMU0002:00: added\n");
    testbed_uevent("remove", PLATFORM, "platform");
    testbed_remove("/sys/bus/platform/devices/QEMU0002:00");
    assert_heard(f, "QEMU0002:00: removed was -1\n");
}

static void test_life_of_a_device(void **state) {
    Fixture *f = *state;

    testbed_add_pci("0000:00:1c.0/0000:06:00.1", NIC, 7, NULL);
    testbed_uevent("add", PORT "/0000:06:00.1", "pci");
    assert_heard(f, "0000:06:00.1: added\n");
    testbed_add_pci("0000:00:1c.0/0000:07:00.0", NIC, 9, NULL);
    testbed_uevent("add", PORT "/0000:07:00.0", "pci");
    assert_heard(f, "0000:07:00.0: added group-added\n");

    testbed_remove(DEVICE "/driver");
    testbed_uevent("unbind", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: driver\n");

    testbed_link(DEVICE "/driver", "../../../../bus/pci/drivers/vfio-pci");
    testbed_put(DEVICE "/vfio-dev/vfio0/dev", "511:0\n");
    testbed_link(DEVICE "/vfio-dev/vfio0/subsystem", "../../../../../../class/vfio-dev");
    testbed_put(DEVICE "/vfio-dev/vfio0/uevent", "");
    testbed_uevent("add", DEVICE "/vfio-dev/vfio0", "vfio-dev");
    testbed_uevent("bind", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: driver node\n"); /* the second event found nothing new */

    /* an unbind of a device in use: the node is removed at once */
    testbed_remove(DEVICE "/driver");
    testbed_remove(DEVICE "/vfio-dev");
    testbed_uevent("remove", DEVICE "/vfio-dev/vfio0", "vfio-dev");
    assert_heard(f, "0000:06:00.0: driver node\n");

    testbed_remove("/sys/bus/pci/devices/0000:06:00.0");
    testbed_remove(DEVICE);
    testbed_uevent("remove", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: removed was 7\n");
    testbed_uevent("remove", DEVICE, "pci");
    assert_heard(f, "");
    testbed_remove("/sys/bus/pci/devices/0000:06:00.1");
    testbed_remove(PORT "/0000:06:00.1");
    testbed_uevent("remove", PORT "/0000:06:00.1", "pci");
    assert_heard(f, "0000:06:00.1: removed group-removed was 7\n");
    assert_int_equal(inventory_n_devices(f->inventory), 2);
}

/* Its address is reused before we learn of the removal: two devices, not one that changed. */
static void test_replaced(void **state) {
    Fixture *f = *state;

    testbed_uevent("remove", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: removed group-removed was 7\n0000:06:00.0: added group-added\n");

    /* the same if the removal is never announced */
    testbed_add_pci("0000:00:1c.0/0000:06:00.0", "8086:10d4:020000", 7, "e1000e");
    testbed_uevent("change", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: removed group-removed was 7\n0000:06:00.0: added group-added\n");
}

/* A removal that was announced before the device was found belongs to another device: udev is late. */
static void test_late_removals(void **state) {
    DeviceName name = {.pci_bus = 6};
    Fixture *f = *state;
    Device *d;

    testbed_put("/sys/kernel/uevent_seqnum", "4000000000\n");
    testbed_link(DEVICE "/driver", "../../../../bus/pci/drivers/vfio-pci");
    testbed_put(DEVICE "/vfio-dev/vfio0/dev", "511:0\n");
    testbed_uevent("bind", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: driver node\n");
    testbed_uevent("remove", DEVICE "/vfio-dev/vfio0", "vfio-dev");
    testbed_uevent("remove", DEVICE, "pci");
    assert_heard(f, "");

    /* It does show where to look. */
    testbed_remove(DEVICE "/vfio-dev");
    testbed_uevent("remove", DEVICE "/vfio-dev/vfio0", "vfio-dev");
    assert_heard(f, "0000:06:00.0: node\n");

    /* The device was found before the removal. It may be another device by now, and must be forgotten. */
    testbed_put("/sys/kernel/uevent_seqnum", "1\n");
    testbed_put(DEVICE "/vfio-dev/vfio0/dev", "511:0\n");
    testbed_uevent("bind", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: node\n");
    testbed_uevent("remove", DEVICE "/vfio-dev/vfio0", "vfio-dev");
    assert_heard(f, "0000:06:00.0: node\n");
    testbed_uevent("add", DEVICE "/vfio-dev/vfio0", "vfio-dev");
    assert_heard(f, "0000:06:00.0: node\n");

    /* A device that is opened and read again is known from then on. */
    d = inventory_find_device(f->inventory, &name);
    testbed_put("/sys/kernel/uevent_seqnum", "4000000000\n");
    assert_int_equal(sysfs_check_device(d), 0);
    testbed_uevent("remove", DEVICE "/vfio-dev/vfio0", "vfio-dev");
    testbed_uevent("remove", DEVICE, "pci");
    assert_heard(f, "");
}

static void test_group_changes(void **state) {
    Fixture *f = *state;

    testbed_link(DEVICE "/iommu_group", "../../../../kernel/iommu_groups/12");
    testbed_uevent("bind", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: group group-added group-removed was 7\n");
    testbed_remove(DEVICE "/iommu_group");
    testbed_uevent("change", DEVICE, "pci");
    assert_heard(f, "0000:06:00.0: group group-removed was 12\n");
}

static void test_irrelevant_events(void **state) {
    Fixture *f = *state;

    testbed_put("/sys/devices/pci0000:00/uevent", "");
    testbed_link("/sys/devices/pci0000:00/subsystem", "../../bus/pci");
    testbed_uevent("change", "/sys/devices/pci0000:00", "pci");
    testbed_uevent("change", DEVICE, "pci");
    testbed_uevent("remove", "/sys/devices/virtual/mdev/vfio-dev/vfio3", "vfio-dev");
    testbed_uevent("remove", PORT "/0000:66:00.0", "pci");
    assert_heard(f, "");
}

static void test_refresh(void **state) {
    DeviceName name = {.pci_bus = 6};
    Fixture *f = *state;

    assert_int_equal(hotplug_refresh(f->hotplug, &name), 0);
    assert_heard(f, "");
    testbed_remove(DEVICE "/driver");
    assert_int_equal(hotplug_refresh(f->hotplug, &name), 0);
    assert_heard(f, "0000:06:00.0: driver\n");

    /* by a name that is part of the device itself */
    testbed_remove("/sys/bus/pci/devices/0000:06:00.0");
    assert_int_equal(hotplug_refresh(f->hotplug, &inventory_find_device(f->inventory, &name)->name), -ENODEV);
    assert_heard(f, "0000:06:00.0: removed group-removed was 7\n");
    assert_int_equal(hotplug_refresh(f->hotplug, &name), -ENODEV);
    assert_heard(f, "");
}

/* An IOMMU that was probed late has created groups without events. The scan comes a second later. */
static void test_late_iommu(void **state) {
    Fixture *f = *state;
    uint64_t start, now;

    testbed_link(DEVICE "/iommu_group", "../../../../kernel/iommu_groups/12");
    testbed_add_pci("0000:00:1c.0/0000:07:00.0", NIC, 9, NULL);
    testbed_remove("/sys/bus/pci/devices/0000:00:1c.0");
    testbed_put("/sys/devices/platform/smmu/iommu/smmu0/uevent", "");
    testbed_link("/sys/devices/platform/smmu/iommu/smmu0/subsystem", "../../../../../class/iommu");
    testbed_uevent("add", "/sys/devices/platform/smmu/iommu/smmu0", "iommu");
    assert_heard(f, "");

    assert_true(sd_event_now(f->event, CLOCK_MONOTONIC, &start) >= 0);
    while (!f->heard.text) {
        assert_true(sd_event_run(f->event, 5 * 1000 * 1000) > 0);
        assert_true(sd_event_now(f->event, CLOCK_MONOTONIC, &now) >= 0);
        assert_true(now - start < 5 * 1000 * 1000);
    }
    /* present devices are found in the order of the directory */
    settle(f);
    assert_non_null(strstr(f->heard.text, "0000:06:00.0: group group-added group-removed was 7\n"));
    assert_non_null(strstr(f->heard.text, "0000:07:00.0: added group-added\n"));
    assert_non_null(strstr(f->heard.text, "0000:00:1c.0: removed group-removed was 1\n"));
    inventory_check(f->inventory);
}

/* More events than the socket holds. */
static void test_many_events(void **state) {
    Fixture *f = *state;

    for (unsigned i = 0; i < 200; i++) {
        char chain[64], path[128];

        snprintf(chain, sizeof(chain), "0000:00:1c.0/0000:%02x:%02x.0", 0x10 + i / 32, i % 32);
        snprintf(path, sizeof(path), "/sys/devices/pci0000:00/%s", chain);
        testbed_add_pci(chain, NIC, (int) (100 + i), NULL);
        while (!testbed_uevent("add", path, "pci"))
            settle(f);
    }
    settle(f);
    assert_int_equal(inventory_n_devices(f->inventory), 202);
    assert_int_equal(inventory_n_groups(f->inventory), 202);
    inventory_check(f->inventory);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void) {
    static const struct CMUnitTest tests[] = {
            TEST(test_first_scan_is_silent),
            TEST(test_other_kinds),
            TEST(test_life_of_a_device),
            TEST(test_replaced),
            TEST(test_late_removals),
            TEST(test_group_changes),
            TEST(test_irrelevant_events),
            TEST(test_refresh),
            TEST(test_late_iommu),
            TEST(test_many_events),
    };

    if (!testbed_works()) {
        puts("1..0 # SKIP run me under umockdev-wrapper");
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
