/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* systemd's fd store, as of sd_notify(3): what is in it outlives this process. One socket is kept open, and
 * nothing blocks. */

/* systemd keeps a duplicate of fd under name until it is removed. 0, also without systemd; -EAGAIN: not
 * now. */
int fd_store_add(const char *name, int fd);
/* How many fds systemd has room for; UINT64_MAX: systemd is too old to say, or keeps none. It silently drops
 * more. */
uint64_t fd_store_size(void);
/* Drops everything of that name. */
void fd_store_remove(const char *name);
