/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who asks. Captured ONCE per connection from the kernel and the bus (daemon/credentials.c), never from what
 * the client says, and immutable afterwards. Policy looks only at this. */

#include <sys/types.h>

#include "base/macro.h"

typedef struct Subject {
    uid_t uid;   /* (uid_t) -1: unknown; matches nothing that allows */
    gid_t *gids; /* owned; primary group first */
    size_t n_gids;
    pid_t pid;     /* 0: unknown. For display only: pids are recycled */
    int pidfd;     /* owned, -EBADF when the bus could not give one */
    char *command; /* owned; /proc/PID/comm, hostile text, for display only; NULL: unknown */
    char *unit;    /* owned; systemd unit of the cgroup, NULL: none or unknown */
    char *cgroup;  /* owned; NULL: unknown */
    char *label;   /* owned; LSM label, NULL: none */
} Subject;

#define SUBJECT_NULL                                                                                         \
    (Subject) {                                                                                              \
        .uid = (uid_t) -1, .pidfd = -EBADF                                                                   \
    }

void subject_done(Subject *s);
bool subject_in_group(const Subject *s, gid_t gid);
/* root, the operator: may see and end every claim */
bool subject_is_operator(const Subject *s);
