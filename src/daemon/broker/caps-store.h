/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Known capabilities of devices are in the inventory; this keeps them on disk as well, see host/seen-caps.h.
 * Errors of the disk are only logged: the next start then knows less. */

#include "core/inventory.h"

/* state_directory NULL: nothing is kept on disk. 0 or -ENOMEM, as for inventory_remember_caps(). */
int caps_store_remember(
        const char *state_directory, Inventory *inventory, const DeviceName *name, const DeviceCaps *caps);
void caps_store_forget(const char *state_directory, const DeviceName *name);
/* Loads what an earlier run has found. */
void caps_store_load(const char *state_directory, Inventory *inventory);
