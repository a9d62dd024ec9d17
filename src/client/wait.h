/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Waiting until others have given a device back (--wait). The daemon has a queue for that. A daemon that
 * stops answers whoever is in it, and forgets them: the next one is asked again, which costs the place. With
 * a daemon that is older than its queue, the claims that stand in the way are watched, so nothing is asked
 * again before one of them is gone. */

#include "client/vfioctl.h"

typedef struct Waiter {
    const Options *o;
    uint64_t deadline; /* CLOCK_MONOTONIC */
    unsigned in_vain;  /* tries in a row in which nothing stood in the way any more, or no daemon was there */
    bool without_queue;    /* the daemon has none */
    VfiodRequestMore more; /* of the request */
} Waiter;

Waiter waiter_new(const Options *o);
/* Before each try: the rest of the time goes into the request, which borrows from the waiter. */
void waiter_prepare(Waiter *w, VfiodRequest *request);
/* error is that of a claim that was refused. True: something has changed, so try again; false: it stays
 * refused, with *error. */
bool waiter_try_again(Waiter *w, const VfiodRequest *request, VfiodErrorText *error);
