/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A claim that has ended waits until nobody has its devices open. Then CLAIM_EVENT_CLOSED is fed. Unknown
 * counts as open:
 *
 * - inotify reports the close of the file that was handed out (node-watch.h), and `enable` confirms it.
 *
 * - A client that opens the nodes itself is first denied access, and then all pending inotify events are
 * read: the end of the claim may have been noticed before an earlier open.
 *
 * - If somebody else opened the node too, or events were missed, a worker asks the kernel: only one process
 * can have a group open, and a vfio driver releases its device only after the last close. The latter would
 * take the device from its user, so it is done only when no process is found that has it open
 * (holder-search.h). */

#include "daemon/broker/claims.h"

/* Call before the node is opened. 0 or negative errno. */
int drain_watch(ClaimRun *j, const char *path);
/* Call right after our own open of the node at this index. */
void drain_settle(ClaimRun *j, size_t index);
/* For recovery: an earlier process has handed the node out. */
void drain_watch_recovered(ClaimRun *j, const char *path);
void drain_unwatch(ClaimRun *j);
/* Devices of `to` were, or are still, those of `from`: their nodes are moved along. */
void drain_give(ClaimRun *from, ClaimRun *to);
/* Is it certain that nobody has the nodes open? The last close may still be in progress. */
bool drain_is_sure(const ClaimRun *j);
/* Are the devices closed? If not, whatever may change the answer causes another look. */
bool drain_is_closed(ClaimRun *j);
/* Something may have changed: checks whether the devices are closed, and then continues. j may be freed. */
void drain_look(ClaimRun *j);
