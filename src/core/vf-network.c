/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/vf-network.h"

#include <stdio.h>

#include "base/str.h"

#define MULTICAST_BIT (UINT64_C(1) << 40)
#define OCTET_ANY '*'

static const char *const vf_attribute_table[_VF_ATTRIBUTE_MAX] = {
        [VF_MAC] = "mac",
        [VF_VLAN] = "vlan",
        [VF_SPOOFCHK] = "spoofchk",
        [VF_TRUST] = "trust",
};
DEFINE_STRING_TABLE(vf_attribute, VfAttribute);

/* ---- values ---- */

void vf_network_copy(VfNetwork *to, const VfNetwork *from, VfAttribute a) {
    to->has = (to->has & ~(1U << a)) | (from->has & 1U << a);
    switch (a) {
    case VF_MAC:
        memcpy(to->mac, from->mac, sizeof(to->mac));
        return;
    case VF_VLAN:
        to->vlan = from->vlan;
        to->qos = from->qos;
        to->protocol = from->protocol;
        return;
    case VF_SPOOFCHK:
        to->spoofchk = from->spoofchk;
        return;
    default:
        to->trust = from->trust;
    }
}

bool vf_network_same(const VfNetwork *a, const VfNetwork *b, VfAttribute attribute) {
    if (!vf_network_has(a, attribute) || !vf_network_has(b, attribute))
        return false;
    switch (attribute) {
    case VF_MAC:
        return memcmp(a->mac, b->mac, sizeof(a->mac)) == 0;
    case VF_VLAN:
        return a->vlan == b->vlan && a->qos == b->qos && a->protocol == b->protocol;
    case VF_SPOOFCHK:
        return a->spoofchk == b->spoofchk;
    default:
        return a->trust == b->trust;
    }
}

bool vf_network_equal(const VfNetwork *a, const VfNetwork *b) {
    for (VfAttribute i = 0; i < _VF_ATTRIBUTE_MAX; i++)
        if (vf_network_has(a, i) != vf_network_has(b, i) ||
                (vf_network_has(a, i) && !vf_network_same(a, b, i)))
            return false;
    return true;
}

/* ---- addresses ---- */

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Takes one octet, or '*' if any is true. Returns the number of characters, or -EINVAL. */
static int take_octet(const char *s, bool any, MacPattern *p) {
    int high, low;

    p->value <<= 8;
    p->mask <<= 8;
    if (any && s[0] == OCTET_ANY)
        return 1;
    high = hex_digit(s[0]);
    low = high < 0 ? -1 : hex_digit(s[1]);
    if (low < 0)
        return -EINVAL;
    p->value |= (uint64_t) (high << 4 | low);
    p->mask |= 0xff;
    return 2;
}

static int take_octets(const char *text, bool any, MacPattern *ret) {
    MacPattern p = {};
    const char *at = text;

    for (unsigned i = 0; i < MAC_SIZE; i++) {
        int n;

        if (i > 0 && *at++ != ':')
            return -EINVAL;
        n = take_octet(at, any, &p);
        if (n < 0)
            return n;
        at += n;
    }
    if (*at != '\0')
        return -EINVAL;
    *ret = p;
    return 0;
}

int mac_parse(const char *text, uint8_t ret[static MAC_SIZE]) {
    MacPattern p;
    int r = take_octets(text, /* any= */ false, &p);

    for (unsigned i = 0; i < MAC_SIZE && r >= 0; i++)
        ret[i] = (uint8_t) (p.value >> 8 * (MAC_SIZE - 1 - i));
    return r;
}

const char *mac_format(const uint8_t mac[static MAC_SIZE], char buf[static MAC_TEXT_MAX]) {
    (void) snprintf(buf, MAC_TEXT_MAX, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
            mac[4], mac[5]);
    return buf;
}

static uint64_t mac_number(const uint8_t mac[static MAC_SIZE]) {
    uint64_t number = 0;

    for (unsigned i = 0; i < MAC_SIZE; i++)
        number = number << 8 | mac[i];
    return number;
}

/* Addresses that no interface can have. */
static const char *why_not_an_address(const MacPattern *p) {
    if (p->value & MULTICAST_BIT)
        return "is a multicast address";
    return p->value == 0 && p->mask == (UINT64_C(1) << 48) - 1 ? "is the zero address" : NULL;
}

/* ---- a request ---- */

typedef struct Part {
    VfAttribute attribute;
    char value[24];
} Part;

static const char *take_mac(VfNetwork *n, const char *value) {
    MacPattern p;

    if (take_octets(value, /* any= */ false, &p) < 0)
        return "is not a MAC address like 52:54:00:12:34:56";
    (void) mac_parse(value, n->mac);
    return why_not_an_address(&p);
}

static const char *take_vlan(VfNetwork *n, const char *value) {
    uint64_t number;

    if (parse_unsigned(value, 10, VLAN_MAX, &number) < 0)
        return "is not a VLAN, expected a number from 1 to 4094, or 0 for none";
    n->vlan = (uint16_t) number;
    return NULL;
}

static const char *take_switch(bool *ret, const char *value) {
    *ret = streq(value, "on");
    return *ret || streq(value, "off") ? NULL : "is neither on nor off";
}

static const char *take_value(VfNetwork *n, const Part *p) {
    if (vf_network_has(n, p->attribute))
        return "is given twice";
    n->has |= 1U << p->attribute;
    switch (p->attribute) {
    case VF_MAC:
        return take_mac(n, p->value);
    case VF_VLAN:
        return take_vlan(n, p->value);
    case VF_SPOOFCHK:
        return take_switch(&n->spoofchk, p->value);
    default:
        return take_switch(&n->trust, p->value);
    }
}

static const char *take_part(VfNetwork *n, const char *at, size_t size) {
    size_t word = MIN(strcspn(at, "="), size);
    Part p = {.attribute = _VF_ATTRIBUTE_INVALID};

    for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX; a++)
        if (strlen(vf_attribute_table[a]) == word && strncmp(vf_attribute_table[a], at, word) == 0)
            p.attribute = a;
    if ((int) p.attribute < 0 || word == size)
        return "is no attribute, expected mac=, vlan=, spoofchk= or trust= with a value";
    if (size - word - 1 < sizeof(p.value)) /* otherwise it stays empty, which is invalid too */
        memcpy(p.value, at + word + 1, size - word - 1);
    return take_value(n, &p);
}

int vf_network_parse(const char *text, VfNetwork *ret, VfProblem *problem) {
    VfNetwork n = {};

    for (const char *at = text;; at++) {
        size_t size = strcspn(at, ",");
        const char *why = take_part(&n, at, size);

        if (why) {
            *problem = (VfProblem){.at = at, .size = size, .why = why};
            return -EINVAL;
        }
        at += size;
        if (*at == '\0')
            break;
    }
    *ret = n;
    return 0;
}

static void add_attribute(const VfNetwork *n, VfAttribute a, char buf[static VF_NETWORK_TEXT_MAX]) {
    size_t size = strlen(buf);
    char mac[MAC_TEXT_MAX], vlan[16];
    const char *value;

    switch (a) {
    case VF_MAC:
        value = mac_format(n->mac, mac);
        break;
    case VF_VLAN:
        (void) snprintf(vlan, sizeof(vlan), "%u", (unsigned) n->vlan);
        value = vlan;
        break;
    default:
        value = (a == VF_SPOOFCHK ? n->spoofchk : n->trust) ? "on" : "off";
    }
    (void) snprintf(buf + size, VF_NETWORK_TEXT_MAX - size, "%s%s=%s", size > 0 ? "," : "",
            vf_attribute_table[a], value);
}

const char *vf_network_format(const VfNetwork *n, char buf[static VF_NETWORK_TEXT_MAX]) {
    buf[0] = '\0';
    for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX; a++)
        if (vf_network_has(n, a))
            add_attribute(n, a, buf);
    return buf;
}

const char *vf_network_describe(const VfNetwork *n, VfAttribute a, char buf[static VF_NETWORK_TEXT_MAX]) {
    buf[0] = '\0';
    add_attribute(n, a, buf);
    return buf;
}

/* ---- a rule ---- */

void vf_bounds_done(VfBounds *b) {
    free(b->macs);
    free(b->vlans);
    *b = (VfBounds){};
}

int mac_pattern_parse(const char *text, MacPattern *ret, const char **ret_why) {
    MacPattern p;

    *ret_why = "is not a MAC address like 52:54:00:12:34:56, with * for any octet";
    if (take_octets(text, /* any= */ true, &p) < 0)
        return -EINVAL;
    *ret_why = why_not_an_address(&p);
    if (*ret_why)
        return -EINVAL;
    *ret = p;
    return 0;
}

int vlan_range_parse(const char *text, VlanRange *ret) {
    const char *dash = strchr(text, '-');
    char low[8] = "";
    uint64_t a, b;

    if (!dash)
        dash = text + strlen(text);
    if ((size_t) (dash - text) >= sizeof(low))
        return -EINVAL;
    memcpy(low, text, (size_t) (dash - text));
    if (parse_unsigned(low, 10, VLAN_MAX, &a) < 0)
        return -EINVAL;
    if (*dash == '\0')
        b = a;
    else if (parse_unsigned(dash + 1, 10, VLAN_MAX, &b) < 0 || b < a)
        return -EINVAL;
    *ret = (VlanRange){.low = (uint16_t) a, .high = (uint16_t) b};
    return 0;
}

static bool mac_is_allowed(const VfBounds *b, const VfNetwork *n) {
    for (size_t i = 0; i < b->n_macs; i++)
        if ((mac_number(n->mac) & b->macs[i].mask) == b->macs[i].value)
            return true;
    return false;
}

static bool vlan_is_allowed(const VfBounds *b, const VfNetwork *n) {
    for (size_t i = 0; i < b->n_vlans; i++)
        if (n->vlan >= b->vlans[i].low && n->vlan <= b->vlans[i].high)
            return true;
    return false;
}

static bool is_allowed(const VfBounds *b, const VfNetwork *n, VfAttribute a) {
    switch (a) {
    case VF_MAC:
        return mac_is_allowed(b, n);
    case VF_VLAN:
        return vlan_is_allowed(b, n);
    case VF_SPOOFCHK:
        return b->spoofchk & 1U << n->spoofchk;
    default:
        return b->trust & 1U << n->trust;
    }
}

VfAttribute vf_bounds_check(const VfBounds *b, const VfNetwork *n) {
    for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX; a++)
        if (vf_network_has(n, a) && !is_allowed(b, n, a))
            return a;
    return _VF_ATTRIBUTE_INVALID;
}

static void add_pattern(StrBuf *b, const MacPattern *p) {
    for (unsigned i = 0; i < MAC_SIZE; i++) {
        unsigned shift = 8 * (MAC_SIZE - 1 - i);

        strbuf_add(b, i > 0 ? ":" : "");
        if (p->mask >> shift & 0xff)
            strbuf_addf(b, "%02x", (unsigned) (p->value >> shift & 0xff));
        else
            strbuf_add(b, "*");
    }
}

static void add_range(StrBuf *b, const VlanRange *range) {
    strbuf_addf(b, "%u", (unsigned) range->low);
    if (range->high > range->low)
        strbuf_addf(b, "-%u", (unsigned) range->high);
}

static void add_switch(StrBuf *b, unsigned values) {
    static const char *const words[] = {"", "off", "on", "on, off"};

    strbuf_add(b, words[values & 3U]);
}

char *vf_bounds_describe(const VfBounds *bounds, VfAttribute a) {
    _cleanup_strbuf_ StrBuf b = {};

    strbuf_add(&b, "");
    for (size_t i = 0; a == VF_MAC && i < bounds->n_macs; i++) {
        strbuf_add(&b, i > 0 ? ", " : "");
        add_pattern(&b, &bounds->macs[i]);
    }
    for (size_t i = 0; a == VF_VLAN && i < bounds->n_vlans; i++) {
        strbuf_add(&b, i > 0 ? ", " : "");
        add_range(&b, &bounds->vlans[i]);
    }
    if (a == VF_SPOOFCHK)
        add_switch(&b, bounds->spoofchk);
    if (a == VF_TRUST)
        add_switch(&b, bounds->trust);
    return strbuf_steal(&b);
}
