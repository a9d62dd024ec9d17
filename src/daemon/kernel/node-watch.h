/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reports when the file that was handed out from a device node is closed.
 *
 * inotify reports IN_CLOSE_WRITE on the node when the last reference to an open file goes, in whatever
 * process or socket it is (kernel-facts.md section 1). Our own open comes first and is read at once
 * (node_watch_settle), so a later open is somebody else's. inotify merges equal consecutive events, so files
 * cannot be counted when there are two. The node is then in doubt until its inode goes, and the kernel must
 * be asked in another way. Only root can open a node for writing, but kernels before 6.10 also report opens
 * and closes with O_PATH; those closes are IN_CLOSE_NOWRITE, which is ignored.
 *
 * The inotify fd is in systemd's fd store with all its watches, so events that happen without a daemon are
 * read by the next one. The masks show what the earlier daemon has read: the watch of a closed file does not
 * report closes, and that of a node in doubt does not report opens.
 *
 * A node stays watched after its claim for the next one, because removing and adding a watch costs more than
 * the rest of a claim. The watch ends when the inode goes, when anybody else uses the node, and when devices
 * appear or change. The event of the open proves that a claim opened the watched inode.
 *
 * No event reports the end of the reset that the kernel runs after the last close: the caller checks `enable`
 * for that. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct NodeWatch NodeWatch;
typedef struct NodeEntry NodeEntry;

#define NODE_WATCH_STORE_NAME "node-watch"

/* The node's state may have changed. */
typedef void (*node_changed_t)(void *userdata);

typedef enum NodeState {
    NODE_OPEN,   /* our file is open */
    NODE_CLOSED, /* it is closed, or the node and its last open file are gone */
    NODE_DOUBT,  /* another file was opened, or events were lost */
} NodeState;

int node_watch_new(sd_event *event, NodeWatch **ret);
NodeWatch *node_watch_free(NodeWatch *w);
/* The process ends: entries freed from now on stay watched for the next process. */
void node_watch_leave(NodeWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(NodeWatch *, node_watch_free);

/* Call before anything is watched. Continues with the fd that an earlier process left with systemd (ownership
 * is taken on success), or with -EBADF stores its own there. 0 or negative errno. */
int node_watch_keep(NodeWatch *w, int fd);
/* Call after the last node_watch_resume(): other watches of the earlier process are removed. */
void node_watch_forget_rest(NodeWatch *w);

/* Call before the node is opened. 0; -ENOENT: no such node; or another negative errno. *ret is owned by the
 * caller. */
int node_watch_add(NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret);
/* Continues a watch of the earlier process. The entry is in doubt unless it was certainly watched all the
 * time. */
int node_watch_resume(
        NodeWatch *w, const char *path, node_changed_t changed, void *userdata, NodeEntry **ret);
NodeEntry *node_entry_free(NodeEntry *e);
/* Drops watches without an entry: their nodes may have changed. */
void node_watch_drop_idle(NodeWatch *w);
/* Call right after our own open: reads its event, so that the next open is known to be somebody else's. */
void node_watch_settle(NodeWatch *w, NodeEntry *e);
/* Reads all pending events. Do not call it while watches of an earlier process are still to be resumed: their
 * events would be lost. */
void node_watch_catch_up(NodeWatch *w);
NodeState node_entry_state(const NodeEntry *e);
const char *node_entry_path(const NodeEntry *e);
/* Sets the userdata of changed(). */
void node_entry_give(NodeEntry *e, void *userdata);
