/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* VfiodClaim from the inside: what came with the answers of the daemon. */

#include "client/transport.h"

struct VfiodClaim {
    char *id, *backend, *tether, *rule; /* owned */
    char **spellings;                   /* owned; as the caller wrote the devices */
    char **devices;                     /* owned; as the daemon writes them, in the same order */
    char **vf_tokens;                   /* owned; of each device, or "" */
    char **nodes;                       /* owned; of the answer to Acquire or Transfer */
    size_t n_spellings, n_devices, n_vf_tokens, n_nodes;
    NamedFd *fds; /* owned */
    size_t n_fds;
    VfiodConnection *connection; /* owned; of a claim whose life hangs on it */
};
DEFINE_TRIVIAL_CLEANUP_FUNC(VfiodClaim *, vfiod_claim_free);

/* What a claim for these devices will be made of; id and fds come later. */
int claim_new(const char *const *devices, size_t n_devices, VfiodClaim **ret);
/* Takes what the answer to Acquire, AddDevices or Transfer has. -EBADMSG: a claim that hangs on its lifeline
 * has none. */
int claim_take_answer(VfiodClaim *claim, Answer *a, bool needs_lifeline);
/* Of devices that the answer adds to the claim: how the caller wrote them, before claim_take_answer(). */
int claim_add_spellings(VfiodClaim *claim, const VfiodClaim *added, const Answer *a);
/* What the user of a claim with the grant "node" can open; NULL beyond the last. */
const char *claim_node(const VfiodClaim *claim, size_t index);
/* By its full name, or as it was requested. */
bool claim_has_device(const VfiodClaim *claim, const char *device);
/* Closes and forgets devices that were given back, by full names or spellings. */
void claim_drop_devices(VfiodClaim *claim, const char *const *devices, size_t n_devices);
