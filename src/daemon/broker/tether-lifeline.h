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

/* Leaves the reading end with systemd under name, a few milliseconds from now or when l is freed before: a
 * claim that is over by then costs systemd nothing. Without systemd, and when it fails, nothing happens: the
 * claim then does not survive this process, and recovery treats it as ended. */
void lifeline_store(Lifeline *l, const char *name);
/* systemd has it already, from an earlier process. */
void lifeline_set_stored(Lifeline *l, const char *name);
/* The claim is over: systemd need not keep it (any more). */
void lifeline_unstore(Lifeline *l);
/* The same for a reading end that belongs to no claim. */
void lifeline_unstore_name(const char *name);
