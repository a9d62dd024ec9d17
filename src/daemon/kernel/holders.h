/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which processes have VFIO files open: every process whose file table holds one, whoever gave it. Found in
 * /proc/PID/fd and fdinfo (of another thread where the first one has ended) by a walk over all processes,
 * which takes as long as anybody likes to make it: only workers walk.
 *
 * A file that no table holds is not found: one in flight in a socket, a mapping, a table of a single thread
 * (unshare(CLONE_FILES)). Whoever is found holds the device; that nobody is found proves nothing. */

#include "core/claim.h"

/* One file of a process, without doubles. Fixed size: it travels from a worker as it is. */
typedef struct HolderEntry {
    int32_t pid;
    int32_t group;                /* of a group's file; -1: of a device */
    char device[DEVICE_NAME_MAX]; /* the kernel's name of the device; "" of a group's file */
    char command[20];             /* /proc/PID/comm: hostile text */
    char file[12];                /* "cdev", "device" (of a group), "group" or "vhost-vdpa" */
    int32_t signal;               /* that holders_stop() has sent to it; 0: none */
    int32_t error;                /* why it could not; 0: it is not the claim's */
} HolderEntry;

#define HOLDER_ENTRIES_MAX 4096U

/* Walks, in a worker. *ret_fd is an unnamed file with the entries, owned by the caller. 0; -E2BIG when there
 * are more than the maximum; or a negative errno. */
int holders_walk(int *ret_fd);

/* Who has the devices open, and whom of them to stop. */
typedef struct HolderStop {
    int signal;
    uid_t uid;          /* of the claim */
    const char *cgroup; /* of a claim of root: its control group, see below; "": unknown */
    const int32_t *groups;
    size_t n_groups;
    const DeviceName *devices;
    size_t n_devices;
} HolderStop;

/* Walks, in a worker, and sends the signal to every process that has one of the devices open and is the
 * claim's: one that runs as its user and as nobody else, or, where that is root, one of its control group or
 * below. Everybody else can have been handed a file by somebody who wants them killed: they are left alone,
 * as are PID 1, the daemon, and whatever is in the daemon's control group. A process is looked at and gets
 * the signal through its directory in /proc, which is never that of another process with the same number.
 *
 * *ret_fd: as of a walk, each process once; those beyond the maximum are not listed. */
int holders_stop(const HolderStop *stop, int *ret_fd);

/* Reads the file of a walk. *ret is owned by the caller. 0 or negative errno. */
int holders_read(int fd, HolderEntry **ret, size_t *ret_n);

/* Is this file one through which a device of the claim is open? */
bool holder_entry_is_of(const HolderEntry *e, const Claim *c);
