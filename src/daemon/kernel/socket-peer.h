/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The process that connected to a local socket, as the kernel recorded it at that moment. Anybody who uses
 * the connection later acts for it. */

#include <sys/socket.h>

#include "core/subject.h"
#include "daemon/kernel/caller-process.h"

/* SO_PEERCRED, which never changes. 0; -ENODATA: it has no such process; or negative errno. */
int socket_peer_credentials(int fd, struct ucred *ret);

/* For a connection with these credentials that was accepted at accepted_usec (process_reader_now()) from a
 * socket with this scope (NULL: none). Uncertain facts are unknown in *ret. Does not sleep. 0 or negative
 * errno; *ret is untouched on failure. */
int peer_subject_from_socket(ProcessReader *reader, int fd, const struct ucred *peer, uint64_t accepted_usec,
        const char *scope, Subject *ret);
