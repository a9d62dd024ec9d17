/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which module of this kernel serves a PCI device best as a vfio driver, see core/variant.h. libkmod reads
 * the index of the modules, with what modprobe.d(5) says of them. It is loaded when it is needed, which is in
 * workers: the daemon and most of its workers never look, and need not have it and its libraries in memory.
 */

#include "core/facts.h"

/* Reads files on a disk. at: the device's directory in sysfs. Fills variant, variant_driver and
 * variant_blocked. 1; 0: unknown. */
int variant_read(int at, DeviceFacts *f);
/* Likewise for an alias like "vfio_pci:v00008086d…", and the modules in a directory; NULL: this kernel's. */
int variant_find(const char *modules, const char *alias, DeviceFacts *f);

/* Does the kernel have this driver of the PCI bus now? */
bool variant_is_loaded(const char *driver);
/* The driver that a loaded module has. 0; -ENOENT: the module is not loaded, or has none. */
int variant_read_driver(const char *module, char ret[static VARIANT_NAME_MAX]);
