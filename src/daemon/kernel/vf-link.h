/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The messages of rtnetlink about the virtual functions of an interface, as bytes: RTM_GETLINK with
 * RTEXT_FILTER_VF, RTM_SETLINK with one attribute of one function, and what the kernel answers. No system
 * call; whatever is read is checked against the size of what was received.
 *
 * One attribute goes with each message, so that a refusal of the kernel says which one it is about. */

#include "core/vf-network.h"

#define VF_LINK_MESSAGE_MAX 128U

size_t vf_link_encode_get(uint32_t ifindex, uint32_t sequence, uint8_t ret[static VF_LINK_MESSAGE_MAX]);
/* Of the network's attributes only this one. */
size_t vf_link_encode_set(uint32_t ifindex, uint32_t function, const VfNetwork *n, VfAttribute attribute,
        uint32_t sequence, uint8_t ret[static VF_LINK_MESSAGE_MAX]);

/* What the kernel says of one function. */
typedef struct VfLink {
    VfNetwork network; /* what its driver does not tell is not in .has */
    bool found;
    bool mac_is_taken; /* the interface itself, or another function of it, has the address that was asked for
                        */
} VfLink;

/* The answer to vf_link_encode_get(). mac: an address to look for, or NULL. 0; -EBADMSG: it is none; the
 * error that it brings. */
int vf_link_decode(const void *data, size_t size, uint32_t ifindex, uint32_t function, uint32_t sequence,
        const uint8_t *mac, VfLink *ret);
/* The answer to vf_link_encode_set(), likewise. */
int vf_link_decode_ack(const void *data, size_t size, uint32_t sequence);
