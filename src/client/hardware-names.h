/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Names of PCI devices from udev's hardware database, which every user can read. */

#include <json-c/json.h>

#include "base/macro.h"

typedef struct HardwareNames HardwareNames;

/* NULL: there is no database, so devices have no names. */
HardwareNames *hardware_names_new(void);
HardwareNames *hardware_names_free(HardwareNames *names);
DEFINE_TRIVIAL_CLEANUP_FUNC(HardwareNames *, hardware_names_free);
#define _cleanup_names_ _cleanup_(hardware_names_freep)

/* The names of a device from the daemon; NULL: unknown. names may be NULL. The results are owned by names and
 * valid until the next call. They are hostile text. */
void hardware_names_find(
        HardwareNames *names, struct json_object *device, const char **ret_vendor, const char **ret_model);
/* Adds "vendorName" and "modelName" to a device, null where they are unknown. 0 or -ENOMEM. */
int hardware_names_add(HardwareNames *names, struct json_object *device);
/* "NVIDIA GA102 [GeForce RTX 3090]": both names, the vendor without its legal form. Owned by the caller; NULL
 * when both are unknown, or on ENOMEM. */
char *hardware_short_name(const char *vendor, const char *model);
