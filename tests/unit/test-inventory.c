/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/device-kind.h"
#include "core/inventory.h"

static DeviceSnapshot snapshot(const char *name, int group, const char *driver) {
    DeviceSnapshot s = {.vendor = 0x1234, .device = 0x11e8, .class_code = 0x020000, .vfio_index = -1};

    assert_int_equal(device_name_parse(name, &s.name), 0);
    s.group = group;
    snprintf(s.driver, sizeof(s.driver), "%s", driver);
    return s;
}

static int update(Inventory *inventory, const DeviceSnapshot *s, Device **ret, int *ret_old_group) {
    int r = inventory_update(inventory, s, ret, ret_old_group);

    inventory_check(inventory);
    return r;
}

static int drop(Inventory *inventory, const char *spelling, int *ret_old_group) {
    DeviceName name;
    int r;

    assert_int_equal(device_name_parse(spelling, &name), 0);
    r = inventory_remove(inventory, &name, ret_old_group);
    inventory_check(inventory);
    return r;
}

static void test_add_and_remove(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    DeviceSnapshot a = snapshot("0000:01:00.0", 7, "e1000e"), b = snapshot("0000:01:00.1", 7, "e1000e"),
                   c = snapshot("0000:02:00.0", -1, "");
    int old_group = -2;
    Device *d;

    assert_non_null(inventory);
    assert_int_equal(update(inventory, &b, &d, NULL), DEVICE_ADDED | GROUP_ADDED);
    assert_string_equal(d->driver, "e1000e");
    assert_int_equal(d->group->id, 7);
    assert_null(d->claim);
    assert_int_equal(update(inventory, &a, NULL, NULL), DEVICE_ADDED);
    assert_int_equal(update(inventory, &c, &d, NULL), DEVICE_ADDED);
    assert_null(d->group);
    assert_null(d->driver);
    assert_int_equal(inventory_n_devices(inventory), 3);
    assert_int_equal(inventory_n_groups(inventory), 1);

    /* members are in the order of their names, whatever order they were added in, and share one driver
     * string */
    d = inventory_find_group(inventory, 7)->members;
    assert_int_equal(device_name_compare(&d->name, &a.name), 0);
    assert_int_equal(device_name_compare(&d->next->name, &b.name), 0);
    assert_null(d->next->next);
    assert_ptr_equal(d->driver, d->next->driver);

    assert_int_equal(drop(inventory, "0000:01:00.0", &old_group), DEVICE_REMOVED);
    assert_int_equal(old_group, 7);
    assert_int_equal(drop(inventory, "0000:01:00.0", &old_group), -ENOENT);
    assert_int_equal(drop(inventory, "0000:01:00.1", &old_group), DEVICE_REMOVED | GROUP_REMOVED);
    assert_int_equal(old_group, 7);
    assert_null(inventory_find_group(inventory, 7));
    assert_int_equal(drop(inventory, "0000:02:00.0", &old_group), DEVICE_REMOVED);
    assert_int_equal(old_group, -1);
    assert_int_equal(inventory_n_devices(inventory), 0);
    assert_int_equal(inventory_n_groups(inventory), 0);
}

static int write_name(Device *d, void *userdata) {
    char name[DEVICE_NAME_MAX], *text = userdata;

    strcat(strcat(text, " "), device_name_format_kernel(&d->name, name));
    return 0;
}

static void assert_descendants(Inventory *inventory, Device *d, const char *expected) {
    char text[256] = "";

    assert_int_equal(inventory_foreach_descendant(inventory, d, write_name, text), 0);
    assert_string_equal(text, expected);
}

static void set_parent(DeviceSnapshot *s, const char *name) {
    s->has_parent = name;
    if (name)
        assert_int_equal(device_name_parse(name, &s->parent), 0);
}

/* Children may be added before their parent, be linked to it later, and outlive it. */
static void test_descendants(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    DeviceSnapshot vmd = snapshot("0000:00:0e.0", 1, "vmd"), pf = snapshot("10000:e1:00.0", 2, "ice"),
                   vf0 = snapshot("10000:e1:01.0", 3, "iavf"), vf1 = snapshot("10000:e1:01.1", 4, "iavf");
    Device *d, *child;

    set_parent(&pf, "0000:00:0e.0");
    set_parent(&vf0, "10000:e1:00.0");
    update(inventory, &vf1, NULL, NULL);
    update(inventory, &vf0, &child, NULL);
    assert_null(inventory_find_parent(inventory, child));
    update(inventory, &pf, &d, NULL);
    assert_descendants(inventory, d, " 10000:e1:01.0");
    assert_ptr_equal(inventory_find_parent(inventory, child), d);
    assert_true(device_is_virtual_function(child));
    assert_false(device_is_virtual_function(d));
    set_parent(&vf1, "10000:e1:00.0");
    update(inventory, &vf1, NULL, NULL);
    assert_descendants(inventory, d, " 10000:e1:01.0 10000:e1:01.1");

    update(inventory, &vmd, &d, NULL);
    assert_descendants(inventory, d, " 10000:e1:00.0 10000:e1:01.0 10000:e1:01.1");
    drop(inventory, "10000:e1:00.0", NULL);
    assert_descendants(inventory, d, "");
    assert_null(inventory_find_parent(inventory, child));
    update(inventory, &pf, NULL, NULL);
    assert_descendants(inventory, d, " 10000:e1:00.0 10000:e1:01.0 10000:e1:01.1");
    set_parent(&vf0, NULL);
    update(inventory, &vf0, NULL, NULL);
    drop(inventory, "10000:e1:01.1", NULL);
    assert_descendants(inventory, d, " 10000:e1:00.0");

    /* cycles, which the kernel never reports, must end, too */
    set_parent(&vmd, "0000:00:0e.0");
    update(inventory, &vmd, &d, NULL);
    (void) inventory_foreach_descendant(inventory, d, write_name, (char[256]){});
}

static void test_changes(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    DeviceSnapshot s = snapshot("0000:01:00.0", 7, "nvme"), other = snapshot("0000:02:00.0", 8, "nvme");
    int old_group = -2;
    Device *d, *again;

    assert_int_equal(update(inventory, &s, &d, NULL), DEVICE_ADDED | GROUP_ADDED);
    assert_int_equal(update(inventory, &other, NULL, NULL), DEVICE_ADDED | GROUP_ADDED);
    assert_int_equal(update(inventory, &s, &again, &old_group), DEVICE_UNCHANGED);
    assert_ptr_equal(again, d);
    assert_int_equal(old_group, -2);

    s.driver[0] = '\0';
    assert_int_equal(update(inventory, &s, NULL, NULL), DEVICE_DRIVER_CHANGED);
    assert_null(d->driver);
    strcpy(s.driver, "vfio-pci");
    s.vfio_index = 3;
    s.vfio_rdev = 0x1ff03;
    assert_int_equal(update(inventory, &s, NULL, NULL), DEVICE_DRIVER_CHANGED | DEVICE_NODE_CHANGED);
    assert_string_equal(d->driver, "vfio-pci");
    s.vfio_rdev = 0;
    assert_int_equal(update(inventory, &s, NULL, NULL), DEVICE_NODE_CHANGED);

    /* to a new group, to an existing one, to none, and back */
    s.group = 9;
    assert_int_equal(
            update(inventory, &s, NULL, &old_group), DEVICE_GROUP_CHANGED | GROUP_ADDED | GROUP_REMOVED);
    assert_int_equal(old_group, 7);
    s.group = 8;
    assert_int_equal(update(inventory, &s, NULL, &old_group), DEVICE_GROUP_CHANGED | GROUP_REMOVED);
    assert_int_equal(old_group, 9);
    assert_int_equal(d->group->n_members, 2);
    s.group = -1;
    assert_int_equal(update(inventory, &s, NULL, &old_group), DEVICE_GROUP_CHANGED);
    assert_int_equal(old_group, 8);
    s.group = 8;
    assert_int_equal(update(inventory, &s, NULL, &old_group), DEVICE_GROUP_CHANGED);
    assert_int_equal(old_group, -1);
}

/* Another card in the same slot, whose removal was missed, is never taken for the old one. */
static void test_other_hardware(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    const DeviceSnapshot s = snapshot("0000:01:00.0", 7, "nvme");
    DeviceSnapshot table[6] = {s, s, s, s, s, s};
    Device *d;

    table[0].vendor++;
    table[1].device++;
    table[2].subsystem_vendor++;
    table[3].subsystem_device++;
    table[4].class_code++;
    table[5].revision++;

    assert_int_equal(update(inventory, &s, &d, NULL), DEVICE_ADDED | GROUP_ADDED);
    assert_true(device_is_same_hardware(d, &s));
    for (size_t i = 0; i < ELEMENTSOF(table); i++) {
        strcpy(table[i].driver, "other");
        table[i].group = 9;
        assert_false(device_is_same_hardware(d, &table[i]));
        assert_int_equal(update(inventory, &table[i], NULL, NULL), -ESTALE);
        assert_string_equal(d->driver, "nvme");
        assert_int_equal(d->group->id, 7);
        assert_null(inventory_find_group(inventory, 9));
    }
}

static int count_devices(Device *d, void *userdata) {
    DeviceName *last = userdata;

    assert_true(device_name_compare(last, &d->name) < 0);
    *last = d->name;
    return d->name.slot == 5 ? 55 : 0;
}

static int count_groups(Group *g, void *userdata) {
    int *last = userdata;

    assert_true(g->id > *last);
    *last = g->id;
    return g->id == 11 ? -11 : 0;
}

static void test_walks_are_in_order_and_stop(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    DeviceName last = {}; /* 0000:00:00.0, which does not exist */
    int last_group = -1;

    assert_int_equal(inventory_foreach_device(inventory, count_devices, &last), 0);
    assert_int_equal(inventory_foreach_group(inventory, count_groups, &last_group), 0);

    for (unsigned i = 0; i < 32; i++) {
        DeviceSnapshot s = snapshot("0000:01:00.0", (int) (i * 7 % 32), i % 2 ? "a" : "b");

        s.name.slot = i * 13 % 32;
        assert_int_equal(update(inventory, &s, NULL, NULL), DEVICE_ADDED | GROUP_ADDED);
    }
    assert_int_equal(inventory_foreach_device(inventory, count_devices, &last), 55);
    assert_int_equal(last.slot, 5);
    assert_int_equal(inventory_foreach_group(inventory, count_groups, &last_group), -11);
    assert_int_equal(last_group, 11);
}

static void test_fingerprint(void **state) {
    _cleanup_(inventory_freep) Inventory *one = inventory_new(), *two = inventory_new();
    DeviceSnapshot a = snapshot("0000:01:00.0", 7, "nvme"), b = snapshot("0000:01:00.1", 7, "nvme");
    uint64_t fingerprint;

    update(one, &a, NULL, NULL);
    update(one, &b, NULL, NULL);
    /* The number of the group, the drivers and the order of arrival do not matter. */
    a.group = b.group = 12;
    strcpy(a.driver, "vfio-pci");
    update(two, &b, NULL, NULL);
    update(two, &a, NULL, NULL);
    fingerprint = group_fingerprint(inventory_find_group(one, 7));
    assert_true(fingerprint == group_fingerprint(inventory_find_group(two, 12)));

    drop(two, "0000:01:00.1", NULL);
    assert_true(fingerprint != group_fingerprint(inventory_find_group(two, 12)));
    b.device++;
    update(two, &b, NULL, NULL);
    assert_true(fingerprint != group_fingerprint(inventory_find_group(two, 12)));
}

static void test_identity(void **state) {
    const Device card = {.vendor = 0x8086,
            .device = 0x10d3,
            .subsystem_vendor = 0x8086,
            .subsystem_device = 0xa01f,
            .class_code = 0x020000,
            .revision = 1};
    Device others[] = {card, card, card, card, card, card, card};
    const uint64_t identity = device_identity(&card);

    others[0].vendor++;
    others[1].device++;
    others[2].subsystem_vendor++;
    others[3].subsystem_device++;
    others[4].class_code++;
    others[5].revision++;
    others[6].vendor = card.device; /* the same numbers in another order */
    others[6].device = card.vendor;
    assert_in_range(identity, 1, DEVICE_IDENTITY_MAX);
    for (size_t i = 0; i < ELEMENTSOF(others); i++)
        assert_int_not_equal(device_identity(&others[i]), identity);
    others[0] = card;
    others[0].vfio_index = 7; /* its place and its driver's data are not part of its identity */
    others[0].driver = "vfio-pci";
    assert_int_equal(device_identity(&others[0]), identity);
}

static void test_bridges_and_viability(void **state) {
    static const struct {
        uint32_t class_code;
        bool bridge;
    } classes[] = {{0x060400, true}, {0x060401, true}, {0x060700, true}, {0x060940, true}, {0x060000, false},
            {0x060100, false}, {0x020000, false}, {0, false}};
    static const struct {
        const char *driver;
        int vfio_index;
        bool viable;
    } drivers[] = {{NULL, -1, true}, {"vfio-pci", -1, true}, {"pcieport", -1, true}, {"pci-stub", -1, true},
            {"e1000e", -1, false}, {"uio_pci_generic", -1, false}, {"pci-pf-stub", -1, false},
            {"shpchp", -1, false}, {"vfio-pci-lookalike", -1, false}, {"vendor_vfio_pci", -1, false},
            {"vendor_vfio_pci", 0, true}};

    for (size_t i = 0; i < ELEMENTSOF(classes); i++)
        assert_int_equal(device_is_bridge(&(Device){.class_code = classes[i].class_code}), classes[i].bridge);
    for (size_t i = 0; i < ELEMENTSOF(drivers); i++)
        assert_int_equal(device_leaves_group_viable(
                                 &(Device){.driver = drivers[i].driver, .vfio_index = drivers[i].vfio_index}),
                drivers[i].viable);
}

/* Ten thousand random events, checked against a plain array. */
static void test_random_events(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    static const char *const names[] = {"", "nvme", "e1000e", "vfio-pci"};
    bool present[64] = {};
    unsigned n_present = 0;
    uint32_t seed = 1;

    for (unsigned i = 0; i < 10000; i++) {
        DeviceSnapshot s;
        unsigned slot;
        int r;

        seed = seed * 1664525 + 1013904223;
        slot = seed >> 26;
        s = snapshot("0000:00:00.0", (int) (seed >> 20 & 7) - 1, names[seed >> 18 & 3]);
        s.name.slot = slot & 31;
        s.name.function = slot >> 5;

        if (seed >> 16 & 1) {
            r = inventory_update(inventory, &s, NULL, NULL);
            assert_int_equal(!!(r & DEVICE_ADDED), !present[slot]);
            n_present += !present[slot];
            present[slot] = true;
        } else {
            r = inventory_remove(inventory, &s.name, NULL);
            assert_int_equal(r == -ENOENT, !present[slot]);
            n_present -= present[slot];
            present[slot] = false;
        }
        assert_int_equal(inventory_n_devices(inventory), n_present);
        inventory_check(inventory);
    }
}

static void test_capabilities_go_with_their_device(void **state) {
    _cleanup_(inventory_freep) Inventory *inventory = inventory_new();
    DeviceSnapshot a = snapshot("0000:01:00.0", 7, "vfio-pci"), b = snapshot("0000:01:00.1", 7, "vfio-pci");

    assert_int_equal(update(inventory, &a, NULL, NULL), DEVICE_ADDED | GROUP_ADDED);
    assert_int_equal(update(inventory, &b, NULL, NULL), DEVICE_ADDED);
    assert_null(inventory_find_caps(inventory, &a.name));
    assert_int_equal(inventory_remember_caps(inventory, &a.name, &(DeviceCaps){.pasid_bits = 4}), 0);
    assert_int_equal(inventory_remember_caps(inventory, &b.name, &(DeviceCaps){.pasid_bits = 8}), 0);
    assert_int_equal(inventory_remember_caps(inventory, &a.name, &(DeviceCaps){.pasid_bits = 5}), 0);
    assert_int_equal(inventory_find_caps(inventory, &a.name)->pasid_bits, 5);
    assert_int_equal(drop(inventory, "0000:01:00.0", NULL), DEVICE_REMOVED);
    assert_null(inventory_find_caps(inventory, &a.name));
    assert_int_equal(inventory_find_caps(inventory, &b.name)->pasid_bits, 8);
    assert_int_equal(update(inventory, &a, NULL, NULL), DEVICE_ADDED);
    assert_null(inventory_find_caps(inventory, &a.name));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_add_and_remove),
            cmocka_unit_test(test_descendants),
            cmocka_unit_test(test_changes),
            cmocka_unit_test(test_other_hardware),
            cmocka_unit_test(test_walks_are_in_order_and_stop),
            cmocka_unit_test(test_fingerprint),
            cmocka_unit_test(test_identity),
            cmocka_unit_test(test_bridges_and_viability),
            cmocka_unit_test(test_random_events),
            cmocka_unit_test(test_capabilities_go_with_their_device),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
