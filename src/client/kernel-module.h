/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The drivers and modules of the running kernel, from its own lists. */

#include "base/macro.h"

typedef enum KernelModule {
    MODULE_UNKNOWN, /* this kernel's lists of modules cannot be read */
    MODULE_MISSING, /* this kernel has none of that name */
    MODULE_AVAILABLE,
    MODULE_PRESENT, /* loaded or built in */
} KernelModule;

/* name as for modprobe(8), "vfio-pci"; '-' and '_' are the same. */
KernelModule kernel_module_find(const char *name);
/* Also finds a loaded driver for PCI devices whose module has another name. *ret_near: for a missing one, the
 * suggested driver, owned by the caller; or NULL. */
KernelModule kernel_driver_find(const char *name, char **ret_near);

/* The same in other lists: a directory like /lib/modules/RELEASE, and one like /sys/bus/pci/drivers. */
KernelModule kernel_module_find_in(const char *modules, const char *name);
KernelModule kernel_driver_find_in(
        const char *modules, const char *drivers, const char *name, char **ret_near);
