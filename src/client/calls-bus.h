/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The calls of calls.h over D-Bus. */

#include "client/calls.h"
#include "client/libvfiod-internal.h"

#define _cleanup_message_ _cleanup_(sd_bus_message_unrefp)
#define _cleanup_bus_error_ _cleanup_(sd_bus_error_free)

/* The bus of a connection, borrowed; NULL: it uses the socket. */
sd_bus *bus_of(const VfiodConnection *c);
int bus_get_objects(sd_bus *bus, Objects *ret, VfiodErrorText *error);
/* All devices with one property (in the spelling of JSON) that is not costly. */
int bus_list_devices(sd_bus *bus, const char *property, Objects *ret, VfiodErrorText *error);
/* All properties but the costly ones, or the value of one property (in the spelling of JSON). */
int bus_read(sd_bus *bus, ObjectKind kind, const char *name, const char *property, struct json_object **ret,
        VfiodErrorText *error);
/* The full name of a device, group or claim. *ret is owned by the caller. */
int bus_find(sd_bus *bus, ObjectKind kind, const char *name, char **ret, VfiodErrorText *error);
