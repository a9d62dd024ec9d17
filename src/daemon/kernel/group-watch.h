/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Remembers which VFIO groups nobody has open.
 *
 * While a program has a group's file open, no device of that group can be bound to an iommufd. Only opening
 * that file shows this: it fails, and may sleep. A worker tries it once (WORKER_PROBE_GROUPS). From then on
 * inotify reports whether anybody has opened it since, so the next claim need not wait for a worker. Only one
 * program can have a group's file open at a time, so each open has its own event. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct GroupWatch GroupWatch;

int group_watch_new(sd_event *event, GroupWatch **ret);
GroupWatch *group_watch_free(GroupWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(GroupWatch *, group_watch_free);

/* Was it free at the last probe, and has nobody opened it since? Also true when there is no such file. */
bool group_watch_is_clear(GroupWatch *w, int group, const char *path);
/* begin: before a worker opens it. end: when the worker has finished; clear: it could open the file. */
void group_watch_begin_probe(GroupWatch *w, int group);
void group_watch_end_probe(GroupWatch *w, int group, bool clear);
