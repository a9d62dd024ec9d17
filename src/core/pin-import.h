/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What other tools keep to bind devices: the parameter ids of vfio-pci, in a file of modprobe.d(5) or on the
 * kernel's command line, and the files of driverctl(8). Pure. */

#include "core/device-name.h"

/* One of ids=, as the kernel reads it (drivers/vfio/pci/vfio_pci.c). */
typedef struct ImportedId {
    uint32_t vendor, device, subsystem_vendor, subsystem_device; /* UINT32_MAX: any */
    uint32_t class_code, class_mask;
} ImportedId;

bool imported_id_matches(const ImportedId *id, const ImportedId *device);

typedef struct ImportSink {
    /* One id, and on which line; text is what was written. id: NULL for what is none. 0 or negative errno. */
    int (*add)(struct ImportSink *sink, unsigned line, const char *text, const ImportedId *id);
} ImportSink;

/* "options vfio-pci ids=…" in any line, comments and continued lines as in modprobe.d(5). */
int import_modprobe(const char *text, ImportSink *sink);
/* "vfio-pci.ids=…" or "vfio_pci.ids=…". */
int import_command_line(const char *text, ImportSink *sink);

/* The name of a file of driverctl, "pci-0000:06:00.0". -EINVAL: it is none; -EOPNOTSUPP: of another bus. */
int import_driverctl_name(const char *name, DeviceName *ret);
