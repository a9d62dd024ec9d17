/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Converts D-Bus values to JSON by general rules, so that new properties of the daemon appear in --json
 * without a change here:
 *
 *    property        its name with a small first letter: "VfioNode" -> "vfioNode"
 *    numbers, text   numbers, text
 *    object path     the object's name: of a device, a group's number, a claim's id; "/" -> null
 *    a{sv} and kin   object, with the same keys
 *    struct          array; an object for properties with named fields (the table in convert.c) */

#include <json-c/json.h>
#include <systemd/sd-bus.h>

#include "base/json-build.h"
#include "base/macro.h"

typedef enum ObjectKind {
    OBJECT_MANAGER,
    OBJECT_DEVICE,
    OBJECT_GROUP,
    OBJECT_CLAIM,
    _OBJECT_KIND_MAX,
    _OBJECT_KIND_INVALID = -EINVAL,
} ObjectKind;
DECLARE_STRING_TABLE(object_kind, ObjectKind); /* "manager", "device", "group", "claim" */

/* "org.vfiod1.Device" and so on. */
const char *object_kind_interface(ObjectKind kind);
ObjectKind object_kind_from_interface(const char *interface);
/* The object of a path. *ret_name, owned by the caller: "pci:0000:06:0d.0", "8", the claim's id, "" for the
 * manager. 0; *ret_kind is _OBJECT_KIND_INVALID for other paths; or -ENOMEM. */
int object_path_parse(const char *path, ObjectKind *ret_kind, char **ret_name);

/* All read from the message's current position and return 0 or a negative errno; results are owned by the
 * caller. json_from_value() reads one complete value; property is its D-Bus name or NULL. *ret is NULL for
 * JSON's null. */
int json_from_value(sd_bus_message *m, const char *property, struct json_object **ret);
/* a{sv} -> object. */
int json_from_properties(sd_bus_message *m, struct json_object **ret);
/* a{sa{sv}} -> object with the properties of our interface; other interfaces are skipped. */
int json_from_interfaces(sd_bus_message *m, struct json_object **ret);
/* "VfioNode" -> "vfioNode"; owned by the caller; NULL on ENOMEM. */
char *json_property_name(const char *property);
