/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices on their way into a claim, or out of it, hang on nothing: whoever adds them waits for the answer,
 * and whoever has given them back has ended that. */

#include "daemon/broker/tether.h"

static int tie_nothing(ClaimRun *j) {
    return 0;
}

static void do_nothing(ClaimRun *j) {
}

static int adopt_nothing(ClaimRun *j, int fd) {
    return -EOPNOTSUPP;
}

const TetherType tether_none = {
        .tie = tie_nothing,
        .keep = do_nothing,
        .adopt = adopt_nothing,
        .forget = do_nothing,
        .free = do_nothing,
};
