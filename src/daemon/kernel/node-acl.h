/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The access control list of a device node. A path in /dev may lead to another node when it is used later. So
 * a list is read and written through an open file of the node, and the node is identified by its inode and
 * device number: devtmpfs makes a new inode whenever a node is made again.
 *
 * What is written is read back. Only root and the owner of a node can change its list; inotify reports such a
 * change. */

#include <systemd/sd-event.h>

#include "core/acl.h"
#include "core/claim.h"

/* Fills in path, inode and device number of the file's node. 0; -ENOENT: the node is gone; -ENOTTY: it is not
 * a VFIO node; or another negative errno. */
int node_acl_identify(int fd, ClaimNode *ret);
/* Opens the node without opening its device. -ENOENT: it is gone, or another one is in its place. */
int node_acl_open(const ClaimNode *node, int *ret_fd);

/* fd is any file of the node. 0; -EOPNOTSUPP: its file system has no lists; -E2BIG: more than ACL_ENTRIES_MAX
 * entries. */
int node_acl_read(int fd, Acl *ret, uid_t *ret_owner);
/* Reads the list by path. This is enough to see that nothing has changed, and wakes no program that watches
 * the node. */
int node_acl_peek(const ClaimNode *node, Acl *ret);
/* 0; -EAGAIN: somebody else changes it at the same time; or another negative errno. */
int node_acl_write(int fd, const Acl *acl);
/* Removes every named user from the list of this node. 1: there were some; 0: none; or negative errno. */
int node_acl_strip(const char *path);

typedef struct NodeAclWatch NodeAclWatch;
/* Calls changed from the event loop after owner, mode or list of one of these nodes may have changed. Nodes
 * that are gone are skipped. 0 or negative errno. */
int node_acl_watch(sd_event *event, const ClaimNode *nodes, size_t n, void (*changed)(void *userdata),
        void *userdata, NodeAclWatch **ret);
NodeAclWatch *node_acl_watch_free(NodeAclWatch *w);
DEFINE_TRIVIAL_CLEANUP_FUNC(NodeAclWatch *, node_acl_watch_free);
