/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a client gets what it was granted, by the plan's GrantKind. Files leave with the reply, and the daemon
 * closes its copies at once: it could not revoke the client's, and a copy would prevent noticing the last
 * close, the reset at that close, and unbind. */

#include "daemon/broker/claims.h"

typedef struct GrantType {
    /* The backend has opened everything, and j->fds has only its files: those that are not handed out are
     * dropped. NULL: the client gets all. 0, or a negative errno with the claim's refusal set. */
    int (*take)(ClaimRun *j);
    /* The record says that the claim is held: gives the client access to what it opens itself. Returns
     * likewise. */
    int (*expose)(ClaimRun *j);
    /* An earlier process has done that, and all claims are recovered. */
    void (*resume)(ClaimRun *j);
    /* The claim has taken over nodes to which a part had given its owner access. */
    void (*joined)(ClaimRun *j);
    /* A part has left with some nodes. */
    void (*left)(ClaimRun *j);
    /* The claim has ended: prevents new opens. Called again until it returns 0. */
    int (*retract)(ClaimRun *j);
} GrantType;

extern const GrantType grant_node;

/* For backend and tether: takes ownership of *fd, under the name for the client: kind, and the object ("":
 * none, "device:" and the device). */
int grant_add(ClaimRun *j, int *fd, const char *kind, const char *of);

/* Before the tether adds its own file. */
int grant_take(ClaimRun *j);
/* As the last step; j->granted shows whether the client got it. */
void grant_give(ClaimRun *j);
int grant_expose(ClaimRun *j);
void grant_resume(ClaimRun *j);
int grant_retract(ClaimRun *j);
/* For a device whose claim record was lost: the users with access to its nodes are unknown, so all of them
 * lose it. */
void grant_lock_out(const Device *d);
/* Devices join or leave a claim, and their nodes go with them (claim-part.h). The owned lists are the claim's
 * nodes after that. 0, -ENOMEM or -E2BIG. */
typedef struct ClaimNodes {
    ClaimNode *list; /* owned */
    size_t n;
} ClaimNodes;
bool grant_is_alike(const ClaimNode *a, const ClaimNode *b);
/* For a part that is about to leave: it gets the nodes of its devices too. */
int grant_copy_nodes(const ClaimRun *j, ClaimRun *part);
int grant_leave_nodes(const ClaimRun *j, const ClaimRun *part, ClaimNodes *ret);
int grant_join_nodes(const ClaimRun *j, const ClaimRun *part, ClaimNodes *ret);
/* They belong to the claim from now on. */
void grant_joined(ClaimRun *j, ClaimRun *part);
void grant_left(ClaimRun *j);

/* It will not be handed out, or has been: drops all files here. */
void grant_drop(ClaimRun *j);
void grant_drop_first(ClaimRun *j, size_t n);
