/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "daemon/kernel/vf-setup.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "daemon/kernel/vf-link.h"
#include "daemon/privileges.h"

#define FUNCTIONS_MAX 65536U
#define ANSWER_MAX (1024 * 1024)

static const char *const vf_setup_step_table[_VF_SETUP_STEP_MAX] = {
        [VF_SETUP_FIND] = "find",
        [VF_SETUP_LOOK] = "look",
        [VF_SETUP_SET] = "set",
        [VF_SETUP_VERIFY] = "verify",
};
DEFINE_STRING_TABLE(vf_setup_step, VfSetupStep);

/* ---- in sysfs ---- */

/* Its index among the functions of the physical one, whose directory is parent. */
static int find_number(int parent, const DeviceName *name, uint32_t *ret) {
    char wanted[DEVICE_NAME_MAX], link[24], found[DEVICE_NAME_MAX];

    (void) device_name_format_kernel(name, wanted);
    for (uint32_t i = 0; i < FUNCTIONS_MAX; i++) {
        ssize_t n;

        (void) snprintf(link, sizeof(link), "virtfn%u", (unsigned) i);
        n = read_link_basename_at(parent, link, found, sizeof(found));
        if (n < 0)
            return n == -ENOENT ? -ENXIO : (int) n;
        if (streq(found, wanted)) {
            *ret = i;
            return 0;
        }
    }
    return -ENXIO;
}

/* If a card has ports of several names, it is unknown which is the function's. */
static int find_interface(int parent, char ret[static VF_SETUP_INTERFACE_MAX]) {
    _cleanup_closedir_ DIR *dir = NULL;
    const struct dirent *e;
    unsigned n = 0;
    int r;

    r = open_directory_at(parent, "net", &dir);
    if (r < 0)
        return r == -ENOENT ? -ENODATA : r;
    while ((e = readdir(dir))) {
        if (e->d_name[0] == '.' || strlen(e->d_name) >= VF_SETUP_INTERFACE_MAX)
            continue;
        put_text(ret, VF_SETUP_INTERFACE_MAX, e->d_name);
        n++;
    }
    return n == 0 ? -ENODATA : n > 1 ? -ENOTUNIQ : 0;
}

static int read_index(int parent, const char *interface, uint32_t *ret) {
    char path[64], text[16];
    uint64_t number;
    ssize_t n;
    int r;

    (void) snprintf(path, sizeof(path), "net/%s/ifindex", interface);
    n = read_attribute_at(parent, path, text, sizeof(text));
    r = n < 0 ? (int) n : parse_unsigned(text, 10, INT32_MAX, &number);
    if (r < 0)
        return r == -ENOENT ? -ENODATA : r; /* it has just disappeared */
    *ret = (uint32_t) number;
    return 0;
}

typedef struct Card {
    int socket;
    uint32_t interface, function, sequence;
} Card;

#define CARD_NULL                                                                                            \
    (Card) {                                                                                                 \
        .socket = -EBADF                                                                                     \
    }

static void card_done(Card *c) {
    c->socket = safe_close(c->socket);
}

/* The kernel requires the capability of the opener of the socket and of the sender. */
static int open_socket(void) {
    int fd;

    privileges_raise(CAP_NET_ADMIN);
    fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    privileges_lower();
    return fd < 0 ? -errno : fd;
}

static int find(const DriverItem *item, Card *ret, VfSetupReport *report) {
    _cleanup_close_ int dir = -EBADF, parent = -EBADF;
    _cleanup_(card_done) Card card = CARD_NULL;
    int r;

    r = driver_open_device(item, &dir);
    if (r < 0)
        return r;
    parent = openat(dir, "physfn", O_DIRECTORY | O_CLOEXEC | O_RDONLY);
    if (parent < 0)
        return errno == ENOENT ? -ENXIO : -errno;
    r = find_number(parent, &item->name, &card.function);
    if (r >= 0)
        r = find_interface(parent, report->interface);
    if (r >= 0)
        r = read_index(parent, report->interface, &card.interface);
    if (r >= 0)
        r = card.socket = open_socket();
    if (r < 0)
        return r;
    *ret = TAKE_GENERIC(card, CARD_NULL);
    return 0;
}

/* ---- over rtnetlink ---- */

static int receive(const Card *c, uint8_t **ret, size_t *ret_size) {
    _cleanup_free_ uint8_t *answer = NULL;
    ssize_t n = recv(c->socket, NULL, 0, MSG_PEEK | MSG_TRUNC);

    if (n < 0)
        return -errno;
    if (n > ANSWER_MAX)
        return -E2BIG;
    answer = malloc((size_t) n + 1);
    if (!answer)
        return -ENOMEM;
    n = recv(c->socket, answer, (size_t) n, 0);
    if (n < 0)
        return -errno;
    *ret = TAKE_PTR(answer);
    *ret_size = (size_t) n;
    return 0;
}

/* mac: an address, to find out whether another function has it; or NULL. */
static int look(Card *c, const uint8_t *mac, VfLink *ret) {
    uint8_t message[VF_LINK_MESSAGE_MAX];
    _cleanup_free_ uint8_t *answer = NULL;
    size_t size = vf_link_encode_get(c->interface, ++c->sequence, message);
    int r;

    if (send(c->socket, message, size, 0) < 0)
        return -errno;
    r = receive(c, &answer, &size);
    if (r >= 0)
        r = vf_link_decode(answer, size, c->interface, c->function, c->sequence, mac, ret);
    return r < 0 ? r : ret->found ? 0 : -ENODATA;
}

static int set(Card *c, const VfNetwork *n, VfAttribute attribute) {
    uint8_t message[VF_LINK_MESSAGE_MAX];
    _cleanup_free_ uint8_t *answer = NULL;
    size_t size = vf_link_encode_set(c->interface, c->function, n, attribute, ++c->sequence, message);
    int r;

    privileges_raise(CAP_NET_ADMIN);
    r = send(c->socket, message, size, 0) < 0 ? -errno : 0;
    privileges_lower();
    if (r >= 0)
        r = receive(c, &answer, &size);
    return r < 0 ? r : vf_link_decode_ack(answer, size, c->sequence);
}

/* The kernel may accept a value that the driver then ignores. */
static int verify(Card *c, const VfNetwork *wanted, VfAttribute a, VfSetupReport *report) {
    VfLink now;
    int r;

    report->step = VF_SETUP_VERIFY;
    r = look(c, NULL, &now);
    return r < 0 ? r : vf_network_same(&now.network, wanted, a) ? 0 : -EREMOTEIO;
}

static int change(Card *c, const VfNetwork *to, VfAttribute a, VfSetupReport *report) {
    int r;

    report->step = VF_SETUP_SET;
    report->attribute = a;
    r = set(c, to, a);
    return r < 0 ? r : verify(c, to, a, report);
}

static int begin(
        const DriverItem *item, Card *ret_card, const uint8_t *mac, VfLink *ret_link, VfSetupReport *report) {
    int r;

    *report = (VfSetupReport){.step = VF_SETUP_FIND, .attribute = _VF_ATTRIBUTE_INVALID};
    r = find(item, ret_card, report);
    if (r < 0)
        return r;
    report->step = VF_SETUP_LOOK;
    return look(ret_card, mac, ret_link);
}

/* With the same address twice, each would get packets for the other. */
static const uint8_t *wanted_mac(const VfNetwork *wanted) {
    return vf_network_has(wanted, VF_MAC) ? wanted->mac : NULL;
}

static int check_mac(const VfLink *now, VfSetupReport *report) {
    if (!now->mac_is_taken)
        return 0;
    report->attribute = VF_MAC;
    return -EADDRINUSE;
}

int vf_setup_look(const DriverItem *item, const VfNetwork *wanted, VfSetupReport *ret) {
    _cleanup_(card_done) Card card = CARD_NULL;
    VfLink now;
    int r;

    r = begin(item, &card, wanted_mac(wanted), &now, ret);
    if (r >= 0)
        r = check_mac(&now, ret);
    for (VfAttribute a = 0; r >= 0 && a < _VF_ATTRIBUTE_MAX; a++) {
        if (!vf_network_has(wanted, a))
            continue;
        vf_network_copy(&ret->before, &now.network, a);
        if (vf_network_has(&now.network, a))
            continue;
        ret->attribute = a;
        r = -EOPNOTSUPP;
    }
    return r;
}

/* Checked again at the end, because two claims may have checked at the same time. */
int vf_setup_set(const DriverItem *item, const VfNetwork *wanted, VfSetupReport *ret) {
    _cleanup_(card_done) Card card = CARD_NULL;
    VfLink now;
    int r;

    r = begin(item, &card, NULL, &now, ret);
    for (VfAttribute a = 0; r >= 0 && a < _VF_ATTRIBUTE_MAX; a++)
        if (vf_network_has(wanted, a) && !vf_network_same(&now.network, wanted, a))
            r = change(&card, wanted, a, ret);
    if (r < 0 || !wanted_mac(wanted))
        return r;
    ret->step = VF_SETUP_VERIFY;
    r = look(&card, wanted->mac, &now);
    return r < 0 ? r : check_mac(&now, ret);
}

/* Is there nothing to restore, because the function is gone or the card has no driver? Anything else may be
 * temporary. */
static bool is_over(const DriverItem *item, int error, const VfSetupReport *report) {
    _cleanup_close_ int dir = -EBADF;

    if (report->step != VF_SETUP_FIND)
        return false;
    if (error != -ENODATA)
        return error == -ENODEV || error == -ESTALE || error == -ENXIO;
    return driver_open_device(item, &dir) >= 0 && faccessat(dir, "physfn/driver", F_OK, 0) < 0 &&
            errno == ENOENT;
}

/* If the function disappears, the error of a set says nothing about it. */
static bool is_gone(const DriverItem *item) {
    _cleanup_(card_done) Card card = CARD_NULL;
    VfSetupReport report;
    VfLink now;
    int r = begin(item, &card, NULL, &now, &report);

    return r < 0 && is_over(item, r, &report);
}

int vf_setup_restore(
        const DriverItem *item, const VfNetwork *wanted, const VfNetwork *before, VfSetupReport *ret) {
    _cleanup_(card_done) Card card = CARD_NULL;
    VfLink now;
    int r;

    r = begin(item, &card, NULL, &now, ret);
    for (VfAttribute a = _VF_ATTRIBUTE_MAX; r >= 0 && a-- > 0;)
        if (vf_network_has(before, a) && vf_network_same(&now.network, wanted, a) &&
                !vf_network_same(before, wanted, a))
            r = change(&card, before, a, ret);
    return r < 0 && (is_over(item, r, ret) || is_gone(item)) ? 0 : r;
}
