/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The tables of snapshots, for reading and writing. Internal to snapshot*.c. */

#include "core/caps-record.h"
#include "core/document.h"
#include "core/snapshot.h"

typedef struct RecordedDevice {
    DeviceSnapshot snapshot;
    DeviceFacts facts;
    char node[64];
    DeviceCaps caps;
    bool has_caps;
    bool with_serials; /* for writing */
} RecordedDevice;

typedef struct RecordedGroup {
    int id;
    GroupFacts facts;
} RecordedGroup;

extern const FieldTable host_snapshot_device_table, host_snapshot_group_table, host_snapshot_kernel_table;
