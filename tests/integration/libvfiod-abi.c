/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Programs are built with one version of the library and run with a later one, so structures on their stack
 * must not change. Compiled as C and as C++. */

#include <stddef.h>

#include "client/vfiod.h"

#ifdef __cplusplus
#define CHECK(expression) static_assert(expression, #expression)
#else
#define CHECK(expression) _Static_assert(expression, #expression)
#endif

#if __SIZEOF_POINTER__ == 8
CHECK(sizeof(VfiodErrorText) == 1092);
CHECK(offsetof(VfiodErrorText, name) == 4);
CHECK(offsetof(VfiodErrorText, message) == 68);
CHECK(sizeof(VfiodRequest) == 80);
CHECK(offsetof(VfiodRequest, backend) == 16);
CHECK(offsetof(VfiodRequest, memlock) == 32);
CHECK(offsetof(VfiodRequest, untainted) == 40);
CHECK(offsetof(VfiodRequest, grant) == 48);
CHECK(offsetof(VfiodRequest, more) == 72);
CHECK(sizeof(VfiodRequestMore) == 56); /* its size is a member, so it may grow */
CHECK(offsetof(VfiodRequestMore, require) == 16);
CHECK(offsetof(VfiodRequestMore, network) == 24);
CHECK(offsetof(VfiodRequestMore, ticket) == 32);
CHECK(offsetof(VfiodRequestMore, wait) == 40);
CHECK(offsetof(VfiodRequestMore, duration) == 48);
CHECK(offsetof(VfiodRequestMore, pidfd) == 8);
CHECK(sizeof(VfiodEvent) == 56);
CHECK(offsetof(VfiodEvent, eviction) == 24);
CHECK(offsetof(VfiodEvent, more) == 32);
CHECK(sizeof(VfiodEventMore) == 32); /* its size is a member, so it may grow */
CHECK(offsetof(VfiodEventMore, evict_at) == 8);
CHECK(offsetof(VfiodEventMore, sleep_at) == 16);
CHECK(offsetof(VfiodEventMore, resume) == 24);
#endif

int main(void) {
    VfiodErrorText error;
    VfiodClaim *claim = vfiod_claim_free(NULL);
    const char *const devices[] = {"pci:0000:06:0d.0"};
    VfiodRequest request = {};

    /* Names and types as in the manual; nothing is called. */
    return claim && vfiod_claim_add_devices(claim, devices, 1, &error) < 0 &&
            vfiod_claim_add_request(claim, &request, &error) < 0 &&
            vfiod_connection_add_request(NULL, claim, &request, NULL, NULL, &error) < 0 &&
            vfiod_acquire(devices, 1, NULL, NULL, &claim, &error) < 0;
}
