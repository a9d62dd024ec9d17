/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/calls-bus.h"

#include "base/str.h"
#include "client/show.h"
#include "client/vfioctl.h"

VfiodRequest options_request(const Options *o, const char *const *devices, size_t n_devices) {
    return (VfiodRequest){
            .devices = devices,
            .n_devices = n_devices,
            .backend = o->backend,
            .reason = o->reason,
            .grant = o->grant,
            .tether = o->pid != 0 ? "process" : o->tether,
            .cookie = o->cookie,
            .memlock = o->memlock,
            .untainted = o->untainted,
            .interactive = o->ask,
            .more = &o->more,
    };
}

int call_simply(VfiodConnection *c, const Call *call, VfiodErrorText *error) {
    return connection_call(c, call, NULL, NULL, error);
}

static int keep_text(void *userdata, const char *text) {
    return free_and_strdup(userdata, text);
}

int call_reserve(VfiodConnection *c, const Call *call, struct json_object **ret, VfiodErrorText *error) {
    _cleanup_json_ struct json_object *answer = NULL;
    _cleanup_free_ char *text = NULL;
    int r;

    r = connection_call(c, call, keep_text, &text, error);
    if (r < 0)
        return r;
    answer = text ? json_tokener_parse(text) : NULL;
    if (!json_object_is_type(answer, json_type_object) || !*json_text(answer, "ticket"))
        return error_text_errno(error, EBADMSG, "Cannot read vfiod's answer");
    *ret = TAKE_PTR(answer);
    return 0;
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
    json_object_put(o->properties);
    *o = OBJECT_NULL;
}

void objects_done(Objects *o) {
    for (size_t i = 0; i < o->n_items; i++)
        object_done(o->items + i);
    free(o->items);
    *o = (Objects){};
}

int objects_add(Objects *objects, Object *o) {
    Object *bigger = reallocarray(objects->items, objects->n_items + 1, sizeof(Object));

    if (!bigger)
        return -ENOMEM;
    objects->items = bigger;
    bigger[objects->n_items++] = TAKE_GENERIC(*o, OBJECT_NULL);
    return 0;
}

static int compare_objects(const void *a, const void *b) {
    const Object *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    /* strverscmp() compares numbers by value: group 8 comes before group 10 */
    return x->kind == OBJECT_GROUP ? strverscmp(x->name, y->name) : strcmp(x->name, y->name);
}

/* ---- over the socket ---- */

static const char *socket_kind(ObjectKind kind) {
    return kind == OBJECT_MANAGER ? "host" : object_kind_to_string(kind);
}

int object_from_reply(struct json_object *parameters, Object *ret) {
    static const char *const names[_OBJECT_KIND_MAX] = {
            [OBJECT_DEVICE] = "name", [OBJECT_GROUP] = "id", [OBJECT_CLAIM] = "id"};
    _cleanup_object_ Object object = OBJECT_NULL;

    for (ObjectKind kind = 0; kind < _OBJECT_KIND_MAX && !object.properties; kind++) {
        struct json_object *properties = json_member(parameters, socket_kind(kind)), *name = NULL;

        if (!json_object_is_type(properties, json_type_object))
            continue;
        if (names[kind])
            name = json_member(properties, names[kind]);
        object = (Object){.kind = kind,
                .name = strdup(name ? json_object_get_string(name) : ""),
                .properties = json_object_get(properties)};
        if (!object.name)
            return -ENOMEM;
    }
    *ret = TAKE_GENERIC(object, OBJECT_NULL);
    return 0;
}

static int take_object(void *userdata, const char *text) {
    _cleanup_json_ struct json_object *reply = json_tokener_parse(text);
    _cleanup_object_ Object object = OBJECT_NULL;
    int r = object_from_reply(json_member(reply, "parameters"), &object);

    /* An empty list is one reply without an object. */
    return r < 0 || object.kind < 0 || object.kind == OBJECT_MANAGER ? r : objects_add(userdata, &object);
}

static int take_one(void *userdata, const char *text) {
    _cleanup_json_ struct json_object *reply = json_tokener_parse(text);
    Object *object = userdata;
    int r;

    object_done(object);
    r = object_from_reply(json_member(reply, "parameters"), object);
    return r < 0 ? r : object->kind < 0 ? -EBADMSG : 0;
}

static int socket_read(VfiodConnection *c, ObjectKind kind, const char *name, const char *field, Object *ret,
        VfiodErrorText *error) {
    const Call call = {.method = METHOD_LIST_ONE,
            .kind = socket_kind(kind),
            .name = name,
            .field = field,
            .pidfd = -EBADF};

    return connection_call(c, &call, take_one, ret, error);
}

/* ---- by either ---- */

int call_get_objects(VfiodConnection *c, Objects *ret, VfiodErrorText *error) {
    const Call call = {.method = METHOD_LIST_ALL, .pidfd = -EBADF};
    _cleanup_objects_ Objects objects = {};
    sd_bus *bus = bus_of(c);
    int r;

    r = bus ? bus_get_objects(bus, &objects, error) : connection_call(c, &call, take_object, &objects, error);
    if (r < 0)
        return r;
    if (objects.n_items > 0)
        qsort(objects.items, objects.n_items, sizeof(Object), compare_objects);
    *ret = TAKE_GENERIC(objects, (Objects){});
    return 0;
}

/* name: the full name. */
static int get_named(
        VfiodConnection *c, ObjectKind kind, const char *name, Object *ret, VfiodErrorText *error) {
    _cleanup_object_ Object object = {.kind = kind, .name = strdup(name)};
    sd_bus *bus = bus_of(c);
    int r;

    if (!object.name)
        return error_text_errno(error, ENOMEM, "Cannot call vfiod");
    r = bus ? bus_read(bus, kind, name, NULL, &object.properties, error)
            : socket_read(c, kind, name, NULL, &object, error);
    if (r >= 0)
        *ret = TAKE_GENERIC(object, OBJECT_NULL);
    return r;
}

int call_get_manager(VfiodConnection *c, Object *ret, VfiodErrorText *error) {
    return get_named(c, OBJECT_MANAGER, "", ret, error);
}

/* On the bus an object has one path. The daemon finds it for any spelling. */
static int find_named(
        VfiodConnection *c, ObjectKind kind, const char *name, Object *ret, VfiodErrorText *error) {
    _cleanup_free_ char *full = NULL;
    sd_bus *bus = bus_of(c);
    int r = bus ? bus_find(bus, kind, name, &full, error) : 0;

    return r < 0 ? r : get_named(c, kind, full ?: name, ret, error);
}

int call_complete_objects(VfiodConnection *c, Objects *objects, ObjectKind kind, VfiodErrorText *error) {
    const char *key = kind == OBJECT_GROUP ? "type" : "numaNode";

    for (size_t i = 0; i < objects->n_items; i++) {
        _cleanup_object_ Object whole = OBJECT_NULL;
        Object *o = objects->items + i;
        int r;

        if (o->kind != kind || json_object_object_get_ex(o->properties, key, NULL))
            continue; /* an older daemon lists all objects */
        r = get_named(c, kind, o->name, &whole, error);
        if (r < 0 && startswith(error->name, "NoSuch"))
            continue; /* it has just disappeared */
        if (r < 0)
            return r;
        json_object_put(o->properties);
        o->properties = TAKE_PTR(whole.properties);
    }
    return 0;
}

/* The error of an older daemon, by either transport. */
static bool is_unknown_to_daemon(const char *error) {
    return strstr(error, "InvalidParameter") || strstr(error, "UnknownMethod");
}

static int list_property(VfiodConnection *c, const char *property, Objects *ret, VfiodErrorText *error) {
    const Call call = {.method = METHOD_LIST_ALL, .field = property, .pidfd = -EBADF};
    sd_bus *bus = bus_of(c);
    int r = bus ? bus_list_devices(bus, property, ret, error)
                : connection_call(c, &call, take_object, ret, error);

    return r < 0 && is_unknown_to_daemon(error->name) ? 0 : r;
}

int call_add_to_devices(VfiodConnection *c, Objects *objects, const char *property, VfiodErrorText *error) {
    _cleanup_objects_ Objects answers = {};
    int r;

    r = list_property(c, property, &answers, error);
    if (r < 0)
        return r;
    if (answers.n_items > 0)
        qsort(answers.items, answers.n_items, sizeof(Object), compare_objects);
    for (size_t i = 0; i < objects->n_items; i++) {
        const Object *found = NULL;
        Object *o = &objects->items[i];

        if (o->kind != OBJECT_DEVICE)
            continue;
        if (answers.n_items > 0)
            found = bsearch(o, answers.items, answers.n_items, sizeof(Object), compare_objects);
        if (json_object_object_add(o->properties, property,
                    found ? json_object_get(json_member(found->properties, property)) : NULL) < 0)
            return error_text_errno(error, ENOMEM, "Cannot read vfiod's answer");
    }
    return 0;
}

/* vfiod answered without the value, but neither the object nor vfiod itself is gone. */
static bool is_refusal_of_one_property(const char *error) {
    if (strchr(error, '.'))
        return startswith(error, "System.Error.") ||
                streq(error, SD_BUS_ERROR_UNKNOWN_PROPERTY); /* of an older vfiod */
    return !startswith(error, "NoSuch") && !streq(error, ERROR_NAME_UNREACHABLE) &&
            !streq(error, ERROR_NAME_FAILED);
}

static int read_property(VfiodConnection *c, const Object *o, const char *property, struct json_object **ret,
        VfiodErrorText *error) {
    _cleanup_object_ Object part = OBJECT_NULL;
    sd_bus *bus = bus_of(c);
    int r;

    if (bus)
        return bus_read(bus, o->kind, o->name, property, ret, error);
    r = socket_read(c, o->kind, o->name, property, &part, error);
    if (r >= 0)
        *ret = json_object_get(json_member(part.properties, property));
    return r;
}

int call_add_property(VfiodConnection *c, Object *object, const char *property, VfiodErrorText *error) {
    struct json_object *value = NULL;
    int r = read_property(c, object, property, &value, error);

    if (r < 0)
        return r;
    if (json_object_object_add(object->properties, property, value) < 0)
        return error_text_errno(error, ENOMEM, "Cannot read vfiod's answer");
    return 0;
}

/* A costly property may be refused (OpenFiles, to a caller that asks too often) or unknown. Everything else
 * is shown anyway. */
int call_try_property(VfiodConnection *c, Object *object, const char *property, VfiodErrorText *error) {
    int r = call_add_property(c, object, property, error);

    if (r >= 0 || !is_refusal_of_one_property(error->name))
        return r;
    return json_object_object_add(object->properties, property, NULL) < 0
            ? error_text_errno(error, ENOMEM, "Cannot read vfiod's answer")
            : 0;
}

/* One search of processes for both properties. */
static int add_holders(Object *claim, VfiodErrorText *error) {
    struct json_object *files = json_object_get(json_list(claim->properties, "openFiles"));

    if (json_object_object_add(claim->properties, "holders", files) >= 0)
        return 0;
    json_object_put(files);
    return error_text_errno(error, ENOMEM, "Cannot read vfiod's answer");
}

int call_add_costly(VfiodConnection *c, Object *object, VfiodErrorText *error) {
    /* Rule and PolicyWarnings are cheap, but on the bus the first answer of a connection never has them: see
     * org.vfiod1(5). */
    static const char *const costly[_OBJECT_KIND_MAX][4] = {
            [OBJECT_MANAGER] = {"policyWarnings"},
            [OBJECT_DEVICE] = {"acsPath", "hostCritical", "tags"},
            [OBJECT_CLAIM] = {"openFiles", "rule"},
    };

    for (const char *const *property = costly[object->kind]; *property; property++) {
        int r = call_try_property(c, object, *property, error);

        if (r < 0)
            return r;
    }
    return object->kind == OBJECT_CLAIM ? add_holders(object, error) : 0;
}

static bool is_claim_id(const char *s) {
    return strlen(s) == CLAIM_ID_LENGTH && strspn(s, "0123456789abcdef") == CLAIM_ID_LENGTH;
}

int call_find_object(VfiodConnection *c, const char *word, Object *ret, VfiodErrorText *error) {
    const char *number = startswith(word, "group:");
    uint64_t group;

    if (!utf8_is_valid(word))
        return error_text_set(error, EINVAL, "InvalidName", "%s: the name is not UTF-8.", word);
    if (number && parse_unsigned(number, 10, UINT32_MAX, &group) < 0)
        return error_text_set(error, EINVAL, "InvalidName", "%s: a group is written group:NUMBER.", word);
    if (number)
        return find_named(c, OBJECT_GROUP, number, ret, error);
    return find_named(c, startswith(word, "cookie:") || is_claim_id(word) ? OBJECT_CLAIM : OBJECT_DEVICE,
            word, ret, error);
}

int call_find_claim(VfiodConnection *c, const char *word, char **ret, VfiodErrorText *error) {
    _cleanup_object_ Object object = OBJECT_NULL;
    const char *id;
    int r;

    r = call_find_object(c, word, &object, error);
    if (r < 0)
        return r;
    id = json_text(object.properties, object.kind == OBJECT_CLAIM ? "id" : "claim");
    if (!*id)
        return error_text_set(error, ENOENT, "NoSuchClaim", "%s: the device is not claimed.", word);
    r = free_and_strdup(ret, id);
    return r < 0 ? error_text_errno(error, r, "Cannot call vfiod") : 0;
}

int call_get_related(VfiodConnection *c, const Object *of, const char *property, ObjectKind kind, Object *ret,
        VfiodErrorText *error) {
    struct json_object *name = json_member(of->properties, property);

    assert(kind == OBJECT_GROUP || kind == OBJECT_CLAIM);

    return name ? get_named(c, kind, json_object_get_string(name), ret, error) : 0;
}

int call_find_reserved(VfiodConnection *c, const char *ticket, char **ret, VfiodErrorText *error) {
    _cleanup_free_ char *id = strndup(ticket, CLAIM_ID_LENGTH);
    _cleanup_object_ Object claim = OBJECT_NULL;
    struct json_object *devices;
    int r;

    if (!id)
        return error_text_errno(error, ENOMEM, "Cannot look for the reservation");
    r = is_claim_id(id) ? call_find_object(c, id, &claim, error) : -ENOENT;
    devices = r >= 0 && claim.kind == OBJECT_CLAIM ? json_list(claim.properties, "devices") : NULL;
    if (r < 0 && r != -ENOENT)
        return r;
    if (!devices || json_object_array_length(devices) == 0 ||
            !streq(json_text(claim.properties, "state"), "reserved"))
        return error_text_set(error, EACCES, "TicketInvalid",
                "there is no such reservation: it was redeemed or cancelled, it has expired, or there never "
                "was one.");
    *ret = strdup(json_object_get_string(json_object_array_get_idx(devices, 0)));
    return *ret ? 0 : error_text_errno(error, ENOMEM, "Cannot look for the reservation");
}
