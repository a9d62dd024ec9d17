/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Claim records as a crash, a full disk or a hand in /run may leave them: what is taken must print and parse
 * to the same again. */

#include "base/str.h"
#include "core/record.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    _cleanup_(claim_done) Claim c = CLAIM_NULL, again = CLAIM_NULL;
    _cleanup_free_ char *text = NULL;

    if (claim_from_record((const char *) data, size, "boot", &c) < 0)
        return 0;
    text = claim_to_record(&c, "boot");
    EXPECT(text && claim_from_record(text, strlen(text), "boot", &again) >= 0);
    EXPECT(again.plan.n_members == c.plan.n_members);
    return 0;
}
