/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

/* The columns that a device has in both forms; the first is its name, with a tree in front or not. */
enum {
    COLUMN_NAME,
    COLUMN_GROUP,
    COLUMN_CLASS,
    COLUMN_IDS,
    COLUMN_DRIVER,
    COLUMN_STATE,
    COLUMN_NODE,
    N_COLUMNS,
};
static const char *const list_headers[N_COLUMNS] = {
        "NAME", "GROUP", "CLASS", "IDS", "DRIVER", "STATE", "NODE"};
static const char *const tree_headers[N_COLUMNS] = {
        "NAME", "TYPE", "CLASS", "IDS", "DRIVER", "STATE", "NODE"};

/* The last component: /dev/vfio/devices/vfio0 is long, and what is before vfio0 never differs. */
static const char *node_name(const char *path) {
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static void set_device(Table *t, struct json_object *device) {
    const char *state = json_text(device, "state");
    char class[24], ids[16];

    if (is_pci(device)) {
        table_set(t, COLUMN_CLASS, class_word((uint32_t) json_number(device, "class"), class, sizeof(class)),
                COLOUR_NONE);
        snprintf(ids, sizeof(ids), "%04x:%04x", (unsigned) json_number(device, "vendor") & 0xffff,
                (unsigned) json_number(device, "product") & 0xffff);
        table_set(t, COLUMN_IDS, ids, COLOUR_NONE);
    }
    table_set(t, COLUMN_DRIVER, json_text(device, "driver"), COLOUR_NONE);
    table_set(t, COLUMN_STATE, state, state_colour(state));
    table_set(t, COLUMN_NODE, node_name(json_text(device, "vfioNode")), COLOUR_NONE);
}

static bool has_group(struct json_object *device, int64_t *ret) {
    struct json_object *group;

    if (!json_object_object_get_ex(device, "group", &group) || !json_object_is_type(group, json_type_int))
        return false;
    *ret = json_object_get_int64(group);
    return true;
}

static int list_devices(const Objects *objects, const Options *o) {
    _cleanup_(table_freep) Table *t = table_new(list_headers, N_COLUMNS);

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < objects->n_items; i++) {
        const Object *device = objects->items + i;
        char group[24];
        int64_t id;

        if (device->kind != OBJECT_DEVICE)
            continue;
        table_add_row(t);
        table_set(t, COLUMN_NAME, device->name, COLOUR_NONE);
        if (has_group(device->properties, &id)) {
            snprintf(group, sizeof(group), "%" PRIi64, id);
            table_set(t, COLUMN_GROUP, group, COLOUR_NONE);
        }
        set_device(t, device->properties);
    }
    return show_table(t, o);
}

static void add_branch(Table *t, const Object *device, bool last) {
    _cleanup_free_ char *text = NULL;
    const char *branch = screen_is_utf8() ? (last ? "└─" : "├─") : (last ? "`-" : "|-");

    text = format_string("%s%s", branch, device->name);
    table_add_row(t);
    table_set(t, COLUMN_NAME, text, COLOUR_NONE);
    set_device(t, device->properties);
}

/* Rows of all devices of one group, or (group NULL) of those without. */
static void add_members(Table *t, const Objects *objects, const int64_t *group) {
    const Object *previous = NULL;

    for (size_t i = 0; i < objects->n_items; i++) {
        const Object *device = objects->items + i;
        int64_t id;

        if (device->kind != OBJECT_DEVICE || has_group(device->properties, &id) != (group != NULL) ||
                (group && id != *group))
            continue;
        if (!previous && !group) {
            table_add_row(t);
            table_set(t, COLUMN_NAME, "no group", COLOUR_BOLD);
        }
        if (previous)
            add_branch(t, previous, false);
        previous = device;
    }
    if (previous)
        add_branch(t, previous, true);
}

static int list_groups(const Objects *objects, const Options *o) {
    _cleanup_(table_freep) Table *t = table_new(tree_headers, N_COLUMNS);

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < objects->n_items; i++) {
        const Object *group = objects->items + i;
        _cleanup_free_ char *name = NULL;
        const char *state;
        int64_t id;

        if (group->kind != OBJECT_GROUP)
            continue;
        id = json_number(group->properties, "id");
        state = json_text(group->properties, "state");
        name = format_string("group %" PRIi64, id);
        table_add_row(t);
        table_set(t, COLUMN_NAME, name, COLOUR_BOLD);
        table_set(t, COLUMN_GROUP, json_text(group->properties, "type"), COLOUR_NONE);
        table_set(t, COLUMN_DRIVER, json_flag(group->properties, "viable") ? "viable" : "not viable",
                COLOUR_NONE);
        table_set(t, COLUMN_STATE, state, state_colour(state));
        table_set(t, COLUMN_NODE, node_name(json_text(group->properties, "vfioNode")), COLOUR_NONE);
        add_members(t, objects, &id);
    }
    add_members(t, objects, NULL);
    return show_table(t, o);
}

static int list_json(const Objects *objects, ObjectKind kind) {
    _cleanup_json_ struct json_object *array = json_object_new_array();

    if (!array)
        return -ENOMEM;
    for (size_t i = 0; i < objects->n_items; i++)
        if (objects->items[i].kind == kind &&
                json_object_array_add(array, json_object_get(objects->items[i].properties)) < 0)
            return -ENOMEM;
    return show_json(stdout, array, /* pretty= */ true);
}

int verb_list(const Options *o, VfiodErrorText *error) {
    ObjectKind kind = o->groups ? OBJECT_GROUP : OBJECT_DEVICE;
    _cleanup_objects_ Objects objects = {};
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    r = call_get_objects(c, &objects, error);
    if (r >= 0 && (o->json || o->groups))
        r = call_complete_objects(c, &objects, kind, error);
    if (r < 0)
        return r;
    if (o->json)
        r = list_json(&objects, kind);
    else
        r = o->groups ? list_groups(&objects, o) : list_devices(&objects, o);
    return r < 0 ? error_text_errno(error, r, "Cannot show the list") : 0;
}
