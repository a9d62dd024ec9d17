/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* May the number of virtual functions of a device be changed? The kernel takes them away from whoever has
 * them. What only a look at the host tells (who uses them there) is looked at by the worker that does it. */

#include "core/error.h"
#include "core/inventory.h"

/* 0, or refused: it has none, or is claimed or quarantined itself, or one of them is, or the number is being
 * changed already. */
int family_check_reshaping(Inventory *inventory, const Device *d, Refusal *refusal);
/* How many there are now. */
unsigned family_count_functions(Inventory *inventory, const Device *d);
