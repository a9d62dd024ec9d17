/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/node-acl.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"

#define ATTRIBUTE "system.posix_acl_access"

#define FD_PATH_MAX 32U
static const char *fd_path(int fd, char buf[static FD_PATH_MAX]) {
    (void) snprintf(buf, FD_PATH_MAX, "/proc/self/fd/%d", fd);
    return buf;
}

/* ---- Nodes ---- */

static bool is_node(const struct stat *st, const ClaimNode *node) {
    return S_ISCHR(st->st_mode) && st->st_ino == node->inode && st->st_rdev == node->rdev;
}

int node_acl_identify(int fd, ClaimNode *ret) {
    char link[FD_PATH_MAX];
    ClaimNode node = {};
    struct stat st;
    ssize_t n;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISCHR(st.st_mode))
        return -ENOTTY;
    node.inode = st.st_ino;
    node.rdev = st.st_rdev;
    n = readlink(fd_path(fd, link), node.path, sizeof(node.path));
    if (n < 0)
        return -errno;
    if ((size_t) n >= sizeof(node.path))
        return -ENOENT; /* no node of ours has such a long name; " (deleted)" is appended to a removed one */
    node.path[n] = '\0';
    if (!claim_node_path_is_valid(node.path))
        return -ENOENT;
    *ret = node;
    return 0;
}

int node_acl_open(const ClaimNode *node, int *ret_fd) {
    _cleanup_close_ int fd = open(node->path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!is_node(&st, node))
        return -ENOENT;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* ---- Lists ---- */

/* size: the result of getxattr(), with errno. */
static int take_list(const uint8_t *data, ssize_t size, const struct stat *st, Acl *ret) {
    if (size >= 0)
        return acl_decode(data, (size_t) size, ret);
    if (errno == ERANGE)
        return -E2BIG;
    if (errno != ENODATA)
        return -errno;
    *ret = acl_from_mode(st->st_mode);
    return 0;
}

int node_acl_read(int fd, Acl *ret, uid_t *ret_owner) {
    uint8_t data[ACL_SIZE_MAX];
    char path[FD_PATH_MAX];
    struct stat st;

    if (fstat(fd, &st) < 0)
        return -errno;
    *ret_owner = st.st_uid;
    return take_list(data, getxattr(fd_path(fd, path), ATTRIBUTE, data, sizeof(data)), &st, ret);
}

int node_acl_peek(const ClaimNode *node, Acl *ret) {
    uint8_t data[ACL_SIZE_MAX];
    struct stat st;

    if (lstat(node->path, &st) < 0)
        return -errno;
    if (!is_node(&st, node))
        return -ENOENT;
    return take_list(data, lgetxattr(node->path, ATTRIBUTE, data, sizeof(data)), &st, ret);
}

int node_acl_write(int fd, const Acl *acl) {
    uint8_t data[ACL_SIZE_MAX];
    char path[FD_PATH_MAX];
    uid_t owner;
    Acl now;
    int r;

    if (setxattr(fd_path(fd, path), ATTRIBUTE, data, acl_encode(acl, data), 0) < 0)
        return -errno;
    r = node_acl_read(fd, &now, &owner);
    if (r < 0)
        return r;
    return acl_is_equal(acl, &now) ? 0 : -EAGAIN;
}

int node_acl_strip(const char *path) {
    _cleanup_close_ int fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    uid_t owner;
    Acl acl;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISCHR(st.st_mode))
        return -ENOTTY;
    r = node_acl_read(fd, &acl, &owner);
    if (r < 0 || !acl_remove_users(&acl))
        return r;
    r = node_acl_write(fd, &acl);
    return r < 0 ? r : 1;
}

/* ---- Changes by others ---- */

struct NodeAclWatch {
    int fd;
    sd_event_source *source;
    void (*changed)(void *userdata);
    void *userdata;
};

NodeAclWatch *node_acl_watch_free(NodeAclWatch *w) {
    if (!w)
        return NULL;
    sd_event_source_disable_unref(w->source);
    (void) safe_close(w->fd);
    free(w);
    return NULL;
}

/* The kind of event does not matter: the receiver reads the node again. */
static int on_events(sd_event_source *s, int fd, uint32_t events, void *userdata) {
    char buf[64 * (sizeof(struct inotify_event) + NAME_MAX + 1)];
    NodeAclWatch *w = userdata;

    while (read(fd, buf, sizeof(buf)) > 0)
        ;
    w->changed(w->userdata);
    return 0;
}

int node_acl_watch(sd_event *event, const ClaimNode *nodes, size_t n, void (*changed)(void *userdata),
        void *userdata, NodeAclWatch **ret) {
    _cleanup_(node_acl_watch_freep) NodeAclWatch *w = malloc(sizeof(*w));
    int r;

    if (!w)
        return -ENOMEM;
    *w = (NodeAclWatch){
            .fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .changed = changed, .userdata = userdata};
    if (w->fd < 0)
        return -errno;
    for (size_t i = 0; i < n; i++)
        if (inotify_add_watch(w->fd, nodes[i].path, IN_ATTRIB) < 0 && errno != ENOENT)
            return -errno;
    r = sd_event_add_io(event, &w->source, w->fd, EPOLLIN, on_events, w);
    if (r >= 0) /* before any request */
        r = sd_event_source_set_priority(w->source, SD_EVENT_PRIORITY_IMPORTANT);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(w);
    return 0;
}
