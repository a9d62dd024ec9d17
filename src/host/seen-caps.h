/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the daemon has seen of devices by opening them, in files that everybody can read: it costs a reset to
 * ask again. A file counts for the device in whose place it was seen, and no longer than that is there. */

#include "core/caps-record.h"
#include "core/inventory.h"

#define SEEN_CAPS_DIRECTORY "capabilities" /* in the state directory of the daemon */

/* Of the device that is there now. 0 or a negative errno. */
int seen_caps_read_identity(const DeviceName *name, uint64_t *ret);
/* The inventory remembers what counts. stale (may be NULL) gets the names of the files that do not. 0, also
 * when there is no such directory, or a negative errno. */
int seen_caps_load(const char *state_directory, Inventory *inventory,
        void (*stale)(void *userdata, const char *file), void *userdata);
