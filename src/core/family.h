/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* May the number of virtual functions of a device be changed? The change removes them from their users.
 * Whether they are used on the host is checked later by the worker that changes it. */

#include "core/error.h"
#include "core/inventory.h"

/* 0; or refused when the device has no virtual functions, when it or one of them is claimed or quarantined,
 * or when the number is being changed already. */
int family_check_reshaping(Inventory *inventory, const Device *d, Refusal *refusal);
/* The current number. */
unsigned family_count_functions(Inventory *inventory, const Device *d);
