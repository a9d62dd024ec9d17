/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The mediated devices that the drivers of this host can make, with the number available. */

#include <inttypes.h>
#include <stdio.h>

#include "base/str.h"
#include "client/calls.h"
#include "client/show.h"

#define KEY "mediatedTypes"

/* A parent is named by the kernel's name, or by that with its kind in front. */
static bool means(const char *word, const char *parent) {
    const char *colon = strchr(word, ':');

    return streq(word, parent) || (colon && streq(colon + 1, parent));
}

static bool is_meant(const Options *o, const char *parent) {
    for (size_t i = 0; i < o->n_arguments; i++)
        if (means(o->arguments[i], parent))
            return true;
    return o->n_arguments == 0;
}

/* The first word that names no parent; NULL: each names one. */
static const char *find_unknown(const Options *o, struct json_object *types) {
    for (size_t i = 0; i < o->n_arguments; i++) {
        bool known = false;

        for (size_t k = 0; !known && k < json_object_array_length(types); k++)
            known = means(o->arguments[i], json_text(json_object_array_get_idx(types, k), "parent"));
        if (!known)
            return o->arguments[i];
    }
    return NULL;
}

static int keep_meant(const Options *o, struct json_object *all, struct json_object **ret) {
    _cleanup_json_ struct json_object *kept = json_object_new_array();

    for (size_t i = 0; kept && all && i < json_object_array_length(all); i++) {
        struct json_object *type = json_object_array_get_idx(all, i);

        if (is_meant(o, json_text(type, "parent")) && json_object_array_add(kept, json_object_get(type)) < 0)
            return -ENOMEM;
    }
    *ret = TAKE_PTR(kept);
    return *ret ? 0 : -ENOMEM;
}

static void add_row(Table *t, struct json_object *type) {
    _cleanup_free_ char *devices = json_list_text(type, "devices");
    int64_t available = json_number(type, "available");
    char number[24];

    (void) snprintf(number, sizeof(number), "%" PRIi64, available);
    table_add_row(t);
    table_set(t, 0, json_text(type, "parent"), COLOUR_NONE);
    table_set(t, 1, json_text(type, "type"), COLOUR_NONE);
    table_set(t, 2, available < 0 ? "unknown" : number, available == 0 ? COLOUR_YELLOW : COLOUR_NONE);
    table_set(t, 3, json_text(type, "deviceApi"), COLOUR_NONE);
    table_set(t, 4, json_text(type, "name"), COLOUR_NONE);
    table_set(t, 5, devices, COLOUR_NONE);
}

static int show_types(const Options *o, struct json_object *types) {
    static const TableColumn columns[] = {{"PARENT"}, {"TYPE"}, {"AVAILABLE"}, {"API", .drop = 1},
            {"NAME", .cut = 16, .drop = 2}, {"DEVICES"}};
    _cleanup_(table_freep) Table *t = NULL;

    if (o->json)
        return show_json(stdout, types, /* pretty= */ true);
    if (json_object_array_length(types) == 0) {
        puts("No driver of this host makes mediated devices.");
        return 0;
    }
    t = table_new(columns, ELEMENTSOF(columns));
    if (!t)
        return -ENOMEM;
    for (size_t i = 0; i < json_object_array_length(types); i++)
        add_row(t, json_object_array_get_idx(types, i));
    return show_table(t, o);
}

int verb_types(const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *types = NULL;
    _cleanup_object_ Object manager = OBJECT_NULL;
    _cleanup_connection_ VfiodConnection *c = NULL;
    const char *unknown;
    int r;

    r = vfiod_connection_new(&c, error);
    if (r >= 0)
        r = call_get_manager(c, &manager, error);
    if (r >= 0)
        r = call_add_property(c, &manager, KEY, error);
    if (r < 0)
        return r;
    r = keep_meant(o, json_list(manager.properties, KEY), &types);
    unknown = r >= 0 ? find_unknown(o, types) : NULL;
    if (unknown)
        return error_text_set(error, ENODEV, ERROR_NAME_FAILED,
                "%s: no driver makes mediated devices of it. 'vfioctl types' shows all parents.", unknown);
    if (r >= 0)
        r = show_types(o, types);
    return r < 0 ? error_text_errno(error, r, "Cannot show the types") : 0;
}
