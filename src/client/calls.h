/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vfioctl's calls to the daemon, by the connection's transport. Objects have the same content with both. All
 * return 0, or a negative errno with *error set. Results are owned by the caller. */

#include "client/convert.h"
#include "client/transport.h"

#define CLAIM_ID_LENGTH 16U /* hex digits; a ticket begins with them */

typedef struct Object {
    ObjectKind kind;
    char *name;                     /* owned: "pci:0000:06:0d.0", "8", a claim's id; "" for the manager */
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
/* Takes ownership of the contents of *o on success. 0 or -ENOMEM. */
int objects_add(Objects *objects, Object *o);
#define _cleanup_objects_ _cleanup_(objects_done)

#define _cleanup_connection_ _cleanup_(vfiod_connection_freep)

/* A call whose answer has no needed content. */
int call_simply(VfiodConnection *c, const Call *call, VfiodErrorText *error);
/* Reserves a device and returns the daemon's answer. */
int call_reserve(VfiodConnection *c, const Call *call, struct json_object **ret, VfiodErrorText *error);
/* The name of the device that is reserved for a ticket, or by the reservation with this id. *ret is owned by
 * the caller. */
int call_find_reserved(VfiodConnection *c, const char *ticket, char **ret, VfiodErrorText *error);
/* The plan of a claim as the daemon's JSON; ret may be NULL. */
int call_plan(const VfiodRequest *request, struct json_object **ret, VfiodErrorText *error);
/* All objects but the manager, with the properties whose changes the daemon announces. */
int call_get_objects(VfiodConnection *c, Objects *ret, VfiodErrorText *error);
/* Adds the other properties to the objects of this kind: those that the daemon reads for each call. */
int call_complete_objects(VfiodConnection *c, Objects *objects, ObjectKind kind, VfiodErrorText *error);
/* Adds one property that is not costly to all devices, in one call: null where an older daemon does not have
 * it. The devices are sorted. */
int call_add_to_devices(VfiodConnection *c, Objects *objects, const char *property, VfiodErrorText *error);
/* These have all properties but the costly ones. */
int call_get_manager(VfiodConnection *c, Object *ret, VfiodErrorText *error);
/* Adds a device's AcsPath or a claim's Holders: the daemon returns costly properties only one by one. */
int call_add_costly(VfiodConnection *c, Object *object, VfiodErrorText *error);
/* Adds one costly property. */
int call_add_property(VfiodConnection *c, Object *object, const char *property, VfiodErrorText *error);
/* Likewise; null where the daemon does not return it. */
int call_try_property(VfiodConnection *c, Object *object, const char *property, VfiodErrorText *error);
/* The object that a word names: a claim's id, cookie:COOKIE for an own claim, group:N, or any spelling of a
 * device. */
int call_find_object(VfiodConnection *c, const char *word, Object *ret, VfiodErrorText *error);
/* The claim that a word names, also by a device. *ret is owned by the caller. */
int call_find_claim(VfiodConnection *c, const char *word, char **ret, VfiodErrorText *error);
/* The object whose name is in property (a device's "claim" or "group"). When the property is null, 0 with
 * kind _OBJECT_KIND_INVALID in *ret. */
int call_get_related(VfiodConnection *c, const Object *of, const char *property, ObjectKind kind, Object *ret,
        VfiodErrorText *error);

/* The object of a reply of List or Monitor, with its name; kind _OBJECT_KIND_INVALID: none. */
int object_from_reply(struct json_object *parameters, Object *ret);
