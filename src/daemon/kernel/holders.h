/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Finds the processes that have VFIO files open: every process with such a file in its file table. They are
 * found in /proc/PID/fd and fdinfo (of another thread when the first one has ended) by a walk over all
 * processes. Users can make that walk long, so only workers do it.
 *
 * A file outside of file tables is not found: in flight in a socket, behind a mapping, in the private
 * table of a thread (unshare(CLONE_FILES)). A process that is found holds the device; finding none proves
 * nothing. */

#include "core/claim.h"

/* One file of a process, without duplicates. Its size is fixed, so that a worker can send it. */
typedef struct HolderEntry {
    int32_t pid;
    int32_t group;                /* of a group file; -1: a device file */
    char device[DEVICE_NAME_MAX]; /* the kernel's name of the device; "" for a group file */
    char command[20];             /* /proc/PID/comm: hostile text */
    char file[12];                /* "cdev", "device" (of a group), "group" or "vhost-vdpa" */
    int32_t signal;               /* sent to it by holders_stop(); 0: none */
    int32_t error;                /* why it was not sent; 0: the process is not the claim's */
} HolderEntry;

#define HOLDER_ENTRIES_MAX 4096U

/* Walks, in a worker. *ret_fd is an unnamed file with the entries, owned by the caller. 0; -E2BIG when there
 * are more than the maximum; or another negative errno. */
int holders_walk(int *ret_fd);

/* The devices, and which of their holders to stop. */
typedef struct HolderStop {
    int signal;
    uid_t uid;          /* of the claim */
    const char *cgroup; /* of root's claim: its control group, see below; "": unknown */
    const int32_t *groups;
    size_t n_groups;
    const DeviceName *devices;
    size_t n_devices;
} HolderStop;

/* Walks, in a worker, and sends the signal to every process that has one of the devices open and belongs to
 * the claim. That is a process which runs only as the claim's user, or for a claim of root one in its control
 * group or below. Anybody else may have been given a file by somebody who wants them killed, so they are left
 * alone. So are PID 1, the daemon, and everything in the daemon's control group. A process is checked and
 * gets the signal through its open directory in /proc, which never refers to another process with the same
 * number.
 *
 * *ret_fd: as for a walk, each process once; those beyond the maximum are not listed. */
int holders_stop(const HolderStop *stop, int *ret_fd);

/* Reads the file of a walk. *ret is owned by the caller. 0 or negative errno. */
int holders_read(int fd, HolderEntry **ret, size_t *ret_n);

/* Is this an open device or group file of the claim? */
bool holder_entry_is_of(const HolderEntry *e, const Claim *c);
