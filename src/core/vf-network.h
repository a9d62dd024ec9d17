/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The settings that a network card keeps for each virtual function: address, VLAN, and whether the card
 * checks the sender and trusts the function. Only the driver of the physical function can change them. A
 * request sets values, a rule limits what can be requested, and a claim restores the old values. Pure. */

#include "base/macro.h"

typedef enum VfAttribute {
    VF_MAC,
    VF_VLAN,
    VF_SPOOFCHK, /* if off, it can send with any address */
    VF_TRUST,    /* if on, it can change its address and receive traffic for others */
    _VF_ATTRIBUTE_MAX,
    _VF_ATTRIBUTE_INVALID = -EINVAL,
} VfAttribute;
DECLARE_STRING_TABLE(vf_attribute, VfAttribute); /* "mac", "vlan", "spoofchk", "trust" */

#define MAC_SIZE 6U
#define MAC_TEXT_MAX 18U
#define VLAN_MAX 4094U /* that can be requested; 4095 is reserved */

typedef struct VfNetwork {
    uint32_t has; /* mask of 1 << VfAttribute */
    uint8_t mac[MAC_SIZE];
    uint16_t vlan; /* 0: none */
    /* Of the VLAN. It cannot be requested, and is restored. */
    uint8_t qos;
    uint16_t protocol; /* 0: 802.1Q */
    bool spoofchk, trust;
} VfNetwork;

static inline bool vf_network_has(const VfNetwork *n, VfAttribute a) {
    return n->has & 1U << a;
}
void vf_network_copy(VfNetwork *to, const VfNetwork *from, VfAttribute a);
/* Do both have the attribute with the same value? */
bool vf_network_same(const VfNetwork *a, const VfNetwork *b, VfAttribute attribute);
/* Do both have the same attributes with the same values? */
bool vf_network_equal(const VfNetwork *a, const VfNetwork *b);

/* What is wrong with a text. */
typedef struct VfProblem {
    const char *at; /* borrowed from the text, size bytes */
    size_t size;
    const char *why; /* "is a multicast address": static */
} VfProblem;

/* Parses "mac=52:54:00:12:34:56,vlan=12,spoofchk=on,trust=off" or a part of it. 0, or -EINVAL with
 * *problem. */
int vf_network_parse(const char *text, VfNetwork *ret, VfProblem *problem);
#define VF_NETWORK_TEXT_MAX 80U
/* The text parses to the same values if they can be requested. "": none. */
const char *vf_network_format(const VfNetwork *n, char buf[static VF_NETWORK_TEXT_MAX]);
/* The text of one attribute: "vlan=12". */
const char *vf_network_describe(const VfNetwork *n, VfAttribute a, char buf[static VF_NETWORK_TEXT_MAX]);

/* Parses any address in the kernel's form. 0 or -EINVAL. */
int mac_parse(const char *text, uint8_t ret[static MAC_SIZE]);
const char *mac_format(const uint8_t mac[static MAC_SIZE], char buf[static MAC_TEXT_MAX]);

/* ---- what a rule lets callers request ---- */

typedef struct MacPattern {
    uint64_t value, mask; /* 48 bits, the first octet highest */
} MacPattern;

typedef struct VlanRange {
    uint16_t low, high;
} VlanRange;

/* Values that are not listed cannot be requested. */
typedef struct VfBounds {
    MacPattern *macs; /* owned */
    VlanRange *vlans; /* owned */
    size_t n_macs, n_vlans;
    unsigned spoofchk, trust; /* masks of 1 << false (off) and 1 << true (on) */
} VfBounds;
void vf_bounds_done(VfBounds *b);

/* "52:54:00:*:*:*": octets, or * for any. 0; or -EINVAL with *ret_why as in VfProblem. */
int mac_pattern_parse(const char *text, MacPattern *ret, const char **ret_why);
/* "100" or "100-199". 0 or -EINVAL. */
int vlan_range_parse(const char *text, VlanRange *ret);
/* The first attribute of the request that is not allowed; _VF_ATTRIBUTE_INVALID: none. */
VfAttribute vf_bounds_check(const VfBounds *b, const VfNetwork *n);
/* The values of the attribute that can be requested, for people: "52:54:00:*:*:* or 02:00:00:00:00:01", "10,
 * 100-199". Owned by the caller; "" for none; NULL on ENOMEM. */
char *vf_bounds_describe(const VfBounds *b, VfAttribute a);
