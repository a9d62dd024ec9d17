/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which module of this kernel is the best vfio driver for a PCI device, see core/variant.h. libkmod reads the
 * index of modules and modprobe.d(5). It is loaded when it is needed, in workers. The daemon and most of its
 * workers never need it, so it takes no memory there. */

#include "core/facts.h"

/* Reads files on a disk. at: the device's directory in sysfs. Fills variant, variant_driver and
 * variant_blocked. Returns 1; 0: unknown. */
int variant_read(int at, DeviceFacts *f);
/* Does the same for an alias like "vfio_pci:v00008086d…". modules: their directory; NULL: this kernel's. */
int variant_find(const char *modules, const char *alias, DeviceFacts *f);

/* Does the kernel have this PCI driver now? */
bool variant_is_loaded(const char *driver);
/* The driver of a loaded module. Returns 0; -ENOENT: the module is not loaded, or has none. */
int variant_read_driver(const char *module, char ret[static VARIANT_NAME_MAX]);
