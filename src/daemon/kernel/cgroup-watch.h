/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* When does the last process leave a control group? The kernel says so in cgroup.events ("populated 0"), and
 * announces a change of that file by inotify. The open directory is the identity: a group that was removed
 * and made again under the same name is another one. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct CgroupWatch CgroupWatch;
typedef struct CgroupEntry CgroupEntry;

int cgroup_watch_new(sd_event *event, CgroupWatch **ret);
/* All entries must be gone. */
CgroupWatch *cgroup_watch_free(CgroupWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(CgroupWatch *, cgroup_watch_free);

/* The directory of a group, by its path in the unified hierarchy. 0; -ENOENT; -EOPNOTSUPP: it can have no end
 * (the root), or the host has no unified hierarchy; another negative errno. */
int cgroup_open(const char *path, int *ret);
/* Is there a process in the group or below it? 1, 0 (also when the group is gone), or negative errno. */
int cgroup_is_populated(int directory);

/* emptied is called once, when there is no process left; possibly in the next turn of the loop already. */
int cgroup_watch_add(
        CgroupWatch *w, int directory, void (*emptied)(void *userdata), void *userdata, CgroupEntry **ret);
CgroupEntry *cgroup_entry_free(CgroupEntry *e);
