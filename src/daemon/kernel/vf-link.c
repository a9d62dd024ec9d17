/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/vf-link.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

/* ---- writing ---- */

typedef struct Message {
    uint8_t *data;
    size_t size;
} Message;

static void put(Message *m, const void *data, size_t size) {
    size_t whole = NLMSG_ALIGN(size);

    assert(m->size + whole <= VF_LINK_MESSAGE_MAX);
    memset(m->data + m->size, 0, whole);
    memcpy(m->data + m->size, data, size);
    m->size += whole;
}

static void put_attribute(Message *m, unsigned type, const void *data, size_t size) {
    const struct nlattr head = {
            .nla_type = (uint16_t) type, .nla_len = (uint16_t) (sizeof(struct nlattr) + size)};

    put(m, &head, sizeof(head));
    put(m, data, size);
}

static size_t begin_nest(Message *m, unsigned type) {
    size_t at = m->size;

    put_attribute(m, type | NLA_F_NESTED, "", 0);
    return at;
}

static void end_nest(Message *m, size_t at) {
    const uint16_t size = (uint16_t) (m->size - at);

    memcpy(m->data + at + offsetof(struct nlattr, nla_len), &size, sizeof(size));
}

static Message begin(uint8_t *data, unsigned type, unsigned flags, uint32_t ifindex, uint32_t sequence) {
    const struct nlmsghdr head = {
            .nlmsg_type = (uint16_t) type, .nlmsg_flags = (uint16_t) flags, .nlmsg_seq = sequence};
    const struct ifinfomsg body = {.ifi_family = AF_UNSPEC, .ifi_index = (int) ifindex};
    Message m = {.data = data};

    put(&m, &head, sizeof(head));
    put(&m, &body, sizeof(body));
    return m;
}

static size_t end(Message *m) {
    const uint32_t size = (uint32_t) m->size;

    memcpy(m->data + offsetof(struct nlmsghdr, nlmsg_len), &size, sizeof(size));
    return m->size;
}

size_t vf_link_encode_get(uint32_t ifindex, uint32_t sequence, uint8_t ret[static VF_LINK_MESSAGE_MAX]) {
    const uint32_t mask = RTEXT_FILTER_VF | RTEXT_FILTER_SKIP_STATS;
    Message m = begin(ret, RTM_GETLINK, NLM_F_REQUEST, ifindex, sequence);

    put_attribute(&m, IFLA_EXT_MASK, &mask, sizeof(mask));
    return end(&m);
}

/* The protocol of a VLAN is given in a list, here of one element. Only kernels since 4.9 and few drivers
 * support it, so an ordinary VLAN uses the older attribute. */
static void put_vlan(Message *m, uint32_t function, const VfNetwork *n) {
    const struct ifla_vf_vlan plain = {.vf = function, .vlan = n->vlan, .qos = n->qos};
    const struct ifla_vf_vlan_info with_protocol = {
            .vf = function, .vlan = n->vlan, .qos = n->qos, .vlan_proto = htons(n->protocol)};
    size_t list;

    if (n->protocol == 0) {
        put_attribute(m, IFLA_VF_VLAN, &plain, sizeof(plain));
        return;
    }
    list = begin_nest(m, IFLA_VF_VLAN_LIST);
    put_attribute(m, IFLA_VF_VLAN_INFO, &with_protocol, sizeof(with_protocol));
    end_nest(m, list);
}

static void put_value(Message *m, uint32_t function, const VfNetwork *n, VfAttribute attribute) {
    struct ifla_vf_mac mac = {.vf = function};
    const struct ifla_vf_spoofchk spoofchk = {.vf = function, .setting = n->spoofchk};
    const struct ifla_vf_trust trust = {.vf = function, .setting = n->trust};

    switch (attribute) {
    case VF_MAC:
        memcpy(mac.mac, n->mac, sizeof(n->mac));
        put_attribute(m, IFLA_VF_MAC, &mac, sizeof(mac));
        return;
    case VF_VLAN:
        put_vlan(m, function, n);
        return;
    case VF_SPOOFCHK:
        put_attribute(m, IFLA_VF_SPOOFCHK, &spoofchk, sizeof(spoofchk));
        return;
    default:
        put_attribute(m, IFLA_VF_TRUST, &trust, sizeof(trust));
    }
}

size_t vf_link_encode_set(uint32_t ifindex, uint32_t function, const VfNetwork *n, VfAttribute attribute,
        uint32_t sequence, uint8_t ret[static VF_LINK_MESSAGE_MAX]) {
    Message m = begin(ret, RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, ifindex, sequence);
    size_t list = begin_nest(&m, IFLA_VFINFO_LIST), info = begin_nest(&m, IFLA_VF_INFO);

    put_value(&m, function, n, attribute);
    end_nest(&m, info);
    end_nest(&m, list);
    return end(&m);
}

/* ---- reading ---- */

typedef struct Bytes {
    const uint8_t *data;
    size_t size;
} Bytes;

/* Takes the next attribute with its content. False: there is none, or it is malformed. */
static bool next_attribute(Bytes *rest, unsigned *ret_type, Bytes *ret) {
    struct nlattr head;
    size_t whole;

    if (rest->size < sizeof(head))
        return false;
    memcpy(&head, rest->data, sizeof(head));
    if (head.nla_len < sizeof(head) || head.nla_len > rest->size)
        return false;
    *ret_type = head.nla_type & NLA_TYPE_MASK;
    *ret = (Bytes){.data = rest->data + sizeof(head), .size = head.nla_len - sizeof(head)};
    whole = MIN((size_t) NLA_ALIGN(head.nla_len), rest->size);
    *rest = (Bytes){.data = rest->data + whole, .size = rest->size - whole};
    return true;
}

/* Takes a structure, which newer kernels may have extended. */
static bool take(const Bytes *b, void *ret, size_t size) {
    if (b->size < size)
        return false;
    memcpy(ret, b->data, size);
    return true;
}

typedef struct Function {
    uint32_t number;
    bool numbered; /* every attribute begins with the function's number; set by the first */
    VfNetwork network;
} Function;

/* The list repeats the plain attribute and adds the protocol. */
static void take_vlan_list(Function *f, Bytes list) {
    struct ifla_vf_vlan_info vlan;
    unsigned type;
    Bytes b;

    while (next_attribute(&list, &type, &b)) {
        if (type != IFLA_VF_VLAN_INFO || !take(&b, &vlan, sizeof(vlan)))
            continue;
        f->network.protocol = ntohs(vlan.vlan_proto) == ETH_P_8021Q ? 0 : ntohs(vlan.vlan_proto);
        return;
    }
}

static void take_vlan(Function *f, const Bytes *b) {
    struct ifla_vf_vlan vlan;

    if (!take(b, &vlan, sizeof(vlan)) || vlan.vlan > UINT16_MAX || vlan.qos > UINT8_MAX)
        return;
    f->network.vlan = (uint16_t) vlan.vlan;
    f->network.qos = (uint8_t) vlan.qos;
    f->network.has |= 1U << VF_VLAN;
}

static void take_mac(Function *f, const Bytes *b) {
    struct ifla_vf_mac mac;

    if (!take(b, &mac, sizeof(mac)))
        return;
    memcpy(f->network.mac, mac.mac, sizeof(f->network.mac));
    f->network.has |= 1U << VF_MAC;
    f->number = mac.vf;
    f->numbered = true;
}

/* -1 when the driver does not support the attribute. */
static void take_switch(Function *f, const Bytes *b, VfAttribute attribute, bool *ret) {
    struct ifla_vf_spoofchk value; /* that of trust has the same members */

    if (!take(b, &value, sizeof(value)) || value.setting > 1)
        return;
    *ret = value.setting == 1;
    f->network.has |= 1U << attribute;
}

static void read_function(Bytes info, Function *ret) {
    unsigned type;
    Bytes b;

    *ret = (Function){};
    while (next_attribute(&info, &type, &b))
        switch (type) {
        case IFLA_VF_MAC:
            take_mac(ret, &b);
            break;
        case IFLA_VF_VLAN:
            take_vlan(ret, &b);
            break;
        case IFLA_VF_VLAN_LIST:
            take_vlan_list(ret, b);
            break;
        case IFLA_VF_SPOOFCHK:
            take_switch(ret, &b, VF_SPOOFCHK, &ret->network.spoofchk);
            break;
        case IFLA_VF_TRUST:
            take_switch(ret, &b, VF_TRUST, &ret->network.trust);
            break;
        default:
            break;
        }
}

static bool find_function(Bytes list, uint32_t number, VfLink *ret) {
    unsigned type;
    Function f;
    Bytes info;

    while (next_attribute(&list, &type, &info)) {
        if (type != IFLA_VF_INFO)
            continue;
        read_function(info, &f);
        if (!f.numbered || f.number != number)
            continue;
        ret->network = f.network;
        ret->found = true;
        return true;
    }
    return false;
}

static bool shares_mac(Bytes list, uint32_t number, const uint8_t *mac) {
    unsigned type;
    Function f;
    Bytes info;

    while (next_attribute(&list, &type, &info)) {
        if (type != IFLA_VF_INFO)
            continue;
        read_function(info, &f);
        if (f.numbered && f.number != number && memcmp(f.network.mac, mac, MAC_SIZE) == 0)
            return true;
    }
    return false;
}

static bool is_mac(const Bytes *b, const uint8_t *mac) {
    return b->size == MAC_SIZE && memcmp(b->data, mac, MAC_SIZE) == 0;
}

/* The first message must be of this type or an error. *ret is what follows its header. */
static int open_message(const void *data, size_t size, unsigned wanted, uint32_t sequence, Bytes *ret) {
    struct nlmsghdr head;
    struct nlmsgerr error;

    if (size < sizeof(head))
        return -EBADMSG;
    memcpy(&head, data, sizeof(head));
    if (head.nlmsg_len < sizeof(head) || head.nlmsg_len > size || head.nlmsg_seq != sequence)
        return -EBADMSG;
    *ret = (Bytes){.data = (const uint8_t *) data + sizeof(head), .size = head.nlmsg_len - sizeof(head)};
    if (head.nlmsg_type == wanted && wanted != NLMSG_ERROR)
        return 0;
    if (head.nlmsg_type != NLMSG_ERROR || !take(ret, &error, sizeof(error)))
        return -EBADMSG;
    if (error.error < 0 && error.error >= -4095)
        return error.error;
    return error.error == 0 && wanted == NLMSG_ERROR ? 0 : -EBADMSG;
}

int vf_link_decode(const void *data, size_t size, uint32_t ifindex, uint32_t function, uint32_t sequence,
        const uint8_t *mac, VfLink *ret) {
    struct ifinfomsg body;
    VfLink link = {};
    unsigned type;
    Bytes rest, b;
    int r;

    r = open_message(data, size, RTM_NEWLINK, sequence, &rest);
    if (r < 0)
        return r;
    if (!take(&rest, &body, sizeof(body)) || (uint32_t) body.ifi_index != ifindex)
        return -EBADMSG;
    rest = (Bytes){.data = rest.data + sizeof(body), .size = rest.size - sizeof(body)};
    while (next_attribute(&rest, &type, &b)) {
        if (mac && (type == IFLA_ADDRESS || type == IFLA_PERM_ADDRESS))
            link.mac_is_taken |= is_mac(&b, mac);
        if (type != IFLA_VFINFO_LIST)
            continue;
        if (!link.found)
            (void) find_function(b, function, &link);
        if (mac)
            link.mac_is_taken |= shares_mac(b, function, mac);
    }
    *ret = link;
    return 0;
}

int vf_link_decode_ack(const void *data, size_t size, uint32_t sequence) {
    Bytes rest;

    return open_message(data, size, NLMSG_ERROR, sequence, &rest);
}
