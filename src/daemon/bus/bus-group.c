/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* org.vfiod1.Group. */

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "daemon/bus/bus-internal.h"

#define PREFIX BUS_FACE_PATH "/group"

static int get_devices(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Group *g = userdata;
    char buf[BUS_OBJECT_PATH_MAX];
    int r;

    r = sd_bus_message_open_container(reply, 'a', "o");
    if (r < 0)
        return r;
    FOREACH_MEMBER(d, g) {
        r = sd_bus_message_append(reply, "o", bus_device_path(&d->name, buf));
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(reply);
}

static int get_fingerprint(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    char text[17];

    snprintf(text, sizeof text, "%016" PRIx64, group_fingerprint(userdata));
    return sd_bus_message_append(reply, "s", text);
}

static int get_state(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Group *g = userdata;
    bool quarantined = false;

    FOREACH_MEMBER(d, g)
        quarantined = quarantined || d->quarantined;
    return sd_bus_message_append(reply, "s", bus_state_of(g->claim, quarantined));
}

static int get_claim(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Group *g = userdata;

    return bus_append_claim_path(reply, g->claim);
}

static void read_facts(sd_bus *bus, const Group *g, GroupFacts *ret) {
    const HostSource *source = bus_face_current(bus)->context.host;

    *ret = (GroupFacts){};
    if (source->read_group(source->facts.userdata, g->id, ret) < 0)
        *ret = (GroupFacts){};
}

static int get_type(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    GroupFacts facts;

    read_facts(bus, userdata, &facts);
    return bus_append_text(reply, facts.type[0] ? facts.type : "unknown");
}

static int get_reserved_regions(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    GroupFacts facts;
    int r;

    read_facts(bus, userdata, &facts);
    r = sd_bus_message_open_container(reply, 'a', "(tts)");
    if (r < 0)
        return r;
    for (size_t i = 0; i < facts.n_regions; i++) {
        const ReservedRegion *region = &facts.regions[i];

        r = sd_bus_message_open_container(reply, 'r', "tts");
        if (r < 0)
            return r;
        r = sd_bus_message_append(reply, "tt", region->start, region->end);
        if (r < 0)
            return r;
        r = bus_append_text(reply, region->type);
        if (r < 0)
            return r;
        r = sd_bus_message_close_container(reply);
        if (r < 0)
            return r;
    }
    return sd_bus_message_close_container(reply);
}

static int get_vfio_node(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Group *g = userdata;
    char node[32] = "";
    GroupFacts facts;

    read_facts(bus, g, &facts);
    if (facts.node_present)
        snprintf(node, sizeof node, "/dev/vfio/%d", g->id);
    return sd_bus_message_append(reply, "s", node);
}

static int get_viable(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error) {
    const Group *g = userdata;
    int viable = 1;

    FOREACH_MEMBER(d, g)
        viable = viable && device_leaves_group_viable(d);
    return sd_bus_message_append(reply, "b", viable);
}

const sd_bus_vtable bus_group_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "u", NULL, offsetof(Group, id), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Devices", "ao", get_devices, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Fingerprint", "s", get_fingerprint, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("State", "s", get_state, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Claim", "o", get_claim, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_PROPERTY("Type", "s", get_type, 0, 0),
        SD_BUS_PROPERTY("ReservedRegions", "a(tts)", get_reserved_regions, 0, 0),
        SD_BUS_PROPERTY("VfioNode", "s", get_vfio_node, 0, 0),
        SD_BUS_PROPERTY("Viable", "b", get_viable, 0, SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

static int find_group(sd_bus *bus, const char *path, const char *interface, void *userdata, void **ret_found,
        sd_bus_error *error) {
    BusFace *b = userdata;
    char canonical[BUS_OBJECT_PATH_MAX];
    const char *text = startswith(path, PREFIX "/");
    uint64_t id;
    Group *g;

    if (!text || parse_unsigned(text, 10, INT32_MAX, &id) < 0 ||
            !streq(bus_group_path((int) id, canonical), path))
        return 0;
    g = inventory_find_group(b->context.inventory, (int) id);
    if (!g)
        return 0;
    *ret_found = g;
    return 1;
}

static int add_path(Group *g, void *userdata) {
    char path[BUS_OBJECT_PATH_MAX];

    return bus_paths_add(userdata, bus_group_path(g->id, path));
}

static int enumerate_groups(
        sd_bus *bus, const char *prefix, void *userdata, char ***ret_nodes, sd_bus_error *error) {
    BusFace *b = userdata;
    _cleanup_(bus_paths_done) BusPaths paths = {};
    int r;

    if (startswith(prefix, PREFIX "/"))
        return 0; /* one of them is looked at: nothing is below it */
    r = inventory_foreach_group(b->context.inventory, add_path, &paths);
    if (r < 0)
        return r;
    *ret_nodes = TAKE_PTR(paths.list);
    return 0;
}

int bus_group_export(BusFace *b) {
    int r;

    r = sd_bus_add_fallback_vtable(
            b->bus, NULL, PREFIX, BUS_GROUP_INTERFACE, bus_group_vtable, find_group, b);
    if (r < 0)
        return r;
    return sd_bus_add_node_enumerator(b->bus, NULL, PREFIX, enumerate_groups, b);
}
