/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/kernel/vf-link.h"

/* ---- simulated answers of a kernel ---- */

typedef struct Answer {
    uint8_t data[2048];
    size_t size;
} Answer;

static void add(Answer *a, const void *data, size_t size) {
    memcpy(a->data + a->size, data, size);
    a->size += NLMSG_ALIGN(size);
}

static size_t add_attribute(Answer *a, unsigned type, const void *data, size_t size) {
    const struct nlattr head = {.nla_type = (uint16_t) type, .nla_len = (uint16_t) (4 + size)};
    size_t at = a->size;

    add(a, &head, sizeof(head));
    add(a, data, size);
    return at;
}

static void close_nest(Answer *a, size_t at) {
    const uint16_t size = (uint16_t) (a->size - at);

    memcpy(a->data + at, &size, sizeof(size));
}

static size_t open_answer(Answer *a, unsigned type, uint32_t ifindex) {
    const struct nlmsghdr head = {.nlmsg_type = (uint16_t) type, .nlmsg_seq = 5};
    const struct ifinfomsg body = {.ifi_index = (int) ifindex};

    *a = (Answer){};
    add(a, &head, sizeof(head));
    add(a, &body, sizeof(body));
    add_attribute(a, IFLA_IFNAME, "eth0", 5);
    add_attribute(a, IFLA_ADDRESS, (const uint8_t[]){2, 0, 0, 0, 0, 0x77}, MAC_SIZE);
    add_attribute(a, IFLA_PERM_ADDRESS, (const uint8_t[]){2, 0, 0, 0, 0, 0x78}, MAC_SIZE);
    return add_attribute(a, IFLA_VFINFO_LIST, "", 0);
}

static void close_answer(Answer *a, size_t list) {
    const uint32_t size = (uint32_t) a->size;

    close_nest(a, list);
    memcpy(a->data, &size, sizeof(size));
}

static void add_function(Answer *a, uint32_t number, uint8_t mac_end, uint32_t setting, uint16_t protocol) {
    struct ifla_vf_mac mac = {.vf = number, .mac = {2, 0, 0, 0, 0, mac_end}};
    const struct ifla_vf_vlan vlan = {.vf = number, .vlan = 7, .qos = 3};
    const struct ifla_vf_vlan_info info = {.vf = number, .vlan = 7, .qos = 3, .vlan_proto = htons(protocol)};
    const struct ifla_vf_spoofchk spoofchk = {.vf = number, .setting = setting};
    const struct ifla_vf_trust trust = {.vf = number, .setting = 1};
    size_t at = add_attribute(a, IFLA_VF_INFO, "", 0), list;

    if (mac_end == 0)
        mac.mac[0] = 0;
    add_attribute(a, IFLA_VF_MAC, &mac, sizeof(mac));
    add_attribute(a, IFLA_VF_BROADCAST, &mac, 32);
    add_attribute(a, IFLA_VF_VLAN, &vlan, sizeof(vlan));
    add_attribute(a, IFLA_VF_SPOOFCHK, &spoofchk, sizeof(spoofchk));
    add_attribute(a, IFLA_VF_TRUST, &trust, sizeof(trust));
    list = add_attribute(a, IFLA_VF_VLAN_LIST, "", 0);
    add_attribute(a, IFLA_VF_VLAN_INFO, &info, sizeof(info));
    close_nest(a, list);
    close_nest(a, at);
}

static Answer make_answer(void) {
    Answer a;
    size_t list = open_answer(&a, RTM_NEWLINK, 9);

    add_function(&a, 0, 1, 1, ETH_P_8021Q);
    add_function(&a, 1, 2, 0, ETH_P_8021AD);
    add_function(&a, 2, 2, UINT32_MAX, ETH_P_8021Q);
    add_function(&a, 3, 0, 1, ETH_P_8021Q);
    add_function(&a, 4, 0, 1, ETH_P_8021Q);
    close_answer(&a, list);
    return a;
}

static void test_answers_are_read(void **state) {
    Answer a = make_answer();
    VfLink link;

    assert_int_equal(vf_link_decode(a.data, a.size, 9, 0, 5, NULL, &link), 0);
    assert_true(link.found && !link.mac_is_taken);
    assert_int_equal(link.network.has, 0xf);
    assert_int_equal(link.network.mac[5], 1);
    assert_true(link.network.vlan == 7 && link.network.qos == 3 && link.network.protocol == 0);
    assert_true(link.network.spoofchk && link.network.trust);

    assert_int_equal(vf_link_decode(a.data, a.size, 9, 1, 5, NULL, &link), 0);
    assert_true(link.found && !link.network.spoofchk);
    assert_int_equal(link.network.protocol, ETH_P_8021AD);

    assert_int_equal(vf_link_decode(a.data, a.size, 9, 2, 5, NULL, &link), 0);
    assert_false(vf_network_has(&link.network, VF_SPOOFCHK)); /* -1: its driver does not support it */
    assert_true(vf_network_has(&link.network, VF_TRUST));

    assert_int_equal(vf_link_decode(a.data, a.size, 9, 3, 5, NULL, &link), 0);
    assert_true(link.found);

    assert_int_equal(vf_link_decode(a.data, a.size, 9, 5, 5, NULL, &link), 0);
    assert_false(link.found);
}

static void assert_taken(uint32_t function, uint8_t first, uint8_t last, bool taken) {
    const uint8_t mac[MAC_SIZE] = {first, 0, 0, 0, 0, last};
    Answer a = make_answer();
    VfLink link;

    assert_int_equal(vf_link_decode(a.data, a.size, 9, function, 5, mac, &link), 0);
    assert_int_equal(link.mac_is_taken, taken);
}

static void test_taken_addresses(void **state) {
    assert_taken(0, 2, 1, false); /* it is its own */
    assert_taken(1, 2, 1, true);
    assert_taken(1, 2, 2, true);    /* its own, and that of another function */
    assert_taken(0, 2, 0x77, true); /* the interface's own */
    assert_taken(0, 2, 0x78, true); /* the interface's permanent one */
    assert_taken(0, 2, 3, false);
}

static void test_bad_answers(void **state) {
    Answer a = make_answer();
    uint8_t copy[sizeof(a.data)];
    VfLink link;

    assert_int_equal(vf_link_decode(a.data, a.size, 8, 0, 5, NULL, &link), -EBADMSG); /* another interface */
    assert_int_equal(vf_link_decode(a.data, a.size, 9, 0, 6, NULL, &link), -EBADMSG); /* another request */
    assert_int_equal(vf_link_decode_ack(a.data, a.size, 5), -EBADMSG);
    for (size_t size = 0; size < a.size; size++) /* cut anywhere, in a buffer of exactly that size */
        assert_int_equal(vf_link_decode(memcpy(copy, a.data, size), size, 9, 0, 5, NULL, &link), -EBADMSG);
    /* Any length of any attribute may be wrong. Nothing is read beyond the end. */
    for (size_t at = sizeof(struct nlmsghdr); at < a.size; at++)
        for (unsigned value = 0; value < 256; value += 51) {
            memcpy(copy, a.data, a.size);
            copy[at] = (uint8_t) value;
            (void) vf_link_decode(copy, a.size, 9, 1, 5, NULL, &link);
        }
}

static void test_errors(void **state) {
    struct {
        struct nlmsghdr head;
        struct nlmsgerr error;
    } e = {.head = {.nlmsg_len = sizeof(e), .nlmsg_type = NLMSG_ERROR, .nlmsg_seq = 5}};
    VfLink link;

    assert_int_equal(vf_link_decode_ack(&e, sizeof(e), 5), 0);
    assert_int_equal(
            vf_link_decode(&e, sizeof(e), 9, 0, 5, NULL, &link), -EBADMSG); /* an answer is expected */
    e.error.error = -EOPNOTSUPP;
    assert_int_equal(vf_link_decode_ack(&e, sizeof(e), 5), -EOPNOTSUPP);
    assert_int_equal(vf_link_decode(&e, sizeof(e), 9, 0, 5, NULL, &link), -EOPNOTSUPP);
    assert_int_equal(vf_link_decode_ack(&e, sizeof(e), 4), -EBADMSG);
    assert_int_equal(vf_link_decode_ack(&e, sizeof(e.head), 5), -EBADMSG);
    e.error.error = 5;
    assert_int_equal(vf_link_decode_ack(&e, sizeof(e), 5), -EBADMSG);
    e.error.error = INT32_MIN;
    assert_int_equal(vf_link_decode_ack(&e, sizeof(e), 5), -EBADMSG);
}

/* A written request reads back as the kernel reads it: a request to set has the form of an answer. */
static void test_requests(void **state) {
    VfNetwork n = {.has = 0xf, .mac = {2, 0, 0, 0, 0, 9}, .vlan = 12, .spoofchk = true, .trust = true};
    uint8_t data[VF_LINK_MESSAGE_MAX];
    const uint16_t link = RTM_NEWLINK;
    uint16_t type;
    VfLink back;
    size_t size;

    size = vf_link_encode_set(9, 3, &n, VF_MAC, 5, data);
    memcpy(&type, data + offsetof(struct nlmsghdr, nlmsg_type), sizeof(type));
    assert_int_equal(type, RTM_SETLINK);
    memcpy(data + offsetof(struct nlmsghdr, nlmsg_type), &link, sizeof(link));
    assert_int_equal(vf_link_decode(data, size, 9, 3, 5, NULL, &back), 0);
    assert_true(back.found && back.network.has == 1U << VF_MAC && vf_network_same(&back.network, &n, VF_MAC));
    n.protocol = ETH_P_8021AD;
    for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX; a++) {
        size = vf_link_encode_set(9, 3, &n, a, 5, data);
        assert_true(size <= sizeof(data) && size % 4 == 0);
    }
    size = vf_link_encode_get(9, 5, data);
    assert_int_equal(size, sizeof(struct nlmsghdr) + sizeof(struct ifinfomsg) + 8);
}

/* ---- the answer of the running kernel: an interface without virtual functions ---- */

static size_t ask(int fd, const uint8_t *message, size_t size, uint8_t *answer, size_t room) {
    ssize_t n;

    assert_int_equal(send(fd, message, size, 0), size);
    n = recv(fd, answer, room, 0);
    assert_true(n > 0);
    return (size_t) n;
}

static void test_real_kernel(void **state) {
    const VfNetwork n = {.has = 0xf, .mac = {2, 0, 0, 0, 0, 9}, .vlan = 12};
    uint8_t message[VF_LINK_MESSAGE_MAX], answer[16384];
    VfLink link;
    size_t size;
    int fd;

    if (unshare(geteuid() == 0 ? CLONE_NEWNET : CLONE_NEWUSER | CLONE_NEWNET) < 0)
        skip();
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    assert_true(fd >= 0);
    size = ask(fd, message, vf_link_encode_get(1, 77, message), answer, sizeof(answer));
    assert_int_equal(vf_link_decode(answer, size, 1, 0, 77, NULL, &link), 0);
    assert_false(link.found);
    for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX; a++) {
        size = ask(fd, message, vf_link_encode_set(1, 0, &n, a, 78, message), answer, sizeof(answer));
        assert_int_equal(vf_link_decode_ack(answer, size, 78), -EOPNOTSUPP);
    }
    size = ask(fd, message, vf_link_encode_get(999, 79, message), answer, sizeof(answer));
    assert_int_equal(vf_link_decode(answer, size, 999, 0, 79, NULL, &link), -ENODEV);
    (void) close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_answers_are_read),
            cmocka_unit_test(test_taken_addresses),
            cmocka_unit_test(test_bad_answers),
            cmocka_unit_test(test_errors),
            cmocka_unit_test(test_requests),
            cmocka_unit_test(test_real_kernel),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
