/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Files of IOMMU groups that stay open for a claim of the backend compat.
 *
 * A device that was opened with an iommufd as its group's container does not keep the group's file open. When
 * that is closed, anybody who may open the group's node gets the device too, while the first user still has
 * it. So vfiod keeps the file from the open until nobody has the devices any more: a group can be opened only
 * once. The file is in systemd's fd store too, so that a restart leaves no gap.
 *
 * At its last close a device is reset under a lock for which the last close of its group's file waits. So
 * that close is left to a worker or to systemd. */

#include "daemon/kernel/worker.h"

typedef struct ClaimRun ClaimRun;

#define GROUP_FILES_STORE_PREFIX "groups-" /* the id of the claim follows */

typedef struct GroupFiles {
    int fds[PLAN_GROUPS_MAX]; /* owned */
    size_t n;
    unsigned n_charged;           /* to the budget, each like a claim: systemd has room for this many fds */
    sd_event_source *store_timer; /* enabled while systemd is too busy to take them */
} GroupFiles;

/* Is there room for the claim's files? 0, or a negative errno with the claim's refusal set. */
int group_files_charge(ClaimRun *j);
/* They were opened for the claim, or found at the start. Takes ownership of *fd. */
void group_files_add(ClaimRun *j, int *fd);
/* systemd keeps them from now on, or soon. */
void group_files_keep(ClaimRun *j);
/* For a claim found at the start. If some of its files are missing, the others are of no use. */
void group_files_adopted(ClaimRun *j);
bool group_files_are_complete(const ClaimRun *j);
/* The worker that gets the order closes the last copies. */
void group_files_order(const ClaimRun *j, WorkerOrder *order);
/* Drops them here and in systemd. */
void group_files_drop(ClaimRun *j);
/* The claim is freed; systemd keeps its copies. */
void group_files_free(ClaimRun *j);
