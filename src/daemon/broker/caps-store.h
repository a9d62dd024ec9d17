/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What devices can do is remembered by the inventory; this keeps it on disk as well, see host/seen-caps.h.
 * Trouble with the disk is logged and nothing more: then the next start knows less. */

#include "core/inventory.h"

/* state_directory: NULL: nothing is kept. 0 or -ENOMEM, as inventory_remember_caps(). */
int caps_store_remember(
        const char *state_directory, Inventory *inventory, const DeviceName *name, const DeviceCaps *caps);
void caps_store_forget(const char *state_directory, const DeviceName *name);
/* What an earlier run has seen. */
void caps_store_load(const char *state_directory, Inventory *inventory);
