/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Does somebody need this device as it is? A disk below it that is mounted, swapped on, or used otherwise; a
 * network interface below it that has an address, carries a default route, or lies below another; the display
 * that people look at; a console, a watchdog. And what would disappear with its driver.
 *
 * All return 1 and *ret (owned by the caller) when it is so, 0 when not, negative errno when that cannot be
 * told: the caller must then treat it as so. */

#include "core/device-name.h"

/* Everything that can be seen without opening anything. */
int host_critical_check(const DeviceName *name, char **ret_reason);
/* Only what would disappear with the driver and was made on purpose: virtual functions, mediated and vDPA
 * devices, subfunctions. */
int host_critical_find_descendants(const DeviceName *name, char **ret);
/* Opens every disk of the device, and its partitions, with O_EXCL: that fails for whatever the kernel or a
 * program has claimed. MAY SLEEP (a disk that has to spin up). For the moment that one is open, nobody else
 * can claim it: to be called only on behalf of somebody who may have the device. */
int host_critical_check_exclusive(const DeviceName *name, char **ret_reason);
