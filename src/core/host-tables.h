/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Parsers of the kernel's tables in /proc: what the host uses (mounts, swap, routes), and which process a
 * caller is. Pure; host/host-critical.c and daemon/bus/credentials.c read the text. Paths and names in it are
 * hostile: whoever mounts or names an interface chooses them. */

#include <limits.h>

#include "base/macro.h"

typedef struct MountEntry {
    unsigned major, minor; /* of the superblock; major 0: an anonymous number, as for btrfs and zfs */
    char target[PATH_MAX]; /* unescaped */
    char type[64];
    char source[PATH_MAX]; /* unescaped; "/dev/…" or the source as the file system names it */
} MountEntry;

/* Parses one line of /proc/self/mountinfo and advances *cursor. 1; 0 at the end; -EBADMSG for a line that is
 * not understood: the caller then does not know what is mounted. */
int mountinfo_next(const char **cursor, MountEntry *ret);

/* Parses one line of /proc/swaps and skips the headline. 1 with the unescaped path, 0 at the end, or
 * -EBADMSG. */
int swaps_next(const char **cursor, char path[static PATH_MAX]);

/* Does a default route use this interface? text is that of /proc/net/route or /proc/net/ipv6_route. 1, 0 or
 * -EBADMSG. */
int route_table_has_default(const char *text, const char *interface);
int ipv6_route_table_has_default(const char *text, const char *interface);

/* "nvme2c1n3" (the hidden disk for one path of a multipath namespace) -> "nvme2n3" (the disk that is used). 0
 * or -EINVAL. */
int nvme_path_to_head(const char *name, char *ret, size_t size);

/* "259:3". 0 or -EINVAL. */
int parse_device_number(const char *s, unsigned *ret_major, unsigned *ret_minor);

/* /proc/PID/stat: when the process started, in ticks (_SC_CLK_TCK) since the boot. 0 or -EBADMSG. */
int stat_start_ticks(const char *text, uint64_t *ret);

/* /proc/PID/status: the name of the process, hostile text, owned by the caller. NULL when it is missing or on
 * ENOMEM. */
char *status_command(const char *text);

/* The credentials of a process. */
typedef struct ProcessStatus {
    struct {
        unsigned real, effective, saved, file_system;
    } uids;
    uint64_t effective, ambient; /* capabilities */
} ProcessStatus;

/* /proc/PID/status. 0 or -EBADMSG. */
int process_status_parse(const char *text, ProcessStatus *ret);
/* Is this the real or effective uid of the process? */
bool process_has_uid(const ProcessStatus *s, uid_t uid);
/* The effective capabilities of a process whose four uids are all this uid; -EPERM when one differs, as in
 * a setuid program. A caller could send its request and then execute a program that has capabilities of
 * its own: those are not the caller's. execve() of such a program clears the ambient set, so a capability
 * is certainly the caller's when it is ambient, or when the uid is 0 (*ret_sure). The others are in
 * *ret_unsure. */
int process_capabilities(const ProcessStatus *s, uid_t uid, uint64_t *ret_sure, uint64_t *ret_unsure);
/* Does process_capabilities() need the ambient set? */
bool process_needs_ambient(const ProcessStatus *s, uid_t uid);
