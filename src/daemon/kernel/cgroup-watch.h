/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reports when the last process leaves a control group. The kernel shows this in cgroup.events ("populated
 * 0") and announces changes of that file by inotify. A group is identified by its open directory: a group
 * that was removed and made again under the same name is another one. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct CgroupWatch CgroupWatch;
typedef struct CgroupEntry CgroupEntry;

int cgroup_watch_new(sd_event *event, CgroupWatch **ret);
/* All entries must be freed before. */
CgroupWatch *cgroup_watch_free(CgroupWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(CgroupWatch *, cgroup_watch_free);

/* Opens the directory of a group by its path in the unified hierarchy. *ret is owned by the caller. 0;
 * -ENOENT; -EOPNOTSUPP: it never becomes empty (the root), or the host has no unified hierarchy; or another
 * negative errno. */
int cgroup_open(const char *path, int *ret);
/* Is there a process in the group or below it? 1; 0, also when the group is gone; or negative errno. */
int cgroup_is_populated(int directory);

/* emptied is called once from the event loop when no process is left. */
int cgroup_watch_add(
        CgroupWatch *w, int directory, void (*emptied)(void *userdata), void *userdata, CgroupEntry **ret);
CgroupEntry *cgroup_entry_free(CgroupEntry *e);
