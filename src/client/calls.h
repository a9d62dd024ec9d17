/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* vfioctl's questions to the daemon, by whichever transport the connection has: what is in an object, and how
 * it is shown, is the same. All return 0, or a negative errno with *error filled. */

#include "client/convert.h"
#include "client/transport.h"

#define CLAIM_ID_LENGTH 16U /* hex digits; a ticket begins with them */

typedef struct Object {
    ObjectKind kind;
    char *name;                     /* owned: "pci:0000:06:0d.0", "8", a claim's id; "" of the manager */
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
/* Takes what is in *o on success. */
int objects_add(Objects *objects, Object *o);
#define _cleanup_objects_ _cleanup_(objects_done)

#define _cleanup_connection_ _cleanup_(vfiod_connection_freep)

/* A call whose answer has nothing that matters here. */
int call_simply(VfiodConnection *c, const Call *call, VfiodErrorText *error);
/* Reserves a device, and gives the daemon's answer. */
int call_reserve(VfiodConnection *c, const Call *call, struct json_object **ret, VfiodErrorText *error);
/* The name of the device that is reserved for a ticket, or for a reservation by its id. *ret is owned by the
 * caller. */
int call_find_reserved(VfiodConnection *c, const char *ticket, char **ret, VfiodErrorText *error);
/* What a claim would do, as the daemon's JSON; ret may be NULL. */
int call_plan(const VfiodRequest *request, struct json_object **ret, VfiodErrorText *error);
/* All objects but the manager, with the properties whose changes the daemon announces. */
int call_get_objects(VfiodConnection *c, Objects *ret, VfiodErrorText *error);
/* Adds the others to the objects of this kind: those that the daemon looks up for each reader. */
int call_complete_objects(VfiodConnection *c, Objects *objects, ObjectKind kind, VfiodErrorText *error);
/* Adds one property that is not costly to all devices, in one call: null where an older daemon does not have
 * it. The devices are in their order. */
int call_add_to_devices(VfiodConnection *c, Objects *objects, const char *property, VfiodErrorText *error);
/* These have all properties but those that are costly to read. */
int call_get_manager(VfiodConnection *c, Object *ret, VfiodErrorText *error);
/* Adds those, a device's AcsPath and a claim's Holders: the daemon tells them only one by one. */
int call_add_costly(VfiodConnection *c, Object *object, VfiodErrorText *error);
/* Adds one property, which is costly to read. */
int call_add_property(VfiodConnection *c, Object *object, const char *property, VfiodErrorText *error);
/* Likewise; null where the daemon does not tell it. */
int call_try_property(VfiodConnection *c, Object *object, const char *property, VfiodErrorText *error);
/* What a person means by a word: a claim's id, cookie:COOKIE for one of their own, group:N, or a device in
 * any spelling. */
int call_find_object(VfiodConnection *c, const char *word, Object *ret, VfiodErrorText *error);
/* The claim that is meant by a word, which may name its device. *ret is owned by the caller. */
int call_find_claim(VfiodConnection *c, const char *word, char **ret, VfiodErrorText *error);
/* The object whose name is in property (a device's "claim" or "group"). 0 with kind _OBJECT_KIND_INVALID in
 * *ret when the property is null. */
int call_get_related(VfiodConnection *c, const Object *of, const char *property, ObjectKind kind, Object *ret,
        VfiodErrorText *error);

/* What a reply of List or Monitor is about: the object, named; _OBJECT_KIND_INVALID: none. */
int object_from_reply(struct json_object *parameters, Object *ret);
