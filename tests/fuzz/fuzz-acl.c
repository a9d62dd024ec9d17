/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An access control list as the kernel may hand it over, or as a record may spell it: what is taken can be
 * written again, and an entry of ours comes and goes without a trace for anybody else. */

#include "core/acl.h"
#include "fuzz.h"

static void check(const Acl *a) {
    uint8_t bytes[ACL_SIZE_MAX];
    char text[ACL_TEXT_MAX];
    Acl b;

    EXPECT(a->n >= 3 && a->n <= ACL_ENTRIES_MAX);
    EXPECT(acl_decode(bytes, acl_encode(a, bytes), &b) == 0 && acl_is_equal(a, &b));
    EXPECT(acl_parse(acl_format(a, text), &b) == 0 && acl_is_equal(a, &b));
    for (uid_t uid = 0; uid < 3; uid++) {
        b = *a;
        if (acl_add_user(&b, uid) < 0) {
            EXPECT(acl_is_equal(a, &b));
            continue;
        }
        EXPECT(acl_allows_user(&b, 1000, uid));
        for (uid_t other = 0; other < 5; other++)
            EXPECT(other == uid || acl_allows_user(&b, 1000, other) == acl_allows_user(a, 1000, other));
        acl_remove_user(&b, uid, a);
        for (uid_t other = 0; other < 5; other++)
            EXPECT(acl_allows_user(&b, 1000, other) == acl_allows_user(a, 1000, other));
        EXPECT(acl_decode(bytes, acl_encode(&b, bytes), &b) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char text[ACL_TEXT_MAX + 8];
    Acl a;

    if (acl_decode(data, size, &a) >= 0)
        check(&a);
    (void) snprintf(text, sizeof(text), "%.*s", (int) MIN(size, sizeof(text) - 1), (const char *) data);
    if (acl_parse(text, &a) >= 0)
        check(&a);
    return 0;
}
