/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starts workers that may read config space. That takes CAP_SYS_ADMIN, which is nearly everything, so the
 * daemon itself does not have it: before it drops its privileges it starts this program anew (`vfiod
 * --spawner`), which keeps that capability, listens to nobody but the daemon, and does nothing but start
 * workers. It ends with the daemon, and workers end with it. */

#include <sys/types.h>

/* To be called before privileges are dropped: a spawner that has died cannot be replaced afterwards. The
 * daemon's end of the socket, or a negative errno. *ret_process is a pidfd, for who reaps it. */
int spawner_start(int *ret_process);
/* Has a worker started that serves orders on socket. Its pidfd arrives as the first message on the other end:
 * one byte, and the fd. Never sleeps. 0 or negative errno. */
int spawner_request(int spawner, int socket);

/* The program of the spawner. Returns an exit status. */
int spawner_main(void);

/* In a forked child: becomes this program with that option, with nothing open but the standard streams and
 * the socket, as fd 3. Does not return. */
void spawner_execute(const char *option, int socket, pid_t parent);
