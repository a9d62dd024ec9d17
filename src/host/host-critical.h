/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Does the host need this device? It does for a disk that is mounted, used for swap, or used otherwise; for a
 * network interface that has an address, carries a default route, or is below another interface; for the
 * display that people look at; for a console or a watchdog. What would disappear with its driver counts too.
 *
 * All functions return 1 and *ret (owned by the caller) if it does, 0 if not, and negative errno if that is
 * unknown. The caller must then assume that it does. */

#include "core/device-name.h"

/* Checks everything that can be seen without opening anything. */
int host_critical_check(const DeviceName *name, char **ret_reason);
/* Checks only what would disappear with the driver and was made on purpose: virtual functions, mediated and
 * vDPA devices, subfunctions. */
int host_critical_find_descendants(const DeviceName *name, char **ret);
/* Opens every disk of the device, and its partitions, with O_EXCL, which fails if the kernel or a program has
 * claimed it. MAY SLEEP (a disk may have to spin up). While a disk is open, nobody else can claim it. So call
 * this only for a caller that may have the device. */
int host_critical_check_exclusive(const DeviceName *name, char **ret_reason);
