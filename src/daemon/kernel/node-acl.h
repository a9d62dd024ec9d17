/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The access control list of a device node. A path in /dev may lead to another node by the time it is looked
 * at, so a list is read and written through an open file of the node, and the node is known by the number of
 * its inode and of its device: devtmpfs makes a new inode whenever a node comes back.
 *
 * What is written is read back. Only root and the owner of a node can change its list; inotify
 * reports such a change. */

#include <systemd/sd-event.h>

#include "core/acl.h"
#include "core/claim.h"

/* Fills in path, inode and number of the node that the file is of. -ENOENT: it has none any more; -ENOTTY:
 * it is no VFIO node. */
int node_acl_identify(int fd, ClaimNode *ret);
/* Opens the node without opening its device. -ENOENT: it is gone, or another one is at its place. */
int node_acl_open(const ClaimNode *node, int *ret_fd);

/* Through any file of the node. -EOPNOTSUPP: its file system has no lists; -E2BIG: too long for us. */
int node_acl_read(int fd, Acl *ret, uid_t *ret_owner);
/* By its path: enough to see that nothing has changed, and no program that watches the node is woken. */
int node_acl_peek(const ClaimNode *node, Acl *ret);
/* -EAGAIN: somebody else changes it at the same time. */
int node_acl_write(int fd, const Acl *acl);
/* Takes this node from every user that its list names. 1: there were some; 0: none; or negative errno. */
int node_acl_strip(const char *path);

typedef struct NodeAclWatch NodeAclWatch;
/* Calls changed from the event loop after owner, mode or list of one of these nodes may have changed. 0 or
 * negative errno; a node that is gone is left out. */
int node_acl_watch(sd_event *event, const ClaimNode *nodes, size_t n, void (*changed)(void *userdata),
        void *userdata, NodeAclWatch **ret);
NodeAclWatch *node_acl_watch_free(NodeAclWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(NodeAclWatch *, node_acl_watch_free);
