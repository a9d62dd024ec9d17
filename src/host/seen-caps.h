/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the daemon has learned about devices by opening them, in files that everybody can read: to open a
 * device again would reset it. A file counts as long as the same device is in its place. */

#include "core/caps-record.h"
#include "core/inventory.h"

#define SEEN_CAPS_DIRECTORY "capabilities" /* in the state directory */

/* Identifies the loaded driver with this name: each load has another inode. Returns 0 or a negative errno. */
int seen_caps_read_driver(DeviceKind kind, const char *driver, uint64_t *ret);
/* Identifies the device that is there now, with that driver. Returns 0 or a negative errno. */
int seen_caps_read_identity(const Device *d, uint64_t driver_inode, uint64_t *ret);
/* Makes the inventory forget the capabilities of the device if the driver that they belong to is no longer
 * loaded. */
void seen_caps_check(Inventory *inventory, const DeviceName *name);
/* Adds the files that count to the inventory. stale (may be NULL) gets the names of the others. Returns 0,
 * also if there is no such directory, or a negative errno. */
int seen_caps_load(const char *state_directory, Inventory *inventory,
        void (*stale)(void *userdata, const char *file), void *userdata);
