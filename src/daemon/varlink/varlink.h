/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The Varlink face, org.vfiod.Broker. It translates as the D-Bus face does: messages to Request, Grant and
 * Refusal to replies, changes to replies of Monitor. It holds no rule, no secret and no budget.
 * varlink/org.vfiod.Broker.varlink is the contract, and is served as it is. The protocol is that of UAPI.20
 * (Varlink 0.1).
 *
 * A connection is a peer. It has one call under way at a time; the next messages stay in the socket. An
 * answer is written at once, and the face keeps what the socket does not take until the peer reads on. So a
 * slow, silent or hostile peer costs one message, one answer and some time, and then its connection. An idle
 * peer has no buffers. */

#include <systemd/sd-event.h>

#include "daemon/broker/door.h"
#include "daemon/broker/view-change.h"

typedef struct VarlinkFace VarlinkFace;

#define VARLINK_INTERFACE "org.vfiod.Broker"

typedef struct VarlinkContext {
    sd_event *event;
    ViewHost host; /* what is shown */
    Door *door;    /* every call goes through it */
    /* The daemon calls varlink_face_policy_loaded() when it is done. */
    void (*reload_policy)(void *userdata, const Subject *by);
    void (*idle)(void *userdata); /* the last peer has left */
    void *userdata;
} VarlinkContext;

int varlink_face_new(const VarlinkContext *context, VarlinkFace **ret);
/* Calls that still wait are refused, since the daemon stops. */
VarlinkFace *varlink_face_free(VarlinkFace *v);
DEFINE_TRIVIAL_CLEANUP_FUNC(VarlinkFace *, varlink_face_free);

/* Takes over a listening socket on success. scope: see who.scope in the policy; NULL: none. read_only: only
 * methods that change nothing are allowed. */
int varlink_face_listen(VarlinkFace *v, int fd, const char *scope, bool read_only);

void varlink_face_device_changed(VarlinkFace *v, const Device *device, int changes, int old_group);
void varlink_face_claim_changed(VarlinkFace *v, const Claim *claim, ClaimChange change);
/* The policy or the taints have changed. */
void varlink_face_host_changed(VarlinkFace *v);
/* Answers all calls that wait for a reload. r: negative errno if nothing could be read. */
void varlink_face_policy_loaded(VarlinkFace *v, int r);
/* The number of connections, without listeners. */
unsigned varlink_face_n_peers(const VarlinkFace *v);
/* From now on Acquire is refused, and nobody can connect. The service manager keeps the socket and starts the
 * next daemon. */
void varlink_face_stop(VarlinkFace *v);
