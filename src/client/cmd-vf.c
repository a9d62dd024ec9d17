/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The daemon may need minutes: a driver makes its functions one after the other. */

#include <inttypes.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

static int set_count(VfiodConnection *c, const char *device, const Options *o, VfiodErrorText *error) {
    const Call call = {.method = METHOD_SET_VIRTUAL_FUNCTIONS,
            .kind = "device",
            .name = device,
            .count = o->count,
            .autoprobe = o->autoprobe,
            .pidfd = -EBADF};

    return call_simply(c, &call, error);
}

/* A function that disappears meanwhile is left out. */
static int get_functions(
        VfiodConnection *c, const Object *device, struct json_object **ret, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    struct json_object *names = json_list(device->properties, "virtualFunctions");
    size_t n = names ? json_object_array_length(names) : 0;

    if (!array)
        return error_text_errno(error, ENOMEM, "Cannot show the virtual functions");
    for (size_t i = 0; i < n; i++) {
        const char *name = json_object_get_string(json_object_array_get_idx(names, i));
        _cleanup_object_ Object function = OBJECT_NULL;
        int r;

        r = call_find_object(c, name, &function, error);
        if (r < 0 && streq(error->name, "NoSuchDevice"))
            continue;
        if (r < 0)
            return r;
        if (json_object_array_add(array, json_object_get(function.properties)) < 0)
            return error_text_errno(error, ENOMEM, "Cannot show the virtual functions");
    }
    *ret = TAKE_PTR(array);
    return 0;
}

static void add_row(Table *t, struct json_object *function) {
    struct json_object *group = json_member(function, "group");
    const char *state = json_text(function, "state");

    table_add_row(t);
    table_set(t, 0, json_text(function, "name"), COLOUR_NONE);
    table_set(t, 1, group ? json_object_get_string(group) : NULL, COLOUR_NONE);
    table_set(t, 2, json_text(function, "driver"), COLOUR_NONE);
    table_set(t, 3, state, state_colour(state));
    table_set(t, 4, json_text(function, "claim"), COLOUR_NONE);
}

static int show_functions(const Options *o, const Object *device, struct json_object *functions) {
    static const TableColumn columns[] = {{"DEVICE"}, {"GROUP", .drop = 1}, {"DRIVER"}, {"STATE"}, {"CLAIM"}};
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));
    size_t n = json_object_array_length(functions);

    if (!t)
        return -ENOMEM;
    if (json_number(device->properties, "virtualFunctionsMax") == 0) {
        printf("%s: the device has no virtual functions (SR-IOV)\n", device->name);
        return 0;
    }
    printf("%s: %zu of %" PRIi64 " virtual functions\n", device->name, n,
            json_number(device->properties, "virtualFunctionsMax"));
    for (size_t i = 0; i < n; i++)
        add_row(t, json_object_array_get_idx(functions, i));
    return n > 0 ? show_table(t, o) : 0;
}

static int show_functions_json(const Object *device, struct json_object *functions) {
    _cleanup_json_ struct json_object *document = json_object_new_object();
    struct json_object *most = json_member(device->properties, "virtualFunctionsMax");

    if (!document || json_add(document, "device", json_object_new_string(device->name)) < 0 ||
            json_add(document, "virtualFunctionsMax", json_object_get(most)) < 0 ||
            json_add(document, "virtualFunctions", json_object_get(functions)) < 0)
        return -ENOMEM;
    return show_json(stdout, document, /* pretty= */ true);
}

static int find_device(VfiodConnection *c, const char *word, Object *ret, VfiodErrorText *error) {
    int r;

    r = call_find_object(c, word, ret, error);
    if (r < 0)
        return r;
    return ret->kind == OBJECT_DEVICE
            ? 0
            : error_text_set(error, EINVAL, ERROR_NAME_USAGE, "vf %s: expected a device.", word);
}

int verb_vf(const Options *o, VfiodErrorText *error) {
    _cleanup_object_ Object device = OBJECT_NULL, changed = OBJECT_NULL;
    _cleanup_json_ struct json_object *functions = NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    if (o->autoprobe >= 0 && o->count == UINT64_MAX)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--autoprobe requires --count.");
    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = find_device(c, o->arguments[0], &device, error);
    if (r >= 0 && o->count != UINT64_MAX)
        r = set_count(c, device.name, o, error);
    if (r >= 0)
        r = call_find_object(c, device.name, &changed, error);
    if (r >= 0)
        r = get_functions(c, &changed, &functions, error);
    if (r < 0)
        return r;
    r = o->json ? show_functions_json(&changed, functions) : show_functions(o, &changed, functions);
    return r < 0 ? error_text_errno(error, r, "Cannot show the virtual functions") : 0;
}
