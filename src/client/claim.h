/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The contents of VfiodClaim: what the daemon's answers contained. */

#include "client/transport.h"

struct VfiodClaim {
    char *id, *backend, *tether, *rule; /* owned */
    char **spellings;                   /* owned; the caller's spellings of the devices */
    char **devices;                     /* owned; the daemon's names of them, in the same order */
    char **vf_tokens;                   /* owned; of each device, or "" */
    char **nodes;                       /* owned; from the answer to Acquire or Transfer */
    size_t n_spellings, n_devices, n_vf_tokens, n_nodes;
    NamedFd *fds; /* owned */
    size_t n_fds;
    VfiodConnection *connection; /* owned; only if it is the claim's tether */
};
DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodClaim *, vfiod_claim_free);

/* A claim with these devices; id and fds come later. 0 or -ENOMEM. */
int claim_new(const char *const *devices, size_t n_devices, VfiodClaim **ret);
/* Takes over what the answer to Acquire, AddDevices or Transfer has. -EBADMSG: a claim with the tether
 * "lifeline" has none. */
int claim_take_answer(VfiodClaim *claim, Answer *a, bool needs_lifeline);
/* For devices that the answer adds to the claim: their spellings. Call it before claim_take_answer(). */
int claim_add_spellings(VfiodClaim *claim, const VfiodClaim *added, const Answer *a);
/* The nodes that the user of a claim with the grant "node" can open; NULL beyond the last. */
const char *claim_node(const VfiodClaim *claim, size_t index);
/* By its full name or its spelling. */
bool claim_has_device(const VfiodClaim *claim, const char *device);
/* Closes and forgets released devices, by full names or spellings. */
void claim_drop_devices(VfiodClaim *claim, const char *const *devices, size_t n_devices);
