/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* systemd's fd store, as sd_notify(3) reaches it: what is in it outlives this process. One socket is kept,
 * and nothing waits. */

/* systemd keeps a duplicate of fd under name until it is removed, whatever becomes of it. 0, also when no
 * systemd is there; -EAGAIN: not now. */
int fd_store_add(const char *name, int fd);
/* How many fds systemd says it has room for; UINT64_MAX: it is too old to say so, or keeps none. It drops
 * what is beyond that without an answer. */
uint64_t fd_store_size(void);
/* Everything of that name is dropped. */
void fd_store_remove(const char *name);
