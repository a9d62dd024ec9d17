/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parsers of the kernel's tables in /proc that tell what the host uses (mounts, swap, routes), and who a
 * process is. Pure; the text is read by host/host-critical.c and daemon/bus/credentials.c. Paths and names in
 * it are chosen by whoever mounts or names an interface. */

#include <limits.h>

#include "base/macro.h"

typedef struct MountEntry {
    unsigned major, minor; /* of the superblock; major 0: an anonymous number, as btrfs and zfs have */
    char target[PATH_MAX]; /* unescaped */
    char type[64];
    char source[PATH_MAX]; /* unescaped; "/dev/…" or whatever the file system calls its source */
} MountEntry;

/* Takes one line of /proc/self/mountinfo and moves *cursor on. 1; 0 at the end; -EBADMSG for a line that it
 * does not understand: the caller then does not know what is mounted. */
int mountinfo_next(const char **cursor, MountEntry *ret);

/* Takes one line of /proc/swaps, passing over the headline. 1 and the unescaped path, 0 at the end, -EBADMSG.
 */
int swaps_next(const char **cursor, char path[static PATH_MAX]);

/* Is this interface the way of a default route? text is that of /proc/net/route or /proc/net/ipv6_route. 1,
 * 0, -EBADMSG. */
int route_table_has_default(const char *text, const char *interface);
int ipv6_route_table_has_default(const char *text, const char *interface);

/* "nvme2c1n3", the hidden disk that is one path of a multipath namespace -> "nvme2n3", the disk that is used.
 * -EINVAL for other names. */
int nvme_path_to_head(const char *name, char *ret, size_t size);

/* "259:3". 0 or -EINVAL. */
int parse_device_number(const char *s, unsigned *ret_major, unsigned *ret_minor);

/* /proc/PID/stat: when the process started, in ticks (_SC_CLK_TCK) since the boot. 0 or -EBADMSG. */
int stat_start_ticks(const char *text, uint64_t *ret);

/* /proc/PID/status: the name of the process, hostile text. NULL when there is none, or on ENOMEM. */
char *status_command(const char *text);

/* Under whom a process runs, and with what. */
typedef struct ProcessStatus {
    struct {
        unsigned real, effective, saved, file_system;
    } uids;
    uint64_t effective, ambient; /* capabilities */
} ProcessStatus;

/* /proc/PID/status. 0 or -EBADMSG. */
int process_status_parse(const char *text, ProcessStatus *ret);
/* Does the process run under this uid, really or effectively? */
bool process_has_uid(const ProcessStatus *s, uid_t uid);
/* The effective capabilities of a process that runs under this uid in every respect: -EPERM when any of its
 * four uids is another, as it is in a setuid program. A process that asks and then executes a program with
 * capabilities of its own must not be taken for it: the kernel clears the ambient set in such an execve(), so
 * a capability is surely the caller's when it is ambient, or when the uid is 0. */
int process_capabilities(const ProcessStatus *s, uid_t uid, uint64_t *ret_sure, uint64_t *ret_unsure);
/* Does the answer depend on the ambient set? */
bool process_needs_ambient(const ProcessStatus *s, uid_t uid);
