/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells when the file that was handed out of a device node is closed.
 *
 * inotify reports IN_CLOSE_WRITE on the node when the last reference to an open file goes, in whatever
 * process or socket that is (kernel-facts.md section 1). Our own open comes first and is read at once
 * (node_watch_settle), so a later open is somebody else's. inotify merges equal events that follow each
 * other, so nothing can be counted once there are two files: the node is in doubt then, until its inode goes,
 * and the kernel must be asked otherwise. Only root can open a node for writing, but kernels before 6.10
 * report when anybody opens or closes one with O_PATH; those closes are IN_CLOSE_NOWRITE, which is not looked
 * at.
 *
 * The inotify fd goes to systemd's fd store, with all its watches: what happens while no daemon runs is read
 * by the next one. What the earlier one has read is told by the masks: a file that was closed has a watch
 * that does not report closes, and a node in doubt one that does not report opens.
 *
 * A node stays watched when its claim is over, for the next one: to take a watch away and to add it again
 * costs more than the rest of a claim. It goes when its inode does, when anybody else uses the node, and when
 * devices come or change; and that a claim has opened what is watched shows when the event of its open is
 * read.
 *
 * No event tells the end of the reset that the kernel runs after the last close: the caller confirms with
 * `enable`. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct NodeWatch NodeWatch;
typedef struct NodeEntry NodeEntry;

#define NODE_WATCH_STORE_NAME "node-watch"

/* Something happened to the node; look at its state. */
typedef void (*node_changed_t)(void *userdata);

typedef enum NodeState {
    NODE_OPEN,   /* our file is open */
    NODE_CLOSED, /* it is closed, or the node and its last open file are gone */
    NODE_DOUBT,  /* another file was opened, or events were lost */
} NodeState;

int node_watch_new(sd_event *event, NodeWatch **ret);
NodeWatch *node_watch_free(NodeWatch *w);
/* The process ends: entries that are freed from now on stay watched for the next one. */
void node_watch_leave(NodeWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(NodeWatch *, node_watch_free);

/* Before anything is watched: goes on with the fd that an earlier process left with systemd (takes it over on
 * success), or, with -EBADF, leaves its own there. 0 or negative errno. */
int node_watch_keep(NodeWatch *w, int fd);
/* After the last node_watch_resume(): nobody waits for what else the earlier process has watched. */
void node_watch_forget_rest(NodeWatch *w);

/* Starts before the node is opened. -ENOENT: no such node. */
int node_watch_add(NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret);
/* Continues the watch of an earlier process. The entry is in doubt unless it was certainly watched all the
 * time. */
int node_watch_resume(
        NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret);
NodeEntry *node_entry_free(NodeEntry *e);
/* Nodes that no entry has may be others by now. */
void node_watch_drop_idle(NodeWatch *w);
/* Right after our own open: takes note of its event, so that the next open is known to be another's. */
void node_watch_settle(NodeWatch *w, NodeEntry *e);
/* Reads all that has happened till now. Not while some that an earlier process watched are still to be
 * resumed: what happened to those would be lost. */
void node_watch_catch_up(NodeWatch *w);
NodeState node_entry_state(const NodeEntry *e);
const char *node_entry_path(const NodeEntry *e);
/* Somebody else looks at it from now on. */
void node_entry_give(NodeEntry *e, void *userdata);
