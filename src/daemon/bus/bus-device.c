/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vfiod1.Device. What the kernel announces comes from the inventory; what it never announces is read from
 * the host while the property is read. A fact that cannot be read has its unknown value: one sick device must
 * not make GetManagedObjects fail for all. */

#include <stdio.h>

#include "daemon/bus/bus-internal.h"

#define PREFIX BUS_FACE_PATH "/device"

/* One fact; the caller is done with *ret. */
static void read_fact(sd_bus *bus, const Device *d, DeviceFactMask what, DeviceFacts *ret) {
    const FactSource *source = &bus_face_current(bus)->context.host->facts;

    *ret = DEVICE_FACTS_NULL;
    if (source->read_facts(source->userdata, d, what, ret) >= 0)
        return;
    device_facts_done(ret);
    *ret = DEVICE_FACTS_NULL;
}

static int get_name(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Device *d = userdata;
    char name[DEVICE_NAME_MAX];

    return sd_bus_message_append(reply, "s", device_name_format(&d->name, name));
}

static int get_driver(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Device *d = userdata;

    return bus_append_text(reply, d->driver);
}

static int get_driver_override(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(bus, userdata, DEVICE_FACT_DRIVER_OVERRIDE, &facts);
    return bus_append_text(reply, facts.driver_override);
}

static int get_group(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Device *d = userdata;
    char buf[BUS_OBJECT_PATH_MAX];

    return sd_bus_message_append(reply, "o", d->group ? bus_group_path(d->group->id, buf) : "/");
}

static int get_vfio_node(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Device *d = userdata;
    char node[64] = "";

    if (d->vfio_index >= 0 && d->vfio_rdev != 0)
        snprintf(node, sizeof node, "/dev/vfio/devices/vfio%d", d->vfio_index);
    return sd_bus_message_append(reply, "s", node);
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Device *d = userdata;

    return sd_bus_message_append(reply, "s", bus_state_of(bus_claim_of_device(d), d->quarantined));
}

static int get_claim(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    return bus_append_claim_path(reply, bus_claim_of_device(userdata));
}

static int get_numa_node(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(bus, userdata, DEVICE_FACT_NUMA_NODE, &facts);
    return sd_bus_message_append(reply, "i", facts.numa_node);
}

static int get_reset_methods(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    _cleanup_(device_facts_done) DeviceFacts facts;
    int r;

    read_fact(bus, userdata, DEVICE_FACT_RESET_METHODS, &facts);
    r = sd_bus_message_open_container(reply, 'a', "s");
    if (r < 0)
        return r;
    for (int i = 0; i < _RESET_METHOD_MAX; i++) {
        if (!(facts.reset_methods & (1U << i)))
            continue;
        r = sd_bus_message_append(reply, "s", reset_method_to_string((ResetMethod) i));
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(reply);
}

static int get_acs_path(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Device *d = userdata;
    const HostSource *source = bus_face_current(bus)->context.host;
    AcsReport report = {.path = ACS_UNKNOWN};
    char blocker[DEVICE_NAME_MAX] = "";

    if (source->read_acs(source->facts.userdata, d, &report) < 0)
        report = (AcsReport){.path = ACS_UNKNOWN};
    if (report.has_blocker)
        device_name_format(&report.blocker, blocker);
    return sd_bus_message_append(reply, "(ss)", acs_path_to_string(report.path), blocker);
}

static int get_removable(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(bus, userdata, DEVICE_FACT_REMOVABLE, &facts);
    return sd_bus_message_append(reply, "s", removable_to_string(facts.removable));
}

static int get_host_critical(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    _cleanup_(device_facts_done) DeviceFacts facts;

    read_fact(bus, userdata, DEVICE_FACT_HOST_CRITICAL, &facts);
    return bus_append_text(reply, facts.host_critical);
}

const sd_bus_vtable bus_device_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", get_name, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Vendor", "q", NULL, offsetof(Device, vendor), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Product", "q", NULL, offsetof(Device, device), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SubsystemVendor", "q", NULL, offsetof(Device, subsystem_vendor),
                SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("SubsystemProduct", "q", NULL, offsetof(Device, subsystem_device),
                SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY(
                "Class", "u", NULL, offsetof(Device, class_code), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY(
                "Revision", "y", NULL, offsetof(Device, revision), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Driver", "s", get_driver, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("DriverOverride", "s", get_driver_override, 0, 0),
        SD_BUS_PROPERTY("Group", "o", get_group, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("VfioNode", "s", get_vfio_node, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Claim", "o", get_claim, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("NumaNode", "i", get_numa_node, 0, 0),
        SD_BUS_PROPERTY("ResetMethods", "as", get_reset_methods, 0, 0),
        SD_BUS_PROPERTY("AcsPath", "(ss)", get_acs_path, 0, SD_BUS_VTABLE_PROPERTY_EXPLICIT),
        SD_BUS_PROPERTY("Removable", "s", get_removable, 0, 0),
        SD_BUS_PROPERTY("HostCritical", "s", get_host_critical, 0, SD_BUS_VTABLE_PROPERTY_EXPLICIT),
        SD_BUS_VTABLE_END,
};

/* Only the one spelling that we write is an object; "06:0d.0" is a name, but no path. */
static int find_device(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
        sd_bus_error *error) {
    BusFace *b = userdata;
    char canonical[BUS_OBJECT_PATH_MAX];
    _cleanup_free_ char *text = NULL;
    DeviceName name;
    Device *d;
    int r;

    r = sd_bus_path_decode(path, PREFIX, &text);
    if (r <= 0)
        return r;
    if (device_name_parse(text, &name) < 0 || !streq(bus_device_path(&name, canonical), path))
        return 0;
    d = inventory_find_device(b->context.inventory, &name);
    if (!d)
        return 0;
    *ret_found = d;
    return 1;
}

static int add_path(Device *d, void *userdata) {
    char path[BUS_OBJECT_PATH_MAX];

    return bus_paths_add(userdata, bus_device_path(&d->name, path));
}

static int enumerate_devices(
        sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
    BusFace *b = userdata;
    _cleanup_(bus_paths_done) BusPaths paths = {};
    int r;

    if (startswith(prefix, PREFIX "/"))
        return 0; /* one of them is looked at: nothing is below it */
    r = inventory_foreach_device(b->context.inventory, add_path, &paths);
    if (r < 0)
        return r;
    *ret_nodes = TAKE_PTR(paths.list);
    return 0;
}

int bus_device_export(BusFace *b) {
    int r;

    r = sd_bus_add_fallback_vtable(
            b->bus, NULL, PREFIX, BUS_DEVICE_INTERFACE, bus_device_vtable, find_device, b);
    if (r < 0)
        return r;
    return sd_bus_add_node_enumerator(b->bus, NULL, PREFIX, enumerate_devices, b);
}
