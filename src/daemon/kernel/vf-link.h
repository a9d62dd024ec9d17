/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The rtnetlink messages about the virtual functions of an interface, as bytes: RTM_GETLINK with
 * RTEXT_FILTER_VF, RTM_SETLINK with one attribute of one function, and the answers. No system calls. Every
 * read is checked against the size of the message.
 *
 * Each message sets one attribute, so that an error of the kernel concerns that one. */

#include "core/vf-network.h"

#define VF_LINK_MESSAGE_MAX 128U

size_t vf_link_encode_get(uint32_t ifindex, uint32_t sequence, uint8_t ret[static VF_LINK_MESSAGE_MAX]);
/* Sets only this attribute of the network settings. Returns the size. */
size_t vf_link_encode_set(uint32_t ifindex, uint32_t function, const VfNetwork *n, VfAttribute attribute,
        uint32_t sequence, uint8_t ret[static VF_LINK_MESSAGE_MAX]);

/* The kernel's answer about one function. */
typedef struct VfLink {
    VfNetwork network; /* attributes that the driver does not report are not in .has */
    bool found;
    bool mac_is_taken; /* the interface itself, or another function of it, has the requested address */
} VfLink;

/* The answer to vf_link_encode_get(). mac: an address to look for, or NULL. 0; -EBADMSG: malformed; or the
 * error in it. */
int vf_link_decode(const void *data, size_t size, uint32_t ifindex, uint32_t function, uint32_t sequence,
        const uint8_t *mac, VfLink *ret);
/* The answer to vf_link_encode_set(). Returns likewise. */
int vf_link_decode_ack(const void *data, size_t size, uint32_t sequence);
