/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What was seen of a device (device-caps.h) as a document: one file for each device, for the next start of
 * the daemon and for whoever records the host, and a member of a recorded host. */

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

/* Of the device at this place that has its directory in sysfs under this inode, with the ids that it had, and
 * of the driver with its directory under driver_inode. Another one, or the same one plugged in again, is
 * looked at anew: its firmware may have changed. So is one whose driver was loaded again. */
uint64_t caps_record_identity(const Device *d, uint64_t inode, uint64_t driver_inode);
/* Owned; NULL: out of memory. */
char *caps_record_to_text(const CapsRecord *r);
/* 0; -EBADMSG: nothing of it is believed; -ENOMEM. */
int caps_record_parse(const char *text, size_t size, CapsRecord *ret);
