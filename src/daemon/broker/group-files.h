/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files of IOMMU groups that stay open for a claim of the backend compat.
 *
 * A device that was opened with an iommufd as its group's container does not keep the group's file open. Once
 * that is closed, whoever may open the group's node gets the device, too, while the first one still drives
 * it. So vfiod holds the file from the open until nobody has the devices any more: a group has one opener,
 * and that is us. It is in systemd's fd store as well, so that a restart leaves no gap.
 *
 * The kernel resets a device at its last close under a lock that the last close of its group's file waits
 * for. So that is left to a worker, or to systemd. */

#include "daemon/kernel/worker.h"

typedef struct ClaimRun ClaimRun;

#define GROUP_FILES_STORE_PREFIX "groups-" /* the id of the claim follows */

typedef struct GroupFiles {
    int fds[PLAN_GROUPS_MAX]; /* owned */
    size_t n;
    unsigned n_charged; /* to the budget, as so many claims more: systemd has room for that many fds */
    sd_event_source *store_timer; /* armed while systemd is too busy to take them */
} GroupFiles;

/* Is there room for those of the claim? 0, or a negative errno with the claim's refusal filled. */
int group_files_charge(ClaimRun *j);
/* They were opened for the claim, or found at the start: takes the fd over. */
void group_files_add(ClaimRun *j, int *fd);
/* systemd keeps them from now on, or soon. */
void group_files_keep(ClaimRun *j);
/* Of a claim that was found at the start. Those of a claim that had more than there are, are not enough. */
void group_files_adopted(ClaimRun *j);
bool group_files_are_complete(const ClaimRun *j);
/* The worker that gets the order closes the last copies. */
void group_files_order(const ClaimRun *j, WorkerOrder *order);
/* Nothing of them stays here or with systemd. */
void group_files_drop(ClaimRun *j);
/* The claim is freed; systemd keeps what it has. */
void group_files_free(ClaimRun *j);
