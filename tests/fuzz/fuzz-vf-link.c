/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An answer of rtnetlink about virtual functions. Whatever is taken from it can be put back, and a message
 * that puts it back reads as the same. */

#include "daemon/kernel/vf-link.h"
#include "fuzz.h"

#include <linux/rtnetlink.h>

#define INDEX 7U
#define SEQUENCE 1U

static void check(const VfNetwork *n, VfAttribute a) {
    const uint16_t type = RTM_NEWLINK;
    uint8_t message[VF_LINK_MESSAGE_MAX];
    size_t size = vf_link_encode_set(INDEX, 3, n, a, SEQUENCE, message);
    char text[VF_NETWORK_TEXT_MAX];
    VfLink back;

    EXPECT(size <= sizeof(message));
    EXPECT(is_printable(vf_network_describe(n, a, text)));
    memcpy(message + offsetof(struct nlmsghdr, nlmsg_type), &type, sizeof(type));
    EXPECT(vf_link_decode(message, size, INDEX, 3, SEQUENCE, n->mac, &back) == 0);
    if (a == VF_MAC) /* the others do not say which function they are of, to us */
        EXPECT(back.found && vf_network_same(&back.network, n, a));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_free_ uint8_t *copy = malloc(size + MAC_SIZE); /* the end is where a sanitizer sees it */
    VfLink link;

    EXPECT(copy);
    memcpy(copy, data, size);
    EXPECT(vf_link_decode_ack(copy, size, SEQUENCE) <= 0);
    for (uint32_t function = 0; function < 3; function++) {
        if (vf_link_decode(copy, size, INDEX, function, SEQUENCE, function > 0 ? copy : NULL, &link) < 0)
            continue;
        EXPECT(link.found || link.network.has == 0);
        EXPECT(function > 0 || !link.mac_is_taken);
        for (VfAttribute a = 0; a < _VF_ATTRIBUTE_MAX; a++)
            if (vf_network_has(&link.network, a))
                check(&link.network, a);
    }
    return 0;
}
