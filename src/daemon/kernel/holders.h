/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who has the devices of a claim open: every process whose file table holds a VFIO file of them, whoever gave
 * it. Found in /proc/PID/fd and fdinfo, so it costs a walk over all processes: for people who ask, and for
 * the rare moment when counting opens and closes is not enough. Files that are in flight in a socket are not
 * seen. */

#include "core/claim.h"

typedef struct Holder {
    pid_t pid;
    char command[20]; /* /proc/PID/comm: hostile text */
} Holder;

/* A few seconds at most: a few users who open what they may could otherwise keep the daemon looking until its
 * watchdog ends it. */
#define HOLDERS_FILES_MAX (1024U * 1024)

/* Fills at most max holders, without doubles, this process left out. Returns the number; -E2BIG when more
 * files are open on this host than are looked at; negative errno when /proc cannot be read at all. */
ssize_t holders_find(const Claim *c, Holder *holders, size_t max);
