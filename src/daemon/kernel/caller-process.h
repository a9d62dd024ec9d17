/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The kernel's facts about the process behind a connection, as far as policy and journal need them. */

#include <sys/stat.h>

#include "core/subject.h"

/* Facts that do not change while the daemon runs, read on first use. */
typedef struct ProcessReader {
    struct stat user_namespace, pid_namespace; /* our own; st_ino 0: not read yet */
    bool cgroup_unified;
    char *cgroup_root; /* owned; NULL: not read yet */
    bool without_info; /* no PIDFD_GET_INFO (before Linux 6.13); set by tests too */
} ProcessReader;

void process_reader_done(ProcessReader *r);

/* Fills in the facts about the process s->pid, which has connected under s->uid. Where s has no pidfd, the
 * process must have started before latest_start_usec (CLOCK_BOOTTIME), because it had connected by then. If
 * it is not certain that this is the process, all facts including the pid become unknown. */
void process_reader_read(ProcessReader *r, Subject *s, uint64_t latest_start_usec);

/* CLOCK_BOOTTIME in microseconds. */
uint64_t process_reader_now(void);
/* The Subject.serial of a new capture, unique in this daemon. */
uint64_t process_reader_next_serial(void);
