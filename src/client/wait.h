/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Waiting until others have given a device back (--wait). The claims that stand in the way are watched, so
 * nothing is asked again before one of them is gone. */

#include "client/vfioctl.h"

typedef struct Waiter {
    const Options *o;
    uint64_t deadline; /* CLOCK_MONOTONIC */
    unsigned in_vain;  /* tries in a row in which nothing stood in the way any more */
} Waiter;

Waiter waiter_new(const Options *o);
/* error is that of a claim that was refused. True: something has changed, so try again; false: it stays
 * refused, with *error. */
bool waiter_try_again(Waiter *w, const VfiodRequest *request, VfiodErrorText *error);
