/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The lifeline of a claim: a pipe whose writing end goes to the client with the fds. When its last copy
 * closes, in whatever process, the kernel tells us by a hang-up: no pid, no bus name, no namespace matters.
 * Nothing is ever read from it. The reading end is also given to systemd's fd store, named after the claim,
 * so that it outlives this process; systemd drops it by itself when it hangs up. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct Lifeline Lifeline;
typedef void (*lifeline_closed_t)(void *userdata);

/* Makes a pipe; *ret_fd is the client's end, owned by the caller. */
int lifeline_new(sd_event *event, lifeline_closed_t closed, void *userdata, Lifeline **ret, int *ret_fd);
/* From a reading end that an earlier daemon left with systemd; takes fd over on success. */
int lifeline_new_from_fd(sd_event *event, int fd, lifeline_closed_t closed, void *userdata, Lifeline **ret);
Lifeline *lifeline_free(Lifeline *l);
DEFINE_TRIVIAL_CLEANUP_FUNC(Lifeline *, lifeline_free);

/* Leaves the reading end with systemd under name. Without systemd, and when it fails, nothing happens: the
 * claim then does not survive this process, and recovery treats it as ended. */
void lifeline_store(Lifeline *l, const char *name);
void lifeline_unstore(const char *name);
