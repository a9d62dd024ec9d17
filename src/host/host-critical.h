/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Does the host itself need this device? A block device below it that is mounted, swapped on, or held by a
 * device mapper; a network interface below it that is the way of a default route or has an address; the boot
 * console's display (boot_vga with a bound driver); its virtual functions. Looks at every claimed device and
 * every sibling that would be touched. */

#include "core/device-name.h"

/* 1 and *ret_reason (owned by the caller) when it does, 0 when not, negative errno when that cannot be told:
 * the caller must then treat it as critical. */
int host_critical_check(const DeviceName *name, char **ret_reason);
