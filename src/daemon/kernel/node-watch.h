/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Tells when a device node is closed for good.
 *
 * inotify reports IN_CLOSE on the node when the last reference of an open file goes, in whatever process
 * (kernel-facts.md section 1). Opens and closes are counted: our own open comes first and is read at once
 * (node_watch_settle), so that later ones are somebody else's. inotify merges equal events that follow each
 * other, so as soon as a stranger was seen the count proves nothing any more and the entry says so: /proc
 * must be asked then.
 *
 * No event tells the end of the reset that the kernel runs after the last close: the caller confirms with
 * `enable`. */

#include <systemd/sd-event.h>

#include "base/macro.h"

typedef struct NodeWatch NodeWatch;
typedef struct NodeEntry NodeEntry;

/* Something happened to the node; look at its state. */
typedef void (*node_changed_t)(void *userdata);

typedef enum NodeState {
    NODE_OPEN,      /* at least one open file is left */
    NODE_CLOSED,    /* all are closed, or the node and its last open file are gone */
    NODE_UNCERTAIN, /* more opens than ours were seen, or events were lost: ask /proc */
} NodeState;

int node_watch_new(sd_event *event, NodeWatch **ret);
NodeWatch *node_watch_free(NodeWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(NodeWatch *, node_watch_free);

/* Starts before the node is opened. uncertain: opens may have been missed already (recovery). -ENOENT: no
 * such node. */
int node_watch_add(NodeWatch *w, const char *path, bool uncertain, node_changed_t changed, void *userdata,
        NodeEntry **ret);
NodeEntry *node_entry_free(NodeEntry *e);
/* Right after our own open: takes note of its event, so that the next open is known to be another's. */
void node_watch_settle(NodeWatch *w, NodeEntry *e);
NodeState node_entry_state(const NodeEntry *e);
