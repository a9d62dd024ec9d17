/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A program that answers for its claim: claims the device that its argument names, prints the claim's id, and
 * then obeys its input, line by line. "ready": it is prepared for the host's sleep; a number: it asks for so
 * many seconds more before its claim is evicted. Each answer is one line: "ok" or the name of the error. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/vfiod.h"

static int obey(const VfiodClaim *claim, const char *line, VfiodErrorText *error) {
    if (strcmp(line, "ready\n") == 0)
        return vfiod_claim_ready_to_sleep(claim, error);
    return vfiod_claim_answer_eviction(claim, strtoull(line, NULL, 10), error);
}

int main(int argc, char **argv) {
    const char *device = argc == 2 ? argv[1] : "";
    VfiodClaim *claim = NULL;
    VfiodErrorText error;
    char line[64];

    if (vfiod_acquire(&device, 1, NULL, NULL, &claim, &error) < 0) {
        fprintf(stderr, "%s: %s\n", error.name, error.message);
        return EXIT_FAILURE;
    }
    setlinebuf(stdout);
    printf("%s\n", vfiod_claim_id(claim));
    while (fgets(line, sizeof(line), stdin))
        puts(obey(claim, line, &error) < 0 ? error.name : "ok");
    vfiod_claim_free(claim);
    return EXIT_SUCCESS;
}
