/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What people call a PCI device: its names in udev's hardware database, which every user can read. */

#include <json-c/json.h>

#include "base/macro.h"

typedef struct HardwareNames HardwareNames;

/* NULL: there is no database, and devices have no names. */
HardwareNames *hardware_names_new(void);
HardwareNames *hardware_names_free(HardwareNames *names);
DEFINE_TRIVIAL_CLEANUP_FUNC(HardwareNames *, hardware_names_free);
#define _cleanup_names_ _cleanup_(hardware_names_freep)

/* Of a device as the daemon reports it; NULL: unknown. names may be NULL. Owned by names, until the next one
 * is asked for. Hostile, as all text of a file. */
void hardware_names_find(
        HardwareNames *names, struct json_object *device, const char **ret_vendor, const char **ret_model);
/* Adds "vendorName" and "modelName" to a device, null where they are unknown. 0 or -ENOMEM. */
int hardware_names_add(HardwareNames *names, struct json_object *device);
/* "NVIDIA GA102 [GeForce RTX 3090]": both, the vendor without the form of the company. Owned by the caller;
 * NULL when both are unknown, or on ENOMEM. */
char *hardware_short_name(const char *vendor, const char *model);
