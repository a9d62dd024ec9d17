/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Texts that outlive the files of /run. Each is a sealed memfd in systemd's fd store. Where the unit has
 * FileDescriptorStorePreserve=yes, systemd keeps it when the unit is stopped, and over a kexec if the kernel
 * can hand memfds on (LUO).
 *
 * A keepsake is never the only place of what it says: it is written after the file, and read where the file
 * is gone. So a text is replaced by making the new one, removing the old one and sending the new one: a crash
 * between the two loses nothing. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Keepsakes Keepsakes;

/* event: for trying again when systemd is busy; NULL in tests that need no such thing. NULL: no memory. */
Keepsakes *keepsakes_new(sd_event *event);
Keepsakes *keepsakes_free(Keepsakes *k);
DEFINE_TRIVIAL_CLEANUP_FUNC(Keepsakes *, keepsakes_free);

/* Replaces what is kept under this name. What systemd does not take at once is sent a moment later. */
void keepsakes_put(Keepsakes *k, const char *name, const char *text, size_t size);
/* systemd has one of this name, from a daemon before us. 0 or -ENOMEM. */
int keepsakes_adopt(Keepsakes *k, const char *name);
bool keepsakes_has(const Keepsakes *k, const char *name);
/* Costs nothing when nothing is kept. */
void keepsakes_drop(Keepsakes *k, const char *name);

/* The text of one that systemd has passed to us; the fd stays open. *ret is NUL-terminated and owned.
 * -EBADMSG: it is no regular file; -E2BIG. */
int keepsake_read(int fd, size_t max, char **ret, size_t *ret_size);
/* The fd that systemd has passed under this name, borrowed; -ENOENT. */
int keepsake_find(const char *name);
