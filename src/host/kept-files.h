/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Attributes that every claim needs, kept open: reading one again is a single call, and no path is walked.
 *
 * A copy of a fact may be wrong later; an open file may not. It belongs to the kernel's struct device and not
 * to a name: when the device has gone, reading fails with ENODEV, whatever has its name by then (kernfs). So
 * whoever can still read a kept file looks at the same device as before, and what the kernel never changes
 * while a device lives (its ids, whether it has a reset_method; its group, while it is registered with VFIO)
 * need not be read anew.
 *
 * One place per device, found by a hash of the name, for the whole process: who comes later takes the place
 * of who was there, so the number of open files is bounded, and nobody has to say when a device goes. */

#include "core/inventory.h"

typedef struct KeptFiles {
    bool taken;
    DeviceName name;
    int enable;                       /* -EBADF: not kept, like the others */
    int reset_method;                 /* kept when enable is, or else the device has none, and... */
    const char *reset_methods;        /* ...this is said in its place */
    int power_state;                  /* likewise kept when enable is, or else the kernel does not say */
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

/* The place of this device, which may be empty still; never NULL. */
KeptFiles *kept_files_find(const DeviceName *name);
/* Keeps `enable`, `reset_method` and `power_state`; at: the device's directory. 0 or negative errno. */
int kept_files_open(KeptFiles *k, int at);
/* Takes the file over. The device is registered with VFIO, and is what d says. */
void kept_files_note_number(KeptFiles *k, int number, const Device *d, uint64_t seqnum);
/* Is the device, which somebody has open, still registered as it was then, and is it what d says? */
bool kept_files_confirm(KeptFiles *k, const Device *d);
/* Reads a kept file like read_attribute_at(). -ENODEV: it is not that of a device any more; then forget. */
ssize_t kept_files_read(int fd, char *buf, size_t size);
void kept_files_forget(KeptFiles *k);
