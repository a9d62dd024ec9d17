/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What other tools use to bind devices: the parameter ids of vfio-pci, in modprobe.d(5) or on the kernel's
 * command line, and the files of driverctl(8). Pure. */

#include "core/device-name.h"

/* One element of ids=, as the kernel reads it (drivers/vfio/pci/vfio_pci.c). */
typedef struct ImportedId {
    uint32_t vendor, device, subsystem_vendor, subsystem_device; /* UINT32_MAX: any */
    uint32_t class_code, class_mask;
} ImportedId;

bool imported_id_matches(const ImportedId *id, const ImportedId *device);

typedef struct ImportSink {
    /* Gets one id with its line. text is as written. id: NULL when text is not a valid id. 0 or negative
     * errno. */
    int (*add)(struct ImportSink *sink, unsigned line, const char *text, const ImportedId *id);
} ImportSink;

/* Finds "options vfio-pci ids=…", with comments and continued lines as in modprobe.d(5). 0 or negative
 * errno. */
int import_modprobe(const char *text, ImportSink *sink);
/* Finds "vfio-pci.ids=…" and "vfio_pci.ids=…". 0 or negative errno. */
int import_command_line(const char *text, ImportSink *sink);

/* The file name of driverctl for a device, "pci-0000:06:00.0". 0; -EINVAL: not such a name; -EOPNOTSUPP:
 * another bus. */
int import_driverctl_name(const char *name, DeviceName *ret);
