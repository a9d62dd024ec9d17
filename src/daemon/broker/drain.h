/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Is it closed? A claim that has ended waits until nobody has its devices open any more, and
 * CLAIM_EVENT_CLOSED is fed then. What cannot be seen is not closed:
 *
 * - inotify reports the close of the file that was handed out (node-watch.h), and `enable` confirms it.
 * - A client that opens the nodes by itself is let in no more first, and then all that inotify has to tell is
 * read: the end of the claim may have been heard before an open that came before it.
 * - Where somebody else opened the node too, or events were missed, the kernel is asked by a worker: it lets
 * only one have a group open, and a vfio driver lets its device go only after the last close. The second
 * would take the device from whoever has it, so it is asked only when no process is found that does
 * (holder-search.h). */

#include "daemon/broker/claims.h"

/* From before the node is opened. 0 or negative errno. */
int drain_watch(ClaimRun *j, const char *path);
/* Right after our own open of the node that was watched as the index-th. */
void drain_settle(ClaimRun *j, size_t index);
/* For recovery: an earlier process has handed the node out. */
void drain_watch_recovered(ClaimRun *j, const char *path);
void drain_unwatch(ClaimRun *j);
/* The devices of to have been, or were till now, those of from: their nodes go with them. */
void drain_give(ClaimRun *from, ClaimRun *to);
/* When not, whatever may change the answer leads to another look. */
/* Nobody has the nodes open, without a doubt; but who closed them for the last time may still be at it. */
bool drain_is_sure(const ClaimRun *j);
bool drain_is_closed(ClaimRun *j);
/* Something may have changed: is it closed by now? Then it goes on, and j may be gone. */
void drain_look(ClaimRun *j);
