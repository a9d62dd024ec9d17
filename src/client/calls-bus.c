/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "client/calls-bus.h"

#include <ctype.h>

#include "base/str.h"

sd_bus *bus_of(const VfiodConnection *c) {
    return streq(vfiod_connection_transport(c), "dbus") ? transport_dbus_bus(connection_link(c)) : NULL;
}

/* ---- all objects ---- */

typedef int (*read_properties_t)(sd_bus_message *m, struct json_object **ret);

/* Reads one entry; other objects than ours are skipped. type: of what follows the path. */
static int read_object(sd_bus_message *m, const char *type, read_properties_t read, Objects *objects) {
    _cleanup_object_ Object object = OBJECT_NULL;
    const char *path;
    int r;

    r = sd_bus_message_read_basic(m, 'o', &path);
    if (r < 0)
        return r;
    r = object_path_parse(path, &object.kind, &object.name);
    if (r == -ENOMEM)
        return r;
    if (r < 0)
        return sd_bus_message_skip(m, type);
    r = read(m, &object.properties);
    return r < 0 ? r : objects_add(objects, &object);
}

static int read_objects(sd_bus_message *m, const char *type, read_properties_t read, Objects *objects) {
    _cleanup_free_ char *entry = format_string("o%s", type), *entries = format_string("{o%s}", type);
    int r;

    if (!entry || !entries)
        return -ENOMEM;
    r = sd_bus_message_enter_container(m, 'a', entries);
    if (r < 0)
        return r;
    while ((r = sd_bus_message_enter_container(m, 'e', entry)) > 0) {
        r = read_object(m, type, read, objects);
        if (r >= 0)
            r = sd_bus_message_exit_container(m);
        if (r < 0)
            return r;
    }
    return r < 0 ? r : sd_bus_message_exit_container(m);
}

int bus_get_objects(sd_bus *bus, Objects *ret, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    int r;

    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, "org.freedesktop.DBus.ObjectManager",
            "GetManagedObjects", &bus_error, &reply, NULL);
    if (r < 0)
        return error_text_from_bus(error, &bus_error, r);
    r = read_objects(reply, "a{sa{sv}}", json_from_interfaces, ret);
    return r < 0 ? error_text_errno(error, r, "Cannot read vfiod's answer") : 0;
}

int bus_list_devices(sd_bus *bus, const char *property, Objects *ret, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    _cleanup_free_ char *name = strdup(property);
    int r;

    if (!name)
        return error_text_errno(error, ENOMEM, "Cannot call vfiod");
    *name = (char) toupper((unsigned char) *name);
    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "ListDevices",
            &bus_error, &reply, "as", 1, name);
    if (r < 0)
        return error_text_from_bus(error, &bus_error, r);
    r = read_objects(reply, "a{sv}", json_from_properties, ret);
    return r < 0 ? error_text_errno(error, r, "Cannot read vfiod's answer") : 0;
}

/* ---- one object ---- */

/* Numbers of groups and ids of claims are in paths unchanged; only names of devices are escaped. */
static int make_path(ObjectKind kind, const char *name, char **ret) {
    if (kind == OBJECT_DEVICE)
        return sd_bus_path_encode(VFIOD_OBJECT_PATH "/device", name, ret);
    *ret = kind == OBJECT_MANAGER
            ? strdup(VFIOD_OBJECT_PATH)
            : format_string("%s/%s/%s", VFIOD_OBJECT_PATH, object_kind_to_string(kind), name);
    return *ret ? 0 : -ENOMEM;
}

/* A claim that ended between two calls is reported as NoSuchClaim. */
static int read_error(
        ObjectKind kind, const char *name, const sd_bus_error *bus_error, int r, VfiodErrorText *error) {
    if (!sd_bus_error_is_set(bus_error))
        return error_text_errno(error, r, "Cannot read vfiod's answer");
    if (bus_error_is_unknown_object(bus_error) && kind == OBJECT_CLAIM)
        return error_text_set(error, ENOENT, "NoSuchClaim", "there is no claim %s", name);
    if (bus_error_is_unknown_object(bus_error) && kind == OBJECT_DEVICE)
        return error_text_set(error, ENODEV, "NoSuchDevice", "%s: there is no such device", name);
    return error_text_from_bus(error, bus_error, r);
}

int bus_read(sd_bus *bus, ObjectKind kind, const char *name, const char *property, struct json_object **ret,
        VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_free_ char *path = NULL, *member = property ? strdup(property) : NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *interface = object_kind_interface(kind);
    int r;

    r = property && !member ? -ENOMEM : make_path(kind, name, &path);
    if (r < 0)
        return error_text_errno(error, r, "Cannot call vfiod");
    if (member)
        member[0] = (char) toupper((unsigned char) member[0]);
    r = sd_bus_call_method(bus, VFIOD_BUS_NAME, path, "org.freedesktop.DBus.Properties",
            member ? "Get" : "GetAll", &bus_error, &reply, member ? "ss" : "s", interface, member);
    if (r >= 0)
        r = member ? json_from_value(reply, member, ret) : json_from_properties(reply, ret);
    return r < 0 ? read_error(kind, name, &bus_error, r, error) : 0;
}

int bus_find(sd_bus *bus, ObjectKind kind, const char *name, char **ret, VfiodErrorText *error) {
    _cleanup_bus_error_ sd_bus_error bus_error = SD_BUS_ERROR_NULL;
    _cleanup_message_ sd_bus_message *reply = NULL;
    const char *path;
    int r;

    if (kind == OBJECT_GROUP)
        r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE, "GetGroup",
                &bus_error, &reply, "u", (uint32_t) strtoul(name, NULL, 10));
    else
        r = sd_bus_call_method(bus, VFIOD_BUS_NAME, VFIOD_OBJECT_PATH, VFIOD_MANAGER_INTERFACE,
                kind == OBJECT_CLAIM ? "GetClaim" : "GetDevice", &bus_error, &reply, "s", name);
    if (r < 0)
        return error_text_from_bus(error, &bus_error, r);
    r = sd_bus_message_read_basic(reply, 'o', &path);
    if (r >= 0)
        r = object_path_parse(path, &kind, ret);
    return r < 0 ? error_text_errno(error, r == -ENOMEM ? r : -EBADMSG, "Cannot read vfiod's answer") : 0;
}
