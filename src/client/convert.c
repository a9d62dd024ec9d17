/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/convert.h"

#include <ctype.h>

#include "base/str.h"
#include "client/libvfiod-internal.h"

static const char *const object_kind_table[_OBJECT_KIND_MAX] = {
        [OBJECT_MANAGER] = "manager",
        [OBJECT_DEVICE] = "device",
        [OBJECT_GROUP] = "group",
        [OBJECT_CLAIM] = "claim",
};
DEFINE_STRING_TABLE(object_kind, ObjectKind);

static const char *const interface_table[_OBJECT_KIND_MAX] = {
        [OBJECT_MANAGER] = VFIOD_MANAGER_INTERFACE,
        [OBJECT_DEVICE] = "org.vfiod1.Device",
        [OBJECT_GROUP] = "org.vfiod1.Group",
        [OBJECT_CLAIM] = "org.vfiod1.Claim",
};

const char *object_kind_interface(ObjectKind kind) {
    assert(kind >= 0 && kind < _OBJECT_KIND_MAX);

    return interface_table[kind];
}

ObjectKind object_kind_from_interface(const char *interface) {
    for (int i = 0; i < _OBJECT_KIND_MAX; i++)
        if (streq(interface_table[i], interface))
            return (ObjectKind) i;
    return _OBJECT_KIND_INVALID;
}

/* Structs whose fields are shown with names. */
static const struct {
    const char *property;
    const char *fields[6];
} struct_names[] = {
        {"AcsPath", {"path", "blocker"}}, {"Holders", {"pid", "command"}},
        {"OpenFiles", {"pid", "command", "files"}}, {"ReservedRegions", {"start", "end", "type"}},
        {"MediatedTypes", {"parent", "type", "name", "deviceApi", "available", "devices"}},
        {"Figures", {"name", "labels", "value"}},
        {"StuckWorkers", {"pid", "device", "operation", "step", "since", "stack"}},
        {"Rules", {"rule", "effect", "file", "line", "predicates"}},
        {"iova-ranges", {"start", "end"}}, /* of Capabilities */
};

static const char *struct_field(const char *property, size_t i) {
    for (size_t k = 0; property && k < ELEMENTSOF(struct_names); k++)
        if (streq(struct_names[k].property, property))
            return i < ELEMENTSOF(struct_names[k].fields) ? struct_names[k].fields[i] : NULL;
    return NULL;
}

int object_path_parse(const char *path, ObjectKind *ret_kind, char **ret_name) {
    static const struct {
        const char *prefix;
        ObjectKind kind;
    } prefixes[] = {
            {VFIOD_OBJECT_PATH "/device", OBJECT_DEVICE},
            {VFIOD_OBJECT_PATH "/group", OBJECT_GROUP},
            {VFIOD_OBJECT_PATH "/claim", OBJECT_CLAIM},
    };
    _cleanup_free_ char *name = NULL;

    if (streq(path, VFIOD_OBJECT_PATH)) {
        name = strdup("");
        if (!name)
            return -ENOMEM;
        *ret_kind = OBJECT_MANAGER;
        *ret_name = TAKE_PTR(name);
        return 0;
    }
    for (size_t i = 0; i < ELEMENTSOF(prefixes); i++) {
        int r = sd_bus_path_decode(path, prefixes[i].prefix, &name);

        if (r < 0)
            return r;
        if (r == 0)
            continue;
        *ret_kind = prefixes[i].kind;
        *ret_name = TAKE_PTR(name);
        return 0;
    }
    return _OBJECT_KIND_INVALID;
}

char *json_property_name(const char *property) {
    char *name = strdup(property);

    if (name)
        name[0] = (char) tolower((unsigned char) name[0]);
    return name;
}

/* Hands o over in *ret; -ENOMEM when it is NULL. */
static int hand_over(struct json_object *o, struct json_object **ret) {
    if (!o)
        return -ENOMEM;
    *ret = o;
    return 0;
}

static int json_from_path(const char *path, struct json_object **ret) {
    _cleanup_free_ char *name = NULL;
    ObjectKind kind;
    uint64_t group;
    int r;

    if (streq(path, "/")) {
        *ret = NULL;
        return 0;
    }
    r = object_path_parse(path, &kind, &name);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return hand_over(json_object_new_string(path), ret);
    if (kind == OBJECT_GROUP && parse_unsigned(name, 10, UINT32_MAX, &group) >= 0)
        return hand_over(json_object_new_int64((int64_t) group), ret);
    return hand_over(json_object_new_string(name), ret);
}

static int json_from_basic(sd_bus_message *m, char type, struct json_object **ret) {
    union {
        uint8_t y;
        int b;
        int16_t n;
        uint16_t q;
        int32_t i;
        uint32_t u;
        int64_t x;
        uint64_t t;
        double d;
        const char *s;
    } v;
    int r;

    r = sd_bus_message_read_basic(m, type, &v);
    if (r < 0)
        return r;
    switch (type) {
    case 'y':
        return hand_over(json_object_new_int64(v.y), ret);
    case 'b':
        return hand_over(json_object_new_boolean(v.b), ret);
    case 'n':
        return hand_over(json_object_new_int64(v.n), ret);
    case 'q':
        return hand_over(json_object_new_int64(v.q), ret);
    case 'i':
        return hand_over(json_object_new_int64(v.i), ret);
    case 'u':
        return hand_over(json_object_new_int64(v.u), ret);
    case 'x':
        return hand_over(json_object_new_int64(v.x), ret);
    case 't':
        return hand_over(json_object_new_uint64(v.t), ret);
    case 'd':
        return hand_over(json_object_new_double(v.d), ret);
    case 's':
    case 'g':
        return hand_over(json_object_new_string(v.s), ret);
    case 'o':
        return json_from_path(v.s, ret);
    default: /* a file descriptor is not a value */
        return -EBADMSG;
    }
}

/* The key of a dictionary: text, or a path unchanged. */
static int read_key(sd_bus_message *m, const char **ret) {
    char type;
    int r;

    r = sd_bus_message_peek_type(m, &type, NULL);
    if (r < 0)
        return r;
    if (type != 's' && type != 'o')
        return -EBADMSG;
    return sd_bus_message_read_basic(m, type, ret);
}

static int json_from_dictionary(sd_bus_message *m, struct json_object **ret) {
    _cleanup_json_ struct json_object *object = json_object_new_object();
    int r;

    if (!object)
        return -ENOMEM;
    while ((r = sd_bus_message_at_end(m, false)) == 0) {
        struct json_object *value = NULL;
        const char *key;

        r = sd_bus_message_enter_container(m, 'e', NULL);
        if (r >= 0)
            r = read_key(m, &key);
        if (r >= 0)
            r = json_from_value(m, key, &value);
        if (r < 0)
            return r;
        if (json_object_object_add(object, key, value) < 0) {
            json_object_put(value);
            return -ENOMEM;
        }
        r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(object);
    return 0;
}

static int json_from_sequence(sd_bus_message *m, const char *property, struct json_object **ret) {
    _cleanup_json_ struct json_object *array = json_object_new_array();
    int r;

    if (!array)
        return -ENOMEM;
    while ((r = sd_bus_message_at_end(m, false)) == 0) {
        struct json_object *value = NULL;

        r = json_from_value(m, property, &value);
        if (r < 0)
            return r;
        if (json_object_array_add(array, value) < 0) {
            json_object_put(value);
            return -ENOMEM;
        }
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(array);
    return 0;
}

static int json_from_struct(sd_bus_message *m, const char *property, struct json_object **ret) {
    _cleanup_json_ struct json_object *object = NULL;
    int r;

    if (!struct_field(property, 0))
        return json_from_sequence(m, NULL, ret);
    object = json_object_new_object();
    if (!object)
        return -ENOMEM;
    for (size_t i = 0; (r = sd_bus_message_at_end(m, false)) == 0; i++) {
        const char *field = struct_field(property, i);
        struct json_object *value = NULL;

        if (!field) /* more fields than this version knows: there is no name for it */
            return -EBADMSG;
        r = json_from_value(m, NULL, &value);
        if (r < 0)
            return r;
        if (json_object_object_add(object, field, value) < 0) {
            json_object_put(value);
            return -ENOMEM;
        }
    }
    if (r < 0)
        return r;
    *ret = TAKE_PTR(object);
    return 0;
}

int json_from_value(sd_bus_message *m, const char *property, struct json_object **ret) {
    _cleanup_json_ struct json_object *value = NULL;
    const char *contents;
    char type;
    int r;

    r = sd_bus_message_peek_type(m, &type, &contents);
    if (r < 0)
        return r;
    if (r == 0)
        return -EBADMSG;
    if (!strchr("avr", type))
        return json_from_basic(m, type, ret);
    r = sd_bus_message_enter_container(m, type, contents);
    if (r < 0)
        return r;
    if (type == 'v')
        r = json_from_value(m, property, &value);
    else if (type == 'r')
        r = json_from_struct(m, property, &value);
    else if (contents[0] == '{')
        r = json_from_dictionary(m, &value);
    else
        r = json_from_sequence(m, property, &value);
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(value);
    return 0;
}

static int add_property(sd_bus_message *m, struct json_object *object) {
    _cleanup_free_ char *name = NULL;
    struct json_object *value = NULL;
    const char *property;
    int r;

    r = sd_bus_message_read_basic(m, 's', &property);
    if (r < 0)
        return r;
    name = json_property_name(property);
    if (!name)
        return -ENOMEM;
    r = json_from_value(m, property, &value);
    if (r < 0)
        return r;
    if (json_object_object_add(object, name, value) < 0) {
        json_object_put(value);
        return -ENOMEM;
    }
    return 0;
}

int json_from_properties(sd_bus_message *m, struct json_object **ret) {
    _cleanup_json_ struct json_object *object = json_object_new_object();
    int r;

    if (!object)
        return -ENOMEM;
    r = sd_bus_message_enter_container(m, 'a', "{sv}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
        r = add_property(m, object);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(object);
    return 0;
}

int json_from_interfaces(sd_bus_message *m, struct json_object **ret) {
    _cleanup_json_ struct json_object *object = NULL;
    const char *interface;
    int r;

    r = sd_bus_message_enter_container(m, 'a', "{sa{sv}}");
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', "sa{sv}")) > 0) {
        r = sd_bus_message_read_basic(m, 's', &interface);
        if (r < 0)
            return r;
        if (!object && object_kind_from_interface(interface) >= 0)
            r = json_from_properties(m, &object);
        else
            r = sd_bus_message_skip(m, "a{sv}");
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    if (r >= 0)
        r = sd_bus_message_exit_container(m);
    if (r < 0)
        return r;
    if (!object)
        return hand_over(json_object_new_object(), ret);
    *ret = TAKE_PTR(object);
    return 0;
}
