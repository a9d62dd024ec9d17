/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The client opens the nodes itself. This is for programs that take no files: QEMU on a kernel without
 * iommufd, DPDK, containers. While the claim is held, an entry in each node's access control list lets its
 * owner, and nobody else, read and write.
 *
 * The record names the nodes with their former lists before an entry is added, and until every entry is
 * removed. Entries are removed before the wait for the devices to be closed, so that nobody opens them again.
 * Claims of several users share /dev/iommu and /dev/vfio/vfio: each user has an entry, and two claims of one
 * user share one, which the last of them removes.
 *
 * The former list of a node is restored whole. If another program has changed it meanwhile (udev sets modes,
 * and the entries of users at a seat), its version counts from then on, our entry is added again, and this is
 * logged. */

#include "daemon/broker/grant.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/str.h"
#include "base/user-name.h"
#include "core/device-kind.h"
#include "daemon/broker/cdi-files.h"
#include "daemon/broker/claim-run.h"
#include "daemon/kernel/node-acl.h"
#include "daemon/kernel/vfio.h"

/* Another program that changes a list that often wins. */
#define REPAIRS_MAX 8U

/* ---- Claims that share a node ---- */

static ClaimNode *find_ours(ClaimRun *j, const ClaimNode *node) {
    for (size_t i = 0; i < j->claim.n_nodes; i++) {
        ClaimNode *n = &j->claim.nodes[i];

        if (n->ours && grant_is_alike(n, node))
            return n;
    }
    return NULL;
}

static bool is_held(const ClaimRun *j) {
    return j->claim.state == CLAIM_HELD;
}

static const ClaimNode *find_shared(const ClaimRun *j, const ClaimNode *node) {
    const ClaimNode *n = NULL;

    for (ClaimRun *k = j->broker->claims; k && !n; k = k->next)
        n = k != j && is_held(k) ? find_ours(k, node) : NULL;
    return n;
}

/* Adds the entries of all held claims except one. */
static int add_users(const Broker *e, const ClaimRun *except, const ClaimNode *node, Acl *acl) {
    int r = 0;

    for (ClaimRun *k = e->claims; k && r >= 0; k = k->next)
        if (k != except && is_held(k) && find_ours(k, node))
            r = acl_add_user(acl, k->claim.uid);
    return r;
}

static bool is_user_elsewhere(const ClaimRun *j, const ClaimNode *node) {
    for (ClaimRun *k = j->broker->claims; k; k = k->next)
        if (k != j && is_held(k) && k->claim.uid == j->claim.uid && find_ours(k, node))
            return true;
    return false;
}

/* ---- Before the record is written ---- */

static int refuse_node(ClaimRun *j, const ClaimNode *node, int error) {
    int r;

    r = refuse(&j->claim.refusal, VFIOD_ERROR_OPEN_FAILED, &j->claim.plan.members[0].name,
            "cannot let %s open %s: %s", USER_TEXT(j->claim.uid), node->path[0] ? node->path : "its node",
            error == -EOPNOTSUPP       ? "its file system has no access control lists"
                    : error == -E2BIG  ? "its access control list is full"
                    : error == -EPERM  ? "the node belongs to another user than root"
                    : error == -EAGAIN ? "another program changes its access control list"
                                       : strerror(-error));
    j->claim.refusal.remedy = strdup("Request the grant fd, which needs no access to nodes.");
    return r;
}

/* Whether an entry is needed depends on the list without ours. */
static int prepare_node(ClaimRun *j, int fd, ClaimNode *node) {
    const ClaimNode *shared;
    uid_t owner;
    Acl acl;
    int r;

    r = node_acl_identify(fd, node);
    if (r >= 0)
        r = node_acl_read(fd, &node->before, &owner);
    if (r < 0)
        return r;
    shared = find_shared(j, node);
    acl = node->before;
    if (shared)
        node->before = shared->before;
    node->ours = !acl_allows_user(&node->before, owner, j->claim.uid);
    return node->ours ? acl_add_user(&acl, j->claim.uid) : 0;
}

static int take_node(ClaimRun *j) {
    Claim *c = &j->claim;

    assert(!c->nodes && j->n_fds <= CLAIM_NODES_MAX);
    c->nodes = calloc(j->n_fds, sizeof(*c->nodes));
    if (!c->nodes)
        return refuse(&c->refusal, VFIOD_ERROR_INTERNAL, NULL, "out of memory");
    for (size_t i = 0; i < j->n_fds; i++) {
        int r = prepare_node(j, j->fds[i].fd, &c->nodes[i]);

        if (r < 0)
            return refuse_node(j, &c->nodes[i], r);
        c->n_nodes++;
    }
    return 0;
}

/* ---- While it is held ---- */

static int expose(int fd, uid_t uid) {
    uid_t owner;
    Acl acl;
    int r;

    r = node_acl_read(fd, &acl, &owner);
    if (r >= 0)
        r = acl_add_user(&acl, uid);
    return r < 0 ? r : node_acl_write(fd, &acl);
}

static void on_changed(void *userdata);

static int watch(ClaimRun *j) {
    j->node_acls = node_acl_watch_free(j->node_acls);
    return node_acl_watch(j->broker->event, j->claim.nodes, j->claim.n_nodes, on_changed, j, &j->node_acls);
}

/* The files that were opened are the first ones of the grant, in this order. */
static int expose_node(ClaimRun *j) {
    const size_t n = j->claim.n_nodes;
    int r = n > 0 ? watch(j) : 0;

    if (r < 0)
        return refuse_node(j, &j->claim.nodes[0], r);
    for (size_t i = 0; i < n; i++) {
        ClaimNode *node = &j->claim.nodes[i];

        r = node->ours ? expose(j->fds[i].fd, j->claim.uid) : 0;
        if (r < 0)
            return refuse_node(j, node, r);
    }
    grant_drop_first(j, n);
    if (!j->claim.of[0])
        cdi_write(j);
    return 0;
}

/* Takes over another program's changes of the list, to which every claim of the node will restore it. */
static void adopt_change(Broker *e, const ClaimNode *node, const Acl *now) {
    Acl base = *now;

    for (ClaimRun *k = e->claims; k; k = k->next) {
        const ClaimNode *n = find_ours(k, node);

        if (n)
            acl_remove_user(&base, k->claim.uid, &n->before);
    }
    for (ClaimRun *k = e->claims; k; k = k->next) {
        ClaimNode *n = find_ours(k, node);

        if (!n)
            continue;
        n->before = base;
        k->dirty = true;
        if (claim_run_flush(k) < 0)
            log_warning("Claim %s: cannot record that the permissions of %s were changed", k->claim.id,
                    node->path);
    }
}

static int check_node(ClaimRun *j, ClaimNode *node) {
    _cleanup_close_ int fd = -EBADF;
    char text[ACL_TEXT_MAX];
    Acl now, wanted;
    uid_t owner;
    int r;

    wanted = node->before;
    r = add_users(j->broker, NULL, node, &wanted);
    if (r >= 0)
        r = node_acl_peek(node, &now);
    if (r < 0 || acl_is_equal(&now, &wanted)) /* without its node the claim ends, or has ended */
        return r == -ENOENT ? 0 : r;
    r = node_acl_open(node, &fd);
    if (r >= 0)
        r = node_acl_read(fd, &now, &owner);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    adopt_change(j->broker, node, &now);
    wanted = node->before;
    r = add_users(j->broker, NULL, node, &wanted);
    if (r < 0)
        return r;
    if (acl_is_equal(&now, &wanted)) {
        log_notice("Another program has changed the permissions of %s, which claim %s has, to %s", node->path,
                j->claim.id, acl_format(&now, text));
        return 0;
    }
    if (j->n_repairs++ >= REPAIRS_MAX) {
        if (j->n_repairs == REPAIRS_MAX + 1)
            log_error("Claim %s: another program keeps changing the permissions of %s. They are left as they "
                      "are, and %s may not be able to open it",
                    j->claim.id, node->path, USER_TEXT(j->claim.uid));
        return 0;
    }
    log_warning("Claim %s: another program has changed the permissions of %s to %s. %s is let in again",
            j->claim.id, node->path, acl_format(&now, text), USER_TEXT(j->claim.uid));
    return node_acl_write(fd, &wanted);
}

static void check_nodes(ClaimRun *j) {
    for (size_t i = 0; i < j->claim.n_nodes; i++) {
        ClaimNode *node = &j->claim.nodes[i];
        int r = node->ours ? check_node(j, node) : 0;

        if (r < 0)
            log_error_errno(r, "Claim %s: %s may not be able to open %s", j->claim.id,
                    USER_TEXT(j->claim.uid), node->path);
    }
}

static void on_changed(void *userdata) {
    check_nodes(userdata);
}

/* The permissions may have changed before this watch started, so they are checked now. */
static void resume_node(ClaimRun *j) {
    int r = watch(j);

    if (r < 0)
        log_error_errno(r, "Claim %s: cannot watch the permissions of its nodes", j->claim.id);
    check_nodes(j);
    cdi_write(j);
}

/* ---- When the claim has ended ---- */

static int retract(ClaimRun *j, ClaimNode *node) {
    _cleanup_close_ int fd = -EBADF;
    Acl now, wanted, expected;
    uid_t owner;
    int r;

    if (is_user_elsewhere(j, node))
        return 0;
    r = node_acl_open(node, &fd);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = node_acl_read(fd, &now, &owner);
    if (r < 0)
        return r;
    wanted = node->before;
    r = add_users(j->broker, j, node, &wanted);
    expected = wanted;
    if (r >= 0)
        r = acl_add_user(&expected, j->claim.uid);
    if (r >= 0 && acl_is_equal(&now, &wanted))
        return 0; /* an earlier process got that far */
    if (r < 0 || !acl_is_equal(&now, &expected)) {
        wanted = now;
        acl_remove_user(&wanted, j->claim.uid, &node->before);
    }
    return node_acl_write(fd, &wanted);
}

static int retract_node(ClaimRun *j) {
    int result = 0;

    cdi_remove(j);
    j->node_acls = node_acl_watch_free(j->node_acls);
    for (size_t i = 0; i < j->claim.n_nodes; i++) {
        ClaimNode *node = &j->claim.nodes[i];
        int r = node->ours ? retract(j, node) : 0;

        if (r >= 0) {
            j->dirty = j->dirty || node->ours;
            node->ours = false;
            continue;
        }
        result = r;
        if (!j->retract_failed)
            log_error_errno(r, "Claim %s: cannot take %s from %s again", j->claim.id, node->path,
                    USER_TEXT(j->claim.uid));
        j->retract_failed = true;
    }
    return result;
}

const GrantType grant_node = {
        .take = take_node,
        .expose = expose_node,
        .resume = resume_node,
        .joined = resume_node,
        .left = cdi_write,
        .retract = retract_node,
};

static void lock_out(const char *path) {
    int r = node_acl_strip(path);

    if (r > 0)
        log_warning("%s is taken from the users that could open it: its device is quarantined", path);
    if (r < 0 && r != -ENOENT && r != -EOPNOTSUPP)
        log_error_errno(r, "Cannot take %s, whose device is quarantined, from its users", path);
}

void grant_lock_out(const Device *d) {
    char path[VFIO_NODE_MAX];

    if (d->vfio_index >= 0)
        lock_out(device_node_path(d->name.kind, d->vfio_index, path));
    if (d->group)
        lock_out(vfio_group_path(d->group->id, path));
}

bool broker_has_exposed(const Broker *e, const char *path, uid_t uid) {
    for (const ClaimRun *j = e->claims; j; j = j->next)
        for (size_t i = 0; j->claim.uid == uid && i < j->claim.n_nodes; i++)
            if (j->claim.nodes[i].ours && streq(j->claim.nodes[i].path, path))
                return true;
    return false;
}
