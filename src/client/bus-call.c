/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/bus-call.h"

#include <unistd.h>

#include "base/str.h"
#include "client/libvfiod-internal.h"
#include "client/show.h"
#include "client/vfioctl.h"

#define CLAIM_ID_LENGTH 16U

VfiodRequest options_request(const Options *o, const char *const *devices, size_t n_devices) {
    return (VfiodRequest){
            .devices = devices,
            .n_devices = n_devices,
            .backend = o->backend,
            .reason = o->reason,
            .grant = o->grant,
            .tether = o->tether,
            .cookie = o->cookie,
            .memlock = o->memlock,
            .untainted = o->untainted,
            .interactive = o->ask,
    };
}

int call_open_bus(sd_bus **ret, VfiodErrorText *error) {
    VfiodErrorText reason;
    int r = vfiod_open_bus(ret, &reason);

    if (r >= 0)
        return r;
    return error_text_set(error, reason.error, reason.name,
            "%s. This verb requires D-Bus. exec, hold and plan use vfiod's socket where it exists.",
            reason.message);
}

int call_plan(const VfiodRequest *request, struct json_object **ret, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *plan = NULL;
    _cleanup_free_ char *text = NULL;
    int r;

    r = vfiod_plan(request, &text, error);
    if (r < 0)
        return r;
    plan = json_tokener_parse(text);
    if (!json_object_is_type(plan, json_type_object))
        return error_text_errno(error, EBADMSG, "Cannot read vfiod's answer");
    if (ret)
        *ret = TAKE_PTR(plan);
    return 0;
}

void object_done(Object *o) {
    free(o->name);
    free(o->path);
    json_object_put(o->properties);
    *o = OBJECT_NULL;
}

void objects_done(Objects *o) {
    for (size_t i = 0; i < o->n_items; i++)
        object_done(o->items + i);
    free(o->items);
    *o = (Objects){};
}

static int compare_objects(const void *a, const void *b) {
    const Object *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    /* strverscmp: numbers by value, so group 8 comes before group 10. */
    return x->kind == OBJECT_GROUP ? strverscmp(x->name, y->name) : strcmp(x->name, y->name);
}

/* Reads one {oa{sa{sv}}} entry's contents; an object that is none of ours is left out. */
static int read_object(sd_bus_message *m, Objects *objects) {
    _cleanup_object_ Object object = OBJECT_NULL;
    const char *path;
    Object *bigger;
    int r;

    r = sd_bus_message_read_basic(m, 'o', &path);
    if (r < 0)
        return r;
    r = object_path_parse(path, &object.kind, &object.name);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return sd_bus_message_skip(m, "a{sa{sv}}");
    object.path = strdup(path);
    if (!object.path)
        return -ENOMEM;
    r = json_from_interfaces(m, &object.properties);
    if (r < 0)
        return r;
    bigger = reallocarray(objects->items, objects->n_items + 1, sizeof(Object));
    if (!bigger)
        return -ENOMEM;
    objects->items = bigger;
    bigger[objects->n_items++] = object;
    object = OBJECT_NULL;
    return 0;
}

static int read_objects(sd_bus_message *m, Objects *objects) {
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
        r = read_object(m, objects);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

int call_get_objects(sd_bus *bus, Objects *ret, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    _cleanup_objects_ Objects objects = {};
    int r;

    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, "org.freedesktop.DBus.ObjectManager",
            "GetManagedObjects", &bus_error, &reply, NULL);
    if (r < 0)
        return error_text_from_bus(error, &bus_error, r);
    r = read_objects(reply, &objects);
    if (r < 0)
        return error_text_errno(error, r, "Cannot read vfiod's answer");
    if (objects.n_items > 0)
        qsort(objects.items, objects.n_items, sizeof(Object), compare_objects);
    *ret = objects;
    objects = (Objects){};
    return 0;
}

/* A claim that went between two calls is no trouble, just no such claim. */
static int object_error(const Object *object, const sd_bus_error *bus_error, int r, VfiodErrorText *error) {
    if (object->kind == OBJECT_CLAIM && bus_error_is_unknown_object(bus_error))
        return error_text_set(error, ENOENT, "NoSuchClaim",
                "%s: there is no such claim. 'vfioctl status' shows the claims.", object->name);
    return error_text_from_bus(error, bus_error, r);
}

static int get_properties(sd_bus *bus, const Object *o, struct json_object **ret, sd_bus_error *bus_error) {
    _cleanup_message_ sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, o->path, "org.freedesktop.DBus.Properties", "GetAll",
            bus_error, &reply, "s", object_kind_interface(o->kind));
    return r < 0 ? r : json_from_properties(reply, ret);
}

int call_get_object(sd_bus *bus, const char *path, Object *ret, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_object_ Object object = OBJECT_NULL;
    int r;

    r = object_path_parse(path, &object.kind, &object.name);
    if (r < 0)
        return error_text_errno(error, r == -ENOMEM ? r : -EBADMSG, "Cannot read vfiod's answer");
    object.path = strdup(path);
    if (!object.path)
        return error_text_errno(error, ENOMEM, "Cannot call vfiod");
    r = get_properties(bus, &object, &object.properties, &bus_error);
    if (r < 0 && sd_bus_error_is_set(&bus_error))
        return object_error(&object, &bus_error, r, error);
    if (r < 0)
        return error_text_errno(error, r, "Cannot read vfiod's answer");
    *ret = object;
    object = OBJECT_NULL;
    return 0;
}

int call_complete_objects(sd_bus *bus, Objects *objects, ObjectKind kind, VfiodErrorText *error) {
    const char *key = kind == OBJECT_GROUP ? "type" : "numaNode";
    int r;

    for (size_t i = 0; i < objects->n_items; i++) {
        _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
        _cleanup_json_ struct json_object *properties = NULL;
        Object *o = objects->items + i;

        if (o->kind != kind || json_object_object_get_ex(o->properties, key, NULL))
            continue; /* an older daemon lists everything */
        r = get_properties(bus, o, &properties, &bus_error);
        if (r < 0 && bus_error_is_unknown_object(&bus_error))
            continue; /* it has just gone */
        if (r < 0)
            return error_text_from_bus(error, &bus_error, r);
        json_object_put(o->properties);
        o->properties = TAKE_PTR(properties);
    }
    return 0;
}

/* vfiod answered, but not with the value: not that the object or vfiod itself is gone. */
static bool is_refusal_of_one_property(const sd_bus_error *bus_error) {
    const char *name = bus_error->name ?: "";

    return startswith(name, VFIOD_BUS_NAME ".Error.") || startswith(name, "System.Error.");
}

/* A costly property may be refused (Holders is, to a caller that asks too often) or cannot be told: then it
 * is null, and everything else is shown all the same. */
static int add_costly(sd_bus *bus, Object *object, const char *property, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    struct json_object *value = NULL;
    _cleanup_free_ char *name = json_property_name(property);
    int r;

    if (!name)
        return error_text_errno(error, ENOMEM, "Cannot call vfiod");
    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, object->path, "org.freedesktop.DBus.Properties", "Get",
            &bus_error, &reply, "ss", object_kind_interface(object->kind), property);
    if (r < 0 && !is_refusal_of_one_property(&bus_error))
        return object_error(object, &bus_error, r, error);
    r = r < 0 ? 0 : json_from_value(reply, property, &value);
    if (r >= 0)
        r = json_object_object_add(object->properties, name, value) < 0 ? -ENOMEM : 0;
    return r < 0 ? error_text_errno(error, r, "Cannot read vfiod's answer") : 0;
}

int call_add_costly(sd_bus *bus, Object *object, VfiodErrorText *error) {
    /* Rule and PolicyWarnings cost nothing, but the first answer of a connection never has them: see
     * org.vfiod1(5). */
    static const char *const costly[_OBJECT_KIND_MAX][3] = {
            [OBJECT_MANAGER] = {"PolicyWarnings"},
            [OBJECT_DEVICE] = {"AcsPath", "HostCritical"},
            [OBJECT_CLAIM] = {"Holders", "Rule"},
    };

    for (const char *const *property = costly[object->kind]; *property; property++) {
        int r = add_costly(bus, object, *property, error);

        if (r < 0)
            return r;
    }
    return 0;
}

static bool is_claim_id(const char *s) {
    return strlen(s) == CLAIM_ID_LENGTH && strspn(s, "0123456789abcdef") == CLAIM_ID_LENGTH;
}

/* Asks the daemon, which knows every spelling, for the path of a device or group. */
static int find_path(sd_bus *bus, const char *word, char **ret, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *path, *number = startswith(word, "group:");
    uint64_t group;
    int r;

    if (!utf8_is_valid(word))
        return error_text_set(error, EINVAL, "InvalidName", "%s: the name is not UTF-8.", word);
    if (number && parse_unsigned(number, 10, UINT32_MAX, &group) < 0)
        return error_text_set(error, EINVAL, "InvalidName", "%s: a group is written group:NUMBER.", word);
    if (number)
        r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "GetGroup",
                &bus_error, &reply, "u", (uint32_t) group);
    else
        r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "GetDevice",
                &bus_error, &reply, "s", word);
    if (r < 0)
        return error_text_from_bus(error, &bus_error, r);
    r = sd_bus_message_read_basic(reply, 'o', &path);
    if (r >= 0)
        r = free_and_strdup(ret, path);
    return r < 0 ? error_text_errno(error, r, "Cannot read vfiod's answer") : 0;
}

/* Of groups and claims, whose numbers and ids stand in paths as they are; only device names are escaped. */
static int make_path(const char *directory, const char *name, char **ret, VfiodErrorText *error) {
    *ret = format_string("%s/%s", directory, name);
    return *ret ? 0 : error_text_errno(error, -ENOMEM, "Cannot call vfiod");
}

/* Root sees the cookies of others as well, and means their own. */
static int find_cookie(sd_bus *bus, const char *cookie, char **ret, VfiodErrorText *error) {
    _cleanup_objects_ Objects objects = {};
    int r;

    r = call_get_objects(bus, &objects, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < objects.n_items; i++) {
        const Object *o = &objects.items[i];

        if (*cookie && o->kind == OBJECT_CLAIM && streq(json_text(o->properties, "cookie"), cookie) &&
                json_number(o->properties, "uid") == (int64_t) geteuid()) {
            r = free_and_strdup(ret, o->path);
            return r < 0 ? error_text_errno(error, r, "Cannot call vfiod") : 0;
        }
    }
    return error_text_set(
            error, ENOENT, "NoSuchClaim", "cookie:%s: you have no claim with this cookie.", cookie);
}

int call_find_object(sd_bus *bus, const char *word, Object *ret, VfiodErrorText *error) {
    const char *cookie = startswith(word, "cookie:");
    _cleanup_free_ char *path = NULL;
    int r;

    if (cookie)
        r = find_cookie(bus, cookie, &path, error);
    else if (is_claim_id(word))
        r = make_path(VFIOD_OBJECT_PATH "/claim", word, &path, error);
    else
        r = find_path(bus, word, &path, error);
    return r < 0 ? r : call_get_object(bus, path, ret, error);
}

int call_get_related(sd_bus *bus, const Object *of, const char *property, ObjectKind kind, Object *ret,
        VfiodErrorText *error) {
    _cleanup_free_ char *path = NULL;
    struct json_object *name;
    int r;

    assert(kind == OBJECT_GROUP || kind == OBJECT_CLAIM);

    if (!json_object_object_get_ex(of->properties, property, &name) || !name)
        return 0;
    r = make_path(kind == OBJECT_GROUP ? VFIOD_OBJECT_PATH "/group" : VFIOD_OBJECT_PATH "/claim",
            json_object_get_string(name), &path, error);
    return r < 0 ? r : call_get_object(bus, path, ret, error);
}
