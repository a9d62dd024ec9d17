/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts workers that may read config space. That requires CAP_SYS_ADMIN, which permits nearly everything, so
 * the daemon does not keep it. Before it drops its privileges it executes this program again (`vfiod
 * --spawner`). The spawner keeps that capability, talks only to the daemon, and only starts workers. It ends
 * with the daemon, and workers end with it. */

#include <sys/types.h>

/* Call before privileges are dropped: a spawner that has died cannot be replaced. Returns the daemon's end of
 * the socket (owned by the caller), or negative errno. *ret_process is a pidfd, owned by the caller. */
int spawner_start(int *ret_process);
/* Has a worker started that serves orders on socket. Its pidfd arrives as the first message on the other end:
 * one byte and the fd. Does not sleep. 0 or negative errno. */
int spawner_request(int spawner, int socket);

/* The spawner's main function. Returns an exit status. */
int spawner_main(void);

/* In a forked child: executes this program with that option, with only the standard streams and the socket
 * (as fd 3) open. Does not return. */
void spawner_execute(const char *option, int socket, pid_t parent);
