/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a client gets what it was granted, by the plan's GrantKind. Files leave with the reply, and the daemon
 * closes its copies at once: it could not revoke them, and a copy would defeat release detection, the reset
 * at last close, and unbind. */

#include "daemon/broker/claims.h"

typedef struct GrantType {
    /* The backend has opened everything, and its files are all that is in j->fds: what is not handed out is
     * dropped. NULL: the client gets them. 0, or a negative errno with the claim's refusal filled. */
    int (*take)(ClaimRun *j);
    /* The record says that the claim is held: what the client is to reach by itself is opened to it now.
     * Likewise. */
    int (*expose)(ClaimRun *j);
    /* An earlier process did that, and all claims are there again. */
    void (*resume)(ClaimRun *j);
    /* The claim has taken over nodes that a part had opened to its owner. */
    void (*joined)(ClaimRun *j);
    /* A part has left with some. */
    void (*left)(ClaimRun *j);
    /* The claim has ended: nobody reaches anything anew. Once more until it returns 0. */
    int (*retract)(ClaimRun *j);
} GrantType;

extern const GrantType grant_node;

/* For the backend and the tether: takes *fd over under the name that the client will see, which is kind and
 * what it is of ("": nothing, "device:" and the device). */
int grant_add(ClaimRun *j, int *fd, const char *kind, const char *of);

/* Before the tether adds what is its own. */
int grant_take(ClaimRun *j);
/* Last of all; j->granted says whether somebody took it. */
void grant_give(ClaimRun *j);
int grant_expose(ClaimRun *j);
void grant_resume(ClaimRun *j);
int grant_retract(ClaimRun *j);
/* For a device whose claim record was lost. The users that its nodes were opened for are unknown, so no user
 * may open them any more. */
void grant_lock_out(const Device *d);
/* Devices join a claim, or leave it, and their nodes go with them (claim-part.h). The owned lists are what
 * the claim has then. 0, -ENOMEM, -E2BIG. */
typedef struct ClaimNodes {
    ClaimNode *list; /* owned */
    size_t n;
} ClaimNodes;
bool grant_is_alike(const ClaimNode *a, const ClaimNode *b);
/* The part, which is about to leave, has the nodes of its devices, too. */
int grant_copy_nodes(const ClaimRun *j, ClaimRun *part);
int grant_leave_nodes(const ClaimRun *j, const ClaimRun *part, ClaimNodes *ret);
int grant_join_nodes(const ClaimRun *j, const ClaimRun *part, ClaimNodes *ret);
/* They are the claim's from now on. */
void grant_joined(ClaimRun *j, ClaimRun *part);
void grant_left(ClaimRun *j);

/* It shall not be given, or was: nothing of it stays here. */
void grant_drop(ClaimRun *j);
void grant_drop_first(ClaimRun *j, size_t n);
