/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What drivers and modules the running kernel has, by its own lists. */

#include "base/macro.h"

typedef enum KernelModule {
    MODULE_UNKNOWN, /* the lists of this kernel's modules cannot be read */
    MODULE_MISSING, /* this kernel has none of that name */
    MODULE_AVAILABLE,
    MODULE_PRESENT, /* loaded, or part of the kernel */
} KernelModule;

/* name as modprobe(8) has it, "vfio-pci"; '-' and '_' are the same. */
KernelModule kernel_module_find(const char *name);
/* Also a driver for PCI devices whose module has another name, once it is loaded. *ret_near: of a missing
 * one, the driver that was meant, or NULL; owned by the caller. */
KernelModule kernel_driver_find(const char *name, char **ret_near);

/* The same of other lists: a directory like /lib/modules/RELEASE, and one like /sys/bus/pci/drivers. */
KernelModule kernel_module_find_in(const char *modules, const char *name);
KernelModule kernel_driver_find_in(
        const char *modules, const char *drivers, const char *name, char **ret_near);
