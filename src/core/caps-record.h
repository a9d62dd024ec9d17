/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The known capabilities of a device (device-caps.h) as a document. Each device has one file, for the next
 * start of the daemon and for snapshots. A snapshot has it as a member. */

#include "core/device-caps.h"
#include "core/document.h"
#include "core/inventory.h"

typedef struct CapsRecord {
    DeviceName device;
    uint64_t identity; /* caps_record_identity() */
    DeviceCaps caps;
} CapsRecord;

#define CAPS_RECORD_SIZE_MAX (16U * 1024)

extern const FieldTable device_caps_table;

/* Identifies the device at this place by the inode of its directory in sysfs and its ids, and the driver by
 * the inode of its directory. When one of them changes, the device is probed again: after replugging the
 * firmware may be another, and a driver that was loaded again may be another version. */
uint64_t caps_record_identity(const Device *d, uint64_t inode, uint64_t driver_inode);
/* Owned by the caller; NULL on ENOMEM. */
char *caps_record_to_text(const CapsRecord *r);
/* Returns 0; -EBADMSG: nothing in it is used; -ENOMEM. */
int caps_record_parse(const char *text, size_t size, CapsRecord *ret);
