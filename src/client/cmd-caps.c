/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/pager.h"
#include "client/show.h"

/* ---- Looking ---- */

static int probe(VfiodConnection *c, const char *name, VfiodErrorText *error) {
    const Call call = {.method = METHOD_PROBE_CAPABILITIES, .kind = "device", .name = name, .pidfd = -EBADF};

    return call_simply(c, &call, error);
}

static int find_device(
        VfiodConnection *c, const Options *o, const char *word, Object *ret, VfiodErrorText *error) {
    _cleanup_object_ Object device = OBJECT_NULL;
    int r;

    r = call_find_object(c, word, &device, error);
    if (r < 0)
        return r;
    if (device.kind != OBJECT_DEVICE)
        return error_text_set(error, EINVAL, "InvalidName", "%s: this is not a device.", word);
    if (!o->probe) {
        *ret = TAKE_GENERIC(device, OBJECT_NULL);
        return 0;
    }
    r = probe(c, device.name, error);
    return r < 0 ? r : call_find_object(c, device.name, ret, error);
}

static int find_devices(VfiodConnection *c, const Options *o, Objects *ret, VfiodErrorText *error) {
    int r;

    if (o->n_arguments == 0) {
        r = call_get_objects(c, ret, error);
        return r < 0 ? r : call_complete_objects(c, ret, OBJECT_DEVICE, error);
    }
    for (size_t i = 0; i < o->n_arguments; i++) {
        _cleanup_object_ Object device = OBJECT_NULL;

        r = find_device(c, o, o->arguments[i], &device, error);
        if (r < 0)
            return r;
        r = objects_add(ret, &device);
        if (r < 0)
            return error_text_errno(error, r, "Cannot show the devices");
    }
    return 0;
}

/* ---- Showing ---- */

/* NULL: nothing is known. */
static struct json_object *caps_of(const Object *device) {
    struct json_object *caps = json_member(device->properties, "capabilities");

    return capabilities_are_known(caps) ? caps : NULL;
}

static int show_table_of(const Options *o, const Objects *objects) {
    static const TableColumn columns[] = {{"NAME"}, {"DRIVER", .drop = 2}, {"IOMMU", .drop = 1},
            {"SNOOP", .drop = 3}, {"REMAPPED", .drop = 4}, {"PASID"}, {"DIRTY"}, {"MIGRATION"}, {"DMA-BUF"}};
    static const char *const keys[] = {NULL, "driver", "iommu", "enforced-coherency", "interrupt-remapping",
            "pasid", "dirty-tracking", "migration", "dma-buf"};
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));
    bool any = false;

    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < objects->n_items; i++) {
        struct json_object *caps =
                objects->items[i].kind == OBJECT_DEVICE ? caps_of(&objects->items[i]) : NULL;

        if (!caps)
            continue;
        any = true;
        table_add_row(t);
        table_set(t, 0, objects->items[i].name, COLOUR_NONE);
        for (size_t k = 1; k < ELEMENTSOF(keys); k++) {
            _cleanup_free_ char *text = show_capability(caps, keys[k]);

            table_set(t, k, text, COLOUR_NONE);
        }
    }
    if (any)
        return show_table(t, o);
    puts("No device has been looked at yet. See 'vfioctl caps --probe' in vfioctl(1).");
    return 0;
}

static void show_devices(const Options *o, const Objects *objects) {
    for (size_t i = 0; i < objects->n_items; i++) {
        if (i > 0)
            puts("");
        show_heading(o, objects->items[i].name);
        show_capabilities(o, caps_of(&objects->items[i]));
    }
}

static int add_json(struct json_object *array, const Object *device) {
    _cleanup_json_ struct json_object *entry = json_object_new_object();
    struct json_object *caps = caps_of(device);

    if (!entry || json_add(entry, "device", json_object_new_string(device->name)) < 0)
        return -ENOMEM;
    if (json_object_object_add(entry, "capabilities", json_object_get(caps)) < 0)
        return -ENOMEM;
    return json_object_array_add(array, TAKE_PTR(entry)) < 0 ? -ENOMEM : 0;
}

static int show_json_of(const Objects *objects) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    int r = array ? 0 : -ENOMEM;

    for (size_t i = 0; i < objects->n_items && r >= 0; i++)
        if (objects->items[i].kind == OBJECT_DEVICE)
            r = add_json(array, &objects->items[i]);
    return r < 0 ? r : show_json(stdout, array, /* pretty= */ true);
}

int verb_caps(const Options *o, VfiodErrorText *error) {
    _cleanup_objects_ Objects objects = {};
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    if (o->probe && o->n_arguments == 0)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--probe: name the devices to open.");
    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = find_devices(c, o, &objects, error);
    if (r < 0)
        return r;
    pager_open(o);
    if (o->json)
        r = show_json_of(&objects);
    else if (o->n_arguments == 0)
        r = show_table_of(o, &objects);
    else
        show_devices(o, &objects);
    return r < 0 ? error_text_errno(error, r, "Cannot show the devices") : 0;
}
