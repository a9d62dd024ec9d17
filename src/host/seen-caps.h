/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the daemon has seen of devices by opening them, in files that everybody can read: it costs a reset to
 * ask again. A file counts for the device in whose place it was seen, and no longer than that is there. */

#include "core/caps-record.h"
#include "core/inventory.h"

#define SEEN_CAPS_DIRECTORY "capabilities" /* in the state directory of the daemon */

/* The driver of that name that is loaded now: no two have the same in one boot. 0 or a negative errno. */
int seen_caps_read_driver(DeviceKind kind, const char *driver, uint64_t *ret);
/* Of the device that is there now, with that driver. 0 or a negative errno. */
int seen_caps_read_identity(const Device *d, uint64_t driver_inode, uint64_t *ret);
/* Has the inventory forget what was seen of the device, if the driver that it was seen with is not loaded any
 * more. */
void seen_caps_check(Inventory *inventory, const DeviceName *name);
/* The inventory remembers what counts. stale (may be NULL) gets the names of the files that do not. 0, also
 * when there is no such directory, or a negative errno. */
int seen_caps_load(const char *state_directory, Inventory *inventory,
        void (*stale)(void *userdata, const char *file), void *userdata);
