/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the kernel says about the process behind a connection, as far as policy and journal look at it. */

#include <sys/stat.h>

#include "core/subject.h"

/* What does not change while the daemon runs; read when it is needed first. */
typedef struct ProcessReader {
    struct stat user_namespace, pid_namespace; /* our own; st_ino 0: not read yet */
    bool cgroup_unified;
    char *cgroup_root; /* owned; NULL: not read yet */
    bool without_info; /* no PIDFD_GET_INFO (before Linux 6.13); a test says so, too */
} ProcessReader;

void process_reader_done(ProcessReader *r);

/* Fills in what is about the process s->pid, which has connected under s->uid. Where s has no pidfd (only the
 * number is known), the process must have started before latest_start_usec (CLOCK_BOOTTIME): it had connected
 * by then. Without certainty that this is the process, nothing about it is known, nor the pid. */
void process_reader_read(ProcessReader *r, Subject *s, uint64_t latest_start_usec);

/* CLOCK_BOOTTIME in microseconds. */
uint64_t process_reader_now(void);
/* For Subject.serial of a new capture: no other one of this daemon has it. */
uint64_t process_reader_next_serial(void);
