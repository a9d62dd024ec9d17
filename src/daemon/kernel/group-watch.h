/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Remembers of which VFIO groups nobody has the file open.
 *
 * While some program has a group's file open, nobody can bind a device of that group to an iommufd, and
 * nothing shows it but an open of that file, which fails then, and which may sleep. A worker tries it once
 * (WORKER_PROBE_GROUPS); from then on inotify says whether anybody has opened it since, so the next claim
 * need not wait for a worker. Only one program can have a group's file open at a time, so each open has its
 * own event. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct GroupWatch GroupWatch;

int group_watch_new(sd_event *event, GroupWatch **ret);
GroupWatch *group_watch_free(GroupWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(GroupWatch *, group_watch_free);

/* Was it nobody's at the last probe, and has nobody opened it since? Also when there is no such file. */
bool group_watch_is_clear(GroupWatch *w, int group, const char *path);
/* Before a worker opens it, and when the worker has come back: clear says that it could open it. */
void group_watch_begin_probe(GroupWatch *w, int group);
void group_watch_end_probe(GroupWatch *w, int group, bool clear);
