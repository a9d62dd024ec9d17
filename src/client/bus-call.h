/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vfioctl's calls to the daemon. All return 0, or a negative errno with *error filled. */

#include <systemd/sd-bus.h>

#include "client/convert.h"
#include "client/error-bus.h"

typedef struct Object {
    ObjectKind kind;
    char *name;                     /* owned: "pci:0000:06:0d.0", "8", a claim's id */
    char *path;                     /* owned */
    struct json_object *properties; /* owned */
} Object;

#define OBJECT_NULL                                                                                          \
    (Object) {                                                                                               \
        .kind = _OBJECT_KIND_INVALID                                                                         \
    }
void object_done(Object *o);
#define _cleanup_object_ _cleanup_(object_done)

typedef struct Objects {
    Object *items; /* owned; devices by name, then groups by number, then claims by id */
    size_t n_items;
} Objects;

void objects_done(Objects *o);
#define _cleanup_objects_ _cleanup_(objects_done)

#define _cleanup_bus_ _cleanup_(sd_bus_flush_close_unrefp)
#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_bus_error_ _cleanup_(sd_bus_error_free)

/* The system bus; the error names the verbs that do not need it. */
int call_open_bus(sd_bus **ret, VfiodErrorText *error);
/* What a claim would do, as the daemon's JSON; ret may be NULL. */
int call_plan(const VfiodRequest *request, struct json_object **ret, VfiodErrorText *error);
/* All objects, with the properties whose changes the daemon announces. */
int call_get_objects(sd_bus *bus, Objects *ret, VfiodErrorText *error);
/* Adds the others to the objects of this kind: those that the daemon looks up for each reader. */
int call_complete_objects(sd_bus *bus, Objects *objects, ObjectKind kind, VfiodErrorText *error);
/* One object by its path, with all properties but those that are costly to read. */
int call_get_object(sd_bus *bus, const char *path, Object *ret, VfiodErrorText *error);
/* Adds those, a device's AcsPath and a claim's Holders: the daemon tells them only one by one. */
int call_add_costly(sd_bus *bus, Object *object, VfiodErrorText *error);
/* What a person means by a word: a claim's id, cookie:COOKIE for one of their own, group:N, or a device in
 * any spelling. */
int call_find_object(sd_bus *bus, const char *word, Object *ret, VfiodErrorText *error);
/* The object whose name is in property (a device's "claim" or "group"). 0 with kind _OBJECT_KIND_INVALID in
 * *ret when the property is null. */
int call_get_related(sd_bus *bus, const Object *of, const char *property, ObjectKind kind, Object *ret,
        VfiodErrorText *error);
