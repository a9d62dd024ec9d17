/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/broker/grant.h"

#include "base/fd.h"
#include "base/str.h"
#include "daemon/broker/backend.h"
#include "daemon/broker/claim-run.h"

int grant_add(ClaimRun *j, int *fd, const char *kind, const char *of) {
    size_t n = strlen(kind);
    GrantedFd *g;

    if (j->n_fds == CLAIM_RUN_FDS_MAX)
        return -E2BIG;
    g = &j->fds[j->n_fds++];
    assert(n < sizeof(g->name));
    memcpy(g->name, kind, n);
    put_text(g->name + n, sizeof(g->name) - n, of);
    g->fd = TAKE_FD(*fd);
    return 0;
}

void grant_drop_first(ClaimRun *j, size_t n) {
    for (size_t i = 0; i < n; i++)
        j->fds[i].fd = safe_close(j->fds[i].fd);
    j->n_fds -= n;
    memmove(j->fds, j->fds + n, j->n_fds * sizeof(j->fds[0]));
}

void grant_drop(ClaimRun *j) {
    grant_drop_first(j, j->n_fds);
}

void grant_give(ClaimRun *j) {
    const ClaimRun *whole = j->claim.of[0] ? claims_find(j->broker, j->claim.of) : j;
    const Grant grant = {.claim = &whole->claim,
            .plan = &j->claim.plan,
            .fds = j->fds,
            .n_fds = j->n_fds,
            .nodes = j->claim.nodes,
            .n_nodes = j->claim.n_nodes};

    j->granted = claim_run_answer(j, &grant, NULL);
    grant_drop(j);
    spare_prepare_later(j->broker->spare);
}

/* The devices were opened only to check that this works and that nobody else has them open. */
static int take_none(ClaimRun *j) {
    grant_drop(j);
    return 0;
}

static const GrantType grant_fd, grant_none = {.take = take_none};

static const GrantType *const types[_GRANT_KIND_MAX] = {
        [GRANT_FD] = &grant_fd,
        [GRANT_NODE] = &grant_node,
        [GRANT_NONE] = &grant_none,
};

static const GrantType *type_of(const ClaimRun *j) {
    return types[j->claim.plan.grant];
}

int grant_take(ClaimRun *j) {
    return type_of(j)->take ? type_of(j)->take(j) : 0;
}

int grant_expose(ClaimRun *j) {
    return type_of(j)->expose ? type_of(j)->expose(j) : 0;
}

void grant_resume(ClaimRun *j) {
    if (type_of(j)->resume)
        type_of(j)->resume(j);
}

int grant_retract(ClaimRun *j) {
    return type_of(j)->retract ? type_of(j)->retract(j) : 0;
}

bool grant_is_alike(const ClaimNode *a, const ClaimNode *b) {
    return a->inode == b->inode && a->rdev == b->rdev;
}

static bool has_node(const Claim *c, const ClaimNode *node) {
    for (size_t i = 0; i < c->n_nodes; i++)
        if (grant_is_alike(&c->nodes[i], node))
            return true;
    return false;
}

int grant_copy_nodes(const ClaimRun *j, ClaimRun *part) {
    const Claim *c = &j->claim;

    if (c->n_nodes == 0)
        return 0;
    part->claim.nodes = calloc(c->n_nodes, sizeof(*c->nodes));
    if (!part->claim.nodes)
        return -ENOMEM;
    for (size_t i = 0; i < c->n_nodes; i++)
        if (backend_has_node(part, c->nodes[i].path, NULL))
            part->claim.nodes[part->claim.n_nodes++] = c->nodes[i];
    return 0;
}

int grant_join_nodes(const ClaimRun *j, const ClaimRun *part, ClaimNodes *ret) {
    const Claim *a = &j->claim, *b = &part->claim;
    const size_t n = a->n_nodes + b->n_nodes;
    ClaimNode *nodes;

    if (n > CLAIM_NODES_MAX)
        return -E2BIG;
    nodes = calloc(MAX(n, (size_t) 1), sizeof(*nodes));
    if (!nodes)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        nodes[i] = i < a->n_nodes ? a->nodes[i] : b->nodes[i - a->n_nodes];
    *ret = (ClaimNodes){nodes, n};
    return 0;
}

int grant_leave_nodes(const ClaimRun *j, const ClaimRun *part, ClaimNodes *ret) {
    const Claim *c = &j->claim;
    ClaimNode *nodes = calloc(MAX(c->n_nodes, (size_t) 1), sizeof(*nodes));
    size_t n = 0;

    if (!nodes)
        return -ENOMEM;
    for (size_t i = 0; i < c->n_nodes; i++)
        if (!part || !has_node(&part->claim, &c->nodes[i]))
            nodes[n++] = c->nodes[i];
    *ret = (ClaimNodes){nodes, n};
    return 0;
}

void grant_joined(ClaimRun *j, ClaimRun *part) {
    for (size_t i = 0; i < part->claim.n_nodes; i++)
        part->claim.nodes[i].ours = false;
    if (type_of(j)->joined)
        type_of(j)->joined(j);
}

void grant_left(ClaimRun *j) {
    if (type_of(j)->left)
        type_of(j)->left(j);
}
