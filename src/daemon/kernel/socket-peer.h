/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process that has connected to a local socket, as the kernel recorded it at that moment. Whoever uses
 * the connection later, acts for it. */

#include "core/subject.h"
#include "daemon/kernel/caller-process.h"

/* Of a connection that was accepted at accepted_usec (process_reader_now()), from a socket with this scope
 * (NULL: none). Facts that are uncertain are unknown in *ret. Nothing in here sleeps. 0 or negative
 * errno; *ret is untouched on failure. */
int peer_subject_from_socket(
        ProcessReader *reader, int fd, uint64_t accepted_usec, const char *scope, Subject *ret);
