/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Attributes that every claim needs stay open. To read one again is a single call without a path walk.
 *
 * A copy of a fact may become wrong. An open file does not: it belongs to the kernel's struct device and not
 * to a name. When the device has gone, reading fails with ENODEV, whatever has its name then (kernfs). So a
 * kept file that can be read belongs to the same device as before. What the kernel never changes while a
 * device exists (its ids, whether it has a reset_method; its group, while it is registered with VFIO) is not
 * read again.
 *
 * The process has a fixed number of places, found by a hash of the name. A new device replaces the one in its
 * place. So the number of open files is bounded, and nobody has to report that a device has gone. */

#include "core/inventory.h"

typedef struct KeptFiles {
    bool taken;
    DeviceName name;
    int enable;                       /* -EBADF: not kept; likewise below */
    int reset_method;                 /* kept if enable is; otherwise... */
    const char *reset_methods;        /* ...the device has none, and this is the answer */
    int power_state;                  /* kept if enable is and the kernel has it */
    bool power_known, may_lose_power; /* see sysfs_may_lose_power() */
    int number;                       /* vfio-dev/vfioN/dev */
    struct {
        uint16_t vendor, device;
        int group, vfio_index;
        dev_t vfio_rdev;
        uint64_t seqnum;
    } checked; /* what was true of the device when number was opened */
} KeptFiles;

#define KEPT_FILES_BITS 7U
#define KEPT_FILES_MAX 128U

/* The place of this device, which may be empty; never NULL. */
KeptFiles *kept_files_find(const DeviceName *name);
/* Keeps `enable`, `reset_method` and `power_state` of the directory `at`. Returns 0 or negative errno. */
int kept_files_open(KeptFiles *k, int at);
/* Takes over the file. The device is registered with VFIO and matches d. */
void kept_files_note_number(KeptFiles *k, int number, const Device *d, uint64_t seqnum);
/* Is the device, which somebody has open, still registered as it was then, and does it match d? */
bool kept_files_confirm(KeptFiles *k, const Device *d);
void kept_files_forget(KeptFiles *k);
