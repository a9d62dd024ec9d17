/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The devices that nobody can use, because they could not be reset or restored, and two ways to free them:
 * retry, which is followed until its end, and clear, with a reason for the journal. */

#include "base/str.h"
#include "client/calls.h"
#include "client/pager.h"
#include "client/show.h"

static const TableColumn columns[] = {
        {"DEVICE"}, {"CAUSE"}, {"CLAIM"}, {"FAILURE", .drop = 1, .below = true}};

static const Object *find_claim(const Objects *objects, const char *id) {
    for (size_t i = 0; i < objects->n_items; i++)
        if (objects->items[i].kind == OBJECT_CLAIM && streq(objects->items[i].name, id))
            return &objects->items[i];
    return NULL;
}

static int add_entry(struct json_object *array, const Objects *objects, struct json_object *device) {
    _cleanup_json_ struct json_object *entry = json_object_new_object();
    const char *id = json_text(device, "claim");
    const Object *claim = find_claim(objects, id);

    if (!entry || json_add_string(entry, "device", json_text(device, "name")) < 0 ||
            json_add_string(entry, "quarantineCause", json_text(device, "quarantineCause")) < 0 ||
            json_add_string(entry, "cause", json_text(device, "quarantineCause")) < 0 || /* its older name */
            json_add_string(entry, "claim", id) < 0 ||
            json_add_string(entry, "failure", claim ? json_text(claim->properties, "failure") : "") < 0)
        return -ENOMEM;
    return json_append(array, TAKE_PTR(entry));
}

static int show_table_of(struct json_object *array, const Options *o, VfiodErrorText *error) {
    _cleanup_(table_freep) Table *t = table_new(columns, ELEMENTSOF(columns));

    if (!t)
        return error_text_errno(error, ENOMEM, "Cannot show the devices");
    for (size_t i = 0; i < json_object_array_length(array); i++) {
        struct json_object *entry = json_object_array_get_idx(array, i);

        table_add_row(t);
        table_set(t, 0, json_text(entry, "device"), COLOUR_NONE);
        table_set(t, 1, json_text(entry, "quarantineCause"), COLOUR_RED);
        table_set(t, 2, json_text(entry, "claim"), COLOUR_NONE);
        table_set(t, 3, json_text(entry, "failure"), COLOUR_NONE);
    }
    if (json_object_array_length(array) == 0) {
        puts("No device is quarantined.");
        return 0;
    }
    return show_sorted_table(t, o, error);
}

static int list(VfiodConnection *c, const Options *o, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    _cleanup_objects_ Objects objects = {};
    int r;

    r = check_sort(o, columns, ELEMENTSOF(columns), error);
    if (r >= 0)
        r = call_get_objects(c, &objects, error);
    if (r < 0)
        return r;
    r = array ? 0 : -ENOMEM;
    for (size_t i = 0; r >= 0 && i < objects.n_items; i++)
        if (objects.items[i].kind == OBJECT_DEVICE &&
                streq(json_text(objects.items[i].properties, "state"), "quarantined"))
            r = add_entry(array, &objects, objects.items[i].properties);
    if (r < 0)
        return error_text_errno(error, r, "Cannot show the devices");
    pager_open(o);
    if (!o->json)
        return show_table_of(array, o, error);
    r = show_json(stdout, array, /* pretty= */ true);
    return r < 0 ? error_text_errno(error, r, "Cannot show the devices") : 0;
}

/* Called before, because the device may be free afterwards. */
static int find_claims(VfiodConnection *c, const char *const *devices, size_t n, struct json_object **ret,
        VfiodErrorText *error) {
    _cleanup_json_ struct json_object *ids = json_object_new_object(); /* each once */

    for (size_t i = 0; ids && i < n; i++) {
        _cleanup_object_ Object device = OBJECT_NULL;
        int r = call_find_object(c, devices[i], &device, error);

        if (r < 0)
            return r;
        if (device.kind != OBJECT_DEVICE)
            return error_text_set(
                    error, EINVAL, ERROR_NAME_USAGE, "quarantine %s: expected a device.", devices[i]);
        if (json_add(ids, json_text(device.properties, "claim"), json_object_new_boolean(true)) < 0)
            return error_text_errno(error, ENOMEM, "Cannot follow the claims");
    }
    if (!ids)
        return error_text_errno(error, ENOMEM, "Cannot follow the claims");
    *ret = TAKE_PTR(ids);
    return 0;
}

static int end(VfiodConnection *c, const Options *o, Method method, VfiodErrorText *error) {
    const VfiodRequest request = {
            .devices = (const char *const *) o->arguments + 1, .n_devices = o->n_arguments - 1};
    const Call call = {.method = method, .request = &request, .reason = o->reason, .pidfd = -EBADF};
    _cleanup_json_ struct json_object *ids = NULL;
    int r;

    r = request_check(&request, error);
    if (r >= 0)
        r = find_claims(c, request.devices, request.n_devices, &ids, error);
    if (r >= 0)
        r = call_simply(c, &call, error);
    if (r < 0 || !o->wait)
        return r;
    json_object_object_foreach(ids, id, unused) {
        (void) unused;
        r = release_wait(id, /* asked= */ true, o, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static int check(const Options *o, bool lists, bool clears, VfiodErrorText *error) {
    if (lists ? o->n_arguments > 1 : o->n_arguments < 2)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                lists ? "quarantine list takes no device." : "quarantine %s: which device?", o->arguments[0]);
    if (clears && !o->reason)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE,
                "quarantine clear requires --reason: why the device is fine, for the journal.");
    if (!clears && o->reason)
        return error_text_set(error, EINVAL, ERROR_NAME_USAGE, "--reason goes with quarantine clear.");
    return 0;
}

int verb_quarantine(const Options *o, VfiodErrorText *error) {
    const char *action = o->n_arguments > 0 ? o->arguments[0] : "list";
    bool lists = streq(action, "list"), clears = streq(action, "clear");
    _cleanup_connection_ VfiodConnection *c = NULL;
    int r;

    if (!lists && !clears && !streq(action, "retry"))
        return error_text_set(
                error, EINVAL, ERROR_NAME_USAGE, "quarantine %s: expected list, retry or clear.", action);
    r = check(o, lists, clears, error);
    if (r >= 0)
        r = vfiod_connection_new(&c, error);
    if (r < 0)
        return r;
    return lists ? list(c, o, error)
                 : end(c, o, clears ? METHOD_CLEAR_QUARANTINE : METHOD_RETRY_QUARANTINE, error);
}
