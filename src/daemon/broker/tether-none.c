/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No tether. A claim with the tether explicit ends by Release only. Parts that join or leave a claim have no
 * end of their own, and a reservation ends by its time. */

#include "daemon/broker/tether.h"

static int do_nothing(ClaimRun *j) {
    return 0;
}

static void forget_nothing(ClaimRun *j) {
}

static void end_nothing(ClaimRun *j, bool record_left) {
}

static int adopt_nothing(ClaimRun *j, int fd) {
    return 0;
}

static int refuse_adoption(ClaimRun *j, int fd) {
    return -EOPNOTSUPP;
}

const TetherType tether_explicit = {
        .tie = do_nothing,
        .keep = do_nothing,
        .adopt = adopt_nothing,
        .forget = forget_nothing,
        .end = end_nothing,
        .free = forget_nothing,
};

const TetherType tether_none = {
        .tie = do_nothing,
        .keep = do_nothing,
        .adopt = refuse_adoption,
        .forget = forget_nothing,
        .end = end_nothing,
        .free = forget_nothing,
};
